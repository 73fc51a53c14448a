/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulator's scheduler: CPUs as coroutines, switched inside the code under test by a seeded
 * choice at every atomic operation and guest access. Tested with the simulator. */
#define _GNU_SOURCE
#include "tools/tests/sim.h"
#include "tools/tests/fake/fake.h"
#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define HAVE_ASAN 1
#else
#define HAVE_ASAN 0
#endif

#define STACK_BYTES (256u << 10)
#define MAIN SIM_CPUS
#define RELAX_LIMIT 200000

struct fiber {
    ucontext_t context;
    void *stack, *fake;
    size_t bytes;
};
static struct fiber fiber[SIM_CPUS + 1];
static unsigned running = MAIN;
static void (*fiber_body)(unsigned cpu);

uint64_t sim_random(uint64_t *state, uint64_t n)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return (x ^ (x >> 31)) % n;
}

static void arrived(struct fiber *self)
{
#if HAVE_ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(self ? self->fake : NULL, &bottom, &bytes);
    if (fiber[MAIN].stack == NULL) { /* the first switch comes from main */
        fiber[MAIN].stack = (void *)(uintptr_t)bottom;
        fiber[MAIN].bytes = bytes;
    }
#else
    (void)self;
#endif
}

static void switch_to(unsigned to)
{
    struct fiber *from = &fiber[running];
    if (to == running)
        return;
    running = to;
    if (to != MAIN)
        fake_set_cpu(to);
#if HAVE_ASAN
    __sanitizer_start_switch_fiber(&from->fake, fiber[to].stack, fiber[to].bytes);
#endif
    swapcontext(&from->context, &fiber[to].context);
    arrived(from);
}

static void new_distance(void)
{
    uint64_t *r = &sim.sched_rng;
    sim.until_switch = (uint32_t)(1 + sim_random(r, sim_random(r, 4) ? 400 : 12));
}

static unsigned other_cpu(void)
{
    unsigned c = running, n = 0;
    for (unsigned i = 0; i < sim.ncpus; i++)
        n += i != running && !sim_cpu[i].done;
    if (!n)
        return running;
    n = (unsigned)sim_random(&sim.sched_rng, n);
    for (unsigned i = 0; i < sim.ncpus; i++)
        if (i != running && !sim_cpu[i].done && n-- == 0)
            c = i;
    return c;
}

static void fiber_main(void)
{
    unsigned me = running;
    arrived(NULL);
    fiber_body(me); /* leaves with `done` set */
    unsigned next = other_cpu();
    switch_to(next == me ? MAIN : next);
    abort();
}

void sim_point(void)
{
    if (running == MAIN)
        return;
    sim.points++;
    if (--sim.until_switch)
        return;
    new_distance();
    sim.switches++;
    switch_to(other_cpu());
}

static void on_relax(uint32_t cpu)
{
    (void)cpu;
    if (running == MAIN)
        return;
    if (++sim.relaxes > RELAX_LIMIT)
        sim_fail("cpu %u waits for ever", running);
    switch_to(other_cpu());
}

/* Between steps the CPU whose step comes first in the program goes on: without a switch in between,
 * the program runs in its own order. */
void sim_step_end(void)
{
    unsigned first = running;
    sim.relaxes = 0;
    for (unsigned i = 0; i < sim.ncpus; i++)
        if (!sim_cpu[i].done && (sim_cpu[first].done || sim_cpu[i].next < sim_cpu[first].next))
            first = i;
    if (!sim_cpu[first].done)
        switch_to(first);
}

static void on_doorbell(uint32_t cpu)
{
    if (cpu >= sim.ncpus || (running != MAIN && sim_vm(running) != sim_vm(cpu)))
        sim_fail("cpu %u rings for cpu %u of another VM", running, cpu);
    sim_cpu[cpu].ipi = true;
}

void sim_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!sim.bad)
        vsnprintf(sim.why, sizeof(sim.why), fmt, ap);
    va_end(ap);
    sim.bad = true;
    if (running == MAIN) {
        fprintf(stderr, "sim: %s\n", sim.why);
        abort();
    }
    switch_to(MAIN);
    abort();
}

/* The linker puts this in the place of hv_panic: a failed assertion ends the run like any failure.
 */
_Noreturn void __wrap_hv_panic(const char *file, int line, const char *fmt, ...);
_Noreturn void __wrap_hv_panic(const char *file, int line, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    sim_fail("cpu %u: panic: %s:%d: %s", running, file, line, text);
}

void sim_run_fibers(void (*body)(unsigned cpu))
{
    fiber_body = body;
    fake_on_relax = on_relax;
    fake_on_doorbell = on_doorbell;
    new_distance();
    for (unsigned c = 0; c < sim.ncpus; c++) {
        struct fiber *f = &fiber[c];
        if (!f->stack)
            f->stack = malloc(f->bytes = STACK_BYTES);
#if HAVE_ASAN
        __asan_unpoison_memory_region(f->stack, f->bytes);
#endif
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack;
        f->context.uc_stack.ss_size = f->bytes;
        f->context.uc_link = NULL;
        makecontext(&f->context, fiber_main, 0);
    }
    for (unsigned c = 0; c < sim.ncpus && !sim.bad; c++)
        if (!sim_cpu[c].done)
            switch_to(c);
    fake_on_relax = NULL;
    fake_on_doorbell = NULL;
}
