/* SPDX-License-Identifier: BSD-2-Clause */
/* What the pager does the short way: the remembered way to a page of leaves, where the ways up from
 * a page end, re-reads that compare, a denial by the last entry alone, leaves made where nothing
 * was and dropped. Each is to say what the long way would. */
#include "tools/tests/mmu_rig.h"

#define VA(t, i) ((uint64_t)(t) << 21 | (uint64_t)(i) << 12)
#define ROOT2 24ull /* a second address space: its own tables, other frames */

static void second_space(void)
{
    *entry(ROOT2, 0) = (ROOT2 + 1) << 12 | ALL;
    *entry(ROOT2 + 1, 0) = (ROOT2 + 2) << 12 | ALL;
    *entry(ROOT2 + 2, 0) = (ROOT2 + 3) << 12 | ALL;
    for (unsigned i = 0; i < 16; i++)
        *entry(ROOT2 + 3, i) = (600ull + i) << 12 | ALL;
}

static void load(unsigned c, uint64_t root)
{
    fake_set_cpu(c);
    regs[c].cr3 = root << 12;
    mmu_event_cr3(&mmu[c], root << 12, false);
}

static void test_path(void)
{
    rig_up("", 128);
    second_space();
    tap_eq(fault(0, VA(0, 1), PFEC_U), MMU_RESUME, "a page is used");
    const struct mmu_path *p = path_of(&mmu[0], gva(VA(0, 2)));
    tap_ok(p && p->level == 1 && mmu[0].sps[p->sp].gfn.v == PT && p->w && p->u && !p->nx,
           "its table is remembered for the region");
    tap_ok(!path_of(&mmu[0], gva(VA(1, 0))), "... of the next region nothing is known");
    load(0, ROOT2);
    tap_eq(fault(0, VA(0, 1), PFEC_U), MMU_RESUME, "another root, the same address");
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(601), "... its own page");
    load(0, ROOT);
    tap_eq(fault(0, VA(0, 2), PFEC_U), MMU_RESUME, "back");
    tap_eq(leaf(0, VA(0, 2)) & PTE_ADDR, host_of(514), "... to the first one's");
    put(0, PD, 0, (PT + 1) << 12 | ALL);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 0)));
    tap_eq(fault(0, VA(0, 1), PFEC_U), MMU_RESUME, "the table above names another table");
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(512 + 17), "... whose page it is then");
}

/* Rights of the links belong to the way. */
static void test_rights(void)
{
    rig_up("", 128);
    *entry(PD, 0) &= ~PTE_W;
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok(forwarded(0, VA(0, 2), PFEC_U | PFEC_W, PFEC_P | PFEC_U | PFEC_W),
           "a store under a table that may not be written");
    uint64_t walks = stat_of(0, STAT_walks);
    tap_ok(!(*entry(PT, 2) & PTE_D), "... sets no D");
    put(0, PD, 0, PT << 12 | ALL | PTE_A);
    tap_eq(fault(0, VA(0, 2), PFEC_U | PFEC_W), MMU_RESUME, "it may now, without a flush");
    tap_ok(leaf(0, VA(0, 2)) & PTE_W, "... and does");
    tap_ok(stat_of(0, STAT_walks) > walks, "... by a walk");
    *entry(PT, 3) &= ~PTE_W;
    tap_ok(forwarded(0, VA(0, 3), PFEC_U | PFEC_W, PFEC_P | PFEC_U | PFEC_W),
           "a page that may not be written by its own entry");
    *entry(PT, 4) &= ~PTE_U;
    tap_ok(forwarded(0, VA(0, 4), PFEC_U, PFEC_P | PFEC_U), "a supervisor's page");
    *entry(PT, 5) |= PTE_NX;
    tap_ok(forwarded(0, VA(0, 5), PFEC_U | PFEC_I, PFEC_P | PFEC_U | PFEC_I), "no code");
    *entry(PT, 6) &= ~PTE_W;
    tap_eq(fault(0, VA(0, 6), PFEC_U), MMU_RESUME, "what is not denied is not");
}

