/* SPDX-License-Identifier: BSD-2-Clause */
/* What CPUID shows: an allow-list per register of each leaf, the topology of the VM, and the
 * hypervisor leaves. What is not listed is zero. Tested by tools/tests/test_exits.c and
 * test_cpuid.c.
 *
 * Leaves without sub-leaves are answered from a table made at power-on (s->cpuid). What it is made
 * of never changes while the VM lives; the two bits that do, OSXSAVE and APIC, are no part of it
 * and put in at each answer. */
#include "arch-x86/defs/x86.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

enum { EAX, EBX, ECX, EDX };

#define MAX_BASIC 0xd
#define MAX_EXTENDED 0x80000008
#define MAX_HV_KVM 0x40000001
#define HV_KVM 0x40000000
#define HV_OWN_BESIDE_KVM 0x40000100

/* Leaf 1 ECX: SSE3 PCLMUL SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND. Not MONITOR, VMX.
 */
#define L1_ECX                                                                                     \
    (BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | BIT(30))
#define L1_ECX_PCID BIT(17)
#define L1_ECX_XSAVE BIT(26)
#define L1_ECX_OSXSAVE BIT(27)
#define L1_ECX_AVX (BIT(12) | BIT(28) | BIT(29)) /* FMA AVX F16C */
#define L1_ECX_X2APIC BIT(21)
#define L1_ECX_DEADLINE BIT(24)
#define L1_ECX_HYPERVISOR BIT(31)
/* Leaf 1 EDX: FPU VME DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE
 * SSE2. */
#define L1_EDX (MASK(8, 0) | BIT(11) | MASK(17, 12) | BIT(19) | MASK(26, 23))
#define L1_EDX_APIC BIT(9)
#define L1_EDX_HTT BIT(28)
/* Leaf 7 EBX: FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA. */
#define L7_EBX                                                                                     \
    (BIT(0) | BIT(3) | BIT(7) | BIT(8) | BIT(9) | BIT(18) | BIT(19) | BIT(20) | BIT(23) |          \
     BIT(24) | BIT(29))
#define L7_EBX_TSC_ADJUST BIT(1)
#define L7_EBX_INVPCID BIT(10)
/* Leaf 7 ECX: UMIP RDPID, GFNI. Not PKU (see xstate.c), LA57, CET_SS. EDX: fast short REP MOV. Not
 * CET_IBT, AMX. */
#define L7_ECX (BIT(2) | BIT(8) | BIT(22))
#define L7_EDX BIT(4)
/* With AVX state, EBX: AVX2. ECX: VAES VPCLMULQDQ. Sub-leaf 1 EAX: AVX_VNNI AVX_IFMA. */
#define L7_EBX_AVX BIT(5)
#define L7_ECX_AVX (BIT(9) | BIT(10))
#define L7_1_EAX_AVX (BIT(4) | BIT(23))
/* With AVX-512 state, EBX: F DQ IFMA CD BW VL. ECX: VBMI VBMI2 VNNI BITALG VPOPCNTDQ. EDX:
 * VP2INTERSECT FP16. Sub-leaf 1 EAX: BF16. */
#define L7_EBX_AVX512 (BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))
#define L7_ECX_AVX512 (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
#define L7_EDX_AVX512 (BIT(8) | BIT(23))
#define L7_1_EAX_AVX512 BIT(5)
/* 80000001 ECX: LAHF CR8 ABM SSE4A MisAlignSse PREFETCHW. Not SVM, IBS, XOP, FMA4, topology,
 * INVLPGB. */
#define X1_ECX (BIT(0) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8))
#define X1_ECX_CMP_LEGACY BIT(1)
/* 80000001 EDX: SYSCALL NX MMXEXT FFXSR 1-GiB pages RDTSCP LM, and the copies of leaf 1. */
#define X1_EDX_OWN (BIT(11) | BIT(20) | BIT(22) | BIT(25) | BIT(26) | BIT(27) | BIT(29))
#define X1_EDX_COPIES (MASK(9, 0) | MASK(17, 12) | BIT(23) | BIT(24))
#define X7_EDX_INVARIANT_TSC BIT(8)
#define L6_EAX_ARAT BIT(2)

