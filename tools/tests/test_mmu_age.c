/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that looks which of its pages are in use clears A without a flush and comes back later: a
 * page that was touched meanwhile has A again, at the latest behind the next timer exit. */
#include "tools/tests/mmu_rig.h"

#define TABLES 64ull /* frames of many leaf tables */
#define VA(t, i) ((uint64_t)(t) << 21 | (uint64_t)(i) << 12)

static void tick(unsigned c)
{
    fake_set_cpu(c);
    fake_set_tsc(port_tsc() + port_tsc_hz() / AGE_HZ, 1);
    mmu_age(&mmu[c]);
    mmu_drain(&mmu[c]); /* as the loop does before each entry */
    (void)mmu_serve(&mmu[c]);
}

static void clear_a(uint64_t f, unsigned i)
{
    *entry(f, i) &= ~PTE_A;
}

/* Does an access of CPU c see a spte, or set A? */
static bool touch_sets_a(unsigned c, uint64_t va, uint64_t f, unsigned i)
{
    if (!(leaf(c, va) & PTE_P))
        (void)fault(c, va, PFEC_U);
    return *entry(f, i) & PTE_A;
}

/* The table is written without exits, by this CPU or another one. */
static void test_unsync(unsigned writer)
{
    rig_up("", 128);
    for (unsigned i = 0; i < 8; i++)
        (void)fault(0, VA(0, i), PFEC_U);
    fake_set_cpu(writer);
    give_up(writer, PT);
    fake_set_cpu(0);
    mmu_drain(&mmu[0]);
    tap_eq(mmu[0].unsync_count, 1, "a listed table");
    clear_a(PT, 3);
    tap_ok(!touch_sets_a(0, VA(0, 3), PT, 3), "A cleared without a flush: the old spte may serve");
    uint32_t page = sp_first(&mmu[0], gfn(PT));
    mmu[0].sps[page].quiet = 2;
    tick(0);
    tap_eq(leaf(0, VA(0, 3)), 0, "behind a timer exit it is gone");
    tap_eq(stat_of(0, STAT_aged), 1, "... and counted");
    tap_ok(leaf(0, VA(0, 4)) & PTE_P, "others stay");
    tap_eq(mmu[0].sps[page].quiet, 0, "the table is not taken for quiet by that");
    tap_ok(touch_sets_a(0, VA(0, 3), PT, 3), "the next access sets A");
    mmu[0].sps[page].quiet = 2;
    tick(0);
    tick(0);
    tap_ok(stat_of(0, STAT_aged) == 1 && mmu[0].sps[page].quiet == 2, "nothing more to do");
    clear_a(PT, 3);
    mmu_age(&mmu[0]);
    tap_ok(leaf(0, VA(0, 3)) & PTE_P, "not more often than it may cost");
    tick(0);
    tap_eq(leaf(0, VA(0, 3)), 0, "at the next one");
    tap_eq(stat_of(0, STAT_aged), 2, "... counted");
    *entry(PT, 5) = 0;
    tick(0);
    tap_ok(leaf(0, VA(0, 5)) & PTE_P, "an entry cleared as a whole waits for its event");
}

static void test_traced(void)
{
    rig_up("unsync=off", 128);
    (void)fault(0, VA(0, 3), PFEC_U);
    put(1, PT, 3, *entry(PT, 3) & ~PTE_A);
    tap_ok(leaf(0, VA(0, 3)) & PTE_P, "traced: the patch waits");
    tick(0);
    tap_ok(touch_sets_a(0, VA(0, 3), PT, 3), "behind the next exit an access sets A");
    tap_eq(stat_of(0, STAT_aged), 0, "... by the patch");
}

/* More listed tables than are looked at in one exit: each has its turn. */
static void test_many(void)
{
    const unsigned n = 3 * AGE_PAGES;
    unsigned left = 0, ticks = 0;
    rig_up("fresh=off", 256);
    for (unsigned t = 0; t < n; t++) {
        *entry(PD, t) = (TABLES + t) << 12 | ALL;
        *entry(TABLES + t, 0) = 512ull << 12 | ALL;
        (void)fault(0, VA(t, 0), PFEC_U);
        (void)trace_enter_unsync(&coh[1], gfn(TABLES + t));
        unsync_list(&mmu[0], sp_first(&mmu[0], gfn(TABLES + t)));
        clear_a(TABLES + t, 0);
    }
    do {
        uint64_t before = stat_of(0, STAT_aged);
        tick(0);
        ticks++;
        if (stat_of(0, STAT_aged) - before > AGE_PAGES)
            tap_ok(false, "too many at once");
        left = 0;
        for (unsigned t = 0; t < n; t++)
            left += (leaf(0, VA(t, 0)) & PTE_P) != 0;
    } while (left && ticks < 10);
    tap_ok(!left && ticks == 3, "96 tables in %u timer exits, %u left", ticks, left);
}

int main(void)
{
    fake_reset();
    test_unsync(0);
    test_unsync(1);
    test_traced();
    test_many();
    rig_down();
    return tap_done();
}
