/* SPDX-License-Identifier: BSD-2-Clause */
/* Directed tests of the pager: fills, splits, repairs, hot tables, reclaim, roots, the audit. What
 * random programs do with it on several CPUs is the simulator's (sim_main.c). */
#include "tools/tests/mmu_rig.h"

#define VA(table, i) ((uint64_t)(table) << 21 | (uint64_t)(i) << 12)

static void test_fill(void)
{
    unsigned level;
    rig_up("batch=off", 128);
    tap_eq(leaf(0, VA(0, 3)), 0, "nothing is mapped before the first fault");
    tap_eq(fault(0, VA(0, 3), PFEC_U), MMU_RESUME, "a read is solved");
    tap_eq(leaf(0, VA(0, 3)), host_of(515) | PTE_P | PTE_U | PTE_A, "read-only while D is 0");
    tap_ok((*entry(ROOT, 0) & *entry(PDPT, 0) & *entry(PD, 0) & *entry(PT, 3) & PTE_A) &&
               !(*entry(PT, 3) & PTE_D),
           "A is set at every level, D is not");
    tap_eq(fault(0, VA(0, 3), PFEC_W), MMU_RESUME, "a write is solved");
    tap_ok((leaf(0, VA(0, 3)) & PTE_W) && (*entry(PT, 3) & PTE_D), "writable with the guest's D");
    tap_eq(leaf(0, VA(0, 4)), 0, "batch=off fills no neighbour");
    rig_up("", 128);
    *entry(PT, 4) |= PTE_A;
    *entry(PT, 5) |= PTE_A | PTE_D;
    tap_eq(fault(0, VA(0, 3), 0), MMU_RESUME, "batch=on");
    tap_ok(leaf(0, VA(0, 4)) && (leaf(0, VA(0, 5)) & PTE_W) && !leaf(0, VA(0, 6)),
           "neighbours with A come along, those without do not");
    *entry(PD, 2) = 1ull << 21 | ALL | PTE_PS;
    tap_eq(fault(0, VA(2, 5), PFEC_W), MMU_RESUME, "a large page");
    tap_ok((spte_of(0, VA(2, 7), &level) & (PTE_W | PTE_PS)) == (PTE_W | PTE_PS) && level == 2,
           "2 MiB spte");
    tap_ok(region_word(&coh[0], gfn(512)) & BIT(0), "its region has a writer");
    put(1, 512 + 100, 0, 700ull << 12 | ALL); /* CPU 1 uses a table inside it */
    *entry(PD, 3) = (512ull + 100) << 12 | ALL;
    tap_eq(fault(1, VA(3, 0), 0), MMU_RESUME, "another CPU registers a table inside");
    tap_ok(!leaf(0, VA(2, 7)) && stat_of(0, STAT_split_large) == 1, "the 2 MiB spte is gone");
    tap_eq(fault(0, VA(2, 5), PFEC_W), MMU_RESUME, "refilled");
    (void)spte_of(0, VA(2, 5), &level);
    tap_eq(level, 1, "in small pieces");
    tap_eq(fault(0, VA(2, 100), PFEC_W), MMU_EMULATE, "the table inside is not writable");
}