/* Ways are void when a link on them goes, and only then; what a page lost outlives it. */
static void test_cuts(void)
{
    rig_up("", 128);
    *entry(ROOT, 1) = (PDPT + 20) << 12 | ALL;
    *entry(PDPT + 20, 0) = (PD + 20) << 12 | ALL;
    *entry(PD + 20, 0) = (PT + 20) << 12 | ALL;
    *entry(PD + 20, 1) = (PT + 20) << 12 | ALL;
    *entry(PT + 20, 1) = 700ull << 12 | ALL;
    uint64_t far = 1ull << 39 | 1ull << 12;
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, VA(1, 1), PFEC_U); /* so that what is above loses nothing */
    (void)fault(0, far, PFEC_U);
    (void)fault(0, far + REGION_SIZE, PFEC_U);
    (void)path_of(&mmu[0], gva(VA(0, 1)));
    (void)path_of(&mmu[0], gva(far));
    put(0, PD, 0, 0);
    mmu_drain(&mmu[0]);
    tap_ok(!path_known(&mmu[0], gva(VA(0, 1))), "a way whose link went is not believed");
    tap_ok(!path_known(&mmu[0], gva(VA(0, 1))), "... nor when it is asked for again");
    tap_ok(path_known(&mmu[0], gva(far)), "... another is");
    put(0, PD + 20, 0, (PT + 1) << 12 | ALL | PTE_A);
    mmu_drain(&mmu[0]);
    tap_ok(!path_known(&mmu[0], gva(far)), "a link that leads elsewhere");
    rig_up("", 128);
    (void)fault(0, VA(1, 1), PFEC_U); /* so that pages are used anew in another order */
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)path_of(&mmu[0], gva(VA(0, 1)));
    sp_zap_all(&mmu[0]);
    (void)fault(0, VA(0, 1), PFEC_U);
    const struct mmu_path *p = path_of(&mmu[0], gva(VA(0, 1)));
    tap_ok(p && mmu[0].sps[p->sp].used && mmu[0].sps[p->sp].gfn.v == PT,
           "a way through pages in another life is not believed");
}

/* shortcuts=off: each way is followed anew. */
static void test_off(void)
{
    unsigned kept = 0;

    rig_up("shortcuts=off", 128);
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, VA(0, 2), PFEC_U);
    const struct mmu_path *p = path_of(&mmu[0], gva(VA(0, 1)));
    tap_ok(p && p->level == 1, "shortcuts=off: a way is found");
    for (unsigned i = 0; i < MMU_PATHS; i++)
        kept += mmu[0].path[i].region1 && path_stands(&mmu[0], &mmu[0].path[i]);
    tap_eq(kept, 0, "... and none is kept");
}

