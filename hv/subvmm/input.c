/* SPDX-License-Identifier: BSD-2-Clause */
/* Console keys on their way to the guest's COM1, past the monitor. They wait in a queue while the
 * UART is full, so that the monitor's keys are seen although a guest that hangs takes nothing.
 * Tested by tools/tests/test_mon.c and test_input.c. */
#include "hv/base/log.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vm/vm.h"

#define DEAF_S 10 /* a guest that took no key for so long may never: the escape comes first */
_Static_assert(PORT_CONSOLE_BREAK == VPC_UART_BREAK, "a key is what the UART takes");

unsigned (*subvmm_key_hook)(struct subvmm *s, unsigned key, unsigned pass[2]);
void (*subvmm_monitor_hook)(struct subvmm *s);

/* One key may become two. */
static bool queue_room(const struct input_queue *q)
{
    return q->count + 2 <= INPUT_QUEUE;
}

static void queue_add(struct input_queue *q, unsigned key)
{
    uint32_t at = (q->head + q->count) % INPUT_QUEUE;
    uint8_t bit = (uint8_t)(1u << at % 8);

    if (q->losing) {
        q->lost++;
        return;
    }
    if (!q->count++)
        q->moved_tsc = port_tsc();
    q->byte[at] = (uint8_t)key;
    q->brk[at / 8] =
        (uint8_t)(key == PORT_CONSOLE_BREAK ? q->brk[at / 8] | bit : q->brk[at / 8] & ~bit);
}

static unsigned queue_first(const struct input_queue *q)
{
    bool brk = q->brk[q->head / 8] >> q->head % 8 & 1;

    return brk ? PORT_CONSOLE_BREAK : q->byte[q->head];
}

/* A full queue keeps the rest in the console, which holds back a sender that pastes. Only when the
 * guest has long taken nothing at all are keys looked at that find no place: one may be the escape.
 */
static bool may_read(struct input_queue *q)
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

static void keys_read(struct subvmm *s)
{
    struct input_queue *q = &s->input;

    while (q->ready && may_read(q)) {
        unsigned pass[2];
        unsigned n = 1;
        int key = port_console_read();
        if (key < 0) {
            q->ready = false;
            break;
        }
        pass[0] = (unsigned)key;
        if (subvmm_key_hook)
            n = subvmm_key_hook(s, (unsigned)key, pass);
        for (unsigned i = 0; i < n; i++)
            queue_add(q, pass[i]);
    }
}

static void queue_moved(struct input_queue *q)
{
    q->moved_tsc = port_tsc();
    q->losing = false;
    if (q->lost != q->lost_said)
        log_warn("console", "the guest takes keys again; %llu were lost",
                 (unsigned long long)(q->lost - q->lost_said));
    q->lost_said = q->lost;
}

void input_pump(struct subvmm *s)
{
    struct input_queue *q = &s->input;

    if (watch_read_begin(s)) {
        keys_read(s);
        watch_read_end(s);
    } else {
        q->ready = false;
        watch_look(s);
    }
    while (q->count && vpc_uart_input(s->vm->pc, queue_first(q))) {
        q->head = (q->head + 1) % INPUT_QUEUE;
        q->count--;
        queue_moved(q);
    }
}
