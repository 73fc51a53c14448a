/* SPDX-License-Identifier: BSD-2-Clause */
/* When a table goes unsync, how long it stays, and when a listed page is not worth its re-reads any
 * more (README "Unsync"). Each answer may be wrong: it costs exits or re-reads, never coherence.
 * Nothing here touches a page, a list or a trace word. Tested by tools/tests/test_mmu_saving.c and
 * tools/tests/test_mmu_foresight.c. */
#include "hv/mmu/internal.h"

/* Traps on a leaf table that make it unsync: between two events of this CPU, or over HOT_EPOCHS of
 * them. From the first pager; no measurement of other values is recorded. */
#define LEAF_TRAPS 2
#define LEAF_TRAPS_FAR 4
#define HOT_EPOCHS 16

/* Stores to a non-leaf table between two own events for which it is given up, and its subtree with
 * it. 6 is from the first pager, which counted them over HOT_EPOCHS events; that only a burst
 * counts is of a later change for cheaper exits. No measurement of other values is recorded. */
#define UPPER_TRAPS 6

/* The same, over HOT_EPOCHS of them, of one that is re-read and not dropped, and the links that it
 * may have then: each is compared at each INVLPG. Of mmap of a page: 2 of its 3 stores; a touch of
 * new memory, with one store in 512 events, stays as it is. */
#define UPPER_KEPT 2
#define UPPER_LINKS 32

/* Full flushes that a frame which others read stays unsync, at most: 1, 3, 7 .. 31, one step each
 * time it comes back. Came of traces of fork, exec and mmap, with fresh tables and dying address
 * spaces: together they took about 10 of the 45 exits of a fork. Not measured by itself. */
#define STAY_MAX 31

/* Re-reads in a row that change nothing, before the writer gives up a table. Came together with
 * unsync at the first store to a table that only its writer reads, recycled tables and new roots:
 * page faults per fork 45 -> 34, fork and exec 132 -> 108, mmap of a page 8.3 -> 6.6. Not measured
 * by itself. */
#define QUIET 4

/* Events after which a listed page that no root in use reaches is dropped in place of being kept
 * for ever. From the first pager; no measurement is recorded. */
#define LISTED_EPOCHS 256

static struct mmu_hot *hot_slot(struct mmu *m, gfn_t f)
{
    return &m->hot[(f.v * 0x9e3779b97f4a7c15ull) >> 58];
}

static struct mmu_left *left_slot(struct mmu *m, gfn_t f)
{
    return &m->left[(f.v * 0x9e3779b97f4a7c15ull) >> 58];
}

uint8_t policy_stay(struct mmu *m, gfn_t f)
{
    const struct mmu_left *l = left_slot(m, f);

    if (l->gfn1 != f.v + 1)
        return 0;
    return l->stay < STAY_MAX / 2 ? (uint8_t)(2 * l->stay + 1) : STAY_MAX;
}

void policy_left(struct mmu *m, gfn_t f, uint8_t stay)
{
    *left_slot(m, f) = (struct mmu_left){.gfn1 = f.v + 1, .stay = stay};
}

void policy_forget(struct mmu *m, gfn_t f)
{
    *left_slot(m, f) = (struct mmu_left){0};
}

bool policy_gives_up(struct mmu *m, gfn_t f, bool upper, bool kept)
{
    struct mmu_hot *h = hot_slot(m, f);

    if (h->gfn != f.v || m->epoch - h->epoch > HOT_EPOCHS)
        *h = (struct mmu_hot){.gfn = f.v, .epoch = m->epoch};
    bool same = h->epoch == m->epoch;
    if (upper && !kept && !same) /* now and then: emulating each is cheaper than the subtree */
        h->count = 0;
    h->epoch = m->epoch;
    h->count++;
    if (upper && h->count < (kept ? UPPER_KEPT : UPPER_TRAPS))
        return false;
    if (kept)
        h->count = 0; /* if it comes back, it does so by as many again */
    if (upper)
        return true;
    if (!m->cfg.opt->unsync)
        return false;
    /* Where no other CPU reads the table, unsync costs nobody a re-read: at once. So it is known to
     * be worth it for a table that came back before. */
    if (!(trace_consumers(trace_word(m->coh, f)) & ~(1u << m->cpu)) || policy_stay(m, f) > 1)
        return true;
    return (same && h->count >= LEAF_TRAPS) || h->count >= LEAF_TRAPS_FAR;
}

bool policy_few(const struct sp *s)
{
    return s->npresent <= UPPER_LINKS;
}

void policy_reread(struct sp *s, bool changed)
{
    if (changed)
        s->quiet = 0;
    else if (s->quiet < QUIET)
        s->quiet++;
}

bool policy_quiet(const struct sp *s)
{
    return s->quiet >= QUIET;
}

bool policy_stale(const struct mmu *m, const struct sp *s)
{
    return m->epoch - s->listed_at > LISTED_EPOCHS;
}

bool policy_stays(struct mmu_out *o, struct policy_use use, bool idle)
{
    if (!use.by_others && !use.quiet) /* nobody else looks at it: stays, re-read on flush */
        return true;
    if (idle || !o->left || (use.by_self && use.quiet))
        return false;
    o->left--;
    return true;
}
