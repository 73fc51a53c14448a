/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller 8042 and a keyboard on which nobody types: it answers commands, and so do
 * the reset line and the A20 gate; there is no mouse. System control port 92 as well. Guarded by
 * the device lock. Tested by tools/tests/test_vdev_kbc.c. */
#include "hv/vdev/pc/vpc_state.h"

#define STATUS_FULL 0x01
#define STATUS_SYSTEM 0x04 /* self test passed */
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX 0x20
#define STATUS_TIMEOUT 0x40
#define RAM_IRQ 0x01 /* command byte: interrupt 1 with each byte */
#define RAM_DISABLED 0x10
#define RAM_AUX_DISABLED 0x20
#define RAM_TRANSLATE 0x40
#define KBD_LEDS 0xed
#define KBD_ECHO 0xee
#define KBD_SCAN_SET 0xf0
#define KBD_IDENTIFY 0xf2
#define KBD_RATE 0xf3
#define KBD_ENABLE 0xf4 /* then disable, defaults, types of keys */
#define KBD_KEY_TYPES_LAST 0xfd
#define KBD_RESET 0xff
#define KBD_COMMANDS KBD_LEDS /* the first of them: smaller bytes are arguments */
#define ACK 0xfa
#define RESEND 0xfe
#define NO_REPLY 0xfe
#define NO_COMMAND 0
#define RAM_INDEX 0x1f /* of a command that reads or writes the memory */
#define A20 2u

static void put(struct vkbc *k, uint8_t byte, uint8_t status)
{
    if (k->count == VKBC_FIFO)
        return; /* a keyboard that overflows loses bytes */
    unsigned at = (k->head + k->count++) % VKBC_FIFO;
    k->byte[at] = byte;
    k->status[at] = status;
}

/* What the controller itself says replaces what waits. */
static void reply(struct vkbc *k, uint8_t byte)
{
    k->count = 0;
    put(k, byte, 0);
}

/* --- keyboard --- */

static void keyboard_reset(struct vkbc *k)
{
    k->scancode_set = 2;
    k->kbd_command = 0;
}

/* The byte behind a two-byte command. */
static void keyboard_argument(struct vkbc *k, uint8_t byte)
{
    uint8_t cmd = k->kbd_command;
    k->kbd_command = 0;
    put(k, ACK, 0);
    if (cmd != KBD_SCAN_SET)
        return; /* lights, repeat rate */
    if (byte == 0)
        put(k, k->scancode_set, 0);
    else if (byte <= 3)
        k->scancode_set = byte;
}

/* Commands of the AT keyboard (IBM PS/2 Hardware Interface Technical Reference, "Keyboards"). */
static void keyboard(struct vkbc *k, uint8_t byte)
{
    if (k->kbd_command && byte < KBD_COMMANDS) {
        keyboard_argument(k, byte);
        return;
    }
    k->kbd_command = 0;
    switch (byte) {
    case KBD_LEDS:
    case KBD_SCAN_SET:
    case KBD_RATE:
        k->kbd_command = byte;
        put(k, ACK, 0);
        break;
    case KBD_ECHO:
        put(k, KBD_ECHO, 0);
        break;
    case KBD_IDENTIFY:
        put(k, ACK, 0);
        put(k, 0xab, 0);
        put(k, k->ram & RAM_TRANSLATE ? 0x41 : 0x83, 0); /* the controller translates 83 too */
        break;
    case KBD_ENABLE ... KBD_KEY_TYPES_LAST:
        put(k, ACK, 0);
        break;
    case KBD_RESET:
        keyboard_reset(k);
        put(k, ACK, 0);
        put(k, 0xaa, 0); /* self test passed */
        break;
    default:
        put(k, RESEND, 0);
        break;
    }
}

/* --- controller --- */

/* true: reset. */
static bool command(struct vkbc *k, uint32_t *port92, uint8_t cmd)
{
    k->command = NO_COMMAND;
    switch (cmd) {
    case KBC_READ_RAM ... KBC_READ_RAM_LAST:
        reply(k, cmd == KBC_READ_RAM ? k->ram : k->spare[cmd & RAM_INDEX]);
        break;
    case KBC_WRITE_RAM ... KBC_WRITE_RAM_LAST: /* the next byte at port 60 belongs to it */
    case KBC_WRITE_OUTPUT ... KBC_WRITE_AUX:
        k->command = cmd;
        break;
    case KBC_AUX_OFF:
        k->ram |= RAM_AUX_DISABLED;
        break;
    case KBC_AUX_ON:
        k->ram &= (uint8_t)~RAM_AUX_DISABLED;
        break;
    case KBC_AUX_TEST:
    case KBC_TEST:
        reply(k, 0x00);
        break;
    case KBC_SELF_TEST: /* passed; leaves both interfaces off */
        k->ram = RAM_DISABLED | RAM_AUX_DISABLED | STATUS_SYSTEM;
        reply(k, 0x55);
        break;
    case KBC_OFF:
        k->ram |= RAM_DISABLED;
        break;
    case KBC_ON:
        k->ram &= (uint8_t)~RAM_DISABLED;
        break;
    case KBC_READ_INPUT: /* keyboard not locked */
        reply(k, 0x80);
        break;
    case KBC_READ_OUTPUT:
        reply(k, (uint8_t)(0xcd | (*port92 & A20)));
        break;
    case KBC_A20_OFF:
        *port92 &= ~A20;
        break;
    case KBC_A20_ON:
        *port92 |= A20;
        break;
    case KBC_PULSE ... KBC_PULSE_LAST: /* pulses the output lines whose bit is 0; bit 0 is reset */
        return !(cmd & 1);
    default:
        break;
    }
    return false;
}

