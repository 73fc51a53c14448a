/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC of this CPU, xAPIC or x2APIC alike. Tested by every boot. */
#pragma once
#include "hv/base/types.h"

/* Decides the mode, maps the registers at `base`: x2APIC if the firmware left it on, or the CPU has
 * it and there is no reason not to. why_not: such a reason for the log, NULL: none. Context: BSP,
 * after paging. */
void apic_init(hpa_t base, const char *why_not);
bool apic_is_x2(void);
/* Enables this CPU's APIC in that mode: spurious vector, LVTs masked, TPR 0. */
void apic_cpu_init(void);
uint32_t apic_id(void);
/* true if `id` can be addressed in the current mode. */
bool apic_can_address(uint32_t id);
void apic_eoi(void);
/* icr: delivery mode, vector, level bits of the low ICR word. Bounded wait for the previous one.
 * Context: any, including NMI. */
void apic_ipi(uint32_t id, uint32_t icr);
/* Timer: one-shot, masked until armed. Calibrated once against the TSC. */
void apic_timer_calibrate(void);
void apic_timer_cpu_init(void);
/* From now on this CPU's timer fires at least that often and posts ACTION_INPUT: for consoles that
 * do not interrupt. */
void apic_timer_tick(uint64_t us);
/* The timer interrupt: true if this CPU is to look at the consoles now; the next look is armed. */
bool apic_timer_ticked(void);
void apic_timer_arm(uint64_t tsc_deadline);
