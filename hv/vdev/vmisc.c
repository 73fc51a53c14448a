/* SPDX-License-Identifier: BSD-2-Clause */
/* The small ports of a PC: system control 61 and 92, POST code 80, the keyboard controller without
 * a keyboard, CRTC latches, debug console and debug exit. Guarded by the device lock. Tested by
 * tools/tests/test_vdev_misc.c. */
#include "hv/vdev/vpc_state.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"

#define KBC_TIMEOUT 0x40u
#define KBC_NO_REPLY 0xfe

/* Port 61: bits 0 and 1 gate timer 2 and the speaker; 4 toggles with refresh; 5 is timer 2's
 * output. */
static void port61(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    lock_take(&pc->lock);
    uint64_t now = port_tsc();
    if (io->write) {
        pc->misc.port61 = (uint32_t)io->value & 0x0f;
        vpit_gate2(pc, now, io->value & 1);
    } else {
        io->value = pc->misc.port61 | (vpc_ticks(pc, now, 66287) & 1) << 4 | /* every 15.1 us */
                    (uint64_t)vpit_out2(pc, now) << 5;
    }
    lock_drop(&pc->lock);
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
        vpc_end(pc, true);
}

/* --- keyboard controller 8042 --- */
static void kbc_reply(struct vmisc *m, uint8_t byte)
{
    m->kbc_out = byte;
    m->kbc_full = true;
    m->kbc_timeout = false;
}

/* true: reset. */
static bool kbc_command(struct vmisc *m, uint8_t cmd)
{
    m->kbc_command = 0;
    switch (cmd) {
    case 0x20:
        kbc_reply(m, m->kbc_ram);
        break;
    case 0xaa: /* self test passed */
        kbc_reply(m, 0x55);
        break;
    case 0xa9:
    case 0xab: /* interface tests: lines fine */
        kbc_reply(m, 0x00);
        break;
    case 0xc0:
        kbc_reply(m, 0x80); /* keyboard not locked */
        break;
    case 0xd0:
        kbc_reply(m, (uint8_t)(0xcd | (m->port92 & 2)));
        break;
    case 0x60:
    case 0xd1 ... 0xd4: /* the next byte at port 60 belongs to it */
        m->kbc_command = cmd;
        break;
    case 0xa7: /* disable and enable the interfaces */
        m->kbc_ram |= 0x20;
        break;
    case 0xa8:
        m->kbc_ram &= (uint8_t)~0x20;
        break;
    case 0xad:
        m->kbc_ram |= 0x10;
        break;
    case 0xae:
        m->kbc_ram &= (uint8_t)~0x10;
        break;
    case 0xf0 ... 0xff: /* pulses the output lines whose bit is 0; bit 0 is reset */
        return !(cmd & 1);
    default:
        break;
    }
    return false;
}

/* true: reset. */
static bool kbc_data(struct vmisc *m, uint8_t byte)
{
    uint8_t cmd = m->kbc_command;
    m->kbc_command = 0;
    switch (cmd) {
    case 0x60:
        m->kbc_ram = byte;
        return false;
    case 0xd1: /* output port: bit 0 low is reset, bit 1 the A20 gate */
        m->port92 = (m->port92 & ~2u) | (byte & 2);
        return !(byte & 1);
    case 0xd2:
    case 0xd3: /* echoed as if a device had sent it */
        kbc_reply(m, byte);
        return false;
    default: /* for a device, and none is connected */
        kbc_reply(m, KBC_NO_REPLY);
        m->kbc_timeout = true;
        return false;
    }
}

static void kbc(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vmisc *m = &pc->misc;
    bool status = io->addr & 4, reset = false;
    lock_take(&pc->lock);
    if (io->write) {
        m->kbc_last_command = status;
        reset = status ? kbc_command(m, (uint8_t)io->value) : kbc_data(m, (uint8_t)io->value);
    } else if (status) {
        io->value = 0x14u | (m->kbc_full ? 1u : 0) | (m->kbc_last_command ? 8u : 0) |
                    (m->kbc_timeout ? KBC_TIMEOUT : 0);
    } else {
        io->value = m->kbc_out;
        m->kbc_full = m->kbc_timeout = false;
    }
    lock_drop(&pc->lock);
    if (reset)
        vpc_end(pc, true);
}

/* Cursor and start address latches of a text adapter whose memory is plain RAM. */
static void crtc(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vmisc *m = &pc->misc;
    lock_take(&pc->lock);
    if (!(io->addr & 1)) {
        if (io->write)
            m->crtc_index = (uint32_t)io->value & 0xff;
        else
            io->value = m->crtc_index;
    } else if (io->write) {
        m->crtc[m->crtc_index] = (uint8_t)io->value;
    } else {
        io->value = m->crtc[m->crtc_index];
    }
    lock_drop(&pc->lock);
}

static void post_code(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    if (io->write)
        atomic_store_explicit(&pc->misc.post_code, (uint32_t)io->value, memory_order_relaxed);
    else
        io->value = atomic_load_explicit(&pc->misc.post_code, memory_order_relaxed);
}

/* Bochs ends when "Shutdown" is written here; the machine is not the guest's to end. */
static void ignored(void *dev, struct vio *io)
{
    (void)dev;
    (void)io;
}

static void debugcon(void *dev, struct vio *io)
{
    (void)dev;
    if (io->write)
        port_debugcon((uint8_t)io->value);
    else
        io->value = 0xe9; /* how guests find it */
}

static void debug_exit(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    if (!io->write || !pc->cfg.test)
        return;
    vpc_flush(pc);
    if (pc->cfg.debug_exit)
        pc->cfg.debug_exit(pc->cfg.ctx, (uint32_t)io->value);
    else
        port_debug_exit((uint32_t)io->value);
}

void vmisc_init(struct vpc *pc)
{
    pc->misc.port92 = 2;     /* A20 is on */
    pc->misc.kbc_ram = 0x34; /* interfaces off, self test passed */
    vbus_add_pio_bytes(&pc->bus, 0x61, 1, port61, pc);
    vbus_add_pio_bytes(&pc->bus, 0x60, 1, kbc, pc);
    vbus_add_pio_bytes(&pc->bus, 0x64, 1, kbc, pc);
    vbus_add_pio_bytes(&pc->bus, 0x80, 1, post_code, pc);
    vbus_add_pio_bytes(&pc->bus, 0x92, 1, port92, pc);
    vbus_add_pio_bytes(&pc->bus, 0xe9, 1, debugcon, pc);
    vbus_add_pio(&pc->bus, 0xf4, 4, debug_exit, pc);
    vbus_add_pio_bytes(&pc->bus, 0x3d4, 2, crtc, pc);
    vbus_add_pio_bytes(&pc->bus, 0x8900, 1, ignored, pc);
}
