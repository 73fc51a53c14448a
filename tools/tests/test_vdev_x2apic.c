/* SPDX-License-Identifier: BSD-2-Clause */
/* IA32_APIC_BASE's state transitions and the reserved-bit rules of the x2APIC MSRs. */
#include "tools/tests/test_vdev_rig.h"

static enum hv_err base(uint64_t bits)
{
    return vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, VPC_LAPIC_BASE | bits);
}
static enum hv_err rd(uint32_t msr)
{
    uint64_t v;
    return vlapic_rdmsr(&pc, 0, msr, &v);
}
static uint64_t value(uint32_t msr)
{
    uint64_t v = 0xdead;
    return vlapic_rdmsr(&pc, 0, msr, &v) == HV_OK ? v : 0xdead;
}

static void test_transitions(void)
{
    gpa_t page;
    rig_init(2);
    tap_eq(value(MSR_APIC_BASE), VPC_LAPIC_BASE | 0x900, "boot processor, enabled");
    tap_ok(vlapic_mmio_base(&pc, 0, &page) && page.v == VPC_LAPIC_BASE, "page at FEE00000");
    tap_eq(rd(0x802), HV_INVALID, "x2APIC MSRs fault in xAPIC mode");
    tap_eq(base(0x400), HV_INVALID, "EXTD without EN");
    tap_eq(base(0x801), HV_INVALID, "reserved bit 0");
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, 1ull << 52 | 0xfee00800), HV_INVALID, "bit 52");
    apic_w(0, 0x80, 0x20);
    tap_eq(base(0xd00), HV_OK, "xAPIC to x2APIC");
    tap_eq(value(0x808), 0x20, "TPR survives");
    tap_ok(!vlapic_mmio_base(&pc, 0, &page), "no page in x2APIC mode");
    tap_eq(rig_io(0, true, VPC_LAPIC_BASE + 0x20, 4, false, 0), 0xffffffff, "nobody answers there");
    tap_eq(value(0x80d), 1, "logical ID is derived");
    tap_eq(base(0x900), HV_INVALID, "x2APIC to xAPIC");
    tap_eq(base(0x100), HV_OK, "off");
    tap_eq(base(0xd00), HV_INVALID, "off to x2APIC");
    tap_eq(base(0x900), HV_OK, "on again");
    tap_eq(apic_r(0, 0xf0), 0xff, "with registers as after reset");
    tap_eq(base(0x800), HV_OK, "the BSP bit is not the guest's to clear");
    tap_eq(value(MSR_APIC_BASE) & 0x100, 0x100, "it stays");
}

/* The page is each CPU's own; what was there before comes back when it moves on. */
static void test_moving(void)
{
    gpa_t page;
    rig_init(2);
    apics_on();
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, 0xfed40900), HV_OK, "moving the page");
    tap_eq(value(MSR_APIC_BASE), 0xfed40900, "reads back");
    tap_ok(vlapic_mmio_base(&pc, 0, &page) && page.v == 0xfed40000, "it is there");
    tap_eq(rig_io(0, true, 0xfed40030, 4, false, 0), 0x50014, "and answers");
    tap_eq(rig_io(0, true, 0xfed400f0, 4, false, 0), 0x1ff, "with its registers as they were");
    tap_eq(apic_r(0, 0x30), 0xffffffff, "nobody at the old place");
    tap_eq(apic_r(1, 0x30), 0x50014, "but the other CPU's");
    tap_eq(rig_io(1, true, 0xfed40030, 4, false, 0), 0xffffffff, "which is not at the new one");
    (void)rig_io(0, true, 0xfed40310, 4, true, 1u << 24);
    (void)rig_io(0, true, 0xfed40300, 4, true, 0x4041);
    tap_eq(vlapic_pending(&pc, 1), 0x41, "it sends interrupts from there");
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, VPC_IOAPIC_BASE | 0x900), HV_OK,
           "over the I/O APIC");
    tap_eq(rig_io(0, true, VPC_IOAPIC_BASE + 0x30, 4, false, 0), 0x50014, "which it hides");
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, 0xfed40100), HV_OK, "off");
    tap_ok(!vlapic_mmio_base(&pc, 0, &page), "no page");
    tap_eq(rig_io(0, true, 0xfed40030, 4, false, 0), 0xffffffff, "nobody answers");
    tap_eq(ioapic_r(1) & 0xff, 0x20, "the I/O APIC is back");
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, 0xfed40900), HV_OK, "on");
    tap_eq(vlapic_wrmsr(&pc, 0, MSR_APIC_BASE, 0xfee00d00), HV_OK, "x2APIC, and back home");
    tap_eq(apic_r(0, 0x30), 0xffffffff, "no page in x2APIC mode");
    vlapic_reset(&pc, 0);
    tap_eq(value(MSR_APIC_BASE), 0xfee00d00, "INIT leaves the mode");
    tap_eq(value(0x80d), 1, "and the logical ID is derived again");
}

