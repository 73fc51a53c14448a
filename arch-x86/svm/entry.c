/* SPDX-License-Identifier: BSD-2-Clause */
/* One entry into the guest and what is prepared for it: event, interrupt window. Tested by
 * tools/tests/test_enter.c and every boot under QEMU and Bochs. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/internal.h"
#include "arch-x86/svm/offsets.h"
#include "arch-x86/svm/quirks.h"

#define REGS_AT(field, offset)                                                                     \
    _Static_assert(offsetof(struct vcpu_regs, field) == (offset), "enter.S: " #field)
REGS_AT(gpr[RAX], VCPU_REGS_RAX);
REGS_AT(gpr[RCX], VCPU_REGS_RCX);
REGS_AT(gpr[RDX], VCPU_REGS_RDX);
REGS_AT(gpr[RBX], VCPU_REGS_RBX);
REGS_AT(gpr[RSP], VCPU_REGS_RSP);
REGS_AT(gpr[RBP], VCPU_REGS_RBP);
REGS_AT(gpr[RSI], VCPU_REGS_RSI);
REGS_AT(gpr[RDI], VCPU_REGS_RDI);
REGS_AT(gpr[R8], VCPU_REGS_R8);
REGS_AT(gpr[R9], VCPU_REGS_R9);
REGS_AT(gpr[R10], VCPU_REGS_R10);
REGS_AT(gpr[R11], VCPU_REGS_R11);
REGS_AT(gpr[R12], VCPU_REGS_R12);
REGS_AT(gpr[R13], VCPU_REGS_R13);
REGS_AT(gpr[R14], VCPU_REGS_R14);
REGS_AT(gpr[R15], VCPU_REGS_R15);
REGS_AT(cr2, VCPU_REGS_CR2);
_Static_assert(offsetof(struct vcpu, regs) == VCPU_REGS, "enter.S: regs");
_Static_assert(offsetof(struct svm_block, host) == SVM_BLOCK_HOST, "enter.S: host");

#define VINTR_ARM (VINTR_V_IRQ | VINTR_PRIO_15 | VINTR_IGN_TPR)

/* #VMEXIT leaves the guest's CR2 in the register and in the block: both are still right unless
 * somebody wrote another for the guest. */
static HV_RARE void run_cr2(struct vcpu *v, struct vmexit *x)
{
    struct svm_vcpu *a = svm_of(v);

    svm_save_dirty(a, CLEAN_CR2)->cr2 = v->regs.cr2;
    svm_cr2_load(v->regs.cr2);
    svm_enter(v, x, a->block_hpa);
}

void svm_run(struct vcpu *v, struct vmexit *x)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *b = a->vmcb;

    /* These four are never cached (APM 15.15.3 "VMCB Clean Field"). */
    b->save.rip = v->regs.rip;
    b->save.rflags = v->regs.rflags;
    b->save.rax = v->regs.gpr[RAX];
    b->save.rsp = v->regs.gpr[RSP];
    if (b->save.cr2 != v->regs.cr2)
        run_cr2(v, x);
    else
        svm_enter(v, x, a->block_hpa);
}

/* What follows every exit. */
static HV_INLINE void leave(struct vcpu *v, struct vmcb *b)
{
    b->ctl.exitintinfo = 0; /* what the next exit leaves there is its own */
    b->ctl.clean = svm_features.clean;
    b->ctl.tlb_control = TLB_KEEP;
    v->regs.rip = b->save.rip;
    v->regs.rflags = b->save.rflags;
    v->regs.gpr[RAX] = b->save.rax;
    v->regs.gpr[RSP] = b->save.rsp;
}

/* Things that only live for one entry. */
static void once_over(struct svm_vcpu *a)
{
    a->vmcb->ctl.eventinj = 0;
    if (a->offered) {
        svm_ctl_dirty(a, CLEAN_TPR)->vintr &= ~(VINTR_ARM | 0xffull << VINTR_VECTOR_SHIFT);
        if (quirks.irq_forgotten)
            quirks_after_virq();
    }
    if (a->injecting_df || a->stepping)
        svm_ctl_dirty(a, CLEAN_I)->intercept_exceptions = a->exceptions;
    a->injected = a->offered = 0;
    a->injecting_df = a->stepping = a->once = false;
}

