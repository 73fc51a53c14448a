/* SPDX-License-Identifier: BSD-2-Clause */
/* Directed tests of tables of tables that are written without exits (hv/mmu/upper.c): when they are
 * given up and left, that events and the guest's faults re-read their links, and that a link which
 * was stored over denies nothing. */
#include "tools/tests/mmu_kernel.h"

#define OTHER 24ull /* a leaf table with pages of its own */

static uint64_t word(uint64_t f)
{
    return trace_word(&coh[0], gfn(f));
}

static bool is_unsync(uint64_t f)
{
    return word(f) & TRACE_UNSYNC;
}

/* Pages of two regions in use, so that a directory which loses one goes on; OTHER has entry 2
 * alone. */
static void in_use(const char *options)
{
    kernel_up(options);
    *entry(OTHER, 2) = 700ull << 12 | ALL;
    (void)fault(0, VA(1, 1), PFEC_U);
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, VA(0, 2), PFEC_U);
}

/* ... with the directory and the table above it written without exits. */
static void listed(const char *options)
{
    in_use(options);
    give_up(0, PD);
    give_up(0, PDPT);
}

static void invlpg(unsigned c)
{
    fake_set_cpu(c);
    mmu_event_invlpg(&mmu[c], gva(VA(1, 5))); /* of no address in question */
}

/* Where CPU c's link for the first region leads: the frame of the table, or 0. */
static uint64_t linked(unsigned c)
{
    bool whole;
    const struct mmu_path *p = path_walk(&mmu[c], gva(VA(0, 1)), &whole);

    return whole && p ? mmu[c].sps[p->sp].gfn.v : 0;
}

static void test_in_and_out(void)
{
    in_use("");
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "a store to a directory");
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_RESUME, "the second gives it up");
    tap_ok(is_unsync(PD) && (spte_at(0, WINDOW(PD - ROOT)) & PTE_W), "... to its writer");
    uint64_t zaps = stat_of(0, STAT_zaps);
    for (unsigned i = 0; i < 3; i++)
        invlpg(0);
    tap_ok(linked(0) == PT && stat_of(0, STAT_zaps) == zaps, "... and it is not dropped");
    tap_ok(is_unsync(PD), "unsync for three events in vain");
    for (unsigned i = 0; i < 2; i++)
        invlpg(0);
    tap_ok(!is_unsync(PD) && !(spte_at(0, WINDOW(PD - ROOT)) & PTE_W), "... and left then");
    tap_eq(mmu[0].upper_count, 0, "... with nothing more to look at");
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "... traced again");

    in_use("");
    give_up(0, PD);
    for (unsigned i = 0; i < 9; i++) {
        *entry(PD, 0) = i % 2 ? PT << 12 | ALL | PTE_A : 0;
        invlpg(0);
        (void)fault(0, VA(0, 1), PFEC_U);
    }
    tap_ok(is_unsync(PD), "one that changes stays");

    in_use("");
    give_up(0, PD);
    for (unsigned i = 0; i < 6; i++)
        tap_ok(forwarded(0, VA(0, 20), PFEC_U, PFEC_U), "a fault of the guest's looks at the way");
    tap_ok(!is_unsync(PD) && !mmu[0].upper_count, "... and one that stands is left at last");

    kernel_up("");
    (void)fault(0, VA(0, 1), PFEC_U);
    give_up(0, PD);
    *entry(PD, 0) = 0;
    invlpg(0);
    tap_ok(!(word(PD) & TRACE_TRACED), "one that loses its last link is no table any more");

    in_use("");
    for (unsigned i = 0; i < 12; i++)
        (void)fault(0, WINDOW(PD - ROOT).v, 0);
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    for (unsigned i = 0; i < 17; i++)
        invlpg(0);
    tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "a store now and then is emulated");

    kernel_up("");
    for (unsigned i = 0; i < 40; i++) {
        *entry(PD, i) = PT << 12 | ALL;
        (void)fault(0, VA(i, 1), PFEC_U);
    }
    for (unsigned i = 0; i < 3; i++)
        tap_eq(fault(0, WINDOW(PD - ROOT).v, PFEC_W), MMU_EMULATE, "not with many links");
    in_use("upper=off");
    give_up(0, PD);
    invlpg(0);
    tap_eq(linked(0), 0, "upper=off: dropped at the next event");
}

