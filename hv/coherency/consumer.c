/* SPDX-License-Identifier: BSD-2-Clause */
/* Consumer 399: Fig. 12. Frees a patch *before* it is applied, unlike the figure (878 behind 876):
 * a store between a re-read and a later freeing would be lost. Tested by
 * tools/tests/test_channel.c, test_channel_tsan.c, test_mmu_seen.c. */
/* Rules.
 * 1. The pending word is taken before the scan, an overflow flag before its recovery, a slot is
 *    freed before the sink re-reads.
 * 2. The payload is read before its slot is freed, and counts only if the word exchanged out says
 *    DV.
 * 3. A patch that is left in its slot sets its producer's pending bit again before the drain ends.
 * 4. A drain is not re-entrant; its sink neither posts nor waits nor drains.
 * 5. The audit's question looks at `storing`, then at slots, then at overflow flags, for an entry
 *    that was read before.
 * 6. A guest may see another CPU's store in memory before it is posted, and have its event then: so
 *    an event re-reads what `storing` names, and looks at pending behind that. */
#include "hv/coherency/consumer.h"
#include "hv/base/assert.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/coherency/channel.h"

bool consumer_pending(const struct coh_cpu *self)
{
    /* acquire suffices, a plain load in x86 terms: a post we must see was made before a
     * guest-visible synchronisation that came before our event, or before the `storing` word was
     * cleared that consumer_stores looked at */
    return atomic_load_explicit(&self->own->pending, memory_order_acquire) != 0;
}

/* producer: for the event ring only; RING_ANYONE where the channel is shared. */
static void sink_patch(const struct coh_cpu *self, const struct patch_sink *sink, uint64_t producer,
                       uint64_t word, const struct patch_payload *dv)
{
    gpa_t at = gpa(word & SLOT_GPA);
    stat_inc(self->pcpu, STAT_patches_applied);
    ring_add(self->pcpu, RING_PATCH, word & SLOT_KEY, producer);
    if (word & SLOT_WHOLE)
        sink->whole(sink->ctx, gpa_gfn(at));
    else
        sink->repair(sink->ctx, at, (word & SLOT_DV) ? dv : NULL); /* 872 to 876 */
}

static void sink_overflow(const struct coh_cpu *self, const struct patch_sink *sink)
{
    stat_inc(self->pcpu, STAT_overflow_recoveries);
    sink->overflow(sink->ctx);
}

/* Nothing in the ways of the set that begins at slot `first`? Most sets are empty. acquire: pairs
 * with channel_post's release, as the load of each slot does; a word that comes later has a
 * pending bit that is taken at the next drain. */
static inline bool set_is_empty(const struct channel *ch, unsigned first)
{
    uint64_t any = 0;

#pragma GCC unroll 8
    for (unsigned i = 0; i < CHANNEL_WAYS; i++)
        any |= atomic_load_explicit(&ch->slot[first + i], memory_order_acquire);
    return !any;
}

/* The slots of one set. */
static unsigned drain_set(struct coh_cpu *self, uint32_t producer, unsigned first,
                          const struct patch_sink *sink, unsigned *postponed)
{
    struct channel *ch = &self->co->matrix[producer][self->cpu];
    unsigned n = 0;
    for (unsigned i = first; i < first + CHANNEL_WAYS; i++) {
        struct patch_payload dv;
        /* acquire: pairs with the publishing store in channel_post */
        uint64_t w = atomic_load_explicit(&ch->slot[i], memory_order_acquire); /* 866 */
        if (!w)
            continue;
        if (sink->covers && !sink->covers(sink->ctx, gpa(w & SLOT_GPA), w & SLOT_WHOLE)) { /* 868 */
            ++*postponed; /* 870: it stays in its slot */
            continue;
        }
        w = channel_free(ch, i, &dv); /* 878 */
        ASSERT(w);
        channel_count(&ch->drained);
        sink_patch(self, sink, producer, w, &dv);
        n++;
    }
    return n;
}

/* The second loop (864): one channel. Returns what was handed to the sink. */
static unsigned drain_channel(struct coh_cpu *self, uint32_t producer,
                              const struct patch_sink *sink, unsigned *postponed)
{
    struct channel *ch = &self->co->matrix[producer][self->cpu];
    unsigned n = 0;
    if (channel_take_overflow(ch)) {
        sink_overflow(self, sink);
        n++;
    }
    for (unsigned first = 0; first < CHANNEL_SLOTS; first += CHANNEL_WAYS)
        if (!set_is_empty(ch, first))
            n += drain_set(self, producer, first, sink, postponed);
    return n;
}

static unsigned drain_shared(struct coh_cpu *self, const struct patch_sink *sink,
                             unsigned *postponed)
{
    struct shared_channel *s = &self->co->shared;
    struct shared_patch batch[SHARED_BATCH];
    unsigned n = 0, cursor = 0;
    if (shared_take_overflow(s, self->cpu)) {
        sink_overflow(self, sink);
        n++;
    }
    while (cursor < CHANNEL_SLOTS) {
        unsigned k = shared_take(s, self->cpu, &cursor, sink, batch, postponed);
        for (unsigned i = 0; i < k; i++)
            sink_patch(self, sink, RING_ANYONE, batch[i].word, &batch[i].dv);
        n += k;
    }
    return n;
}

