/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC, starting the other CPUs, and jobs and calls on them. Tested by group smp. */
#include "guest/guest.h"

#define APIC_BASE 0xfee00000ull

unsigned ncpus = 1;
uint8_t apic_index[256];
uint32_t ap_ticket = 1;
uint8_t stacks[(MAX_CPUS + 1) * STACK_BYTES] __attribute__((aligned(4096)));
extern const uint8_t ap_trampoline[], ap_trampoline_end[];
void ap_main(unsigned index);

uint32_t apic_read(uint32_t reg)
{
    return *(volatile uint32_t *)(uintptr_t)(APIC_BASE + reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)(APIC_BASE + reg) = value;
}

static void icr_write(uint32_t dest, uint32_t icr)
{
    uint64_t flags = save_flags();

    cli(); /* an interrupt handler may send too: the two halves belong together */
    if (dest != 0xffffffff)
        apic_write(APIC_ICR2, dest << 24);
    apic_write(APIC_ICR, icr);
    while ((apic_read(APIC_ICR) & 0x1000) != 0)
        pause();
    if ((flags & RFLAGS_IF) != 0)
        sti();
}

void ipi_send(unsigned cpu, uint32_t icr)
{
    icr_write(cpus[cpu].apic_id, icr);
}

void ipi_send_to(uint8_t dest, uint32_t icr)
{
    icr_write(dest, icr);
}

void ipi_shorthand(uint32_t icr)
{
    icr_write(0xffffffff, icr);
}

void apic_setup(void)
{
    apic_write(APIC_SVR, 0x100 | VEC_SPURIOUS);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_LINT0, 0x10000); /* no 8259 */
}

void timer_periodic(void)
{
    apic_write(APIC_TIMER_DCR, 0xa); /* by 128 */
    apic_write(APIC_LVT_TIMER, 0x20000 | VEC_TIMER);
    apic_write(APIC_TIMER_ICT, 8000000); /* about a second where the bus counts 1 GHz */
}

static void delay_tsc(uint64_t ticks)
{
    uint64_t start = rdtsc();

    while (rdtsc() - start < ticks)
        pause();
}

static unsigned online(void)
{
    unsigned n = 1;

    for (unsigned i = 1; i < MAX_CPUS; i++)
        /* pairs with ap_main */
        n += atomic_load_explicit(&cpus[i].state, memory_order_acquire) != CPU_OFF;
    return n;
}

