/* SPDX-License-Identifier: BSD-2-Clause */
/* What the machine does otherwise than the manual says. The switches are set by what the probe
 * (probe.h) found, whatever the machine is called: so far Bochs, and QEMU from 9.1 on, need some.
 * What costs nothing elsewhere is unconditional:
 *   - VMRUN does not load CR2: enter.S loads it itself;
 *   - EXITINTINFO keeps an old event when the guest's own INT n exits: translate.c believes it only
 *     for what this entry injected;
 *   - V_IRQ is never recognised if IF was already 1 at VMRUN: interrupts are injected by EVENTINJ
 *     (entry.c) and wait for a window (hv/vcpu/events.c); where a shadow forbids the one and IF the
 *     other, the tick below ends the wait;
 *   - a triple fault ends the emulator and SHUTDOWN never exits: #DF is intercepted and injected
 *     with every exception intercepted (init.c, entry.c);
 *   - the code of an invalid state is 64 bits of ones, in QEMU 32: translate.c;
 *   - the CPL comes from its own field, in QEMU from SS: state.c keeps them equal;
 *   - any exit of a virtual-8086 guest ends the emulator: nothing helps.
 * Tested by the bochs group of tools/check.py. */
#include "arch-x86/svm/quirks.h"
#include "arch-x86/svm/probe.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/xsavec.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/defs/svm.h"
#include "arch-x86/defs/vmcb.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/plat/machine.h"
#include "arch-x86/vmx/caps.h"
#include "arch-x86/vmx/quirks.h"
#include "hv/base/log.h"

#define PIT_CH0_RATE 0x34 /* channel 0, both bytes, mode 2 */
#define PIT_HZ 1193182u
#define TICK_HZ 100u
#define ISA_IRQ_PIT 0
#define DR6_BS (1ull << 14)
#define CPUID_HYPERVISOR 0x40000000 /* a hypervisor's own leaves; its name is in EBX, ECX, EDX */
#define TCG_EBX 0x54474354u         /* "TCGTCGTCGTCG" */
#define TCG_ECX 0x43544743u
#define TCG_EDX 0x47435447u

struct quirks quirks;
extern const char svm_after_vmrun[]; /* enter.S */

/* QEMU's TCG, seen with 10.0.13 alone: VMRUN with V_IRQ changes the word of what is to be
 * delivered without the lock under which the APIC's thread sets its bit there, so that bit may be
 * lost. No probe can show it; the emulator's name is all there is. */
static bool emulator_races(void)
{
    struct cpuid_regs r;

    if (!cpu_features.hypervisor)
        return false;
    r = cpuid(CPUID_HYPERVISOR, 0);
    return r.ebx == TCG_EBX && r.ecx == TCG_ECX && r.edx == TCG_EDX;
}

void quirks_after_virq(void)
{
    write_cr8(0); /* its value already: the priority's owner compares it with IRR */
}

void quirks_detect(const struct probe_result *r)
{
    quirks = (struct quirks){
        .intr_needs_guest_if = probe_silent(r, PROBE_intr_if0),
        .virq_needs_if_rise = probe_silent(r, PROBE_window_if1),
        .trap_after_exit = probe_silent(r, PROBE_db_exit),
        .dr6_lost = probe_silent(r, PROBE_db_cause),
        .cr_reads = r->cr_reads,
        .task_switch_silent = probe_silent(r, PROBE_task_switch),
        .xsetbv_silent = probe_silent(r, PROBE_xsetbv),
        .irq_forgotten = emulator_races(),
    };
    xsavec_detect();
    if (quirks.intr_needs_guest_if)
        log_info("svm", "NMIs as doorbells, and a tick by NMI");
}

void quirks_start(void)
{
    const uint16_t divisor = PIT_HZ / TICK_HZ;

    if (!quirks.intr_needs_guest_if && !(vmx_quirks.intr_needs_guest_if && !vmx_caps.timer))
        return;
    if (!ioapic_route_isa_nmi(ISA_IRQ_PIT)) {
        log_warn("svm", "no pin for the NMI tick: a guest with IF=0 keeps its CPU");
        return;
    }
    out8(PIT_CMD, PIT_CH0_RATE);
    out8(PIT_CH0, divisor & 0xff);
    out8(PIT_CH0, divisor >> 8);
}

/* APM 15.12.2 "#DB (Debug)": DR6 is written before the intercept. Where it is not, the cause is
 * known only if no other is possible: one breakpoint, or single-stepping without any. */
bool quirks_after_exit(struct vmcb *b)
{
    uint64_t causes = b->save.rflags & RFLAGS_TF ? DR6_BS : 0;

    if (!quirks.dr6_lost || b->ctl.exitcode != SVM_EXIT_EXCEPTION + VEC_DB)
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (b->save.dr7 >> 2 * n & 3)
            causes |= 1ull << n;
    if (causes & (causes - 1))
        return false;
    b->save.dr6 |= causes;
    return true;
}

bool quirks_ignore_trap(uint64_t vector, uint64_t rip)
{
    if (!quirks.trap_after_exit || vector != VEC_DB || rip != (uint64_t)(uintptr_t)svm_after_vmrun)
        return false;
    if (quirks.probing) /* one CPU runs */
        quirks.traps_ignored++;
    return true;
}
