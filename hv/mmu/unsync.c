/* SPDX-License-Identifier: BSD-2-Clause */
/* Hot tables (README "Unsync"): leaf tables written without exits and re-read at events, non-leaf
 * tables given up; the policy when. Tested by tools/tests/test_mmu.c. */
/* Rules.
 * 1. A traced frame is mapped writable here only after the RMW that made it unsync, or found it so;
 *    every other consumer of the word which that RMW replaced gets WHOLE before the guest runs
 *    (unsync_announce).
 * 2. A page is listed as soon as its frame is known to be unsync: by registration, by WHOLE, or by
 *    giving the frame up. It leaves the list after a re-read in front of which the word said synced
 *    (reread), or with its drop.
 * 3. A listed non-leaf page (any page, with unsync=off) stays listed and is dropped at the next
 *    event. Until then it may be re-read: the walk, or the store it was given up for, may stand on
 *    it.
 * 4. Re-reading and dropping free pages, perhaps the next one of the list: then the list is walked
 *    from its head again.
 * 5. Leaving is: every writable spte of the frame gone, the flush due, then one RMW (leave_one).
 * 6. m->out has what this CPU has given up to itself. When it is full the oldest is left, never the
 *    one just entered: its store has not run yet.
 * 7. When a table is given up, how long it stays, when a page not reached is dropped: policy, which
 *    costs time when it is wrong, and nothing else. */
#include "hv/mmu/internal.h"

#define LEAF_TRAPS 2     /* traps before the next own event that make a leaf table unsync */
#define LEAF_TRAPS_FAR 4 /* ... or this many over the last HOT_EPOCHS events */
#define HOT_EPOCHS 16
#define UPPER_TRAPS 6 /* traps between two own events that make a CPU give up a non-leaf table */
#define STAY_MAX 31   /* full flushes that a frame others read stays unsync, at most */
#define QUIET 4       /* re-reads in a row without a change before the writer gives up the table */
#define LISTED_EPOCHS 256 /* a listed page not reached for so many events is dropped */

/* A non-leaf page is never re-read but dropped; with unsync=off no page is. */
static bool must_zap(const struct mmu *m, const struct sp *s)
{
    return s->level > 1 || !m->cfg.opt->unsync;
}

void unsync_list(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);
    if (s->listed)
        return;
    s->listed = true;
    s->quiet = 0;
    s->listed_at = m->epoch;
    bool first = must_zap(m, s); /* those come first, so that whoever drops them finds them */
    s->list_prev = first ? SP_NONE : m->unsync_tail;
    s->list_next = first ? m->unsync_head : SP_NONE;
    if (s->list_prev != SP_NONE)
        m->sps[s->list_prev].list_next = page;
    else
        m->unsync_head = page;
    if (s->list_next != SP_NONE)
        m->sps[s->list_next].list_prev = page;
    else
        m->unsync_tail = page;
    m->unsync_count++;
    m->zap_count += must_zap(m, s);
    stat_inc(m->cpu, STAT_unsync_listed);
}

void unsync_unlist(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);
    if (!s->listed)
        return;
    s->listed = false;
    if (m->list_next == page)
        m->list_next = s->list_next;
    if (m->age_next == page)
        m->age_next = s->list_next;
    if (s->list_prev != SP_NONE)
        m->sps[s->list_prev].list_next = s->list_next;
    else
        m->unsync_head = s->list_next;
    if (s->list_next != SP_NONE)
        m->sps[s->list_next].list_prev = s->list_prev;
    else
        m->unsync_tail = s->list_prev;
    m->unsync_count--;
    m->zap_count -= must_zap(m, s);
}

void unsync_whole(struct mmu *m, gfn_t f)
{
    uint32_t p = sp_first(m, f);
    while (p != SP_NONE) {
        if (must_zap(m, &m->sps[p])) {
            sp_zap(m, p);
            stat_inc(m->cpu, STAT_zaps);
            p = sp_first(m, f);
        } else {
            unsync_list(m, p);
            p = sp_next(m, p);
        }
    }
}

/* Re-reads one listed page. The trace word is looked at before the re-read: synced then, nothing
 * can have escaped it and the page may leave the list. */
