/* SPDX-License-Identifier: BSD-2-Clause */
/* Group apic: the local APIC's modes, the place of its page, its deadline timer, and whom an
 * interrupt reaches. Tested by running it bare; what the bare emulators have not is skipped there.
 */
#include "guest/platform.h"

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
    CHECK_DEVICE(rdmsr_faults(X2(APIC_ICR2)), "x2APIC: there is no upper half of the ICR");
    CHECK_DEVICE(wrmsr_faults(X2(APIC_EOI), 1), "x2APIC: EOI takes zero only");
    CHECK_DEVICE(wrmsr_faults(X2(APIC_TPR), 0x100), "x2APIC: TPR has a reserved bit 8");
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

/* All CPUs in x2APIC mode: each sends to the next by ID, then to all by cluster. */
static struct barrier x2_barrier;
static uint64_t x2_base[MAX_CPUS];
static void x2_job(void *arg)
{
    unsigned me = this_cpu()->index;
    uint64_t next = cpus[(me + 1) % ncpus].apic_id, n = 0;

    (void)arg;
    cli();
    apic_base_write(APIC_BASE_PA | APIC_BASE_EN | APIC_BASE_EXTD);
    wrmsr(X2(APIC_LVT_TIMER), 0x10000);
    this_cpu()->hook = x2_hook;
    x2_base[me] = irqs(me, VEC_TEST);
    sti();
    barrier_wait(&x2_barrier, ncpus);
    CHECK_EQ(rdmsr(X2(APIC_ID)), this_cpu()->apic_id, "ID");
    for (unsigned i = 0; i < ops(20); i++) {
        wrmsr(X2(APIC_ICR), next << 32 | ICR_ASSERT | VEC_TEST);
        wait_irqs(me, VEC_TEST, x2_base[me] + ++n);
        barrier_wait(&x2_barrier, ncpus);
    }
    if (me == 0)
        wrmsr(X2(APIC_ICR), 0xffffull << 32 | ICR_LOGICAL | ICR_ASSERT | VEC_TEST);
    wait_irqs(me, VEC_TEST, x2_base[me] + ++n);
    barrier_wait(&x2_barrier, ncpus);
    CHECK_EQ(irqs(me, VEC_TEST), x2_base[me] + n, "interrupts");
    cli();
    this_cpu()->hook = NULL;
    apic_base_write(APIC_BASE_PA);
    apic_base_write(APIC_BASE_PA | APIC_BASE_EN);
    apic_setup();
    sti();
}

static void test_x2apic_smp(void)
{
    if ((cpuid(1, 0).ecx & 1u << 21) == 0) {
        test_skip("no x2APIC");
        return;
    }
    run_on(ncpus, x2_job, NULL);
    timer_periodic();
    uint64_t n = irqs(ncpus - 1, VEC_TEST);
    ipi_send(ncpus - 1, ICR_ASSERT | VEC_TEST);
    wait_irqs(ncpus - 1, VEC_TEST, n + 1);
}

static void test_tsc_deadline(void)
{
    uint64_t n = irqs(0, VEC_TEST);

    if ((cpuid(1, 0).ecx & 1u << 24) == 0) {
        test_skip("no TSC-deadline timer");
        return;
    }
    apic_write(APIC_LVT_TIMER, 0x40000 | VEC_TEST);
    for (unsigned i = 1; i <= 5; i++) {
        uint64_t deadline = rdtsc() + 3000000;
        wrmsr(MSR_TSC_DEADLINE, deadline);
        wait_irqs(0, VEC_TEST, n + i);
        CHECK(rdtsc() >= deadline, "early");
        CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0, "disarmed by expiry");
    }
    wrmsr(MSR_TSC_DEADLINE, 1); /* long past: at once */
    wait_irqs(0, VEC_TEST, n + 6);
    uint64_t far = rdtsc() + (1ull << 40);
    wrmsr(MSR_TSC_DEADLINE, far);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), far, "armed");
    wrmsr(MSR_TSC_DEADLINE, 0);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0, "disarmed by zero");
    apic_write(APIC_TIMER_ICT, 1000); /* does nothing in this mode */
    CHECK_EQ(apic_read(APIC_TIMER_CCT), 0, "current count");
    wrmsr(MSR_TSC_DEADLINE, far);
    apic_write(APIC_LVT_TIMER, VEC_TEST);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0, "disarmed by the change of mode");
    timer_periodic();
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

static const struct test tests[] = {
    {"apic.off", test_apic_off, 1},
    {"apic.moved", test_apic_moved, 1},
    {"apic.x2apic", test_x2apic, 1},
    {"apic.x2apic_smp", test_x2apic_smp, 2},
    {"apic.tsc_deadline", test_tsc_deadline, 1},
    {"apic.destinations", test_destinations, 1},
    {"apic.lowest_priority", test_lowest_priority, 2},
    {"apic.init_deassert", test_init_deassert, 2},
    {"apic.nmi_others", test_nmi_others, 2},
};
const struct test_group tests_apic = GROUP(tests);
