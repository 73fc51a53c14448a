/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8259 pair: initialisation, priorities, cascade, EOI commands, special mask, AEOI, rotation,
 * poll, edge and level, spurious interrupts. */
#include "tools/tests/test_vdev_rig.h"

static int ack(void)
{
    int v = vlapic_accept(&pc, 0);
    return v;
}
static uint32_t isr(uint16_t port)
{
    outb(port, 0x0b);
    uint8_t v = inb(port);
    outb(port, 0x0a);
    return v;
}

static void test_basic(void)
{
    rig_init(1);
    tap_eq(inb(0x21), 0xff, "masked at first");
    pic_setup(1, 0x00, 0x00);
    tap_eq(inb(0x21), 0x00, "mask reads back");
    line(4, true);
    line(3, true);
    tap_eq(inb(0x20), 0x18, "IRR");
    tap_eq(ack(), 0x33, "lower input first");
    tap_eq(isr(0x20), 0x08, "ISR");
    tap_eq(vlapic_pending(&pc, 0), -1, "input 4 waits for EOI");
    line(1, true);
    tap_eq(ack(), 0x31, "input 1 nests");
    outb(0x20, 0x20);
    tap_eq(isr(0x20), 0x08, "non-specific EOI ends the highest");
    outb(0x20, 0x63);
    tap_eq(ack(), 0x34, "specific EOI of 3 uncovers 4");
    outb(0x20, 0x20);
    tap_eq(vlapic_pending(&pc, 0), -1, "edges are not repeated");
    line(4, false);
    line(4, true);
    outb(0x21, 0x10);
    tap_eq(vlapic_pending(&pc, 0), -1, "masked");
    outb(0x21, 0x00);
    tap_eq(ack(), 0x34, "an edge while masked is kept");
    outb(0x20, 0x20);
}

static void test_cascade(void)
{
    rig_init(1);
    pic_setup(1, 0x00, 0x00);
    line(8, true);
    line(5, true);
    tap_eq(ack(), 0x38, "slave comes in at input 2");
    tap_eq(isr(0x20), 0x04, "master's ISR");
    tap_eq(isr(0xa0), 0x01, "slave's ISR");
    line(12, true);
    tap_eq(vlapic_pending(&pc, 0), -1, "slave's lower input waits");
    outb(0xa0, 0x20);
    tap_eq(vlapic_pending(&pc, 0), -1, "until the master's EOI too");
    outb(0x20, 0x20);
    tap_eq(ack(), 0x3c, "input 12");
    outb(0xa0, 0x20), outb(0x20, 0x20);
    tap_eq(ack(), 0x35, "then 5");
    outb(0x20, 0x20);
    pic_setup(0x11, 0x00, 0x00); /* special fully nested */
    line(12, false), line(12, true);
    tap_eq(ack(), 0x3c, "input 12");
    line(8, false), line(8, true);
    tap_eq(ack(), 0x38, "interrupted by 8 in special fully nested mode");
}

static void test_spurious(void)
{
    rig_init(1);
    pic_setup(1, 0x00, 0x00);
    line(4, true);
    line(4, false);
    tap_eq(vlapic_pending(&pc, 0), -1, "a request that goes away is withdrawn");
    lock_take(&pc.lock);
    tap_eq(vpic_ack(&pc, 0), 0x37, "INTA with nothing pending: input 7");
    lock_drop(&pc.lock);
    tap_eq(isr(0x20), 0, "and nothing in service");
    line(7, true);
    tap_eq(ack(), 0x37, "a true one");
    tap_eq(isr(0x20), 0x80, "is in service");
}

static void test_modes(void)
{
    rig_init(1);
    pic_setup(3, 0x00, 0x00);
    line(4, true);
    tap_eq(ack(), 0x34, "AEOI");
    tap_eq(isr(0x20), 0, "ends at INTA");
    pic_setup(1, 0x00, 0x00);
    line(4, false), line(4, true);
    tap_eq(ack(), 0x34, "input 4 in service");
    outb(0x21, 0x10);
    line(6, true);
    tap_eq(vlapic_pending(&pc, 0), -1, "6 waits");
    outb(0x20, 0x68);
    tap_eq(ack(), 0x36, "special mask lets it through");
    outb(0x20, 0x20);
    tap_eq(isr(0x20), 0x10, "non-specific EOI spares the masked one");
    outb(0x20, 0x48);
    outb(0x20, 0x64);
    outb(0x21, 0);
    outb(0x20, 0xc4); /* 4 is the lowest now, 5 the highest */
    line(4, false), line(4, true);
    line(5, true);
    tap_eq(ack(), 0x35, "set priority");
    outb(0x20, 0xa0); /* rotate: 5 becomes the lowest */
    line(5, false), line(5, true);
    tap_eq(ack(), 0x34, "rotate on EOI");
    outb(0x20, 0x20);
    outb(0x20, 0x0c);
    tap_eq(inb(0x20), 0x85, "poll acknowledges 5");
    tap_eq(isr(0x20), 0x20, "which is in service");
    outb(0x20, 0x0c);
    tap_eq(inb(0x20), 7, "poll with nothing");
}

static void test_level(void)
{
    rig_init(1);
    pic_setup(1, 0x00, 0x00);
    outb(0x4d0, 0xff), outb(0x4d1, 0xff);
    tap_eq(inb(0x4d0), 0xf8, "inputs 0 to 2 are edge always");
    tap_eq(inb(0x4d1), 0xde, "8 and 13 too");
    line(5, true);
    tap_eq(ack(), 0x35, "level");
    tap_eq(vlapic_pending(&pc, 0), -1, "in service");
    outb(0x20, 0x20);
    tap_eq(ack(), 0x35, "still asserted: again");
    line(5, false);
    outb(0x20, 0x20);
    tap_eq(vlapic_pending(&pc, 0), -1, "deasserted");
    line(9, true);
    tap_eq(ack(), 0x39, "level at the slave");
    outb(0xa0, 0x20), outb(0x20, 0x20);
    tap_eq(ack(), 0x39, "again");
}

int main(void)
{
    test_basic();
    test_cascade();
    test_spurious();
    test_modes();
    test_level();
    return tap_done();
}
