/* SPDX-License-Identifier: BSD-2-Clause */
/* Console keys on their way to the guest's COM1 or virtio console, past the monitor. They wait in a
 * queue while the UART is full, so that the monitor's keys are seen although a guest that hangs
 * takes nothing. Tested by tools/tests/test_mon.c and test_input.c. */
#include "hv/base/log.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vdev/virtio/devices.h"
#include "hv/vm/console.h"

#define DEAF_S 10 /* a guest that took no key for so long may never: the escape comes first */
_Static_assert(PORT_CONSOLE_BREAK == VPC_UART_BREAK, "a key is what the UART takes");

unsigned (*subvmm_key_hook)(struct subvmm *s, unsigned key, unsigned pass[2]);
void (*subvmm_monitor_hook)(struct subvmm *s);

/* Public, so that whoever takes the console over goes on where the other one stopped. Only between
 * watch_read_begin and watch_read_end. */
static struct queue {
    uint32_t head, count;
    bool losing;        /* it is full and the guest deaf: what comes is lost */
    uint64_t moved_tsc; /* when the guest took one last, or the first began to wait */
    uint64_t lost, lost_said;
    uint16_t key[INPUT_QUEUE]; /* a byte, or PORT_CONSOLE_BREAK */
} queues[VM_MAX];

void input_start(void)
{
    for (unsigned i = 0; i < VM_MAX; i++) {
        queues[i].head = queues[i].count = 0;
        queues[i].losing = false;
        queues[i].lost = queues[i].lost_said = 0;
    }
}

void input_counts(const struct vm *vm, uint32_t *waiting, uint64_t *lost)
{
    *waiting = queues[vm->id].count;
    *lost = queues[vm->id].lost;
}

/* One key may become two. */
static bool queue_room(const struct queue *q)
{
    return q->count + 2 <= INPUT_QUEUE;
}

static void queue_add(struct queue *q, unsigned key)
{
    if (q->losing) {
        q->lost++;
        return;
    }
    if (!q->count)
        q->moved_tsc = port_tsc();
    q->key[(q->head + q->count++) % INPUT_QUEUE] = (uint16_t)key;
}

/* A full queue keeps the rest in the console, which holds back a sender that pastes. Only when the
 * guest has long taken nothing at all are keys looked at that find no place: one may be the escape.
 */
static bool may_read(struct queue *q)
{
    if (queue_room(q))
        return true;
    if (!q->losing && port_tsc() - q->moved_tsc >= DEAF_S * port_tsc_hz()) {
        q->losing = true;
        log_warn("console", "the guest has taken no key for %u s and %u wait: more are lost",
                 DEAF_S, q->count);
    }
    return q->losing;
}

/* The VM that gets the console's keys. */
static struct vm *front(const struct subvmm *s)
{
    return vm_count > 1 ? vm_console_front() : s->vm;
}

static void keys_read(struct subvmm *s)
{
    while (s->input.ready && may_read(&queues[front(s)->id])) {
        unsigned pass[2];
        unsigned n = 1;
        int key = port_console_read();
        if (key < 0) {
            s->input.ready = false;
            break;
        }
        vm_console_typed();
        pass[0] = (unsigned)key;
        if (subvmm_key_hook)
            n = subvmm_key_hook(s, (unsigned)key, pass);
        for (unsigned i = 0; i < n; i++)
            queue_add(&queues[front(s)->id], pass[i]);
    }
}

/* A port of its own takes no part in the monitor. */
static void own_keys_read(const struct vm *vm)
{
    struct queue *q = &queues[vm->id];
    int key;

    while (queue_room(q) && (key = vm_console_read(vm)) >= 0)
        queue_add(q, (unsigned)key);
}

static void queue_moved(struct queue *q)
{
    q->moved_tsc = port_tsc();
    q->losing = false;
    if (q->lost != q->lost_said)
        log_warn("console", "the guest takes keys again; %llu were lost",
                 (unsigned long long)(q->lost - q->lost_said));
    q->lost_said = q->lost;
}

/* The guest reads its serial line, or else its virtio console if it has one. */
static bool key_give(struct vm *vm, unsigned key)
{
    struct vconsole *c = vm->console;
    if (!c || vpc_uart_listens(vm->pc) || !vconsole_listens(c))
        return vpc_uart_input(vm->pc, key);
    return key == VPC_UART_BREAK || vconsole_input(c, (uint8_t)key);
}

/* What waits for a VM's UART goes there, as far as there is room. true: some is left. */
static bool queue_pass(struct vm *vm)
{
    struct queue *q = &queues[vm->id];

    if (!q->count)
        return false;
    if (!vm_use_begin(vm)) {
        if (vm_state(vm) == VM_OFF) /* gone, as with a machine that is off */
            q->count = 0;
        return q->count;
    }
    while (q->count && key_give(vm, q->key[q->head])) {
        q->head = (q->head + 1) % INPUT_QUEUE;
        q->count--;
        queue_moved(q);
    }
    vm_use_end(vm);
    return q->count;
}

void input_pump(struct subvmm *s)
{
    if (!watch_read_begin(s)) {
        s->input.ready = s->input.waits = false;
        watch_look(s);
        return;
    }
    for (uint32_t i = 0; s->input.ready && i < vm_count; i++)
        own_keys_read(&vm_table[i]);
    keys_read(s);
    s->input.waits = vm_count ? false : queue_pass(s->vm);
    for (uint32_t i = 0; i < vm_count; i++)
        s->input.waits |= queue_pass(&vm_table[i]);
    watch_read_end(s);
}
