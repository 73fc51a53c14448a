/* SPDX-License-Identifier: BSD-2-Clause */
/* A 16550 in I/O space or in memory. Tested by tools/tests/test_uart.c and every boot. */
#pragma once
#include "hv/base/types.h"

struct uart_where {
    bool mmio;
    uint64_t base;     /* port, or physical address */
    unsigned stride;   /* bytes from register to register: 1, or 4 with 32-bit accesses */
    uint32_t baud;     /* 0: as the firmware left it */
    uint32_t clock_hz; /* of the divisor, before its division by 16; 0: a PC's 1.8432 MHz */
    uint8_t irq;       /* ISA interrupt, 0: none known */
};
struct uart;
struct uart_io {
    uint8_t (*read)(const struct uart *u, unsigned reg);
    void (*write)(const struct uart *u, unsigned reg, uint8_t v);
};
struct uart {
    struct uart_where where;
    const struct uart_io *io;
    char *regs;     /* mapped, if mmio */
    bool stuck, cr; /* transmitter does not empty; last byte was CR */
    bool gap;       /* text was dropped, and the reader was not told yet */
    bool brk;       /* a BREAK was seen; its NUL is in the FIFO */
};
/* Sets rate and 8N1, FIFOs on. false: the loopback test fails. u->where, io and regs are set. */
bool uart_setup(struct uart *u) HV_MUST_CHECK;
/* LF becomes CR LF, unless raw. A port that takes nothing is waited for once, for seconds; then text
 * is dropped until it takes some again, and a line says so. */
void uart_send(struct uart *u, const char *text, size_t len, bool raw);
#define UART_BREAK 0x100
int uart_receive(struct uart *u); /* byte, UART_BREAK, or -1 */
void uart_listen(struct uart *u); /* receive interrupts on */
