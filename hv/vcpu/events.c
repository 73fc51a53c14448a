/* SPDX-License-Identifier: BSD-2-Clause */
/* What the next entry injects: a pending exception, an NMI, or the interrupt controller's vector;
 * and how the guest is made to exit when none of them can be taken yet. Tested by
 * tools/tests/test_events.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/emulate.h"
#include "hv/vcpu/exit.h"
#include "hv/vdev/vpc.h"
#include "hv/vm/vm.h"

#define KICKS_PER_S 50000

/* Something waits that no window announces: the physical timer makes the guest exit soon. Armed by
 * events_kick with interrupts off: taken before the entry, it would prevent the entry, for ever. */
static void kick_soon(struct subvmm *s)
{
    s->kick_soon = true;
}

void events_kick(struct subvmm *s)
{
    if (!s->kick_soon)
        return;
    s->timer_armed = port_tsc() + port_tsc_hz() / KICKS_PER_S; /* time for an instruction to run */
    port_timer_arm(s->timer_armed);
}

static void window(struct vcpu *v, bool on)
{
    vcpu_ops->window(v, on);
    v->window_armed = on;
}

static bool nmi_prepare(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    if (!v->nmi_pending || v->nmi_blocked)
        return false;
    if (v->iret_rip == v->regs.rip) { /* the IRET that ends the blocking has not run yet */
        kick_soon(s);
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

void events_settle(struct subvmm *s, const struct vmexit *x)
{
    if (s->injected.type != EVENT_INTR)
        return;
    if (x->untaken && s->injected.lapic) {
        give_back(s, &s->injected);
    } else if (x->untaken) {
        s->vcpu.pending = s->injected; /* an 8259 does not take its vector back */
    } else if (!x->redeliver) {
        stat_inc(s->cpu, STAT_irqs_injected);
        ring_add(s->cpu, RING_IRQ, s->injected.vector, 0);
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

    if (emulate_decode(s, &none, &in) != HV_OK) {
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

    s->kick_soon = false;
    pveoi_revoke(s);
    int top = vlapic_pending(s->vm->pc, s->cpu);
    bool irq = top >= 0;
    bool enabled = v->regs.rflags & RFLAGS_IF;

    if (v->pending.type != EVENT_NONE || nmi_prepare(s)) {
        /* The handler's IRET opens the window. Where delivery leaves IF=1 Bochs never recognises
         * it: leave again soon as well. */
        window(v, irq);
        if ((irq && enabled) || (v->nmi_pending && !v->nmi_blocked))
            kick_soon(s);
        return;
    }
    if (!irq) {
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
