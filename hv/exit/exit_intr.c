/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits that only bring the processor back to the loop. Tested by tools/tests/test_events.c. */
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"

/* The physical interrupt or NMI was taken when run() returned; the loop looks at what it left. */
void exit_intr(struct subvmm *s, const struct vmexit *x)
{
    (void)s;
    (void)x;
}

void exit_irq_window(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    vcpu_ops->window(&s->vcpu, false);
    s->vcpu.window_armed = false;
    /* The processor says that it would take an interrupt now: whatever shadow there was is over.
     * QEMU says so even before the instruction behind STI; waiting for RIP to move would wait for
     * ever. */
    s->vcpu.int_shadow = false;
    vcpu_ops->set_int_shadow(&s->vcpu, false);
}

/* The guest is about to leave its NMI handler. NMIs stay blocked until the IRET has run, and RIP
 * tells. */
void exit_iret(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    vcpu_ops->nmi_mask(&s->vcpu, false);
    s->vcpu.nmi_blocked = false;
    s->vcpu.iret_rip = s->vcpu.regs.rip;
    s->vcpu.iret = true;
}

/* The guest has left its NMI handler. */
void exit_nmi_window(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    vcpu_ops->nmi_mask(&s->vcpu, false);
    s->vcpu.nmi_blocked = false;
}
