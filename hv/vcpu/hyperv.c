/* SPDX-License-Identifier: BSD-2-Clause */
/* Hyper-V's interface as far as systems need it to ask for remote flushes and IPIs by hypercall:
 * CPUID leaves, MSRs, the hypercall page, the reference time. Source: Hypervisor Top Level
 * Functional Specification 6.0b, 2 "Feature and Interface Discovery", 3 "Hypercall Interface", 12
 * "Timers". Tested by tools/tests/test_hyperv.c. */
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/mmu/gmem.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

enum { EAX, EBX, ECX, EDX };

#define LEAF_VENDOR 0x40000000u
#define LEAF_INTERFACE 0x40000001u
#define LEAF_VERSION 0x40000002u
#define LEAF_FEATURES 0x40000003u
#define LEAF_HINTS 0x40000004u
#define LEAF_LIMITS 0x40000005u
#define INTERFACE_HV1 0x31237648u /* "Hv#1" */
#define VERSION_MAJOR_10 (10u << 16)
#define SPIN_NEVER_TELL ~0u

/* Leaf 40000003 EAX, EDX */
#define MAY_REFERENCE_COUNTER BIT(1)
#define MAY_APIC_MSRS BIT(4)
#define MAY_HYPERCALL_MSRS BIT(5)
#define MAY_VP_INDEX BIT(6)
#define MAY_REFERENCE_TSC BIT(9)
#define MAY_FREQUENCY_MSRS BIT(11)
#define MAY_INVARIANT_CONTROL BIT(15)
#define HAS_FREQUENCY_MSRS BIT(8)
/* Leaf 40000004 EAX */
#define HINT_REMOTE_FLUSH BIT(2)
#define HINT_APIC_MSRS BIT(3) /* with them the EOI by the assist page */
#define HINT_CLUSTER_IPI BIT(10)

#define HV_MSR_GUEST_OS_ID 0x40000000u
#define HV_MSR_HYPERCALL 0x40000001u
#define HV_MSR_VP_INDEX 0x40000002u
#define HV_MSR_TIME_REF_COUNT 0x40000020u
#define HV_MSR_REFERENCE_TSC 0x40000021u
#define HV_MSR_TSC_FREQUENCY 0x40000022u
#define HV_MSR_APIC_FREQUENCY 0x40000023u
#define HV_MSR_EOI 0x40000070u
#define HV_MSR_ICR 0x40000071u
#define HV_MSR_TPR 0x40000072u
#define HV_MSR_VP_ASSIST_PAGE 0x40000073u
#define HV_MSR_TSC_INVARIANT 0x40000118u
#define PAGE_ENABLE BIT(0)

#define APIC_TIMER_HZ 1000000000u /* vlapic_timer.c */
#define TICKS_PER_S 10000000u     /* of reference time: 100 ns */

struct reference_tsc { /* 12.7.2 "Partition Reference TSC Mechanism" */
    uint32_t sequence, reserved;
    uint64_t scale;
    int64_t offset;
};

void hyperv_leaf(const struct subvmm *s, uint32_t leaf, uint32_t r[4])
{
    switch (leaf) {
    case LEAF_VENDOR:
        r[EAX] = LEAF_LIMITS;
        memcpy(&r[EBX], "Micr", 4);
        memcpy(&r[ECX], "osof", 4);
        memcpy(&r[EDX], "t Hv", 4);
        break;
    case LEAF_INTERFACE:
        r[EAX] = INTERFACE_HV1;
        break;
    case LEAF_VERSION:
        r[EBX] = VERSION_MAJOR_10;
        break;
    case LEAF_FEATURES:
        r[EAX] = (uint32_t)(MAY_REFERENCE_COUNTER | MAY_HYPERCALL_MSRS | MAY_VP_INDEX |
                            MAY_APIC_MSRS | MAY_REFERENCE_TSC | MAY_FREQUENCY_MSRS |
                            (port_tsc_constant() ? MAY_INVARIANT_CONTROL : 0));
        r[EDX] = (uint32_t)HAS_FREQUENCY_MSRS;
        break;
    case LEAF_HINTS:
        r[EAX] = (uint32_t)((s->vm->opt->pvflush ? HINT_REMOTE_FLUSH : 0) |
                            (s->vm->opt->pvipi ? HINT_CLUSTER_IPI : 0) |
                            (s->vm->opt->pveoi ? HINT_APIC_MSRS : 0));
        r[EBX] = SPIN_NEVER_TELL;
        break;
    case LEAF_LIMITS:
        r[EAX] = r[EBX] = s->vm->ncpus;
        break;
    default:
        break;
    }
}

/* Reference time is (TSC * scale) >> 64: 10 MHz of a clock of tsc_hz. */
static uint64_t reference_scale(void)
{
    uint64_t hz = port_tsc_hz() ? port_tsc_hz() : 1;

    /* 2^64 * 10^7 / hz in steps of 32, 16 and 16 bits, so that no rest outgrows 64; hz > 10^7 */
    uint64_t scale = ((uint64_t)TICKS_PER_S << 32) / hz, rest = ((uint64_t)TICKS_PER_S << 32) % hz;
    for (unsigned i = 0; i < 2; i++) {
        scale = scale << 16 | (rest << 16) / hz;
        rest = (rest << 16) % hz;
    }
    return scale;
}

