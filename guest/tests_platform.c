/* SPDX-License-Identifier: BSD-2-Clause */
/* Group platform: what a processor says of itself and refuses (CPUID, MSRs), STARTUP anywhere below
 * 1 MiB, INIT of the boot processor. Tested by running it bare; where bare QEMU is known to
 * deviate, the check is for hypervisors, and for Bochs only where that is right. */
#include "guest/platform.h"

/* --- MSRs --- */

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
    if (!options.bochs) /* 3.1 ends itself */
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

/* STARTUP at pages that hold other things on a PC: text memory, and the end of the BIOS area. */
static void test_sipi_pages(void)
{
    static const uint8_t stub[] = {0xfa, 0x8c, 0xc8, 0x8e, 0xd8, /* cli; ds = cs */
                                   0x66, 0xff, 0x06, 0x00, 0x0f, /* incl 0xf00 */
                                   0xf4, 0xeb, 0xfd};            /* hlt */
    static const uint8_t vectors[] = {0xb8, 0x9f, 0xff};
    static uint8_t saved[4096];

    if (!on_patchbay()) {
        test_skip("ROM on a real PC");
        return;
    }
    for (unsigned i = 0; i < sizeof(vectors); i++) {
        uint8_t *page = (uint8_t *)((uint64_t)vectors[i] << 12);
        volatile uint32_t *runs = (volatile uint32_t *)(page + 0xf00);
        memcpy(saved, page, PAGE);
        memcpy(page, stub, sizeof(stub));
        *runs = 0;
        smp_init_sipi(1, vectors[i]);
        while (*runs == 0 && !test_abandoned() &&
               rdtsc() < atomic_load_explicit(&test_deadline, memory_order_relaxed))
            pause();
        CHECK_EQ(*runs, 1, "runs of the code there");
        memcpy(page, saved, PAGE);
        smp_restart(1);
    }
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

/* As systems for the 286 leave protected mode. */
static void by_triple_fault(void)
{
    static const uint8_t none[10];
    asm volatile("lidt %0; ud2" : : "m"(none));
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
    uint64_t n = irqs(ncpus - 1, VEC_TEST);
    ipi_send(ncpus - 1, ICR_ASSERT | VEC_TEST);
    wait_irqs(ncpus - 1, VEC_TEST, n + 1);
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
    outb(0x92, 2); /* as it was: other tests look at it */
    bsp_init(by_keyboard, true);
    bsp_init(by_cf9, true);
    bsp_init(by_triple_fault, true);
}

static const struct test tests[] = {
    {"platform.msrs", test_msrs, 1},         {"platform.canonical", test_canonical, 1},
    {"platform.topology", test_topology, 1}, {"platform.sipi_pages", test_sipi_pages, 2},
    {"platform.bsp_init", test_bsp_init, 1},
};
const struct test_group tests_platform = GROUP(tests);
