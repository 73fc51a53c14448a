/* SPDX-License-Identifier: BSD-2-Clause */
/* TSC calibration that survives a loaded host, delays, and the comparison of the CPUs' counters.
 * Tested by every boot. */
#include "arch-x86/cpu/tsc.h"
#include <stdatomic.h>
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/acpi.h"
#include "arch-x86/defs/pc.h"
#include "hv/base/log.h"
#include "hv/base/types.h"

#define PIT_HZ 1193182u
#define PIT_LATCH_CH2 0x80
#define PIT_CH2_MODE0 0xb0 /* channel 2, low then high byte, mode 0: counts down and wraps */

#define WINDOWS 8
#define SAMPLE_TRIES 8
#define WINDOW_PIT (PIT_HZ / 100)        /* 10 ms */
#define WINDOW_PM (ACPI_PM_TMR_HZ / 100) /* 10 ms */
#define CONFIRM 2000                     /* half a thousandth */
#define POLL_BOUND 2000000u              /* reads of a dead counter */
#define FALLBACK_HZ 1000000000ull

uint64_t tsc_hz;

/* Long division: the compiler's 128-bit one lives in a library that is not linked. */
uint64_t tsc_mul_div(uint64_t value, uint64_t mul, uint64_t div)
{
    unsigned __int128 product = (unsigned __int128)value * mul;
    uint64_t rest = (uint64_t)(product >> 64) % div, low = (uint64_t)product, q = 0;

    for (int i = 63; i >= 0; i--) {
        bool carry = rest >> 63;
        rest = rest << 1 | (low >> i & 1);
        if (carry || rest >= div) {
            rest -= div;
            q |= 1ull << i;
        }
    }
    return q;
}

static uint32_t pit_read(uint16_t port)
{
    (void)port;
    out8(PIT_CMD, PIT_LATCH_CH2);
    uint32_t low = in8(PIT_CH2);
    return 0xffff - (low | (uint32_t)in8(PIT_CH2) << 8); /* as a counter that rises */
}

static uint32_t pm_read(uint16_t port)
{
    return in32(port) & 0xffffff;
}

struct reference {
    const char *name;
    uint32_t (*read)(uint16_t port);
    uint32_t hz, mask, window;
    uint16_t port;
};

/* The tightest of several tries: a try during which the host ran something else is wide. */
static struct tsc_sample sample(const struct reference *r)
{
    struct tsc_sample best = {.width = UINT64_MAX};
    for (unsigned i = 0; i < SAMPLE_TRIES; i++) {
        uint64_t before = rdtsc();
        uint32_t ref = r->read(r->port);
        uint64_t width = rdtsc() - before;
        if (width < best.width)
            best = (struct tsc_sample){before + width / 2, width, ref};
    }
    return best;
}

/* From a to b, 0 if the reference did not move enough or the readings were so wide (the host ran
 * something else) that they tell nothing. */
static uint64_t frequency(const struct reference *r, const struct tsc_sample *a,
                          const struct tsc_sample *b)
{
    uint32_t ticks = (b->ref - a->ref) & r->mask;
    if (ticks < r->window / 2 || b->tsc <= a->tsc)
        return 0;
    if ((a->width + b->width) * 200 > b->tsc - a->tsc)
        return 0;
    return tsc_mul_div(b->tsc - a->tsc, r->hz, ticks);
}

/* Samples the end of a window that began with *a. */
static struct tsc_sample window_end(const struct reference *r, const struct tsc_sample *a)
{
    uint32_t ticks = 0;
    for (unsigned i = 0; i < POLL_BOUND && ticks < r->window; i++) {
        cpu_pause();
        ticks = (r->read(r->port) - a->ref) & r->mask;
    }
    return sample(r);
}

static uint64_t calibrate(const struct reference *r)
{
    uint64_t best = 0, worst = 0, whole;
    struct tsc_sample first = sample(r), a = first, b = first;

    for (unsigned i = 0; i < WINDOWS; i++) {
        b = window_end(r, &a);
        uint64_t hz = frequency(r, &a, &b);
        a = b;
        if (hz == 0)
            continue;
        best = best == 0 || hz < best ? hz : best;
        worst = hz > worst ? hz : worst;
    }
    /* All windows together have less rounding; taken if the minimum confirms them, that is, if the
     * counter has not wrapped unseen. */
    whole = frequency(r, &first, &b);
    if (whole > best && whole - best < best / CONFIRM)
        best = whole;
    if (best)
        log_info("tsc", "%llu kHz by the %s (windows up to %llu kHz)",
                 (unsigned long long)(best / 1000), r->name, (unsigned long long)(worst / 1000));
    return best;
}