static void test_repair(void)
{
    rig_up("batch=off", 128);
    (void)fault(0, VA(0, 1), PFEC_W | PFEC_U);
    uint64_t d = mmu[0].downgrades;
    put(1, PT, 1, 600ull << 12 | ALL | PTE_A | PTE_D);
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(513), "a posted patch waits for the event");
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_eq(leaf(0, VA(0, 1)) & (PTE_ADDR | PTE_W), host_of(600) | PTE_W, "INVLPG applies it");
    tap_ok(mmu[0].downgrades > d, "and schedules a flush");
    put(1, PT, 1, 600ull << 12 | PTE_P | PTE_W | PTE_A | PTE_D);
    mmu_event_flush(&mmu[0]);
    tap_ok(!(leaf(0, VA(0, 1)) & PTE_U), "a right taken away");
    d = mmu[0].downgrades;
    put(1, PT, 1, 600ull << 12 | ALL | PTE_A | PTE_D);
    mmu_event_flush(&mmu[0]);
    tap_ok((leaf(0, VA(0, 1)) & PTE_U) && mmu[0].downgrades > d,
           "U given flushes too: SMEP and SMAP see it");
    put(1, PT, 1, 600ull << 12 | ALL);
    mmu_event_flush(&mmu[0]);
    tap_eq(leaf(0, VA(0, 1)), 0, "an entry without A is dropped");
    (void)fault(0, VA(0, 1), 0);
    put(1, PD, 0, (PT + 1) << 12 | ALL | PTE_A);
    mmu_event_invlpg(&mmu[0], gva(VA(1, 1)));
    tap_eq(leaf(0, VA(0, 1)), 0, "an upper entry goes at any INVLPG");
    (void)fault(0, VA(0, 1), 0);
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(512 + 17), "the other table");
    put(1, PT + 1, 2, 0x3000ull << 12 | ALL | PTE_A);
    *entry(PT + 1, 3) |= PTE_A;
    (void)fault(0, VA(0, 3), 0);
    put(1, PT + 1, 3, 0x3000ull << 12 | ALL | PTE_A);
    mmu_event_flush(&mmu[0]);
    tap_eq(leaf(0, VA(0, 3)), 0, "an entry that leaves RAM is dropped");
    tap_eq(fault(0, VA(0, 2), PFEC_W), MMU_MMIO, "no RAM: the device bus");
    *entry(PD, 4) = 1ull << 21 | ALL | PTE_PS;
    (void)fault(0, VA(4, 0), PFEC_W);
    put(1, PD, 4, 1ull << 21 | PTE_P | PTE_U | PTE_PS | PTE_A | PTE_D);
    mmu_event_flush(&mmu[0]);
    tap_ok((leaf(0, VA(4, 0)) & (PTE_P | PTE_W)) == PTE_P, "a large page loses W in place");
    put(1, PD, 4, 0x6000ull << 12 | ALL | PTE_PS | PTE_A);
    mmu_event_flush(&mmu[0]);
    tap_eq(leaf(0, VA(4, 0)), 0, "and is dropped with another frame");
}

/* The tables are mapped by PT + 1 from entry 20 on: a store to a table that CPU 0 consumes. */
static void map_tables(void)
{
    *entry(PT + 1, 20) = PT << 12 | ALL;
    *entry(PT + 1, 21) = PD << 12 | ALL;
}

static void test_unsync(void)
{
    rig_up("batch=off upper=off", 128);
    map_tables();
    (void)fault(0, VA(0, 1), PFEC_W);
    (void)fault(1, VA(0, 1), PFEC_W);
    tap_eq(fault(0, VA(1, 20), PFEC_W), MMU_EMULATE, "the first store to a table is emulated");
    tap_eq(out.gpa.v, PT << 12, "and says where");
    tap_eq(fault(0, VA(1, 20), PFEC_W), MMU_RESUME, "the second makes the leaf table unsync");
    tap_ok((leaf(0, VA(1, 20)) & PTE_W) && (trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC),
           "it is writable now");
    *entry(PT, 1) = 601ull << 12 | ALL | PTE_A | PTE_D; /* without an exit */
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(601), "the writer re-reads at its event");
    mmu_event_invlpg(&mmu[1], gva(VA(0, 1)));
    tap_eq(leaf(1, VA(0, 1)) & PTE_ADDR, host_of(601), "the other CPU at its own");
    fake_set_cpu(0);
    mmu_event_flush(&mmu[0]);
    tap_ok(!(leaf(0, VA(1, 20)) & PTE_W) && !(trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC),
           "a full flush of the writer ends it");
    for (unsigned i = 0; i < 5; i++)
        tap_eq(fault(0, VA(1, 21), PFEC_W), MMU_EMULATE, "an upper table is emulated");
    tap_eq(fault(0, VA(1, 21), PFEC_W), MMU_RESUME, "and given up at last");
    *entry(PD, 0) = 0;
    mmu_event_invlpg(&mmu[0], gva(0));
    tap_ok(!leaf(0, VA(0, 1)) && stat_of(0, STAT_zaps) > 0, "its shadow is dropped at the event");
    rig_up("unsync=off", 128);
    map_tables();
    (void)fault(0, VA(0, 1), PFEC_W);
    for (unsigned i = 0; i < 12; i++)
        tap_eq(fault(0, VA(1, 20), PFEC_W), MMU_EMULATE, "unsync=off emulates every store");
    mmu_write_fallback(&mmu[0], gva(VA(1, 20)), gpa(PT << 12));
    tap_eq(fault(0, VA(1, 20), PFEC_W), MMU_RESUME, "what cannot be emulated is let through");
    *entry(PT, 1) = 0;
    mmu_event_flush(&mmu[0]);
    tap_eq(leaf(0, VA(0, 1)), 0, "and noticed at the event");
    rig_up("unsync=off", 128);
    (void)fault(1, VA(0, 1), PFEC_W);
    give_up(0, PT);
    tap_eq(stat_of(0, STAT_unsync_in), 0, "nor is one that others alone have counted as unsync");
}