static void reread(struct mmu *m, uint32_t page)
{
    uint64_t word = trace_word(m->coh, m->sps[page].gfn);
    uint64_t sets = m->sets;
    repair_page(m, page);
    if (m->sets != sets)
        m->sps[page].quiet = 0;
    else if (m->sps[page].quiet < QUIET)
        m->sps[page].quiet++;
    m->sps[page].listed_at = m->epoch;
    if (!(word & TRACE_UNSYNC))
        unsync_unlist(m, page);
}

static void unsync_zap_upper(struct mmu *m)
{
    while (m->zap_count) {
        sp_zap(m, m->unsync_head); /* the list may lose others with it */
        stat_inc(m->cpu, STAT_zaps);
    }
}

/* Re-reads a listed page. A page that waits for its zap is not zapped here: the walk may stand on
 * it. */
static void sync_one(struct mmu *m, uint32_t page)
{
    if (must_zap(m, &m->sps[page]))
        repair_page(m, page);
    else
        reread(m, page);
}

void unsync_sync(struct mmu *m, bool all)
{
    uint32_t root = m->root == SP_NONE ? SP_NONE : m->roots[m->root].sp;
    uint32_t p = m->unsync_head;

    if (p == SP_NONE)
        return;
    m->xlate_gen++;
    if (root != SP_NONE && !m->sps[root].used)
        root = SP_NONE;
    for (; p != SP_NONE; p = m->list_next) {
        serve_point(m);
        m->list_next = m->sps[p].list_next; /* moves on if that page is freed by what follows */
        if (all || (root != SP_NONE && sp_reaches(m, p, root)))
            sync_one(m, p);
        else if (m->epoch - m->sps[p].listed_at > LISTED_EPOCHS)
            sp_zap(m, p);
    }
}

void unsync_sync_under(struct mmu *m, uint32_t page)
{
    for (uint32_t p = m->unsync_head; p != SP_NONE; p = m->list_next) {
        serve_point(m);
        m->list_next = m->sps[p].list_next;
        if (sp_reaches(m, p, page))
            sync_one(m, p);
    }
}

void unsync_sync_va(struct mmu *m, gva_t va)
{
    if (m->unsync_head == SP_NONE)
        return;
    m->xlate_gen++;
    if (m->root == SP_NONE || !m->paged)
        return;
    uint32_t p = m->roots[m->root].sp;
    if (p == SP_NONE || !m->sps[p].used)
        return;
    for (unsigned level = m->top; level > 1; level--) {
        uint64_t e = *sp_spte(m, p, va_index(va, level));
        if (!(e & PTE_P) || spte_is_leaf(level, e))
            return;
        p = spte_child(m, e);
    }
    const struct sp *s = sp_at(m, p);
    if (s->listed) /* every page keyed by the table: a global entry counts in all roots */
        repair_entry(m, sp_entry_gpa(s, va_index(va, 1)));
}

/* Drops the sptes of a listed leaf table whose entries have lost A. Nothing else is looked at: what
 * changed otherwise may stay until the next event, and whether the table is quiet is not asked. */
static void age_page(struct mmu *m, uint32_t page)
{
    struct sp *s = &m->sps[page];

    for (unsigned w = 0; w < 8; w++) {
        for (uint64_t bits = s->present[w]; bits; bits &= bits - 1) {
            unsigned idx = w * 64 + (unsigned)__builtin_ctzll(bits);
            uint64_t g = gpte_of(m, s, idx);
            m->work++;
            if ((g & (PTE_P | PTE_A)) != PTE_P)
                continue;
            spte_set(m, page, idx, 0, gfn(0));
            s->quiet = 0; /* a re-read would have found that */
            stat_inc(m->cpu, STAT_aged);
        }
        serve_point(m);
    }
}

void mmu_age(struct mmu *m)
{
    uint32_t root = m->root == SP_NONE ? SP_NONE : m->roots[m->root].sp, p = m->age_next;
    uint64_t now = port_tsc();

    if (m->unsync_head == SP_NONE || root == SP_NONE || !m->paged ||
        now - m->aged_at < port_tsc_hz() / AGE_HZ)
        return;
    m->aged_at = now;
    for (unsigned pages = 0, seen = 0;
         pages < AGE_PAGES && seen < m->unsync_count && seen < AGE_SEEN; seen++) {
        serve_point(m);
        if (p == SP_NONE)
            p = m->unsync_head;
        if (!must_zap(m, &m->sps[p]) && sp_reaches(m, p, root)) {
            age_page(m, p);
            pages++;
        }
        p = m->sps[p].list_next; /* no page is freed here */
    }
    m->age_next = p;
}

