/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits of instructions with little behind them: HLT, time, cache control, hypercalls, what is
 * hidden and what is not supported. Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/options.h"
#include "hv/port/cpu.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vcpu/fetch.h"
#include "hv/vm/vm.h"

#define KVM_EPERM ((uint64_t)-1) /* a hypercall by a user */
/* a hypercall nobody offers, Documentation/virt/kvm/x86/hypercalls.rst */
#define KVM_ENOSYS ((uint64_t)-1000)

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

void exit_vmmcall(struct subvmm *s, const struct vmexit *x)
{
    if (s->vm->opt->hvsig != HVSIG_KVM) {
        vcpu_inject_ud(s);
        return;
    }
    uint64_t answer = vcpu_cpl(s) ? KVM_EPERM : KVM_ENOSYS;
    if (vcpu_skip_decoded(s, x) == HV_OK)
        s->vcpu.regs.gpr[RAX] = vcpu_code_size(s) == 8 ? answer : (uint32_t)answer;
}

void exit_invlpg(struct subvmm *s, const struct vmexit *x)
{
    const struct insn *in;
    struct insn buf;
    gva_t va;

    s->calm = true;
    if (x->have_gva && x->next_rip) {
        mmu_event_invlpg(&s->mmu, x->gva);
        vcpu_skip(s, x, 0);
        return;
    }
    in = fetch_look(s, x, &buf);
    if (!in)
        return;
    if (emulate_linear(s, in, 1, false, &va) == HV_OK)
        mmu_event_invlpg(&s->mmu, va);
    else
        /* a non-canonical address is no fault here, APM 3 "INVLPG" */
        s->vcpu.pending.type = EVENT_NONE;
    vcpu_skip(s, x, in->length);
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
