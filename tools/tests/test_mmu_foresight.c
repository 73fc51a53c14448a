/* SPDX-License-Identifier: BSD-2-Clause */
/* Directed tests of what hv/mmu does because of what a guest will do next: a new leaf table goes
 * without exits from its first use, a dying address space is given up as a whole. */
#include "tools/tests/mmu_kernel.h"

static uint64_t word(uint64_t f)
{
    return trace_word(&coh[0], gfn(f));
}
static bool writable(uint64_t f)
{
    return (spte_at(0, WINDOW(f - ROOT)) & PTE_W) != 0;
}

/* --- fresh --- */

/* CPU 0 writes the frame of a table and then has it as a table. */
static void make_table(const char *options)
{
    kernel_up(options);
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    (void)fault(0, VA(0, 1), 0);
}

static void test_fresh(void)
{
    make_table("");
    tap_ok(word(PT) == (TRACE_TRACED | TRACE_UNSYNC | TRACE_WRITER(0) | TRACE_CONSUMER(0)),
           "a table that only this CPU writes is unsync from its first use");
    tap_ok(writable(PT), "... and still writable");
    tap_eq(stat_of(0, STAT_fresh), 1, "... and counted");
    *entry(PT, 1) = 0; /* as the guest's store, without an exit */
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_ok(!(spte_at(0, gva(VA(0, 1))) & PTE_P), "what is stored is seen at the next INVLPG");
    *entry(PT, 2) = 0;
    mmu_event_cr3(&mmu[0], ROOT << 12, false);
    tap_ok(!(spte_at(0, gva(VA(0, 2))) & PTE_P), "... and at a flush");
    make_table("");
    (void)fault(1, VA(0, 1), 0);
    mmu_event_cr3(&mmu[0], ROOT << 12, false);
    tap_ok(!(word(PT) & (TRACE_UNSYNC | TRACE_WRITER(0))) && !writable(PT),
           "left at the next flush when another CPU reads it");
    make_table("");
    put(0, PD, 0, 0);
    mmu_event_cr3(&mmu[0], ROOT << 12, false);
    tap_ok(word(PT) == TRACE_WRITER(0) && writable(PT), "no table any more: an ordinary page");
}

static void test_not_fresh(void)
{
    make_table("fresh=off");
    tap_ok(!(word(PT) & TRACE_UNSYNC) && !writable(PT), "not with fresh=off");
    make_table("unsync=off");
    tap_ok(!(word(PT) & TRACE_UNSYNC) && !writable(PT), "not with unsync=off");
    kernel_up("");
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    (void)fault(1, WINDOW(PT - ROOT).v, PFEC_W);
    (void)fault(0, VA(0, 1), 0);
    tap_ok(!(word(PT) & TRACE_UNSYNC) && !trace_writers(word(PT)),
           "not where another CPU can write it: all are asked");
    kernel_up("");
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    (void)fault(0, VA(0, 1), 0);
    tap_ok((word(PD) & TRACE_TRACED) && !(word(PD) & TRACE_UNSYNC), "not a table of tables");
    make_table("");
    (void)fault(1, WINDOW(PT - ROOT).v, PFEC_W);
    tap_ok((word(PT) & TRACE_WRITER(1)) && consumer_pending(&coh[0]),
           "who maps it writable later posts WHOLE");
}

/* A table that is one of tables as well: a guest that maps its tables by themselves. It goes back
 * to being trapped, or all above it would be made anew at each event. */
static void test_fresh_self_map(void)
{
    uint64_t zaps;

    kernel_up("");
    *entry(ROOT, 9) = ROOT << 12 | ALL;
    const uint64_t pd_as_table = 9ull << 39 | 9ull << 30; /* table: PDPT; page 0: PD */
    (void)fault(0, WINDOW(PDPT - ROOT).v, PFEC_W);
    (void)fault(0, pd_as_table, 0);
    tap_ok(word(PDPT) & TRACE_UNSYNC, "a table of tables, walked as a leaf table first: fresh");
    (void)fault(0, VA(0, 1), 0);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_ok(!(word(PDPT) & TRACE_UNSYNC), "left at the next event of any kind");
    (void)fault(0, VA(0, 1), 0);
    zaps = stat_of(0, STAT_zaps);
    for (unsigned i = 0; i < 4; i++) {
        mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
        (void)fault(0, VA(0, 1), 0);
    }
    tap_eq(stat_of(0, STAT_zaps), zaps, "and nothing is made anew after that");
}

