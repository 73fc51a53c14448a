/* SPDX-License-Identifier: BSD-2-Clause */
/* Intercepted exceptions other than #PF: given to the guest as the processor would have
 * (#DB and #AC are intercepted because a guest could otherwise loop in their delivery for ever).
 * Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/vcpu/exit.h"

void exit_exception(struct subvmm *s, const struct vmexit *x)
{
    switch (x->vector) {
    case VEC_UD:
    case VEC_GP:
        if (invpcid_refused(s, x))
            break;
        if (x->delivering) /* may make a double fault of it */
            s->vcpu.pending =
                (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = x->delivering - 1};
        vcpu_inject_exception(s, x->vector, x->error_valid, x->error);
        break;
    case VEC_MC:
        subvmm_park(s, "machine check while the guest ran");
        break;
    case VEC_DF: /* replaces whatever was being delivered */
        s->vcpu.pending =
            (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_DF, .has_error = true};
        break;
    case VEC_AC:
        vcpu_inject_exception(s, VEC_AC, true, 0);
        break;
    default: /* #DB */
        vcpu_inject_exception(s, x->vector, x->error_valid, x->error);
        break;
    }
}

/* INT1: a #DB that leaves RIP behind the instruction (APM 15.12.2 "#DB (Debug)"). */
void exit_icebp(struct subvmm *s, const struct vmexit *x)
{
    if (vcpu_skip_decoded(s, x) != HV_OK)
        return;
    if (s->vcpu.pending.type == EVENT_NONE)
        vcpu_inject_exception(s, VEC_DB, false, 0);
}
