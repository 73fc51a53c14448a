/* SPDX-License-Identifier: BSD-2-Clause */
/* What a drain does to the shadow (steps 866..876 of Fig. 12): the entry is re-read and every spte
 * keyed by it repaired or dropped, in every cached root. Tested by tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

/* The frame a 4 KiB entry maps, or false if it is no RAM. A derived value spares the look-up, never
 * the re-read (394D, 394E), and comes from the producer's map, which knows nothing of an APIC that
 * this CPU has there. */
static bool entry_frame(struct mmu *m, uint64_t gpte, hpa_t *h)
{
    if (m->dv && !p2m_covered(m->cfg.p2m, gpa(gpte & PTE_ADDR)) &&
        consumer_derived_usable(m->coh, m->dv, gpte)) {
        *h = hpa(m->dv->spte & PTE_ADDR);
        return true;
    }
    return p2m_lookup(m->cfg.p2m, gpa(gpte & PTE_ADDR), h);
}

/* May the repaired 4 KiB spte be writable? Conditional RMW as in a fill; a drain never posts, so a
 * frame found unsync is left read-only and the write faults. */
static bool repair_claim(struct mmu *m, gfn_t f, uint64_t old_spte, hpa_t h)
{
    uint64_t word;
    if ((old_spte & PTE_W) && (old_spte & PTE_ADDR) == h.v)
        return true; /* keeps what it has */
    if (rmap_is_full(m, h))
        return false;
    if (trace_word(m->coh, f) & TRACE_TRACED)
        return false;
    enum trace_fill r = trace_fill_writable(m->coh, f, &word);
    if (r == TRACE_FILL_UNSYNC && !rmap_has_writable(m, f))
        (void)trace_clear_writer(m->coh, f);
    return r == TRACE_FILL_RW;
}

static uint64_t entry_rights(uint32_t role, uint64_t gpte)
{
    uint64_t r = PTE_P | (gpte & (PTE_U | PTE_A));
    if (role & ROLE_NXE) /* the page's mode, which need not be the present one */
        r |= gpte & PTE_NX;
    return r;
}

static void repair_4k(struct mmu *m, uint32_t page, unsigned idx, uint64_t old, uint64_t gpte)
{
    gfn_t f = gfn((gpte & PTE_ADDR) >> PAGE_SHIFT);
    hpa_t h;

    if (old & SPTE_DEVICE) {
        device_repair(m, page, idx, gpte);
        return;
    }
    if (!entry_frame(m, gpte, &h)) {
        spte_set(m, page, idx, 0, f);
        return;
    }
    uint64_t new = h.v | entry_rights(m->sps[page].role, gpte);
    if ((gpte & PTE_W) && (gpte & PTE_D) && repair_claim(m, f, old, h))
        new |= PTE_W | PTE_D;
    spte_set(m, page, idx, new, f);
}

/* A direct spte whose entry is present now: it goes, and the page is mapped for the use that
 * follows, without A, by which direct_keeps knows the use. */
static void repair_direct(struct mmu *m, uint32_t page, unsigned idx, uint64_t gpte)
{
    if (!(gpte & PTE_P))
        return;
    spte_direct(m, page, idx, false);
    if ((gpte & PTE_A) && !gpte_reserved(m, m->sps[page].role, gpte, 1))
        repair_4k(m, page, idx, 0, gpte & ~(uint64_t)PTE_A);
}

