/* SPDX-License-Identifier: BSD-2-Clause */
/* The way from the root to the page of leaf sptes, remembered for the regions faulted on last:
 * faults, INVLPG and the fetch of instructions keep coming to the same few. Tested by
 * tools/tests/test_mmu_path.c. */
/* Rules.
 * 1. What is remembered is what the sptes above level 1 say, and is believed while none that was
 *    present has changed since (mmu.unlinks, moved in spte_set) and the root is the same page. It
 * says nothing of the guest's entries that the links do not say.
 * 2. A page freed was unlinked before, and so is remembered by no path that is believed. */
#include "hv/mmu/internal.h"

/* The links are followed; false: one is not there, or a leaf of 1 GiB would be the end. */
static bool follow(struct mmu *m, gva_t va, struct mmu_path *p)
{
    p->sp = p->root;
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
    }
    return true;
}

const struct mmu_path *path_of(struct mmu *m, gva_t va)
{
    uint64_t region1 = (va.v >> REGION_SHIFT) + 1;
    struct mmu_path *p = &m->path[(region1 ^ region1 >> 9) % MMU_PATHS];

    if (m->root == SP_NONE)
        return NULL;
    uint32_t root = m->roots[m->root].sp;
    if (p->region1 == region1 && p->unlinks == m->unlinks && p->root == root)
        return p;
    if (root == SP_NONE || !m->sps[root].used)
        return NULL;
    p->root = root;
    p->unlinks = m->unlinks;
    p->region1 = follow(m, va, p) ? region1 : 0;
    return p->region1 ? p : NULL;
}