static uint64_t reference_count(const struct subvmm *s)
{
    uint64_t tsc = port_tsc() + s->vcpu.tsc_adjust, scale = reference_scale();

    return (uint64_t)(((unsigned __int128)tsc * scale) >> 64);
}

bool hyperv_calls(const struct subvmm *s)
{
    return atomic_load_explicit(&s->vm->hv_hypercall, memory_order_relaxed) & PAGE_ENABLE;
}

/* The partition's registers are written by the first CPU at boot; any may read them. */
static bool write_hypercall(struct subvmm *s, uint64_t value)
{
    const uint8_t *call = vcpu_ops->hypercall;
    const uint8_t code[] = {call[0], call[1], call[2], 0xc3}; /* and ret */

    if (!atomic_load_explicit(&s->vm->hv_os_id, memory_order_relaxed))
        value &= ~PAGE_ENABLE; /* 3.13: not before the system has named itself */
    if ((value & PAGE_ENABLE) &&
        gmem_write_gpa(&s->mmu, gpa(value & ~PAGE_MASK), code, sizeof(code)) != HV_OK)
        return false;
    atomic_store_explicit(&s->vm->hv_hypercall, value, memory_order_relaxed);
    return true;
}

static bool write_reference(struct subvmm *s, uint64_t value)
{
    struct reference_tsc page = {.sequence = 1, .scale = reference_scale(), .offset = 0};

    if ((value & PAGE_ENABLE) &&
        gmem_write_gpa(&s->mmu, gpa(value & ~PAGE_MASK), &page, sizeof(page)) != HV_OK)
        return false;
    atomic_store_explicit(&s->vm->hv_reference, value, memory_order_relaxed);
    return true;
}

/* Its first word is KVM's: bit 0 says "no EOI required", and the guest clears it instead (pveoi.c).
 */
static bool write_assist(struct subvmm *s, uint64_t value)
{
    uint32_t none = 0;
    bool on = value & PAGE_ENABLE;

    if (on && gmem_write_gpa(&s->mmu, gpa(value & ~PAGE_MASK), &none, sizeof(none)) != HV_OK)
        return false;
    s->vcpu.hv_assist = value;
    return pveoi_write_msr(s, on && s->vm->opt->pveoi ? (value & ~PAGE_MASK) | PAGE_ENABLE : 0);
}

/* 10.2.3 "EOI Register" and the following. The ICR has the xAPIC's layout. */
static bool write_apic_register(struct subvmm *s, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case HV_MSR_EOI:
        vlapic_eoi(s->vm->pc, s->cpu);
        return true;
    case HV_MSR_ICR:
        s->vcpu.hv_icr = value;
        vlapic_command(s->vm->pc, s->cpu, (uint32_t)value, (uint32_t)(value >> 56));
        return true;
    default:
        vlapic_set_cr8(s->vm->pc, s->cpu, (uint8_t)(value >> 4 & 0xf));
        return !(value & ~0xffull);
    }
}

bool hyperv_read_msr(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    if (s->vm->opt->hvsig != HVSIG_HYPERV)
        return false;
    switch (msr) {
    case HV_MSR_GUEST_OS_ID:
        *value = atomic_load_explicit(&s->vm->hv_os_id, memory_order_relaxed);
        return true;
    case HV_MSR_HYPERCALL:
        *value = atomic_load_explicit(&s->vm->hv_hypercall, memory_order_relaxed);
        return true;
    case HV_MSR_VP_INDEX:
        *value = s->cpu;
        return true;
    case HV_MSR_TIME_REF_COUNT:
        *value = reference_count(s);
        return true;
    case HV_MSR_REFERENCE_TSC:
        *value = atomic_load_explicit(&s->vm->hv_reference, memory_order_relaxed);
        return true;
    case HV_MSR_TSC_FREQUENCY:
        *value = port_tsc_hz();
        return true;
    case HV_MSR_APIC_FREQUENCY:
        *value = APIC_TIMER_HZ;
        return true;
    case HV_MSR_ICR:
        *value = s->vcpu.hv_icr;
        return true;
    case HV_MSR_TPR:
        *value = (uint64_t)vlapic_get_cr8(s->vm->pc, s->cpu) << 4;
        return true;
    case HV_MSR_VP_ASSIST_PAGE:
        *value = s->vcpu.hv_assist;
        return true;
    case HV_MSR_TSC_INVARIANT:
        *value = 1; /* leaf 80000007 tells it anyway */
        return port_tsc_constant();
    default:
        return false;
    }
}

bool hyperv_write_msr(struct subvmm *s, uint32_t msr, uint64_t value)
{
    if (s->vm->opt->hvsig != HVSIG_HYPERV)
        return false;
    switch (msr) {
    case HV_MSR_GUEST_OS_ID:
        atomic_store_explicit(&s->vm->hv_os_id, value, memory_order_relaxed);
        return value || write_hypercall(s, 0);
    case HV_MSR_HYPERCALL:
        return write_hypercall(s, value);
    case HV_MSR_REFERENCE_TSC:
        return write_reference(s, value);
    case HV_MSR_EOI:
    case HV_MSR_ICR:
    case HV_MSR_TPR:
        return write_apic_register(s, msr, value);
    case HV_MSR_VP_ASSIST_PAGE:
        return write_assist(s, value);
    case HV_MSR_TSC_INVARIANT:
        return port_tsc_constant() && value <= 1;
    default:
        return false;
    }
}