/* The next life of a frame that stayed unsync for others' sake begins without that history. */
static void test_fresh_lives(void)
{
    unsigned flushes = 0;

    for (unsigned life = 0; life < 5; life++) {
        if (life == 0)
            make_table("");
        *entry(PD, 0) = PT << 12 | ALL;
        (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
        (void)fault(0, VA(0, 1), 0);
        (void)fault(1, VA(0, 1), 0);
        for (flushes = 0; (word(PT) & TRACE_UNSYNC) && flushes < 100; flushes++) {
            *entry(PT, 1) = (610ull + flushes) << 12 | ALL | PTE_A;
            mmu_event_cr3(&mmu[0], ROOT << 12, false);
            mmu_event_cr3(&mmu[1], ROOT << 12, false);
        }
        for (unsigned c = 0; c < 2; c++)
            put(c, PD, 0, 0);
        mmu_event_cr3(&mmu[0], ROOT << 12, false);
        mmu_event_cr3(&mmu[1], ROOT << 12, false);
    }
    tap_eq(flushes, 1, "each life of a frame is left at its first flush");
}

/* --- stay --- */

/* A directory that is given up again and again costs both CPUs no more each time. */
static void test_stay_upper(void)
{
    unsigned flushes = 0;

    kernel_up("");
    for (unsigned turn = 0; turn < 6; turn++) {
        (void)fault(0, VA(0, 1), 0);
        (void)fault(1, VA(0, 1), 0);
        for (unsigned n = 0; !(word(PD) & TRACE_UNSYNC) && n < 20; n++)
            (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
        for (flushes = 0; (word(PD) & TRACE_UNSYNC) && flushes < 100; flushes++)
            for (unsigned c = 0; c < 2; c++) {
                mmu_event_cr3(&mmu[c], ROOT << 12, false);
                (void)fault(c, VA(0, 1), 0);
            }
    }
    tap_ok(flushes <= 2, "a directory is left after %u flushes however often it comes back",
           flushes);
}

/* A table that two CPUs read and one writes again and again is left ever later. */
static void test_stay(void)
{
    unsigned flushes = 0, first = 0, stores = 0;

    kernel_up("fresh=off");
    for (unsigned turn = 0; turn < 6; turn++) {
        (void)fault(0, VA(0, 1), 0);
        (void)fault(1, VA(0, 1), 0);
        for (stores = 0; !(word(PT) & TRACE_UNSYNC) && stores < 10; stores++)
            if (fault(0, WINDOW(PT - ROOT).v, PFEC_W) == MMU_EMULATE)
                put(0, PT, 1, (600ull + turn) << 12 | ALL | PTE_A);
        for (flushes = 0; (word(PT) & TRACE_UNSYNC) && flushes < 100; flushes++) {
            *entry(PT, 1) = (610ull + (flushes & 7)) << 12 | ALL | PTE_A;
            mmu_event_cr3(&mmu[0], ROOT << 12, false);
            mmu_event_cr3(&mmu[1], ROOT << 12, false);
        }
        if (turn == 0)
            first = flushes;
    }
    tap_eq(first, 1, "at first at the next flush");
    tap_ok(flushes > 8 && flushes < 40, "then after %u", flushes);
    tap_eq(stores, 1, "and given up at the first store");
}

/* --- dying --- */

static void clear_leaves(bool all)
{
    for (unsigned i = 0; i < 16; i++) {
        put(0, PT, i, 0);
        if (all || i != 1)
            put(0, PT + 1, i, 0);
    }
}

static void live(const char *options)
{
    kernel_up(options);
    for (unsigned c = 0; c < 2; c++) {
        (void)fault(c, VA(0, 1), PFEC_U);
        (void)fault(c, VA(1, 1), PFEC_U);
    }
}

static void test_dying(void)
{
    live("");
    (void)fault(0, WINDOW(PD - ROOT).v, 0);
    clear_leaves(true);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_RESUME, "no page left: given up");
    tap_eq(stat_of(0, STAT_dying), 1, "... and counted");
    tap_ok(writable(PD) && writable(PDPT) && writable(ROOT), "all tables above are writable");
    tap_ok((word(PD) & word(PDPT) & word(ROOT)) & TRACE_UNSYNC, "... and unsync");
    tap_ok(!(word(PDPT_K) & TRACE_UNSYNC) && !(word(PD_K) & TRACE_UNSYNC), "the kernel's are not");
    *entry(PD, 0) = *entry(PD, 1) = *entry(PDPT, 0) = *entry(ROOT, 0) = 0;
    for (unsigned c = 0; c < 2; c++) {
        if (c == 0)
            mmu_event_cr3(&mmu[c], ROOT2 << 12, false);
        else
            mmu_idle(&mmu[c], false);
        tap_ok(!((word(ROOT) | word(PDPT) | word(PD)) & TRACE_CONSUMER(c)),
               "CPU %u has none of them after its next %s", c, c ? "idling" : "event");
    }
    tap_ok(!((word(ROOT) | word(PDPT) | word(PD)) & TRACE_TRACED), "nor has anybody");
}

/* A space that only CPU 0 has, with a page of each kind; `away`: in another one's tables. */
static enum mmu_verdict die_alone(bool away)
{
    kernel_up("");
    *entry(ROOT2, UPPER) = *entry(ROOT, UPPER);
    *entry(PT, 2) |= PTE_W | PTE_D;
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W); /* before it is a table */
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, VA(0, 2), PFEC_U | PFEC_W);
    (void)fault(0, VA(1, 1), PFEC_U);
    if (away)
        mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    clear_leaves(true);
    return fault(0, WINDOW(PD - ROOT).v, PFEC_W);
}

