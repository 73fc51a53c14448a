/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadow pages: the fixed pool, lookup by (gfn, level, role), registration with the trace words,
 * dropping and reclaim. Tested by tools/tests/test_mmu.c. */
/* Rules.
 * 1. A frame is registered exactly while this CPU has a shadow page with that source: from the
 *    first page on, before sp_get returns it, to the last.
 * 2. A page whose frame is found unsync is listed before anything is served.
 * 3. A page goes in this order: parent entries, the own sptes, list and hash, registration.
 *    Children left without a parent, unless roots, go after it.
 * 4. Whatever frees a page sets m->changed, so that a walk begins again; but for what makes room
 *    for another page or root, on which no walk stands.
 * 5. A reclaim takes no page of the present walk nor what the current root is made of, and there is
 *    always another to take (MMU_POOL_FLOOR).
 * 6. Nothing is allocated after pool_init. */
#include "hv/mem/phys.h"
#include "hv/mmu/internal.h"

#define RECLAIM_SCAN 128 /* pages looked at for one victim */

static uint32_t pow2_at_most(uint64_t n)
{
    uint32_t p = 1;
    while ((uint64_t)p * 2 <= n && p < (1u << 30))
        p *= 2;
    return p;
}

/* Host granule -> guest granule, the reverse of the p2m. */
static uint64_t m2p_size(const struct p2m *p)
{
    uint64_t top = 0;
    for (uint64_t g = 0; g < p->ngranules; g++)
        if (p->granule[g] != P2M_NONE && p->granule[g] >= top)
            top = p->granule[g] + 1ull;
    return top;
}

static void m2p_fill(struct mmu *m, uint32_t *table)
{
    m->m2p = table;
    for (uint64_t i = 0; i < m->nm2p; i++)
        table[i] = P2M_NONE;
    for (uint64_t g = 0; g < m->cfg.p2m->ngranules; g++)
        if (m->cfg.p2m->granule[g] != P2M_NONE)
            table[m->cfg.p2m->granule[g]] = (uint32_t)g;
}

/* A page, its descriptor; rlink, rhash; shash. */
#define BYTES_EACH                                                                                 \
    (PAGE_SIZE + sizeof(struct sp) + 512 * sizeof(uint32_t) + 64 * sizeof(uint32_t) +              \
     sizeof(uint32_t))

static uint64_t bytes_fixed(uint64_t granules)
{
    return granules * sizeof(uint32_t) + PAGE_SIZE;
}

uint64_t mmu_pool_bytes(uint64_t pages, uint64_t granules)
{
    return pages * BYTES_EACH + bytes_fixed(granules);
}

enum hv_err pool_init(struct mmu *m)
{
    m->nm2p = m2p_size(m->cfg.p2m);
    uint64_t fixed = bytes_fixed(m->nm2p);
    if (m->cfg.pool_bytes <= fixed)
        return HV_NOMEM;
    uint64_t n = (m->cfg.pool_bytes - fixed) / BYTES_EACH;
    if (m->cfg.opt->pool_pages && m->cfg.opt->pool_pages < n)
        n = m->cfg.opt->pool_pages;
    if (n < MMU_POOL_FLOOR)
        return HV_NOMEM;
    if (n > BIT(22)) /* a location is 32 bits */
        n = BIT(22);
    m->npages = (uint32_t)n;
    m->sptes = m->cfg.pool;
    m->sps = (struct sp *)(void *)((char *)m->cfg.pool + n * PAGE_SIZE);
    m->rlink = (uint32_t *)(void *)(m->sps + n);
    m->rhash = m->rlink + n * 512;
    m->rhash_mask = pow2_at_most(n * 64) - 1;
    m->rhash_shift = 64u - (uint32_t)__builtin_ctz(m->rhash_mask + 1);
    m->shash = m->rhash + m->rhash_mask + 1;
    m->shash_mask = pow2_at_most(n) - 1;
    phys_clear(m->cfg.pool, (uint64_t)((char *)m->shash - (char *)m->cfg.pool));
    memset(m->shash, 0xff, (m->shash_mask + 1ull) * sizeof(uint32_t));
    m2p_fill(m, m->shash + m->shash_mask + 1);
    for (uint64_t i = 0; m->absent && i < n * 512; i++)
        m->sptes[i] = m->absent;
    m->free_head = SP_NONE;
    for (uint32_t i = m->npages; i-- > 0;) {
        m->sps[i].hash_next = m->free_head;
        m->free_head = i;
    }
    m->nfree = m->npages;
    m->orphan_head = SP_NONE;
    m->unsync_head = m->unsync_tail = m->list_next = m->age_next = SP_NONE;
    return HV_OK;
}

static void hash_remove(struct mmu *m, uint32_t page)
{
    uint32_t *p = &m->shash[sp_chain(m, m->sps[page].gfn)];
    while (*p != page) {
        ASSERT(*p != SP_NONE);
        p = &m->sps[*p].hash_next;
    }
    *p = m->sps[page].hash_next;
}

