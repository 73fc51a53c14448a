/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of direct sptes (direct.c, rule 5): asked for by another CPU, listed, dropped, or below a
 * table that cannot be claimed. Tested by tools/tests/test_mmu_direct.c and the simulator. */
#include "hv/coherency/direct.h"
#include "hv/mmu/internal.h"

static void page_end(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);

    if (!s->ndirect)
        return;
    for (unsigned i = 0; i < 512 && s->ndirect; i++)
        spte_direct(m, page, i, false);
    m->work += MMU_DIRECT_WORK;
}

void direct_end_all(struct mmu *m)
{
    for (uint32_t p = 0; p < m->npages && m->ndirect; p++)
        if (m->sps[p].ndirect)
            page_end(m, p);
}

void direct_end(struct mmu *m, gfn_t f)
{
    bool upper = false;

    if (!m->absent)
        return;
    m->direct_ends++;
    for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p)) {
        struct sp *s = &m->sps[p];
        if (!s->claimed)
            continue;
        page_end(m, p);
        upper |= s->level > 1;
        s->claimed = false;
    }
    if (upper)
        direct_end_all(m);
    direct_unclaim(m->coh, f); /* last: who asked goes on now */
}

void direct_dropped(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);
    uint32_t p = sp_first(m, s->gfn);

    page_end(m, page);
    if (!s->claimed)
        return;
    s->claimed = false; /* nothing leads there any more, and so nowhere through it */
    while (p != SP_NONE && !m->sps[p].claimed)
        p = sp_next(m, p);
    if (p == SP_NONE)
        direct_unclaim(m->coh, s->gfn);
}

void direct_enter(struct mmu *m)
{
    if (m->direct_unfit)
        direct_end_all(m);
    m->direct_unfit = false;
}
