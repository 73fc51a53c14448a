/* SPDX-License-Identifier: BSD-2-Clause */
/* Retained roots, each with its own ASID (slot + 1), and what the next VMRUN needs of them.
 * Tested by tools/tests/test_mmu.c. */
/* Rules.
 * 1. A root's ASID is its slot + 1. A slot that changes hands has never been flushed (clean_at =
 *    ~0).
 * 2. A root is entered with a flush unless clean_at is the present flush generation, and only
 *    mmu_entered makes it that.
 * 3. Nothing is downgraded between mmu_enter and mmu_entered.
 * 4. PDPTEs are exactly P and the frame, and agree with those latched whenever a root is chosen;
 *    the next entry loads them.
 * 5. What is listed below a root is re-read when the root is chosen, or when a link comes to lead
 *    there, and so before it is entered.
 * 6. A link taken over from another root agrees with this root's entry, read first, and nothing was
 *    pending after that. */
#include "hv/mmu/internal.h"

void root_invalidate(struct mmu *m)
{
    m->root = SP_NONE;
}

static inline bool slot_is(const struct mmu *m, uint32_t i, gfn_t f, unsigned level, uint32_t role)
{
    uint32_t p = m->roots[i].sp;

    return p != SP_NONE && m->sps[p].gfn.v == f.v && m->sps[p].level == level &&
           m->sps[p].role == role;
}

static inline uint8_t *root_hint(struct mmu *m, gfn_t f)
{
    return &m->root_hint[f.v * 0x9e3779b97f4a7c15ull >> 58];
}

static uint32_t slot_find(struct mmu *m, gfn_t f, unsigned level, uint32_t role)
{
    uint8_t *hint = root_hint(m, f);

    if (slot_is(m, *hint, f, level, role))
        return *hint;
    for (uint32_t i = 0; i < m->nroots; i++)
        if (slot_is(m, i, f, level, role))
            return *hint = (uint8_t)i;
    return SP_NONE;
}

/* A free slot, or the one not used for longest. Its ASID starts dirty. */
static uint32_t slot_take(struct mmu *m)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < m->nroots; i++) {
        if (m->roots[i].sp == SP_NONE) {
            best = i;
            break;
        }
        if (m->roots[i].used_at < m->roots[best].used_at)
            best = i;
    }
    if (m->roots[best].sp != SP_NONE) {
        bool changed = m->changed; /* no walk stands on a root that is not in use */
        sp_zap(m, m->roots[best].sp);
        m->changed = changed;
        stat_inc(m->pcpu, STAT_asid_recycles);
    }
    return best;
}

/* An unpaged guest's root: four PDPTEs (exactly P) over direct pages of 1 GiB each. They never
 * change, since the CPU loads them only with CR3. */
static void fill_pae_root(struct mmu *m, uint32_t root)
{
    uint32_t role = (m->sps[root].role | ROLE_DIRECT) & ~(uint32_t)ROLE_PAEROOT;
    for (unsigned i = 0; i < 4; i++) {
        if (spte_get(m, root, i) & PTE_P)
            continue;
        uint32_t child = sp_get(m, gfn((uint64_t)i << 18), 2, role);
        spte_set(m, root, i, sp_hpa(m, child).v | PTE_P, gfn(0));
    }
}

static void root_key(const struct mmu *m, gfn_t *f, unsigned *level, uint32_t *role)
{
    *f = gfn((m->regs.cr3 & PTE_ADDR) >> PAGE_SHIFT);
    *level = m->top;
    *role = m->role;
    if (!m->paged) {
        *f = gfn(0);
        *role |= ROLE_DIRECT | ROLE_PAEROOT;
    } else if (m->top == 3) {
        /* a PDPT is 32 bytes: a key, no table is read */
        *f = gfn((m->regs.cr3 & 0xffffffffu) >> 5);
        *role |= ROLE_DIRECT | ROLE_PAEROOT;
    } else if (!p2m_ptr(m->cfg.p2m, gfn_gpa(*f))) {
        *role |= ROLE_DIRECT; /* CR3 outside RAM: a root that maps nothing; the walk says RSVD */
    }
}

