/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC through MSRs: IA32_APIC_BASE, the x2APIC range with its reserved-bit rules, and
 * IA32_TSC_DEADLINE. Tested by tools/tests/test_vdev_x2apic.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "arch-x86/defs/x86.h"

#define load(p) atomic_load_explicit(p, memory_order_relaxed)
#define store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

/* Registers by MSR - 800h (SDM table 11-6 "Local APIC Register Address Map Supported by x2APIC").
 */
#define X2(reg) X2APIC_INDEX(APIC_##reg)
#define RANGE_ISR MASK(X2(IRR_LAST), X2(ISR))
#define RANGE_LVT MASK(X2(LVT_ERROR), X2(LVT_TIMER))
#define INDEX_LAST X2(SELF_IPI)
static const uint64_t readable = BIT(X2(ID)) | BIT(X2(VERSION)) | BIT(X2(TPR)) | BIT(X2(PPR)) |
                                 BIT(X2(LDR)) | BIT(X2(SVR)) | RANGE_ISR | BIT(X2(ESR)) |
                                 BIT(X2(ICR)) | RANGE_LVT | BIT(X2(TIMER_ICT)) |
                                 BIT(X2(TIMER_CCT)) | BIT(X2(TIMER_DCR));
static const uint64_t writable = BIT(X2(TPR)) | BIT(X2(EOI)) | BIT(X2(SVR)) | BIT(X2(ESR)) |
                                 BIT(X2(ICR)) | RANGE_LVT | BIT(X2(TIMER_ICT)) |
                                 BIT(X2(TIMER_DCR)) | BIT(X2(SELF_IPI));

/* Bits a write may have set; all others give #GP. */
static uint64_t writable_bits(uint32_t index)
{
    switch (index) {
    case X2(TPR):
    case X2(SELF_IPI):
        return TPR_WRITABLE;
    case X2(SVR):
        return SVR_WRITABLE;
    case X2(EOI):
    case X2(ESR):
        return 0;
    case X2(ICR):
        return MASK(63, 32) | ICR_WRITABLE;
    case X2(LVT_TIMER):
        return 0x710ff;
    case X2(LVT_THERMAL):
    case X2(LVT_PERF):
    case X2(LVT_ERROR):
        return 0x117ff;
    case X2(LVT_LINT0):
    case X2(LVT_LINT1):
        return 0x1f7ff;
    case X2(TIMER_ICT):
        return 0xffffffff;
    case X2(TIMER_DCR):
        return DCR_WRITABLE;
    default:
        return 0;
    }
}

static enum hv_err x2apic_read(struct vpc *pc, uint32_t cpu, uint32_t index, uint64_t *value)
{
    if (!vlapic_x2(&pc->lapic[cpu]) || index > INDEX_LAST || !(readable & BIT(index)))
        return HV_INVALID;
    *value = vlapic_read(pc, cpu, index << APIC_REG_SHIFT);
    if (index == X2(ICR))
        *value |= (uint64_t)pc->lapic[cpu].icr_hi << 32;
    return HV_OK;
}

static enum hv_err x2apic_write(struct vpc *pc, uint32_t cpu, uint32_t index, uint64_t value)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (!vlapic_x2(a) || index > INDEX_LAST || !(writable & BIT(index)) ||
        (value & ~writable_bits(index)))
        return HV_INVALID;
    switch (index) {
    case X2(ICR):
        a->icr_lo = (uint32_t)value;
        a->icr_hi = (uint32_t)(value >> 32);
        vlapic_icr(pc, cpu, a->icr_lo, a->icr_hi, true);
        return HV_OK;
    case X2(SELF_IPI):
        if (value < VECTOR_FIRST)
            vlapic_error(pc, cpu, cpu, ESR_SEND_ILLEGAL);
        else
            (void)vlapic_deliver(pc, cpu, cpu, (uint32_t)value, false);
        return HV_OK;
    default:
        vlapic_write(pc, cpu, index << APIC_REG_SHIFT, (uint32_t)value);
        return HV_OK;
    }
}

/* Mode changes of APM 16.9 "Detecting and Enabling x2APIC Mode"; SDM 11.12.5 "x2APIC State
 * Transitions": xAPIC -> x2APIC -> off -> xAPIC, and xAPIC -> off. */
static enum hv_err apic_base_write(struct vpc *pc, uint32_t cpu, uint64_t value)
{
    struct vlapic *a = &pc->lapic[cpu];
    uint32_t old = load(&a->base);
    uint32_t mode = (uint32_t)value & (APIC_BASE_EN | APIC_BASE_EXTD);
    uint32_t old_mode = old & (APIC_BASE_EN | APIC_BASE_EXTD);
    if (value & ~(MASK(51, 12) | APIC_BASE_EN | APIC_BASE_EXTD | APIC_BASE_BSP))
        return HV_INVALID;
    if (mode == APIC_BASE_EXTD)
        return HV_INVALID;
    if (old_mode == (APIC_BASE_EN | APIC_BASE_EXTD) && mode == APIC_BASE_EN)
        return HV_INVALID;
    if (!old_mode && (mode & APIC_BASE_EXTD))
        return HV_INVALID;
    vlapic_move(pc, cpu, value & MASK(51, 12), (old & APIC_BASE_BSP) | mode);
    if (mode == old_mode)
        return HV_OK;
    if (!(mode & APIC_BASE_EXTD)) { /* off, or on again: as after reset */
        vlapic_reset(pc, cpu);
    } else {
        store(&a->ldr, (cpu >> 4) << 16 | 1u << (cpu & 15));
        a->icr_hi = 0;
    }
    return HV_OK;
}

enum hv_err vlapic_rdmsr(struct vpc *pc, uint32_t cpu, uint32_t msr, uint64_t *value)
{
    struct vlapic *a = &pc->lapic[cpu];
    switch (msr) {
    case MSR_APIC_BASE:
        *value = a->page | load(&a->base);
        return HV_OK;
    case MSR_TSC_DEADLINE:
        *value = LVT_TIMER_MODE(load(&a->lvt[LVT_TIMER])) == TIMER_DEADLINE &&
                         a->timer_deadline != NO_DEADLINE
                     ? a->timer_deadline
                     : 0;
        return HV_OK;
    default:
        return x2apic_read(pc, cpu, msr - MSR_X2APIC_BASE, value);
    }
}

enum hv_err vlapic_wrmsr(struct vpc *pc, uint32_t cpu, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_APIC_BASE:
        return apic_base_write(pc, cpu, value);
    case MSR_TSC_DEADLINE:
        vlapic_timer_set_tsc(pc, cpu, value);
        return HV_OK;
    default:
        return x2apic_write(pc, cpu, msr - MSR_X2APIC_BASE, value);
    }
}
