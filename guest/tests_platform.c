/* SPDX-License-Identifier: BSD-2-Clause */
/* Group platform: what a processor says of itself and refuses (CPUID, MSRs), its local APIC (modes,
 * destinations, the page's place), INIT of the boot processor. Tested by running it bare; where
 * bare QEMU is known to deviate, the check is for hypervisors and for Bochs only where it is right.
 */
#include "guest/guest.h"

#define APIC_BASE_PA 0xfee00000ull
#define APIC_BASE_BSP 0x100ull
#define APIC_BASE_EXTD 0x400ull
#define APIC_BASE_EN 0x800ull
#define APIC_VERSION 0x30
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define ICR_LOGICAL 0x800
#define ICR_LOWEST 0x100
#define ICR_BUSY 0x1000
#define ICR_LEVEL 0x8000
#define X2(reg) (MSR_X2APIC_BASE + ((reg) >> 4))
#define WARM_VECTOR 0x467

static uint64_t irqs(unsigned cpu, uint8_t vector)
{
    return atomic_load_explicit(&cpus[cpu].irqs[vector],
                                memory_order_acquire); /* pairs with trap_entry */
}

static void wait_irqs(unsigned cpu, uint8_t vector, uint64_t n)
{
    while (irqs(cpu, vector) < n)
        wait_pause();
}

static void spin(unsigned n)
{
    while (n-- != 0)
        pause();
}

/* --- MSRs --- */

struct msr_access {
    uint32_t msr;
    uint64_t value;
};

static void do_rdmsr(void *arg)
{
    struct msr_access *m = arg;
    m->value = rdmsr(m->msr);
}

static void do_wrmsr(void *arg)
{
    const struct msr_access *m = arg;
    wrmsr(m->msr, m->value);
}

static bool wrmsr_faults(uint32_t msr, uint64_t value)
{
    struct msr_access m = {msr, value};
    return caught(do_wrmsr, &m) && trapped(VEC_GP, 0);
}

static bool rdmsr_faults(uint32_t msr)
{
    struct msr_access m = {msr, 0};
    return caught(do_rdmsr, &m) && trapped(VEC_GP, 0);
}

static void test_msrs(void)
{
    uint64_t pat = rdmsr(MSR_PAT), efer = rdmsr(MSR_EFER), def = rdmsr(MSR_MTRR_DEF);

    wrmsr(MSR_PAT, 0x0007010600070106);
    CHECK_EQ(rdmsr(MSR_PAT), 0x0007010600070106, "PAT");
    wrmsr(MSR_PAT, pat);
    wrmsr(MSR_EFER, efer | EFER_SCE);
    CHECK_EQ(rdmsr(MSR_EFER), efer | EFER_SCE, "EFER.SCE");
    wrmsr(MSR_EFER, efer);
    CHECK((rdmsr(MSR_MTRRCAP) & 0xff) >= 1, "variable MTRRs");
    CHECK_EQ(rdmsr(MSR_APIC_BASE) & 0xfffff900, APIC_BASE_PA | APIC_BASE_BSP | APIC_BASE_EN,
             "APIC base");
    if (!options.hosted) {
        test_skip("bare QEMU checks few values");
        return;
    }
    CHECK(rdmsr_faults(0xdeadbeef) && wrmsr_faults(0xdeadbeef, 0), "an unknown MSR");
    CHECK(wrmsr_faults(MSR_PAT, 2), "PAT type 2");
    CHECK(wrmsr_faults(MSR_PAT, 8ull << 56), "PAT type 8");
    CHECK(wrmsr_faults(MSR_MTRR_DEF, def | 1 << 9), "MTRR default: reserved bit");
    CHECK(wrmsr_faults(MSR_MTRRCAP, 0), "MTRRCAP");
    CHECK(wrmsr_faults(0x250, 2), "fixed MTRR of type 2");
    CHECK(wrmsr_faults(0x200, 1ull << 60), "variable MTRR beyond the address bits");
    CHECK(wrmsr_faults(MSR_EFER, efer & ~EFER_LME), "EFER.LME under paging");
    CHECK(wrmsr_faults(MSR_EFER, efer | 1 << 16), "EFER: reserved bit");
    if (on_patchbay())
        CHECK(wrmsr_faults(MSR_EFER, efer | EFER_SVME), "EFER.SVME");
    CHECK_EQ(rdmsr(MSR_EFER), efer, "EFER afterwards");
    CHECK_EQ(rdmsr(MSR_PAT), pat, "PAT afterwards");
}

