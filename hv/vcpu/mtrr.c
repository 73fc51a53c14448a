/* SPDX-License-Identifier: BSD-2-Clause */
/* PAT and MTRRs as registers with the processor's checks and no effect: without nested paging the
 * guest's RAM is always write-back (hv/mmu/README "Memory types"). Tested by
 * tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/vcpu/rules.h"

#define MTRR_VCNT 8
#define MTRRCAP_FIX BIT(8)
#define MTRRCAP_WC BIT(10)
#define MTRRCAP_VALUE (MTRR_VCNT | MTRRCAP_FIX | MTRRCAP_WC)
#define MTRR_DEF_E BIT(11)
#define MTRR_DEF_FE BIT(10)
#define MTRR_TYPE 0xffu
enum { TYPE_UC, TYPE_WC, TYPE_WT = 4, TYPE_WP, TYPE_WB, TYPE_UC_MINUS /* in PAT only */ };
#define MTRR_DEF_VALID (MTRR_DEF_E | MTRR_DEF_FE | MTRR_TYPE)
#define MTRR_DEF_WB (MTRR_DEF_E | MTRR_DEF_FE | TYPE_WB)
#define MTRR_FIXED_WB 0x0606060606060606ull
#define MTRR_VAR_FIRST MSR_MTRR_PHYS_BASE0
#define MTRR_VAR_LAST (MTRR_VAR_FIRST + 2 * MTRR_VCNT - 1)
#define MTRR_MASK_VALID BIT(11)
#define MTRR_MASK_RESERVED MASK(10, 0)
#define MTRR_BASE_RESERVED MASK(11, 8)
#define PAT_RESET 0x0007040600070406ull
#define PCI_HOLE 0xc0000000ull
#define PCI_HOLE_BYTES 0x40000000ull

static const uint16_t mtrr_fixed_msr[11] = {
    MSR_MTRR_FIX64K_00000,    MSR_MTRR_FIX16K_80000,    MSR_MTRR_FIX16K_A0000,
    MSR_MTRR_FIX4K_C0000,     MSR_MTRR_FIX4K_C0000 + 1, MSR_MTRR_FIX4K_C0000 + 2,
    MSR_MTRR_FIX4K_C0000 + 3, MSR_MTRR_FIX4K_C0000 + 4, MSR_MTRR_FIX4K_C0000 + 5,
    MSR_MTRR_FIX4K_C0000 + 6, MSR_MTRR_FIX4K_F8000};

static bool type_valid(uint64_t type)
{
    return type == TYPE_UC || type == TYPE_WC || type == TYPE_WT || type == TYPE_WP ||
           type == TYPE_WB;
}

static bool bytes_valid(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 64; i += 8) {
        uint64_t type = value >> i & MTRR_TYPE;
        if (!type_valid(type) && !(pat && type == TYPE_UC_MINUS))
            return false;
    }
    return true;
}

static uint64_t *fixed_slot(struct vcpu *v, uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(mtrr_fixed_msr); i++)
        if (mtrr_fixed_msr[i] == msr)
            return &v->mtrr_fixed[i];
    return NULL;
}

/* Does a valid range of type UC reach into range i? There UC wins (SDM volume 3, 12.11.4.1 "MTRR
 * Precedences"). All of range i counts as uncached then. */
static bool uncached_within(const struct vcpu *v, unsigned i)
{
    for (unsigned n = 0; n < MTRR_VCNT; n++) {
        uint64_t base = v->mtrr_var[2 * n], mask = v->mtrr_var[2 * n + 1];
        uint64_t both = mask & v->mtrr_var[2 * i + 1] & ~PAGE_MASK;
        if ((mask & MTRR_MASK_VALID) && (base & MTRR_TYPE) == TYPE_UC &&
            !((base ^ v->mtrr_var[2 * i]) & both))
            return true;
    }
    return false;
}

/* The pager is told what can matter for device memory. */
static void types_tell(struct subvmm *s)
{
    const struct vcpu *v = &s->vcpu;
    struct mmu_types t = {.pat = v->pat};

    _Static_assert(MMU_WC == MTRR_VCNT, "one range each");
    for (unsigned i = 0; i < MTRR_VCNT && (v->mtrr_def & MTRR_DEF_E); i++) {
        uint64_t base = v->mtrr_var[2 * i], mask = v->mtrr_var[2 * i + 1];
        if (!(mask & MTRR_MASK_VALID) || (base & MTRR_TYPE) != TYPE_WC || uncached_within(v, i))
            continue;
        t.mask[i] = mask & ~PAGE_MASK;
        t.base[i] = base & t.mask[i];
    }
    mmu_memory_types(&s->mmu, &t);
}

/* What a firmware leaves: everything write-back, the hole below 4 GiB uncached. */
void mtrr_power_on(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    v->pat = PAT_RESET;
    v->mtrr_def = MTRR_DEF_WB;
    for (unsigned i = 0; i < ARRAY_SIZE(v->mtrr_fixed); i++)
        v->mtrr_fixed[i] = MTRR_FIXED_WB;
    v->mtrr_fixed[2] = 0; /* A0000..BFFFF */
    v->mtrr_var[0] = PCI_HOLE;
    v->mtrr_var[1] = (MASK(v->phys_bits - 1, 0) & ~(PCI_HOLE_BYTES - 1)) | MTRR_MASK_VALID;
    types_tell(s);
}

bool mtrr_read(struct subvmm *s, uint32_t msr, uint64_t *value)
{
    struct vcpu *v = &s->vcpu;
    const uint64_t *fixed = fixed_slot(v, msr);

    if (msr == MSR_MTRRCAP)
        *value = MTRRCAP_VALUE;
    else if (msr == MSR_PAT)
        *value = v->pat;
    else if (msr == MSR_MTRR_DEF)
        *value = v->mtrr_def;
    else if (msr >= MTRR_VAR_FIRST && msr <= MTRR_VAR_LAST)
        *value = v->mtrr_var[msr - MTRR_VAR_FIRST];
    else if (fixed)
        *value = *fixed;
    else
        return false;
    return true;
}

static bool var_valid(const struct vcpu *v, uint32_t msr, uint64_t value)
{
    if (value & MASK(63, v->phys_bits))
        return false;
    if (msr & 1) /* mask: valid bit and address */
        return !(value & MTRR_MASK_RESERVED);
    return type_valid(value & MTRR_TYPE) && !(value & MTRR_BASE_RESERVED);
}

bool mtrr_write(struct subvmm *s, uint32_t msr, uint64_t value)
{
    struct vcpu *v = &s->vcpu;
    uint64_t *fixed = fixed_slot(v, msr);

    if (msr == MSR_PAT) {
        if (!bytes_valid(value, true))
            return false;
        v->pat = value;
    } else if (msr == MSR_MTRR_DEF) {
        if ((value & ~MTRR_DEF_VALID) || !type_valid(value & MTRR_TYPE))
            return false;
        v->mtrr_def = value;
    } else if (msr >= MTRR_VAR_FIRST && msr <= MTRR_VAR_LAST) {
        if (!var_valid(v, msr, value))
            return false;
        v->mtrr_var[msr - MTRR_VAR_FIRST] = value;
    } else if (fixed) {
        if (!bytes_valid(value, false))
            return false;
        *fixed = value;
    } else {
        return false;
    }
    types_tell(s);
    return true;
}
