/* SPDX-License-Identifier: BSD-2-Clause */
/* Console keys on their way to the guest's COM1, past the monitor. They wait in a queue while the
 * UART is full, so that the monitor's keys are seen although a guest that hangs takes nothing.
 * Tested by tools/tests/test_mon.c. */
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/vcpu/exit.h"
#include "hv/vm/vm.h"

#define DEAF_S 1 /* a guest that took no key for so long loses what was typed ahead */

unsigned (*subvmm_key_hook)(struct subvmm *s, uint8_t byte, uint8_t pass[2]);
void (*subvmm_monitor_hook)(struct subvmm *s);

static void queue_add(struct input_queue *q, uint8_t byte)
{
    if (!q->count)
        q->moved_tsc = port_tsc();
    q->byte[(q->head + q->count++) % INPUT_QUEUE] = byte;
}

/* One key may become two bytes. A full queue first keeps the rest in the console: that holds back a
 * sender that pastes. Only a guest that takes nothing at all loses keys. */
static bool queue_room(struct input_queue *q)
{
    if (q->count + 2 > INPUT_QUEUE && port_tsc() - q->moved_tsc >= DEAF_S * port_tsc_hz())
        q->count = 0;
    return q->count + 2 <= INPUT_QUEUE;
}

static void keys_read(struct subvmm *s)
{
    struct input_queue *q = &s->input;

    while (q->ready && queue_room(q)) {
        uint8_t pass[2];
        unsigned n = 1;
        int byte = port_console_read();
        if (byte < 0) {
            q->ready = false;
            break;
        }
        pass[0] = (uint8_t)byte;
        if (subvmm_key_hook)
            n = subvmm_key_hook(s, (uint8_t)byte, pass);
        for (unsigned i = 0; i < n; i++)
            queue_add(q, pass[i]);
    }
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
    while (q->count && vpc_uart_input(s->vm->pc, q->byte[q->head])) {
        q->head = (q->head + 1) % INPUT_QUEUE;
        q->count--;
        q->moved_tsc = port_tsc();
    }
}