/* A retained PAE root agrees with the PDPTEs latched now; what does not is walked anew. */
static void pae_root_match(struct mmu *m, uint32_t root)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t e = spte_get(m, root, i);
        uint64_t want = (m->role & ROLE_4B) ? m->regs.cr3 | PTE_P : m->pdpte[i];
        if ((e & PTE_P) &&
            (!(want & PTE_P) || m->sps[spte_child(m, e)].gfn.v != (want & PTE_ADDR) >> PAGE_SHIFT))
            spte_replace(m, root, i, 0, gfn(0));
    }
}

/* A new root maps the kernel as the one before it did: the links of its upper half that are the
 * same are made at once, which saves a fault each. As in walk_link, an entry is read before it is
 * seen that nothing is pending. */
static void adopt_links(struct mmu *m, uint32_t page, uint32_t from)
{
    const struct sp *s = sp_at(m, page);
    bool any = false, pending = false;

    if (!m->cfg.opt->batch || from == SP_NONE || from == page || !m->sps[from].used ||
        s->level != 4 || m->sps[from].level != 4 || m->sps[from].role != s->role ||
        (s->role & (ROLE_DIRECT | ROLE_WP0 | ROLE_REF)))
        return;
    for (unsigned w = 4; w < 8 && !pending; w++) {
        for (uint64_t bits = m->sps[from].present[w] & ~s->present[w]; bits; bits &= bits - 1) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            uint64_t e = spte_get(m, from, idx);
            if (!(e & PTE_P)) /* made way for one of those just made */
                continue;
            uint32_t child = spte_child(m, e);
            uint64_t g = gpte_of(m, s, idx);
            if (!(g & PTE_P) || !(g & PTE_A) || gpte_reserved(m, s->role, g, 4) ||
                (g & PTE_ADDR) >> PAGE_SHIFT != m->sps[child].gfn.v ||
                m->sps[child].role != role_child(s->role, g, idx))
                continue;
            pending = consumer_pending(m->coh);
            if (pending)
                break;
            spte_set(m, page, idx, sp_hpa(m, child).v | gpte_link_rights(s->role, g), gfn(0));
            any = true;
        }
    }
    if (any) /* also when something was found pending: mmu_enter does not see every new root */
        unsync_sync_under(m, page);
}

/* The root in that slot is the present one. made: its page is new. */
static uint32_t root_use(struct mmu *m, uint32_t slot, bool made)
{
    uint32_t page = m->roots[slot].sp;

    m->root = slot;
    m->roots[slot].used_at = ++m->root_clock;
    m->sps[page].stamp = m->walk;
    if (!m->paged)
        fill_pae_root(m, page);
    else if (m->sps[page].role & ROLE_PAEROOT)
        pae_root_match(m, page);
    else if (made)
        adopt_links(m, page, m->last_root);
    m->last_root = page;
    return page;
}

/* The root that was found last for such a frame, where its being chosen is all: of 4 levels, with a
 * table in RAM, which the role says. */
static bool root_at_once(struct mmu *m)
{
    gfn_t f = gfn((m->regs.cr3 & PTE_ADDR) >> PAGE_SHIFT);
    uint32_t slot = *root_hint(m, f), page = m->roots[slot].sp;

    if (m->top != 4 || !slot_is(m, slot, f, 4, m->role))
        return false;
    stat_inc(m->pcpu, STAT_root_hits);
    m->root = slot;
    m->roots[slot].used_at = ++m->root_clock;
    m->sps[page].stamp = m->walk;
    m->last_root = page;
    return true;
}