/* What is stored without an exit is found by each event. */
static void test_events(void)
{
    enum { INVLPG, CR3, CR3_PCID, MODE, FLUSH, EVENTS };

    for (unsigned how = 0; how < EVENTS; how++) {
        for (unsigned level = 2; level <= 3; level++) {
            listed("");
            *entry(level == 2 ? PD : PDPT, 0) = 0;
            tap_eq(linked(0), PT, "a link stored over may be used");
            switch (how) {
            case INVLPG:
                invlpg(0);
                break;
            case MODE:
                regs[0].cr4 ^= CR4_PGE;
                mmu_event_mode(&mmu[0], &regs[0]);
                break;
            case FLUSH:
                mmu_event_flush(&mmu[0]);
                break;
            default:
                mmu_event_cr3(&mmu[0], ROOT << 12, how == CR3_PCID);
            }
            tap_eq(leaf(0, VA(0, 1)), 0, "... until the next event");
            tap_ok(forwarded(0, VA(0, 1), PFEC_U, PFEC_U), "... the fault is the guest's");
            tap_eq(mmu_audit(&mmu[0], 3), 0, "... nothing for the audit to find");
        }
    }
}

static void test_rights(void)
{
    static const struct {
        uint64_t flip, lost;
        const char *what;
    } t[] = {{0, 0, "the same"},
             {PTE_W, PTE_W, "without W"},
             {PTE_U, ~0ull, "the supervisor's"},
             {PTE_A, ~0ull, "A cleared"},
             {BIT(45), ~0ull, "a reserved bit"},
             {BIT(54), 0, "a bit of software's"}};

    for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
        listed("");
        uint64_t before = mmu[0].downgrades;
        uint32_t page = sp_first(&mmu[0], gfn(PD));
        uint64_t e = spte_get(&mmu[0], page, 0);
        *entry(PD, 0) ^= t[i].flip;
        invlpg(0);
        page = sp_first(&mmu[0], gfn(PD));
        tap_eq(page == SP_NONE ? 0 : spte_get(&mmu[0], page, 0), e & ~t[i].lost, t[i].what);
        tap_eq(mmu[0].downgrades != before, t[i].lost != 0, "... a flush is due if it lost any");
    }
    listed("");
    *entry(PD, 0) |= PTE_NX;
    invlpg(0);
    tap_ok(spte_get(&mmu[0], sp_first(&mmu[0], gfn(PD)), 0) & PTE_NX, "NX set");
    listed("large=off");
    *entry(PD, 0) = 512ull << 12 | ALL | PTE_PS | PTE_A | PTE_D;
    invlpg(0);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(513), "fragments of a large page");
    *entry(PD, 0) = 512ull << 12 | ALL | PTE_A;
    invlpg(0);
    tap_eq(linked(0), 0, "... whose first frame becomes a table");
    listed("");
    *entry(PD, 0) = 512ull << 12 | ALL | PTE_PS | PTE_A | PTE_D;
    invlpg(0);
    tap_eq(linked(0), 0, "a large page in place of a table");
    tap_eq(fault(0, VA(0, 1), PFEC_U), MMU_RESUME, "... is mapped");
    *entry(PD, 0) &= ~(uint64_t)PTE_W;
    invlpg(0);
    tap_ok(!(leaf(0, VA(0, 1)) & PTE_W), "... and changed without an exit as well");
}

/* The way that is remembered leads through links that were stored over. */
static void test_faults(void)
{
    for (unsigned plain = 0; plain < 2; plain++) {
        const char *options = plain ? "" : "shortcuts=off";

        listed(options);
        *entry(PD, 0) = OTHER << 12 | ALL;
        *entry(PT, 2) = *entry(PT, 3) = 0;
        invlpg(1); /* another CPU's events are not ours */
        tap_eq(linked(0), PT, "a link stored over");
        tap_eq(fault(0, VA(0, 2), PFEC_U), MMU_RESUME, "what it denies may be there");
        tap_eq(leaf(0, VA(0, 2)) & PTE_ADDR, host_of(700), "... and is mapped");

        listed(options);
        *entry(PD, 0) = OTHER << 12 | ALL;
        tap_ok(forwarded(0, VA(0, 3), PFEC_U | PFEC_W, PFEC_U | PFEC_W) || linked(0) == PT,
               "what it grants may be used");

        listed(options);
        *entry(PDPT, 0) = 0;
        *entry(PT, 3) = 0;
        tap_ok(forwarded(0, VA(0, 3), PFEC_U, PFEC_U), "what both deny is the guest's");
        tap_eq(linked(0), 0, "... and re-reads the way to it");

        listed(options);
        *entry(PD, 0) &= ~(uint64_t)PTE_W;
        *entry(PT, 3) &= ~(uint64_t)PTE_W;
        tap_ok(forwarded(0, VA(0, 3), PFEC_U | PFEC_W, PFEC_U | PFEC_W | PFEC_P),
               "denied for want of W");
        tap_ok(!(spte_get(&mmu[0], sp_first(&mmu[0], gfn(PD)), 0) & PTE_W), "... the link too");
    }
    listed("");
    struct guest_fault f;
    gpa_t at;
    *entry(PD, 0) = OTHER << 12 | ALL;
    *entry(PT, 2) = 0;
    tap_ok(mmu_translate(&mmu[0], gva(VA(0, 2)), 0, &at, &f) == HV_OK && at.v == 700ull << 12,
           "the emulator is not denied by it either");
}

