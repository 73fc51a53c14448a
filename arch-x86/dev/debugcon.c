/* SPDX-License-Identifier: BSD-2-Clause */
/* Port 0xE9 of Bochs and QEMU as a console. Never chosen by itself: guests' tests report there.
 * Tested by `make check` with console=debugcon. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/dev/console.h"

static void debugcon_write(struct console *c, const char *text, size_t len, bool raw)
{
    (void)raw;
    for (size_t i = 0; i < len; i++)
        out8(c->port, (uint8_t)text[i]);
}

bool debugcon_open(struct console *c)
{
    if (in8(DEBUGCON_PORT) != DEBUGCON_PORT)
        return false;
    c->port = DEBUGCON_PORT;
    c->write = debugcon_write;
    return true;
}
