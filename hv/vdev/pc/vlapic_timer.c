/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC's timer: one-shot, periodic and TSC-deadline, a 1 GHz bus clock derived from the
 * TSC. Owner CPU only, no lock; the loop asks vpc_timers for the deadline in every round. Tested by
 * tools/tests/test_vdev_lapic.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/port/cpu.h"

#define lvt_timer(a) atomic_load_explicit(&(a)->lvt[LVT_TIMER], memory_order_relaxed)

/* Divide configuration: bits 3, 1, 0 give 2, 4 .. 128, and 111b 1 (APM 16.4.1 "APIC Timer"). */
static unsigned divide_shift(uint32_t div)
{
    return (((div & 3) | ((div >> 1) & 4)) + 1) & 7;
}

static uint64_t period_ns(const struct vlapic *a)
{
    return (uint64_t)a->timer_init << divide_shift(a->timer_div);
}

static uint64_t ns_tsc(const struct vpc *pc, uint64_t ns)
{
    return scale_up(ns, pc->cfg.tsc_hz, NS_PER_S);
}

void vlapic_timer_reset(struct vlapic *a)
{
    a->timer_init = a->timer_div = 0;
    a->timer_deadline = NO_DEADLINE;
}

void vlapic_timer_start(struct vpc *pc, uint32_t cpu, uint32_t count)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (LVT_TIMER_MODE(lvt_timer(a)) == TIMER_DEADLINE)
        return; /* SDM 11.5.4.1: ignored */
    a->timer_init = count;
    a->timer_deadline = count ? port_tsc() + ns_tsc(pc, period_ns(a)) : NO_DEADLINE;
}

void vlapic_timer_divide(struct vpc *pc, uint32_t cpu, uint32_t value)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (value == a->timer_div)
        return;
    uint64_t now = port_tsc();
    uint64_t left = vlapic_timer_current(pc, a, now);
    a->timer_div = value;
    if (a->timer_deadline != NO_DEADLINE && LVT_TIMER_MODE(lvt_timer(a)) != TIMER_DEADLINE)
        a->timer_deadline = now + ns_tsc(pc, left << divide_shift(value));
}

void vlapic_timer_lvt(struct vpc *pc, uint32_t cpu, uint32_t old, uint32_t value)
{
    /* switching to or from TSC-deadline mode disarms (SDM 11.5.4.1) */
    if ((LVT_TIMER_MODE(old) == TIMER_DEADLINE) == (LVT_TIMER_MODE(value) == TIMER_DEADLINE))
        return;
    pc->lapic[cpu].timer_init = 0;
    pc->lapic[cpu].timer_deadline = NO_DEADLINE;
}

uint32_t vlapic_timer_current(const struct vpc *pc, const struct vlapic *a, uint64_t now)
{
    if (LVT_TIMER_MODE(lvt_timer(a)) == TIMER_DEADLINE || a->timer_deadline == NO_DEADLINE)
        return 0;
    unsigned shift = divide_shift(a->timer_div);
    uint64_t left = 0;
    if (now < a->timer_deadline) {
        left = scale_up(a->timer_deadline - now, NS_PER_S, pc->cfg.tsc_hz);
    } else if (LVT_TIMER_MODE(lvt_timer(a)) == TIMER_PERIODIC) { /* due, not yet looked at */
        uint64_t period = period_ns(a);
        left = period - scale(now - a->timer_deadline, NS_PER_S, pc->cfg.tsc_hz) % period;
    }
    left = (left + BIT(shift) - 1) >> shift;
    return left > a->timer_init ? a->timer_init : (uint32_t)left;
}

void vlapic_timer_set_tsc(struct vpc *pc, uint32_t cpu, uint64_t deadline)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (LVT_TIMER_MODE(lvt_timer(a)) == TIMER_DEADLINE)
        a->timer_deadline = deadline ? deadline : NO_DEADLINE;
}

uint64_t vlapic_timer_run(struct vpc *pc, uint32_t cpu, uint64_t now)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (now < a->timer_deadline || a->timer_deadline == NO_DEADLINE)
        return a->timer_deadline;

    uint32_t lvt = lvt_timer(a);
    if (LVT_TIMER_MODE(lvt) == TIMER_PERIODIC && a->timer_init) {
        /* whatever was missed is one interrupt; the phase is kept */
        uint64_t period = ns_tsc(pc, period_ns(a));
        uint64_t floor = pc->cfg.tsc_hz / 1000000 * PERIOD_MIN_US;
        if (period < floor)
            period = floor;
        a->timer_deadline += ((now - a->timer_deadline) / period + 1) * period;
    } else {
        a->timer_deadline = NO_DEADLINE;
    }
    if (!(lvt & LVT_MASKED))
        (void)vlapic_deliver(pc, cpu, cpu, lvt & 0xff, false);
    return a->timer_deadline;
}
