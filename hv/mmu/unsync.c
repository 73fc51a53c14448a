/* SPDX-License-Identifier: BSD-2-Clause */
/* Hot tables (README "Unsync"): leaf tables written without exits and re-read at events, other
 * tables given up: what is re-read, entered and left when. Tested by tools/tests/test_mmu.c. */
/* Rules.
 * 1. A traced frame is mapped writable here only after the RMW that made it unsync, or found it so;
 *    every other consumer of the word which that RMW replaced gets WHOLE before the guest runs
 *    (unsync_announce).
 * 2. A page is listed as soon as its frame is known to be unsync: by registration, by WHOLE, or by
 *    giving the frame up. It leaves the list after a re-read in front of which the word said synced
 *    (unsync_reread), or with its drop.
 * 3. A listed page that unsync_must_zap names stays listed and is dropped at the next event. Until
 *    then it may be re-read: the walk, or the store it was given up for, may stand on it.
 * 4. Re-reading and dropping free pages, perhaps the next one of the list: whoever goes through it
 *    keeps his place in m->list_next, which unsync_unlist moves on.
 * 5. Leaving is: every writable spte of the frame gone, the flush due, then one RMW
 * (unsync_leave_one).
 * 6. m->out has what this CPU has given up to itself. When it is full the oldest is left, never the
 *    one just entered: its store has not run yet.
 * 7. When a table is given up, how long it stays, when a page not reached is dropped is asked of
 *    unsync_policy.c.
 * 8. That nothing listed is below a root stays so while no link changed and nothing was listed
 *    (bare_links, bare_lists of its slot, which a slot that changes hands forgets).
 * 9. That no frame given up has only quiet pages stays so until a frame is given up, a page is
 *    re-read for nothing once too often, or one leaves the list (hushed). */
#include "hv/mmu/internal.h"

#define BARE_EPOCHS                                                                                \
    16 /* so often a list that concerns no root in use is gone through all the same */

/* Re-reads one listed page. The trace word is looked at before the re-read: synced then, nothing
 * can have escaped it and the page may leave the list. */
void unsync_reread(struct mmu *m, uint32_t page)
{
    uint64_t word = trace_word(m->coh, m->sps[page].gfn);
    uint64_t sets = m->sets;
    bool was = policy_quiet(&m->sps[page]);
    repair_page(m, page);
    if (!m->sps[page].used) /* a table of tables that was in itself alone */
        return;
    policy_reread(&m->sps[page], m->sets != sets);
    m->hushed |= !was && policy_quiet(&m->sps[page]);
    m->sps[page].listed_at = m->epoch;
    if (!(word & TRACE_UNSYNC))
        unsync_unlist(m, page);
}

static void unsync_zap_upper(struct mmu *m)
{
    while (m->zap_count) {
        uint32_t p = m->unsync_head;
        while (!unsync_must_zap(m, &m->sps[p])) /* before those of leaves (unsync_list) */
            p = m->sps[p].list_next;
        sp_zap(m, p); /* the list may lose others with it */
        stat_inc(m->pcpu, STAT_zaps);
    }
}

/* Re-reads a listed page. A page that waits for its zap is not zapped here: the walk may stand on
 * it. */
static void sync_one(struct mmu *m, uint32_t page)
{
    if (unsync_must_zap(m, &m->sps[page]))
        repair_page(m, page);
    else
        unsync_reread(m, page);
}

/* Rule 8. `below` is asked of all listed pages only when it may have changed, and now and then for
 * those that grow stale. */
static bool is_bare(const struct mmu *m, uint32_t slot)
{
    const struct mmu_root_slot *r = &m->roots[slot];

    return r->bare_links == m->links && r->bare_lists == m->lists && m->epoch % BARE_EPOCHS;
}

static HV_APART void sync_listed(struct mmu *m, bool all)
{
    uint32_t root = m->root == SP_NONE ? SP_NONE : m->roots[m->root].sp;
    uint32_t p = m->unsync_head, slot = m->root;
    bool bare = !all && root != SP_NONE && m->sps[root].used && m->cfg.opt->shortcuts;

    if (root != SP_NONE && !m->sps[root].used)
        root = SP_NONE;
    uint64_t links = m->links, lists = m->lists;
    for (; p != SP_NONE; p = m->list_next) {
        serve_point(m);
        m->list_next = m->sps[p].list_next; /* moves on if that page is freed by what follows */
        if (all || (root != SP_NONE && sp_below(m, p, root))) {
            bare = false;
            bool upper = upper_rereads(m, &m->sps[p]);
            sync_one(m, p);
            if (upper)
                sp_drop_empty(m, p);
        } else if (policy_stale(m, &m->sps[p])) {
            sp_zap(m, p);
        }
    }
    if (bare) {
        m->roots[slot].bare_links = links;
        m->roots[slot].bare_lists = lists;
    }
}

