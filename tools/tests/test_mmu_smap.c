/* SPDX-License-Identifier: BSD-2-Clause */
/* CR4.SMEP and SMAP against what was mapped before them, and SMAP while CR0.WP is clear: a store by
 * the supervisor to a user's read-only page must not let later accesses pass that SMAP forbids. */
#include "tools/tests/mmu_rig.h"

#define USER (PTE_P | PTE_U | PTE_A)

static void mode(uint64_t cr0_wp, uint64_t cr4)
{
    regs[0].cr0 = CR0_PE | CR0_PG | cr0_wp;
    regs[0].cr4 = CR4_PAE | CR4_PGE | cr4;
    mmu_event_mode(&mmu[0], &regs[0]);
}

static enum mmu_verdict access_ac(uint64_t va, uint32_t access, bool ac)
{
    struct mmu_root r;
    mmu_enter(&mmu[0], &r);
    mmu_entered(&mmu[0], &r);
    memset(&out, 0, sizeof(out));
    enum mmu_verdict v = mmu_fault(&mmu[0], gva(va), access, ac, &out);
    (void)mmu_serve(&mmu[0]); /* each is an exit */
    return v;
}

static bool flushes(void)
{
    struct mmu_root r;
    mmu_enter(&mmu[0], &r);
    mmu_entered(&mmu[0], &r);
    return r.flush;
}

static void test_flush(uint64_t bit, const char *name)
{
    rig_up("", 128);
    (void)fault(0, 0, PFEC_U);
    (void)flushes();
    tap_ok(!flushes(), "%s: nothing to flush", name);
    mode(CR0_WP, bit);
    tap_ok(flushes(), "%s 0 -> 1: the root stays, its ASID is flushed", name);
    tap_ok(!flushes(), "... once");
    mode(CR0_WP, 0);
    tap_ok(flushes(), "%s 1 -> 0 too", name);
    mode(CR0_WP, CR4_PSE);
    (void)flushes();
    tap_eq(stat_of(0, STAT_root_misses), 1, "it was the same root all the time");
}

/* A user's read-only page; `large`: of 2 MiB. */
static void test_wp0(const char *options, bool large)
{
    const uint64_t va = large ? REGION_SIZE : 0;
    rig_up(options, 128);
    if (large)
        *entry(PD, 1) = 1024ull << 12 | USER | PTE_PS;
    else
        *entry(PT, 0) = 512ull << 12 | USER;
    mode(0, CR4_SMAP);
    tap_eq(access_ac(va, PFEC_W, true), MMU_EMULATE, "WP=0, SMAP, AC=1: the store is emulated");
    tap_eq(out.gpa.v, (large ? 1024ull : 512ull) << 12, "... where the entry says");
    tap_eq(access_ac(va, 0, false), MMU_FORWARD, "a load with AC=0 faults");
    tap_eq(out.fault.pfec, PFEC_P, "... for SMAP");
    tap_eq(access_ac(va, PFEC_W, false), MMU_FORWARD, "a store with AC=0 too");
    tap_eq(access_ac(va, 0, true), MMU_RESUME, "a load with AC=1 passes");
    tap_eq(leaf(0, va) & (PTE_U | PTE_W), PTE_U, "... by a spte that SMAP applies to");

    (void)access_ac(va, PFEC_W, true);
    mmu_write_fallback(&mmu[0], gva(va), out.gpa);
    tap_eq(access_ac(va, PFEC_W, true), MMU_RESUME, "a store that is not emulated has its spte");
    tap_eq(leaf(0, va) & (PTE_U | PTE_W), PTE_W, "... for one entry");
    (void)mmu_serve(&mmu[0]);
    tap_ok(!(leaf(0, va) & PTE_P), "... and not after the next exit");
    tap_eq(access_ac(va, 0, false), MMU_FORWARD, "a load with AC=0 faults again");
    tap_eq(access_ac(va, PFEC_U, false), MMU_RESUME, "the user reads it");
}

/* What was made while SMAP was clear. */
static void test_later(const char *options)
{
    rig_up(options, 128);
    *entry(PT, 0) = 512ull << 12 | USER;
    mode(0, 0);
    tap_eq(access_ac(0, PFEC_W, false), MMU_RESUME, "WP=0 without SMAP: the store has a spte");
    tap_eq(leaf(0, 0) & (PTE_U | PTE_W), PTE_W, "... of the supervisor's");
    mode(0, CR4_SMAP);
    tap_ok(!(leaf(0, 0) & PTE_P), "which is not there any more when SMAP is set");
    tap_eq(access_ac(0, 0, false), MMU_FORWARD, "a load with AC=0 faults");
}

/* One entry, in which an instruction that is not emulated stores to both pages; as the loop does
 * it.
 */
static bool stores_both(uint64_t va)
{
    struct mmu_root r;
    (void)mmu_serve(&mmu[0]);
    for (unsigned i = 0; i < 2; i++, va += PAGE_SIZE) {
        if ((leaf(0, va) & (PTE_U | PTE_W)) == PTE_W)
            continue;
        mmu_enter(&mmu[0], &r);
        mmu_entered(&mmu[0], &r);
        memset(&out, 0, sizeof(out));
        if (mmu_fault(&mmu[0], gva(va), PFEC_W, true, &out) == MMU_EMULATE)
            mmu_write_fallback(&mmu[0], gva(va), out.gpa);
        return false;
    }
    return true;
}

static void test_border(const char *options, bool traced)
{
    unsigned tries = 0;

    rig_up(options, 128);
    for (unsigned i = 0; i < 3; i++)
        *entry(PT, i) = (512ull + i) << 12 | USER;
    if (traced) /* the first one is a table as well, which maps the page at 2 MiB */
        *entry(PD, 1) = 512ull << 12 | ALL;
    *entry(512, 0) = 600ull << 12 | ALL;
    mode(0, CR4_SMAP);
    if (traced)
        (void)access_ac(REGION_SIZE, PFEC_U, false);
    while (tries < 20 && !stores_both(0))
        tries++;
    tap_ok(tries < 20, "a store over the border of two such pages is done after %u faults", tries);
    tap_eq(access_ac(2 * PAGE_SIZE, PFEC_W, true), MMU_EMULATE, "a third page is not part of it");
    (void)mmu_serve(&mmu[0]);
    tap_ok(!(leaf(0, 0) & PTE_P) && !(leaf(0, PAGE_SIZE) & PTE_P), "both go at the next exit");
    (void)access_ac(0, PFEC_W, true);
    mmu_write_fallback(&mmu[0], gva(0), out.gpa);
    tap_eq(access_ac(0, PFEC_W, true), MMU_RESUME, "one page");
    tap_eq(access_ac(2 * PAGE_SIZE, PFEC_W, true), MMU_EMULATE,
           "... lets none but the next have it");
}

int main(void)
{
    test_border("", false);
    test_border("", true);
    test_border("mmu=ref", false);
    test_flush(CR4_SMEP, "SMEP");
    test_flush(CR4_SMAP, "SMAP");
    test_wp0("", false);
    test_wp0("", true);
    test_wp0("large=off batch=off", true);
    test_wp0("mmu=ref", false);
    test_later("");
    test_later("mmu=ref");
    return tap_done();
}
