/* SPDX-License-Identifier: BSD-2-Clause */
/* The way from the root to the page of leaf sptes, remembered for the regions faulted on last:
 * faults, INVLPG and the fetch of instructions keep coming to the same few. Tested by
 * tools/tests/test_mmu_path.c. */
/* Rules.
 * 1. What is remembered is what the sptes above level 1 say, and is believed while none that was
 *    present has changed since in one of the pages passed (sp.cut, moved in spte_set and by nothing
 *    moved back; so their sum stands still only if all do) and the root is the same page. Nothing
 *    has while none changed anywhere (mmu.unlinks, moved with sp.cut), which is asked first. It
 * says nothing of the guest's entries that the links do not say.
 * 2. A page freed was unlinked before, and so is remembered by no path that is believed. */
#include "hv/mmu/internal.h"

/* The links are followed; false: one is not there, or a leaf of 1 GiB would be the end. */
static bool follow(struct mmu *m, gva_t va, struct mmu_path *p)
{
    unsigned n = 0;

    p->sp = p->up[0] = p->up[1] = p->root;
    p->level = (uint8_t)m->top;
    p->w = p->u = true;
    p->nx = false;
    while (p->level > 1) {
        uint64_t e = spte_get(m, p->sp, va_index(va, p->level));
        if (!(e & PTE_P))
            return false;
        if (spte_is_leaf(p->level, e))
            return p->level == 2;
        p->w = p->w && (e & PTE_W);
        p->u = p->u && (e & PTE_U);
        p->nx = p->nx || (e & PTE_NX);
        p->sp = spte_child(m, e);
        p->level--;
        if (p->level > 1)
            p->up[n++] = p->sp; /* at most those of levels 3 and 2 */
    }
    return true;
}

/* What plain.c need not ask again: the mode is the root's, and the pages keep what they are. */
static void path_plain(const struct mmu *m, struct mmu_path *p)
{
    const struct sp *s = &m->sps[p->sp];

    p->table = NULL;
    if (!p->region1 || p->level > 1 || m->top != 4 || (s->role & ~(uint32_t)ROLE_NXE))
        return;
    p->table = s->table;
    p->grants = (uint8_t)(~(PTE_W | PTE_U) | (p->w ? PTE_W : 0) | (p->u ? PTE_U : 0));
    p->must_be_0 = gpte_reserved_4k(m, s->role);
}

const struct mmu_path *path_find(struct mmu *m, gva_t va, bool *whole)
{
    uint64_t region1 = (va.v >> REGION_SHIFT) + 1;

    *whole = false;
    if (m->root == SP_NONE)
        return NULL;
    uint32_t root = m->roots[m->root].sp;
    if (root == SP_NONE || !m->sps[root].used)
        return NULL;
    struct mmu_path *p = &m->path[path_slot(region1, root)];
    p->root = root;
    *whole = follow(m, va, p);
    p->region1 = *whole ? region1 : 0;
    p->cuts = p->unlinks = ~0ull; /* for this once */
    if (m->cfg.opt->shortcuts) {
        p->cuts = path_cuts(m, p);
        p->unlinks = m->unlinks;
    }
    path_plain(m, p);
    return p;
}
