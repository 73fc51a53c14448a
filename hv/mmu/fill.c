/* SPDX-License-Identifier: BSD-2-Clause */
/* Steps 814 and 816 of Fig. 8: making the spte for a walked address, 2 MiB where allowed, and its
 * neighbours. Tested by tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

#define BATCH 8        /* neighbours looked at: an aligned group, ... */
#define BATCH_GROWS 4  /* ... doubled so often at most where most of the last ones were in use */
#define LARGE_AGAIN 32 /* fragments in use before a region becomes one 2 MiB spte again */

/* Rights a leaf spte may have; PTE_W is still subject to the trace word. */
static uint64_t leaf_rights(const struct walk *w, uint32_t role)
{
    bool dirty = (w->gpte & PTE_D) != 0;
    uint64_t r = PTE_P | PTE_A;

    if (role & ROLE_WP0) { /* trap 22: (u=0, w=1) or (u=1, w=0) */
        bool flip = !w->eff_w && (w->access & PFEC_W) && !(w->access & PFEC_U) &&
                    (w->flip || !w->eff_u || !(role & ROLE_SMAP0));
        r |= (w->eff_u && !flip) ? PTE_U : 0;
        r |= (dirty && (w->eff_w || flip)) ? PTE_W : 0;
        r |= w->eff_nx || (flip && w->eff_u && (role & ROLE_SMEP0)) ? PTE_NX : 0;
        return r;
    }
    if (role & ROLE_DIRECT) /* the link above carries the entry's own rights */
        return r | PTE_U | (dirty && w->eff_w ? PTE_W : 0);
    r |= w->gpte & PTE_U;
    r |= dirty && w->eff_w ? PTE_W : 0;
    if (role & ROLE_NXE)
        r |= w->gpte & PTE_NX;
    return r;
}

static uint64_t direct_link_rights(const struct walk *w, uint32_t role)
{
    if (role & ROLE_DIRECT)
        return PTE_P | PTE_A | PTE_W | PTE_U;
    uint64_t r = gpte_link_rights(role, w->gpte);
    if (!(w->gpte & PTE_D))
        r &= ~PTE_W; /* fragments, which entries share, become writable only with this one's D */
    return r;
}

static uint32_t direct_role(const struct mmu *m, const struct walk *w, uint32_t role)
{
    hpa_t h;

    role |= ROLE_DIRECT;
    /* Fragments are shared by entries: those of other memory types have their own. */
    if (device_wc(m, w->gpte, w->level, w->target) &&
        p2m_device(m->cfg.p2m, gfn_gpa(w->target), &h))
        role |= ROLE_WC;
    if (role & ROLE_WP0) {
        role &= ~(uint32_t)(ROLE_ACC_W | ROLE_ACC_U);
        role |= (w->eff_w ? ROLE_ACC_W : 0) | (w->eff_u ? ROLE_ACC_U : 0);
    }
    return role & ~(uint32_t)(ROLE_PAEROOT | ROLE_PAE | ROLE_4B | ROLE_PSE | ROLE_QUAD_MASK);
}

/* A 2 MiB spte for the region, if nothing speaks against it. */
static bool fill_large(struct mmu *m, const struct walk *w, uint32_t page, unsigned idx)
{
    uint64_t base = w->target.v & ~511ull;
    uint64_t old = spte_get(m, page, idx);
    uint32_t role = m->sps[page].role;
    hpa_t h;

    if (!m->cfg.opt->large || base == 0 || !p2m_region(m->cfg.p2m, gfn_gpa(gfn(base)), &h))
        return false;
    if ((old & PTE_P) && !(old & PTE_PS) && m->sps[spte_child(m, old)].npresent < LARGE_AGAIN)
        return false; /* split not long ago: few fragments are cheaper than another flush */
    uint64_t rights = leaf_rights(w, role);
    if ((role & ROLE_WP0) && !w->eff_w)
        return false;
    if ((rights & PTE_W) && !trace_fill_region(m->coh, gfn(base)))
        return false;
    spte_replace(m, page, idx, h.v | rights | PTE_PS | ((rights & PTE_W) ? PTE_D : 0), gfn(base));
    stat_inc(m->pcpu, STAT_fill_large);
    return true;
}