static void test_reclaim(void)
{
    unsigned found = 0;
    rig_up("batch=off audit=3", MMU_POOL_FLOOR);
    for (unsigned t = 0; t < 400; t++) {
        *entry(200 + t / 2, t % 2) = 600ull << 12 | ALL;
        *entry(PD, t) = (200ull + t / 2) << 12 | ALL;
    }
    for (unsigned t = 0; t < 400; t++) {
        tap_ok(fault(0, VA(t, t % 2), PFEC_W) == MMU_RESUME && leaf(0, VA(t, t % 2)),
               "table %u of more than the pool holds", t);
        found += mmu_audit(&mmu[0], 3);
        if (t % 7 == 0) { /* the same tables in another mode: other shadow pages */
            regs[0].efer ^= EFER_NXE;
            mmu_event_mode(&mmu[0], &regs[0]);
            found += fault(0, VA(t, t % 2), 0) != MMU_RESUME || mmu_audit(&mmu[0], 3);
        }
    }
    tap_ok(!found, "every shadow page stays registered");
    tap_ok(stat_of(0, STAT_reclaims) > 100, "%llu pages reclaimed",
           (unsigned long long)stat_of(0, STAT_reclaims));
}

/* One instruction of the guest may need several pages at once: however the pool was used before,
 * their tables find room in it together. */
static void test_reclaim_keeps_what_is_used(void)
{
    unsigned missing = 0;
    rig_up("batch=off", MMU_POOL_FLOOR);
    for (uint64_t k = 1; k <= 25; k++) { /* upper tables of addresses used once */
        uint64_t table = 400 + 3 * k;
        *entry(ROOT, (unsigned)k) = table << 12 | ALL;
        *entry(table, 0) = (table + 1) << 12 | ALL;
        *entry(table + 1, 0) = (table + 2) << 12 | ALL;
        *entry(table + 2, 0) = 600ull << 12 | ALL;
        missing += fault(0, k << 39, 0) != MMU_RESUME;
    }
    for (unsigned t = 1; t <= MMU_POOL_FLOOR - 8; t++) {
        *entry(200 + t, 0) = 600ull << 12 | ALL;
        *entry(PD, t) = (200ull + t) << 12 | ALL;
        missing += fault(0, VA(t, 0), 0) != MMU_RESUME;
    }
    for (unsigned t = 1; t <= MMU_POOL_FLOOR - 8; t++)
        missing += leaf(0, VA(t, 0)) == 0;
    tap_eq(missing, 0, "what is used now is mapped together, what was used once makes room");
}

static void test_roots(void)
{
    struct mmu_root r;
    rig_up("", 128);
    for (uint64_t k = 0; k < 9; k++)
        *entry(100 + k, 0) = PDPT << 12 | ALL;
    for (uint64_t k = 0; k < 9; k++) {
        mmu_event_cr3(&mmu[0], (100 + k) << 12, false);
        tap_eq(fault(0, VA(0, 1), 0), MMU_RESUME, "a new root");
        mmu_enter(&mmu[0], &r);
        tap_ok(r.asid >= 1 && r.asid <= 5, "an ASID of its own");
        mmu_entered(&mmu[0], &r);
    }
    tap_ok(stat_of(0, STAT_asid_recycles) == 4, "more roots than ASIDs: the oldest go");
    uint64_t hits = stat_of(0, STAT_root_hits);
    mmu_event_cr3(&mmu[0], 107ull << 12, false);
    tap_ok(leaf(0, VA(0, 1)) && stat_of(0, STAT_root_hits) > hits,
           "a retained root keeps its work");
    put(1, PT, 1, 0);
    mmu_event_cr3(&mmu[0], 108ull << 12, false);
    mmu_event_cr3(&mmu[0], 107ull << 12, true);
    tap_eq(leaf(0, VA(0, 1)), 0, "a change reaches every retained root");
    regs[0].cr3 = 0x3000ull << 12;
    mmu_event_cr3(&mmu[0], regs[0].cr3, false);
    tap_ok(forwarded(0, VA(0, 1), 0, PFEC_P | PFEC_RSVD), "CR3 outside RAM: reserved bits");
    mmu_idle(&mmu[0], true);
    tap_eq(mmu[0].nfree, mmu[0].npages, "a parked CPU keeps nothing");
    tap_eq(trace_word(&coh[0], gfn(PT)), 0, "and is registered nowhere");
}