/* KVM's feature leaf: clock source by the old and the new MSRs, stable across CPUs. */
#define KVM_CLOCKSOURCE BIT(0)
#define KVM_CLOCKSOURCE2 BIT(3)
#define KVM_PV_EOI BIT(6)
#define KVM_CLOCKSOURCE_STABLE BIT(24)

static uint32_t id_bits(uint32_t ncpus)
{
    uint32_t bits = 0;

    while ((1u << bits) < ncpus)
        bits++;
    return bits;
}

static void leaf_0(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)s;
    (void)subleaf;
    r[EAX] = MAX_BASIC; /* 6, 7, B and D are ours even where the host has none */
}

static bool apic_enabled(const struct subvmm *s)
{
    uint64_t base = 0;

    return vlapic_rdmsr(s->vm->pc, s->cpu, MSR_APIC_BASE, &base) == HV_OK && (base & BIT(11));
}

static bool shows(const struct vcpu *v, uint64_t component)
{
    return v->xcr0_allowed & component;
}

static uint32_t l1_ecx(const struct vcpu *v)
{
    return (uint32_t)L1_ECX | (v->xcr0_allowed ? (uint32_t)L1_ECX_XSAVE : 0) |
           (shows(v, XCR0_AVX) ? (uint32_t)L1_ECX_AVX : 0);
}

static void leaf_1(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    uint32_t n = s->vm->ncpus;

    (void)subleaf;
    r[EBX] = s->cpu << 24 | n << 16 | (r[EBX] & 0xff00);
    r[ECX] = (r[ECX] & l1_ecx(&s->vcpu)) |
             (uint32_t)(L1_ECX_X2APIC | L1_ECX_DEADLINE | L1_ECX_HYPERVISOR);
    r[ECX] |= s->vcpu.pcid ? (uint32_t)L1_ECX_PCID : 0;
    r[EDX] &= (uint32_t)(L1_EDX & ~L1_EDX_APIC);
    if (n > 1)
        r[EDX] |= (uint32_t)L1_EDX_HTT;
}

static void leaf_1_now(struct subvmm *s, uint32_t r[4])
{
    r[ECX] |= s->vcpu.ctl.cr4 & CR4_OSXSAVE ? (uint32_t)L1_ECX_OSXSAVE : 0;
    r[EDX] |= apic_enabled(s) ? (uint32_t)L1_EDX_APIC : 0;
}

static void leaf_6(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)s;
    (void)subleaf;
    memset(r, 0, 4 * sizeof(r[0]));
    r[EAX] = L6_EAX_ARAT;
}

static uint32_t mask_if(bool on, uint64_t bits)
{
    return on ? (uint32_t)bits : 0;
}

static void leaf_7(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    bool avx = shows(&s->vcpu, XCR0_AVX), avx512 = shows(&s->vcpu, XCR0_AVX512);
    uint32_t host[4];

    vcpu_ops->cpuid(0, 0, host);
    if (host[EAX] < 7) {
        memset(r, 0, 4 * sizeof(r[0]));
        memset(host, 0, sizeof(host));
    } else {
        vcpu_ops->cpuid(7, 0, host);
    }
    if (subleaf) {
        uint32_t eax = r[EAX];
        memset(r, 0, 4 * sizeof(r[0]));
        if (subleaf == 1 && host[EAX] >= 1)
            r[EAX] = eax & (mask_if(avx, L7_1_EAX_AVX) | mask_if(avx512, L7_1_EAX_AVX512));
        return;
    }
    r[EAX] = host[EAX] >= 1 ? 1 : 0;
    r[EBX] &= (uint32_t)L7_EBX | mask_if(avx, L7_EBX_AVX) | mask_if(avx512, L7_EBX_AVX512);
    r[EBX] |= (uint32_t)L7_EBX_TSC_ADJUST | mask_if(s->vcpu.invpcid, L7_EBX_INVPCID);
    r[ECX] &= (uint32_t)L7_ECX | mask_if(avx, L7_ECX_AVX) | mask_if(avx512, L7_ECX_AVX512);
    r[EDX] &= (uint32_t)L7_EDX | mask_if(avx512, L7_EDX_AVX512);
}

