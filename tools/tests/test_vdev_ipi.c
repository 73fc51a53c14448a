/* SPDX-License-Identifier: BSD-2-Clause */
/* Interprocessor interrupts: destinations, shorthands, INIT, SIPI, NMI, lowest priority; in xAPIC
 * and x2APIC format. */
#include "tools/tests/test_vdev_rig.h"

static void icr(uint32_t cpu, uint32_t dest, uint32_t lo)
{
    apic_w(cpu, 0x310, dest << 24);
    apic_w(cpu, 0x300, lo);
}

/* CPUs that have `vector` pending, which is accepted and ended there. */
static cpuset_t got(uint32_t vector)
{
    cpuset_t set = 0;
    for (uint32_t c = 0; c < pc.cfg.ncpus; c++) {
        if (vlapic_pending(&pc, c) != (int)vector)
            continue;
        set |= 1u << c;
        (void)vlapic_accept(&pc, c);
        if (vlapic_x2(&pc.lapic[c]))
            (void)!vlapic_wrmsr(&pc, c, 0x80b, 0);
        else
            apic_w(c, 0xb0, 0);
    }
    return set;
}

/* CPUs whose action word has exactly `bits`; all words are cleared. */
static cpuset_t acted(uint64_t bits)
{
    cpuset_t set = 0;
    for (uint32_t c = 0; c < pc.cfg.ncpus; c++)
        if (actions(c) == bits)
            set |= 1u << c;
    return set;
}

static void test_destinations(void)
{
    rig_init(4);
    apics_on();
    icr(1, 2, 0x41);
    tap_eq(apic_r(1, 0x300) & 0x1000, 0, "delivery status is idle at once");
    tap_eq(acted(ACTION_IRQ), 4, "physical: the target is told");
    tap_eq(got(0x41), 4, "physical");
    icr(1, 9, 0x41);
    tap_eq(got(0x41), 0, "physical, no such CPU");
    icr(1, 0xff, 0x41);
    tap_eq(got(0x41), 0xf, "physical broadcast");
    for (uint32_t c = 0; c < 4; c++)
        apic_w(c, 0xd0, 1u << (24 + c));
    icr(0, 0x0a, 0x842);
    tap_eq(got(0x42), 0xa, "logical flat");
    icr(0, 0xff, 0x842);
    tap_eq(got(0x42), 0xf, "logical flat broadcast");
    for (uint32_t c = 0; c < 4; c++) {
        apic_w(c, 0xe0, 0x0fffffff);
        apic_w(c, 0xd0, (c >> 1) << 28 | 1u << (24 + (c & 1)));
    }
    icr(0, 0x13, 0x843);
    tap_eq(got(0x43), 0xc, "logical cluster 1");
    icr(0, 0x02, 0x843);
    tap_eq(got(0x43), 0x2, "logical cluster 0, one member");
    icr(0, 0xf1, 0x843);
    tap_eq(got(0x43), 0x5, "logical, all clusters");
    icr(2, 0, 0x40044);
    tap_eq(got(0x44), 4, "shorthand self");
    icr(2, 0, 0x80045);
    tap_eq(got(0x45), 0xf, "shorthand all");
    icr(2, 0, 0xc0046);
    tap_eq(got(0x46), 0xb, "shorthand all but self");
    tap_eq(apic_r(2, 0x300), 0xc0046, "ICR reads back");
    apic_w(3, 0xf0, 0xff);
    icr(2, 0, 0x80045);
    tap_eq(got(0x45), 0x7, "a disabled APIC takes no fixed interrupt");
}

static void test_lowest(void)
{
    rig_init(4);
    apics_on();
    apic_w(0, 0x80, 0x20);
    apic_w(1, 0x80, 0x10);
    apic_w(2, 0x80, 0x30);
    apic_w(3, 0xf0, 0xff);
    icr(0, 0xff, 0x151);
    tap_eq(got(0x51), 2, "lowest priority goes to the lowest TPR that is enabled");
    apic_w(0, 0x80, 0x10);
    cpuset_t seen = 0;
    for (unsigned i = 0; i < 8; i++) {
        icr(0, 0xff, 0x151);
        cpuset_t one = got(0x51);
        tap_ok(one == 1 || one == 2, "one of the equals (0x%x)", one);
        seen |= one;
    }
    tap_eq(seen, 3, "turn by turn");
}

