/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits of CPUID, RDMSR, WRMSR and XSETBV: registers in and out. What the values are and which are
 * allowed is said in hv/vcpu. Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/exit/exit.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/rules.h"

enum { EAX, EBX, ECX, EDX };

void exit_cpuid(struct subvmm *s, const struct vmexit *x)
{
    struct vcpu_regs *g = &s->vcpu.regs;
    uint32_t r[4];

    if (vcpu_skip_decoded(s, x) != HV_OK)
        return;
    s->calm = true;
    cpuid_answer(s, (uint32_t)g->gpr[RAX], (uint32_t)g->gpr[RCX], r);
    g->gpr[RAX] = r[EAX];
    g->gpr[RBX] = r[EBX];
    g->gpr[RCX] = r[ECX];
    g->gpr[RDX] = r[EDX];
}

static void refused(struct subvmm *s, const char *what, uint32_t msr, uint64_t value)
{
    if (log_ratelimit(&s->debug_lines))
        log_debug("msr", "%s of 0x%x (0x%llx) gives #GP at 0x%llx", what, msr,
                  (unsigned long long)value, (unsigned long long)s->vcpu.regs.rip);
    vcpu_inject_gp0(s);
}

void exit_rdmsr(struct subvmm *s, const struct vmexit *x)
{
    uint32_t msr = (uint32_t)s->vcpu.regs.gpr[RCX];
    uint64_t value = 0;

    if (!msr_read(s, msr, &value)) {
        refused(s, "read", msr, 0);
        return;
    }
    if (vcpu_skip_decoded(s, x) == HV_OK)
        vcpu_set_edx_eax(&s->vcpu, value);
}

void exit_wrmsr(struct subvmm *s, const struct vmexit *x)
{
    uint32_t msr = (uint32_t)s->vcpu.regs.gpr[RCX];
    uint64_t value = vcpu_edx_eax(&s->vcpu);

    if (!msr_write(s, msr, value)) {
        refused(s, "write", msr, value);
        return;
    }
    if (vcpu_skip_decoded(s, x) != HV_OK)
        return; /* a fetch fault is pending; the write stands and is repeated */
}

void exit_xsetbv(struct subvmm *s, const struct vmexit *x)
{
    struct vcpu *v = &s->vcpu;
    uint64_t value = vcpu_edx_eax(v);

    if (!(v->ctl.cr4 & CR4_OSXSAVE)) {
        vcpu_inject_ud(s);
        return;
    }
    if (vcpu_cpl(s) || (uint32_t)v->regs.gpr[RCX] || !xstate_legal(v, value)) {
        vcpu_inject_gp0(s);
        return;
    }
    if (vcpu_skip_decoded(s, x) != HV_OK)
        return; /* the exception is pending */
    v->xcr0 = value;
    port_xcr0_set(value);
}