/* A listed table re-read at an event: whatever its writer did to an entry is seen. */
static void test_reread(void)
{
    static const struct {
        uint64_t keep, add, want; /* of the entry; of the spte: 0, or bits beside the frame */
        const char *what;
    } t[] = {{~0ull, 0, PTE_P | PTE_A | PTE_W | PTE_U | PTE_D, "as it was"},
             {~PTE_A, 0, 0, "A cleared"},
             {~PTE_P, 0, 0, "P cleared"},
             {~PTE_W, 0, PTE_P | PTE_A | PTE_U, "W cleared"},
             {~PTE_D, 0, PTE_P | PTE_A | PTE_U, "D cleared"},
             {~PTE_U, 0, PTE_P | PTE_A | PTE_W | PTE_D, "U cleared"},
             {~0ull, PTE_NX, PTE_P | PTE_A | PTE_W | PTE_U | PTE_D | PTE_NX, "NX set"},
             {~0ull, BIT(45), 0, "a reserved bit set"},
             {~0ull, BIT(39), 0, "no RAM any more"}};

    for (unsigned i = 0; i < 2 * ARRAY_SIZE(t); i++) {
        unsigned k = i / 2;
        rig_up("", 128);
        (void)fault(0, VA(0, 1), PFEC_U | PFEC_W);
        (void)fault(0, VA(0, 2), PFEC_U | PFEC_W);
        give_up(0, PT);
        *entry(PT, 1) = (*entry(PT, 1) & t[k].keep) | t[k].add;
        uint64_t before = mmu[0].downgrades;
        if (i % 2)
            unsync_sync_va(&mmu[0], gva(VA(0, 1))); /* that entry alone */
        else
            load(0, ROOT);
        uint64_t e = leaf(0, VA(0, 1));
        tap_eq(e & ~PTE_ADDR, t[k].want, t[k].what);
        tap_ok(!e || (e & PTE_ADDR) == host_of(513), "... its frame");
        tap_ok(leaf(0, VA(0, 2)) & PTE_W, "... the neighbour is as it was");
        tap_eq(mmu[0].downgrades != before, k != 0, "... a flush is due if something was lost");
        tap_eq((trace_word(&coh[0], gfn(513)) & TRACE_WRITER(0)) != 0, (e & PTE_W) != 0,
               "... and the writer bit goes with W");
    }
    for (unsigned way = 0; way < 2; way++) { /* NX without EFER.NXE is a reserved bit */
        rig_up("", 128);
        regs[0].efer &= ~EFER_NXE;
        mmu_reset(&mmu[0], &regs[0]);
        (void)fault(0, VA(0, 1), PFEC_U);
        give_up(0, PT);
        *entry(PT, 1) |= PTE_NX;
        if (way)
            unsync_sync_va(&mmu[0], gva(VA(0, 1)));
        else
            load(0, ROOT);
        tap_eq(leaf(0, VA(0, 1)), 0, "NX where it is reserved");
    }
    rig_up("", 128);
    (void)fault(0, VA(0, 1), PFEC_U);
    give_up(0, PT);
    *entry(PT, 1) = 540ull << 12 | ALL | PTE_A;
    load(0, ROOT);
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(540), "another frame");

    for (unsigned used = 0; used < 2; used++) { /* mapped ahead of its use (repair_direct) */
        rig_up("", 128);
        (void)fault(0, VA(0, 1), PFEC_U);
        uint32_t page = path_of(&mmu[0], gva(VA(0, 1)))->sp;
        spte_set(&mmu[0], page, 1, spte_get(&mmu[0], page, 1) & ~PTE_A, gfn(513));
        give_up(0, PT);
        *entry(PT, 1) &= used ? ~0ull : ~PTE_A;
        load(0, ROOT);
        tap_eq(leaf(0, VA(0, 1)) != 0, used, "a page without A goes with its entry's A alone");
    }
}

/* A read-only leaf that goes moves the flush generation. */
static void test_drop(void)
{
    rig_up("", 128);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok((leaf(0, VA(0, 1)) & (PTE_P | PTE_W)) == PTE_P, "a page that is only read");
    uint64_t before = mmu[0].downgrades;
    put(0, PT, 1, 0);
    mmu_drain(&mmu[0]);
    tap_eq(leaf(0, VA(0, 1)), 0, "unmapped: gone");
    tap_ok(mmu[0].downgrades > before, "... and its flush is due");
}

/* What the fault of a store to a table has walked the emulator does not walk again. */
static void test_xlate(void)
{
    struct guest_fault f;
    gpa_t at = gpa(0);

    rig_up("upper=off", 128); /* or the second store would give the table up */
    *entry(PT, 9) = PD << 12 | ALL;
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_eq(fault(0, VA(0, 9), PFEC_W), MMU_EMULATE, "a store to a table");
    uint64_t walks = stat_of(0, STAT_walks);
    tap_ok(mmu_translate(&mmu[0], gva(VA(0, 9) + 8), PFEC_W, &at, &f) == HV_OK &&
               at.v == (PD << 12 | 8) && stat_of(0, STAT_walks) == walks,
           "... is translated without a walk");
    tap_ok(mmu_translate(&mmu[0], gva(VA(0, 9)), PFEC_W | PFEC_U, &at, &f) == HV_OK &&
               stat_of(0, STAT_walks) > walks,
           "... another access by its own");
    tap_eq(fault(0, VA(0, 9), PFEC_W), MMU_EMULATE, "again");
    put(0, PT, 9, 530ull << 12 | ALL);
    mmu_drain(&mmu[0]);
    tap_ok(mmu_translate(&mmu[0], gva(VA(0, 9)), PFEC_W, &at, &f) == HV_OK && at.v == 530ull << 12,
           "the page was moved meanwhile: its new place");
}

