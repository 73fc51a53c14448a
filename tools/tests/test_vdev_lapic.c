/* SPDX-License-Identifier: BSD-2-Clause */
/* Local APIC: priorities, acceptance, EOI, software and hardware disable, register file, the
 * timer's three modes. */
#include "tools/tests/test_vdev_rig.h"

static int accept_on(uint32_t cpu)
{
    return vlapic_accept(&pc, cpu);
}

static void test_reset_state(void)
{
    rig_init(2);
    tap_eq(apic_r(1, 0x20), 1u << 24, "xAPIC ID of CPU 1");
    tap_eq(apic_r(0, 0x30), 0x50014, "version: integrated, six LVT entries");
    tap_eq(apic_r(0, 0xf0), 0x1ff, "CPU 0 is enabled, as firmware leaves it");
    tap_eq(apic_r(0, 0x350), 0x700, "LINT0 of CPU 0 is ExtINT");
    tap_eq(apic_r(0, 0x360), 0x400, "LINT1 of CPU 0 is NMI");
    tap_eq(apic_r(1, 0xf0), 0xff, "CPU 1 is software disabled");
    tap_eq(apic_r(1, 0x350), 0x10000, "LINT0 of CPU 1 is masked");
    tap_eq(apic_r(1, 0xe0), 0xffffffff, "DFR is flat");
    apic_w(1, 0x350, 0x700);
    tap_eq(apic_r(1, 0x350), 0x10700, "LVT stays masked while disabled");
    vlapic_set_irr(&pc, 0, 1, 0x50, false);
    tap_eq(vlapic_pending(&pc, 1), -1, "a disabled APIC takes nothing");
    apic_w(1, 0xf0, 0x1ff);
    vlapic_set_irr(&pc, 0, 1, 0x50, false);
    tap_eq(vlapic_pending(&pc, 1), 0x50, "an enabled one does");
    tap_eq(actions(1), ACTION_IRQ, "its owner is told");
    vlapic_set_irr(&pc, 0, 1, 0x50, false);
    tap_eq(actions(1), 0, "once per bit");
    vlapic_reset(&pc, 1);
    tap_eq(vlapic_pending(&pc, 1), -1, "INIT clears what is pending");
    tap_eq(apic_r(1, 0x20), 1u << 24, "and keeps the ID");
}

static void test_priority(void)
{
    rig_init(1);
    apics_on();
    vlapic_set_irr(&pc, 0, 0, 0x31, false);
    vlapic_set_irr(&pc, 0, 0, 0x45, false);
    tap_eq(accept_on(0), 0x45, "highest vector first");
    tap_eq(apic_r(0, 0x120), 1u << 5, "in ISR");
    tap_eq(apic_r(0, 0xa0), 0x40, "PPR follows ISR");
    tap_eq(accept_on(0), -1, "lower class waits");
    vlapic_set_irr(&pc, 0, 0, 0x4f, false);
    tap_eq(vlapic_pending(&pc, 0), -1, "so does the same class");
    vlapic_set_irr(&pc, 0, 0, 0xf0, false);
    tap_eq(accept_on(0), 0xf0, "a higher class nests");
    apic_w(0, 0xb0, 0);
    tap_eq(apic_r(0, 0x170), 0, "EOI ends the highest");
    apic_w(0, 0xb0, 0);
    tap_eq(vlapic_pending(&pc, 0), 0x4f, "EOI uncovers the next");
    vlapic_set_cr8(&pc, 0, 4);
    tap_eq(apic_r(0, 0x80), 0x40, "CR8 is TPR");
    tap_eq(vlapic_pending(&pc, 0), -1, "TPR holds class 4 back");
    apic_w(0, 0x80, 0x3f);
    tap_eq(vlapic_get_cr8(&pc, 0), 3, "TPR is CR8");
    tap_eq(accept_on(0), 0x4f, "class 4 passes TPR 3F");
    apic_w(0, 0xb0, 0);
    tap_eq(vlapic_pending(&pc, 0), -1, "class 3 does not pass it");
    tap_eq(apic_r(0, 0x210), 1u << 17, "and stays in IRR");
    apic_w(0, 0xb0, 0);
    apic_w(0, 0x80, 0);
    tap_eq(accept_on(0), 0x31, "an EOI too many does no harm");
}