void unsync_sync(struct mmu *m, bool all)
{
    if (m->unsync_head == SP_NONE)
        return;
    m->xlate_gen++;
    if (all || m->root == SP_NONE || !is_bare(m, m->root))
        sync_listed(m, all);
}

void unsync_sync_under(struct mmu *m, uint32_t page)
{
    for (uint32_t p = m->unsync_head; p != SP_NONE; p = m->list_next) {
        serve_point(m);
        m->list_next = m->sps[p].list_next;
        if (sp_below(m, p, page))
            sync_one(m, p);
    }
}

/* Is there no other page of its table, and does one spte stand for one entry? */
static inline bool is_alone(const struct sp *s)
{
    return !s->alias && s->level == 1 && !(s->role & ROLE_4B);
}

/* The entry behind (page, idx), in every page keyed by the table: a global one counts in all roots.
 * Nearly always all are of level 1 and one spte stands for one entry; then none can be freed. */
static void sync_entry(struct mmu *m, uint32_t page, unsigned idx)
{
    const struct sp *s = sp_at(m, page);

    if (is_alone(s)) {
        repair_leaf(m, page, idx);
        return;
    }
    for (uint32_t p = sp_first(m, s->gfn); p != SP_NONE; p = sp_next(m, p)) {
        if (m->sps[p].level > 1 || (m->sps[p].role & ROLE_4B)) {
            repair_entry(m, sp_entry_gpa(s, idx));
            return;
        }
        repair_leaf(m, p, idx);
    }
}

static HV_APART void sync_va_any(struct mmu *m, gva_t va)
{
    const struct mmu_path *p = path_of(m, va);

    if (p && p->level == 1 && sp_at(m, p->sp)->listed)
        sync_entry(m, p->sp, va_index(va, 1));
}

void unsync_sync_va(struct mmu *m, gva_t va)
{
    const struct mmu_path *p;

    if (m->unsync_head == SP_NONE)
        return;
    m->xlate_gen++;
    if (!m->paged)
        return;
    p = path_known(m, va);
    if (p && p->level == 1 && is_alone(&m->sps[p->sp])) {
        if (m->sps[p->sp].listed)
            repair_leaf(m, p->sp, va_index(va, 1));
    } else {
        sync_va_any(m, va);
    }
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
            stat_inc(m->pcpu, STAT_aged);
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
        if (m->sps[p].level == 1 && !unsync_must_zap(m, &m->sps[p]) && sp_reaches(m, p, root)) {
            age_page(m, p);
            pages++;
        }
        p = m->sps[p].list_next; /* no page is freed here */
    }
    m->age_next = p;
}

/* --- the writer --- */

/* Does this CPU know f as a non-leaf table? Others decide by their own shadow pages. */
static bool is_upper(struct mmu *m, gfn_t f)
{
    bool upper = false;
    for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
        upper |= m->sps[p].level > 1;
    return upper;
}

/* Would its pages be dropped at the next event? */
static bool is_zapped(struct mmu *m, gfn_t f)
{
    bool zap = !m->cfg.opt->unsync; /* also where only others have pages of it */
    for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
        zap |= unsync_must_zap(m, &m->sps[p]);
    return zap;
}

bool unsync_wanted(struct mmu *m, gfn_t f)
{
    bool upper = is_upper(m, f);
    bool kept = upper && policy_few(&m->sps[sp_first(m, f)]) && !is_zapped(m, f);

    return policy_gives_up(m, f, upper, kept);
}

/* Has a frame that this CPU writes a page here whose re-reads were not for nothing? The page seen
 * last says so nearly always. */
static bool is_lively(const struct mmu *m, const struct mmu_out *o)
{
    const struct sp *s = &m->sps[o->page];

    return s->used && s->gfn.v == o->gfn && !(s->role & ROLE_DIRECT) && !policy_quiet(s);
}

/* Were all re-reads of f's shadow pages of late for nothing? */
static bool is_quiet(struct mmu *m, gfn_t f)
{
    for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
        if (!policy_quiet(&m->sps[p]))
            return false;
    return true;
}

