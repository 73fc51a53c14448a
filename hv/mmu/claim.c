/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims of the tables that lead to direct sptes (direct.c, rule 2). Tested by
 * tools/tests/test_mmu_direct.c and the simulator. */
#include "hv/coherency/direct.h"
#include "hv/mmu/internal.h"

#define ABOVE_MAX 8 /* tables above a page that has direct sptes */

static bool claim_page(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);

    if (s->role != DIRECT_ROLE || s->listed)
        return false;
    if (!s->claimed) /* for another page of the frame, perhaps */
        s->claimed = direct_mine(m->coh, s->gfn) || direct_claim(m->coh, s->gfn);
    return s->claimed;
}

bool claim_up(struct mmu *m, uint32_t page)
{
    uint32_t todo[ABOVE_MAX], n = 1;

    todo[0] = page;
    for (uint32_t i = 0; i < n; i++) {
        if (!claim_page(m, todo[i]))
            return false;
        for (uint32_t l = m->sps[todo[i]].parent; l; l = m->rlink[l - 1]) {
            uint32_t up = (l - 1) >> 9, k = 0;
            while (k < n && todo[k] != up)
                k++;
            if (k < n)
                continue;
            if (n == ABOVE_MAX)
                return false;
            todo[n++] = up;
        }
    }
    return true;
}

void direct_linked(struct mmu *m, uint32_t parent, uint32_t child)
{
    if (m->ndirect && m->sps[child].claimed && !claim_up(m, parent))
        m->direct_unfit = true;
}
