/* SPDX-License-Identifier: BSD-2-Clause */
/* Intercepted exceptions other than #PF: given to the guest as the processor would have
 * (#DB and #AC are intercepted because a guest could otherwise loop in their delivery for ever).
 * Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vcpu/fetch.h"

/* 0F 01 D8..DF are SVM's, FE and FF INVLPGB and TLBSYNC: to a guest that was not shown SVM they do
 * not exist. The processor has EFER.SVME set and so refuses some with #GP before the intercept: to
 * users, or for their operand (APM volume 2, 15.9 "Instruction Intercepts"). true: #UD is
 * pending. */
static bool hidden_refused(struct subvmm *s, const struct vmexit *x)
{
    struct insn in;

    if (x->error || x->delivering || s->vcpu.pending.type != EVENT_NONE)
        return false;
    if (fetch_decode(s, x, &in) != HV_OK) {
        s->vcpu.pending.type = EVENT_NONE; /* other bytes than those executed, or none any more */
        return false;
    }
    if (in.op != INSN_OTHER || in.vex || in.map != 1 || in.opcode != 1)
        return false; /* VMMCALL is shown: exit_vmmcall */
    if (!((in.modrm & 0xf8) == 0xd8 || in.modrm >= 0xfe))
        return false;
    vcpu_inject_ud(s);
    return true;
}

void exit_exception(struct subvmm *s, const struct vmexit *x)
{
    switch (x->vector) {
    case VEC_UD:
    case VEC_GP:
        if (invpcid_refused(s, x) || (x->vector == VEC_GP && hidden_refused(s, x)))
            break;
        if (x->delivering) /* may make a double fault of it */
            s->vcpu.pending =
                (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = x->delivering - 1};
        vcpu_inject_exception(s, x->vector, x->error_valid, x->error);
        break;
    case VEC_MF:
        vcpu_x87_error(s);
        break;
    case VEC_MC:
        vcpu_machine_check(s);
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
