/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts the machine, runs the selected tests and prints KTAP. Tested by every run of the image. */
#include "guest/guest.h"

static const struct test_group *const groups[] = {
#ifdef __x86_64__
    &tests_basic, &tests_cpu,     &tests_pcid,     &tests_events, &tests_x87,     &tests_pit,
#endif
    &tests_smp,   &tests_trans,   &tests_flush,    &tests_prot,   &tests_race,    &tests_memory,
    &tests_store, &tests_xsave,   &tests_native,
#ifdef __x86_64__
    &tests_table, &tests_hostile, &tests_platform, &tests_apic,   &tests_devices, &tests_console,
    &tests_pci,
#else
    &tests_modes,  &tests_task,  &tests_hostile32,
#endif
};
#define NGROUPS (sizeof(groups) / sizeof(groups[0]))
#define MAX_DIAGS 6

_Atomic uint64_t test_deadline = UINT64_MAX;
static _Atomic bool abandoned; /* set by any CPU, looked at in every wait */
static _Atomic unsigned failures;
static const char *skip_reason;
static const char *test_name = "start";
void guest_main(const uint8_t *boot_params);

void test_fail(const char *file, int line, const char *fmt, ...)
{
    char prefix[96];
    unsigned n = 0, before = atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
    const char *parts[] = {test_name, ": ", file};
    va_list ap;

    if (before >= MAX_DIAGS)
        return;
    for (unsigned i = 0; i < 3; i++) {
        for (const char *p = parts[i]; *p != '\0' && n < sizeof(prefix) - 16; p++)
            prefix[n++] = *p;
    }
    prefix[n++] = ':';
    for (int div = 1000; div != 0; div /= 10) {
        if (line >= div)
            prefix[n++] = (char)('0' + line / div % 10);
    }
    prefix[n++] = ':';
    prefix[n++] = ' ';
    prefix[n] = '\0';
    va_start(ap, fmt);
    vdiag(prefix, fmt, ap);
    va_end(ap);
}

void test_note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vdiag("this machine deviates: ", fmt, ap);
    va_end(ap);
}

void test_skip(const char *why)
{
    skip_reason = why;
}

void test_abandon(void)
{
    atomic_store_explicit(&abandoned, true, memory_order_release); /* pairs with test_abandoned */
}

bool test_abandoned(void)
{
    return atomic_load_explicit(&abandoned, memory_order_acquire);
}

static void set_deadline(unsigned seconds)
{
    atomic_store_explicit(&test_deadline, rdtsc() + seconds * 2500000000ull, memory_order_relaxed);
}

void watchdog_check(struct trapframe *f)
{
    if (rdtsc() < atomic_load_explicit(&test_deadline, memory_order_relaxed) || test_abandoned())
        return;
    test_fail(__FILE__, __LINE__, "watchdog: cpu %u at %lx", this_cpu()->index, (uint64_t)f->rip);
    test_abandon();
}

static void run_test(void *arg)
{
    const struct test *t = arg;
    t->fn();
}

/* After a failed test a CPU may be lost: say where it is, and end. */
static void collect_cpus(void)
{
    uint64_t deadline = rdtsc() + options.watchdog * 2500000000ull;

    if (test_abandoned())
        ipi_shorthand(ICR_OTHERS | ICR_ASSERT | VEC_WAKE); /* some may be halted */
    for (unsigned i = 1; i < ncpus; i++) {
        /* pairs with cpu_idle */
        while (atomic_load_explicit(&cpus[i].state, memory_order_acquire) != CPU_IDLE) {
            pause();
            if (rdtsc() < deadline)
                continue;
            ipi_send(i, ICR_ASSERT | ICR_NMI);
            for (unsigned spin = 0; spin < 100000000; spin++)
                pause();
            print("Bail out! cpu %u does not come back from %s\n", i, test_name);
            machine_exit(false);
        }
    }
}

static void reload_baseline(void *arg)
{
    (void)arg;
    flush_all_local();
}

/* Gives the address space and the pages of a test back. */
static void clean_up(void *arg)
{
    (void)arg;
    test_space_clear();
    flush_all_local();
    run_on(ncpus, reload_baseline, NULL);
    page_pool_reset();
}

static bool run_one(const struct test *t, unsigned number)
{
    bool ok = true;

    test_name = t->name;
    atomic_store_explicit(&failures, 0, memory_order_relaxed);
    skip_reason = NULL;
    set_deadline(options.watchdog * options.scale); /* as many times the work */
    if (ncpus < t->min_cpus)
        skip_reason = t->min_cpus == 2 ? "needs 2 CPUs" : "needs more CPUs";
    else
        ok = job_run(run_test, (void *)(uintptr_t)t);
    cpu_baseline();
    collect_cpus();
    ok = ok && atomic_load_explicit(&failures, memory_order_relaxed) == 0;
    print("%s %u - %s%s%s\n", ok ? "ok" : "not ok", number, t->name,
          skip_reason != NULL ? " # SKIP " : "", skip_reason != NULL ? skip_reason : "");
    atomic_store_explicit(&abandoned, false, memory_order_release);
    set_deadline(options.watchdog);
    if (!job_run(clean_up, NULL)) {
        print("Bail out! cannot clean up after %s\n", t->name);
        machine_exit(false);
    }
    return ok;
}

static unsigned count_tests(void)
{
    unsigned n = 0;

    for (unsigned g = 0; g < NGROUPS; g++) {
        for (unsigned i = 0; i < groups[g]->n; i++)
            n += glob_match(options.test, groups[g]->tests[i].name);
    }
    return n;
}

void guest_main(const uint8_t *boot_params)
{
    unsigned number = 0, failed = 0, expected;

    cpu_init(0);
    options_init(boot_params);
    console_init();
    expected = acpi_init(boot_params);
    high_end = ram_high_end(boot_params);
    if (options.cpus != 0)
        expected = options.cpus;
    smp_init(expected);
    sti();
    timer_periodic();
    print("KTAP version 1\n");
    diag("%u CPUs of %u, %s, scale %u", ncpus, expected, options.hosted ? "hosted" : "bare",
         options.scale);
    print("1..%u\n", count_tests());
    for (unsigned g = 0; g < NGROUPS; g++) {
        for (unsigned i = 0; i < groups[g]->n; i++) {
            const struct test *t = &groups[g]->tests[i];
            if (glob_match(options.test, t->name))
                failed += !run_one(t, ++number);
        }
    }
    diag("%u of %u failed", failed, number);
    if (expected != 0 && ncpus != expected) {
        print("Bail out! only %u of %u CPUs started\n", ncpus, expected);
        machine_exit(false);
    }
    machine_exit(failed == 0);
}