static void test_canonical(void)
{
    static const uint32_t msr[] = {MSR_FS_BASE, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_CSTAR};
    uint64_t seen, place = 0x5eed;

    for (unsigned i = 0; i < sizeof(msr) / sizeof(msr[0]); i++) {
        uint64_t old = rdmsr(msr[i]);
        wrmsr(msr[i], 0xffff800000000000 + i);
        CHECK_EQ(rdmsr(msr[i]), 0xffff800000000000 + i, "upper half");
        wrmsr(msr[i], 0x00007ffffffff000 + i);
        CHECK_EQ(rdmsr(msr[i]), 0x00007ffffffff000 + i, "lower half");
        wrmsr(msr[i], old);
    }
    wrmsr(MSR_FS_BASE, (uint64_t)&place);
    asm volatile("movq %%fs:0, %0" : "=r"(seen) : : "memory");
    CHECK_EQ(seen, 0x5eed, "load by FS");
    wrmsr(MSR_FS_BASE, 0);
    /* without FSGSBASE the bases are not checked for a processor that does not do it itself */
    if (!options.hosted || (cpuid(7, 0).ebx & 1) == 0)
        return;
    for (unsigned i = 0; i < sizeof(msr) / sizeof(msr[0]); i++) {
        uint64_t old = rdmsr(msr[i]);
        CHECK(wrmsr_faults(msr[i], 0x0000800000000000), "MSR %x: first beyond", msr[i]);
        CHECK(wrmsr_faults(msr[i], 0xffff7fffffffffff), "MSR %x: last before", msr[i]);
        CHECK_EQ(rdmsr(msr[i]), old, "unchanged");
    }
    CHECK(wrmsr_faults(MSR_GS_BASE, 1ull << 63), "GS base");
}

/* --- CPUID --- */

static void topology_job(void *arg)
{
    unsigned id = apic_read(APIC_ID) >> 24;

    (void)arg;
    CHECK_EQ(cpuid(1, 0).ebx >> 24, id, "leaf 1: APIC ID");
    if (ncpus > 1)
        CHECK((cpuid(1, 0).edx & 1u << 28) != 0, "HTT");
    if (!on_patchbay())
        return;
    CHECK_EQ(cpuid(1, 0).ebx >> 16 & 0xff, ncpus, "leaf 1: processors");
    CHECK_EQ(cpuid(0xb, 0).edx, id, "leaf B: APIC ID");
    CHECK_EQ(cpuid(0xb, 0).ebx & 0xffff, 1, "leaf B: threads of a core");
    CHECK_EQ(cpuid(0xb, 1).ebx & 0xffff, ncpus, "leaf B: threads of the package");
    CHECK(1u << (cpuid(0xb, 1).eax & 31) >= ncpus, "leaf B: shift");
    CHECK_EQ(cpuid(0xb, 2).ecx, 2, "leaf B: no third level");
    CHECK_EQ(cpuid(0x80000008, 0).ecx & 0xff, ncpus - 1, "leaf 80000008: NC");
}

static void test_topology(void)
{
    run_on(ncpus, topology_job, NULL);
}

/* --- local APIC --- */

static void apic_again(void)
{
    apic_setup();
    timer_periodic();
}

static void apic_base_write(uint64_t bits)
{
    wrmsr(MSR_APIC_BASE, (rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP) | bits);
}

