/* SPDX-License-Identifier: BSD-2-Clause */
/* 8254 and ACPI PM timer: modes, latches, gate, interrupts, catching up, agreement with the TSC;
 * power-off by SLP_EN. */
#include "tools/tests/test_vdev_rig.h"

static void pit_set(unsigned ch, unsigned mode, uint16_t count)
{
    outb(0x43, (uint8_t)(ch << 6 | 0x30 | mode << 1));
    outb((uint16_t)(0x40 + ch), (uint8_t)count);
    outb((uint16_t)(0x40 + ch), (uint8_t)(count >> 8));
}
static uint32_t pit_count(unsigned ch)
{
    outb(0x43, (uint8_t)(ch << 6));
    uint32_t lo = inb((uint16_t)(0x40 + ch));
    return lo | (uint32_t)inb((uint16_t)(0x40 + ch)) << 8;
}
static uint8_t pit_status(unsigned ch)
{
    outb(0x43, (uint8_t)(0xe0 | 2u << ch));
    return inb((uint16_t)(0x40 + ch));
}
static void ticks(uint64_t n)
{
    uint64_t t = vpc_ticks(&pc, now, PIT_HZ) + n;
    at(vpc_tick_tsc(&pc, t, PIT_HZ));
}
static bool irq0(void)
{
    bool got = vlapic_accept(&pc, 0) == 0x30;
    if (got)
        apic_w(0, 0xb0, 0);
    return got;
}
static void rig(void)
{
    rig_init(2);
    apics_on();
    ioapic_pin(2, 0x30);
}

static void test_channel0(void)
{
    rig();
    pit_set(0, 2, 11932); /* 100 Hz */
    tap_eq(pit_count(0), 11932, "counts from the reload value");
    ticks(32);
    tap_eq(pit_count(0), 11900, "downwards");
    tap_ok(!irq0(), "no interrupt yet");
    ticks(11932 - 33);
    tap_ok(!irq0(), "never early");
    ticks(1);
    tap_ok(irq0(), "rate generator");
    ticks(11932);
    tap_ok(irq0(), "again");
    ticks(11932 * 100 + 10);
    tap_ok(irq0(), "after a stall of 100 periods");
    tap_ok(!irq0(), "there is one interrupt");
    ticks(11932 - 10);
    tap_ok(irq0(), "in phase");
    pit_set(0, 0, 1000);
    (void)actions(0);
    ticks(1000);
    tap_ok(irq0(), "interrupt on terminal count");
    ticks(66000);
    tap_ok(!irq0(), "once");
    pit_set(0, 4, 1000);
    ticks(1001);
    tap_ok(irq0(), "software strobe");
    pit_set(0, 3, 4);
    ticks(4);
    tap_ok(!irq0(), "a tiny period is stretched");
    ticks(200);
    tap_ok(irq0(), "to 100 us");
    outb(0x43, 0x34);
    ticks(100000);
    tap_ok(irq0() + irq0() <= 1 && !irq0(), "a control word stops it");
    (void)actions(0);
    (void)rig_io(1, false, 0x40, 1, true, 0);
    (void)rig_io(1, false, 0x40, 1, true, 16);
    tap_eq(actions(0), ACTION_TIMER, "programmed by CPU 1: CPU 0 is told");
    tap_eq(vpc_timers(&pc, 1, now), NO_DEADLINE, "CPU 1 has no deadline");
    tap_eq(vpc_timers(&pc, 0, now), vpit_deadline(&pc), "CPU 0 has it");
}

static void new_count(unsigned ch, uint16_t count)
{
    outb((uint16_t)(0x40 + ch), (uint8_t)count);
    outb((uint16_t)(0x40 + ch), (uint8_t)(count >> 8));
}