/* Nothing stays of a page's life but what it lost (path.c, rule 1). */
static void sp_blank(struct sp *s)
{
    uint64_t cut = s->cut;

    memset(s, 0, sizeof(*s));
    s->cut = cut;
}

static void orphan_push(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);
    if (s->orphan || s->parent || s->is_root)
        return;
    s->orphan = true;
    s->orphan_next = m->orphan_head;
    m->orphan_head = page;
}

/* No slot names a page that goes. */
static void forget_root(struct mmu *m, uint32_t page)
{
    m->sps[page].is_root = false;
    for (uint32_t i = 0; i < m->nroots; i++) {
        if (m->roots[i].sp != page)
            continue;
        m->roots[i].sp = SP_NONE;
        m->roots[i].clean_at = ~0ull;
        if (m->root == i)
            m->root = SP_NONE;
    }
}

/* Drops one page; children that lose their last parent are pushed. */
static void zap_one(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);

    m->changed = true;
    while (s->parent) {
        sploc_t loc = s->parent - 1;
        spte_set(m, loc >> 9, loc & 511, 0, s->gfn);
        serve_point(m);
    }
    if (s->is_root)
        forget_root(m, page);
    for (unsigned w = 0; w < 8 && s->npresent; w++) {
        if (!s->present[w])
            continue;
        if (s->level == 1) {
            spte_drop_word(m, page, w);
            serve_point(m); /* which may make others read-only */
        }
        while (s->present[w]) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(s->present[w]);
            uint64_t e = spte_get(m, page, idx);
            uint32_t child = spte_is_leaf(s->level, e) ? SP_NONE : spte_child(m, e);
            spte_set(m, page, idx, 0, s->gfn);
            if (child != SP_NONE)
                orphan_push(m, child);
            serve_point(m);
        }
    }
    unsync_unlist(m, page);
    hash_remove(m, page);
    if (s->claimed || s->ndirect)
        direct_dropped(m, page);
    if (!(s->role & ROLE_DIRECT) && sp_first(m, s->gfn) == SP_NONE)
        trace_drop(m->coh, s->gfn);
    gfn_t f = s->gfn;
    bool source = !(s->role & ROLE_DIRECT);
    sp_blank(s);
    s->hash_next = m->free_head;
    m->free_head = page;
    m->nfree++;
    m->work++;
    stat_set(m->pcpu, STAT_shadow_pages, m->npages - m->nfree);
    if (source)
        rmap_regain(m, f);
}

static void orphans_free(struct mmu *m)
{
    while (m->orphan_head != SP_NONE) {
        uint32_t p = m->orphan_head;
        m->orphan_head = m->sps[p].orphan_next;
        zap_one(m, p);
    }
}

void sp_zap(struct mmu *m, uint32_t page)
{
    zap_one(m, page);
    orphans_free(m);
}

void sp_orphan(struct mmu *m, uint32_t page)
{
    orphan_push(m, page);
    orphans_free(m);
}

void sp_drop_empty(struct mmu *m, uint32_t page)
{
    while (page != SP_NONE) {
        const struct sp *s = &m->sps[page];
        if (!s->used || s->level == 1 || s->npresent || s->is_root || (s->role & ROLE_DIRECT))
            return;
        uint32_t up = s->parent ? (s->parent - 1) >> 9 : SP_NONE;
        if (up != SP_NONE)
            m->sps[up].quiet = 0; /* a change, found from below */
        sp_zap(m, page);
        page = up;
    }
}

void spte_replace(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte, gfn_t f)
{
    unsigned level = m->sps[page].level;
    uint64_t old = spte_get(m, page, idx);
    uint32_t child = (old & PTE_P) && !spte_is_leaf(level, old) ? spte_child(m, old) : SP_NONE;

    spte_set(m, page, idx, spte, f);
    if (child != SP_NONE && (!(spte & PTE_P) || ((old ^ spte) & PTE_ADDR)))
        sp_orphan(m, child);
}

void sp_zap_all(struct mmu *m)
{
    for (uint32_t p = 0; p < m->npages; p++, m->work++) {
        serve_point(m);
        if (m->sps[p].used)
            sp_zap(m, p);
    }
}

/* Lower is dropped first: the page not walked through for longest, so that what one instruction
 * needs is together at last, however little room there is. A page with pages below it goes after
 * them, and they are no newer; but a root goes with all that only it leads to. */
static uint64_t reclaim_score(const struct sp *s)
{
    return s->stamp + (s->nlinks && !s->is_root ? BIT(62) : 0);
}

/* The current root, and what an unpaged guest's root always has below it (fill_pae_root). */
static bool of_root(const struct mmu *m, uint32_t page, uint32_t root)
{
    bool below = false;

    for (uint32_t l = m->paged ? 0 : m->sps[page].parent; l; l = m->rlink[l - 1])
        below |= (l - 1) >> 9 == root;
    return page == root || below;
}