static void test_reserved(void)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool ok;
        const char *what;
    } w[] = {
        {0x802, 0, false, "ID is read-only"},
        {0x803, 0, false, "version is read-only"},
        {0x808, 0xff, true, "TPR"},
        {0x808, 0x100, false, "TPR bit 8"},
        {0x80a, 0, false, "PPR is read-only"},
        {0x80b, 0, true, "EOI 0"},
        {0x80b, 1, false, "EOI not 0"},
        {0x80d, 0, false, "LDR is read-only"},
        {0x80e, 0, false, "there is no DFR"},
        {0x80f, 0x1ff, true, "SVR"},
        {0x80f, 0x1000, false, "SVR: no EOI broadcast suppression"},
        {0x810, 0, false, "ISR is read-only"},
        {0x820, 0, false, "IRR is read-only"},
        {0x828, 0, true, "ESR 0"},
        {0x828, 1, false, "ESR not 0"},
        {0x82f, 0x10000, false, "there is no CMCI entry"},
        {0x830, 0x100000, false, "ICR bit 20"},
        {0x831, 0, false, "there is no second ICR register"},
        {0x832, 0x400ec, true, "LVT timer"},
        {0x832, 0x80000, false, "LVT timer bit 19"},
        {0x835, 0x8700, true, "LINT0"},
        {0x837, 0x20000, false, "LVT error bit 17"},
        {0x838, 0xffffffff, true, "initial count"},
        {0x838, 0x100000000ull, false, "initial count bit 32"},
        {0x839, 0, false, "current count is read-only"},
        {0x83e, 0xb, true, "divide configuration"},
        {0x83e, 0x4, false, "divide configuration bit 2"},
        {0x83f, 0x40, true, "self IPI"},
        {0x83f, 0x100, false, "self IPI bit 8"},
        {0x840, 0, false, "beyond the last register"},
        {0x8ff, 0, false, "end of the range"},
    };
    rig_init(1);
    (void)!base(0xd00);
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
        tap_eq(vlapic_wrmsr(&pc, 0, w[i].msr, w[i].value), w[i].ok ? HV_OK : HV_INVALID, w[i].what);
    tap_eq(rd(0x80b), HV_INVALID, "EOI is write-only");
    tap_eq(rd(0x83f), HV_INVALID, "self IPI is write-only");
    tap_eq(rd(0x80c), HV_INVALID, "there is no remote read");
    tap_eq(rd(0x7ff), HV_INVALID, "below the range");
    tap_eq(value(0x802), 0, "ID");
    tap_eq(value(0x803), 0x50014, "version");
    (void)!vlapic_wrmsr(&pc, 0, 0x830, 0x123456789ull << 32 | 0x40);
    tap_eq(value(0x830), 0x2345678900000040ull, "ICR is one 64-bit register");
}

int main(void)
{
    test_transitions();
    test_moving();
    test_reserved();
    return tap_done();
}