/* A count written while another runs (8254 data sheet, "Mode Definitions"). */
static void test_new_count(void)
{
    rig();
    pit_set(0, 2, 1000);
    ticks(400);
    new_count(0, 3000);
    tap_eq(pit_count(0), 600, "mode 2 goes on");
    tap_eq(pit_status(0) & 0x40, 0x40, "null count until it is loaded");
    ticks(599);
    tap_ok(!irq0(), "the old period");
    ticks(1);
    tap_ok(irq0(), "ends as it was");
    tap_eq(pit_count(0), 3000, "then the new count");
    tap_eq(pit_status(0) & 0x40, 0, "is loaded");
    ticks(2999);
    tap_ok(!irq0(), "for a longer period");
    ticks(1);
    tap_ok(irq0(), "of its own");
    outb(0x61, 1);
    pit_set(2, 3, 1000);
    ticks(100);
    new_count(2, 500);
    outb(0x61, 0), outb(0x61, 1);
    tap_eq(pit_count(2), 500, "the gate's edge loads it at once");
    pit_set(2, 1, 1000);
    outb(0x61, 0), outb(0x61, 1);
    ticks(500);
    new_count(2, 200);
    tap_eq(inb(0x61) & 0x20, 0, "mode 1: the shot goes on");
    ticks(499);
    tap_eq(inb(0x61) & 0x20, 0, "for its full length");
    ticks(1);
    tap_eq(inb(0x61) & 0x20, 0x20, "and ends");
    outb(0x61, 0), outb(0x61, 1);
    ticks(199);
    tap_eq(inb(0x61) & 0x20, 0, "the next one");
    ticks(1);
    tap_eq(inb(0x61) & 0x20, 0x20, "has the new length");
    pit_set(0, 0, 1000);
    ticks(500);
    new_count(0, 100);
    ticks(99);
    tap_ok(!irq0(), "mode 0 starts again");
    ticks(1);
    tap_ok(irq0(), "at once");
}

static void test_counts(void)
{
    rig();
    pit_set(2, 3, 1000);
    outb(0x61, 1);
    ticks(100);
    tap_eq(pit_count(2), 800, "square wave counts by two");
    tap_eq(inb(0x61) & 0x20, 0x20, "OUT is high in the first half");
    ticks(450);
    tap_eq(inb(0x61) & 0x20, 0, "and low in the second");
    tap_eq(pit_count(2), 900, "second half");
    outb(0x43, 0x80);
    ticks(100);
    tap_eq(inb(0x42), 900 & 0xff, "the latch holds");
    outb(0x43, 0x80);
    tap_eq(inb(0x42), 900 >> 8, "a second latch command changes nothing");
    outb(0x43, 0xc8); /* read back count and status of channel 2 */
    tap_eq(inb(0x42) & 0x7f, 0x36, "status comes first: access 3, mode 3");
    uint32_t low = inb(0x42);
    tap_eq(low | (uint32_t)inb(0x42) << 8, 700, "then the count");
    outb(0x43, 0xb0);
    tap_eq(pit_status(2) & 0xc0, 0x40, "null count until one is written, OUT low in mode 0");
    outb(0x42, 0xff), outb(0x42, 0xff);
    tap_eq(pit_status(2) & 0xc0, 0, "then counting, OUT low");
    ticks(65534);
    tap_eq(pit_status(2) & 0x80, 0, "not yet");
    ticks(1);
    tap_eq(pit_status(2) & 0x80, 0x80, "OUT high at terminal count");
    outb(0x43, 0xb1);
    outb(0x42, 0x00), outb(0x42, 0x10);
    ticks(1);
    tap_eq(pit_count(2), 0x999, "BCD");
    outb(0x43, 0x90);
    outb(0x42, 200);
    ticks(50);
    tap_eq(inb(0x42), 150, "low byte only");
    outb(0x43, 0xa0);
    outb(0x42, 2);
    ticks(256);
    tap_eq(inb(0x42), 1, "high byte only");
    pit_set(2, 0, 0);
    ticks(1);
    tap_eq(pit_count(2), 0xffff, "0 is 65536");
}

static void test_gate(void)
{
    rig();
    outb(0x61, 1);
    pit_set(2, 0, 1000);
    ticks(100);
    outb(0x61, 0);
    ticks(5000);
    tap_eq(pit_count(2), 900, "gate low stops mode 0");
    outb(0x61, 1);
    ticks(900);
    tap_eq(inb(0x61) & 0x20, 0x20, "and it goes on where it was");
    outb(0x61, 0);
    pit_set(2, 1, 500);
    ticks(10000);
    tap_eq(inb(0x61) & 0x20, 0x20, "mode 1 waits for the gate");
    outb(0x61, 1);
    ticks(499);
    tap_eq(inb(0x61) & 0x20, 0, "then OUT is low");
    ticks(1);
    tap_eq(inb(0x61) & 0x20, 0x20, "for the count");
    pit_set(2, 2, 100);
    outb(0x61, 0);
    ticks(99);
    tap_eq(inb(0x61) & 0x20, 0x20, "gate low holds OUT high in mode 2");
    outb(0x61, 1);
    ticks(99);
    tap_eq(inb(0x61) & 0x20, 0, "the rising gate starts it anew");
    uint8_t a = inb(0x61) & 0x10;
    after_ns(15086);
    tap_ok((inb(0x61) & 0x10) != a, "refresh bit toggles");
}

