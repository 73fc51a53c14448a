/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's steal-time page (Linux Documentation/virt/kvm/x86/msr.rst, MSR 4b564d03). Time is never
 * stolen, each VCPU has its processor; what counts is its byte "preempted". While that says that
 * the VCPU does not run, another one that shoots down a translation leaves FLUSH_TLB there in place
 * of an interrupt, and this one flushes before it runs again. Tested by
 * tools/tests/test_hypercall.c and tools/model/flush.pml. */
#include "hv/mmu/gmem.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

#define STEAL_ENABLE BIT(0)
#define STEAL_RESERVED MASK(5, 1) /* the page's structure is 64-byte aligned */
#define PREEMPTED_AT 16
#define PREEMPTED 1u
#define PREEMPTED_FLUSH_TLB 2u

static bool set(struct subvmm *s, uint8_t value, uint8_t *old)
{
    gpa_t at = gpa((s->vcpu.steal & ~(STEAL_ENABLE | STEAL_RESERVED)) + PREEMPTED_AT);

    return gmem_xchg_gpa(&s->mmu, at, value, old) == HV_OK;
}

bool steal_write_msr(struct subvmm *s, uint64_t value)
{
    uint8_t old = 0;

    if (value & STEAL_RESERVED)
        return false;
    s->vcpu.steal = value;
    s->vcpu.steal_halted = false;
    if ((value & STEAL_ENABLE) && !set(s, 0, &old)) {
        s->vcpu.steal = 0;
        return false;
    }
    if (old & PREEMPTED_FLUSH_TLB) /* of a VCPU that was reset in HLT: nobody sent it an interrupt */
        mmu_owe_flush(&s->mmu);
    return true;
}

void steal_halt(struct subvmm *s)
{
    uint8_t old;

    if ((s->vcpu.steal & STEAL_ENABLE) && !s->vcpu.steal_halted)
        s->vcpu.steal_halted = set(s, PREEMPTED, &old);
}

void steal_wake(struct subvmm *s)
{
    uint8_t old = 0;

    if (!s->vcpu.steal_halted)
        return;
    s->vcpu.steal_halted = false;
    /* The byte first, then the flush: who finds it 0 sends an interrupt. */
    if (!set(s, 0, &old) || (old & PREEMPTED_FLUSH_TLB))
        mmu_owe_flush(&s->mmu);
}
