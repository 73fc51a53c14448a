/* SPDX-License-Identifier: BSD-2-Clause */
/* What this processor's VMX can do, and the controls that follow from it. No instructions.
 * Tested by tools/tests/test_vmx_caps.c. */
#pragma once
#include "hv/base/types.h"

struct vmx_caps {
    uint32_t pin, proc, proc2, exit, entry; /* controls of a guest, reserved bits included */
    uint32_t revision;
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    bool vpid, rdtscp, invpcid, timer, ins_outs_info;
    uint8_t timer_shift;    /* the preemption timer counts when this bit of the TSC changes */
    const char *missing[8]; /* needed and not there, by the manual's names */
    unsigned nmissing;
};
extern struct vmx_caps vmx_caps; /* the boot processor's; all are alike */

/* rdmsr: false if the register raises #GP. Fills *c; false: something needed is missing. */
bool vmx_caps_read(bool (*rdmsr)(uint32_t msr, uint64_t *out), struct vmx_caps *c);
/* Names what `other` cannot do as `boot` does, NULL if nothing. */
const char *vmx_caps_differ(const struct vmx_caps *boot, const struct vmx_caps *other);
