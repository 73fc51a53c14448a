/* SPDX-License-Identifier: BSD-2-Clause */
/* RTC and CMOS: calendar and formats, setting, update-in-progress, periodic, update and alarm
 * interrupts, memory sizes. */
#include "tools/tests/test_vdev_rig.h"

static uint8_t rd(uint8_t reg)
{
    outb(0x70, reg);
    return inb(0x71);
}
static void wr(uint8_t reg, uint8_t v)
{
    outb(0x70, reg);
    outb(0x71, v);
}
static uint64_t date(void)
{
    return (uint64_t)rd(0x32) << 48 | (uint64_t)rd(9) << 40 | (uint64_t)rd(8) << 32 |
           (uint64_t)rd(7) << 24 | (uint64_t)rd(4) << 16 | (uint64_t)rd(2) << 8 | rd(0);
}
static bool irq8(void)
{
    bool got = vlapic_accept(&pc, 0) == 0x38;
    if (got)
        apic_w(0, 0xb0, 0);
    return got;
}
static void rig(void)
{
    rig_init(2);
    apics_on();
    ioapic_pin(8, 0x38);
}

/* The host's clock is read early in its start; the guest's begins when that has gone on. */
static void test_read_early(void)
{
    rig();
    struct vpc_config cfg = pc.cfg;
    fake_set_boot_time_tsc(now - 3 * RIG_HZ - RIG_HZ / 4);
    vpc_init(&pc, &cfg);
    tap_eq(date(), 0x20000229000002, "three seconds later");
    rig();
    cfg = pc.cfg;
    fake_set_boot_time_tsc(now - RIG_HZ * 9 / 10);
    vpc_init(&pc, &cfg);
    tap_eq(date(), 0x20000229000000, "to the nearest second");
}

static void test_calendar(void)
{
    rig();
    tap_eq(date(), 0x20000228235959, "2000-02-28 23:59:59 in BCD");
    tap_eq(rd(6), 2, "a Monday");
    tap_eq(rd(13), 0x80, "battery good");
    after_ns(NS_PER_S);
    tap_eq(date(), 0x20000229000000, "leap day");
    after_ns(86400 * NS_PER_S);
    tap_eq(date(), 0x20000301000000, "1 March");
    wr(11, 0x06);
    tap_eq(rd(0x32) * 100 + rd(9), 2000, "binary");
    wr(11, 0x00);
    tap_eq(rd(4), 0x12, "12 hours: midnight is 12 AM");
    after_ns(13 * 3600 * NS_PER_S);
    tap_eq(rd(4), 0x81, "13:00 is 1 PM");
    wr(11, 0x82); /* SET */
    wr(0x32, 0x20), wr(9, 0x24), wr(8, 0x12), wr(7, 0x31), wr(4, 0x23), wr(2, 0x59), wr(0, 0x58);
    after_ns(5 * NS_PER_S);
    tap_eq(rd(0), 0x58, "SET freezes the registers");
    tap_eq(rd(10) & 0x80, 0, "and no update is in progress");
    wr(11, 0x02);
    after_ns(2 * NS_PER_S);
    tap_eq(date(), 0x20250101000000, "new year in the time that was set");
    wr(2, 0x30);
    tap_eq(date(), 0x20250101003000, "a field set without SET");
    wr(8, 0xff), wr(7, 0), wr(9, 0xaa), wr(0x32, 0xff);
    (void)date();
    tap_ok(true, "nonsense does no harm");
}

static void test_uip(void)
{
    unsigned seen = 0, changes = 0;
    rig();
    for (unsigned i = 0; i < 40000; i++) { /* 2 s, 50 us a step */
        uint8_t s = rd(0);
        seen += rd(10) >> 7;
        after_ns(50000);
        changes += rd(0) != s;
    }
    tap_ok(seen >= 4 && seen <= 12, "update in progress about 244 us in each second (%u)", seen);
    tap_eq(changes, 2, "two updates in two seconds");
}

static void test_interrupts(void)
{
    rig();
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "nothing enabled, no deadline");
    wr(10, 0x26); /* 1024 Hz */
    wr(11, 0x42);
    after_ns(1000000);
    tap_ok(irq8(), "periodic");
    after_ns(5000000);
    tap_ok(!irq8(), "no more until register C is read");
    tap_eq(rd(12) & 0xc0, 0xc0, "IRQF and PF");
    tap_eq(rd(12), 0, "reading clears");
    after_ns(976563);
    tap_ok(irq8(), "then again");
    (void)rd(12);
    wr(11, 0x12);
    after_ns(NS_PER_S);
    tap_ok(irq8(), "update-ended");
    tap_eq(rd(12) & 0x90, 0x90, "IRQF and UF");
    wr(11, 0x22);
    wr(1, 0x05), wr(3, 0xc0), wr(5, 0xff); /* second 5 of any minute */
    unsigned n = 0, when = 0;
    for (unsigned i = 0; i < 60; i++) {
        after_ns(NS_PER_S);
        if (irq8()) {
            n++;
            when = rd(0);
            (void)rd(12);
        }
    }
    tap_ok(n == 1 && when == 5, "alarm once a minute (%u at 0x%x)", n, when);
    (void)rd(12);
    (void)actions(0);
    (void)rig_io(1, false, 0x70, 1, true, 11);
    (void)rig_io(1, false, 0x71, 1, true, 0x42);
    tap_eq(actions(0), ACTION_TIMER, "enabled by CPU 1: CPU 0 is told");
    wr(11, 0x02);
    (void)rd(12);
    after_ns(10000000);
    tap_eq(rd(12) & 0xc0, 0x40, "PF can be polled without an interrupt");
}

static void test_cmos(void)
{
    rig();
    tap_eq(rd(0x15) | rd(0x16) << 8, 640, "base memory");
    tap_eq(rd(0x30) | rd(0x31) << 8, 0xffff, "extended memory, capped");
    tap_eq(rd(0x17) | rd(0x18) << 8, 0xffff, "twice");
    tap_eq(rd(0x34) | rd(0x35) << 8, 0x1f00, "above 16 MiB in 64 KiB");
    tap_eq(rd(0x5b) | rd(0x5c) << 8 | rd(0x5d) << 16, 0x4000, "above 4 GiB in 64 KiB");
    tap_eq(rd(0x0f), 0, "shutdown byte");
    wr(0x8f, 0x0a);
    tap_eq(rd(0x0f), 0x0a, "is memory; bit 7 of the index is the NMI mask");
    tap_ok(rig_io(0, false, 0x70, 2, false, 0) != 0xffff, "word access reaches both ports");
}

int main(void)
{
    test_calendar();
    test_read_early();
    test_uip();
    test_interrupts();
    test_cmos();
    return tap_done();
}