static void test_register_access(void)
{
    rig_init(1);
    apic_w(0, 0x80, 0x12);
    tap_eq(rig_io(0, true, VPC_LAPIC_BASE + 0x80, 1, false, 0), 0x12, "byte read");
    tap_eq(rig_io(0, true, VPC_LAPIC_BASE + 0x32, 2, false, 0), 0x5, "word inside a register");
    tap_eq(rig_io(0, true, VPC_LAPIC_BASE + 0x84, 4, false, 0), 0, "between registers");
    (void)rig_io(0, true, VPC_LAPIC_BASE + 0x80, 1, true, 0x55);
    tap_eq(apic_r(0, 0x80), 0x12, "narrow writes are ignored");
    vlapic_set_irr(&pc, 0, 0, 5, false);
    tap_eq(apic_r(0, 0x280), 0, "errors show after a write to ESR only");
    apic_w(0, 0x280, 0);
    tap_eq(apic_r(0, 0x280), 0x40, "illegal vector received");
    apic_w(0, 0x280, 0);
    tap_eq(apic_r(0, 0x280), 0, "and latched once");
    apic_w(0, 0x370, 0xfe);
    apic_w(0, 0x300, 3); /* fixed, physical, vector 3 */
    tap_eq(accept_on(0), 0xfe, "illegal vector sent: error interrupt");
    apic_w(0, 0x280, 0);
    tap_eq(apic_r(0, 0x280), 0x20, "ESR says which");
}

static void test_oneshot(void)
{
    rig_init(1);
    apics_on();
    apic_w(0, 0x3e0, 0xb); /* divide by 1: 1 GHz */
    apic_w(0, 0x320, 0xec);
    apic_w(0, 0x380, 1000000);
    tap_eq(apic_r(0, 0x390), 1000000, "current count starts at the initial count");
    uint64_t due = vpc_timers(&pc, 0, now);
    tap_eq(due, now + 2449000, "deadline is 1 ms of TSC");
    after_ns(400000);
    uint32_t left = apic_r(0, 0x390);
    tap_ok(left <= 600000 && left >= 599990, "counts down (%u)", left);
    tap_eq(vlapic_pending(&pc, 0), -1, "not yet");
    at(due - 1);
    tap_eq(vlapic_pending(&pc, 0), -1, "never early");
    at(due);
    tap_eq(accept_on(0), 0xec, "expires on time");
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "one shot");
    tap_eq(apic_r(0, 0x390), 0, "and the count stays at 0");
    apic_w(0, 0x3e0, 0x3); /* divide by 16 */
    apic_w(0, 0x380, 1000);
    tap_eq(vpc_timers(&pc, 0, now), now + 39184, "divide by 16");
    apic_w(0, 0x380, 0);
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "0 stops it");
    apic_w(0, 0x380, 10);
    apic_w(0, 0xb0, 0);
    apic_w(0, 0x320, 0x100ec);
    after_ns(1000);
    tap_eq(vlapic_pending(&pc, 0), -1, "masked: expires silently");
}