/* A granule is two entries of 8 bytes, or four of 4. */
static void reread_granule(const struct coh_cpu *self, const struct patch_sink *sink, gpa_t at)
{
    uint64_t step = self->co->entry4 ? 4 : 8;

    for (uint64_t i = 0; i <= STORING_GRANULE_MASK; i += step)
        sink->repair(sink->ctx, gpa(at.v + i), NULL);
}

/* What CPU c is storing to, 0: nothing, or it is this one. */
static uint64_t storing_of(const struct coh_cpu *self, uint32_t c)
{
    if (c == self->cpu)
        return 0;
    /* seq_cst: set before the exchange that this CPU's guest read from, so seen here; seen cleared,
     * which is a release behind the last post, the posts are seen. Pairs with storing_begin and
     * storing_end in producer.c. */
    uint64_t s = atomic_load_explicit(&self->co->cpu[c].storing, memory_order_seq_cst);
    return s & STORING_BUSY ? s : 0;
}

bool consumer_news(const struct coh_cpu *self)
{
    uint32_t n = self->co->ncpus;

    for (uint32_t c = 0; n > 1 && c < n; c++)
        if (storing_of(self, c))
            return true;
    return consumer_pending(self);
}

unsigned consumer_stores(struct coh_cpu *self, const struct patch_sink *sink)
{
    unsigned n = 0;

    for (uint32_t c = 0; c < self->co->ncpus; c++) {
        uint64_t s = storing_of(self, c);
        if (!s)
            continue;
        self->draining = true; /* the sink is as in a drain */
        if (s & STORING_FRAME)
            sink->whole(sink->ctx, gfn(s >> PAGE_SHIFT));
        else
            reread_granule(self, sink, gpa(s & ~STORING_GRANULE_MASK));
        self->draining = false;
        n++;
    }
    if (n)
        stat_add(self->pcpu, STAT_stores_seen, n);
    return n;
}

unsigned consumer_drain(struct coh_cpu *self, const struct patch_sink *sink)
{
    struct coherency *co = self->co;
    _Atomic uint64_t *pending = &co->cpu[self->cpu].pending;
    unsigned n = 0, put_off = 0;
    uint64_t producers, left, again = 0;
    ASSERT(!self->draining);
    if (!consumer_pending(self)) {
        stat_inc(self->pcpu, STAT_drains_empty);
        return 0;
    }
    self->draining = true;
    /* Taken before the scan: a patch published behind our back sets its bit again.
     * Pairs with the fetch_or of the producer. */
    producers = atomic_exchange_explicit(pending, 0, memory_order_seq_cst);
    left = producers;
    for (uint32_t p = 0; p < co->ncpus; p++) { /* 862 */
        unsigned postponed = 0;
        if (!(left & BIT(p)))
            continue;
        if (co->mode == COHERENCY_LOCKED) {
            n += drain_shared(self, sink, &postponed);
            left = 0; /* one channel for all */
        } else {
            n += drain_channel(self, p, sink, &postponed);
        }
        put_off += postponed;
        again |= postponed ? BIT(p) : 0;
    }
    if (again) /* 870: still pending; relaxed, only this CPU depends on it */
        atomic_fetch_or_explicit(pending, again, memory_order_relaxed);
    stat_inc(self->pcpu, STAT_drains);
    stat_add(self->pcpu, STAT_patches_postponed, put_off);
    ring_add(self->pcpu, RING_DRAIN, producers, n);
    self->draining = false;
    return n; /* 880 */
}

bool consumer_derived_usable(const struct coh_cpu *self, const struct patch_payload *dv,
                             uint64_t gpte)
{
    /* acquire: pairs with trace_install. The value is an address, not a right: a writable spte
     * still goes through trace_fill_writable, so a trace placed after this load is not missed. */
    if (!dv || dv->gpte != gpte ||
        dv->counter != atomic_load_explicit(&self->co->trace_counter, memory_order_acquire))
        return false;
    stat_inc(self->pcpu, STAT_derived_used);
    return true;
}

static bool storing_names(uint64_t storing, gpa_t entry)
{
    if (!(storing & STORING_BUSY))
        return false;
    return storing & STORING_FRAME
               ? storing >> PAGE_SHIFT == entry.v >> PAGE_SHIFT
               : storing >> STORING_GRANULE_SHIFT == entry.v >> STORING_GRANULE_SHIFT;
}

bool consumer_explains(const struct coh_cpu *self, gpa_t entry)
{
    struct coherency *co = self->co;
    gpa_t at = gpa(entry.v & ~(co->entry4 ? 3ull : 7ull));
    uint64_t key = patch_key_entry(at), whole = patch_key_whole(gpa_gfn(at));
    /* Storing words first: a post that completes while we look has then left its slot behind.
     * acquire: pairs with the release that clears `storing` in producer.c. */
    for (uint32_t p = 0; p < co->ncpus; p++)
        if (storing_names(atomic_load_explicit(&co->cpu[p].storing, memory_order_acquire), at))
            return true;
    if (co->mode == COHERENCY_LOCKED)
        return shared_explains(&co->shared, self->cpu, key, whole);
    for (uint32_t p = 0; p < co->ncpus; p++)
        if (channel_has(&co->matrix[p][self->cpu], key) ||
            channel_has(&co->matrix[p][self->cpu], whole))
            return true;
    for (uint32_t p = 0; p < co->ncpus; p++)
        if (atomic_load_explicit(&co->matrix[p][self->cpu].overflow, memory_order_acquire))
            return true;
    return false;
}