/* --- the writer --- */

static struct mmu_hot *hot_slot(struct mmu *m, gfn_t f)
{
    return &m->hot[(f.v * 0x9e3779b97f4a7c15ull) >> 58];
}

/* Does this CPU know f as a non-leaf table? Others decide by their own shadow pages. */
static bool is_upper(struct mmu *m, gfn_t f)
{
    bool upper = false;
    for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
        upper |= m->sps[p].level > 1;
    return upper;
}

static struct mmu_left *left_slot(struct mmu *m, gfn_t f)
{
    return &m->left[(f.v * 0x9e3779b97f4a7c15ull) >> 58];
}

/* Full flushes that f, entered now, stays for others' sake: more each time it comes back. */
static uint8_t stay_of(struct mmu *m, gfn_t f)
{
    const struct mmu_left *l = left_slot(m, f);

    if (l->gfn1 != f.v + 1)
        return 0;
    return l->stay < STAY_MAX / 2 ? (uint8_t)(2 * l->stay + 1) : STAY_MAX;
}

bool unsync_wanted(struct mmu *m, gfn_t f)
{
    struct mmu_hot *h = hot_slot(m, f);
    bool upper = is_upper(m, f);

    if (h->gfn != f.v || m->epoch - h->epoch > HOT_EPOCHS)
        *h = (struct mmu_hot){.gfn = f.v, .epoch = m->epoch};
    bool same = h->epoch == m->epoch;
    if (upper && !same) /* an entry now and then: emulating each is cheaper than the subtree */
        h->count = 0;
    h->epoch = m->epoch;
    h->count++;
    if (upper)
        return h->count >= UPPER_TRAPS;
    if (!m->cfg.opt->unsync)
        return false;
    /* Where no other CPU reads the table, unsync costs nobody a re-read: at once. So it is known to
     * be worth it for a table that came back before. */
    if (!(trace_consumers(trace_word(m->coh, f)) & ~(1u << m->cpu)) || stay_of(m, f) > 1)
        return true;
    return (same && h->count >= LEAF_TRAPS) || h->count >= LEAF_TRAPS_FAR;
}

/* Were all re-reads of f's shadow pages of late for nothing? */
static bool is_quiet(struct mmu *m, gfn_t f)
{
    for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
        if (m->sps[p].quiet < QUIET)
            return false;
    return true;
}

/* Oldest first: what is given up now must stay until the guest's store has run. */
static void out_remove(struct mmu *m, uint32_t i)
{
    m->nout--;
    memmove(&m->out[i], &m->out[i + 1], (m->nout - i) * sizeof(m->out[0]));
}

/* Gives the frame up as writer: every writable spte gone, flush scheduled, then one RMW. */
static void leave_one(struct mmu *m, uint32_t i)
{
    gfn_t f = gfn(m->out[i].gfn);
    rmap_drop_writable(m, f);
    *left_slot(m, f) = (struct mmu_left){.gfn1 = f.v + 1, .stay = m->out[i].stay};
    if (m->out[i].leaf)
        stat_inc(m->cpu, STAT_unsync_out);
    out_remove(m, i);
    ring_add(m->cpu, RING_UNSYNC, f.v, 0);
}

static bool is_out(const struct mmu *m, uint32_t i)
{
    uint64_t word = trace_word(m->coh, gfn(m->out[i].gfn));
    return (word & TRACE_UNSYNC) && (word & TRACE_WRITER(m->cpu));
}

/* A place at the end: f's own, one's that was left already, or the oldest's. Was f there? */
static bool out_make_room(struct mmu *m, gfn_t f)
{
    bool known = false;

    for (uint32_t i = 0; i < m->nout;) {
        bool same = m->out[i].gfn == f.v;
        known |= same;
        if (same || (m->nout == MMU_UNSYNC_OUT && !is_out(m, i)))
            out_remove(m, i);
        else
            i++;
    }
    if (m->nout == MMU_UNSYNC_OUT)
        leave_one(m, 0);
    return known;
}

