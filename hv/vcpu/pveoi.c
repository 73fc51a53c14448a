/* SPDX-License-Identifier: BSD-2-Clause */
/* Paravirtual end of interrupt (KVM's interface, Linux Documentation/virt/kvm/x86/msr.rst, MSR
 * 4b564d04): a bit in guest memory says "clear me instead of writing EOI", which saves one exit an
 * interrupt. Set only when nothing would have to happen at the EOI. Tested by
 * tools/tests/test_pveoi.c. */
#include "hv/mmu/gmem.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define PVEOI_ENABLE BIT(0)
#define PVEOI_SKIP 1u /* in the guest's word */

static gpa_t word_at(const struct subvmm *s)
{
    return gpa(s->vcpu.pveoi & ~PVEOI_ENABLE);
}

static bool word_write(struct subvmm *s, uint32_t value)
{
    return gmem_write_gpa(&s->mmu, word_at(s), &value, sizeof(value)) == HV_OK;
}

bool pveoi_write_msr(struct subvmm *s, uint64_t value)
{
    pveoi_sync(s);
    s->vcpu.pveoi_armed = false;
    if ((value & PVEOI_ENABLE) && (value & 2)) /* the word is 4-byte aligned */
        return false;
    s->vcpu.pveoi = value;
    if ((value & PVEOI_ENABLE) && !word_write(s, 0)) {
        s->vcpu.pveoi = 0;
        return false;
    }
    return true;
}

void pveoi_arm(struct subvmm *s, uint8_t vector)
{
    struct vcpu *v = &s->vcpu;

    if ((v->pveoi & PVEOI_ENABLE) && vlapic_eoi_plain(s->vm->pc, s->cpu, vector))
        v->pveoi_armed = word_write(s, PVEOI_SKIP);
}

void pveoi_disarm(struct subvmm *s)
{
    if (!s->vcpu.pveoi_armed)
        return;
    s->vcpu.pveoi_armed = false;
    (void)word_write(s, 0);
}

void pveoi_sync(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    uint32_t word = 0;

    if (!v->pveoi_armed)
        return;
    if (gmem_read_gpa(&s->mmu, word_at(s), &word, sizeof(word)) != HV_OK || (word & PVEOI_SKIP))
        return; /* still in its handler */
    v->pveoi_armed = false;
    vlapic_eoi(s->vm->pc, s->cpu);
}

void pveoi_revoke(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    pveoi_sync(s);
    if (!v->pveoi_armed || !vlapic_irr_any(s->vm->pc, s->cpu))
        return;
    /* Something waits for this EOI: the guest must do it by an exit. It is not running now, so the
     * word cannot change between the look and this. */
    pveoi_disarm(s);
}