/* An entry that maps a guest large page: a 2 MiB spte of ours, or a link to fragments. */
static void repair_large(struct mmu *m, uint32_t page, unsigned idx, uint64_t old, uint64_t gpte)
{
    unsigned level = m->sps[page].level;
    gfn_t base = gfn(((gpte & PTE_ADDR) >> PAGE_SHIFT) & ~(level_frames(level) - 1));
    bool writable = (gpte & PTE_W) && (gpte & PTE_D);
    uint64_t new = 0;
    hpa_t h;

    if (spte_is_leaf(level, old)) {
        if (p2m_lookup(m->cfg.p2m, gfn_gpa(base), &h) && (old & PTE_ADDR) == h.v) {
            new = h.v | PTE_PS | entry_rights(m->sps[page].role, gpte);
            new |= writable ? old &(PTE_W | PTE_D) : 0;
        }
    } else {
        const struct sp *c = sp_at(m, spte_child(m, old));
        bool wc = device_wc(m, gpte, level, base);
        if ((c->role & ROLE_DIRECT) && c->gfn.v == base.v && (wc || !(c->role & ROLE_WC)))
            new = (old & PTE_ADDR) | entry_rights(m->sps[page].role, gpte) | (writable ? PTE_W : 0);
    }
    spte_replace(m, page, idx, new, base);
}

/* A link loses rights here and gains none: what is below may be older than the entry (listed, or
 * its patch postponed) and was never reached with the new rights. The walk brings it up to date and
 * then gives them. What becomes the user's is dropped: SMEP and SMAP take rights from it. And so is
 * what ends to be, to which they give rights: what is below must not have them by an entry that was
 * changed, or whose A was cleared, before this one. */
static uint64_t link_repaired(uint64_t old, uint64_t want)
{
    if ((want ^ old) & PTE_U)
        return 0;
    return (old & (PTE_ADDR | PTE_NX)) | (want & ~PTE_W) | (want & old & PTE_W);
}

void repair_spte(struct mmu *m, uint32_t page, unsigned idx)
{
    const struct sp *s = sp_at(m, page);
    uint64_t old = spte_get(m, page, idx);

    bool direct = s->ndirect && spte_is_direct(m, page, idx);

    m->work++;
    if ((!(old & PTE_P) && !direct) || (s->role & (ROLE_DIRECT | ROLE_REF)))
        return;
    uint64_t gpte = gpte_of(m, s, idx);
    if (direct) {
        repair_direct(m, page, idx, gpte);
        return;
    }
    /* P=0 or A=0 drops: nobody may hold a translation from such an entry (hv/coherency/README
     * "Consumer"). */
    if (!(gpte & PTE_P) || !(gpte & PTE_A) || gpte_reserved(m, s->role, gpte, s->level) ||
        (s->role & ROLE_WP0)) {
        spte_replace(m, page, idx, 0, gfn(0));
        return;
    }
    if (s->level == 1) {
        repair_4k(m, page, idx, old, gpte);
    } else if (gpte_is_leaf(gpte, s->level)) {
        repair_large(m, page, idx, old, gpte);
    } else {
        uint64_t new = 0;
        if (!spte_is_leaf(s->level, old)) {
            const struct sp *c = sp_at(m, spte_child(m, old));
            if (!(c->role & ROLE_DIRECT) && c->gfn.v == (gpte & PTE_ADDR) >> PAGE_SHIFT &&
                c->role == role_child(s->role, gpte, idx))
                new = link_repaired(old, gpte_link_rights(s->role, gpte));
        }
        spte_replace(m, page, idx, new, gfn(0));
    }
}

void repair_entry(struct mmu *m, gpa_t entry)
{
    gfn_t f = gpa_gfn(entry);
    bool changed = m->changed;
    uint32_t p = sp_first(m, f);

    m->xlate_gen++;
    while (p != SP_NONE) {
        unsigned idx = 0;
        unsigned n = sp_entry_range(&m->sps[p], entry, &idx);
        m->changed = false;
        for (unsigned i = 0; i < n && m->sps[p].used; i++)
            repair_spte(m, p, idx + i);
        /* A page freed by the repair may have been in this very chain (self-map): begin again; what
         * was repaired already repairs to itself. */
        p = m->changed ? sp_first(m, f) : sp_next(m, p);
        changed |= m->changed;
    }
    m->changed = changed;
}