bool root_retained(struct mmu *m)
{
    gfn_t f;
    unsigned level;
    uint32_t role;

    if (m->root != SP_NONE || root_at_once(m))
        return true;
    root_key(m, &f, &level, &role);
    uint32_t slot = slot_find(m, f, level, role);
    if (slot == SP_NONE)
        return false;
    stat_inc(m->pcpu, STAT_root_hits);
    (void)root_use(m, slot, false);
    return true;
}

uint32_t root_page(struct mmu *m)
{
    gfn_t f;
    unsigned level;
    uint32_t role;

    if (m->root != SP_NONE) {
        if (m->cfg.opt->mmu == MMU_REF)
            return 0;
        sp_at(m, m->roots[m->root].sp)->stamp = m->walk;
        return m->roots[m->root].sp;
    }
    if (m->cfg.opt->mmu == MMU_REF)
        return ref_root(m);
    root_key(m, &f, &level, &role);
    uint32_t slot = slot_find(m, f, level, role);
    if (slot != SP_NONE) {
        stat_inc(m->pcpu, STAT_root_hits);
        return root_use(m, slot, false);
    }
    stat_inc(m->pcpu, STAT_root_misses);
    bool changed = m->changed;
    m->changed = false;
    uint32_t page = sp_get(m, f, level, role); /* may wait, serve and so free pages */
    if (m->changed && sp_find(m, f, level, role) != page)
        return SP_NONE; /* zapped again meanwhile: the caller starts over */
    m->changed |= changed;
    slot = slot_take(m);
    m->roots[slot].sp = page;
    m->roots[slot].clean_at = m->roots[slot].bare_links = ~0ull;
    m->entered = ENTERED_NONE; /* it may have been this slot, of another root */
    m->sps[page].is_root = true;
    return root_use(m, slot, true);
}

/* Where CR3 finds the root in that slot. That of a PAE guest is a copy of four entries, in memory
 * that 32 bits can name; the processor reads it with CR3 alone, at each entry (SDM vol. 3 4.4.1
 * "PDPTE Registers"). */
static hpa_t root_hpa(struct mmu *m, uint32_t slot)
{
    uint32_t page = m->roots[slot].sp;

    if (m->top != 3)
        return sp_hpa(m, page);
    for (unsigned i = 0; i < 4; i++)
        m->low[slot][i] = spte_get(m, page, i);
    return hpa(m->low_hpa.v + slot * sizeof(m->low[0]));
}

void mmu_enter(struct mmu *m, struct mmu_root *out)
{
    m->walk++;
    if (m->ndirect) /* what this CPU itself stored meanwhile: direct.c, rule 3 */
        mmu_drain(m);
    direct_enter(m);
    while (m->root == SP_NONE) { /* the root is re-validated here, before interrupts go off */
        m->changed = false;
        (void)root_page(m);
        if (m->root != SP_NONE)
            unsync_sync_under(m, m->roots[m->root].sp);
    }
    const struct mmu_root_slot *r = &m->roots[m->root];
    out->root = root_hpa(m, m->root);
    out->asid = m->root + 1;
    out->flush = r->clean_at != m->downgrades;
    out->flush_all = false;
    out->downgrades = m->downgrades;
}

void mmu_entered(struct mmu *m, const struct mmu_root *r)
{
    /* Nothing was downgraded since the decision to flush: a stale TLB entry cannot be used. */
    ASSERT(r->downgrades == m->downgrades && m->root + 1 == r->asid);
    ASSERT(r->flush || m->roots[m->root].clean_at == m->downgrades);
    m->roots[m->root].clean_at = m->downgrades;
    /* Outside long mode the processor loads the PDPTEs with CR3, at each entry. */
    m->entered = m->top == 4 && m->cfg.opt->shortcuts ? m->root : ENTERED_NONE;
    m->entered_at = m->downgrades;
    m->flip_entered = true;
    if (r->flush)
        stat_inc(m->pcpu, STAT_flush_all);
}
