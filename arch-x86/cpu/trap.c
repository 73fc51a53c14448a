/* SPDX-License-Identifier: BSD-2-Clause */
/* What the hypervisor does with its own exceptions and interrupts: handlers are tiny, post an
 * action at most, and never take a lock or print. Tested by every boot. */
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/backtrace.h"
#include "arch-x86/cpu/panic.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/quirks.h"
#include "hv/coherency/actions.h"
#include "hv/port/pci.h"

struct extable_entry {
    uint64_t insn, resume;
};
/* arch-x86/vmx/enter.S: from the look at nmi_seen to the entry. */
extern const char vmx_window_start[], vmx_window_end[], vmx_skip[];
extern const struct extable_entry extable_start[], extable_end[];

static bool fixup(struct trap_frame *f)
{
    for (const struct extable_entry *e = extable_start; e < extable_end; e++)
        if (e->insn == f->rip) {
            f->rip = e->resume;
            return true;
        }
    return false;
}

/* For port_where. Context: NMI. */
static void where_answer(struct percpu *p, const struct trap_frame *f)
{
    uint64_t at[BACKTRACE_MAX];
    unsigned n = backtrace(f->rbp, at);

    p->where[0] = f->rip;
    for (unsigned i = 1; i < PERCPU_WHERE; i++)
        p->where[i] = i <= n ? at[i - 1] : 0;
    /* release: pairs with the acquire in port_where */
    atomic_store_explicit(&p->where_asked, 0, memory_order_release);
}

/* Context: NMI, any code interrupted except GIF=0 regions. */
static void nmi_handle(struct trap_frame *f)
{
    struct percpu *p = percpu_self();
    p->nmis++;
    /* Read by cpu_halt_window and cleared by port_irq_off on this same CPU. */
    atomic_store_explicit(&p->nmi_seen, 1, memory_order_relaxed);
    if (f->rip >= (uint64_t)(uintptr_t)halt_window_start &&
        f->rip < (uint64_t)(uintptr_t)halt_window_end)
        f->rip = (uint64_t)(uintptr_t)halt_window_end;
    if (f->rip >= (uint64_t)(uintptr_t)vmx_window_start &&
        f->rip < (uint64_t)(uintptr_t)vmx_window_end)
        f->rip = (uint64_t)(uintptr_t)vmx_skip;
    if (atomic_load_explicit(&p->where_asked, memory_order_acquire))
        where_answer(p, f);
    panic_nmi(f);
}

static void post_self(uint64_t bits)
{
    uint32_t vcpu;
    struct coherency *co = coherency_of(percpu_self()->cpu, &vcpu);
    if (co)
        action_post(co, vcpu, vcpu, bits);
}

/* Which device it was, and which guest's, the loop knows. */
static void device_interrupt(uint8_t vector)
{
    /* relaxed: taken by this same CPU, after it took the action */
    atomic_fetch_or_explicit(&percpu_self()->msi[vector >> 6], BIT(vector & 63),
                             memory_order_relaxed);
    apic_eoi();
    post_self(ACTION_MSI);
}

static void interrupt_handle(struct trap_frame *f)
{
    switch (f->vector) {
    case VECTOR_DOORBELL: /* it has ended the guest or the halt: nothing else to do */
        apic_eoi();
        break;
    case VECTOR_TIMER:
        apic_eoi();
        post_self(ACTION_TIMER | (apic_timer_ticked() ? ACTION_INPUT : 0));
        break;
    case VECTOR_UART:
        apic_eoi();
        post_self(ACTION_INPUT);
        break;
    case VECTOR_IOMMU:
        apic_eoi();
        post_self(ACTION_MSI);
        break;
    case VECTOR_SPURIOUS: /* no EOI: APM volume 2, 16.4.7 "Spurious Interrupts" */
        break;
    default:
        if (f->vector >= PORT_MSI_FIRST && f->vector <= PORT_MSI_LAST) {
            device_interrupt((uint8_t)f->vector);
            break;
        }
        percpu_self()->unexpected++;
        if (f->vector >= VECTOR_FIRST_FREE)
            apic_eoi();
        break;
    }
}

void trap_dispatch(struct trap_frame *f)
{
    if (quirks_ignore_trap(f->vector, f->rip)) /* first: GS may be the guest's */
        return;
    if (f->vector == VEC_NMI)
        nmi_handle(f);
    else if (f->vector >= 32)
        interrupt_handle(f);
    else if (!((f->vector == VEC_GP || f->vector == VEC_UD) && fixup(f)))
        panic_trap(f);
}
