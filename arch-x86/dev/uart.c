/* SPDX-License-Identifier: BSD-2-Clause */
/* 16550 serial port: polled output with bounded waits, interrupt-driven input. Tested by every
 * boot. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/dev/console.h"

#define RBR 0
#define IER 1
#define FCR 2
#define LCR 3
#define MCR 4
#define LSR 5
#define IER_RX 0x01
#define FCR_ENABLE_CLEAR 0xc7 /* FIFOs on and cleared, trigger at 14 */
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt on PCs */
#define MCR_LOOP 0x1e
#define LSR_DR 0x01
#define LSR_THRE 0x20
#define LOOP_BYTE 0xae
#define BASE_BAUD 115200u
#define FIFO 16
/* An emulated or real port access takes about a microsecond; a FIFO at 1200 baud takes 130 ms. */
#define READY_SPINS 300000u

static bool wait_lsr(uint16_t port, uint8_t bit, unsigned spins)
{
    for (unsigned i = 0; i < spins; i++) {
        uint8_t lsr = in8((uint16_t)(port + LSR));
        if (lsr != 0xff && (lsr & bit))
            return true;
        cpu_pause();
    }
    return false;
}

static bool loopback(uint16_t port)
{
    bool same;
    out8((uint16_t)(port + MCR), MCR_LOOP);
    out8((uint16_t)(port + RBR), LOOP_BYTE);
    same = wait_lsr(port, LSR_DR, READY_SPINS) && in8((uint16_t)(port + RBR)) == LOOP_BYTE;
    out8((uint16_t)(port + MCR), MCR_DTR_RTS_OUT2);
    return same;
}

static void uart_write(struct console *c, const char *text, size_t len)
{
    unsigned room = 0;

    for (size_t i = 0; i < len; i++) {
        bool add_cr = text[i] == '\n' && !c->cr;
        for (unsigned k = 0; k < (add_cr ? 2u : 1u); k++) {
            if (room == 0) {
                bool ready = wait_lsr(c->port, LSR_THRE, c->stuck ? 1 : READY_SPINS);
                c->stuck = !ready;
                room = ready ? FIFO : 1;
            }
            out8((uint16_t)(c->port + RBR), add_cr && k == 0 ? '\r' : (uint8_t)text[i]);
            room--;
        }
        c->cr = text[i] == '\r';
    }
}

static int uart_read(struct console *c)
{
    uint8_t lsr = in8((uint16_t)(c->port + LSR));
    return lsr != 0xff && (lsr & LSR_DR) ? in8((uint16_t)(c->port + RBR)) : -1;
}

void uart_enable_input(struct console *c)
{
    out8((uint16_t)(c->port + IER), IER_RX);
}

bool uart_open(struct console *c, uint16_t port, uint32_t baud, bool must_answer)
{
    uint32_t divisor = baud && baud <= BASE_BAUD ? BASE_BAUD / baud : 1;

    out8((uint16_t)(port + IER), 0);
    out8((uint16_t)(port + LCR), LCR_DLAB);
    out8((uint16_t)(port + 0), (uint8_t)divisor);
    out8((uint16_t)(port + 1), (uint8_t)(divisor >> 8));
    out8((uint16_t)(port + LCR), LCR_8N1);
    out8((uint16_t)(port + FCR), FCR_ENABLE_CLEAR);
    if (!loopback(port) && must_answer)
        return false;
    c->port = port;
    c->write = uart_write;
    c->read = uart_read;
    return true;
}
