/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace words (README "Trace words"): each transition of a frame or region word is one
 * read-modify-write. That gives all transitions of one word a total order, from which everything
 * else follows. Frames without a word (beyond the guest's RAM) behave as untraced and are never
 * written. Tested by tools/tests/test_trace.c and, with real threads, test_trace_tsan.c. */
/* Rules.
 * 1. Each transition is one RMW of each word it changes. What is decided comes from the word that
 *    the RMW replaced; loads before it are guesses.
 * 2. A registration counts the region up first, then changes the frame; a drop the other way round.
 * 3. No RMW adds a writer and leaves the frame traced and synced, or adds one to a region with
 *    registrations.
 * 4. Unsync is set by a RMW whose result has its writer, and cleared in one RMW with the last
 *    writer or the last consumer.
 * 5. A CPU changes no writer or consumer bit but its own.
 * 6. Every registration moves the trace counter, before the table is read. */
#include "hv/coherency/trace.h"
#include "hv/base/assert.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"

#define REGION_ONE BIT(32) /* one (CPU, frame) registration */
#define REGION_COUNT MASK(63, 32)

static _Atomic uint64_t *frame_word(const struct coh_cpu *self, gfn_t f)
{
    return f.v < self->co->nframes ? &self->co->frame[f.v] : NULL;
}

static _Atomic uint64_t *region_of(const struct coh_cpu *self, gfn_t f)
{
    uint64_t r = f.v >> (REGION_SHIFT - PAGE_SHIFT);
    return f.v < self->co->nframes ? &self->co->region[r] : NULL;
}

uint64_t trace_word(const struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = frame_word(self, f);
    /* seq_cst: the producer's half of the Dekker pair with trace_install */
    return w ? atomic_load_explicit(w, memory_order_seq_cst) : 0;
}

uint64_t trace_word_after_stores(const struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = frame_word(self, f);
    /* Full fence and load in one; without it the load could pass the stores (SDM 3A 8.2.3.4 "Loads
     * May Be Reordered with Earlier Stores to Different Locations"). Pairs with trace_install. */
    return w ? atomic_fetch_or_explicit(w, 0, memory_order_seq_cst) : 0;
}

uint64_t region_word(const struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = region_of(self, f);
    return w ? atomic_load_explicit(w, memory_order_seq_cst) : 0;
}

enum trace_fill trace_fill_writable(struct coh_cpu *self, gfn_t f, uint64_t *old)
{
    _Atomic uint64_t *w = frame_word(self, f);
    uint64_t o, n;
    *old = 0;
    if (!w)
        return TRACE_FILL_RW;
    o = atomic_load_explicit(w, memory_order_relaxed); /* only a guess for the exchange below */
    do {
        if ((o & TRACE_TRACED) && !(o & TRACE_UNSYNC)) {
            *old = o;
            return TRACE_FILL_RO;
        }
        n = o | TRACE_WRITER(self->cpu);
        /* pairs with the fetch_or of trace_install: whoever comes second sees the other */
    } while (!atomic_compare_exchange_weak_explicit(w, &o, n, memory_order_seq_cst,
                                                    memory_order_relaxed));
    *old = o;
    return (o & TRACE_TRACED) ? TRACE_FILL_UNSYNC : TRACE_FILL_RW;
}

bool trace_fill_region(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = region_of(self, f);
    uint64_t o;
    if (!w)
        return true;
    o = atomic_load_explicit(w, memory_order_relaxed); /* only a guess */
    do {
        if (o & REGION_COUNT)
            return false;
        /* pairs with the count going up in trace_install */
    } while (!atomic_compare_exchange_weak_explicit(w, &o, o | BIT(self->cpu), memory_order_seq_cst,
                                                    memory_order_relaxed));
    return true;
}

/* What every registration does beside the word. */
static void installed(struct coh_cpu *self, gfn_t f, uint64_t old)
{
    /* 394E: a value derived before this traced a frame is no longer current. */
    atomic_fetch_add_explicit(&self->co->trace_counter, 1, memory_order_seq_cst);
    stat_inc(self->pcpu, STAT_trace_installs);
    ring_add(self->pcpu, RING_TRACE, f.v, old);
}

uint64_t trace_install(struct coh_cpu *self, gfn_t f, cpuset_t *ask, bool *self_drop)
{
    _Atomic uint64_t *w = frame_word(self, f);
    uint64_t region, old;
    cpuset_t writers;
    *ask = 0;
    *self_drop = false;
    if (!w)
        return 0;
    /* Region first, then the frame, by every installer itself, even if the frame is traced. */
    region = atomic_fetch_add_explicit(region_of(self, f), REGION_ONE, memory_order_seq_cst);
    ASSERT((region & REGION_COUNT) != REGION_COUNT);
    /* seq_cst: Dekker pair with a producer, which stores the entry and then loads this word; the
     * entry load that follows the installation sees the store, or the store's post sees us. */
    old =
        atomic_fetch_or_explicit(w, TRACE_TRACED | TRACE_CONSUMER(self->cpu), memory_order_seq_cst);
    ASSERT(!(old & TRACE_CONSUMER(self->cpu)));
    writers = (cpuset_t)(region & TRACE_CONSUMERS);
    if (!(old & TRACE_UNSYNC))
        writers |= trace_writers(old);
    *ask = writers & ~(cpuset_t)BIT(self->cpu);
    *self_drop = (writers & (cpuset_t)BIT(self->cpu)) != 0;
    installed(self, f, old);
    return old;
}

bool trace_install_fresh(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = frame_word(self, f);
    uint64_t o = TRACE_WRITER(self->cpu);
    uint64_t n = o | TRACE_TRACED | TRACE_UNSYNC | TRACE_CONSUMER(self->cpu);
    uint64_t region;
    if (!w || atomic_load_explicit(w, memory_order_relaxed) != o) /* only a guess */
        return false;
    /* pairs with the exchange of trace_fill_region, as in trace_install */
    region = atomic_fetch_add_explicit(region_of(self, f), REGION_ONE, memory_order_seq_cst);
    /* Pairs with trace_fill_writable and trace_install. Only from this very word: what
     * trace_install, trace_clear_writer and trace_enter_unsync of this CPU, back to back, would
     * leave there. A fill by another CPU comes before it, and this fails, or behind it, sees unsync
     * and posts WHOLE. */
    if ((region & TRACE_CONSUMERS) || !atomic_compare_exchange_strong_explicit(
                                          w, &o, n, memory_order_seq_cst, memory_order_relaxed)) {
        atomic_fetch_sub_explicit(region_of(self, f), REGION_ONE, memory_order_seq_cst);
        return false;
    }
    installed(self, f, o);
    return true;
}

void trace_drop(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = frame_word(self, f);
    uint64_t o, n, region;
    if (!w)
        return;
    o = atomic_load_explicit(w, memory_order_relaxed); /* only a guess */
    do {
        ASSERT(o & TRACE_CONSUMER(self->cpu));
        n = o & ~TRACE_CONSUMER(self->cpu);
        if (!trace_consumers(n))
            n &= ~(TRACE_TRACED | TRACE_UNSYNC);
        /* one exchange: a registration between two would lose its trace */
    } while (!atomic_compare_exchange_weak_explicit(w, &o, n, memory_order_seq_cst,
                                                    memory_order_relaxed));
    region = atomic_fetch_sub_explicit(region_of(self, f), REGION_ONE, memory_order_seq_cst);
    ASSERT(region & REGION_COUNT);
    stat_inc(self->pcpu, STAT_trace_drops);
}

uint64_t trace_enter_unsync(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = frame_word(self, f);
    uint64_t o, n;
    if (!w)
        return 0;
    o = atomic_load_explicit(w, memory_order_relaxed); /* only a guess */
    do {
        n = o | TRACE_WRITER(self->cpu);
        if (o & TRACE_TRACED)
            n |= TRACE_UNSYNC;
        /* pairs with trace_install: a later registration sees unsync, an earlier one gets WHOLE */
    } while (!atomic_compare_exchange_weak_explicit(w, &o, n, memory_order_seq_cst,
                                                    memory_order_relaxed));
    return o;
}

uint64_t trace_clear_writer(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = frame_word(self, f);
    uint64_t o, n;
    if (!w)
        return 0;
    o = atomic_load_explicit(w, memory_order_relaxed); /* only a guess */
    do {
        n = o & ~TRACE_WRITER(self->cpu);
        if (!trace_writers(n))
            n &= ~TRACE_UNSYNC;
        /* Releases the guest's stores through the alias: a consumer that reads the synced word
         * before its re-read needs no further one. */
    } while (!atomic_compare_exchange_weak_explicit(w, &o, n, memory_order_seq_cst,
                                                    memory_order_relaxed));
    return o;
}

void trace_clear_region_writer(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint64_t *w = region_of(self, f);
    if (w)
        atomic_fetch_and_explicit(w, ~BIT(self->cpu), memory_order_seq_cst);
}