/* The spte at loc becomes `new`, with W if it may have it now. */
static HV_APART void leaf_claim(struct mmu *m, sploc_t loc, uint64_t new, gfn_t f)
{
    uint64_t old = m->sptes[loc];

    if (repair_claim(m, f, old, hpa(new &PTE_ADDR)))
        new |= PTE_W | PTE_D;
    if (new != old)
        spte_set(m, loc >> 9, loc & 511, new, f);
}

/* Each case is a call at its end, so that registers are saved by those alone that need them. */
void repair_leaf(struct mmu *m, uint32_t page, unsigned idx)
{
    const struct sp *s = sp_at(m, page);
    uint64_t old = *sp_spte(m, page, idx);

    if (m->absent && !spte_seen(old)) {
        repair_spte(m, page, idx); /* which knows direct ones */
        return;
    }
    m->work++;
    if (!(old & PTE_P) || (s->role & (ROLE_DIRECT | ROLE_REF)))
        return;
    uint64_t g = gpte_raw(m, s, idx);
    hpa_t h;
    if (!(g & PTE_P)) {
        spte_set(m, page, idx, 0, gfn(0));
    } else if (!(g & PTE_A) || (s->role & ROLE_WP0) || (old & SPTE_DEVICE) ||
               (g & gpte_reserved_4k(m, s->role)) ||
               !p2m_lookup(m->cfg.p2m, gpa(g & PTE_ADDR), &h)) {
        repair_spte(m, page, idx);
    } else { /* as repair_4k */
        gfn_t f = gfn((g & PTE_ADDR) >> PAGE_SHIFT);
        uint64_t new = h.v | entry_rights(s->role, g);
        if ((g & PTE_W) && (g & PTE_D))
            leaf_claim(m, page << 9 | idx, new, f);
        else if (new != old)
            spte_set(m, page, idx, new, f);
    }
}

/* Is `spte`, which has W and D or neither, what is made of the entry `g`? That has the entry's bits
 * `kept`, at the host's place, W where the entry has W and D, and A, or had it on the way: a page
 * mapped without (repair_direct) is not used so far, and an entry without A is nobody's to keep. */
static HV_INLINE bool same_leaf(uint64_t spte, uint64_t g, uint64_t moved, uint64_t kept)
{
    _Static_assert(PTE_W << 5 == PTE_D, "one is shifted over the other");
    uint64_t rest = ((g ^ moved) & kept) ^ (spte | PTE_A), w = (g & g >> 5) ^ spte;

    return !((rest & ~(PTE_W | PTE_D)) | (w & PTE_W));
}

/* Re-reads a page of leaves, most of which are as they were. What is_repaired asks is asked of each
 * entry here at the price of a comparison: the host's region is looked up when it changes. */
static void repair_leaves(struct mmu *m, uint32_t page)
{
    const struct sp *s = sp_at(m, page);
    const uint64_t *spte = sp_spte(m, page, 0);
    const uint64_t *const table = s->table;
    /* What must be 0 in an entry is 0 in the spte. */
    const uint64_t kept = PTE_P | PTE_A | PTE_ADDR | PTE_U | (s->role & ROLE_NXE ? PTE_NX : 0) |
                          gpte_reserved_4k(m, s->role);
    const uint64_t where = PTE_ADDR & ~REGION_MASK;
    uint64_t region = 1, moved = 0; /* region: of an entry, masked by `where`; 1 is none */

    for (unsigned w = 0; w < 8; w++) {
        uint32_t n = 0;
        if (!s->present[w])
            continue;
        for (uint64_t bits = s->present[w]; bits; bits &= bits - 1, n++) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            hpa_t h;
            /* relaxed: the trace word, or the slot, was read with acquire before */
            uint64_t g =
                table ? __atomic_load_n(&table[idx], __ATOMIC_RELAXED) : gpte_raw_any(m, s, idx);
            if ((g & where) != region && p2m_region(m->cfg.p2m, gpa(g & PTE_ADDR), &h)) {
                region = g & where;
                moved = h.v ^ (g & PTE_ADDR);
            }
            if (same_leaf(spte[idx], g, moved, kept) && (g & where) == region)
                continue;
            repair_spte(m, page, idx);
            serve_point(m);
        }
        m->work += n;
        serve_point(m);
    }
}

