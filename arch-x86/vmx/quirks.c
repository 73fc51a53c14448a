/* SPDX-License-Identifier: BSD-2-Clause */
/* What the machine does otherwise than the SDM says, found at boot, and what helps. Rules that suit
 * every machine are unconditional and elsewhere: own guest-host masks for the fixed bits of CR0 and
 * CR4, the blocking by NMI and its restoring (entry.c), activity state kept active (init.c).
 * Tested by the vmx group of tools/check.py. */
#include "arch-x86/vmx/quirks.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/cpu/xsavec.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/vmx/internal.h"
#include "arch-x86/vmx/vmx.h"
#include "hv/base/log.h"

#define TICK_HZ 100u

struct vmx_quirks vmx_quirks;

uint32_t vmx_quirks_pin(void)
{
    return vmx_quirks.intr_needs_guest_if && vmx_caps.timer ? PIN_TIMER : 0;
}

void vmx_quirks_before_entry(void)
{
    struct percpu *p = percpu_self();

    if (!vmx_quirks.intr_needs_guest_if || !vmx_caps.timer)
        return;
    /* A doorbell of the CPU to itself means: deliver the event and exit. */
    uint64_t ticks = p->kick_self ? 0 : tsc_hz / TICK_HZ >> vmx_caps.timer_shift;
    p->kick_self = false;
    vmcs_write(VMCS_GUEST_TIMER, ticks > UINT32_MAX ? UINT32_MAX : ticks);
}

void vmx_probe_run(void)
{
    xsavec_detect();
    vmx_quirks.intr_needs_guest_if = acpi_info.bochs;
    if (!vmx_quirks.intr_needs_guest_if)
        return;
    log_info("check", "interrupts do not end a guest that has them off: NMIs as doorbells, %s",
             vmx_caps.timer ? "ticks by the preemption timer" : "and a tick by NMI");
}
