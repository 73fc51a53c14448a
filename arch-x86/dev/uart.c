/* SPDX-License-Identifier: BSD-2-Clause */
/* 16550 serial port: polled output with bounded waits, input by interrupt or polled.
 * Tested by tools/tests/test_uart.c and every boot. */
#include "arch-x86/dev/uart.h"
#include "arch-x86/defs/pc.h"

#define IER_RX 0x01
#define IER_LINE 0x04         /* a BREAK may be alone in the FIFO, without a time-out (QEMU) */
#define FCR_ENABLE_CLEAR 0xc7 /* FIFOs on and cleared, trigger at 14 */
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt on PCs */
#define MCR_LOOP 0x1e
#define LSR_DR 0x01
#define LSR_BI 0x10
#define LSR_THRE 0x20
#define LOOP_BYTE 0xae
#define PC_CLOCK_HZ 1843200u
#define FIFO 16
/* A port access takes about a microsecond, emulated or real; a FIFO at 1200 baud takes 130 ms. What
 * is behind an emulated port may be a program on a busy machine that reads seconds later: to be
 * sent, text waits that long. */
#define READY_SPINS 300000u
#define SEND_SPINS 5000000u

static bool wait_lsr(const struct uart *u, uint8_t bit, unsigned spins)
{
    for (unsigned i = 0; i < spins; i++) {
        uint8_t lsr = u->io->read(u, UART_LSR);
        if (lsr != 0xff && (lsr & bit))
            return true;
    }
    return false;
}

static bool loopback(const struct uart *u)
{
    bool same;
    u->io->write(u, UART_MCR, MCR_LOOP);
    u->io->write(u, UART_THR, LOOP_BYTE);
    same = wait_lsr(u, LSR_DR, READY_SPINS) && u->io->read(u, UART_RBR) == LOOP_BYTE;
    u->io->write(u, UART_MCR, MCR_DTR_RTS_OUT2);
    return same;
}

static void rate_set(const struct uart *u)
{
    uint32_t clock = u->where.clock_hz ? u->where.clock_hz : PC_CLOCK_HZ;
    uint32_t step = 16 * u->where.baud, divisor;

    if (u->where.baud == 0)
        return;
    divisor = (clock + step / 2) / step;
    divisor = divisor == 0 ? 1 : divisor > 0xffff ? 0xffff : divisor;
    u->io->write(u, UART_LCR, LCR_DLAB);
    u->io->write(u, UART_DLL, (uint8_t)divisor);
    u->io->write(u, UART_DLM, (uint8_t)(divisor >> 8));
}

bool uart_setup(struct uart *u)
{
    u->io->write(u, UART_LCR, LCR_8N1);
    u->io->write(u, UART_IER, 0);
    rate_set(u);
    u->io->write(u, UART_LCR, LCR_8N1);
    u->io->write(u, UART_FCR, FCR_ENABLE_CLEAR);
    return loopback(u);
}

/* One byte, when there is room for it. false: there is none, and it was waited for. */
static bool send_byte(struct uart *u, char byte, unsigned *room)
{
    if (*room == 0) {
        u->stuck = !wait_lsr(u, LSR_THRE, u->stuck ? 1 : SEND_SPINS);
        if (u->stuck)
            return false;
        *room = FIFO;
    }
    u->io->write(u, UART_THR, (uint8_t)byte);
    --*room;
    return true;
}

/* Returns how many bytes went. */
static size_t send_text(struct uart *u, const char *text, size_t len, bool raw, unsigned *room)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' && !u->cr && !raw && !send_byte(u, '\r', room))
            return i;
        if (!send_byte(u, text[i], room))
            return i;
        u->cr = text[i] == '\r';
    }
    return len;
}

void uart_send(struct uart *u, const char *text, size_t len, bool raw)
{
    static const char gap[] = "\n[patchbay: text was lost here: the port took nothing]\n";
    unsigned room = 0;

    if (u->gap && send_text(u, gap, sizeof(gap) - 1, false, &room) == sizeof(gap) - 1)
        u->gap = false;
    if (u->stuck || send_text(u, text, len, raw, &room) < len)
        u->gap = true;
}

int uart_receive(struct uart *u)
{
    uint8_t lsr = u->io->read(u, UART_LSR), byte;

    if (lsr == 0xff || !(lsr & LSR_DR))
        return -1;
    u->brk = u->brk || (lsr & LSR_BI);
    byte = u->io->read(u, UART_RBR);
    /* The bit belongs to the character at the top; QEMU shows it ahead of those that came before.
     */
    if (byte != 0 || !u->brk)
        return byte;
    u->brk = false;
    return UART_BREAK;
}

void uart_listen(struct uart *u)
{
    u->io->write(u, UART_IER, IER_RX | IER_LINE);
}
