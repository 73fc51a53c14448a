/* SPDX-License-Identifier: BSD-2-Clause */
/* Model-specific registers: one table of what is answered. What is not in it gives #GP and a debug
 * line. Values are those of a sane processor with the features cpuid.c shows. An answer makes a
 * system believe something: no register may read back a protection that is not in force, so what
 * has no effect is not stored unless nothing depends on it. Tested by tools/tests/test_exits.c and
 * test_msr.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/options.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define MSR_PATCH_LEVEL 0x8b
#define MSR_KVM_WALL_OLD 0x11
#define MSR_KVM_TIME_OLD 0x12
#define MSR_KVM_WALL 0x4b564d00
#define MSR_KVM_TIME 0x4b564d01
#define MSR_KVM_STEAL 0x4b564d03
#define MSR_KVM_PV_EOI 0x4b564d04
#define MSR_HYPERV_FIRST 0x40000000
#define MSR_HYPERV_LAST 0x40000118
#define MSR_PERF_EVT_SEL0 0xc0010000 /* to 3, then the counters PERF_CTR0 to 3 */
#define MSR_PERF_CTR3 0xc0010007
#define MSR_HWCR 0xc0010015
#define MSR_TOP_MEM 0xc001001a
#define MSR_TOP_MEM2 0xc001001d
#define MSR_NB_CFG 0xc001001f
#define MSR_SYSCFG 0xc0010010
#define MSR_INT_PENDING 0xc0010055
#define MSR_MMIO_CFG_BASE 0xc0010058
#define MSR_IC_CFG 0xc0011021
#define MSR_BU_CFG 0xc0011023
#define MSR_BU_CFG2 0xc001102a
#define MSR_BU_CFG2_LAST 0xc001102d

/* TLB cache, INVD, flush filter, IGNNE, machine-check status: switches of performance and
 * debugging. Not CPUID faulting (35) nor locks. */
#define HWCR_KEPT (BIT(3) | BIT(4) | BIT(6) | BIT(8) | BIT(18))
#define SYSCFG_KEPT MASK(22, 18)  /* of the MTRRs; not memory encryption (23) */
#define HWCR_TSC_FREQ_SEL BIT(24) /* the TSC counts at P0's frequency: invariant */
#define VM_CR_LOCKED_OFF (BIT(4) | BIT(3))
#define MISC_ENABLE_FAST_STRINGS BIT(0) /* all that is kept: not the bit that hides NX (34) */
#define PATCH_LEVEL 0x1000065

enum msr_scratch { SCRATCH_HWCR, SCRATCH_SYSCFG };

/* false: #GP. */
typedef bool (*msr_reader)(struct subvmm *s, uint32_t msr, uint64_t *value);
typedef bool (*msr_writer)(struct subvmm *s, uint32_t msr, uint64_t value);

static bool read_zero(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)s;
    (void)msr;
    *value = 0;
    return true;
}

static bool write_ignored(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)s;
    (void)msr;
    (void)value;
    return true;
}

/* Says whether a machine check is in progress: the guest clears it. */
static bool read_mcg_status(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.mcg_status;
    return true;
}

static bool write_mcg_status(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    s->vcpu.mcg_status = value & (MCG_STATUS_RIPV | MCG_STATUS_EIPV | MCG_STATUS_MCIP);
    return true;
}

/* --- time --- */

static bool read_tsc(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = port_tsc() + s->vcpu.tsc_adjust;
    return true;
}

/* APM has no TSC_ADJUST; its meaning is Intel's, SDM 3 17.17.3 "Time-Stamp Counter Adjustment":
 * writing the TSC moves it as well. */
static bool write_tsc_adjust(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    s->vcpu.tsc_adjust = value;
    vcpu_ctl_commit(s); /* the offset goes with the control registers */
    return true;
}

static bool write_tsc(struct subvmm *s, uint32_t msr, uint64_t value)
{
    return write_tsc_adjust(s, msr, value - port_tsc());
}