static void test_apic_off(void)
{
    if (!on_patchbay()) {
        test_skip("the emulators do not switch the APIC on again");
        return;
    }
    cli();
    apic_base_write(APIC_BASE_PA);
    CHECK_EQ(cpuid(1, 0).edx & 1u << 9, 0, "CPUID while it is off");
    apic_write(APIC_SVR, 0x1ff);
    CHECK_EQ(apic_read(APIC_VERSION), 0xffffffff, "nobody answers");
    apic_base_write(APIC_BASE_PA | APIC_BASE_EN);
    CHECK((cpuid(1, 0).edx & 1u << 9) != 0, "CPUID when it is on");
    CHECK_EQ(apic_read(APIC_SVR) & 0x1ff, 0xff, "registers as after reset");
    apic_again();
    sti();
    uint64_t base = irqs(0, VEC_TEST);
    ipi_shorthand(ICR_SELF | ICR_ASSERT | VEC_TEST);
    wait_irqs(0, VEC_TEST, base + 1);
}

static _Atomic bool look; /* pairs with test_apic_moved */
static void look_job(void *arg)
{
    while (!atomic_load_explicit(&look, memory_order_acquire))
        wait_pause();
    *(uint64_t *)arg = load64(*(uint64_t *)arg);
}

static uint32_t version_at(uint64_t base)
{
    return *(volatile uint32_t *)(base + APIC_VERSION);
}

static void test_apic_moved(void)
{
    uint64_t page = pa_of(tagged_page(0x7a6)), seen = page, high = cpuid(0x80000008, 0).eax & 0xff;
    uint32_t version = apic_read(APIC_VERSION);

    if (!on_patchbay()) {
        test_skip("the emulators move the page of all CPUs, or none");
        return;
    }
    CHECK(wrmsr_faults(MSR_APIC_BASE, APIC_BASE_PA | APIC_BASE_EN | 1ull << high), "address bits");
    CHECK(wrmsr_faults(MSR_APIC_BASE, APIC_BASE_PA | APIC_BASE_EN | 1), "reserved bit");
    atomic_store_explicit(&look, false, memory_order_release);
    if (ncpus > 1)
        cpu_start(1, look_job, &seen); /* now: from the new places nobody can be called */
    cli();
    apic_base_write(0xfed40000 | APIC_BASE_EN);
    CHECK_EQ(version_at(0xfed40000), version, "version at the new place");
    CHECK_EQ(apic_read(APIC_VERSION), 0xffffffff, "nobody at the old one");
    apic_base_write(page | APIC_BASE_EN);
    CHECK_EQ(version_at(page), version, "version over RAM");
    atomic_store_explicit(&look, true, memory_order_release);
    if (ncpus > 1)
        cpu_join(1);
    apic_base_write(APIC_BASE_PA | APIC_BASE_EN);
    CHECK_EQ(load64(page), 0x7a6, "RAM again");
    CHECK_EQ(apic_read(APIC_VERSION), version, "at home again");
    apic_again();
    sti();
    if (ncpus > 1)
        CHECK_EQ(seen, 0x7a6, "the other CPU saw RAM there");
}

static bool x2_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector <= VEC_USER_RETURN)
        return false;
    wrmsr(X2(APIC_EOI), 0); /* the EOI by memory before this hook went nowhere */
    return true;
}

