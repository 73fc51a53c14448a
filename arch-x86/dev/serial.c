/* SPDX-License-Identifier: BSD-2-Clause */
/* A 16550 as a console, in I/O space or in memory. Tested by every boot. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/dev/console.h"
#include "arch-x86/plat/kept.h"
#include "hv/port/machine.h"

static uint8_t pio_read(const struct uart *u, unsigned reg)
{
    return in8((uint16_t)(u->where.base + reg));
}
static void pio_write(const struct uart *u, unsigned reg, uint8_t v)
{
    out8((uint16_t)(u->where.base + reg), v);
}
static uint8_t mmio8_read(const struct uart *u, unsigned reg)
{
    return *(const volatile uint8_t *)(u->regs + reg);
}
static void mmio8_write(const struct uart *u, unsigned reg, uint8_t v)
{
    *(volatile uint8_t *)(u->regs + reg) = v;
}
static uint8_t mmio32_read(const struct uart *u, unsigned reg)
{
    return (uint8_t)mmio_read32(u->regs + (size_t)4 * reg);
}
static void mmio32_write(const struct uart *u, unsigned reg, uint8_t v)
{
    mmio_write32(u->regs + (size_t)4 * reg, v);
}
static const struct uart_io pio = {pio_read, pio_write}, mmio8 = {mmio8_read, mmio8_write},
                            mmio32 = {mmio32_read, mmio32_write};

static void serial_write(struct console *c, const char *text, size_t len, bool raw)
{
    uart_send(&c->uart, text, len, raw);
}

_Static_assert(UART_BREAK == PORT_CONSOLE_BREAK, "passed on as it is");
static int serial_read(struct console *c)
{
    return uart_receive(&c->uart);
}

static void serial_listen(struct console *c)
{
    uart_listen(&c->uart);
}

bool serial_open(struct console *c, const struct uart_where *where)
{
    c->uart = (struct uart){.where = *where};
    c->uart.io = !where->mmio ? &pio : where->stride == 4 ? &mmio32 : &mmio8;
    if (where->mmio)
        c->uart.regs = paging_map_mmio(hpa(where->base), 8ull * where->stride);
    if (!uart_setup(&c->uart))
        return false;
    kept_add(where->base, 8ull * where->stride, !where->mmio);
    c->irq = where->irq;
    c->write = serial_write;
    c->read = serial_read;
    c->listen = serial_listen;
    return true;
}