static bool read_tsc_adjust(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.tsc_adjust;
    return true;
}

/* Devices count in the host's TSC. */
static bool read_deadline(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    if (vlapic_rdmsr(s->vm->pc, s->cpu, msr, value) != HV_OK)
        return false;
    if (*value)
        *value += s->vcpu.tsc_adjust;
    return true;
}

static bool write_deadline(struct subvmm *s, uint32_t msr, uint64_t value)
{
    uint64_t host = value ? value - s->vcpu.tsc_adjust : 0;

    return vlapic_wrmsr(s->vm->pc, s->cpu, msr, host) == HV_OK;
}

static bool read_kvm(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    bool time = msr == MSR_KVM_TIME || msr == MSR_KVM_TIME_OLD;

    if (msr == MSR_KVM_PV_EOI) {
        *value = s->vcpu.pveoi;
        return s->vm->opt->hvsig == HVSIG_KVM && s->vm->opt->pveoi;
    }

    *value = time ? s->vcpu.kvmclock : s->vcpu.kvm_wall;
    return s->vm->opt->hvsig == HVSIG_KVM;
}

static bool write_kvm(struct subvmm *s, uint32_t msr, uint64_t value)
{
    if (s->vm->opt->hvsig != HVSIG_KVM)
        return false;
    if (msr == MSR_KVM_PV_EOI)
        return s->vm->opt->pveoi && pveoi_write_msr(s, value);
    if (msr == MSR_KVM_TIME || msr == MSR_KVM_TIME_OLD)
        return kvmclock_write_time(s, value);
    return kvmclock_write_wall(s, value);
}

static bool has_steal(const struct subvmm *s)
{
    return s->vm->opt->hvsig == HVSIG_KVM && s->vm->opt->pvflush;
}

static bool read_steal(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.steal;
    return has_steal(s);
}

static bool write_steal(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    return has_steal(s) && steal_write_msr(s, value);
}

/* --- local APIC --- */

static bool read_apic(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    return vlapic_rdmsr(s->vm->pc, s->cpu, msr, value) == HV_OK;
}

static bool write_apic(struct subvmm *s, uint32_t msr, uint64_t value)
{
    return vlapic_wrmsr(s->vm->pc, s->cpu, msr, value) == HV_OK;
}

/* A page of RAM under the local APIC disappears for this CPU, and comes back when it moves away. */
static void apic_page_cover(struct subvmm *s)
{
    struct mmu_regs regs = vcpu_mmu_regs(&s->vcpu);
    uint64_t hole = 0;
    gpa_t page;
    hpa_t h;

    if (vlapic_mmio_base(s->vm->pc, s->cpu, &page) && p2m_lookup(&s->vm->p2m, page, &h))
        hole = page.v | 1;
    if (hole == s->p2m.hole)
        return;
    s->p2m.hole = hole;
    mmu_reset(&s->mmu, &regs); /* whatever was derived from the old map goes */
}

static bool write_apic_base(struct subvmm *s, uint32_t msr, uint64_t value)
{
    if ((value & MASK(63, s->vcpu.phys_bits)) || !write_apic(s, msr, value))
        return false;
    apic_page_cover(s);
    return true;
}

/* --- control --- */

static bool read_efer(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.ctl.efer;
    return true;
}

static bool write_efer(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    return cr_write_efer(s, value);
}

/* FS, GS and KERNEL_GS base, LSTAR and CSTAR. Where the processor checks them itself they never
 * exit. Non-canonical: #GP (APM volume 3, "WRMSR"). */
static bool canonical(uint64_t value)
{
    return (uint64_t)((int64_t)(value << 16) >> 16) == value;
}

static bool read_segment(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    struct vcpu_segs segs;

    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &segs);
    *value = segs.seg[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base;
    return true;
}

