/* SPDX-License-Identifier: BSD-2-Clause */
/* Group smp: interrupts between CPUs, HLT, the APIC timer, NMI, task priority, starting a CPU
 * again. Tested by running it bare. */
#include "guest/guest.h"

extern const uint8_t realmode_start[], realmode_end[];

static uint64_t irqs(unsigned cpu, uint8_t vector)
{
    /* pairs with trap_entry */
    return atomic_load_explicit(&cpus[cpu].irqs[vector], memory_order_acquire);
}

static void wait_irqs(unsigned cpu, uint8_t vector, uint64_t n)
{
    while (irqs(cpu, vector) < n)
        wait_pause();
}

static void stay(void *arg)
{
    _Atomic bool *stop = arg;

    while (!atomic_load_explicit(stop, memory_order_acquire)) /* pairs with the test that set it */
        wait_pause();
}

/* Every interrupt that is sent when the last one was seen arrives, once. */
static void test_ipi_counts(void)
{
    _Atomic bool stop = false;

    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, stay, &stop);
    for (unsigned c = 1; c < ncpus; c++) {
        uint64_t base = irqs(c, VEC_TEST), n = ops(40);
        for (uint64_t i = 1; i <= n; i++) {
            ipi_send(c, VEC_TEST);
            wait_irqs(c, VEC_TEST, base + i);
        }
        CHECK_EQ(irqs(c, VEC_TEST), base + n, "interrupts");
    }
    atomic_store_explicit(&stop, true, memory_order_release);
    cpu_join_all();
}

static void test_ipi_shorthands(void)
{
    uint64_t base[MAX_CPUS];

    for (unsigned c = 0; c < ncpus; c++)
        base[c] = irqs(c, VEC_TEST);
    for (unsigned i = 1; i <= ops(20); i++) {
        ipi_shorthand(ICR_OTHERS | ICR_ASSERT | VEC_TEST);
        for (unsigned c = 1; c < ncpus; c++)
            wait_irqs(c, VEC_TEST, base[c] + 2 * i - 1);
        CHECK_EQ(irqs(0, VEC_TEST), base[0] + 2 * (i - 1), "all but self, at self");
        ipi_shorthand(ICR_ALL | ICR_ASSERT | VEC_TEST);
        for (unsigned c = 1; c < ncpus; c++)
            wait_irqs(c, VEC_TEST, base[c] + 2 * i);
        wait_irqs(0, VEC_TEST, base[0] + 2 * i - 1);
        ipi_shorthand(ICR_SELF | ICR_ASSERT | VEC_TEST);
        wait_irqs(0, VEC_TEST, base[0] + 2 * i);
    }
}

/* All pairs at once: a storm in which each CPU waits for its own answers. */
static _Atomic uint64_t storm_acks[MAX_CPUS]; /* counted by the receivers' interrupts */
static void count_ack(void *arg)
{
    atomic_fetch_add_explicit(&storm_acks[(uintptr_t)arg], 1, memory_order_acq_rel);
}

static void storm_job(void *arg)
{
    unsigned me = this_cpu()->index;

    (void)arg;
    for (unsigned i = 0; i < ops(30); i++) {
        uint64_t before = atomic_load_explicit(&storm_acks[me], memory_order_acquire);
        ipi_call(ALL_CPUS, count_ack, (void *)(uintptr_t)me);
        CHECK_EQ(atomic_load_explicit(&storm_acks[me], memory_order_acquire), before + ncpus - 1,
                 "answers");
    }
}

static void test_ipi_storm(void)
{
    run_on(ncpus, storm_job, NULL);
}

struct hlt_state {
    _Atomic uint32_t halts; /* times the CPU woke; pairs with the sender */
    unsigned n;
    uint64_t base;
};

static void hlt_job(void *arg)
{
    struct hlt_state *s = arg;

    for (unsigned i = 1; i <= s->n; i++) {
        cli();
        while (irqs(this_cpu()->index, VEC_TEST) < s->base + i) {
            sti_hlt();
            cli();
        }
        sti();
        atomic_store_explicit(&s->halts, i, memory_order_release);
        if (test_abandoned())
            job_abort();
    }
}

static void test_hlt_wake(void)
{
    unsigned target = ncpus - 1;
    struct hlt_state s = {0, ops(100), irqs(target, VEC_TEST)};

    cpu_start(target, hlt_job, &s);
    for (unsigned i = 1; i <= s.n; i++) {
        if (i % 3 == 0) { /* sometimes let it fall asleep first, sometimes not */
            for (unsigned k = 0; k < 20000; k++)
                pause();
        }
        ipi_send(target, VEC_TEST);
        while (atomic_load_explicit(&s.halts, memory_order_acquire) < i)
            wait_pause();
    }
    cpu_join(target);
}