/* Decides PTE_W by the trace word. Nothing inbound is served between this and the spte write. */
static bool claim_writable(struct mmu *m, const struct walk *w, bool *announce, uint64_t *old)
{
    gfn_t f = w->target;
    bool write = (w->access & PFEC_W) != 0;

    *announce = false;
    if (w->give_up) {
        *announce = unsync_enter(m, f, old);
        return *announce; /* else the store is emulated */
    }
    if (!write && (trace_word(m->coh, f) & TRACE_TRACED))
        return false; /* a read needs no more than a read-only spte */
    switch (trace_fill_writable(m->coh, f, old)) {
    case TRACE_FILL_RO:
        return false;
    case TRACE_FILL_UNSYNC:
        *announce = true;
        return true;
    case TRACE_FILL_RW:
        break;
    }
    return true;
}

/* W for a neighbour, only where it asks nobody for anything: user tables, or this CPU writes the
 * frame already. */
static uint64_t neighbour_w(struct mmu *m, uint64_t g, gfn_t f, hpa_t h)
{
    uint64_t word = trace_word(m->coh, f), old;

    if ((word & TRACE_TRACED) || !((g & PTE_U) || (word & TRACE_WRITER(m->cpu))) ||
        rmap_is_full(m, h))
        return 0;
    enum trace_fill r = trace_fill_writable(m->coh, f, &old);
    if (r == TRACE_FILL_RW)
        return PTE_W | PTE_D;
    if (r == TRACE_FILL_UNSYNC && !rmap_has_writable(m, f))
        (void)trace_clear_writer(m->coh, f); /* traced meanwhile: not worth a WHOLE */
    return 0;
}

/* Neighbours with A set in the same source table: saves their hidden faults. A process that comes
 * from another CPU has most of its entries in use: it is given more at a time. */
void fill_batch(struct mmu *m, bool w, uint32_t page, unsigned idx)
{
    struct sp *s = sp_at(m, page);
    const unsigned size = BATCH << s->ahead, first = idx & ~(size - 1);
    const uint64_t group = (size < 64 ? BIT(size) - 1 : ~0ull) << (first & 63);
    const uint64_t used = PTE_P | PTE_A; /* and no reserved bit */
    const uint64_t asked = used | gpte_reserved_4k(m, s->role);
    const uint64_t *const table = s->table;
    const uint64_t mirrored = PTE_U | (s->role & ROLE_NXE ? PTE_NX : 0);
    unsigned found = 0;

    if (!m->cfg.opt->batch || (s->role & (ROLE_DIRECT | ROLE_WP0)))
        return;
    for (unsigned word = first >> 6; word <= (first + size - 1) >> 6; word++) {
        for (uint64_t bits = group & ~s->present[word]; bits; bits &= bits - 1) {
            unsigned i = word * 64 + (unsigned)__builtin_ctzll(bits);
            /* Hostile and concurrent: one load, the copy is checked. Partner: any guest store. */
            uint64_t g =
                table ? __atomic_load_n(&table[i], __ATOMIC_SEQ_CST) : gpte_raw_any(m, s, i);
            hpa_t h;
            if ((g & asked) != used || !p2m_lookup(m->cfg.p2m, gpa(g & PTE_ADDR), &h))
                continue;
            gfn_t f = gfn((g & PTE_ADDR) >> PAGE_SHIFT);
            uint64_t spte = h.v | PTE_P | PTE_A | (g & mirrored);
            if ((g & PTE_W) && (g & PTE_D) && w)
                spte |= neighbour_w(m, g, f, h);
            spte_set(m, page, i, spte, f);
            found++;
            serve_point(m);
        }
    }
    stat_add(m->pcpu, STAT_fill_batch, found);
    s->barren = found ? 0 : (uint8_t)(s->barren + (s->barren < BATCH_BARREN));
    if (found)
        direct_neighbours(s);
    if (found + 1 < size / 2)
        s->ahead = 0;
    else if (s->ahead < BATCH_GROWS)
        s->ahead++;
}