static bool write_segment(struct subvmm *s, uint32_t msr, uint64_t value)
{
    struct vcpu_segs segs;

    if (!canonical(value))
        return false;
    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &segs);
    segs.seg[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base = value;
    vcpu_ops->put(&s->vcpu, VCPU_SEGS, &segs);
    return true;
}

static uint64_t *target(struct vcpu_msrs *m, uint32_t msr)
{
    return msr == MSR_LSTAR ? &m->lstar : msr == MSR_CSTAR ? &m->cstar : &m->kernel_gs_base;
}

static bool read_target(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    struct vcpu_msrs m;

    vcpu_ops->get(&s->vcpu, VCPU_MSRS, &m);
    *value = *target(&m, msr);
    return true;
}

static bool write_target(struct subvmm *s, uint32_t msr, uint64_t value)
{
    struct vcpu_msrs m;

    if (!canonical(value))
        return false;
    vcpu_ops->get(&s->vcpu, VCPU_MSRS, &m);
    *target(&m, msr) = value;
    vcpu_ops->put(&s->vcpu, VCPU_MSRS, &m);
    return true;
}

static bool read_misc_enable(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.misc_enable;
    return true;
}

static bool write_misc_enable(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    s->vcpu.misc_enable = value & MISC_ENABLE_FAST_STRINGS;
    return true;
}

static bool read_patch_level(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)s;
    (void)msr;
    *value = PATCH_LEVEL;
    return true;
}

static bool read_hwcr(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.msr_scratch[SCRATCH_HWCR] | (port_tsc_constant() ? HWCR_TSC_FREQ_SEL : 0);
    return true;
}

static bool write_hwcr(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    s->vcpu.msr_scratch[SCRATCH_HWCR] = value & HWCR_KEPT;
    return true;
}

static bool read_syscfg(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.msr_scratch[SCRATCH_SYSCFG];
    return true;
}

static bool write_syscfg(struct subvmm *s, uint32_t msr, uint64_t value)
{
    (void)msr;
    s->vcpu.msr_scratch[SCRATCH_SYSCFG] = value & SYSCFG_KEPT;
    return true;
}

static bool read_de_cfg(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = s->vcpu.lfence ? DE_CFG_LFENCE : 0;
    return true;
}

static bool read_top_mem(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    *value = msr == MSR_TOP_MEM ? s->vm->ram_low_end : s->vm->ram_high_end;
    return true;
}

static bool read_vm_cr(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    (void)s;
    (void)msr;
    *value = VM_CR_LOCKED_OFF;
    return true;
}