/* Re-reads a page of links, few of which are there and fewer have changed. */
static void repair_links(struct mmu *m, uint32_t page)
{
    const struct sp *s = sp_at(m, page);

    for (unsigned w = 0, left = s->npresent; w < 8 && left; w++) {
        for (uint64_t bits = s->present[w]; bits; bits &= bits - 1) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            left--;
            if (!upper_stands(m, page, idx)) {
                repair_spte(m, page, idx);
                if (!s->used) /* it was linked in itself alone */
                    return;
            }
            m->work++;
            serve_point(m);
        }
    }
}

void repair_page(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);

    m->xlate_gen++;
    stat_inc(m->pcpu, STAT_unsync_reread);
    if (upper_rereads(m, s)) {
        repair_links(m, page);
        return;
    }
    if (s->level == 1 && !(s->role & (ROLE_DIRECT | ROLE_WP0))) {
        repair_leaves(m, page);
        return;
    }
    for (unsigned w = 0; w < 8; w++) {
        uint64_t bits = s->present[w];
        while (bits) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            bits &= bits - 1;
            if (s->used)
                repair_spte(m, page, idx);
            serve_point(m);
        }
    }
}

/* --- the sink of consumer_drain --- */

/* Step 868: INVLPG need not cover other addresses' leaf entries; a non-leaf patch never outlives
 * one. */
static bool sink_covers(void *ctx, gpa_t entry, bool whole)
{
    struct mmu *m = ctx;
    if (!m->event_invlpg || !m->cfg.opt->postpone || whole)
        return true;
    for (uint32_t p = sp_first(m, gpa_gfn(entry)); p != SP_NONE; p = sp_next(m, p)) {
        unsigned idx = 0;
        if (m->sps[p].level > 1)
            return true;
        if (sp_entry_range(&m->sps[p], entry, &idx) && idx == va_index(m->event_va, 1))
            return true;
    }
    return false;
}

static void sink_repair(void *ctx, gpa_t entry, const struct patch_payload *dv)
{
    struct mmu *m = ctx;
    serve_point(m);
    m->dv = dv;
    repair_entry(m, entry);
    m->dv = NULL;
    if (m->cfg.opt->batch)
        sp_drop_empty(m, sp_first(m, gpa_gfn(entry)));
}

void repair_own(struct mmu *m, gpa_t entry)
{
    ASSERT(!m->draining);
    m->draining = true; /* as in the drain that this stands for, nobody drains in its midst */
    stat_inc(m->pcpu, STAT_patches_own);
    ring_add(m->pcpu, RING_PATCH, entry.v, m->cpu);
    sink_repair(m, entry, NULL);
    m->draining = false;
    m->changed = true;
}

/* Any entry of f may change: own pages are listed, or dropped. */
static void repair_whole(struct mmu *m, gfn_t f)
{
    uint32_t p = sp_first(m, f);
    while (p != SP_NONE) {
        if (unsync_must_zap(m, &m->sps[p])) {
            sp_zap(m, p);
            stat_inc(m->pcpu, STAT_zaps);
            p = sp_first(m, f);
        } else {
            unsync_list(m, p);
            p = sp_next(m, p);
        }
    }
}

static void sink_whole(void *ctx, gfn_t f)
{
    struct mmu *m = ctx;
    serve_point(m);
    m->xlate_gen++;
    repair_whole(m, f);
}

static void sink_overflow(void *ctx)
{
    struct mmu *m = ctx;
    m->xlate_gen++;
    sp_zap_all(m); /* the lost patch may have been a WHOLE, and its page unknown */
}

void repair_init(struct mmu *m)
{
    m->sink = (struct patch_sink){.ctx = m,
                                  .covers = sink_covers,
                                  .repair = sink_repair,
                                  .whole = sink_whole,
                                  .overflow = sink_overflow};
}