static void test_dying_alone(void)
{
    tap_eq(die_alone(false), MMU_RESUME, "a space that no other CPU has");
    tap_eq(stat_of(0, STAT_dying), 1, "... counted");
    tap_ok(!((word(PD) | word(PDPT) | word(PT) | word(PT + 1)) & TRACE_TRACED),
           "its tables are none any more");
    tap_ok(writable(PD) && (word(PD) & TRACE_WRITER(0)), "what was writable before is so again");
    tap_ok(writable(ROOT) && (word(ROOT) & TRACE_UNSYNC), "the present root is given up");
    tap_ok(sp_first(&mmu[0], gfn(ROOT)) == mmu[0].roots[mmu[0].root].sp, "... and still the root");
    tap_ok(mmu_audit(&mmu[0], 3) == 0, "nothing wrong is left");
    tap_ok(forwarded(0, VA(0, 1), PFEC_U, PFEC_U), "its pages are not there");
    (void)die_alone(false);
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    tap_ok(!(word(ROOT) & TRACE_TRACED), "the root goes at the next event");
    tap_eq(die_alone(true), MMU_RESUME, "of another space than the present one");
    tap_ok(!((word(ROOT) | word(PD) | word(PDPT) | word(PT)) & TRACE_TRACED), "... the root too");
    tap_ok(mmu[0].roots[mmu[0].root].sp == sp_first(&mmu[0], gfn(ROOT2)), "... not the present");
    tap_ok(mmu_audit(&mmu[0], 3) == 0, "nothing wrong is left");
}

/* With as many frames unsync as there may be, others are left for the dying space's tables. */
static void test_dying_full(void)
{
    live("");
    for (unsigned i = 0; i < MMU_UNSYNC_OUT; i++) {
        *entry(PT_K, 32 + i) = (100ull + i) << 12 | PTE_P | PTE_W | PTE_A | PTE_D;
        *entry(PD, 2 + i) = (100ull + i) << 12 | ALL;
        (void)fault(0, VA(2 + i, 0), PFEC_U);
        (void)fault(0, WINDOW(32 + i).v, PFEC_W);
    }
    tap_eq(mmu[0].nout, MMU_UNSYNC_OUT, "every place taken");
    clear_leaves(true);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_RESUME, "a dying space then");
    tap_ok(writable(PD) && writable(PDPT) && writable(ROOT), "... has all tables writable at once");
    tap_ok(!(word(100) & TRACE_UNSYNC) && (word(100 + MMU_UNSYNC_OUT - 1) & TRACE_UNSYNC),
           "and the oldest were left for them");
}

/* A kernel whose window is not linear: a guess marks nothing as written that was not. */
static void test_dying_elsewhere(void)
{
    live("");
    *entry(PT_K, 0) = 700ull << 12 | PTE_P | PTE_W; /* where ROOT would be */
    clear_leaves(true);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_RESUME, "a space dying, of a guest unlike");
    tap_ok(!(*entry(PT_K, 0) & PTE_D), "what is there instead is not marked as written");
    tap_ok(!(word(ROOT) & TRACE_UNSYNC) && writable(PD), "only what was stored to is given up");
}