/* Extended topology: one thread a core, all cores in one package. */
static void leaf_b(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    memset(r, 0, 4 * sizeof(r[0]));
    r[ECX] = subleaf & 0xff;
    r[EDX] = s->cpu;
    if (subleaf == 0) {
        r[EBX] = 1;
        r[ECX] |= 1u << 8;
    } else if (subleaf == 1) {
        r[EAX] = id_bits(s->vm->ncpus);
        r[EBX] = s->vm->ncpus;
        r[ECX] |= 2u << 8;
    }
}

static void leaf_x0(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)s;
    (void)subleaf;
    r[EAX] = MAX_EXTENDED;
}

static void leaf_x1(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)subleaf;
    r[EBX] = 0;
    r[ECX] &= (uint32_t)X1_ECX;
    if (s->vm->ncpus > 1)
        r[ECX] |= (uint32_t)X1_ECX_CMP_LEGACY;
    r[EDX] &= (uint32_t)(X1_EDX_OWN | X1_EDX_COPIES);
}

static void leaf_x1_now(struct subvmm *s, uint32_t r[4])
{
    if (!apic_enabled(s))
        r[EDX] &= (uint32_t)~L1_EDX_APIC;
}

static void leaf_x7(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)s;
    (void)subleaf;
    memset(r, 0, 4 * sizeof(r[0]));
    r[EDX] = port_tsc_constant() ? (uint32_t)X7_EDX_INVARIANT_TSC : 0;
}

static void leaf_x8(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)subleaf;
    r[EAX] = s->vcpu.phys_bits | 48u << 8;
    r[EBX] = 0;
    r[ECX] = (s->vm->ncpus - 1) | id_bits(s->vm->ncpus) << 12;
    r[EDX] = 0;
}

static void leaf_host(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    (void)s;
    (void)subleaf;
    (void)r; /* brand string and cache sizes: the host's as they are */
}

static const struct {
    uint32_t leaf;
    void (*filter)(struct subvmm *s, uint32_t subleaf, uint32_t r[4]);
    bool subleaves; /* the answer is computed each time */
} cpuid_leaves[] = {
    {0, leaf_0, false},
    {1, leaf_1, false},
    {6, leaf_6, false},
    {7, leaf_7, true},
    {0xb, leaf_b, true},
    {0xd, xstate_leaf, true},
    {0x80000000, leaf_x0, false},
    {0x80000001, leaf_x1, false},
    {0x80000002, leaf_host, false},
    {0x80000003, leaf_host, false},
    {0x80000004, leaf_host, false},
    {0x80000005, leaf_host, false},
    {0x80000006, leaf_host, false},
    {0x80000007, leaf_x7, false},
    {0x80000008, leaf_x8, false},
};

static void signature(uint32_t r[4], uint32_t max, const char *text)
{
    r[EAX] = max;
    memcpy(&r[EBX], text, 4);
    memcpy(&r[ECX], text + 4, 4);
    memcpy(&r[EDX], text + 8, 4);
}

static void hypervisor_leaf(const struct subvmm *s, uint32_t leaf, uint32_t r[4])
{
    bool kvm = s->vm->opt->hvsig == HVSIG_KVM;
    uint32_t own = kvm ? HV_OWN_BESIDE_KVM : HV_KVM;

    memset(r, 0, 4 * sizeof(r[0]));
    if (leaf == own)
        signature(r, own, "PatchbayHV__");
    else if (kvm && leaf == HV_KVM)
        signature(r, MAX_HV_KVM, "KVMKVMKVM\0\0");
    else if (kvm && leaf == HV_KVM + 1)
        r[EAX] = (uint32_t)(KVM_CLOCKSOURCE | KVM_CLOCKSOURCE2 |
                            (port_tsc_constant() ? KVM_CLOCKSOURCE_STABLE : 0) |
                            (s->vm->opt->pveoi ? KVM_PV_EOI : 0));
}

