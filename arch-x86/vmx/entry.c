/* SPDX-License-Identifier: BSD-2-Clause */
/* One entry into the guest and what is prepared for it: event, windows, blocking. Tested by
 * tools/tests/test_vmx.c and every boot on an Intel processor. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/string.h"
#include "hv/mmu/mmu.h"

#define RFLAGS_IOPL (3ull << 12)
#define DR7_GD (1ull << 13)
#define DR6_CLEARED 0xfull /* B0 to B3: the processor writes them anew with each #DB */

static void proc_set(struct vmx_vcpu *a, uint32_t bits, bool on)
{
    uint32_t proc = on ? a->proc | bits : a->proc & ~bits;

    if (proc != a->proc)
        vmcs_write(VMCS_PROC_CTLS, a->proc = proc);
}

void vmx_exceptions_set(struct vmx_vcpu *a)
{
    bool all = a->isolated || a->stepping || a->real;
    bool direct = a->direct && !all;

    /* 25.2 "Other Causes of VM Exits": with bit 14 of the bitmap set a page fault exits if its code
     * and the mask give the match: always, or if the entry was present (hv/mmu/direct.c). */
    if (direct != a->direct_on) {
        vmcs_write(VMCS_PFEC_MASK, direct ? PFEC_P : 0);
        vmcs_write(VMCS_PFEC_MATCH, direct ? PFEC_P : 0);
        a->direct_on = direct;
    }
    vmcs_write(VMCS_EXCEPTION_BITMAP, all ? ~0u : a->exceptions);
}

static void blocking_set(struct vmx_vcpu *a, uint32_t blocking)
{
    if (blocking != a->blocking)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, a->blocking = blocking);
}

static void entry_state(struct vcpu *v, struct vmx_vcpu *a)
{
    uint64_t rflags = v->regs.rflags, rip = v->regs.rip;

    if (a->real)
        rflags |= RFLAGS_VM | RFLAGS_IOPL;
    if (a->set_aside) /* the processor pushes the pointer behind an INT of one byte */
        rip = (rip - 1) & 0xffff;
    vmcs_write(VMCS_GUEST_RIP, rip);
    vmcs_write(VMCS_GUEST_RFLAGS, rflags);
    vmcs_write(VMCS_GUEST_RSP, v->regs.gpr[RSP]);
    if (a->blocking & BLOCKING_STI && !(rflags & RFLAGS_IF))
        blocking_set(a, a->blocking & ~BLOCKING_STI);
    /* 26.3.1.5 "Checks on Guest Non-Register State": in a shadow the trap that TF makes is pending,
     * and only then. */
    if (a->blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) {
        uint64_t pending = vmcs_read(VMCS_GUEST_PENDING_DEBUG);
        uint64_t want =
            rflags & RFLAGS_TF ? pending | PENDING_DEBUG_BS : pending & ~PENDING_DEBUG_BS;
        if (want != pending)
            vmcs_write(VMCS_GUEST_PENDING_DEBUG, want);
    }
    if (vmx_quirks_before_entry()) /* NMIs are not blocked: that window is open at once */
        proc_set(a, PROC_NMI_WINDOW, true);
}

/* The causes of a debug exception that exits are not in DR6 yet, and GD is still set (27.1
 * "Architectural State before a VM Exit"). */
static void debug_causes(const struct vmexit *x)
{
    if (x->kind != EXIT_EXCEPTION || x->vector != VEC_DB)
        return;
    uint64_t causes = vmcs_read(VMCS_EXIT_QUALIFICATION) & QUAL_DB_CAUSES;
    uint64_t dr6 = read_dr6();
    write_dr6((dr6 & ~DR6_CLEARED) | causes);
    if (causes & QUAL_DB_BD)
        vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
}

/* What the guest changed without an exit: bits of CR0 that are its own. */
static void own_bits(struct vcpu *v, const struct vmx_vcpu *a)
{
    uint64_t cr0 = vmcs_read(VMCS_GUEST_CR0);

    v->ctl.cr0 = (v->ctl.cr0 & a->cr0_mask) | (cr0 & ~a->cr0_mask);
}

static void exited(struct vcpu *v, struct vmx_vcpu *a, struct vmexit *x)
{
    uint64_t entry_rip = v->regs.rip;

    /* SDM volume 3, 30.3 "VMX Instructions", VMLAUNCH: one that fails at the guest's state leaves
     * the VMCS clear */
    a->launched |= !(vmcs_read(VMCS_EXIT_REASON) & REASON_FAILED_ENTRY);
    a->blocking = (uint32_t)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    vmx_translate(a, entry_rip, x);
    v->regs.rip = vmcs_read(VMCS_GUEST_RIP);
    v->regs.rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    v->regs.gpr[RSP] = vmcs_read(VMCS_GUEST_RSP);
    own_bits(v, a);
    if (a->real)
        v->regs.rflags &= ~(RFLAGS_VM | RFLAGS_IOPL);
    if (a->set_aside && x->redeliver)
        v->regs.rip = entry_rip;
    uint32_t info = (uint32_t)vmcs_read(VMCS_EXIT_INTR_INFO);
    if ((info & INTR_INFO_VALID) && (info & INTR_INFO_IRET_NMI) && x->vector != VEC_DF &&
        !(vmcs_read(VMCS_IDT_INFO) & INTR_INFO_VALID))
        blocking_set(a, a->blocking | BLOCKING_NMI); /* the IRET will be executed again */
    debug_causes(x);
    /* Real mode: INT3 and INTO exit as exceptions, which in real mode come behind them. */
    if (a->real && (info & INTR_INFO_VALID) && (info & INTR_INFO_TYPE) == INTR_TYPE_SOFT)
        v->regs.rip = (v->regs.rip + vmcs_read(VMCS_EXIT_LENGTH)) & 0xffff;
}

