/* SPDX-License-Identifier: BSD-2-Clause */
/* What the machine does otherwise than the SDM says, found at boot, and what helps. Rules that suit
 * every machine are unconditional and elsewhere: own guest-host masks for the fixed bits of CR0 and
 * CR4, the blocking by NMI and its restoring (entry.c), activity state kept active (init.c).
 * Tested by the vmx group of tools/check.py. */
#include "arch-x86/vmx/quirks.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/log.h"

#define TICK_HZ 100u

struct vmx_quirks vmx_quirks;

uint32_t vmx_quirks_pin(void)
{
    return vmx_quirks.intr_needs_guest_if && vmx_caps.timer ? PIN_TIMER : 0;
}

bool vmx_quirks_before_entry(void)
{
    struct percpu *p = percpu_self();

    if (!vmx_quirks.intr_needs_guest_if)
        return false;
    if (vmx_caps.timer) {
        uint64_t ticks = tsc_hz / TICK_HZ >> vmx_caps.timer_shift;
        vmcs_write(VMCS_GUEST_TIMER, ticks > UINT32_MAX ? UINT32_MAX : ticks);
    }
    bool kick = p->kick_self;
    p->kick_self = false;
    return kick;
}

void vmx_quirks_set(bool intr_needs_guest_if)
{
    vmx_quirks.intr_needs_guest_if = intr_needs_guest_if;
    if (intr_needs_guest_if)
        log_info(
            "check",
            "exits      interrupts do not end a guest that has them off: NMIs as doorbells, %s",
            vmx_caps.timer ? "ticks by the preemption timer" : "and a tick by NMI");
}