bool unsync_enter(struct mmu *m, gfn_t f, uint64_t *old)
{
    if (!producer_give_up(m->coh, f))
        return false;
    *old = trace_enter_unsync(m->coh, f);
    producer_given_up(m->coh);
    return true;
}

bool unsync_settle(struct mmu *m, gfn_t f)
{
    uint32_t p;

    for (uint32_t i = 0; i < m->nout; i++) {
        if (m->out[i].gfn != f.v)
            continue;
        unsync_leave_one(m, i);
        break;
    }
    if (trace_word(m->coh, f) & TRACE_UNSYNC)
        return false;
    for (p = sp_first(m, f); p != SP_NONE && !m->sps[p].listed; p = sp_next(m, p))
        ;
    if (p != SP_NONE)
        sync_one(m, p);
    return p == SP_NONE || !m->sps[p].listed;
}

void unsync_announce(struct mmu *m, gfn_t f, uint64_t old)
{
    cpuset_t self = 1u << m->cpu;

    if (!(old & TRACE_TRACED))
        return;
    unsync_out_add(m, f, !is_zapped(m, f));
    /* To itself by listing directly. Non-leaf pages too, to be zapped at the next event and not at
     * once: the store's own translation may lead through this very table, and must get on. */
    if (trace_consumers(old) & self)
        for (uint32_t p = sp_first(m, f); p != SP_NONE; p = sp_next(m, p))
            unsync_list(m, p);
    if (trace_consumers(old) & ~self)
        producer_post_whole(m->coh, f, trace_consumers(old) & ~self); /* may serve and so change */
}

/* The writer has left f: as a table of tables it costs no more looks. */
static void upper_left(struct mmu *m, gfn_t f)
{
    uint32_t p = sp_first(m, f);

    while (p != SP_NONE) {
        bool again = m->sps[p].listed && upper_rereads(m, &m->sps[p]);
        if (again)
            unsync_reread(m, p);
        p = again && !m->sps[p].used ? sp_first(m, f) : sp_next(m, p);
    }
}

/* At any event, for the store that the frame was given up for has run. */
static void leave_those(struct mmu *m)
{
    m->leave_soon = false;
    for (uint32_t i = 0; i < m->nout;) {
        serve_point(m);
        if (!m->out[i].soon || !unsync_is_out(m, i)) {
            i++;
            continue;
        }
        gfn_t f = gfn(m->out[i].gfn);
        unsync_leave_one(m, i);
        upper_left(m, f);
    }
}

void unsync_event_now(struct mmu *m)
{
    unsync_zap_upper(m);
    if (m->leave_soon)
        leave_those(m);
}

HV_APART void unsync_leave_quiet(struct mmu *m)
{
    m->hushed = !m->cfg.opt->shortcuts;
    for (uint32_t i = 0; i < m->nout;) {
        serve_point(m);
        if (is_lively(m, &m->out[i])) {
            i++;
            continue;
        }
        gfn_t f = gfn(m->out[i].gfn);
        uint32_t page = sp_first(m, f);
        m->out[i].page = page == SP_NONE ? 0 : page;
        if (unsync_is_out(m, i) && is_quiet(m, f))
            unsync_leave_one(m, i);
        else
            i++;
    }
}

void unsync_leave(struct mmu *m, bool idle)
{
    cpuset_t self = 1u << m->cpu;

    for (uint32_t i = 0; i < m->nout;) {
        serve_point(m);
        gfn_t f = gfn(m->out[i].gfn);
        uint64_t word = trace_word(m->coh, f);
        if (!(word & TRACE_UNSYNC) || !(word & TRACE_WRITER(m->cpu))) {
            unsync_out_remove(m, i); /* left already: drop request, last alias gone */
            continue;
        }
        if (!(trace_consumers(word) & ~self) && is_lively(m, &m->out[i])) {
            i++; /* as policy_stays would say */
            continue;
        }
        uint32_t page = sp_first(m, f);
        m->out[i].page = page == SP_NONE ? 0 : page;
        struct policy_use use = {
            .by_others = trace_consumers(word) & ~self,
            .by_self = trace_consumers(word) & self,
            .quiet = is_quiet(m, f),
        };
        if (policy_stays(&m->out[i], use, idle))
            i++;
        else
            unsync_leave_one(m, i);
    }
}
