/* SPDX-License-Identifier: BSD-2-Clause */
/* The test ports: storage, and interrupt lines to both controllers; absent without test=1. */
#include "tools/tests/test_vdev_rig.h"

static void test_ports(void)
{
    rig_init(1);
    apics_on();
    (void)rig_io(0, false, 0xe0, 4, true, 0x11223344);
    tap_eq(rig_io(0, false, 0xe0, 4, false, 0), 0x11223344, "four bytes");
    tap_eq(inb(0xe2), 0x22, "each by itself");
    ioapic_pin(10, 0x41);
    outb(0x200a, 1);
    tap_eq(vlapic_accept(&pc, 0), 0x41, "line 10 rises");
    apic_w(0, 0xb0, 0);
    outb(0x200a, 1);
    tap_eq(vlapic_accept(&pc, 0), -1, "it is up already");
    outb(0x200a, 0), outb(0x200a, 0xff);
    tap_eq(vlapic_accept(&pc, 0), 0x41, "down and up");
    apic_w(0, 0xb0, 0);
    ioapic_pin(2, 0x42);
    outb(0x2000, 1);
    tap_eq(vlapic_accept(&pc, 0), 0x42, "line 0 is pin 2");
    apic_w(0, 0xb0, 0);
    ioapic_pin(23, 0x8043);
    outb(0x2017, 1);
    tap_eq(vlapic_accept(&pc, 0), 0x43, "pin 23, level");
    apic_w(0, 0xb0, 0);
    tap_eq(vlapic_accept(&pc, 0), 0x43, "again after its end");
    outb(0x2017, 0);
    apic_w(0, 0xb0, 0);
    tap_eq(vlapic_accept(&pc, 0), -1, "until it falls");
    apic_w(0, 0x350, 0x700);
    pic_setup(1, 0xfb, 0xfb);
    outb(0x200a, 0), outb(0x200a, 1);
    tap_eq(vlapic_accept(&pc, 0), 0x41, "line 10 by the I/O APIC");
    tap_eq(vlapic_accept(&pc, 0), 0x3a, "and by the 8259, whatever is in service");
    tap_eq(inb(0x2000), 0xff, "lines do not read");
}

/* A level that nobody ends does not take the whole CPU. */
static void test_storm(void)
{
    unsigned n = 0;
    rig_init(2);
    apics_on();
    ioapic_pin(10, 0x8041 | 1ull << 56);
    outb(0x200a, 1);
    while (n < 1000 && vlapic_accept(&pc, 1) == 0x41) {
        n++;
        apic_w(1, 0xb0, 0);
    }
    tap_eq(n, 64, "so many at once");
    tap_eq(actions(0) & ACTION_TIMER, ACTION_TIMER, "CPU 0 is told of the deadline");
    after_ns(900000);
    tap_eq(vlapic_pending(&pc, 1), -1, "a pause");
    after_ns(200000);
    tap_eq(vlapic_accept(&pc, 1), 0x41, "then again");
    apic_w(1, 0xb0, 0);
    tap_eq(vlapic_accept(&pc, 1), 0x41, "and at once");
    outb(0x200a, 0);
    apic_w(1, 0xb0, 0);
    after_ns(5000000);
    tap_eq(vlapic_pending(&pc, 1), -1, "until it falls");
    outb(0x200a, 1);
    for (n = 0; n < 64 && vlapic_accept(&pc, 1) == 0x41; n++)
        apic_w(1, 0xb0, 0);
    tap_eq(n, 64, "the count starts anew");
    outb(0x200a, 0);
    after_ns(5000000);
    tap_eq(vlapic_pending(&pc, 1), -1, "a level that fell in the pause is not sent");
}

static void test_absent(void)
{
    struct vpc_config cfg;
    rig_init(1);
    cfg = pc.cfg;
    cfg.test = false;
    vpc_init(&pc, &cfg);
    outb(0xe0, 1);
    tap_eq(inb(0xe0), 0xff, "no storage without test=1");
    struct vio io = {.addr = 0x200a, .size = 1, .write = true, .value = 1};
    tap_ok(!vbus_pio(vpc_bus(&pc), &io), "and no lines");
}

int main(void)
{
    test_ports();
    test_storm();
    test_absent();
    return tap_done();
}
