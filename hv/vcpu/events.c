/* SPDX-License-Identifier: BSD-2-Clause */
/* What the next entry injects: a pending exception, an NMI, or the interrupt controller's vector;
 * and how the guest is made to exit when none of them can be taken yet. Tested by
 * tools/tests/test_events.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/fetch.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define KICKS_PER_S 50000
#define KICK_DOUBLINGS 12 /* longest: 80 ms */
#define DR6_HITS 0xfull   /* B0..B3 */
#define DR6_BS BIT(14)

/* Something waits that no window announces: the physical timer makes the guest exit soon. Armed by
 * events_kick with interrupts off: taken before the entry, it would prevent the entry, for ever. */
static void kick_soon(struct subvmm *s)
{
    s->kick_soon = true;
}

/* --- NMIs that wait for an IRET --- */

/* An NMI that came while another was handled is taken at once behind the IRET (APM volume 2, 8.2.3
 * "NMI-Non-Maskable-Interrupt Exception"), and no intercept announces that the IRET has run: it
 * is single-stepped. Nothing is injected with this entry, and every exception exits, so that nobody
 * sees our TF: neither in a frame nor on return. */
static void step_arm(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    struct vcpu_debug d;

    vcpu_ops->get(v, VCPU_DEBUG, &d);
    v->step_dr6 = d.dr6;
    v->step_tf = v->regs.rflags & RFLAGS_TF;
    d.dr6 &= ~(DR6_HITS | DR6_BS);
    vcpu_ops->put(v, VCPU_DEBUG, &d);
    v->regs.rflags |= RFLAGS_TF;
    vcpu_ops->step(v);
}

/* The trap of the step may come with breakpoints that the IRET hit, or be the guest's own as well:
 * then it is the guest's. */
static void step_settle(struct subvmm *s, struct vmexit *x)
{
    struct vcpu *v = &s->vcpu;
    bool trap = x->kind == EXIT_EXCEPTION && x->vector == VEC_DB, ran;
    struct vcpu_debug d;
    uint64_t hits = 0;

    vcpu_ops->get(v, VCPU_DEBUG, &d);
    for (unsigned n = 0; trap && n < 4; n++)
        if (d.dr7 >> 2 * n & 3) /* those that are off may have their bit set as well */
            hits |= d.dr6 & BIT(n);
    ran = v->regs.rip != v->iret_rip || (trap && (d.dr6 & DR6_BS));
    d.dr6 = v->step_dr6 | hits | (trap && ran && v->step_tf ? DR6_BS : 0);
    vcpu_ops->put(v, VCPU_DEBUG, &d);
    if (!ran && !v->step_tf)
        v->regs.rflags &= ~RFLAGS_TF;
    if (ran) /* RFLAGS are those it popped */
        v->iret_rip = UINT64_MAX;
    if (trap && !hits && !v->step_tf)
        x->kind = EXIT_INTR;
}

void events_kick(struct subvmm *s)
{
    uint64_t delay = port_tsc_hz() / KICKS_PER_S; /* time for an instruction to run */

    if (s->vcpu.step_iret)
        step_arm(s);
    if (s->kick_now)
        port_doorbell(s->pcpu);
    if (!s->kick_soon)
        return;
    /* On a slow host the timer may come before the first instruction, again and again. */
    s->kick_tries = s->kick_rip == s->vcpu.regs.rip ? s->kick_tries + 1 : 0;
    s->kick_rip = s->vcpu.regs.rip;
    s->timer_armed =
        port_tsc() + (delay << (s->kick_tries < KICK_DOUBLINGS ? s->kick_tries : KICK_DOUBLINGS));
    port_timer_arm(s->timer_armed);
}

static void window(struct vcpu *v, bool on)
{
    if (!on && !v->window_armed) /* by this function alone is it armed */
        return;
    vcpu_ops->window(v, on);
    v->window_armed = on;
}

static bool nmi_prepare(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    if (!v->nmi_pending || v->nmi_blocked)
        return false;
    if (v->iret_rip == v->regs.rip) { /* the IRET that ends the blocking has not run yet */
        v->step_iret = true;
        return false;
    }
    if (v->int_shadow) {
        kick_soon(s);
        return false;
    }
    v->nmi_pending = false;
    v->nmi_blocked = true;
    vcpu_ops->nmi_mask(v, true);
    v->pending = (struct vcpu_event){.type = EVENT_NMI, .vector = VEC_NMI};
    return true;
}