/* --- the table --- */

_Static_assert(MAX_BASIC + 1 + (MAX_EXTENDED & 0xff) + 1 == CPUID_TABLE, "a place a leaf");

/* Place of a leaf in the table, CPUID_TABLE or more: it has none. */
static uint32_t place(uint32_t leaf)
{
    if (leaf <= MAX_BASIC)
        return leaf;
    return leaf >= 0x80000000 ? leaf - 0x80000000 + MAX_BASIC + 1 : CPUID_TABLE;
}

static void table_make(struct subvmm *s)
{
    memset(s->cpuid, 0, sizeof(s->cpuid)); /* those that are not listed */
    s->cpuid_computed = 0;
    for (size_t i = 0; i < ARRAY_SIZE(cpuid_leaves); i++) {
        uint32_t at = place(cpuid_leaves[i].leaf), *r = s->cpuid[at];
        if (cpuid_leaves[i].subleaves) {
            s->cpuid_computed |= 1u << at;
            continue;
        }
        vcpu_ops->cpuid(cpuid_leaves[i].leaf, 0, r);
        cpuid_leaves[i].filter(s, 0, r);
    }
}

/* Leaves with sub-leaves, the hypervisor's, and what does not exist. */
static HV_RARE void compute(struct subvmm *s, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    if (leaf >= 0x40000000 && leaf < 0x50000000) {
        hypervisor_leaf(s, leaf, r);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(cpuid_leaves); i++)
        if (cpuid_leaves[i].leaf == leaf && cpuid_leaves[i].subleaves) {
            vcpu_ops->cpuid(leaf, subleaf, r);
            cpuid_leaves[i].filter(s, subleaf, r);
            return;
        }
    memset(r, 0, 4 * sizeof(r[0]));
}

static HV_RARE void put_in_what_changes(struct subvmm *s, uint32_t leaf, uint32_t r[4])
{
    if (leaf == 1)
        leaf_1_now(s, r);
    else
        leaf_x1_now(s, r);
}

void cpuid_answer(struct subvmm *s, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    uint32_t at = place(leaf);

    if (at >= CPUID_TABLE || (s->cpuid_computed >> at & 1)) {
        compute(s, leaf, subleaf, r);
        return;
    }
    memcpy(r, s->cpuid[at], sizeof(s->cpuid[at]));
    if ((leaf & ~0x80000000u) == 1)
        put_in_what_changes(s, leaf, r);
}

void cpuid_power_on(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    uint32_t max[4], l7[4] = {0}, x1[4], x8[4];

    vcpu_ops->cpuid(0, 0, max);
    if (max[EAX] >= 7)
        vcpu_ops->cpuid(7, 0, l7);
    vcpu_ops->cpuid(0x80000001, 0, x1);
    vcpu_ops->cpuid(0x80000008, 0, x8);
    v->cr4_allowed = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
                     CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    v->cr4_allowed |= l7[EBX] & BIT(0) ? CR4_FSGSBASE : 0;
    v->cr4_allowed |= l7[EBX] & BIT(7) ? CR4_SMEP : 0;
    v->cr4_allowed |= l7[EBX] & BIT(20) ? CR4_SMAP : 0;
    v->cr4_allowed |= l7[ECX] & BIT(2) ? CR4_UMIP : 0;
    v->pcid = s->vm->opt->pcid;
    v->invpcid = s->vm->opt->invpcid;
    v->cr4_allowed |= v->pcid ? CR4_PCIDE : 0;
    v->xcr0_allowed = xstate_components();
    v->cr4_allowed |= v->xcr0_allowed ? CR4_OSXSAVE : 0;
    v->efer_allowed = EFER_SCE | EFER_LME;
    v->efer_allowed |= x1[EDX] & BIT(20) ? EFER_NXE : 0;
    v->efer_allowed |= x1[EDX] & BIT(25) ? EFER_FFXSR : 0;
    v->phys_bits = x8[EAX] & 0xff;
    if (v->phys_bits < 36 || v->phys_bits > 52)
        v->phys_bits = 36;
    table_make(s); /* of what was decided above */
}