void tsc_calibrate(uint16_t pm_port)
{
    const struct reference pm = {"PM timer", pm_read, ACPI_PM_TMR_HZ, 0xffffff, WINDOW_PM, pm_port};
    const struct reference pit = {"PIT", pit_read, PIT_HZ, 0xffff, WINDOW_PIT, 0};

    tsc_hz = pm_port ? calibrate(&pm) : 0;
    if (tsc_hz)
        return;
    out8(SYSTEM_CONTROL_B, (in8(SYSTEM_CONTROL_B) & 0xfc) | 1); /* gate on, speaker off */
    out8(PIT_CMD, PIT_CH2_MODE0);
    out8(PIT_CH2, 0xff);
    out8(PIT_CH2, 0xff);
    tsc_hz = calibrate(&pit);
    if (tsc_hz == 0) {
        tsc_hz = FALLBACK_HZ;
        log_warn("tsc", "no usable PM timer or PIT: assuming %llu kHz", tsc_hz / 1000ull);
    }
}

void tsc_delay_us(uint64_t us)
{
    uint64_t end = rdtsc() + tsc_mul_div(us, tsc_hz, 1000000);
    while ((int64_t)(rdtsc() - end) < 0)
        cpu_pause();
}

/* --- comparison: the BSP asks, the AP answers with its counter; the answer must lie between the
 * BSP's own readings before the question and after the answer --- */
#define SYNC_ROUNDS 32u
#define SYNC_TIGHT_US 2u   /* a round this tight settles it */
#define SYNC_BUDGET_MS 40u /* on a loaded emulator a round costs two time slices */
#define SYNC_DONE UINT32_MAX
static _Atomic uint32_t sync_question, sync_answer;
static _Atomic uint64_t sync_value;
static bool unsynced;

void tsc_sync_ap(void)
{
    uint32_t answered = 0;
    for (;;) {
        /* Pairs with the stores in tsc_sync_bsp. */
        uint32_t round = atomic_load_explicit(&sync_question, memory_order_acquire);
        if (round == SYNC_DONE) { /* from here on the words are the next CPU's */
            atomic_store_explicit(&sync_answer, SYNC_DONE, memory_order_release);
            return;
        }
        if (round == answered) {
            cpu_pause();
            continue;
        }
        answered = round;
        fence_lfence();
        atomic_store_explicit(&sync_value, rdtsc(), memory_order_relaxed);
        atomic_store_explicit(&sync_answer, round, memory_order_release);
    }
}

static uint64_t cycles(uint64_t us)
{
    return tsc_mul_div(us, tsc_hz, 1000000);
}

void tsc_sync_bsp(uint32_t cpu)
{
    uint64_t behind = 0, ahead = 0, tightest = UINT64_MAX;
    uint64_t end = rdtsc() + cycles(SYNC_BUDGET_MS * 1000), after = 0;

    for (uint32_t round = 1;
         round <= SYNC_ROUNDS && tightest > cycles(SYNC_TIGHT_US) && after < end; round++) {
        uint64_t before = rdtsc();
        fence_lfence();
        atomic_store_explicit(&sync_question, round, memory_order_seq_cst);
        /* Pairs with the store in tsc_sync_ap. */
        while (atomic_load_explicit(&sync_answer, memory_order_acquire) != round)
            cpu_pause();
        fence_lfence();
        after = rdtsc();
        uint64_t value = atomic_load_explicit(&sync_value, memory_order_relaxed);
        if ((int64_t)(value - before) < 0 && before - value > behind)
            behind = before - value;
        if ((int64_t)(after - value) < 0 && value - after > ahead)
            ahead = value - after;
        tightest = after - before < tightest ? after - before : tightest;
    }
    atomic_store_explicit(&sync_question, SYNC_DONE, memory_order_release);
    /* Pairs with the store in tsc_sync_ap: one that missed this would answer for the next CPU, or
     * wait for ever if that one does not start. */
    while (atomic_load_explicit(&sync_answer, memory_order_acquire) != SYNC_DONE)
        cpu_pause();
    if (behind || ahead) {
        unsynced = true;
        log_warn("tsc", "CPU %u is %llu cycles behind, %llu ahead of CPU 0", cpu,
                 (unsigned long long)behind, (unsigned long long)ahead);
    } else {
        log_info("tsc", "CPU %u agrees with CPU 0 within %llu cycles", cpu,
                 (unsigned long long)tightest);
    }
}

void tsc_sync_prepare(void)
{
    atomic_store_explicit(&sync_question, 0, memory_order_seq_cst);
    atomic_store_explicit(&sync_answer, 0, memory_order_seq_cst);
}

bool tsc_synced(void)
{
    return !unsynced;
}
