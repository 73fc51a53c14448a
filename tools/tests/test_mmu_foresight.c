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

/* --- stay --- */

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

static void test_not_dying(void)
{
    live("");
    clear_leaves(false);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "not with a page left");
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
    kernel_up("");
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
}

int main(void)
{
    test_fresh();
    test_not_fresh();
    test_stay();
    test_dying();
    test_dying_full();
    test_not_dying();
    test_many_ways();
    return tap_done();
}