/* `top`: what vlapic_pending said. */
static void accept(struct subvmm *s, int top)
{
    struct vcpu *v = &s->vcpu;
    int vector = vlapic_accept(s->vm->pc, s->cpu);

    if (vector < 0)
        return;
    v->pending = (struct vcpu_event){
        .type = EVENT_INTR,
        .vector = (uint8_t)vector,
        .lapic = top > 0,
    };
    pveoi_arm(s, (uint8_t)vector);
}

/* Undoes accept. What came meanwhile for the same vector is one interrupt with it. */
static void give_back(struct subvmm *s, struct vcpu_event *e)
{
    pveoi_disarm(s);
    vlapic_give_back(s->vm->pc, s->cpu, e->vector);
    e->type = EVENT_NONE;
}

void events_put_off(struct subvmm *s)
{
    struct vcpu_event *e = &s->vcpu.pending;

    if (e->type == EVENT_INTR && e->lapic)
        give_back(s, e);
}

void events_settle(struct subvmm *s, struct vmexit *x)
{
    if (s->vcpu.step_iret) /* iret_rip is set with it */
        step_settle(s, x);
    if (s->vcpu.iret_rip != s->vcpu.regs.rip)
        s->vcpu.iret_rip = UINT64_MAX;
    s->vcpu.iret = s->vcpu.iret_rip != UINT64_MAX;
    s->vcpu.intr = false;
    if (s->injected.type != EVENT_INTR)
        return;
    if (x->untaken && s->injected.lapic) {
        give_back(s, &s->injected);
    } else if (x->untaken) {
        s->vcpu.pending = s->injected; /* an 8259 does not take its vector back */
    } else if (!x->redeliver) {
        stat_inc(s->pcpu, STAT_irqs_injected);
        ring_add(s->pcpu, RING_IRQ, s->injected.vector, 0);
    }
}

/* In the shadow of STI the next instruction runs first. Not every processor takes the shadow back
 * at entry (QEMU does not), and an interrupt between STI and HLT would leave the guest asleep with
 * its wake-up already spent: so HLT is completed here, and the pending interrupt ends it at once.
 */
static bool shadow_hlt(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    const struct vmexit none = {.kind = EXIT_HLT};
    struct insn in;

    if (fetch_decode(s, &none, &in) != HV_OK) {
        v->pending.type = EVENT_NONE; /* the guest will meet the fault itself */
        return false;
    }
    if (in.op != INSN_HLT)
        return false;
    vcpu_skip(s, &none, in.length);
    return v->pending.type == EVENT_NONE;
}

void events_prepare(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    s->kick_soon = s->kick_now = false;
    v->step_iret = false;
    pveoi_revoke(s);
    int top = vlapic_pending(s->vm->pc, s->cpu);
    bool irq = top >= 0;
    /* Whatever is found below stays found while nothing of it changes (loop.c, rule 3). */
    s->quiet = !irq && !v->nmi_pending && s->vm->opt->shortcuts;
    bool enabled = v->regs.rflags & RFLAGS_IF;

    if (v->pending.type != EVENT_NONE || nmi_prepare(s)) {
        /* The handler's IRET opens the window. Where delivery leaves IF=1 Bochs never recognises
         * it: leave again soon as well. */
        window(v, irq);
        if (irq && enabled)
            kick_soon(s);
        /* An NMI comes at the first instruction of the exception's handler. A physical interrupt
         * that waits at the entry exits there: behind the injected event, before any instruction.
         * An interrupt may wait in the guest instead, and so never be delivered that way. */
        if (v->nmi_pending && !v->nmi_blocked) {
            kick_soon(s);
            s->kick_now = v->pending.type == EVENT_EXCEPTION;
        }
        return;
    }
    if (!irq || v->step_iret) { /* the NMI goes first */
        window(v, false);
        return;
    }
    bool now = enabled && (!v->int_shadow || shadow_hlt(s));
    if (now || (!enabled && !v->int_shadow && top > 0 && vcpu_ops->waits())) {
        window(v, false);
        accept(s, top); /* with IF=0 the guest takes it when it sets IF */
        return;
    }
    if (v->pending.type == EVENT_NONE)
        window(v, true);
}
