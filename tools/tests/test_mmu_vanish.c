/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries that go while a page's present ones are gone through: one link more than a table may have
 * takes the oldest, and a request of another CPU that is answered in between takes a 2 MiB one. */
#include "tools/tests/mmu_kernel.h"

#define LINKS 128u /* of the upper half to one table: as many as it may have */
#define USER (ALL | PTE_A | PTE_D)

/* Two roots whose upper halves lead to one table throughout. The second takes over the first one's
 * links, each at the price of the first one's oldest, which would be its next. */
static void test_adopt_crowded(void)
{
    unsigned wrong = 0;

    rig_up("", 128);
    for (unsigned i = 256; i < 256 + LINKS; i++)
        *entry(ROOT, i) = *entry(ROOT2, i) = PDPT << 12 | USER;
    *entry(PDPT, 0) = PD << 12 | USER;
    for (unsigned i = 0; i < LINKS; i++) /* the highest of each 64 first */
        (void)fault(0, 0xffff000000000000ull | (uint64_t)(256 + (i ^ 63)) << 39 | VA(0, 1), 0);
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    (void)spte_at(0, gva(VA(0, 1)));
    uint32_t page = mmu[0].roots[mmu[0].root].sp;
    for (unsigned i = 0; i < 512; i++) {
        uint64_t e = *sp_spte(&mmu[0], page, i);
        wrong += (e & PTE_P) && mmu[0].sps[spte_child(&mmu[0], e)].gfn.v != PDPT;
    }
    tap_ok(!wrong && mmu[0].sps[page].npresent >= LINKS / 2,
           "links are taken over from a root that loses its own by it: %u",
           mmu[0].sps[page].npresent);
    tap_ok(stat_of(0, STAT_crowded) != 0, "... as it did");
}

/* CPU 1 asks for a frame of a 2 MiB page to become a table, and does not wait. */
static void ask(uint64_t f)
{
    struct mailbox *box = &co.cpu[0].mailbox[1];
    box->request = (uint64_t)REQUEST_DROP | f << 8;
    box->seq++;
    action_post(&co, 1, 0, BIT(1));
}

/* A space is looked through for a page that is left; `steps` later a 2 MiB page goes that comes
 * later in the same table. */
static bool dying_asked(unsigned steps)
{
    kernel_up("");
    *entry(PD, 5) = 1024ull << 12 | USER | PTE_PS;
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, VA(5, 0), PFEC_U | PFEC_W);
    (void)fault(0, WINDOW(PD - ROOT).v, 0);
    *entry(PT, 1) = 0;
    bool had = (region_word(&coh[0], gfn(1024)) & BIT(0)) != 0;
    ask(1030);
    mmu[0].served_at = mmu[0].work - MMU_BATCH + steps;
    (void)fault(0, WINDOW(PD - ROOT).v, PFEC_W);
    (void)mmu_serve(&mmu[0]);
    return had && !(region_word(&coh[0], gfn(1024)) & BIT(0));
}

static void test_dying_asked(void)
{
    unsigned good = 0;

    for (unsigned steps = 0; steps < 64; steps++)
        good += dying_asked(steps);
    tap_eq(good, 64, "2 MiB pages go while their space is looked through");
}

int main(void)
{
    test_adopt_crowded();
    test_dying_asked();
    return tap_done();
}