static void test_periodic(void)
{
    rig_init(1);
    apics_on();
    apic_w(0, 0x3e0, 0xb);
    apic_w(0, 0x320, 0x200ec);
    apic_w(0, 0x380, 4000000); /* 250 Hz */
    uint64_t start = now;
    after_ns(4000001);
    tap_eq(accept_on(0), 0xec, "first period");
    apic_w(0, 0xb0, 0);
    tap_eq(vpc_timers(&pc, 0, now), start + 2 * 9796000, "phase kept");
    after_ns(1000000000);
    tap_eq(accept_on(0), 0xec, "after a stall of 250 periods");
    apic_w(0, 0xb0, 0);
    (void)vpc_timers(&pc, 0, now);
    tap_eq(vlapic_pending(&pc, 0), -1, "there is one interrupt");
    uint64_t next = vpc_timers(&pc, 0, now);
    tap_ok(next > now && next <= now + 9796000 && (next - start) % 9796000 == 0,
           "next period in phase");
    apic_w(0, 0x380, 1);
    next = vpc_timers(&pc, 0, now + 3);
    tap_ok(next >= now + RIG_HZ / 1000000 * PERIOD_MIN_US, "a tiny period is stretched");
}

static void test_deadline_mode(void)
{
    uint64_t v = 1;
    rig_init(1);
    apics_on();
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_TSC_DEADLINE, now + 5), HV_OK, "ignored in other modes");
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "nothing armed");
    apic_w(0, 0x320, 0x400ec);
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_TSC_DEADLINE, now + 1000), HV_OK, "armed");
    tap_eq(vlapic_rdmsr(&pc, 0, MSR_TSC_DEADLINE, &v), HV_OK, "readable");
    tap_eq(v, now + 1000, "with its value");
    apic_w(0, 0x380, 77);
    tap_eq(vpc_timers(&pc, 0, now), now + 1000, "the initial count has no effect");
    at(now + 999);
    tap_eq(vlapic_pending(&pc, 0), -1, "not before");
    at(now + 1);
    tap_eq(accept_on(0), 0xec, "at the deadline");
    apic_w(0, 0xb0, 0);
    (void)!vlapic_rdmsr(&pc, 0, MSR_TSC_DEADLINE, &v);
    tap_eq(v, 0, "disarmed by expiry");
    (void)!vlapic_wrmsr(&pc, 0, MSR_TSC_DEADLINE, now - 1);
    at(now);
    tap_eq(accept_on(0), 0xec, "a deadline in the past is due at once");
    apic_w(0, 0xb0, 0);
    (void)!vlapic_wrmsr(&pc, 0, MSR_TSC_DEADLINE, now + 1000);
    apic_w(0, 0x320, 0x000ec);
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "leaving the mode disarms");
}

static void test_virtual_wire(void)
{
    rig_init(2);
    pic_setup(1, 0xfe, 0xff);
    line(IRQ_PIT, true);
    tap_ok(vlapic_pending(&pc, 0) >= 0, "8259 through LINT0");
    tap_eq(vlapic_pending(&pc, 1), -1, "not on CPU 1");
    tap_eq(accept_on(0), 0x30, "INTA gives the 8259's vector");
    tap_eq(apic_r(0, 0x110) | apic_r(0, 0x120), 0, "nothing in the APIC's ISR");
    outb(0x20, 0x20);
    line(IRQ_PIT, false);
    apic_w(0, 0x350, 0x10700);
    line(IRQ_PIT, true);
    tap_eq(vlapic_pending(&pc, 0), -1, "LINT0 masked");
    apic_w(0, 0x350, 0x700);
    line(IRQ_PIT, false);
    tap_eq(vlapic_accept(&pc, 0), -1, "withdrawn before INTA");
    apic_w(0, 0x350, 0x99); /* fixed: "virtual wire IRQ" of Linux */
    line(IRQ_PIT, true);
    tap_eq(accept_on(0), 0x99, "LINT0 as a fixed interrupt");
    apic_w(0, 0xb0, 0);
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, VPC_LAPIC_BASE | 0x100), HV_OK, "APIC off");
    tap_ok(vlapic_accept(&pc, 0) == 0x30, "LINT0 is INTR while the APIC is off");
}

int main(void)
{
    test_reset_state();
    test_priority();
    test_register_access();
    test_oneshot();
    test_periodic();
    test_deadline_mode();
    test_virtual_wire();
    return tap_done();
}