void smp_init(unsigned expected)
{
    uint64_t start;

    outb(0x21, 0xff); /* firmware leaves the 8259 and its timer running */
    outb(0xa1, 0xff);
    memset(apic_index, 0xff, sizeof(apic_index));
    memcpy((void *)AP_TRAMPOLINE_PA, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    apic_setup();
    apic_index[cpus[0].apic_id] = 0;
    atomic_store_explicit(&cpus[0].state, CPU_RUNNING, memory_order_relaxed);
    if (expected == 1)
        return;
    ipi_shorthand(ICR_OTHERS | ICR_ASSERT | ICR_INIT);
    delay_tsc(10000000);
    ipi_shorthand(ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | AP_TRAMPOLINE_PA >> 12);
    start = rdtsc();
    /* 0 expected: nobody knows, so whoever answers within a second or two */
    while (online() < expected || expected == 0) {
        if (rdtsc() - start > (expected == 0 ? 4000000000ull : 60000000000ull))
            break;
        pause();
    }
    ncpus = online();
}

void smp_init_sipi(unsigned cpu, uint8_t vector)
{
    /* set again by ap_main */
    atomic_store_explicit(&cpus[cpu].state, CPU_OFF, memory_order_release);
    ipi_send(cpu, ICR_ASSERT | ICR_INIT);
    delay_tsc(10000000);
    ipi_send(cpu, ICR_ASSERT | ICR_STARTUP | vector);
}

void ap_main(unsigned index)
{
    cpu_init(index);
    apic_setup();
    /* pairs with online */
    atomic_store_explicit(&cpus[index].state, CPU_IDLE, memory_order_release);
    sti();
    cpu_idle();
}

bool job_run(void (*fn)(void *), void *arg)
{
    struct cpu *c = this_cpu();
    struct catch_ctx ctx = {NULL, 0, save_flags() | RFLAGS_IF};
    bool aborted;

    c->catcher = NULL;
    c->job = &ctx;
    aborted = catch_call(&ctx, fn, arg);
    c->job = NULL;
    c->catcher = NULL;
    sti();
    return !aborted;
}

void job_abort(void)
{
    test_abandon();
    catch_land(this_cpu()->job);
}

void cpu_idle(void)
{
    struct cpu *c = this_cpu();

    for (;;) {
        for (unsigned i = 0; i < 2000; i++) {
            /* pairs with cpu_start */
            if (atomic_load_explicit(&c->state, memory_order_acquire) == CPU_READY)
                break;
            pause();
        }
        cli();
        if (atomic_load_explicit(&c->state, memory_order_acquire) != CPU_READY) {
            if (options.idle_spin)
                sti();
            else
                sti_hlt();
            continue;
        }
        sti();
        atomic_store_explicit(&c->state, CPU_RUNNING, memory_order_relaxed);
        job_run(c->fn, c->arg);
        cpu_baseline();
        atomic_store_explicit(&c->state, CPU_IDLE, memory_order_release); /* pairs with cpu_join */
    }
}

void cpu_start(unsigned cpu, void (*fn)(void *), void *arg)
{
    struct cpu *c = &cpus[cpu];

    cpu_join(cpu);
    c->fn = fn;
    c->arg = arg;
    atomic_store_explicit(&c->state, CPU_READY, memory_order_release); /* pairs with cpu_idle */
    if (!options.idle_spin)
        ipi_send(cpu, VEC_WAKE);
}

void cpu_join(unsigned cpu)
{
    /* pairs with cpu_idle */
    while (atomic_load_explicit(&cpus[cpu].state, memory_order_acquire) != CPU_IDLE)
        wait_pause();
}

void cpu_join_all(void)
{
    for (unsigned i = 1; i < ncpus; i++)
        cpu_join(i);
}

void run_on(unsigned n, void (*fn)(void *), void *arg)
{
    for (unsigned i = 1; i < n; i++)
        cpu_start(i, fn, arg);
    fn(arg);
    for (unsigned i = 1; i < n; i++)
        cpu_join(i);
}

void wait_pause(void)
{
    if (test_abandoned() && this_cpu()->job != NULL)
        job_abort();
    if (rdtsc() > atomic_load_explicit(&test_deadline, memory_order_relaxed) &&
        this_cpu()->job != NULL) {
        test_fail(__FILE__, __LINE__, "cpu %u waited too long", this_cpu()->index);
        job_abort();
    }
    pause();
}

void barrier_wait(struct barrier *b, unsigned n)
{
    uint32_t phase = atomic_load_explicit(&b->phase, memory_order_acquire);

    /* the last one opens the barrier; pairs with the load below */
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == n) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&b->phase, phase + 1, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&b->phase, memory_order_acquire) == phase)
        wait_pause();
}

void spin_lock(struct spinlock *l)
{
    while (atomic_exchange_explicit(&l->taken, 1, memory_order_acquire) != 0)
        wait_pause();
}

void spin_unlock(struct spinlock *l)
{
    atomic_store_explicit(&l->taken, 0, memory_order_release);
}

/* --- calls by interrupt: one at a time --- */
static struct spinlock call_lock;
static void (*call_fn)(void *);
static void *call_arg;
static _Atomic uint32_t call_pending; /* CPUs that have not answered; pairs with ipi_call */

void ipi_call_entry(void)
{
    uint32_t me = 1u << this_cpu()->index;

    if ((atomic_load_explicit(&call_pending, memory_order_acquire) & me) == 0)
        return;
    call_fn(call_arg);
    atomic_fetch_and_explicit(&call_pending, ~me, memory_order_release);
}

void ipi_call(uint32_t mask, void (*fn)(void *), void *arg)
{
    mask &= ((1u << ncpus) - 1) & ~(1u << this_cpu()->index);
    if (mask == 0)
        return;
    spin_lock(&call_lock); /* interrupts stay on: a waiter answers the holder's call */
    call_fn = fn;
    call_arg = arg;
    atomic_store_explicit(&call_pending, mask, memory_order_release);
    for (unsigned i = 0; i < ncpus; i++) {
        if ((mask >> i & 1) != 0)
            ipi_send(i, VEC_CALL);
    }
    while (atomic_load_explicit(&call_pending, memory_order_acquire) != 0)
        wait_pause();
    spin_unlock(&call_lock);
}

static void do_invlpg(void *arg)
{
    invlpg((uintptr_t)arg);
}

void tlb_shootdown(uint64_t va)
{
    invlpg(va);
    ipi_call(ALL_CPUS, do_invlpg, (void *)(uintptr_t)va);
}

void flush_all_local(void)
{
    uint64_t cr4 = read_cr4();

    write_cr4(cr4 ^ CR4_PGE);
    write_cr4(cr4);
}

static void do_flush_all(void *arg)
{
    (void)arg;
    flush_all_local();
}

void tlb_shootdown_all(void)
{
    flush_all_local();
    ipi_call(ALL_CPUS, do_flush_all, NULL);
}
