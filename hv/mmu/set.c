/* SPDX-License-Identifier: BSD-2-Clause */
/* The one writer of sptes: reverse map, parent links, writer bits and the flush generation follow
 * from here. Tested by tools/tests/test_mmu.c. */
/* Rules.
 * 1. spte_set, spte_drop_word for what goes together, spte_direct and, for mmu=ref, spte_set_ref
 *    are the only functions that store to an spte.
 * 2. What is not present is m->absent, or 0 where it is direct (direct.c); spte_get says 0 of both,
 *    and so do the rules. What is present was checked: a leaf maps RAM of the VM, a link leads
 *    to a page in use one level below.
 * 3. After every spte_set the reverse map has exactly the writable leaf sptes, the parent chains
 *    exactly the links, bitmap and counters what is present.
 * 4. A downgrade moves the flush generation in the call that makes it.
 * 5. The caller has set the writer bit before it makes a leaf writable. The bit goes when the last
 *    alias has gone, behind the generation.
 * 6. W and D of a leaf are given and taken together.
 * 7. A leaf of device memory (SPTE_DEVICE) maps what the VM owns of it, uncached and NX, and is in
 * no chain: no table lies there, so no trace is ever installed on it. */
#include "hv/mmu/internal.h"

static uint32_t rhash_of(const struct mmu *m, uint64_t frame_hpa)
{
    uint64_t k = (frame_hpa >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(k >> m->rhash_shift); /* the upper bits spread evenly */
}

static void chain_add(struct mmu *m, uint32_t *head, sploc_t loc)
{
    m->rlink[loc] = *head;
    *head = loc + 1;
}

static void chain_remove(struct mmu *m, uint32_t *head, sploc_t loc)
{
    for (uint32_t *p = head; *p; p = &m->rlink[*p - 1], m->work++) {
        if (*p == loc + 1) {
            *p = m->rlink[loc];
            return;
        }
    }
    PANIC("mmu: spte location 0x%x is in no chain", loc);
}

/* Does location l - 1, of a chain of the reverse map, map the frame at `h`? large: 2 MiB sptes,
 * which have PTE_PS; there it is the PAT bit of others, which RAM never has (rule 7). */
static HV_INLINE bool rmap_is(const struct mmu *m, uint32_t l, uint64_t h, bool large)
{
    return (m->sptes[l - 1] & (PTE_ADDR | PTE_PS)) == (h | (large ? PTE_PS : 0));
}

/* First location of a writable leaf spte that maps the frame at `h`; large: 2 MiB sptes only. */
static uint32_t rmap_first(struct mmu *m, uint64_t h, bool large)
{
    for (uint32_t l = m->rhash[rhash_of(m, h)]; l; l = m->rlink[l - 1], m->work++)
        if (rmap_is(m, l, h, large))
            return l;
    return 0;
}

/* The oldest writable spte of a frame, or link to a page, that has too many of them; or 0. */
static uint32_t crowded(struct mmu *m, unsigned level, uint64_t spte)
{
    bool leaf = spte_is_leaf(level, spte);
    uint64_t h = spte & PTE_ADDR;
    uint32_t n = 0, last = 0;

    if (leaf && !spte_mapped_rw(level, spte))
        return 0;
    for (uint32_t l = leaf ? m->rhash[rhash_of(m, h)] : m->sps[spte_child(m, spte)].parent; l;
         l = m->rlink[l - 1], m->work++) {
        if (!leaf || rmap_is(m, l, h, level == 2)) {
            last = l; /* new ones are put in front */
            n++;
        }
    }
    return n > (leaf ? MMU_ALIASES : MMU_PARENTS) ? last : 0;
}

static gfn_t hpa_to_gfn(const struct mmu *m, uint64_t h)
{
    uint64_t g = h >> REGION_SHIFT;
    ASSERT(g < m->nm2p && m->m2p[g] != P2M_NONE);
    return gfn(((uint64_t)m->m2p[g] << (REGION_SHIFT - PAGE_SHIFT)) |
               ((h & REGION_MASK) >> PAGE_SHIFT));
}

/* What a leaf of RAM maps is f's, and belongs to the VM. */
static HV_INLINE void check_frame(const struct mmu *m, uint64_t spte, gfn_t f)
{
    hpa_t h;
    ASSERT(p2m_lookup(m->cfg.p2m, gfn_gpa(f), &h) && h.v == (spte & PTE_ADDR));
}

/* Every spte's target belongs to the VM or is a shadow page of the next level: always checked. */
static void check_target(const struct mmu *m, const struct sp *s, uint64_t spte, gfn_t f)
{
    if (spte_is_leaf(s->level, spte)) {
        ASSERT(s->level <= 2);
        if (spte & SPTE_DEVICE) {
            ASSERT(s->level == 1 && (spte & PTE_NX) && spte_uncached(spte));
            ASSERT(p2m_owns_device(m->cfg.p2m, f, pfn((spte & PTE_ADDR) >> PAGE_SHIFT)));
            return;
        }
        check_frame(m, spte, f);
        ASSERT(s->level == 1 || ((spte & PTE_ADDR) & REGION_MASK) == 0);
    } else {
        uint32_t child = spte_child(m, spte);
        ASSERT((spte & PTE_ADDR) >= m->cfg.pool_hpa.v && child < m->npages);
        ASSERT(m->sps[child].used && m->sps[child].level + 1 == s->level);
    }
}

/* U either way: a supervisor page that becomes a user page is lost to SMEP and SMAP. */
static HV_INLINE bool is_downgrade_of_rights(uint64_t old, uint64_t new)
{
    return ((old & ~new &PTE_W) | ((old ^ new) & PTE_U) | (new & ~old &PTE_NX)) != 0;
}

/* Does a TLB that holds `old` allow more, or something else, than `new`? */
static bool is_downgrade(unsigned level, uint64_t old, uint64_t new)
{
    if (!(old & PTE_P))
        return false;
    if (!(new &PTE_P) || ((old ^ new) & PTE_ADDR) || (level > 1 && ((old ^ new) & PTE_PS)))
        return true;
    if ((old | new) & SPTE_DEVICE && (old ^ new) & (SPTE_DEVICE | MMU_PTE_TYPE))
        return true;
    return is_downgrade_of_rights(old, new);
}

static void unhook(struct mmu *m, struct sp *s, sploc_t loc, uint64_t old)
{
    if (!spte_is_leaf(s->level, old)) {
        chain_remove(m, &m->sps[spte_child(m, old)].parent, loc);
        s->nlinks--;
    } else if (spte_mapped_rw(s->level, old)) {
        chain_remove(m, &m->rhash[rhash_of(m, old & PTE_ADDR)], loc);
        m->rmap_used--;
    }
}

static void count_rmap(struct mmu *m)
{
    if (++m->rmap_used <= m->rmap_high)
        return;
    m->rmap_high = m->rmap_used;
    stat_max(m->pcpu, STAT_rmap_high, m->rmap_high);
}

static void hook(struct mmu *m, struct sp *s, sploc_t loc, uint64_t new)
{
    if (!spte_is_leaf(s->level, new)) {
        chain_add(m, &m->sps[spte_child(m, new)].parent, loc);
        s->nlinks++;
    } else if (spte_mapped_rw(s->level, new)) {
        chain_add(m, &m->rhash[rhash_of(m, new &PTE_ADDR)], loc);
        count_rmap(m);
    }
}

/* A writable leaf spte of the frame or region at `h` is gone: with the last alias, and after the
 * flush generation moved, give up the writer bit (hv/coherency/README "Trace words"). */
static void writer_gone(struct mmu *m, unsigned level, uint64_t h)
{
    if (rmap_first(m, h, level == 2))
        return;
    if (level == 2)
        trace_clear_region_writer(m->coh, hpa_to_gfn(m, h));
    else
        (void)trace_clear_writer(m->coh, hpa_to_gfn(m, h));
}

static void count_present(struct sp *s, unsigned idx, uint64_t old, uint64_t new)
{
    if ((old & PTE_P) == (new &PTE_P))
        return;
    s->present[idx >> 6] ^= BIT(idx & 63);
    if (new &PTE_P)
        s->npresent++;
    else
        s->npresent--;
}

/* After `spte`, of such a level and for frame f, was made, which crowded() says of. A link that
 * goes is not one of the walk in progress, which has passed one page of each level, and leaves
 * others to its page. */
static HV_RARE void thin_out(struct mmu *m, unsigned level, uint64_t spte, gfn_t f)
{
    uint32_t l = crowded(m, level, spte);

    if (!l)
        return;
    uint64_t fewer = spte_is_leaf(level, spte) ? m->sptes[l - 1] & ~(PTE_W | PTE_D) : 0;
    stat_inc(m->pcpu, STAT_crowded);
    spte_set(m, (l - 1) >> 9, (l - 1) & 511, fewer, f); /* which makes nothing new */
}

/* The reverse map's part of a writable leaf of level 1 that was just made where nothing was: what
 * the general way does, in one pass over the chain. */
static HV_APART void hook_new_leaf(struct mmu *m, sploc_t loc, uint64_t spte, gfn_t f)
{
    uint32_t *head = &m->rhash[rhash_of(m, spte & PTE_ADDR)], others = 0;

    for (uint32_t l = *head; l; l = m->rlink[l - 1], m->work++)
        others += rmap_is(m, l, spte & PTE_ADDR, false);
    chain_add(m, head, loc);
    count_rmap(m);
    if (others >= MMU_ALIASES)
        thin_out(m, 1, spte, f);
}

/* Takes loc out of the chain of the frame at `h`, which it mapped writable. Does another spte? */
static HV_INLINE bool rmap_take(struct mmu *m, sploc_t loc, uint64_t h)
{
    bool found = false, other = false;

    for (uint32_t *p = &m->rhash[rhash_of(m, h)]; *p; m->work++) {
        if (*p == loc + 1) {
            *p = m->rlink[loc];
            found = true;
        } else {
            other |= rmap_is(m, *p, h, false);
            p = &m->rlink[*p - 1];
        }
    }
    ASSERT(found);
    m->rmap_used--;
    return other;
}

/* A leaf of level 1 goes, which is a downgrade always: in one pass over its chain, if it is in one.
 */
static HV_APART void drop_leaf(struct mmu *m, struct sp *s, sploc_t loc, uint64_t old)
{
    bool last = spte_mapped_rw(1, old) && !rmap_take(m, loc, old & PTE_ADDR);

    __atomic_store_n(&m->sptes[loc], m->absent, __ATOMIC_RELAXED);
    s->present[(loc & 511) >> 6] &= ~BIT(loc & 63);
    s->npresent--;
    m->sets++;
    m->downgrades++;
    m->xlate_gen++;
    if (last)
        (void)trace_clear_writer(m->coh, hpa_to_gfn(m, old & PTE_ADDR));
}

/* A leaf of level 1 loses W, and perhaps other rights. */
static HV_APART void lose_w(struct mmu *m, sploc_t loc, uint64_t spte)
{
    uint64_t h = m->sptes[loc] & PTE_ADDR;
    bool last = !rmap_take(m, loc, h);

    __atomic_store_n(&m->sptes[loc], spte, __ATOMIC_RELAXED);
    m->sets++;
    m->downgrades++;
    m->xlate_gen++;
    if (last)
        (void)trace_clear_writer(m->coh, hpa_to_gfn(m, h));
}

/* A leaf of level 1 changes in nothing but its rights, if at all: the frame was checked when it was
 * made. */
static HV_APART void set_rights(struct mmu *m, sploc_t loc, uint64_t spte, gfn_t f)
{
    uint64_t old = m->sptes[loc];

    if (old & ~spte & PTE_W) {
        lose_w(m, loc, spte);
        return;
    }
    if (old == spte)
        return;
    __atomic_store_n(&m->sptes[loc], spte, __ATOMIC_RELAXED);
    m->sets++;
    if (is_downgrade_of_rights(old, spte)) {
        m->downgrades++;
        m->xlate_gen++;
    }
    if (spte & ~old & PTE_W)
        hook_new_leaf(m, loc, spte, f);
}

/* What spte_set does beyond the frequent cases. */
static HV_APART void set_any(struct mmu *m, struct sp *s, sploc_t loc, uint64_t spte, gfn_t f)
{
    uint64_t *slot = &m->sptes[loc];
    uint64_t old = spte_seen(*slot);

    if (old == spte)
        return;
    if (spte)
        check_target(m, s, spte, f);
    bool lost_w = spte_mapped_rw(s->level, old);
    if (lost_w && (spte & PTE_W) && !((old ^ spte) & (PTE_ADDR | PTE_PS)))
        lost_w = false; /* same frame, still writable */
    if (old & PTE_P)
        unhook(m, s, loc, old);
    /* read by this CPU's own table walker only */
    __atomic_store_n(slot, spte ? spte : m->absent, __ATOMIC_RELAXED);
    if (spte & PTE_P)
        hook(m, s, loc, spte);
    count_present(s, loc & 511, old, spte);

    m->sets++;
    m->links += s->level > 1;
    m->unlinks += s->level > 1 && (old & PTE_P);
    s->cut += s->level > 1 && (old & PTE_P);
    if (is_downgrade(s->level, old, spte)) {
        m->downgrades++;
        m->xlate_gen++;
    }
    if (lost_w)
        writer_gone(m, s->level, old & PTE_ADDR);
    if (spte && !spte_is_leaf(s->level, spte))
        direct_linked(m, loc >> 9, spte_child(m, spte));
    if ((spte & PTE_P) && crowded(m, s->level, spte))
        thin_out(m, s->level, spte, f);
}

/* Nearly every fill: a leaf of RAM in a page of level 1, where nothing was. */
static HV_INLINE void make_leaf(struct mmu *m, struct sp *s, sploc_t loc, uint64_t spte, gfn_t f)
{
    check_frame(m, spte, f);
    __atomic_store_n(&m->sptes[loc], spte, __ATOMIC_RELAXED);
    s->present[(loc & 511) >> 6] |= BIT(loc & 63);
    s->npresent++;
    m->sets++;
    if (spte_mapped_rw(1, spte))
        hook_new_leaf(m, loc, spte, f);
}

/* `spte` in place of `old`, which is 0 if nothing is present. Each case is a call at its end, so
 * that the frequent ones save no registers. */
static HV_INLINE void set_known(struct mmu *m, struct sp *s, sploc_t loc, uint64_t old,
                                uint64_t spte, gfn_t f)
{
    m->work++;
    if (!(spte & PTE_P))
        spte = 0; /* not-present sptes carry no address: trap 34 */
    if (s->level > 1)
        set_any(m, s, loc, spte, f);
    else if (!old && (spte & (PTE_P | SPTE_DEVICE)) == PTE_P)
        make_leaf(m, s, loc, spte, f);
    else if (!spte && old)
        drop_leaf(m, s, loc, old);
    else if (spte && !((old ^ spte) & ~(PTE_W | PTE_D | PTE_U | PTE_NX)) && !(old & SPTE_DEVICE))
        set_rights(m, loc, spte, f);
    else
        set_any(m, s, loc, spte, f);
}

/* With direct sptes about: one that was is m->absent now, as what else is not present. */
static HV_APART void set_made_absent(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte,
                                     gfn_t f)
{
    if (m->sps[page].ndirect)
        spte_direct(m, page, idx, false);
    set_known(m, sp_at(m, page), (page << 9) | idx, spte_get(m, page, idx), spte, f);
}

void spte_set(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte, gfn_t f)
{
    struct sp *s = sp_at(m, page);
    sploc_t loc = (page << 9) | idx;

    if (m->absent)
        set_made_absent(m, page, idx, spte, f);
    else
        set_known(m, s, loc, m->sptes[loc], spte, f);
}

void spte_drop_word(struct mmu *m, uint32_t page, unsigned w)
{
    struct sp *s = sp_at(m, page);
    uint64_t *spte = sp_spte(m, page, 0), stay = 0;
    uint16_t n = 0;

    ASSERT(s->level == 1 && w < 8);
    for (uint64_t bits = s->present[w]; bits; bits &= bits - 1) {
        unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
        if (spte[idx] & PTE_W) { /* has a chain and perhaps a writer bit */
            stay |= bits & -bits;
            continue;
        }
        __atomic_store_n(&spte[idx], m->absent, __ATOMIC_RELAXED);
        n++;
    }
    if (!n)
        return;
    s->present[w] = stay;
    s->npresent -= n;
    m->sets += n;
    m->work += n;
    m->downgrades++;
    m->xlate_gen++;
}

void spte_direct(struct mmu *m, uint32_t page, unsigned idx, bool on)
{
    struct sp *s = sp_at(m, page);

    if (spte_get(m, page, idx) || spte_is_direct(m, page, idx) == on)
        return;
    ASSERT(!on || (s->level == 1 && s->claimed && !s->listed));
    /* No flush: nothing that is not present, or has a reserved bit, is cached. */
    __atomic_store_n(sp_spte(m, page, idx), on ? 0 : m->absent, __ATOMIC_RELAXED);
    m->ndirect += on && !s->ndirect;
    s->ndirect = (uint16_t)(on ? s->ndirect + 1 : s->ndirect - 1);
    m->ndirect -= !on && !s->ndirect;
    stat_add(m->pcpu, STAT_direct_sptes, on);
}

void spte_set_ref(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte)
{
    uint64_t *slot = sp_spte(m, page, idx);

    if (is_downgrade(1, *slot, spte))
        m->downgrades++;
    __atomic_store_n(slot, spte, __ATOMIC_RELAXED);
}

bool rmap_has_writable(struct mmu *m, gfn_t f)
{
    hpa_t h;
    return p2m_lookup(m->cfg.p2m, gfn_gpa(f), &h) && rmap_first(m, h.v, false);
}

bool rmap_is_full(struct mmu *m, hpa_t h)
{
    uint32_t n = 0;

    for (uint32_t l = m->rhash[rhash_of(m, h.v)]; l; l = m->rlink[l - 1], m->work++)
        n += rmap_is(m, l, h.v, false);
    return n >= MMU_ALIASES;
}

static struct mmu_lost *lost_slot(struct mmu *m, gfn_t f)
{
    return &m->lost[(f.v * 0x9e3779b97f4a7c15ull) >> 56];
}
_Static_assert(MMU_LOST == 256, "lost_slot takes 8 bits");

/* May (page, idx), a read-only leaf of f that once was writable, be writable again? */
static bool may_regain(struct mmu *m, uint32_t page, unsigned idx, gfn_t f)
{
    const struct sp *s = &m->sps[page];
    uint64_t e = spte_get(m, page, idx);
    hpa_t h;

    if (!s->used || s->level != 1 || (s->role & (ROLE_WP0 | ROLE_REF)) || !(e & PTE_P) ||
        (e & PTE_W) || !p2m_lookup(m->cfg.p2m, gfn_gpa(f), &h) || (e & PTE_ADDR) != h.v)
        return false;
    if (s->role & ROLE_DIRECT)
        return true; /* the link above has the entry's rights */
    uint64_t g = gpte_of(m, s, idx);
    const uint64_t need = PTE_P | PTE_W | PTE_A | PTE_D;
    return (g & need) == need && (g & PTE_ADDR) >> PAGE_SHIFT == f.v &&
           !gpte_reserved(m, s->role, g, 1);
}

void rmap_regain(struct mmu *m, gfn_t f)
{
    struct mmu_lost *l = lost_slot(m, f);
    uint64_t word;

    if (!l->loc || l->gfn != f.v)
        return;
    sploc_t loc = l->loc - 1;
    l->loc = 0;
    if ((trace_word(m->coh, f) & TRACE_TRACED) || !may_regain(m, loc >> 9, loc & 511, f))
        return;
    switch (trace_fill_writable(m->coh, f, &word)) {
    case TRACE_FILL_RW:
        spte_set(m, loc >> 9, loc & 511, m->sptes[loc] | PTE_W | PTE_D, f);
        break;
    case TRACE_FILL_UNSYNC: /* a table again meanwhile */
        if (!rmap_has_writable(m, f))
            (void)trace_clear_writer(m->coh, f);
        break;
    case TRACE_FILL_RO:
        break;
    }
}

void rmap_drop_writable(struct mmu *m, gfn_t f)
{
    hpa_t h;
    uint32_t l;

    if (!p2m_lookup(m->cfg.p2m, gfn_gpa(f), &h))
        return;
    while ((l = rmap_first(m, h.v, false))) { /* W and D go together: trap 25 */
        uint64_t e = m->sptes[l - 1];
        *lost_slot(m, f) = (struct mmu_lost){.gfn = f.v, .loc = l};
        spte_set(m, (l - 1) >> 9, (l - 1) & 511, e & ~(PTE_W | PTE_D), f);
    }
    while ((l = rmap_first(m, h.v & ~REGION_MASK, true))) { /* lazy split */
        spte_set(m, (l - 1) >> 9, (l - 1) & 511, 0, f);
        stat_inc(m->pcpu, STAT_split_large);
    }
    /* A bit may have been set for a mapping that was never made. */
    if (trace_word(m->coh, f) & TRACE_WRITER(m->cpu))
        (void)trace_clear_writer(m->coh, f);
    if (region_word(m->coh, f) & BIT(m->cpu))
        trace_clear_region_writer(m->coh, f);
}
