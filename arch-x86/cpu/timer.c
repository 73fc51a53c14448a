/* SPDX-License-Identifier: BSD-2-Clause */
/* The one physical one-shot timer of each CPU: the local APIC's, by TSC deadline where the CPU has
 * that. Tested by every boot. */
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/apic_regs.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"

#define CALIBRATE_WINDOWS 5
#define CALIBRATE_US 5000
#define TRIES 8
#define MAX_COUNT 0xfffffff0u

static bool deadline_mode;
static struct { /* looks at the consoles, in TSC cycles; period 0: none */
    uint64_t period, due;
} looks[HV_MACHINE_CPUS];
static uint64_t ratio; /* timer ticks a TSC cycle, 32.32 fixed point */

struct pair {
    uint64_t tsc, width;
    uint32_t count;
};

static struct pair sample(void)
{
    struct pair best = {.width = UINT64_MAX};
    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t before = rdtsc();
        uint32_t count = apic_reg_read(APIC_TIMER_CCT);
        uint64_t width = rdtsc() - before;
        if (width < best.width)
            best = (struct pair){before + width / 2, width, count};
    }
    return best;
}

void apic_timer_calibrate(void)
{
    uint64_t best_width = UINT64_MAX;

    deadline_mode = cpu_features.tsc_deadline;
    if (deadline_mode) {
        log_info("apic", "timer: TSC deadline");
        return;
    }
    apic_reg_write(APIC_TIMER_DCR, APIC_DCR_DIV1);
    for (unsigned i = 0; i < CALIBRATE_WINDOWS; i++) {
        apic_reg_write(APIC_TIMER_ICT, MAX_COUNT);
        struct pair a = sample();
        tsc_delay_us(CALIBRATE_US);
        struct pair b = sample();
        if (a.count <= b.count || b.count == 0 || a.width + b.width >= best_width)
            continue;
        best_width = a.width + b.width;
        ratio = tsc_mul_div(a.count - b.count, 1ull << 32, b.tsc - a.tsc);
    }
    apic_reg_write(APIC_TIMER_ICT, 0);
    if (ratio == 0) {
        ratio = 1ull << 32;
        log_warn("apic", "timer: does not count; assuming the TSC's rate");
    }
    log_info("apic", "timer: one-shot, %llu kHz",
             (unsigned long long)(tsc_mul_div(tsc_hz, ratio, 1ull << 32) / 1000));
}

void apic_timer_cpu_init(void)
{
    apic_reg_write(APIC_TIMER_ICT, 0);
    apic_reg_write(APIC_TIMER_DCR, APIC_DCR_DIV1);
    apic_reg_write(APIC_LVT_TIMER, VECTOR_TIMER | (deadline_mode ? APIC_LVT_TIMER_DEADLINE
                                                                 : APIC_LVT_TIMER_ONESHOT));
    /* the mode before the first deadline: SDM 3A, 11.5.4.1 "TSC-Deadline Mode" */
    if (deadline_mode)
        fence_mfence();
}

void apic_timer_tick(uint64_t us)
{
    uint32_t cpu = percpu_self()->cpu;
    looks[cpu].period = tsc_mul_div(us, tsc_hz, 1000000);
    looks[cpu].due = rdtsc() + looks[cpu].period;
    apic_timer_arm(UINT64_MAX);
}

bool apic_timer_ticked(void)
{
    uint32_t cpu = percpu_self()->cpu;
    if (looks[cpu].period == 0)
        return false;
    /* It may have been another deadline, or this one a little early. */
    bool now = (int64_t)(rdtsc() - looks[cpu].due) >= 0;
    if (now)
        looks[cpu].due = rdtsc() + looks[cpu].period;
    apic_timer_arm(UINT64_MAX); /* the loop asks for what the guest needs sooner */
    return now;
}

void apic_timer_arm(uint64_t tsc)
{
    uint32_t cpu = percpu_self()->cpu;
    if (looks[cpu].period && looks[cpu].due < tsc)
        tsc = looks[cpu].due;
    if (deadline_mode) {
        /* 0 disarms; a deadline that has passed fires at once. */
        wrmsr(MSR_TSC_DEADLINE, tsc == UINT64_MAX ? 0 : tsc);
        return;
    }
    if (tsc == UINT64_MAX) {
        apic_reg_write(APIC_TIMER_ICT, 0);
        return;
    }
    uint64_t now = rdtsc();
    uint64_t delta = (int64_t)(tsc - now) > 0 ? tsc - now : 0;
    unsigned __int128 ticks = ((unsigned __int128)delta * ratio >> 32) + 1;
    /* A long deadline comes in pieces: the owner compares and arms the rest. */
    apic_reg_write(APIC_TIMER_ICT, ticks > MAX_COUNT ? MAX_COUNT : (uint32_t)ticks);
}
