/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a VGA text adapter in mode 3, as latches: its memory at B8000 is plain RAM, and
 * nobody looks at it. Cursor and start address read back, and the status register follows the beam,
 * which is what text-mode systems wait for. Register numbers and values of the IBM VGA. Guarded by
 * the device lock. Tested by tools/tests/test_vdev_vga.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"

/* 720 by 400 at 70 Hz */
#define DOT_HZ 28322000ull
#define DOTS_LINE 900u
#define DOTS_SHOWN 720u
#define LINES_FRAME 449u
#define LINES_SHOWN 400u
#define RETRACE_FIRST 412u
#define RETRACE_LAST 413u
/* Ports; the attribute controller's index and data take turns at the first. */
enum {
    ATTRIBUTE_PORT = 0x3c0,
    ATTRIBUTE_READ,
    MISC_PORT, /* read: input status 0 */
    SEQUENCER_INDEX = 0x3c4,
    SEQUENCER_DATA,
    DAC_MASK,
    DAC_READ_INDEX,
    DAC_WRITE_INDEX,
    DAC_DATA,
    FEATURE_READ,
    MISC_READ = 0x3cc,
    GRAPHICS_INDEX = 0x3ce,
    GRAPHICS_DATA,
    CRTC_MONO = 0x3b4, /* index and data */
    STATUS1_MONO = 0x3ba,
    CRTC_COLOUR = 0x3d4,
    STATUS1_COLOUR = 0x3da, /* input status 1; written: feature control */
};
#define CRTC_COLOUR_FIRST 0x3d0
#define CRTC_OFFSET 0xfu /* of a port from 3B0 or 3D0 */
#define CRTC_OFFSET_END 6u
#define STATUS_BLANK 0x01
#define STATUS_RETRACE 0x08
#define MISC_COLOUR 0x01 /* CRTC at 3D4, not 3B4 */
#define MISC_MODE3 0x66  /* 28 MHz, memory on, polarities of 400 lines, page */
#define ATTRIBUTE_INDEX 0x1fu
#define ATTRIBUTE_SHOW 0x20u /* the display is on */
#define DAC_BITS 0x3f
#define SENSE 0x10