/* The 4 KiB spte at (page, idx) of a level-1 page. */
static enum fill_result fill_4k(struct mmu *m, const struct walk *w, uint32_t page)
{
    unsigned idx = va_index(w->va, 1);
    uint64_t rights = leaf_rights(w, m->sps[page].role);
    bool write = (w->access & PFEC_W) != 0;
    bool announce = false;
    uint64_t old = 0;
    hpa_t h;

    if (!p2m_lookup(m->cfg.p2m, gfn_gpa(w->target), &h)) {
        enum fill_result r = device_fill(m, w, page, rights);
        if (w->flip && r == FILL_DONE)
            flip_made(m, (page << 9 | idx) + 1);
        return r;
    }
    if ((rights & PTE_W) && !claim_writable(m, w, &announce, &old))
        rights &= ~PTE_W;
    if (rights & PTE_W)
        rights |= PTE_D;
    spte_set(m, page, idx, h.v | rights, w->target);
    if (w->flip)
        flip_made(m, (page << 9 | idx) + 1);
    stat_inc(m->pcpu, STAT_fill_single);
    ring_add(m->pcpu, RING_FILL, w->va.v, h.v | rights);
    if (announce) {
        unsync_announce(m, w->target, old); /* before the guest runs */
        return FILL_DONE;
    }
    if (write && !(rights & PTE_W))
        return FILL_TRACED;
    if (batch_likely(m, &m->sps[page], page, idx))
        fill_batch(m, w->eff_w, page, idx);
    return FILL_DONE;
}

bool flip_needed(const struct mmu *m, const struct walk *w)
{
    return !(m->regs.cr0 & CR0_WP) && (m->regs.cr4 & CR4_SMAP) && m->paged && w->eff_u &&
           !w->eff_w && (w->access & (PFEC_W | PFEC_U)) == PFEC_W;
}

bool flip_granted(struct mmu *m, const struct walk *w)
{
    uint64_t page = (w->va.v >> PAGE_SHIFT) + 1;
    bool next = page == m->flip_page + 1 || page == m->flip_page - 1;
    bool now = m->flipped[0] ? next && !m->flipped[1] : page == m->flip_va;

    m->flip_va = 0;
    m->flip_page = now ? page : m->flip_page;
    return now;
}

void flip_made(struct mmu *m, uint32_t loc1)
{
    m->flipped[m->flipped[0] != 0] = loc1;
    m->flip_entered = false;
}

enum fill_result fill_leaf(struct mmu *m, const struct walk *w, gpa_t *at)
{
    uint32_t page = w->sp;

    *at = gpa((w->target.v << PAGE_SHIFT) | (w->va.v & PAGE_MASK));
    hpa_t h;
    if (!p2m_ptr(m->cfg.p2m, *at) && !p2m_device(m->cfg.p2m, *at, &h))
        return FILL_MMIO;
    for (unsigned level = w->level; level > 1; level--) {
        unsigned idx = va_index(w->va, level);
        uint32_t role = m->sps[page].role;
        if (level == 2 && fill_large(m, w, page, idx))
            return FILL_DONE;
        uint32_t child = sp_get(m, gfn(w->target.v & ~(level_frames(level) - 1)), level - 1,
                                direct_role(m, w, role));
        uint64_t spte = sp_hpa(m, child).v | direct_link_rights(w, role);
        if (spte_get(m, page, idx) != spte)
            spte_replace(m, page, idx, spte, gfn(0));
        page = child;
    }
    return fill_4k(m, w, page);
}
