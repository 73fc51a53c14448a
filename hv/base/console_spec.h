/* SPDX-License-Identifier: BSD-2-Clause */
/* What a value of console= means. Tested by tools/tests/test_options.c. */
#pragma once
#include "hv/base/types.h"

enum console_kind {
    CONSOLE_AUTO,
    CONSOLE_NONE,
    CONSOLE_COM,
    CONSOLE_PIO,
    CONSOLE_MMIO32,
    CONSOLE_PCI,
    CONSOLE_SPCR,
    CONSOLE_FB,
    CONSOLE_VGA,
    CONSOLE_DEBUGCON
};
struct console_spec {
    enum console_kind kind;
    unsigned com;          /* COM: 1..4 */
    uint64_t base;         /* PIO: port; MMIO32: physical address of registers 4 bytes apart */
    uint32_t bus, dev, fn; /* PCI */
    uint32_t baud;         /* 0: not told */
    uint32_t clock_hz;     /* 0: not told */
};
#define CONSOLE_GRAMMAR                                                                            \
    "auto|com1..4[,BAUD]|pio:PORT[,BAUD][,clk=HZ]|mmio32:ADDR[,BAUD][,clk=HZ]|"                    \
    "pci:BB:DD.F[,BAUD][,clk=HZ]|spcr|fb|vga|debugcon|none"
/* Decimal or 0x number; *end behind it. false: no digits, or above 2^60. */
bool number_parse(const char *s, uint64_t *out, const char **end) HV_MUST_CHECK;
/* false: not of that grammar; *out undefined. BAUD may be written 115200n8. */
bool console_spec_parse(const char *s, struct console_spec *out) HV_MUST_CHECK;
