/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of an address space: a kernel first clears every leaf entry, then, table by table, the
 * entries above. At the first of these stores all tables above are given up at once (README
 * "Dying address spaces"), so that the others cost no exit. A guess that only costs when it is
 * wrong. Tested by tools/tests/test_mmu_foresight.c. */
#include "hv/mmu/internal.h"

#define BUDGET 8192 /* entries looked at between two events: what leads to more counts as alive */
#define USER_HALF 256u /* entries of a level-4 table for the lower half of the addresses */

/* Is a user page left in the leaf table that `page` shadows? */
static bool leaf_alive(struct mmu *m, uint32_t page)
{
    const struct sp *s = sp_at(m, page);
    const uint64_t *spte = sp_spte(m, page, 0), *table = s->table;

    for (unsigned w = 0; w < 8; w++) {
        uint32_t n = 0;
        if (!s->present[w])
            continue;
        for (uint64_t bits = s->present[w]; bits; bits &= bits - 1, n++) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            if (!(spte[idx] & PTE_U))
                continue;
            /* relaxed: a guess, which the guest's own stores may outrun */
            uint64_t g =
                table ? __atomic_load_n(&table[idx], __ATOMIC_RELAXED) : gpte_raw_any(m, s, idx);
            if (g & PTE_P) {
                m->alive_loc1 = m->cfg.opt->shortcuts ? (page << 9 | idx) + 1 : 0;
                return true;
            }
        }
        m->work += n;
        m->dying_looked += n;
        serve_point(m);
    }
    return m->dying_looked > BUDGET;
}

/* Is a user page left below `page`? What the shadow does not have was not used here. Notes the
 * tables passed. */
static bool alive(struct mmu *m, uint32_t page, struct mmu_family *fam)
{
    const struct sp *s = sp_at(m, page);

    if (s->level == 1) {
        fam->lived = true;
        return leaf_alive(m, page);
    }
    if (fam->n < MMU_FAMILY)
        fam->table[fam->n++] = s->gfn;
    const unsigned words = s->level == 4 ? USER_HALF / 64 : 8;
    for (unsigned w = 0; w < words; w++) {
        for (uint64_t bits = s->present[w]; bits; bits &= bits - 1) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            uint64_t e = spte_get(m, page, idx);
            if (!(e & PTE_P)) /* a large one that another CPU has asked for since */
                continue;
            uint32_t child = spte_is_leaf(s->level, e) ? SP_NONE : spte_child(m, e);
            bool leaf = child == SP_NONE || (m->sps[child].role & ROLE_DIRECT);
            fam->lived |= leaf;
            m->work++;
            serve_point(m); /* `e` says where to look on, not what may be written */
            if (++m->dying_looked > BUDGET)
                return true;
            if ((e & PTE_U) && (leaf ? (gpte_of(m, s, idx) & PTE_P) != 0 : alive(m, child, fam)))
                return true;
        }
    }
    return false;
}

/* Is the user page that was found last still one of this space? Then the space is alive. */
static bool still_alive(struct mmu *m, uint32_t root)
{
    uint32_t page = (m->alive_loc1 - 1) >> 9;
    unsigned idx = (m->alive_loc1 - 1) & 511;

    if (!m->alive_loc1)
        return false;
    const struct sp *s = sp_at(m, page);
    return s->used && s->level == 1 && !(s->role & ROLE_DIRECT) &&
           (spte_get(m, page, idx) & (PTE_P | PTE_U)) == (PTE_P | PTE_U) &&
           (gpte_of(m, s, idx) & PTE_P) && sp_below(m, page, root);
}

/* A level-4 page above one that shadows f as a non-leaf table whose entry `idx` is in use, which
 * the store will end; or SP_NONE. */
static uint32_t space_of(struct mmu *m, gfn_t f, unsigned idx)
{
    uint32_t p = sp_first(m, f);

    if (p != SP_NONE && (m->sps[p].level == 1 || !(gpte_of(m, sp_at(m, p), idx) & PTE_P)))
        return SP_NONE;
    while (p != SP_NONE && m->sps[p].level < 4)
        p = m->sps[p].parent ? (m->sps[p].parent - 1) >> 9 : SP_NONE;
    return p;
}

/* Gives table f up and maps it writable where its kernel has it, if that is at `va`, and was
 * written there: nothing but A is set for a guess, as a processor may. */
static bool give_up(struct mmu *m, gva_t va, gfn_t f)
{
    struct walk w;
    gpa_t at;

    if (walk_guest(m, va, ACCESS_AC, &w) != HV_OK || w.target.v != f.v || !w.eff_w ||
        !(w.gpte & PTE_D))
        return false;
    w.give_up = true;
    (void)fill_leaf(m, &w, &at);
    return true;
}

/* Has no other CPU any of the tables? */
static bool all_own(struct mmu *m, const struct mmu_family *fam)
{
    for (unsigned i = 0; i < fam->n; i++)
        if (trace_consumers(trace_word(m->coh, fam->table[i])) & ~(1u << m->cpu))
            return false;
    return true;
}

/* Drops all shadow pages of f but the present root, in which case it is false. */
static bool drop_all(struct mmu *m, gfn_t f)
{
    uint32_t root = m->root == SP_NONE ? SP_NONE : m->roots[m->root].sp, p;

    while ((p = sp_first(m, f)) != SP_NONE && p != root)
        sp_zap(m, p);
    return p == SP_NONE;
}

bool dying_drop(struct mmu *m, gva_t va, gfn_t f, const struct mmu_family *fam)
{
    if (!fam->n || fam->table[0].v == f.v || !all_own(m, fam))
        return false;
    /* A kernel that runs below these very tables has them walked, and so traced, before it does the
     * store again: what is dropped again before an event is given up, and the store is done. */
    if (m->dropped_epoch1 == m->epoch + 1)
        return false;
    m->dropped_epoch1 = m->epoch + 1;
    stat_inc(m->pcpu, STAT_dying);
    for (unsigned i = 1; i < fam->n; i++)
        (void)drop_all(m, fam->table[i]);
    gva_t there = gva(va.v + ((fam->table[0].v - f.v) << PAGE_SHIFT));
    if (!drop_all(m, fam->table[0]) && !((there.v ^ va.v) >> 47))
        (void)give_up(m, there, fam->table[0]);
    return true;
}

bool dying_found(struct mmu *m, gva_t va, gfn_t f, struct mmu_family *fam)
{
    uint32_t root;

    fam->n = 0;
    fam->lived = false;
    if (m->dying_epoch != m->epoch)
        m->dying_looked = 0;
    m->dying_epoch = m->epoch;
    if (!m->cfg.opt->dying || m->top != 4 || (m->role & ROLE_WP0))
        return false;
    root = space_of(m, f, (unsigned)(va.v & PAGE_MASK) / 8);
    if (root != SP_NONE && !still_alive(m, root) && !alive(m, root, fam) && fam->lived)
        for (unsigned i = 0; i < fam->n; i++)
            if (fam->table[i].v == f.v) /* the kernel's half may lead to it as well, or alone */
                return true;
    fam->n = 0;
    return false;
}

void dying_give_up(struct mmu *m, gva_t va, gfn_t f, const struct mmu_family *fam)
{
    if (fam->n)
        stat_inc(m->pcpu, STAT_dying);
    for (unsigned i = 0; i < fam->n; i++) { /* kernels map all memory in a row */
        gva_t there = gva(va.v + ((fam->table[i].v - f.v) << PAGE_SHIFT));
        if (fam->table[i].v != f.v && ((there.v ^ va.v) >> 47 || !give_up(m, there, fam->table[i])))
            return; /* this one does not */
    }
}