/* true: reset. */
static bool data(struct vkbc *k, uint32_t *port92, uint8_t byte)
{
    uint8_t cmd = k->command;
    k->command = NO_COMMAND;
    switch (cmd) {
    case NO_COMMAND:
        k->ram &= (uint8_t)~RAM_DISABLED; /* writing to the keyboard enables it */
        keyboard(k, byte);
        return false;
    case KBC_WRITE_RAM:
        k->ram = byte;
        return false;
    case KBC_WRITE_OUTPUT: /* bit 0 low is reset, bit 1 the A20 gate */
        *port92 = (*port92 & ~A20) | (byte & A20);
        return !(byte & 1);
    case KBC_WRITE_BUFFER: /* echoed as if the keyboard, the mouse had sent it */
        reply(k, byte);
        return false;
    case KBC_WRITE_AUX_BUFFER:
        k->count = 0;
        put(k, byte, STATUS_AUX);
        return false;
    case KBC_WRITE_AUX: /* for the mouse, and there is none */
        k->count = 0;
        put(k, NO_REPLY, STATUS_AUX | STATUS_TIMEOUT);
        return false;
    default:
        k->spare[cmd & RAM_INDEX] = byte;
        return false;
    }
}

static void update_irq(struct vpc *pc, uint32_t from)
{
    const struct vkbc *k = &pc->kbc;
    bool aux = k->count && (k->status[k->head] & STATUS_AUX);
    vpc_irq(pc, from, IRQ_KBD, k->count && !aux && (k->ram & RAM_IRQ));
}

static void vkbc_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vkbc *k = &pc->kbc;
    bool status = io->addr & (KBC_DATA ^ KBC_STATUS), reset = false;
    lock_take(&pc->lock);
    if (io->write) {
        uint8_t byte = (uint8_t)io->value;
        k->last_command = status;
        reset = status ? command(k, &pc->misc.port92, byte) : data(k, &pc->misc.port92, byte);
        update_irq(pc, io->cpu);
    } else if (status) {
        io->value = STATUS_UNLOCKED | STATUS_SYSTEM | (k->last_command ? STATUS_COMMAND : 0) |
                    (k->count ? STATUS_FULL | k->status[k->head] : 0);
    } else {
        if (k->count) {
            k->last = k->byte[k->head];
            k->head = (k->head + 1) % VKBC_FIFO;
            k->count--;
            vpc_irq(pc, io->cpu, IRQ_KBD, false); /* an edge for each byte */
            update_irq(pc, io->cpu);
        }
        io->value = k->last;
    }
    lock_drop(&pc->lock);
    if (reset)
        vpc_soft_reset(pc, io->cpu);
}

static void port92(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    bool reset = false;
    lock_take(&pc->lock);
    if (io->write) {
        reset = (io->value & 1) && !(pc->misc.port92 & 1);
        pc->misc.port92 = (uint32_t)io->value & 0x03;
    } else {
        io->value = pc->misc.port92;
    }
    lock_drop(&pc->lock);
    if (reset)
        vpc_soft_reset(pc, io->cpu);
}

void vkbc_init(struct vpc *pc)
{
    pc->misc.port92 = A20; /* on, and memory does not wrap when it is off */
    /* as firmware leaves it: systems without a driver of their own count on its interrupt */
    pc->kbc.ram = RAM_TRANSLATE | RAM_AUX_DISABLED | STATUS_SYSTEM | RAM_IRQ;
    keyboard_reset(&pc->kbc);
    vbus_add_pio_bytes(&pc->bus, KBC_DATA, 1, vkbc_io, pc);
    vbus_add_pio_bytes(&pc->bus, KBC_STATUS, 1, vkbc_io, pc);
    vbus_add_pio_bytes(&pc->bus, SYSTEM_CONTROL_A, 1, port92, pc);
}