static HV_RARE void exited_once(struct vcpu *v, struct vmexit *x)
{
    struct svm_vcpu *a = svm_of(v);

    svm_translate_event(a, v->regs.rip, x);
    leave(v, a->vmcb);
    once_over(a);
    if (quirks.dr6_lost) {
        a->once = true;
        if (quirks_after_exit(a->vmcb))
            (void)svm_save_dirty(a, CLEAN_DRX);
    }
}

void svm_exited(struct vcpu *v, struct vmexit *x)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *b = a->vmcb;

    svm_translate(a, &svm_features, x);
    if (a->once)
        exited_once(v, x);
    else
        leave(v, b);
}

bool svm_waits(void)
{
    return !quirks.virq_needs_if_rise;
}

/* A virtual interrupt (APM 15.21.4 "Injecting Virtual (INTR) Interrupts") waits for IF by itself,
 * so that no window is needed. And under QEMU 7.2 one injected by EVENTINJ is delivered a second
 * time if another thread kicks the processor before its next exit. */
static void offer(struct svm_vcpu *a, uint8_t vector)
{
    struct vmcb_control *c = svm_ctl_dirty(a, CLEAN_TPR);

    c->vintr |= VINTR_ARM | (uint64_t)vector << VINTR_VECTOR_SHIFT;
    c->int_shadow = 0; /* the caller waited for its end */
    a->offered = EVENT_V | EVENT_TYPE_INTR | vector;
    a->once = true;
}

void svm_inject(struct vcpu *v, const struct vcpu_event *e)
{
    struct svm_vcpu *a = svm_of(v);
    uint64_t inj = EVENT_V | e->vector;

    switch (e->type) {
    case EVENT_NONE:
        return;
    case EVENT_INTR:
        if (svm_waits() && !(a->vmcb->ctl.intercept1 & ICPT1_VINTR)) {
            offer(a, e->vector);
            return;
        }
        inj |= EVENT_TYPE_INTR; /* the window for another one takes the virtual interrupt */
        break;
    case EVENT_NMI:
        inj = EVENT_V | EVENT_TYPE_NMI | VEC_NMI;
        break;
    case EVENT_EXCEPTION:
        inj |= EVENT_TYPE_EXCEPTION;
        if (e->has_error)
            inj |= EVENT_EV | (uint64_t)e->error << 32;
        if (e->vector == VEC_PF) {
            v->regs.cr2 = e->cr2;
            a->vmcb->save.cr2 = ~e->cr2; /* perhaps no exit's, and the same by chance: svm_run */
        }
        if (e->vector == VEC_DF) { /* a fault while it is delivered is the guest's triple fault */
            a->injecting_df = true;
            svm_ctl_dirty(a, CLEAN_I)->intercept_exceptions = ~0u;
        }
        break;
    }
    a->vmcb->ctl.eventinj = inj;
    a->vmcb->ctl.int_shadow = 0; /* delivery ends it */
    a->injected = inj;
    a->once = true;
}

void svm_window(struct vcpu *v, bool on)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb_control *c = &a->vmcb->ctl;

    if (on == !!(c->intercept1 & ICPT1_VINTR) && on == !!(c->vintr & VINTR_V_IRQ))
        return;
    c = svm_ctl_dirty(a, CLEAN_I | CLEAN_TPR);
    if (on) {
        c->vintr |= VINTR_ARM;
        c->intercept1 |= ICPT1_VINTR;
    } else {
        c->vintr &= ~VINTR_ARM;
        c->intercept1 &= ~ICPT1_VINTR;
        if (quirks.irq_forgotten)
            quirks_after_virq();
    }
}

void svm_isolate(struct vcpu *v, bool on)
{
    struct svm_vcpu *a = svm_of(v);

    svm_ctl_dirty(a, CLEAN_I)->intercept_exceptions = on ? ~0u : a->exceptions;
}

void svm_set_int_shadow(struct vcpu *v, bool on)
{
    svm_of(v)->vmcb->ctl.int_shadow = on;
}

void svm_nmi_mask(struct vcpu *v, bool on)
{
    struct vmcb_control *c = svm_ctl_dirty(svm_of(v), CLEAN_I);

    if (on)
        c->intercept1 |= ICPT1_IRET;
    else
        c->intercept1 &= ~ICPT1_IRET;
}

void svm_step(struct vcpu *v)
{
    struct svm_vcpu *a = svm_of(v);

    a->stepping = a->once = true;
    svm_ctl_dirty(a, CLEAN_I)->intercept_exceptions = ~0u;
}