static void timer_job(void *arg)
{
    unsigned me = this_cpu()->index;
    uint64_t base;

    (void)arg;
    apic_write(APIC_TIMER_DCR, 0xb); /* by 1 */
    apic_write(APIC_LVT_TIMER, VEC_TEST);
    for (unsigned i = 0; i < 5; i++) {
        base = irqs(me, VEC_TEST);
        apic_write(APIC_TIMER_ICT, 1000000);
        if (i % 2 == 0) {
            wait_irqs(me, VEC_TEST, base + 1);
            continue;
        }
        cli();
        while (irqs(me, VEC_TEST) == base) {
            sti_hlt();
            cli();
        }
        sti();
    }
    for (unsigned k = 0; k < 100000; k++)
        pause();
    CHECK_EQ(irqs(me, VEC_TEST), base + 1, "one shot");
    CHECK_EQ(apic_read(APIC_TIMER_CCT), 0, "count after expiry");
    apic_write(APIC_LVT_TIMER, 0x10000 | VEC_TEST); /* masked: counts, does not fire */
    base = irqs(me, VEC_TEST);
    apic_write(APIC_TIMER_ICT, 10000);
    while (apic_read(APIC_TIMER_CCT) != 0)
        wait_pause();
    CHECK_EQ(irqs(me, VEC_TEST), base, "masked timer");
    apic_write(APIC_LVT_TIMER, 0x20000 | VEC_TEST);
    apic_write(APIC_TIMER_ICT, 2000000);
    wait_irqs(me, VEC_TEST, base + 3);
    apic_write(APIC_TIMER_ICT, 0);
    apic_write(APIC_LVT_TIMER, 0x10000);
}

static void test_apic_timer(void)
{
    run_on(ncpus, timer_job, NULL);
    timer_periodic();
}

static bool nmi_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    return f->vector == VEC_NMI;
}

static void nmi_job(void *arg)
{
    _Atomic bool *stop = arg;

    this_cpu()->hook = nmi_hook;
    cli(); /* NMI does not care */
    while (!atomic_load_explicit(stop, memory_order_acquire) && !test_abandoned())
        pause();
    sti();
    this_cpu()->hook = NULL;
}

static void test_nmi(void)
{
    _Atomic bool stop = false;
    uint64_t base = irqs(1, VEC_NMI);

    cpu_start(1, nmi_job, &stop);
    while (cpus[1].hook != nmi_hook)
        wait_pause();
    for (unsigned i = 1; i <= 20; i++) {
        ipi_send(1, ICR_ASSERT | ICR_NMI);
        wait_irqs(1, VEC_NMI, base + i);
    }
    CHECK_EQ(irqs(1, VEC_NMI), base + 20, "NMIs");
    atomic_store_explicit(&stop, true, memory_order_release);
    cpu_join(1);
}

#ifdef __x86_64__ /* CR8 */
/* Task priority holds an interrupt back; CR8 and the APIC register are one. */
static void test_task_priority(void)
{
    uint64_t base = irqs(0, VEC_TEST);

    write_cr8(VEC_TEST >> 4);
    CHECK_EQ(read_cr8(), VEC_TEST >> 4, "CR8");
    CHECK_EQ(apic_read(APIC_TPR), VEC_TEST & 0xf0, "TPR");
    ipi_shorthand(ICR_SELF | ICR_ASSERT | VEC_TEST);
    for (unsigned k = 0; k < 1000; k++)
        pause();
    CHECK_EQ(irqs(0, VEC_TEST), base, "held back by CR8");
    write_cr8(0);
    wait_irqs(0, VEC_TEST, base + 1);
    apic_write(APIC_TPR, 0xe0);
    CHECK_EQ(read_cr8(), 0xe, "CR8 after TPR");
    ipi_shorthand(ICR_SELF | ICR_ASSERT | VEC_TEST);
    for (unsigned k = 0; k < 1000; k++)
        pause();
    CHECK_EQ(irqs(0, VEC_TEST), base + 1, "held back by TPR");
    apic_write(APIC_TPR, 0);
    wait_irqs(0, VEC_TEST, base + 2);
}
#endif

/* The instruction after STI still runs with interrupts held off. */
static void test_sti_shadow(void)
{
    for (unsigned i = 0; i < ops(20); i++) {
        uint64_t base = irqs(0, VEC_TEST), during;
        cli();
        ipi_shorthand(ICR_SELF | ICR_ASSERT | VEC_TEST);
        asm volatile("sti; cli" : : : "memory");
        during = irqs(0, VEC_TEST);
        sti();
        wait_irqs(0, VEC_TEST, base + 1);
        CHECK_EQ(during, base, "interrupt in the shadow of STI");
    }
}

static _Atomic uint64_t counter; /* all CPUs; only its atomicity matters */
static void atomic_job(void *arg)
{
    for (unsigned i = 0; i < *(unsigned *)arg; i++)
        atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
}

static void test_atomics(void)
{
    unsigned n = ops(20000);

    atomic_store_explicit(&counter, 0, memory_order_relaxed);
    run_on(ncpus, atomic_job, &n);
    CHECK_EQ(atomic_load_explicit(&counter, memory_order_relaxed), (uint64_t)n * ncpus, "sum");
}

