/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits of instructions with little behind them: HLT, time, cache control, what is hidden
 * and what is not supported. Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/port/cpu.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vcpu/fetch.h"
#include "hv/vm/vm.h"

void exit_hlt(struct subvmm *s, const struct vmexit *x)
{
    if (vcpu_skip_decoded(s, x) != HV_OK)
        return;
    if (s->vcpu.pending.type == EVENT_NONE) /* a single-step trap ends the halt at once */
        s->vcpu.state = VCPU_HALTED;
}

void exit_nop(struct subvmm *s, const struct vmexit *x)
{
    if (vcpu_skip_decoded(s, x) == HV_OK) /* else the exception is pending */
        s->calm = true;
}

void exit_ud(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    vcpu_inject_ud(s);
}

void exit_gp(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    vcpu_inject_gp0(s);
}

void exit_rdtsc(struct subvmm *s, const struct vmexit *x)
{
    struct vcpu *v = &s->vcpu;

    if (vcpu_skip_decoded(s, x) != HV_OK)
        return;
    vcpu_set_edx_eax(v, port_tsc() + v->tsc_adjust);
    if (x->kind == EXIT_RDTSCP)
        v->regs.gpr[RCX] = (uint32_t)v->tsc_aux;
}

#define NOWHERE BIT(63) /* not canonical */

static bool canonical(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

static HV_RARE void invlpg_any(struct subvmm *s, const struct vmexit *x)
{
    struct insn in;
    gva_t va;

    if (fetch_decode(s, x, &in) != HV_OK)
        return;
    if (emulate_linear(s, &in, 1, false, &va) == HV_OK)
        mmu_event_invlpg(&s->mmu, va);
    else
        /* a non-canonical address is no fault here, APM 3 "INVLPG" */
        s->vcpu.pending.type = EVENT_NONE;
    vcpu_skip(s, x, in.length);
}

void exit_invlpg(struct subvmm *s, const struct vmexit *x)
{
    const struct insn *in;
    uint64_t va;

    s->calm = true;
    if (x->have_gva && x->next_rip) {
        mmu_event_invlpg(&s->mmu, x->gva);
        vcpu_skip(s, x, 0);
        return;
    }
    in = fetch_known(s, x);
    va = in && in->flat ? insn_flat(in, s->vcpu.regs.gpr) : NOWHERE;
    if (!canonical(va)) {
        invlpg_any(s, x);
        return;
    }
    vcpu_skip_long(s, in->length); /* what is kept of it goes with a loss */
    mmu_event_invlpg(&s->mmu, gva(va));
}

void exit_shutdown(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    subvmm_triple_fault(s);
}

void exit_invalid(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    subvmm_park(s, "the processor refused to enter the guest with this state");
}

void exit_unknown(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    subvmm_park(s, "an exit that nothing handles");
}