static void test_start(void)
{
    rig_init(4);
    apics_on();
    (void)acted(0);
    icr(0, 0, 0xc4500);
    tap_eq(acted(ACTION_INIT), 0xe, "INIT to all but self");
    icr(0, 0, 0xc4600);
    tap_eq(acted(ACTION_SIPI), 0xe, "SIPI vector 0");
    tap_eq(vlapic_sipi_vector(&pc, 3), 0, "read back");
    icr(0, 2, 0x4608);
    tap_eq(acted(ACTION_SIPI), 4, "SIPI to one");
    tap_eq(vlapic_sipi_vector(&pc, 2), 8, "with its vector");
    icr(0, 3, 0x8500);
    tap_eq(acted(ACTION_INIT), 0, "INIT de-assert does nothing");
    icr(0, 0, 0x88500);
    tap_eq(acted(ACTION_INIT), 0, "nor does de-assert to all including self");
    icr(0, 3, 0xc500);
    tap_eq(acted(ACTION_INIT), 8, "level-triggered INIT assert");
    icr(0, 3, 0x500);
    tap_eq(acted(ACTION_INIT), 8, "edge-triggered INIT");
    icr(0, 1, 0x400);
    tap_eq(acted(ACTION_NMI), 2, "NMI");
    icr(0, 0, 0x400);
    tap_eq(acted(ACTION_NMI), 1, "NMI to oneself");
    apic_w(2, 0xf0, 0xff);
    icr(0, 0, 0xc0400);
    tap_eq(acted(ACTION_NMI), 0xe, "NMI reaches a software-disabled APIC");
    icr(0, 1, 0x700);
    icr(0, 1, 0x200);
    icr(0, 1, 0x341);
    tap_eq(acted(0), 0xf, "ExtINT, SMI and reserved modes do nothing");
}

static void test_x2apic(void)
{
    rig_init(4);
    apics_on();
    for (uint32_t c = 0; c < 4; c++)
        tap_eq(vlapic_wrmsr(&pc, c, MSR_APIC_BASE, VPC_LAPIC_BASE | 0xc00), HV_OK, "x2APIC on");
    tap_eq(vlapic_wrmsr(&pc, 1, 0x830, 3ull << 32 | 0x61), HV_OK, "ICR");
    tap_eq(got(0x61), 8, "physical");
    (void)!vlapic_wrmsr(&pc, 1, 0x830, 0xffffffffull << 32 | 0x61);
    tap_eq(got(0x61), 0xf, "broadcast");
    (void)!vlapic_wrmsr(&pc, 1, 0x830, 0xffull << 32 | 0x61);
    tap_eq(got(0x61), 0, "FF is an ID like any other");
    (void)!vlapic_wrmsr(&pc, 1, 0x830, 0x00000005ull << 32 | 0x862);
    tap_eq(got(0x62), 5, "logical, cluster 0");
    (void)!vlapic_wrmsr(&pc, 1, 0x830, 0x00010005ull << 32 | 0x862);
    tap_eq(got(0x62), 0, "logical, a cluster without members");
    (void)!vlapic_wrmsr(&pc, 1, 0x830, 0xc0063);
    tap_eq(got(0x63), 0xd, "all but self");
    tap_eq(vlapic_wrmsr(&pc, 2, 0x83f, 0x64), HV_OK, "self IPI");
    tap_eq(got(0x64), 4, "arrives");
    tap_eq(vlapic_dest(&pc, 3, false, false), 8, "8-bit physical destination");
    tap_eq(vlapic_dest(&pc, 6, true, false), 6, "8-bit logical destination means cluster 0");
    tap_eq(vlapic_dest(&pc, 0xff, true, false), 0xf, "8-bit broadcast");
}

int main(void)
{
    test_destinations();
    test_lowest();
    test_start();
    test_x2apic();
    return tap_done();
}
