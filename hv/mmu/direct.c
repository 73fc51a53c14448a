/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults that the processor gives to the guest without an exit (README "Faults without an exit"):
 * which sptes say so, whom that is announced to, and when it ends. Tested by
 * tools/tests/test_mmu_direct.c, the simulator and tools/model/direct.pml. */
/* Rules.
 * 1. A direct spte is 0; what is not present and must exit is m->absent, for whose reserved bit the
 *    processor reports a present entry. Only pages of level 1 in the role of DIRECT_ROLE have any.
 * 2. While a page has direct sptes this CPU is a holder of its table's frame, and of the frames of
 *    all the tables whose links lead there (claimed), none of which is listed. So another CPU asks
 *    before it stores to one of them, or gives one up.
 * 3. What this CPU itself stores to one of them is drained before its guest runs (mmu_enter).
 * 4. The entry is read after the claim. Who is asked in the midst of that stops (direct_ends).
 *    A link made from a page that cannot be claimed ends all of them before the next entry.
 * 5. A page that is listed, dropped, or asked for loses its direct sptes first and the claim then.
 * A page with links takes with it those of all pages, which may be below it.
 * 6. Whether it pays is a guess, made of what the guest did to that page: direct_consider,
 *    direct_keeps. A wrong one costs exits. */
#include "hv/mmu/internal.h"

/* Faults forwarded one by one, without that the guest filled neighbours as well, after which the
 * table of a process that uses new memory is no longer written without exits. */
#ifndef DIRECT_LONE
#define DIRECT_LONE 4
/* The kernel's faults, and tables that other CPUs read as well: they store there, too. */
#define DIRECT_EAGER false
#endif
/* Stores in a row to entries whose pages were not used in between: the guest fills its table. */
#define FILLED_AHEAD 2
#define NEVER UINT8_MAX

/* Is the guest filling its table, rather than touching page after page? Of what the last store made
 * present the spte has no A until it is used. */
static bool unused(struct mmu *m, uint32_t page, const struct sp *s)
{
    uint64_t e = s->touched1 ? spte_get(m, page, s->touched1 - 1u) : 0;

    return (e & PTE_P) && !(e & PTE_A);
}

bool direct_keeps(struct mmu *m, gpa_t at)
{
    uint32_t p = m->ndirect ? sp_first(m, gpa_gfn(at)) : SP_NONE;

    while (p != SP_NONE && !m->sps[p].ndirect)
        p = sp_next(m, p);
    if (p == SP_NONE)
        return false;
    struct sp *s = &m->sps[p];
    unsigned idx = (unsigned)(at.v & PAGE_MASK) / 8;
    if (!spte_is_direct(m, p, idx)) /* what was there changes: the table may be at its end */
        return false;
    s->ahead_of_use = unused(m, p, s) ? s->ahead_of_use + 1 : 0;
    s->touched1 = (uint16_t)(idx + 1);
    if (s->ahead_of_use >= FILLED_AHEAD)
        s->lone = NEVER;
    return s->lone != NEVER;
}

void direct_neighbours(struct sp *s)
{
    if (s->lone != NEVER)
        s->lone = 0;
}

/* Is it a fault as a process has for each page of new memory, in a table that nobody else reads? */
static bool worth_it(struct mmu *m, uint32_t page, uint32_t access)
{
    struct sp *s = sp_at(m, page);

    if (!m->absent || s->role != DIRECT_ROLE || s->lone == NEVER || !s->table)
        return false;
    if (!DIRECT_EAGER &&
        (!(access & PFEC_U) || trace_consumers(trace_word(m->coh, s->gfn)) != 1u << m->cpu))
        return false;
    if (s->lone < DIRECT_LONE)
        s->lone++;
    return s->lone == DIRECT_LONE;
}

void direct_consider(struct mmu *m, uint32_t page, uint32_t access)
{
    if (m->changed || !worth_it(m, page, access))
        return;
    if (m->sps[page].listed && !unsync_settle(m, m->sps[page].gfn))
        return;
    if (m->changed || !claim_up(m, page))
        return;
    if (m->ndirect >= MMU_DIRECT)
        direct_end_all(m);
    const struct sp *s = sp_at(m, page);
    uint64_t ends = m->direct_ends;
    for (unsigned i = 0; i < 512 && ends == m->direct_ends; i++, m->work++) {
        if (!((s->present[i >> 6] >> (i & 63)) & 1) && !(gpte_raw(m, s, i) & PTE_P))
            spte_direct(m, page, i, true);
        serve_point(m); /* another CPU that asks ends it */
    }
    stat_inc(m->pcpu, STAT_direct_tables);
}
