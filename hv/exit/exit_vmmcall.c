/* SPDX-License-Identifier: BSD-2-Clause */
/* VMMCALL: whose hypercalls the guest was told of, and KVM's (Linux
 * Documentation/virt/kvm/x86/hypercalls.rst). Tested by tools/tests/test_hypercall.c. */
#include "hv/base/options.h"
#include "hv/base/stats.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define KVM_EPERM ((uint64_t)-1) /* by a user */
#define KVM_EINVAL ((uint64_t)-22)
#define KVM_ENOSYS ((uint64_t)-1000) /* one that nobody offers */
#define KVM_HC_SEND_IPI 10
#define KVM_HC_SCHED_YIELD 11
#define ICR_SHORTHAND MASK(19, 18)
#define ICR_LOGICAL BIT(11)

/* a: bitmap of APIC ids from a[2] on, its low and high half; a[3]: the ICR's low half. */
static uint64_t send_ipi(struct subvmm *s, const uint64_t a[4], unsigned half_bits)
{
    uint64_t first = a[2];
    cpuset_t to = 0;

    if ((a[3] & (ICR_SHORTHAND | ICR_LOGICAL)) || first > HV_MAX_CPUS)
        return KVM_EINVAL;
    for (uint32_t c = (uint32_t)first; c < s->vm->ncpus; c++) {
        uint64_t bit = c - first, half = bit < half_bits ? a[0] : a[1];
        if (bit < 2ull * half_bits && (half >> bit % half_bits & 1))
            to |= (cpuset_t)BIT(c);
    }
    if (!vlapic_ipi(s->vm->pc, s->cpu, to, (uint32_t)a[3]))
        return KVM_EINVAL;
    return cpuset_count(to);
}

static uint64_t kvm_call(struct subvmm *s, bool wide)
{
    const uint64_t *g = s->vcpu.regs.gpr;
    uint64_t mask = wide ? ~0ull : 0xffffffff;
    uint64_t a[4] = {g[RBX] & mask, g[RCX] & mask, g[RDX] & mask, g[RSI] & mask};
    uint64_t nr = g[RAX] & mask;

    if (vcpu_cpl(s))
        return KVM_EPERM;
    if (nr == KVM_HC_SEND_IPI && s->vm->opt->pvipi)
        return send_ipi(s, a, wide ? 64 : 32);
    if (nr == KVM_HC_SCHED_YIELD && s->vm->opt->pvflush)
        return 0; /* every VCPU has its processor: nobody is kept from running */
    return KVM_ENOSYS;
}

void exit_vmmcall(struct subvmm *s, const struct vmexit *x)
{
    bool wide = vcpu_code_size(s) == 8;
    enum hvsig_mode sig = s->vm->opt->hvsig;

    if (sig == HVSIG_OWN || (sig == HVSIG_HYPERV && (vcpu_cpl(s) || !hyperv_calls(s)))) {
        vcpu_inject_ud(s);
        return;
    }
    if (vcpu_skip_decoded(s, x) != HV_OK)
        return;
    stat_inc(s->pcpu, STAT_hypercalls);
    uint64_t answer = sig == HVSIG_HYPERV ? hyperv_call(s, wide) : kvm_call(s, wide);
    if (wide) {
        s->vcpu.regs.gpr[RAX] = answer;
    } else if (sig == HVSIG_HYPERV) {
        vcpu_set_edx_eax(&s->vcpu, answer);
    } else {
        s->vcpu.regs.gpr[RAX] = (uint32_t)answer;
    }
}