static void out_add(struct mmu *m, gfn_t f)
{
    bool leaf = m->cfg.opt->unsync && !is_upper(m, f);
    uint8_t stay = leaf ? stay_of(m, f) : 0; /* tables given up cost all their readers a subtree */

    bool known = out_make_room(m, f);
    m->out[m->nout++] = (struct mmu_out){.gfn = f.v, .leaf = leaf, .stay = stay, .left = stay};
    if (known)
        return;
    if (leaf)
        stat_inc(m->cpu, STAT_unsync_in);
    ring_add(m->cpu, RING_UNSYNC, f.v, 1);
}

uint64_t unsync_enter(struct mmu *m, gfn_t f)
{
    return trace_enter_unsync(m->coh, f);
}

void unsync_announce(struct mmu *m, gfn_t f, uint64_t old)
{
    cpuset_t self = 1u << m->cpu;

    if (!(old & TRACE_TRACED))
        return;
    out_add(m, f);
    /* To itself by listing directly. Non-leaf pages too, to be zapped at the next event and not at
     * once: the store's own translation may lead through this very table, and must get on. */
    if (trace_consumers(old) & self)
        for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
            unsync_list(m, p);
    if (trace_consumers(old) & ~self)
        producer_post_whole(m->coh, f, trace_consumers(old) & ~self); /* may serve and so change */
}

bool unsync_fresh(struct mmu *m, uint32_t page)
{
    const struct sp *s = sp_at(m, page);

    if (s->level > 1 || !m->cfg.opt->unsync || !m->cfg.opt->fresh ||
        !trace_install_fresh(m->coh, s->gfn))
        return false;
    *left_slot(m, s->gfn) = (struct mmu_left){0}; /* of a former life of the frame */
    out_add(m, s->gfn);
    unsync_list(m, page);
    stat_inc(m->cpu, STAT_fresh);
    return true;
}

void unsync_leave_soon(struct mmu *m, gfn_t f)
{
    for (uint32_t i = 0; i < m->nout; i++)
        if (m->out[i].gfn == f.v && m->out[i].leaf)
            m->leave_soon = m->out[i].soon = true;
}

/* At any event, for the store that the frame was given up for has run. */
static void leave_those(struct mmu *m)
{
    m->leave_soon = false;
    for (uint32_t i = 0; i < m->nout;) {
        serve_point(m);
        if (m->out[i].soon && is_out(m, i))
            leave_one(m, i);
        else
            i++;
    }
}

void unsync_event(struct mmu *m)
{
    unsync_zap_upper(m);
    if (m->leave_soon)
        leave_those(m);
}

void unsync_leave_quiet(struct mmu *m)
{
    for (uint32_t i = 0; i < m->nout;) {
        serve_point(m);
        uint64_t word = trace_word(m->coh, gfn(m->out[i].gfn));
        if ((word & TRACE_UNSYNC) && (word & TRACE_WRITER(m->cpu)) &&
            is_quiet(m, gfn(m->out[i].gfn)))
            leave_one(m, i);
        else
            i++;
    }
}

/* Does this CPU re-read the frame, and for nothing? */
static bool seen_quiet(struct mmu *m, uint64_t word, uint32_t i)
{
    return (word & TRACE_CONSUMER(m->cpu)) && is_quiet(m, gfn(m->out[i].gfn));
}

void unsync_leave(struct mmu *m, bool idle)
{
    cpuset_t self = 1u << m->cpu;

    for (uint32_t i = 0; i < m->nout;) {
        serve_point(m);
        uint64_t word = trace_word(m->coh, gfn(m->out[i].gfn));
        if (!(word & TRACE_UNSYNC) || !(word & TRACE_WRITER(m->cpu))) {
            out_remove(m, i); /* left already: drop request, last alias gone */
        } else if (!(trace_consumers(word) & ~self) && !is_quiet(m, gfn(m->out[i].gfn))) {
            i++; /* nobody else looks at it: stays, re-read on flush */
        } else if (!idle && m->out[i].left && !seen_quiet(m, word, i)) {
            m->out[i++].left--;
        } else {
            leave_one(m, i);
        }
    }
}