static const struct {
    uint32_t first, last;
    msr_reader read;  /* NULL: #GP */
    msr_writer write; /* NULL: #GP */
} msr_table[] = {
    /* first what a running system accesses all the time */
    {MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, read_deadline, write_deadline},
    {MSR_X2APIC_BASE, MSR_X2APIC_LAST, read_apic, write_apic},
    {MSR_TSC, MSR_TSC, read_tsc, write_tsc},
    {MSR_KVM_WALL_OLD, MSR_KVM_TIME_OLD, read_kvm, write_kvm},
    {MSR_APIC_BASE, MSR_APIC_BASE, read_apic, write_apic_base},
    {MSR_TSC_ADJUST, MSR_TSC_ADJUST, read_tsc_adjust, write_tsc_adjust},
    /* Older than any update that mends something; a loaded one does not change it. */
    {MSR_PATCH_LEVEL, MSR_PATCH_LEVEL, read_patch_level, write_ignored},
    {MSR_MTRRCAP, MSR_MTRRCAP, mtrr_read, NULL},
    /* SPEC_CTRL (48), PRED_CMD (49), ARCH_CAPABILITIES (10a), VIRT_SPEC_CTRL (c001011f): #GP, as
     * without their CPUID bits. The guest knows that it has no IBRS, IBPB, STIBP, SSBD. */
    {MSR_MCG_CAP, MSR_MCG_CAP, read_zero, NULL}, /* no banks */
    {MSR_MCG_STATUS, MSR_MCG_STATUS, read_mcg_status, write_mcg_status},
    {MSR_MISC_ENABLE, MSR_MISC_ENABLE, read_misc_enable, write_misc_enable},
    /* no branch records, no stepping by branches; bits do not stick, which debuggers see */
    {MSR_DEBUGCTL, MSR_DEBUGCTL, read_zero, write_ignored},
    {MSR_LAST_BRANCH_FROM, MSR_LAST_EXCEPTION_TO, read_zero, NULL},
    {MSR_MTRR_PHYS_BASE0, MSR_MTRR_DEF, mtrr_read, mtrr_write},
    {MSR_KVM_WALL, MSR_KVM_TIME, read_kvm, write_kvm},
    {MSR_KVM_STEAL, MSR_KVM_STEAL, read_steal, write_steal},
    {MSR_KVM_PV_EOI, MSR_KVM_PV_EOI, read_kvm, write_kvm},
    {MSR_HYPERV_FIRST, MSR_HYPERV_LAST, hyperv_read_msr, hyperv_write_msr},
    {MSR_EFER, MSR_EFER, read_efer, write_efer},
    {MSR_LSTAR, MSR_CSTAR, read_target, write_target},
    {MSR_FS_BASE, MSR_GS_BASE, read_segment, write_segment},
    {MSR_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, read_target, write_target},
    /* performance counters: none count, and none keeps what is written: a driver finds it broken */
    {MSR_PERF_EVT_SEL0, MSR_PERF_CTR3, read_zero, write_ignored},
    {MSR_SYSCFG, MSR_SYSCFG, read_syscfg, write_syscfg},
    {MSR_HWCR, MSR_HWCR, read_hwcr, write_hwcr},
    {MSR_TOP_MEM, MSR_TOP_MEM, read_top_mem, NULL},
    {MSR_TOP_MEM2, MSR_TOP_MEM2, read_top_mem, NULL},
    /* nothing sticks: there is no extended configuration space behind port CF8 */
    {MSR_NB_CFG, MSR_NB_CFG, read_zero, write_ignored},
    {MSR_INT_PENDING, MSR_INT_PENDING, read_zero, write_ignored},     /* no C1E */
    {MSR_MMIO_CFG_BASE, MSR_MMIO_CFG_BASE, read_zero, write_ignored}, /* none */
    {MSR_VM_CR, MSR_VM_CR, read_vm_cr, write_ignored}, /* SVM is off, and locked so */
    /* LS_CFG (c0011020): #GP. Its bits switch off speculative stores on families 15h to 17h: a
     * system that can read it believes that it can have that. */
    {MSR_IC_CFG, MSR_BU_CFG, read_zero, write_ignored}, /* DC_CFG between them: performance */
    /* LFENCE is serialising if this processor's register says so; zenbleed's switch does not stick
     */
    {MSR_DE_CFG, MSR_DE_CFG, read_de_cfg, write_ignored},
    {MSR_BU_CFG2, MSR_BU_CFG2_LAST, read_zero, write_ignored}, /* and neighbours: performance */
};

void msr_power_on(struct subvmm *s)
{
    s->vcpu.lfence = port_lfence_serialise();
    s->vcpu.misc_enable = MISC_ENABLE_FAST_STRINGS;
    mtrr_power_on(s);
}

bool msr_read(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    for (size_t i = 0; i < ARRAY_SIZE(msr_table); i++)
        if (msr >= msr_table[i].first && msr <= msr_table[i].last)
            return msr_table[i].read && msr_table[i].read(s, msr, value);
    return false;
}

bool msr_write(struct subvmm *s, uint32_t msr, uint64_t value)
{
    for (size_t i = 0; i < ARRAY_SIZE(msr_table); i++)
        if (msr >= msr_table[i].first && msr <= msr_table[i].last)
            return msr_table[i].write && msr_table[i].write(s, msr, value);
    return false;
}