/* What a calibration does: TSC over 50 ms of PIT, and of PM timer. */
static void test_agreement(void)
{
    rig();
    outb(0x61, 1);
    pit_set(2, 0, 59659);
    uint32_t pm0 = (uint32_t)rig_io(0, false, 0x608, 4, false, 0);
    uint64_t start = now;
    while (!(inb(0x61) & 0x20))
        at(now + 1000);
    double hz = (double)(now - start) * (double)PIT_HZ / 59659;
    tap_ok(hz > 0.99999 * RIG_HZ && hz < 1.00001 * RIG_HZ, "PIT gives the TSC's rate (%.0f)", hz);
    uint32_t pm1 = (uint32_t)rig_io(0, false, 0x608, 4, false, 0);
    hz = (double)(now - start) * (double)PM_TIMER_HZ / (pm1 - pm0);
    tap_ok(hz > 0.99999 * RIG_HZ && hz < 1.00001 * RIG_HZ, "so does the PM timer (%.0f)", hz);
}

static void test_pm(void)
{
    rig();
    ioapic_pin(9, 0x8000 | 0x39);
    tap_eq(rig_io(0, false, 0x604, 2, false, 0), 1, "SCI_EN: ACPI mode from the start");
    after_ns(1000000000);
    tap_eq(rig_io(0, false, 0x608, 4, false, 0), PM_TIMER_HZ, "PM timer after a second");
    tap_eq(rig_io(0, false, 0x609, 1, false, 0), PM_TIMER_HZ >> 8 & 0xff, "a byte of it");
    after_ns(599 * NS_PER_S);
    tap_eq(rig_io(0, false, 0x600, 2, false, 0), 1, "TMR_STS after bit 31 changed");
    tap_eq(vlapic_pending(&pc, 0), -1, "no SCI while not enabled");
    (void)rig_io(0, false, 0x602, 2, true, 1);
    tap_eq(rig_io(0, false, 0x602, 2, false, 0), 1, "TMR_EN");
    tap_eq(vlapic_accept(&pc, 0), 0x39, "SCI");
    (void)rig_io(0, false, 0x600, 2, true, 1);
    tap_eq(rig_io(0, false, 0x600, 2, false, 0), 0, "status is cleared by writing 1");
    apic_w(0, 0xb0, 0);
    tap_eq(vlapic_pending(&pc, 0), -1, "and the SCI goes");
    uint64_t due = vpc_timers(&pc, 0, now);
    tap_eq(due, vpc_tick_tsc(&pc, 1ull << 32, PM_TIMER_HZ), "deadline at the next change");
    at(due);
    tap_eq(vlapic_accept(&pc, 0), 0x39, "SCI again");
    tap_ok(rig_io(0, false, 0x608, 4, false, 0) < 10, "the timer wraps at 32 bits");
}

static void test_s5(void)
{
    rig();
    outb(0x3f8, 'x');
    (void)rig_io(0, false, 0x604, 2, true, 3 << 10 | 1 << 13);
    tap_eq(rig_poweroffs, 0, "S3 does not exist");
    tap_eq(rig_io(0, false, 0x600, 2, false, 0), 0x8000, "... so the machine wakes up at once");
    tap_ok(strstr(fake_console(), "it stays awake") != NULL, "... and says so");
    size_t said = fake_console_len();
    (void)rig_io(0, false, 0x602, 2, true, 1);
    tap_ok(vpc_timers(&pc, 0, now) != UINT64_MAX, "... its timer goes on");
    (void)rig_io(0, false, 0x600, 2, true, 0x8000);
    tap_eq(rig_io(0, false, 0x600, 2, false, 0), 0, "WAK_STS is cleared by writing 1");
    (void)rig_io(0, false, 0x604, 2, true, 1 << 10 | 1 << 13);
    tap_eq(rig_io(0, false, 0x600, 2, false, 0), 0x8000, "nor is there S1");
    tap_eq(fake_console_len(), said, "... which is said once");
    (void)rig_io(0, false, 0x604, 2, true, 5 << 10);
    tap_eq(rig_poweroffs, 0, "SLP_TYP alone does nothing");
    (void)rig_io(0, false, 0x604, 2, true, 5 << 10 | 1 << 13);
    tap_eq(rig_poweroffs, 1, "SLP_EN with S5 powers off");
    tap_ok(fake_console_len() == said + 1 && fake_console()[said] == 'x',
           "after the last console text");
}

int main(void)
{
    test_channel0();
    test_new_count();
    test_counts();
    test_gate();
    test_agreement();
    test_pm();
    test_s5();
    return tap_done();
}
