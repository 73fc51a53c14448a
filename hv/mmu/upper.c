/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of tables that are written without exits (README "Unsync"): their links are compared with
 * the guest's entries at events. Tested by tools/tests/test_mmu_upper.c and the simulator. */
/* Rules.
 * 1. A listed page's links may be older than the guest's entries, but not than the last event: as
 *    old as what a processor keeps of such entries (SDM vol. 3 4.10.3 "Paging-Structure Caches").
 *    INVLPG re-reads those of all addresses, a load of CR3 what the new root reaches.
 * 2. A link may lead to what it led to before, and grant it. A fault is the guest's only by what
 *    the entries say: whoever denies asks upper_path_stands first, or walks from the root.
 * 3. A fault that the guest gets re-reads the links of its own address. */
#include "hv/mmu/internal.h"

/* The page of level 3 or 2 that is the way's k-th, if it is listed for re-reading. */
static bool is_step(const struct mmu *m, const struct mmu_path *p, unsigned k)
{
    const struct sp *s = &m->sps[p->up[k]];

    return s->listed && s->level < 4;
}

bool upper_path_stands(struct mmu *m, const struct mmu_path *p, gva_t va)
{
    for (unsigned k = 0; k < ARRAY_SIZE(p->up); k++) {
        uint32_t page = p->up[k];
        struct sp *s = &m->sps[page];
        if (page == p->sp || !is_step(m, p, k)) /* the last has no link for va */
            continue;
        if (!upper_stands(m, page, va_index(va, s->level)))
            return false;
        policy_reread(s, false);
        if (policy_quiet(s))
            unsync_leave_soon(m, s->gfn);
    }
    return true;
}

HV_APART bool upper_sync_va(struct mmu *m, gva_t va)
{
    const struct mmu_path *p;
    bool whole;

    if (m->top != 4)
        return true;
    p = path_walk(m, va, &whole);
    for (unsigned k = 0; p && k < ARRAY_SIZE(p->up); k++) {
        uint32_t page = p->up[k];
        unsigned idx = va_index(va, m->sps[page].level);
        if ((page == p->sp && !whole) || !is_step(m, p, k) || upper_stands(m, page, idx))
            continue;
        repair_spte(m, page, idx);
        return true; /* what was below is below it no more, or may grant less */
    }
    return whole;
}

HV_APART void upper_sync(struct mmu *m)
{
    uint32_t root = m->root == SP_NONE ? SP_NONE : m->roots[m->root].sp;

    if (root == SP_NONE)
        return; /* what is chosen is re-read then */
    for (uint32_t p = m->unsync_head; p != SP_NONE && m->sps[p].level > 1; p = m->list_next) {
        serve_point(m);
        m->list_next = m->sps[p].list_next; /* moves on if that page is freed by what follows */
        if (!sp_below(m, p, root)) {
            if (policy_stale(m, &m->sps[p]))
                sp_zap(m, p);
            continue;
        }
        unsync_reread(m, p);
        if (m->sps[p].used && policy_quiet(&m->sps[p]))
            unsync_leave_soon(m, m->sps[p].gfn);
        sp_drop_empty(m, p);
    }
}
