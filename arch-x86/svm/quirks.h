/* SPDX-License-Identifier: BSD-2-Clause */
/* Deviations of the machine from the manual that need more than a rule which suits every machine.
 * Tested by the bochs group of tools/check.py. */
#pragma once
#include "hv/base/types.h"

struct quirks {
    /* A guest that runs with IF=0 is not interrupted although V_INTR_MASKING is set (APM 15.21.1
     * "Physical (INTR) Interrupt Masking in EFLAGS"): doorbells are NMIs, and one ticks. */
    bool intr_needs_guest_if;
    /* A virtual interrupt is taken only after IF went from 0 to 1 in the guest. */
    bool virq_needs_if_rise;
    /* A debug trap that was about to come in the guest when an instruction of it exited comes in
     * the host right after #VMEXIT. */
    bool trap_after_exit;
    bool probing;           /* nothing of this is known yet: */
    uint32_t traps_ignored; /* ... count them */
    /* The #DB intercept leaves DR6 as it was. */
    bool dr6_lost;
    /* CR reads whose intercept must be set for those of other control
     * registers to fire. */
    uint16_t cr_reads;
    /* Not intercepted: the guest is watched by its CR3 instead, and XSAVE hidden. */
    bool task_switch_silent, xsetbv_silent;
    /* A physical interrupt that arrives while VMRUN looks at V_IRQ stays in IRR, and the processor
     * sleeps or runs on as if there were none. */
    bool irq_forgotten;
};
extern struct quirks quirks;

/* Takes them from what the probe found. Context: boot CPU, before other CPUs run. */
struct probe_result;
void quirks_detect(const struct probe_result *r);
/* The NMI tick, where it is needed. Context: boot CPU, all CPUs have their IDT. */
void quirks_start(void);
/* Repairs what the processor left out at an exit. true: DR6 was written. Context: owner CPU, after
 * svm_enter. */
struct vmcb;
bool quirks_after_exit(struct vmcb *b);
/* After an exit of an entry with V_IRQ, where such an entry may forget an interrupt: the local APIC
 * looks again at what is in IRR. Context: owner CPU, host state, interrupts on or off. */
void quirks_after_virq(void);
/* An exception of the host at `rip` that is to be ignored. Context: any, GS may be the guest's. */
bool quirks_ignore_trap(uint64_t vector, uint64_t rip);