/* Makes room: drops one page that neither the present walk nor the current root is made of. */
static void reclaim(struct mmu *m)
{
    bool changed = m->changed;
    uint32_t best = SP_NONE;
    uint32_t root = m->root == SP_NONE ? SP_NONE : m->roots[m->root].sp;

    for (uint32_t seen = 0, i = 0; i < m->npages && seen < RECLAIM_SCAN; i++) {
        m->clock = m->clock + 1 < m->npages ? m->clock + 1 : 0;
        const struct sp *s = &m->sps[m->clock];
        if (!s->used || s->stamp == m->walk || of_root(m, m->clock, root))
            continue;
        seen++;
        if (best == SP_NONE || reclaim_score(s) < reclaim_score(&m->sps[best]))
            best = m->clock;
    }
    ASSERT(best != SP_NONE); /* the floor is far above what one walk holds */
    sp_zap(m, best);
    m->changed = changed; /* that is nothing the walk stands on */
    stat_inc(m->pcpu, STAT_reclaims);
}

static uint32_t sp_alloc(struct mmu *m, gfn_t f, unsigned level, uint32_t role)
{
    uint32_t page = m->free_head;
    struct sp *s = sp_at(m, page);
    m->free_head = s->hash_next;
    m->nfree--;
    sp_blank(s);
    s->used = true;
    s->gfn = f;
    s->level = (uint8_t)level;
    s->role = role;
    if (!(role & (ROLE_DIRECT | ROLE_4B))) /* the map is fixed while there are shadow pages */
        s->table = p2m_ptr(m->cfg.p2m, gfn_gpa(f));
    s->stamp = m->walk;
    s->list_prev = s->list_next = SP_NONE;
    uint32_t *head = &m->shash[sp_chain(m, f)];
    s->hash_next = *head;
    *head = page;
    stat_set(m->pcpu, STAT_shadow_pages, m->npages - m->nfree);
    stat_max(m->pcpu, STAT_shadow_pages_high, m->npages - m->nfree);
    return page;
}

/* Step 812: the trace stands, and every writer has acknowledged, before the source is read. */
static void register_source(struct mmu *m, uint32_t page, bool first)
{
    gfn_t f = m->sps[page].gfn;
    cpuset_t ask = 0;
    bool self_drop = false;

    if (!first) {
        if (trace_word(m->coh, f) & TRACE_UNSYNC) {
            unsync_list(m, page);
            if (m->sps[page].level > 1)
                unsync_leave_soon(m, f);
        }
        return;
    }
    if (unsync_fresh(m, page))
        return;
    uint64_t old = trace_install(m->coh, f, &ask, &self_drop);
    if (self_drop)
        rmap_drop_writable(m, f);
    if (old & TRACE_UNSYNC)
        unsync_list(m, page); /* before anything is served: a WHOLE may never come */
    if (ask && action_request(m->coh, ask, REQUEST_DROP, f))
        m->changed = true;
}

uint32_t sp_get(struct mmu *m, gfn_t f, unsigned level, uint32_t role)
{
    uint32_t page = sp_find(m, f, level, role);
    if (page != SP_NONE) {
        m->sps[page].stamp = m->walk;
        return page;
    }
    bool direct = (role & ROLE_DIRECT) != 0;
    if (m->nfree == 0)
        reclaim(m); /* may drop the other page of this very frame, and with it the registration */
    bool first = !direct && sp_first(m, f) == SP_NONE;
    page = sp_alloc(m, f, level, role);
    if (!direct)
        register_source(m, page, first);
    if (!direct && !first)
        for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
            m->sps[p].alias = true;
    return page;
}

/* Nearly every table has one above it. Upwards as long as that is so, and for no more levels than
 * there are: true if *end answers whether `root` is on the way, by being it; else the ways part
 * there. Where the way ends for want of a parent is kept until a link changes. */
static bool sp_single_way(struct mmu *m, uint32_t from, uint32_t root, uint32_t *end)
{
    struct sp *s = &m->sps[from];
    uint32_t page = from;

    for (unsigned level = 0; level < 4; level++) {
        uint32_t l = m->sps[page].parent;
        m->work++;
        *end = page;
        if (!l) {
            s->summit = page;
            s->summit_at = m->cfg.opt->shortcuts ? m->links : 0;
        }
        if (page == root || !l)
            return true;
        if (m->rlink[l - 1])
            return false;
        page = (l - 1) >> 9;
    }
    *end = page;
    return false;
}

bool sp_reaches(struct mmu *m, uint32_t page, uint32_t root)
{
    uint32_t stack[64];
    unsigned n = 0;
    unsigned steps = 0;

    m->work++;
    if (page == root)
        return true;
    if (m->sps[page].summit_at == m->links && !m->sps[root].parent)
        return m->sps[page].summit == root; /* what has no parent is on the way as its end alone */
    if (sp_single_way(m, page, root, &page))
        return page == root;
    stack[n++] = page;
    while (n) {
        uint32_t p = stack[--n];
        m->work++;
        if (p == root)
            return true;
        for (uint32_t l = m->sps[p].parent; l; l = m->rlink[l - 1]) {
            uint32_t up = (l - 1) >> 9;
            if (up == root || n == ARRAY_SIZE(stack) || ++steps > 256)
                return true; /* or too many ways up to follow: treated as reachable */
            stack[n++] = up;
        }
    }
    return false;
}