static void x2_ipis(void)
{
    uint64_t self = irqs(0, VEC_TEST), other = irqs(ncpus - 1, VEC_TEST);

    wrmsr(0x83f, VEC_TEST);
    wait_irqs(0, VEC_TEST, ++self);
    wrmsr(X2(APIC_ICR), ICR_SELF | ICR_ASSERT | VEC_TEST);
    wait_irqs(0, VEC_TEST, ++self);
    wrmsr(X2(APIC_ICR), rdmsr(X2(APIC_LDR)) << 32 | ICR_LOGICAL | ICR_ASSERT | VEC_TEST);
    wait_irqs(0, VEC_TEST, ++self);
    CHECK_EQ(rdmsr(X2(APIC_ICR)) & ICR_BUSY, 0, "busy bit");
    if (ncpus == 1)
        return;
    wrmsr(X2(APIC_ICR), (uint64_t)cpus[ncpus - 1].apic_id << 32 | ICR_ASSERT | VEC_TEST);
    wait_irqs(ncpus - 1, VEC_TEST, ++other);
    wrmsr(X2(APIC_ICR), 0xffffffffull << 32 | ICR_ASSERT | VEC_TEST);
    wait_irqs(0, VEC_TEST, ++self);
    wait_irqs(ncpus - 1, VEC_TEST, ++other);
}

static void test_x2apic(void)
{
    uint64_t id = apic_read(APIC_ID) >> 24, on = APIC_BASE_PA | APIC_BASE_EN | APIC_BASE_EXTD;
    uint64_t keep = rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP;

    if ((cpuid(1, 0).ecx & 1u << 21) == 0) {
        test_skip("no x2APIC");
        return;
    }
    CHECK(rdmsr_faults(X2(APIC_ID)), "an x2APIC register in xAPIC mode");
    CHECK(wrmsr_faults(MSR_APIC_BASE, APIC_BASE_PA | keep | APIC_BASE_EXTD), "EXTD without EN");
    cli();
    apic_base_write(on);
    this_cpu()->hook = x2_hook;
    sti();
    CHECK_EQ(rdmsr(X2(APIC_ID)), id, "ID");
    CHECK_EQ(rdmsr(X2(APIC_LDR)), (id >> 4) << 16 | 1ull << (id & 15), "logical ID");
    CHECK(wrmsr_faults(X2(APIC_ID), 0), "ID is read-only");
    CHECK(rdmsr_faults(X2(APIC_DFR)), "there is no DFR");
    CHECK(rdmsr_faults(X2(APIC_ICR2)), "there is no upper half of the ICR");
    CHECK(wrmsr_faults(X2(APIC_EOI), 1), "EOI takes zero only");
    CHECK(wrmsr_faults(X2(APIC_TPR), 0x100), "TPR: reserved bit");
    CHECK(wrmsr_faults(0x8ff, 0) && rdmsr_faults(0x8ff), "the end of the range");
    CHECK(wrmsr_faults(MSR_APIC_BASE, APIC_BASE_PA | keep | APIC_BASE_EN), "back to xAPIC");
    x2_ipis();
    cli();
    this_cpu()->hook = NULL;
    apic_base_write(APIC_BASE_PA);
    CHECK(wrmsr_faults(MSR_APIC_BASE, on | keep), "off to x2APIC");
    apic_base_write(APIC_BASE_PA | APIC_BASE_EN);
    apic_again();
    sti();
    CHECK(rdmsr_faults(X2(APIC_ID)), "xAPIC mode again");
}

/* --- destinations --- */

static bool cluster; /* CPUs in clusters of two */
static void logical_job(void *arg)
{
    unsigned i = this_cpu()->index;

    (void)arg;
    apic_write(APIC_DFR, cluster ? 0x0fffffff : 0xffffffff);
    apic_write(APIC_LDR, (cluster ? (i / 2) << 4 | 1u << (i & 1) : 1u << i) << 24);
}

/* Sends to the destination and looks who got it. */
static void expect(uint32_t dest, uint32_t icr, uint32_t want, const char *what)
{
    uint64_t before[MAX_CPUS];

    for (unsigned c = 0; c < ncpus; c++)
        before[c] = irqs(c, VEC_TEST);
    cli();
    apic_write(APIC_ICR2, dest << 24);
    apic_write(APIC_ICR, icr | ICR_ASSERT | VEC_TEST);
    CHECK_EQ(apic_read(APIC_ICR) & ICR_BUSY, 0, "busy bit");
    sti();
    for (unsigned c = 0; c < ncpus; c++) {
        if ((want >> c & 1) != 0)
            wait_irqs(c, VEC_TEST, before[c] + 1);
    }
    spin(20000);
    for (unsigned c = 0; c < ncpus; c++)
        CHECK(irqs(c, VEC_TEST) == before[c] + (want >> c & 1), "%s %x: cpu %u got %lu", what, dest,
              c, irqs(c, VEC_TEST) - before[c]);
}

