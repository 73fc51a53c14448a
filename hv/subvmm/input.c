/* SPDX-License-Identifier: BSD-2-Clause */
/* Console keys on their way to the guest's COM1 or virtio console, past the monitor. They wait in a
 * queue while the UART is full, so that the monitor's keys are seen although a guest that hangs
 * takes nothing. Tested by tools/tests/test_mon.c and test_input.c. */
#include "hv/base/log.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vdev/virtio/devices.h"
#include "hv/vm/vm.h"

#define DEAF_S 10 /* a guest that took no key for so long may never: the escape comes first */
_Static_assert(PORT_CONSOLE_BREAK == VPC_UART_BREAK, "a key is what the UART takes");

unsigned (*subvmm_key_hook)(struct subvmm *s, unsigned key, unsigned pass[2]);
void (*subvmm_monitor_hook)(struct subvmm *s);

/* Public, so that whoever takes the console over goes on where the other one stopped. Only between
 * watch_read_begin and watch_read_end. */
static struct {
    uint32_t head, count;
    bool losing;        /* it is full and the guest deaf: what comes is lost */
    uint64_t moved_tsc; /* when the guest took one last, or the first began to wait */
    uint64_t lost, lost_said;
    uint16_t key[INPUT_QUEUE]; /* a byte, or PORT_CONSOLE_BREAK */
} queue;

void input_start(void)
{
    queue.head = queue.count = 0;
    queue.losing = false;
    queue.lost = queue.lost_said = 0;
}

void input_counts(uint32_t *waiting, uint64_t *lost)
{
    *waiting = queue.count;
    *lost = queue.lost;
}

/* One key may become two. */
static bool queue_room(void)
{
    return queue.count + 2 <= INPUT_QUEUE;
}

static void queue_add(unsigned key)
{
    if (queue.losing) {
        queue.lost++;
        return;
    }
    if (!queue.count)
        queue.moved_tsc = port_tsc();
    queue.key[(queue.head + queue.count++) % INPUT_QUEUE] = (uint16_t)key;
}

/* A full queue keeps the rest in the console, which holds back a sender that pastes. Only when the
 * guest has long taken nothing at all are keys looked at that find no place: one may be the escape.
 */
static bool may_read(void)
{
    if (queue_room())
        return true;
    if (!queue.losing && port_tsc() - queue.moved_tsc >= DEAF_S * port_tsc_hz()) {
        queue.losing = true;
        log_warn("console", "the guest has taken no key for %u s and %u wait: more are lost",
                 DEAF_S, queue.count);
    }
    return queue.losing;
}

static void keys_read(struct subvmm *s)
{
    while (s->input.ready && may_read()) {
        unsigned pass[2];
        unsigned n = 1;
        int key = port_console_read();
        if (key < 0) {
            s->input.ready = false;
            break;
        }
        pass[0] = (unsigned)key;
        if (subvmm_key_hook)
            n = subvmm_key_hook(s, (unsigned)key, pass);
        for (unsigned i = 0; i < n; i++)
            queue_add(pass[i]);
    }
}

static void queue_moved(void)
{
    queue.moved_tsc = port_tsc();
    queue.losing = false;
    if (queue.lost != queue.lost_said)
        log_warn("console", "the guest takes keys again; %llu were lost",
                 (unsigned long long)(queue.lost - queue.lost_said));
    queue.lost_said = queue.lost;
}

/* The guest reads its serial line, or else its virtio console if it has one. */
static bool key_give(struct subvmm *s, unsigned key)
{
    struct vconsole *c = s->vm->console;
    if (!c || vpc_uart_listens(s->vm->pc) || !vconsole_listens(c))
        return vpc_uart_input(s->vm->pc, key);
    return key == VPC_UART_BREAK || vconsole_input(c, s->cpu, (uint8_t)key);
}

void input_pump(struct subvmm *s)
{
    if (!watch_read_begin(s)) {
        s->input.ready = s->input.waits = false;
        watch_look(s);
        return;
    }
    keys_read(s);
    while (queue.count && key_give(s, queue.key[queue.head])) {
        queue.head = (queue.head + 1) % INPUT_QUEUE;
        queue.count--;
        queue_moved();
    }
    s->input.waits = queue.count;
    watch_read_end(s);
}
