/* SPDX-License-Identifier: BSD-2-Clause */
/* The PS/2 keyboard as an input device, so that a machine without a serial port is not deaf. Every
 * wait is bounded. Tested by the console group of `make check`. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/dev/console.h"
#include "arch-x86/dev/keymap.h"

#define STATUS_OUT 0x01
#define STATUS_IN 0x02
#define STATUS_AUX 0x20 /* the byte is the mouse's */
#define CONFIG_KBD_IRQ 0x01
#define CONFIG_AUX_IRQ 0x02
#define CONFIG_KBD_OFF 0x10
#define CONFIG_TRANSLATE 0x40 /* to scan code set 1 */
#define KBD_SCAN_ON 0xf4
#define IRQ_KBD 1
#define SPINS 50000u /* about a microsecond each */
#define DRAIN 64     /* more than any buffer there is */

static struct keymap map;
static char queue[KEYMAP_OUT];
static unsigned queued, taken;

static bool wait_status(uint8_t bit, bool set)
{
    for (unsigned i = 0; i < SPINS; i++)
        if (!(in8(KBC_STATUS) & bit) != set)
            return true;
    return false;
}

static bool send(uint16_t port, uint8_t v)
{
    if (!wait_status(STATUS_IN, false))
        return false;
    out8(port, v);
    return true;
}

static void drain(void)
{
    for (unsigned i = 0; i < DRAIN && (in8(KBC_STATUS) & STATUS_OUT); i++)
        (void)in8(KBC_DATA);
}

static int kbd_read(struct console *c)
{
    (void)c;
    for (unsigned i = 0; taken == queued && i < DRAIN; i++) {
        uint8_t status = in8(KBC_STATUS);
        if (status == 0xff || !(status & STATUS_OUT))
            return -1;
        uint8_t code = in8(KBC_DATA);
        taken = queued = 0;
        if (!(status & STATUS_AUX))
            queued = keymap_feed(&map, code, queue);
    }
    return taken < queued ? (uint8_t)queue[taken++] : -1;
}

static void kbd_listen(struct console *c)
{
    (void)c;
    drain(); /* the interrupt is an edge: a byte that waits would hold it up for ever */
}

bool kbd_open(struct console *c)
{
    uint8_t config;

    if (in8(KBC_STATUS) == 0xff) /* nothing decodes the port */
        return false;
    drain();
    if (!send(KBC_STATUS, KBC_AUX_OFF) || !send(KBC_STATUS, KBC_READ_RAM) ||
        !wait_status(STATUS_OUT, true))
        return false;
    config = in8(KBC_DATA);
    config = (uint8_t)((config | CONFIG_KBD_IRQ | CONFIG_TRANSLATE) &
                       ~(CONFIG_AUX_IRQ | CONFIG_KBD_OFF));
    if (!send(KBC_STATUS, KBC_WRITE_RAM) || !send(KBC_DATA, config) || !send(KBC_STATUS, KBC_ON) ||
        !send(KBC_DATA, KBD_SCAN_ON))
        return false;
    (void)wait_status(STATUS_OUT, true); /* its answer, if a keyboard is plugged in */
    drain();
    c->irq = IRQ_KBD;
    c->read = kbd_read;
    c->listen = kbd_listen;
    return true;
}
