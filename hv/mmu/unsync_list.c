/* SPDX-License-Identifier: BSD-2-Clause */
/* The two lists of unsync tables (README "Unsync"): pages to re-read, and frames that this CPU has
 * given up to itself. Below the pool, which lists what it registers and unlists what it drops. The
 * rules are in unsync.c. Tested by tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

void unsync_list(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);
    if (s->listed)
        return;
    if (s->claimed)
        direct_end(m, s->gfn);
    s->listed = true;
    s->quiet = 0;
    s->listed_at = m->epoch;
    bool zap = unsync_must_zap(m, s);
    bool first = zap || s->level > 1; /* so that who drops or re-reads those alone finds them */
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
    m->lists++;
    m->zap_count += zap;
    m->upper_count += first && !zap;
    stat_inc(m->pcpu, STAT_unsync_listed);
}

void unsync_unlist(struct mmu *m, uint32_t page)
{
    struct sp *s = sp_at(m, page);
    if (!s->listed)
        return;
    s->listed = false;
    m->hushed = true; /* the last page of its frame, perhaps */
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
    bool zap = unsync_must_zap(m, s);
    m->zap_count -= zap;
    m->upper_count -= !zap && s->level > 1;
}

/* --- what this CPU has given up to itself --- */

/* Oldest first: what is given up now must stay until the guest's store has run. */
void unsync_out_remove(struct mmu *m, uint32_t i)
{
    m->nout--;
    memmove(&m->out[i], &m->out[i + 1], (m->nout - i) * sizeof(m->out[0]));
}

/* Gives the frame up as writer: every writable spte gone, flush scheduled, then one RMW. */
void unsync_leave_one(struct mmu *m, uint32_t i)
{
    gfn_t f = gfn(m->out[i].gfn);
    rmap_drop_writable(m, f);
    policy_left(m, f, m->out[i].stay);
    if (m->out[i].leaf)
        stat_inc(m->pcpu, STAT_unsync_out);
    unsync_out_remove(m, i);
    ring_add(m->pcpu, RING_UNSYNC, f.v, 0);
}

bool unsync_is_out(const struct mmu *m, uint32_t i)
{
    uint64_t word = trace_word(m->coh, gfn(m->out[i].gfn));
    return (word & TRACE_UNSYNC) && (word & TRACE_WRITER(m->cpu));
}

/* A place at the end: f's own, one's that was left already, or the oldest's. Was f there? */
static bool out_make_room(struct mmu *m, gfn_t f)
{
    uint32_t n = m->nout, i = 0;

    while (i < n && m->out[i].gfn != f.v)
        i++;
    if (i < n) {
        unsync_out_remove(m, i);
        return true;
    }
    for (i = 0; m->nout == MMU_UNSYNC_OUT && i < m->nout;) {
        if (unsync_is_out(m, i))
            i++;
        else
            unsync_out_remove(m, i);
    }
    if (m->nout == MMU_UNSYNC_OUT)
        unsync_leave_one(m, 0);
    return false;
}

void unsync_out_add(struct mmu *m, gfn_t f, bool leaf)
{
    uint32_t page = sp_first(m, f);
    /* An upper table costs its other readers more than a leaf table does. */
    bool stays = leaf && page != SP_NONE && m->sps[page].level == 1;
    uint8_t stay = stays ? policy_stay(m, f) : 0;

    bool known = out_make_room(m, f);
    m->hushed = true;
    m->out[m->nout++] = (struct mmu_out){.gfn = f.v, .leaf = leaf, .stay = stay, .left = stay};
    if (known)
        return;
    if (leaf)
        stat_inc(m->pcpu, STAT_unsync_in);
    ring_add(m->pcpu, RING_UNSYNC, f.v, 1);
}

bool unsync_fresh(struct mmu *m, uint32_t page)
{
    const struct sp *s = sp_at(m, page);

    if (unsync_must_zap(m, s) || !m->cfg.opt->fresh || (s->level > 1 && !m->upper_listed) ||
        !trace_install_fresh(m->coh, s->gfn))
        return false;
    policy_forget(m, s->gfn); /* a former life of the frame */
    /* Nobody had it registered: no page here knows it as a non-leaf table. */
    unsync_out_add(m, s->gfn, true);
    unsync_list(m, page);
    m->sps[page].barren = BATCH_BARREN; /* hardly anything in it was in use so far */
    stat_inc(m->pcpu, STAT_fresh);
    return true;
}

void unsync_leave_soon(struct mmu *m, gfn_t f)
{
    for (uint32_t i = 0; i < m->nout; i++)
        if (m->out[i].gfn == f.v && m->out[i].leaf)
            m->leave_soon = m->out[i].soon = true;
}