/* A fault that the guest gets ends the emulator's translation of its address, with either pager. */
static void test_xlate_fault(void)
{
    for (unsigned ref = 0; ref < 2; ref++) {
        struct guest_fault f;
        gpa_t at = gpa(0);

        rig_up(ref ? "mmu=ref" : "", 128);
        fake_set_cpu(0);
        (void)fault(0, VA(0, 1), 0);
        tap_ok(mmu_translate(&mmu[0], gva(VA(0, 1)), 0, &at, &f) == HV_OK && at.v == 513ull << 12,
               "a translation of the emulator's");
        put(1, PT, 1, 540ull << 12 | PTE_P | PTE_W);
        tap_ok(forwarded(0, VA(0, 1), PFEC_U, PFEC_U | PFEC_P), "a fault of the guest's there");
        tap_ok(mmu_translate(&mmu[0], gva(VA(0, 1)), 0, &at, &f) == HV_OK && at.v == 540ull << 12,
               "... and its new place");
    }
}

/* One frame written by more addresses than MMU_ALIASES: the oldest loses W. */
static void test_crowd(void)
{
    rig_up("batch=off", 128);
    for (unsigned i = 0; i < MMU_ALIASES + 3; i++) {
        *entry(PT, i) = 520ull << 12 | ALL;
        (void)fault(0, VA(0, i), PFEC_U | PFEC_W);
    }
    tap_ok(!(leaf(0, VA(0, 2)) & PTE_W) && (leaf(0, VA(0, 3)) & PTE_W),
           "the oldest three may not be written any more");
    tap_eq(stat_of(0, STAT_crowded), 3, "... and are counted");
}

static void test_summit(void)
{
    rig_up("", 128);
    second_space();
    struct mmu *m = &mmu[0];
    (void)fault(0, VA(0, 1), PFEC_U);
    uint32_t pt = sp_first(m, gfn(PT)), pd = sp_first(m, gfn(PD)), root = sp_first(m, gfn(ROOT));
    load(0, ROOT2);
    (void)fault(0, VA(0, 1), PFEC_U);
    uint32_t root2 = sp_first(m, gfn(ROOT2));
    tap_ok(sp_reaches(m, pt, root) && !sp_reaches(m, pt, root2), "a table of one address space");
    tap_ok(sp_reaches(m, pt, root) && !sp_reaches(m, pt, root2), "... asked again");
    tap_ok(sp_below(m, pt, root) && !sp_below(m, pt, root2), "... and in place");
    tap_ok(sp_reaches(m, pt, pd), "... and what is on the way to its root");
    tap_ok(sp_below(m, pt, pd), "... in place as well");
    put(0, ROOT2 + 2, 1, PT << 12 | ALL);
    (void)fault(0, VA(1, 3), PFEC_U);
    tap_ok(sp_below(m, pt, root) && sp_below(m, pt, root2), "a link was made: below both");
    tap_ok(sp_reaches(m, pt, root) && sp_reaches(m, pt, root2), "shared by two, it reaches both");
}

/* PT is unsync and listed below the first root, and the second was loaded since. */
static struct mmu *two_roots(void)
{
    struct mmu *m = &mmu[0];

    rig_up("batch=off", 128);
    second_space();
    (void)fault(0, VA(0, 1), PFEC_U);
    load(0, ROOT2);
    (void)fault(0, VA(0, 1), PFEC_U);
    load(0, ROOT);
    give_up(0, PT);
    do
        load(0, ROOT2);
    while (m->epoch % 16 > 8); /* the list is gone through all the same at some */
    return m;
}

