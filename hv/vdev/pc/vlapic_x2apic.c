/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC through MSRs: IA32_APIC_BASE, the x2APIC range with its reserved-bit rules, and
 * IA32_TSC_DEADLINE. Tested by tools/tests/test_vdev_x2apic.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "arch-x86/defs/x86.h"

#define load(p) atomic_load_explicit(p, memory_order_relaxed)
#define store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

/* Registers by MSR - 800h (SDM table 11-6 "Local APIC Register Address Map Supported by x2APIC").
 */
#define RANGE_ISR MASK(0x27, 0x10)
#define RANGE_LVT MASK(0x37, 0x32)
static const uint64_t readable = BIT(0x02) | BIT(0x03) | BIT(0x08) | BIT(0x0a) | BIT(0x0d) |
                                 BIT(0x0f) | RANGE_ISR | BIT(0x28) | BIT(0x30) | RANGE_LVT |
                                 BIT(0x38) | BIT(0x39) | BIT(0x3e);
static const uint64_t writable = BIT(0x08) | BIT(0x0b) | BIT(0x0f) | BIT(0x28) | BIT(0x30) |
                                 RANGE_LVT | BIT(0x38) | BIT(0x3e) | BIT(0x3f);

enum { X2_EOI = 0x0b, X2_ICR = 0x30, X2_SELF_IPI = 0x3f };

/* Bits a write may have set; all others give #GP. */
static uint64_t writable_bits(uint32_t index)
{
    switch (index) {
    case 0x08:
    case X2_SELF_IPI:
        return 0xff;
    case 0x0f:
        return 0x3ff;
    case X2_EOI:
    case 0x28:
        return 0;
    case X2_ICR:
        return 0xffffffff000ccfffull;
    case 0x32:
        return 0x710ff;
    case 0x33:
    case 0x34:
    case 0x37:
        return 0x117ff;
    case 0x35:
    case 0x36:
        return 0x1f7ff;
    case 0x38:
        return 0xffffffff;
    case 0x3e:
        return 0xb;
    default:
        return 0;
    }
}

static enum hv_err x2apic_read(struct vpc *pc, uint32_t cpu, uint32_t index, uint64_t *value)
{
    if (!vlapic_x2(&pc->lapic[cpu]) || index > 63 || !(readable & BIT(index)))
        return HV_INVALID;
    *value = vlapic_read(pc, cpu, index << 4);
    if (index == X2_ICR)
        *value |= (uint64_t)pc->lapic[cpu].icr_hi << 32;
    return HV_OK;
}

static enum hv_err x2apic_write(struct vpc *pc, uint32_t cpu, uint32_t index, uint64_t value)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (!vlapic_x2(a) || index > 63 || !(writable & BIT(index)) || (value & ~writable_bits(index)))
        return HV_INVALID;
    switch (index) {
    case X2_ICR:
        a->icr_lo = (uint32_t)value;
        a->icr_hi = (uint32_t)(value >> 32);
        vlapic_icr(pc, cpu, a->icr_lo, a->icr_hi, true);
        return HV_OK;
    case X2_SELF_IPI:
        if (value < 16)
            vlapic_error(pc, cpu, cpu, ESR_SEND_ILLEGAL);
        else
            (void)vlapic_deliver(pc, cpu, cpu, (uint32_t)value, false);
        return HV_OK;
    default:
        vlapic_write(pc, cpu, index << 4, (uint32_t)value);
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
