/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of exit handlers and what is common to every exit.
 * Tested by tools/tests/test_exits.c. */
#include "hv/base/ring.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"

_Static_assert(EXIT_KIND_COUNT <= STATS_MAX_EXITS, "exit counters");

static const exit_handler exit_table[EXIT_KIND_COUNT] = {
    [EXIT_UNKNOWN] = exit_unknown,
    [EXIT_INTR] = exit_intr,
    [EXIT_NMI] = exit_intr,
    [EXIT_SMI] = exit_intr,
    [EXIT_INIT] = exit_intr,
    [EXIT_IRQ_WINDOW] = exit_irq_window,
    [EXIT_PF] = exit_pf,
    [EXIT_EXCEPTION] = exit_exception,
    [EXIT_CR_READ] = exit_cr_read,
    [EXIT_CR_WRITE] = exit_cr_write,
    [EXIT_DR_READ] = exit_dr_read,
    [EXIT_DR_WRITE] = exit_dr_write,
    [EXIT_INVLPG] = exit_invlpg,
    [EXIT_INVPCID] = exit_invpcid,
    [EXIT_INVLPGA] = exit_ud,
    [EXIT_CPUID] = exit_cpuid,
    [EXIT_RDMSR] = exit_rdmsr,
    [EXIT_WRMSR] = exit_wrmsr,
    [EXIT_IO] = exit_io,
    [EXIT_HLT] = exit_hlt,
    [EXIT_PAUSE] = exit_nop,
    [EXIT_SHUTDOWN] = exit_shutdown,
    [EXIT_TASK_SWITCH] = exit_task_switch,
    [EXIT_FOREIGN_CR3] = exit_foreign_cr3,
    [EXIT_WBINVD] = exit_nop, /* guest RAM is write-back and no device is passed through */
    [EXIT_INVD] = exit_nop,
    [EXIT_MONITOR] = exit_ud, /* hidden in CPUID */
    [EXIT_MWAIT] = exit_ud,
    [EXIT_RDPMC] = exit_gp, /* no performance counters are shown */
    [EXIT_RDTSC] = exit_rdtsc,
    [EXIT_RDTSCP] = exit_rdtsc,
    [EXIT_RDPRU] = exit_ud,
    [EXIT_XSETBV] = exit_xsetbv,
    [EXIT_RSM] = exit_ud,
    [EXIT_HV_INSN] = exit_ud,
    [EXIT_VMMCALL] = exit_vmmcall,
    [EXIT_DT_ACCESS] = exit_unknown, /* never intercepted */
    [EXIT_ICEBP] = exit_icebp,
    [EXIT_IRET] = exit_iret,
    [EXIT_NMI_WINDOW] = exit_nmi_window,
    [EXIT_REAL_GP] = exit_real_gp,
    [EXIT_INVALID] = exit_invalid,
};

HV_ANCHOR void exit_dispatch(struct subvmm *s, const struct vmexit *x)
{
    struct vcpu *v = &s->vcpu;

    ring_put(s->pcpu, RING_EXIT, x->kind | s->entered_tsc << 8, v->regs.rip);
    _Atomic uint64_t *count = &hv_stats[s->pcpu].exits[x->kind];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (x->redeliver && !x->untaken)
        v->pending = s->injected;
    exit_table[x->kind](s, x);
}
