/* SPDX-License-Identifier: BSD-2-Clause */
/* Deviations of the machine from the SDM that need more than a rule which suits every machine.
 * Tested by the vmx group of tools/check.py. */
#pragma once
#include "hv/base/types.h"

struct vmx_quirks {
    /* A guest that was entered with IF=0 is not interrupted although external-interrupt exiting is
     * set: doorbells are NMIs, and one ticks, or the preemption timer does. */
    bool intr_needs_guest_if;
};
extern struct vmx_quirks vmx_quirks;
/* Pin-based controls that they need besides. */
uint32_t vmx_quirks_pin(void);
/* What the quirks need of each entry. true: a doorbell of this CPU to itself, which means: deliver
 * the event and exit. Context: owner CPU, interrupts off. */
bool vmx_quirks_before_entry(void);
/* What the probe found. Context: boot CPU, before other CPUs run. */
void vmx_quirks_set(bool intr_needs_guest_if);