/* The entry did not happen: refused, or an NMI came first and what was to be injected waits. */
static void not_entered(struct vmx_vcpu *a, uint32_t how, struct vmexit *x)
{
    memset(x, 0, sizeof(*x));
    x->gpr = VMEXIT_GPR_NONE;
    x->kind = how == VMX_SKIPPED ? EXIT_INTR : EXIT_INVALID;
    x->redeliver = how == VMX_SKIPPED && a->injected;
    x->window_shadow = a->blocking & (BLOCKING_STI | BLOCKING_MOV_SS);
    if (how == VMX_FAIL_VALID)
        a->fail = (uint32_t)vmcs_read(VMCS_INSN_ERROR);
    x->code = a->fail;
    vmcs_write(VMCS_ENTRY_INTR_INFO, 0);
}

void vmx_run(struct vcpu *v, struct vmexit *x)
{
    struct vmx_vcpu *a = vmx_of(v);

    a->fail = 0;
    entry_state(v, a);
    uint32_t how = vmx_enter(&v->regs, a->launched);
    if (how == VMX_EXITED)
        exited(v, a, x);
    else
        not_entered(a, how, x);
    /* Not acknowledged at the exit: what caused it is taken here, by the same handlers as ever. An
     * NMI was taken by the exit, and NMIs are blocked until an IRET: that of its handler. */
    if (x->kind == EXIT_NMI)
        vmx_take_nmi();
    vmx_take_interrupts();
    a->injected = 0;
    a->set_aside = false;
    if (a->stepping) {
        a->stepping = false;
        vmx_exceptions_set(a);
    }
}

bool vmx_waits(void)
{
    return false;
}

static uint32_t event_info(const struct vcpu_event *e)
{
    switch (e->type) {
    case EVENT_NONE:
        return 0;
    case EVENT_INTR:
        return INTR_INFO_VALID | INTR_TYPE_EXTERNAL | e->vector;
    case EVENT_NMI:
        return INTR_INFO_VALID | INTR_TYPE_NMI | VEC_NMI;
    case EVENT_EXCEPTION:
        /* INT3 and INTO that exited come as exceptions of ours only if RIP is behind them. */
        return INTR_INFO_VALID | INTR_TYPE_HARD | (e->has_error ? INTR_INFO_ERROR : 0) | e->vector;
    }
    return 0;
}

void vmx_inject(struct vcpu *v, const struct vcpu_event *e)
{
    struct vmx_vcpu *a = vmx_of(v);
    uint32_t info = event_info(e), blocking = a->blocking;

    if (!info)
        return;
    blocking &= ~(BLOCKING_STI | BLOCKING_MOV_SS); /* delivery ends it */
    if (e->type == EVENT_NMI)
        blocking &= ~BLOCKING_NMI; /* an NMI whose delivery exited has set it */
    if (e->type == EVENT_EXCEPTION && e->vector == VEC_PF)
        v->regs.cr2 = e->cr2;
    if (a->real) { /* by the interrupt vector table: only software interrupts go there */
        info = INTR_INFO_VALID | INTR_TYPE_SOFT_INT | (info & INTR_INFO_VECTOR);
        a->set_aside = true;
        vmcs_write(VMCS_ENTRY_LENGTH, 1);
        if (e->type == EVENT_NMI)
            blocking |= BLOCKING_NMI;
    } else if (info & INTR_INFO_ERROR) {
        vmcs_write(VMCS_ENTRY_ERROR, e->error & 0xffff);
    }
    if (a->blocking & (BLOCKING_STI | BLOCKING_MOV_SS))
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    blocking_set(a, blocking);
    vmcs_write(VMCS_ENTRY_INTR_INFO, info);
    a->injected = info;
}

void vmx_window(struct vcpu *v, bool on)
{
    proc_set(vmx_of(v), PROC_INTR_WINDOW, on);
}

void vmx_isolate(struct vcpu *v, bool on)
{
    vmx_of(v)->isolated = on;
    vmx_exceptions_set(vmx_of(v));
}

void vmx_set_int_shadow(struct vcpu *v, bool on)
{
    struct vmx_vcpu *a = vmx_of(v);
    uint32_t shadow = v->regs.rflags & RFLAGS_IF ? BLOCKING_STI : BLOCKING_MOV_SS;

    if (!on && (a->blocking & (BLOCKING_STI | BLOCKING_MOV_SS)))
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0); /* the caller raises what is due */
    blocking_set(a, (a->blocking & ~(BLOCKING_STI | BLOCKING_MOV_SS)) | (on ? shadow : 0));
}

/* An exit when NMIs stop being blocked, behind the IRET. */
void vmx_nmi_mask(struct vcpu *v, bool on)
{
    struct vmx_vcpu *a = vmx_of(v);

    proc_set(a, PROC_NMI_WINDOW, on);
    if (!on)
        blocking_set(a, a->blocking & ~BLOCKING_NMI);
}

void vmx_step(struct vcpu *v)
{
    vmx_of(v)->stepping = true;
    vmx_exceptions_set(vmx_of(v));
}
