/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers of the text adapter: cursor latches, both CRTC addresses, the beam, palette. */
#include "tools/tests/test_vdev_rig.h"

#define FRAME_NS 14268009u /* 900 * 449 dots */

static void test_crtc(void)
{
    rig_init(1);
    outb(0x3d4, 0x0e);
    tap_eq(inb(0x3d5), 0, "cursor at 0");
    (void)rig_io(0, false, 0x3d4, 2, true, 0x120e);
    tap_eq(inb(0x3d4), 0x0e, "a word write reaches index");
    tap_eq(inb(0x3d5), 0x12, "and data");
    outb(0x3d4, 0x0f), outb(0x3d5, 0x34);
    tap_eq(rig_io(0, false, 0x3d4, 2, false, 0), 0x340f, "a word read too");
    tap_eq(rig_io(0, false, 0x3d5, 2, false, 0), 0xff34, "a word half outside");
    outb(0x3d4, 0x01);
    tap_eq(inb(0x3d5), 79, "80 columns");
    tap_eq(inb(0x3b5), 0xff, "no monochrome adapter");
    outb(0x3c2, inb(0x3cc) & 0xfe);
    tap_eq(inb(0x3d5), 0xff, "after the switch it answers");
    tap_eq(inb(0x3b5), 79, "at 3B5");
}

/* Both status bits go up and down within a frame, and retrace lies in the blank. */
static void test_beam(void)
{
    unsigned seen = 0, wrong = 0, retraces = 0, before = 0;
    rig_init(1);
    for (unsigned i = 0; i < 8980; i++) {
        after_ns(FRAME_NS / 898);
        uint8_t s = inb(0x3da);
        seen |= 1u << (s & 1) | (s & 8 ? 4u : 8u);
        wrong += (s & 8) && !(s & 1);
        retraces += (s & 8) && !before;
        before = s & 8;
    }
    tap_eq(seen, 15, "both bits take both values");
    tap_eq(wrong, 0, "no retrace while the picture shows");
    tap_eq(retraces, 10, "retraces in ten frames");
}

static void test_files(void)
{
    rig_init(1);
    (void)inb(0x3da);
    outb(0x3c0, 0x20 | 3), outb(0x3c0, 0x2a);
    tap_eq(inb(0x3c0), 0x23, "attribute index");
    tap_eq(inb(0x3c1), 0x2a, "attribute data");
    outb(0x3c0, 0x24);
    (void)inb(0x3da);
    outb(0x3c0, 0x23);
    tap_eq(inb(0x3c1), 0x2a, "reading the status makes the next write an index");
    (void)inb(0x3da);
    outb(0x3c0, 0x1f), outb(0x3c0, 1);
    tap_eq(inb(0x3c1), 0, "no such attribute register");
    outb(0x3c4, 2);
    tap_eq(inb(0x3c5), 3, "sequencer: planes 0 and 1");
    outb(0x3ce, 6), outb(0x3cf, 0x0c);
    tap_eq(inb(0x3cf), 0x0c, "graphics controller");
    outb(0x3c8, 1);
    outb(0x3c9, 10), outb(0x3c9, 20), outb(0x3c9, 0x7f);
    tap_eq(inb(0x3c8), 2, "one colour written");
    outb(0x3c7, 1);
    tap_eq(inb(0x3c7), 3, "reading");
    tap_eq(inb(0x3c9), 10, "red");
    tap_eq(inb(0x3c9), 20, "green");
    tap_eq(inb(0x3c9), 0x3f, "blue has 6 bits");
    outb(0x3da, 1);
    tap_eq(inb(0x3ca), 1, "feature control");
    tap_eq(inb(0x3c6), 0xff, "palette mask");
}

int main(void)
{
    test_crtc();
    test_beam();
    test_files();
    return tap_done();
}