static void test_destinations(void)
{
    uint32_t all = (1u << ncpus) - 1;

    cluster = false;
    run_on(ncpus, logical_job, NULL);
    for (uint32_t d = 0; d <= all; d++)
        expect(d, ICR_LOGICAL, d, "flat");
    expect(0xff, ICR_LOGICAL, all, "flat");
    expect(0xff, 0, all, "physical");
    for (unsigned c = 0; c < ncpus; c++)
        expect(cpus[c].apic_id, 0, 1u << c, "physical");
    cluster = true;
    run_on(ncpus, logical_job, NULL);
    for (unsigned c = 0; c < ncpus; c++)
        expect((c / 2) << 4 | 1u << (c & 1), ICR_LOGICAL, 1u << c, "cluster");
    expect(0x03, ICR_LOGICAL, all & 3, "cluster");
    expect(0x13, ICR_LOGICAL, all & 12, "cluster");
    cluster = false;
    run_on(ncpus, logical_job, NULL);
}

static void set_tpr(void *arg)
{
    apic_write(APIC_TPR, this_cpu()->index == *(unsigned *)arg ? 0 : 0x20);
}

static void clear_tpr(void *arg)
{
    (void)arg;
    apic_write(APIC_TPR, 0);
}

/* Of the CPUs named, one of the lowest task priority takes it. */
static void test_lowest_priority(void)
{
    cluster = false;
    run_on(ncpus, logical_job, NULL);
    for (unsigned c = 0; c < ncpus; c++) {
        if (on_patchbay())
            run_on(ncpus, set_tpr, &c); /* the emulators do not look at it */
        uint64_t sum = 0, before = irqs(c, VEC_TEST);
        for (unsigned i = 0; i < ncpus; i++)
            sum += irqs(i, VEC_TEST);
        ipi_send_to((1u << ncpus) - 1, ICR_LOGICAL | ICR_LOWEST | ICR_ASSERT | VEC_TEST);
        for (uint64_t now = sum; now == sum;) {
            now = 0;
            for (unsigned i = 0; i < ncpus; i++)
                now += irqs(i, VEC_TEST);
            wait_pause();
        }
        spin(20000);
        uint64_t after = 0;
        for (unsigned i = 0; i < ncpus; i++)
            after += irqs(i, VEC_TEST);
        CHECK_EQ(after, sum + 1, "CPUs that took it");
        if (on_patchbay())
            CHECK_EQ(irqs(c, VEC_TEST), before + 1, "the one of lowest priority");
    }
    run_on(ncpus, clear_tpr, NULL);
}

/* INIT level de-assert to all, and the shorthands that exist for fixed interrupts only. */
static void test_init_deassert(void)
{
    for (unsigned i = 0; i < 3; i++) {
        ipi_shorthand(ICR_ALL | ICR_LEVEL | ICR_INIT);
        CHECK_EQ(apic_read(APIC_ICR) & ICR_BUSY, 0, "busy bit");
    }
    spin(20000);
    run_on(ncpus, clear_tpr, NULL); /* everybody still works */
    expect(0xff, 0, (1u << ncpus) - 1, "physical");
}

static bool nmi_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    return f->vector == VEC_NMI;
}

static _Atomic bool nmi_stop;
static void nmi_job(void *arg)
{
    (void)arg;
    this_cpu()->hook = nmi_hook;
    while (!atomic_load_explicit(&nmi_stop, memory_order_acquire)) /* pairs with test_nmi_others */
        wait_pause();
    this_cpu()->hook = NULL;
}