static const uint8_t crtc_mode3[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00,
                                     0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
                                     0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t seq_mode3[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t gfx_mode3[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const uint8_t attr_mode3[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14,
                                     0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
                                     0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
_Static_assert(sizeof(attr_mode3) == sizeof(((struct vvga *)0)->attr), "attribute controller");

static uint8_t beam(const struct vpc *pc)
{
    uint64_t dot = vpc_ticks(pc, port_tsc(), DOT_HZ) % (DOTS_LINE * LINES_FRAME);
    uint32_t line = (uint32_t)dot / DOTS_LINE, column = (uint32_t)dot % DOTS_LINE;
    uint8_t status = line >= LINES_SHOWN || column >= DOTS_SHOWN ? STATUS_BLANK : 0;
    if (line >= RETRACE_FIRST && line <= RETRACE_LAST)
        status |= STATUS_RETRACE;
    return status;
}

/* One register behind an index. */
static void indexed(struct vvga_file *f, struct vio *io)
{
    if (!(io->addr & 1)) {
        if (io->write)
            f->index = (uint8_t)io->value;
        else
            io->value = f->index;
    } else if (io->write) {
        f->reg[f->index % sizeof(f->reg)] = (uint8_t)io->value;
    } else {
        io->value = f->reg[f->index % sizeof(f->reg)];
    }
}

static void attribute(struct vvga *v, struct vio *io)
{
    unsigned i = v->attr_index & ATTRIBUTE_INDEX;
    if (!io->write) {
        bool index = !(io->addr & 1);
        io->value = index ? v->attr_index : i < sizeof(v->attr) ? v->attr[i] : 0;
        return;
    }
    if (io->addr & 1)
        return;
    if (!v->attr_data)
        v->attr_index = (uint8_t)io->value & (ATTRIBUTE_INDEX | ATTRIBUTE_SHOW);
    else if (i < sizeof(v->attr))
        v->attr[i] = (uint8_t)io->value;
    v->attr_data = !v->attr_data;
}

/* 3C7 and 3C8 set the place to read and to write; three accesses to 3C9 are one colour. */
static void palette(struct vvga *v, struct vio *io)
{
    switch (io->addr) {
    case DAC_MASK:
        if (io->write)
            v->dac_mask = (uint8_t)io->value;
        else
            io->value = v->dac_mask;
        break;
    case DAC_READ_INDEX:
        if (io->write) {
            v->dac_read = (uint32_t)io->value * 3;
            v->dac_reading = true;
        } else {
            io->value = v->dac_reading ? 3 : 0;
        }
        break;
    case DAC_WRITE_INDEX:
        if (io->write) {
            v->dac_write = (uint32_t)io->value * 3;
            v->dac_reading = false;
        } else {
            io->value = v->dac_write / 3;
        }
        break;
    default:
        if (io->write)
            v->dac[v->dac_write++ % sizeof(v->dac)] = (uint8_t)io->value & DAC_BITS;
        else
            io->value = v->dac[v->dac_read++ % sizeof(v->dac)];
        v->dac_write %= sizeof(v->dac);
        v->dac_read %= sizeof(v->dac);
        break;
    }
}

/* 3C0..3CF */
static void vvga_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vvga *v = &pc->vga;
    lock_take(&pc->lock);
    switch (io->addr) {
    case ATTRIBUTE_PORT:
    case ATTRIBUTE_READ:
        attribute(v, io);
        break;
    case MISC_PORT:
        if (io->write)
            v->misc = (uint8_t)io->value;
        else
            io->value = SENSE;
        break;
    case SEQUENCER_INDEX:
    case SEQUENCER_DATA:
        indexed(&v->seq, io);
        break;
    case DAC_MASK ... DAC_DATA:
        palette(v, io);
        break;
    case FEATURE_READ: /* written at STATUS1_COLOUR */
        if (!io->write)
            io->value = v->feature;
        break;
    case MISC_READ:
        if (!io->write)
            io->value = v->misc;
        break;
    case GRAPHICS_INDEX:
    case GRAPHICS_DATA:
        indexed(&v->gfx, io);
        break;
    default:
        break;
    }
    lock_drop(&pc->lock);
}

/* CRTC and input status 1, at 3D4 and 3DA or, as a monochrome adapter, at 3B4 and 3BA. */
static void vvga_crtc(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vvga *v = &pc->vga;
    bool colour = io->addr >= CRTC_COLOUR_FIRST;
    lock_take(&pc->lock);
    if (colour != (bool)(v->misc & MISC_COLOUR)) {
        lock_drop(&pc->lock);
        return;
    }
    if ((io->addr & CRTC_OFFSET) < CRTC_OFFSET_END) {
        indexed(&v->crtc, io);
    } else if (io->write) {
        v->feature = (uint8_t)io->value;
    } else {
        v->attr_data = false;
        io->value = beam(pc);
    }
    lock_drop(&pc->lock);
}

void vvga_init(struct vpc *pc)
{
    struct vvga *v = &pc->vga;
    memcpy(v->crtc.reg, crtc_mode3, sizeof(crtc_mode3));
    memcpy(v->seq.reg, seq_mode3, sizeof(seq_mode3));
    memcpy(v->gfx.reg, gfx_mode3, sizeof(gfx_mode3));
    memcpy(v->attr, attr_mode3, sizeof(attr_mode3));
    v->attr_index = ATTRIBUTE_SHOW;
    v->misc = MISC_MODE3 | MISC_COLOUR;
    v->dac_mask = 0xff;
    vbus_add_pio_bytes(&pc->bus, CRTC_COLOUR, 2, vvga_crtc, pc);
    vbus_add_pio_bytes(&pc->bus, STATUS1_COLOUR, 1, vvga_crtc, pc);
    vbus_add_pio_bytes(&pc->bus, CRTC_MONO, 2, vvga_crtc, pc);
    vbus_add_pio_bytes(&pc->bus, STATUS1_MONO, 1, vvga_crtc, pc);
    vbus_add_pio_bytes(&pc->bus, ATTRIBUTE_PORT, 16, vvga_io, pc);
}
