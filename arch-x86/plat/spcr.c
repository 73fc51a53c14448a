/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads SPCR (Microsoft, "Serial Port Console Redirection Table", revisions 1 to 4).
 * Tested by tools/tests/test_uart.c and the console group of `make check`. */
#include "arch-x86/plat/spcr.h"
#include "arch-x86/defs/acpi.h"
#include "hv/base/string.h"

#define SPCR_TYPE 36
#define SPCR_GAS 40
#define SPCR_INTERRUPT_TYPE 52
#define SPCR_IRQ 53
#define SPCR_BAUD 58
#define SPCR_CLOCK 76 /* revision 3 and later */
#define SPCR_MIN 80
#define TYPE_16550 0
#define TYPE_16550_SUBSET 1
#define TYPE_16550_GAS 0x12
#define INTERRUPT_ISA 1 /* the 8259's lines */
#define GAS_DWORD 3

static uint32_t baud_of(uint8_t code)
{
    return code == 3 ? 9600 : code == 4 ? 19200 : code == 6 ? 57600 : code == 7 ? 115200 : 0;
}

bool spcr_parse(const void *table, uint32_t len, struct uart_where *out)
{
    const uint8_t *t = table;
    struct acpi_gas g;

    if (len < SPCR_MIN)
        return false;
    memset(out, 0, sizeof(*out));
    memcpy(&g, t + SPCR_GAS, sizeof(g));
    if ((t[SPCR_TYPE] != TYPE_16550 && t[SPCR_TYPE] != TYPE_16550_SUBSET &&
         t[SPCR_TYPE] != TYPE_16550_GAS) ||
        g.addr == 0)
        return false; /* address 0: redirection is switched off */
    out->mmio = g.space == ACPI_SPACE_MEMORY;
    if (!out->mmio && (g.space != ACPI_SPACE_IO || g.addr > 0xfff8))
        return false;
    out->base = g.addr;
    out->stride = out->mmio && (g.access == GAS_DWORD || g.bits == 32) ? 4 : 1;
    out->baud = baud_of(t[SPCR_BAUD]);
    if (t[8] >= 3)
        memcpy(&out->clock_hz, t + SPCR_CLOCK, sizeof(out->clock_hz));
    if (out->clock_hz == UINT32_MAX)
        out->clock_hz = 0;
    if ((t[SPCR_INTERRUPT_TYPE] & INTERRUPT_ISA) && t[SPCR_IRQ] < 16)
        out->irq = t[SPCR_IRQ];
    return true;
}