/* Nothing listed is below a root: known until a link or the list changes. */
static void test_bare(void)
{
    struct mmu *m = two_roots();

    tap_ok(m->roots[m->root].bare_links == m->links && m->roots[m->root].bare_lists == m->lists,
           "what is listed is not below the second root");
    uint64_t rereads = stat_of(0, STAT_unsync_reread);
    load(0, ROOT2);
    load(0, ROOT2);
    tap_eq(stat_of(0, STAT_unsync_reread), rereads, "... and not re-read there");
    put(0, ROOT2 + 2, 1, PT << 12 | ALL);
    (void)fault(0, VA(1, 2), PFEC_U);
    *entry(PT, 2) = 611ull << 12 | ALL | PTE_A; /* without an exit */
    load(0, ROOT2);
    tap_eq(leaf(0, VA(1, 2)) & PTE_ADDR, host_of(611), "linked there, it is");

    m = two_roots();
    give_up(0, ROOT2 + 3);
    *entry(ROOT2 + 3, 1) = 612ull << 12 | ALL | PTE_A;
    load(0, ROOT2);
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(612), "another that is listed there is as well");

    m = two_roots();
    uint64_t listed_at = m->sps[m->unsync_head].listed_at;
    for (unsigned i = 0; i < 300 && m->unsync_head != SP_NONE; i++)
        load(0, ROOT2);
    tap_ok(m->epoch > listed_at + 256 && m->unsync_head == SP_NONE,
           "what no root reaches for long is dropped all the same");
}

/* The root that is found at once is that of the mode. */
static void test_once(void)
{
    struct mmu *m = &mmu[0];

    rig_up("batch=off", 128);
    second_space();
    (void)fault(0, VA(0, 1), PFEC_U);
    uint32_t page = m->last_root;
    load(0, ROOT2);
    (void)fault(0, VA(0, 1), PFEC_U);
    uint64_t hits = stat_of(0, STAT_root_hits), used = m->root_clock;
    load(0, ROOT);
    tap_ok(m->root != SP_NONE && m->last_root == page && m->roots[m->root].sp == page,
           "a root that is kept is chosen by its load");
    tap_ok(stat_of(0, STAT_root_hits) == hits + 1 && m->roots[m->root].used_at == used + 1,
           "... and counts as used");
    regs[0].cr0 &= ~CR0_WP;
    mmu_event_mode(m, &regs[0]);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok(m->last_root != page, "with CR0.WP = 0 it is another");
    uint32_t other = m->last_root;
    load(0, ROOT2);
    load(0, ROOT);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_eq(m->last_root, other, "... and so after loads");
    regs[0].cr0 |= CR0_WP;
    mmu_event_mode(m, &regs[0]);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_eq(m->last_root, page, "... until WP is set again");
}

/* The directory's entry moves, and its patch is drained, while the walk that has read it waits for
 * the writer of the table that it led to. */
static unsigned moves;
static bool serve_move(void *ctx)
{
    if (!moves++) {
        fake_set_cpu(1);
        put(1, PD, 0, 24ull << 12 | ALL | PTE_A);
        fake_set_cpu(0);
        mmu_drain(ctx);
    }
    (void)serve_both(ctx);
    return true;
}

static void test_walk_waits(void)
{
    rig_up("batch=off", 128);
    *entry(24, 1) = 700ull << 12 | ALL;
    *entry(PT + 1, 9) = PT << 12 | ALL;
    (void)fault(1, VA(1, 9), PFEC_W);
    (void)fault(0, VA(1, 1), PFEC_U);
    moves = 0;
    coh[0].serve = serve_move;
    (void)fault(0, VA(0, 1), PFEC_U);
    coh[0].serve = serve_both;
    tap_ok(moves, "a walk waits for who writes the table");
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(700),
           "... and begins again after what was drained");
}

int main(void)
{
    test_path();
    test_rights();
    test_cuts();
    test_off();
    test_reread();
    test_drop();
    test_xlate();
    test_xlate_fault();
    test_crowd();
    test_summit();
    test_bare();
    test_once();
    test_walk_waits();
    return tap_done();
}