static void test_fresh(void)
{
    kernel_up("");
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    *entry(PDPT, 1) = (ROOT2 + 8) << 12 | ALL;
    *entry(ROOT2 + 8, 0) = (ROOT2 + 9) << 12 | ALL;
    *entry(ROOT2 + 9, 1) = 710ull << 12 | ALL;
    (void)fault(0, VA(512, 1), PFEC_U);
    tap_ok((word(ROOT2 + 8) & TRACE_TRACED) && !is_unsync(ROOT2 + 8), "an ordinary directory");
    give_up(0, PDPT);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok(is_unsync(PD) && (spte_at(0, WINDOW(PD - ROOT)) & PTE_W),
           "one below a table that is written without exits is so as well");
    *entry(PD, 0) = 0;
    *entry(PDPT, 0) = 0;
    invlpg(0);
    tap_ok(!(word(PD) & TRACE_TRACED) && !(word(PT) & TRACE_TRACED),
           "torn down without an exit: no tables any more");
    tap_ok(is_unsync(PDPT), "... and the one above goes on so");
    kernel_up("fresh=off");
    give_up(0, PDPT);
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok(!is_unsync(PD), "not with fresh=off");
}

/* Another CPU has the tables too: it lists and re-reads them at its own events. */
static void test_other(void)
{
    in_use("");
    (void)fault(1, VA(0, 1), PFEC_U);
    fake_set_cpu(0);
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    tap_ok(is_unsync(PD) && consumer_pending(&coh[1]), "the other CPU is told");
    *entry(PD, 0) = 0;
    invlpg(0);
    tap_ok(!linked(0) && linked(1) == PT, "each re-reads at its own event");
    invlpg(1);
    tap_eq(linked(1), 0, "... the other too");
    in_use("");
    give_up(0, PD);
    (void)fault(1, VA(0, 1), PFEC_U);
    tap_ok(linked(1) == PT && mmu[1].upper_count, "who registers it later lists it");
    *entry(PD, 0) = 0;
    invlpg(1);
    tap_eq(leaf(1, VA(0, 1)), 0, "... and re-reads it");
    in_use("");
    (void)fault(1, VA(0, 1), PFEC_U);
    fake_set_cpu(0);
    give_up(0, PD);
    *entry(PD, 0) |= PTE_NX;
    mmu_event_cr3(&mmu[0], ROOT << 12, false);
    tap_ok(!is_unsync(PD), "left at a load of CR3, for the other's sake");
}

/* Tables that lead to themselves, and a root given up beside. */
static void test_odd(void)
{
    listed("");
    *entry(PD, 7) = PD << 12 | ALL;
    (void)fault(0, VA(7, 0), PFEC_U);
    *entry(PD, 7) = 0;
    *entry(PD, 0) = 0;
    *entry(PDPT, 0) = 0;
    invlpg(0);
    invlpg(0);
    tap_ok(forwarded(0, VA(0, 1), PFEC_U, PFEC_U), "a directory that was in itself");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "... nothing for the audit to find");

    listed("");
    give_up(0, ROOT);
    tap_ok(mmu[0].zap_count && mmu[0].upper_count, "a root, which is dropped, beside");
    invlpg(0);
    tap_eq(mmu[0].zap_count, 0, "... is dropped");
    tap_eq(fault(0, VA(0, 1), PFEC_U), MMU_RESUME, "... and made again");
    tap_eq(linked(0), PT, "... above the same tables");
    give_up(0, ROOT);
    listed("");
    give_up(0, ROOT);
    give_up(0, PT);
    sp_zap_all(&mmu[0]);
    tap_ok(!mmu[0].zap_count && !mmu[0].upper_count && mmu[0].unsync_head == SP_NONE,
           "everything dropped: nothing listed");
}

int main(void)
{
    test_in_and_out();
    test_events();
    test_rights();
    test_faults();
    test_fresh();
    test_other();
    test_odd();
    return tap_done();
}
