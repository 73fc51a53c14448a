/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes to CR0, CR3, CR4, CR8 and EFER by the guest: every #GP rule of the manual, then the
 * coherency event. Source: APM volume 2, 3.1 "System-Control Registers", 5.3 and 14.6 "Enabling and
 * Activating Long Mode". Tested by tools/tests/test_exits.c, test_cr.c, test_pcid.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/mmu/gmem.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define CR0_EVENT (CR0_PG | CR0_WP | CR0_PE)
#define CR4_EVENT (CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP | CR4_PCIDE)
#define CR3_NOFLUSH BIT(63) /* with CR4.PCIDE: MOV CR3 invalidates nothing */
#define CR3_PCID MASK(11, 0)
#define ATTR_L BIT(9) /* struct segment.attr */
/* APM 5.2.3 "PAE Paging": these bits of a present PDPTE must be zero. */
#define PDPTE_MBZ (MASK(2, 1) | MASK(8, 5))

static void commit(struct subvmm *s, bool event)
{
    struct mmu_regs regs = vcpu_mmu_regs(&s->vcpu);

    vcpu_ctl_commit(s);
    if (event)
        mmu_event_mode(&s->mmu, &regs);
}

/* Loads the PDPTEs at cr3 if all are valid; they stay in force until the next load. */
static bool pdptes_load(struct subvmm *s, uint64_t cr3)
{
    uint64_t e[4] = {0};

    if (gmem_read_gpa(&s->mmu, gpa(cr3 & 0xffffffe0), e, sizeof(e)) != HV_OK)
        memset(e, 0, sizeof(e)); /* not RAM: nothing present, the guest's next access shows it */
    for (unsigned i = 0; i < 4; i++)
        if ((e[i] & PTE_P) && (e[i] & (PDPTE_MBZ | MASK(63, s->vcpu.phys_bits))))
            return false;
    mmu_latch_pdptes(&s->mmu, e);
    return true;
}

static bool pae_active(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* CS.L, which means nothing before long mode and forbids its activation (APM 14.6.1). */
static bool code_is_long(struct subvmm *s)
{
    struct vcpu_segs segs;

    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &segs);
    return segs.seg[SEG_CS].attr & ATTR_L;
}

/* PG 0 -> 1: LMA follows, or PDPTEs are loaded. */
static bool paging_on(struct subvmm *s, uint64_t cr0, uint64_t *efer)
{
    const struct vcpu_ctl *c = &s->vcpu.ctl;

    if (c->efer & EFER_LME) {
        if (!(c->cr4 & CR4_PAE) || code_is_long(s))
            return false;
        *efer |= EFER_LMA;
        return true;
    }
    return !pae_active(cr0, c->cr4, c->efer) || pdptes_load(s, c->cr3);
}

static bool write_cr0(struct subvmm *s, uint64_t value)
{
    struct vcpu_ctl *c = &s->vcpu.ctl;
    uint64_t efer = c->efer, changed;

    if (value >> 32)
        return false;
    value = (value & CR0_DEFINED) | CR0_ET;
    if ((value & CR0_PG) && !(value & CR0_PE))
        return false;
    if ((value & CR0_NW) && !(value & CR0_CD))
        return false;
    changed = value ^ c->cr0;
    if ((changed & CR0_PG) && (value & CR0_PG) && !paging_on(s, value, &efer))
        return false;
    if (!(changed & CR0_PG) && (changed & (CR0_CD | CR0_NW)) &&
        pae_active(value, c->cr4, c->efer)) { /* loads them too: SDM vol. 3 4.4.1 */
        if (!pdptes_load(s, c->cr3))
            return false;
        changed |= CR0_PG; /* an event */
    }
    if ((changed & CR0_PG) && !(value & CR0_PG)) {
        if (vcpu_code_size(s) == 8 || (c->cr4 & CR4_PCIDE))
            return false;
        efer &= ~EFER_LMA;
    }
    c->cr0 = value;
    c->efer = efer;
    commit(s, changed & CR0_EVENT);
    return true;
}

static bool write_cr3(struct subvmm *s, uint64_t value)
{
    struct vcpu_ctl *c = &s->vcpu.ctl;
    bool noflush = (c->cr4 & CR4_PCIDE) && (value & CR3_NOFLUSH);

    if (noflush)
        value &= ~CR3_NOFLUSH; /* reads back as 0 */
    if (!vcpu_long_mode(&s->vcpu))
        value = (uint32_t)value;
    else if (value & MASK(63, s->vcpu.phys_bits))
        return false;
    if (pae_active(c->cr0, c->cr4, c->efer) && !pdptes_load(s, value))
        return false;
    c->cr3 = value;
    mmu_event_cr3(&s->mmu, value, noflush);
    return true;
}

static bool write_cr4(struct subvmm *s, uint64_t value)
{
    struct vcpu_ctl *c = &s->vcpu.ctl;
    uint64_t changed = value ^ c->cr4;

    if (value & ~s->vcpu.cr4_allowed)
        return false;
    if ((changed & CR4_PAE) && vcpu_long_mode(&s->vcpu))
        return false;
    /* SDM vol. 3 4.10.1 "Process-Context Identifiers (PCIDs)" */
    if ((changed & value & CR4_PCIDE) && (!vcpu_long_mode(&s->vcpu) || (c->cr3 & CR3_PCID)))
        return false;
    /* These load the PDPTEs (APM 5.2.3 "PAE Paging"). */
    if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
        pae_active(c->cr0, value, c->efer) && !pdptes_load(s, c->cr3))
        return false;
    c->cr4 = value;
    commit(s, changed & CR4_EVENT);
    return true;
}

bool cr_write(struct subvmm *s, unsigned cr, uint64_t value)
{
    switch (cr) {
    case 0:
        return write_cr0(s, value);
    case 3:
        return write_cr3(s, value);
    case 4:
        return write_cr4(s, value);
    case 8:
        if (value > 15)
            return false;
        vlapic_set_cr8(s->vm->pc, s->cpu, (uint8_t)value);
        s->vcpu.ctl.cr8 = (uint8_t)value;
        return true;
    default:
        return false; /* the caller gave #UD */
    }
}

bool cr_write_efer(struct subvmm *s, uint64_t value)
{
    struct vcpu_ctl *c = &s->vcpu.ctl;
    uint64_t changed;

    /* LMA is the processor's: what the guest writes there is ignored. */
    value = (value & ~EFER_LMA) | (c->efer & EFER_LMA);
    changed = value ^ c->efer;
    if (value & ~(s->vcpu.efer_allowed | EFER_LMA))
        return false;
    if ((changed & EFER_LME) && (c->cr0 & CR0_PG))
        return false;
    c->efer = value;
    commit(s, changed & (EFER_NXE | EFER_LME));
    return true;
}