static void test_nmi_others(void)
{
    uint64_t before[MAX_CPUS];

    atomic_store_explicit(&nmi_stop, false, memory_order_release);
    for (unsigned c = 0; c < ncpus; c++)
        before[c] = irqs(c, VEC_NMI);
    for (unsigned c = 1; c < ncpus; c++) {
        cpu_start(c, nmi_job, NULL);
        while (cpus[c].hook != nmi_hook)
            wait_pause();
    }
    for (unsigned i = 1; i <= 10; i++) {
        ipi_shorthand(ICR_OTHERS | ICR_ASSERT | ICR_NMI);
        for (unsigned c = 1; c < ncpus; c++)
            wait_irqs(c, VEC_NMI, before[c] + i);
    }
    atomic_store_explicit(&nmi_stop, true, memory_order_release);
    cpu_join_all();
    CHECK_EQ(irqs(0, VEC_NMI), before[0], "NMIs at the sender");
}

/* --- INIT of the boot processor --- */

static void by_icr(void)
{
    apic_write(APIC_ICR2, cpus[0].apic_id << 24);
    apic_write(APIC_ICR, ICR_ASSERT | ICR_INIT);
}

static void by_shorthand(void)
{
    apic_write(APIC_ICR, ICR_SELF | ICR_ASSERT | ICR_INIT);
}

static void by_port92(void)
{
    outb(0x92, 2);
    outb(0x92, 3);
}

static void by_keyboard(void)
{
    outb(0x64, 0xfe);
}

static void by_cf9(void)
{
    outb(0xcf9, 0);
    outb(0xcf9, 4);
}

/* With shutdown status 0Ah firmware, or the hypervisor in its stead, goes on at the vector of the
 * BIOS data area. The chipset's ways take the other CPUs down as well. */
static void bsp_init(void (*init)(void), bool others)
{
    const uint32_t vector = AP_TRAMPOLINE_PA >> 4 << 16;
    uint64_t old = load64(WARM_VECTOR & ~7ull);

    cli();
    outb(0x70, 0x0f);
    outb(0x71, 0x0a);
    memcpy((void *)WARM_VECTOR, &vector, sizeof(vector));
    warm_restart(init);
    cpu_init(0);
    outb(0x70, 0x0f);
    CHECK_EQ(inb(0x71), 0, "the status counts once");
    store64(WARM_VECTOR & ~7ull, old);
    CHECK_EQ(rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP, APIC_BASE_BSP, "still the boot processor");
    CHECK_EQ(apic_read(APIC_SVR) & 0x100, 0, "its APIC was reset");
    apic_again();
    sti();
    for (unsigned c = 1; others && c < ncpus; c++)
        smp_restart(c);
    expect(0xff, 0, (1u << ncpus) - 1, "physical");
}

static void test_bsp_init(void)
{
    if (!on_patchbay()) {
        test_skip("the emulators' firmware does not come back");
        return;
    }
    bsp_init(by_icr, false);
    bsp_init(by_shorthand, false);
    bsp_init(by_port92, true);
    CHECK_EQ(inb(0x92) & 1, 1, "port 92 outlives INIT");
    bsp_init(by_keyboard, true);
    bsp_init(by_cf9, true);
}

static const struct test tests[] = {
    {"platform.msrs", test_msrs, 1},
    {"platform.canonical", test_canonical, 1},
    {"platform.topology", test_topology, 1},
    {"platform.apic_off", test_apic_off, 1},
    {"platform.apic_moved", test_apic_moved, 1},
    {"platform.x2apic", test_x2apic, 1},
    {"platform.destinations", test_destinations, 1},
    {"platform.lowest_priority", test_lowest_priority, 2},
    {"platform.init_deassert", test_init_deassert, 2},
    {"platform.nmi_others", test_nmi_others, 2},
    {"platform.bsp_init", test_bsp_init, 1},
};
const struct test_group tests_platform = GROUP(tests);