static void test_not_dying(void)
{
    live("upper=off"); /* or the second store would give the table up */
    clear_leaves(false);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "not with a page left");
    uint32_t looked = mmu[0].dying_looked;
    tap_eq(fault(0, WINDOW(PD - ROOT).v + 8, PFEC_W), MMU_EMULATE, "nor at the next store");
    tap_ok(looked && mmu[0].dying_looked == looked, "... for which the page is known");
    put(0, PT + 1, 1, 0);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_RESUME, "with that page it ends");
    live("");
    clear_leaves(false);
    give_up(0, PT + 1);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "a page in a table that is unsync");
    *entry(PT + 1, 1) = 0;
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_RESUME, "... is gone without a trap");
    live("");
    clear_leaves(false);
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W); /* a page of this space is known ... */
    *entry(ROOT2, UPPER) = *entry(ROOT, UPPER);
    *entry(ROOT2, 0) = (ROOT2 + 4) << 12 | ALL;
    *entry(ROOT2 + 4, 0) = (ROOT2 + 5) << 12 | ALL;
    *entry(ROOT2 + 5, 0) = (ROOT2 + 6) << 12 | ALL;
    *entry(ROOT2 + 6, 1) = 800ull << 12 | ALL;
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    (void)fault(0, VA(0, 1), PFEC_U);
    put(0, ROOT2 + 6, 1, 0);
    tap_eq(fault(0, WINDOW(16 + 5).v, PFEC_W), MMU_RESUME, "... and says nothing of another");
    live("shortcuts=off");
    clear_leaves(false);
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    looked = mmu[0].dying_looked;
    (void)fault(0, WINDOW(PD - ROOT).v + 8, PFEC_W);
    tap_ok(mmu[0].dying_looked > looked, "shortcuts=off: nothing is known");
    live("dying=off");
    clear_leaves(true);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "not with dying=off");
    live("");
    clear_leaves(true);
    tap_eq(fault(0, WINDOW(PD - ROOT).v + 16, PFEC_W), MMU_EMULATE, "not by an entry not in use");
    tap_eq(fault(0, WINDOW(16 + PD_K - ROOT2).v, PFEC_W), MMU_EMULATE, "nor by one of the kernel");
    kernel_up("");
    *entry(PD, 0) = *entry(PD, 1) = 0;
    tap_ok(forwarded(0, VA(0, 1), PFEC_U, PFEC_U), "a space without a leaf table");
    *entry(PD, 0) = PT << 12 | ALL;
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "... is not dying but new");
    tap_eq(stat_of(0, STAT_dying), 0, "... nor counted");
}

/* Tables that lead to each other in many ways, as a hostile guest makes them: bounded. */
static void test_many_ways(void)
{
    kernel_up("upper=off"); /* or the second store would give the table up */
    *entry(PT, 1) = 0;
    for (unsigned i = 0; i < 512; i++) {
        *entry(PD, i) = PT << 12 | ALL;
        *entry(PDPT, i) = PD << 12 | ALL;
        if (i < 256)
            *entry(ROOT, i) = PDPT << 12 | ALL;
    }
    for (unsigned i = 0; i < 256; i++) {
        (void)fault(0, (uint64_t)i << 39 | VA(0, 1), PFEC_U);
        (void)fault(0, (uint64_t)i << 30 | VA(0, 1), PFEC_U);
        (void)fault(0, VA(i, 1), PFEC_U);
    }
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "16 million ways: not followed");
    uint32_t looked = mmu[0].dying_looked;
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    tap_ok(mmu[0].dying_looked == looked + 1, "... nor begun again before the next event");
    mmu_event_invlpg(&mmu[0], gva(0));
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    tap_eq(mmu[0].dying_looked, looked, "... but then");
}

/* A kernel in the lower half, below links that are the user's, as many have them: its stores to its
 * own tables come through. Dropped, they would be walked, and so traced, before the store is done
 * again. */
static void test_dying_under_itself(void)
{
    const uint64_t code = VA(1, 1), pd = VA(0, PD - ROOT);
    unsigned rounds = 0;
    bool stored = false;

    kernel_up("");
    for (unsigned i = 0; i < 16; i++) {
        *entry(PT, i) = (ROOT + i) << 12 | PTE_P | PTE_W | PTE_A | PTE_D;
        *entry(PT + 1, i) &= ~PTE_U;
    }
    for (unsigned n = 0; n < 4; n++, stored = false, mmu_event_invlpg(&mmu[0], gva(code)))
        for (unsigned i = 0; i < 100 && !stored; i++, rounds++) { /* one store, as often as begun */
            if (!spte_at(0, gva(code)))
                (void)fault(0, code, PFEC_I);
            stored = (spte_at(0, gva(pd)) & PTE_W) || fault(0, pd, PFEC_W) == MMU_EMULATE;
        }
    tap_ok(rounds <= 12, "a kernel below the user's links: 4 stores, %u times begun", rounds);
}

int main(void)
{
    test_fresh();
    test_not_fresh();
    test_fresh_self_map();
    test_fresh_lives();
    test_stay();
    test_stay_upper();
    test_dying();
    test_dying_alone();
    test_dying_full();
    test_dying_elsewhere();
    test_dying_under_itself();
    test_not_dying();
    test_many_ways();
    return tap_done();
}