void smp_restart(unsigned cpu)
{
    smp_init_sipi(cpu, AP_TRAMPOLINE_PA >> 12);
    /* pairs with ap_main */
    while (atomic_load_explicit(&cpus[cpu].state, memory_order_acquire) != CPU_IDLE)
        wait_pause();
}

static void set_flag(void *arg)
{
    atomic_store_explicit((_Atomic bool *)arg, true, memory_order_release);
}

/* A CPU taken down by INIT comes up again and works. */
static void test_restart(void)
{
    for (unsigned i = 0; i < 3; i++) {
        _Atomic bool ran = false;
        unsigned cpu = 1 + i % (ncpus - 1);
        smp_restart(cpu);
        cpu_start(cpu, set_flag, &ran);
        cpu_join(cpu);
        CHECK(atomic_load_explicit(&ran, memory_order_acquire),
              "cpu %u ran nothing after its restart", cpu);
    }
}

static uint32_t report32(unsigned at)
{
    return __atomic_load_n((uint32_t *)(uintptr_t)(REAL_MODE_REPORT_PA + at), __ATOMIC_ACQUIRE);
}

static void test_real_mode(void)
{
    unsigned cpu = ncpus - 1;

    memset((void *)REAL_MODE_PA, 0, PAGE);
    memcpy((void *)REAL_MODE_PA, realmode_start, (size_t)(realmode_end - realmode_start));
    store64(POOL_BASE_PA, 0x11223344);
    smp_init_sipi(cpu, REAL_MODE_PA >> 12);
    while ((report32(0) & 0xffff) != 0x600d) {
        if (test_abandoned() ||
            rdtsc() > atomic_load_explicit(&test_deadline, memory_order_relaxed)) {
            test_fail(__FILE__, __LINE__, "no report from cpu %u", cpu);
            break;
        }
        pause();
    }
    CHECK_EQ(report32(0) >> 16, REAL_MODE_PA >> 4, "CS");
    CHECK_EQ(report32(4) & ~0x60000000u, 0x10, "CR0 but for CD and NW");
    CHECK_EQ(report32(8) & 0xffff, 0x2345, "INT 21h");
    CHECK_EQ(report32(8) >> 16, 0x7e57, "far call");
    CHECK_EQ(report32(12), 0x1010, "string instructions");
    CHECK_EQ(report32(16), 0x11223344, "load above 1 MiB");
    CHECK_EQ(load64(POOL_BASE_PA), 0xfeedf00d11223344, "store above 1 MiB");
    smp_restart(cpu);
}

/* STARTUP with vector 0: the trampoline lies in the first page, over the interrupt vectors. */
static void test_sipi_page_zero(void)
{
    static uint8_t saved[4096];
    static const uint8_t stub[] = {0xfa, 0x31, 0xc0, 0x8e, 0xd8, /* cli; ds = 0 */
                                   0x66, 0xff, 0x06, 0x00, 0x0f, /* incl 0xf00 */
                                   0xf4, 0xeb, 0xfd};            /* hlt */
    volatile uint8_t *page0 = NULL;
    uint32_t v = 0;

    asm("" : "+r"(page0)); /* address 0 is RAM here */
    for (unsigned i = 0; i < PAGE; i++)
        saved[i] = page0[i];
    for (unsigned i = 0; i < sizeof(stub); i++)
        page0[i] = stub[i];
    for (unsigned i = 0; i < 4; i++)
        page0[0xf00 + i] = 0;
    smp_init_sipi(1, 0);
    while ((v = *(volatile uint32_t *)(page0 + 0xf00)) == 0) {
        if (test_abandoned() ||
            rdtsc() > atomic_load_explicit(&test_deadline, memory_order_relaxed))
            break;
        pause();
    }
    CHECK_EQ(v, 1, "runs of the code at page 0");
    for (unsigned i = 0; i < PAGE; i++)
        page0[i] = saved[i];
    smp_restart(1);
}

static const struct test tests[] = {
    {"smp.ipi_counts", test_ipi_counts, 2},
    {"smp.ipi_shorthands", test_ipi_shorthands, 2},
    {"smp.ipi_storm", test_ipi_storm, 2},
    {"smp.hlt_wake", test_hlt_wake, 2},
    {"smp.apic_timer", test_apic_timer, 1},
    {"smp.nmi", test_nmi, 2},
#ifdef __x86_64__
    {"smp.task_priority", test_task_priority, 1},
#endif
    {"smp.sti_shadow", test_sti_shadow, 1},
    {"smp.atomics", test_atomics, 1},
    {"smp.restart", test_restart, 2},
    {"smp.real_mode", test_real_mode, 2},
    {"smp.sipi_page_zero", test_sipi_page_zero, 2},
};
const struct test_group tests_smp = GROUP(tests);