/* A table cleared by another CPU while it still has a shadow here is linked again. */
static void test_new_link(void)
{
    rig_up("batch=off", 128);
    (void)fault(0, VA(0, 1), 0);
    *entry(PD, 5) = 0;
    put(1, PT, 1, 0);
    *entry(PD, 5) = PT << 12 | ALL;
    coh[0].serve = NULL;
    struct walk w;
    tap_eq(walk_guest(&mmu[0], gva(VA(5, 2)), 0, &w), HV_OK, "a walk with a patch pending");
    tap_eq(leaf(0, VA(5, 1)), 0, "the new link offers no older entry");
}

static void test_audit(void)
{
    uint32_t page;
    unsigned idx = 1;
    rig_up("batch=off", 128);
    (void)fault(0, VA(0, 1), PFEC_W);
    tap_eq(mmu_audit(&mmu[0], 1) + mmu_audit(&mmu[0], 3), 0, "the audit is quiet");
    page = sp_first(&mmu[0], gfn(PT));
    uint64_t *e = sp_spte(&mmu[0], page, idx), good = *e;
    *e = (good & ~PTE_ADDR) | host_of(900);
    tap_eq(mmu_audit(&mmu[0], 3), 2, "another frame, and no writer bit for it");
    *e = good;
    *entry(PT, 1) &= ~PTE_W;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a right the entry does not grant");
    *entry(PT, 1) = (*entry(PT, 1) | PTE_W) & ~PTE_U;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a user right");
    *entry(PT, 1) |= PTE_U | PTE_NX;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a fetch right");
    *entry(PT, 1) &= ~(PTE_NX | PTE_A);
    tap_eq(mmu_audit(&mmu[0], 3), 1, "an entry without A");
    *entry(PT, 1) |= PTE_A;
    *e = good & ~PTE_P;
    tap_ok(mmu_audit(&mmu[0], 3) >= 1, "a not-present spte with bits");
    *e = good | PTE_PS;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "4 KiB that the reverse map takes for 2 MiB");
    *e = good;
    mmu[0].sps[page].npresent++;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a wrong count");
    mmu[0].sps[page].npresent--;
    (void)trace_clear_writer(&coh[0], gfn(513));
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a writable spte without a writer bit");
    (void)trace_enter_unsync(&coh[0], gfn(513));
    trace_drop(&coh[0], gfn(PT));
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a shadow page without registration");
    tap_ok(stat_of(0, STAT_audit_findings) >= 9 && strstr(fake_console(), "patchbay-audit"),
           "findings are counted and logged");
    rig_up("batch=off", 128);
    (void)fault(0, VA(0, 1), 0);
    page = sp_first(&mmu[0], gfn(PD));
    *entry(PD, 0) = (PT + 1) << 12 | ALL | PTE_A;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a link to another table");
    *entry(PD, 0) = 1ull << 21 | ALL | PTE_A | PTE_PS;
    tap_eq(mmu_audit(&mmu[0], 3), 1, "a link where the entry maps a large page");
    put(1, PD, 0, 0);
    tap_eq(mmu_audit(&mmu[0], 3), 0, "a posted patch explains it");
}

static void test_limits(void)
{
    rig_up("", 128);
    struct mmu_config cfg = rig_config(0, 128);
    static struct mmu m;
    cfg.pool_bytes = 4096;
    tap_eq(mmu_init(&m, &cfg), HV_NOMEM, "a pool smaller than its tables");
    cfg.pool_bytes = (MMU_POOL_FLOOR - 20ull) * 6400;
    tap_eq(mmu_init(&m, &cfg), HV_NOMEM, "a pool below the floor");
    cfg = rig_config(0, 128);
    cfg.nasids = 1;
    tap_eq(mmu_init(&m, &cfg), HV_RANGE, "no ASID");
    tap_eq(mmu_sizeof(), sizeof(struct mmu), "its size for embedding");
}

int main(void)
{
    fake_reset();
    test_fill();
    test_repair();
    test_unsync();
    test_reclaim();
    test_reclaim_keeps_what_is_used();
    test_roots();
    test_new_link();
    test_audit();
    test_limits();
    rig_down();
    return tap_done();
}
