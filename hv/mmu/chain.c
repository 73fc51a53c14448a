/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadow pages by their frame: the chains of the pool, for whoever looks one up. Tested by
 * tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

uint32_t sp_chain(const struct mmu *m, gfn_t f)
{
    return (uint32_t)((f.v * 0x9e3779b97f4a7c15ull) >> 40) & m->shash_mask;
}

uint32_t sp_find(struct mmu *m, gfn_t f, unsigned level, uint32_t role)
{
    uint32_t p = m->shash[sp_chain(m, f)];
    while (p != SP_NONE) {
        const struct sp *s = &m->sps[p];
        if (s->gfn.v == f.v && s->level == level && s->role == role)
            return p;
        p = s->hash_next;
    }
    return SP_NONE;
}

static uint32_t chain_source(struct mmu *m, uint32_t p, gfn_t f)
{
    while (p != SP_NONE && (m->sps[p].gfn.v != f.v || (m->sps[p].role & ROLE_DIRECT)))
        p = m->sps[p].hash_next;
    return p;
}

uint32_t sp_first(struct mmu *m, gfn_t f)
{
    return chain_source(m, m->shash[sp_chain(m, f)], f);
}

uint32_t sp_next(struct mmu *m, uint32_t page)
{
    return chain_source(m, m->sps[page].hash_next, m->sps[page].gfn);
}
