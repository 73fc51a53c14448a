/* SPDX-License-Identifier: BSD-2-Clause */
/* Producer 396: Fig. 11. Stores to guest memory that may hold page tables and the posting that
 * follows: `storing` written, the store, the trace word, who must know, the posts, `storing`
 * cleared (README "Producer"). Tested by tools/tests/test_channel.c, test_channel_tsan.c and
 * tools/model/interest.pml, register.pml. */
/* Rules.
 * 1. A store is always made in this order: `storing`, holders asked and waited for (direct.h), the
 *    store, the trace word, the posts, `storing` cleared. Waiting for consumers comes after that.
 * 2. Between store and trace word lies a full fence: the store is the RMW, or the look at the word
 *    is (trace_word_after_stores).
 * 3. P and A of the old entry, by which a post may be left out, come from the RMW that replaced it;
 *    other CPUs' `storing` is looked at behind it.
 * 4. Every entry that the store touches is posted by itself, both halves of 8 bytes once there are
 *    4-byte entries, or WHOLE is. What stored nothing posts nothing.
 * 5. The pending bit is set after slot or flag, and left out only when an own patch was coalesced,
 *    in the shared channel never.
 * 6. Derived values are optional: no post depends on one. */
#include "hv/coherency/producer.h"
#include "hv/base/assert.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/coherency/channel.h"
#include "hv/coherency/direct.h"
#include "hv/coherency/trace.h"

#define GPTE_P BIT(0)
#define GPTE_A BIT(5)

static void storing_begin(const struct coh_cpu *self, uint64_t name)
{
    /* Before the exchange: a producer that sees our exchange sees this too. seq_cst because the
     * audit and the other producers look after a read-modify-write of the entry. */
    atomic_store_explicit(&self->co->cpu[self->cpu].storing, name, memory_order_seq_cst);
}

/* From here to storing_end nobody becomes a holder of f, and those that were are none. */
static void storing_alone(struct coh_cpu *self, uint64_t name, gfn_t f)
{
    storing_begin(self, name);
    direct_revoke(self, f);
}

static void storing_end(const struct coh_cpu *self)
{
    /* release, after the last post: who sees it cleared sees the posts */
    atomic_store_explicit(&self->co->cpu[self->cpu].storing, 0, memory_order_release);
}

/* Is another CPU between its store to the same granule (or frame) and its post? */
static bool others_storing(const struct coh_cpu *self, gpa_t at)
{
    for (uint32_t c = 0; c < self->co->ncpus; c++) {
        /* seq_cst, after our exchange: pairs with storing_begin and storing_end */
        uint64_t s = atomic_load_explicit(&self->co->cpu[c].storing, memory_order_seq_cst);
        if (c == self->cpu || !(s & STORING_BUSY))
            continue;
        if (s & STORING_FRAME ? s >> PAGE_SHIFT == at.v >> PAGE_SHIFT
                              : s >> STORING_GRANULE_SHIFT == at.v >> STORING_GRANULE_SHIFT)
            return true;
    }
    return false;
}

/* 832: who has registered. Without it (consumers=all) every CPU that may hold anything. */
static cpuset_t consumers_of(const struct coh_cpu *self, uint64_t trace)
{
    if (!(trace & TRACE_TRACED))
        return 0;
    return self->co->consumers_traced ? trace_consumers(trace) : action_online_set(self->co);
}

static void pending_set(const struct coh_cpu *self, uint32_t to)
{
    /* Only after the slot or the overflow flag is published. Pairs with the exchange of
     * consumer_drain. */
    atomic_fetch_or_explicit(&self->co->cpu[to].pending, BIT(self->cpu), memory_order_seq_cst);
}

static void count_post(const struct coh_cpu *self, uint64_t key, enum post_result r)
{
    switch (r) {
    case POST_PUBLISHED:
        stat_inc(self->pcpu, STAT_posts);
        if (key & SLOT_WHOLE)
            stat_inc(self->pcpu, STAT_posts_whole);
        break;
    case POST_COALESCED:
        stat_inc(self->pcpu, STAT_coalesces);
        break;
    case POST_OVERFLOW:
        stat_inc(self->pcpu, STAT_overflows);
        break;
    }
}

static enum post_result post_matrix(struct coh_cpu *self, uint32_t c, uint64_t key,
                                    const struct patch_payload *dv)
{
    struct channel *ch = &self->co->matrix[self->cpu][c];
    enum post_result r = channel_post(ch, key, dv);
    channel_count(r == POST_PUBLISHED   ? &ch->posts
                  : r == POST_COALESCED ? &ch->coalesces
                                        : &ch->overflows);
    return r;
}

/* 834 to 842 for one patch. Returns the CPUs that must be shot down (844 and [0091]), to be waited
 * for after `storing` is cleared. */
static cpuset_t post(struct coh_cpu *self, cpuset_t to, uint64_t key,
                     const struct patch_payload *dv)
{
    struct coherency *co = self->co;
    cpuset_t full = 0;
    enum post_result r = POST_PUBLISHED;
    ring_add(self->pcpu, RING_POST, key, to);
    if (co->mode == COHERENCY_LOCKED && to) {
        r = shared_post(&co->shared, key, to, dv);
        count_post(self, key, r);
    }
    for (uint32_t c = 0; c < co->ncpus; c++) {
        if (!(to & (cpuset_t)BIT(c)))
            continue;
        if (co->mode != COHERENCY_LOCKED) {
            r = post_matrix(self, c, key, dv);
            count_post(self, key, r);
        }
        /* A coalesced patch was followed by our own pending bit when it was published; in the
         * shared channel it may be another producer's, who has not set his yet. */
        if (r != POST_COALESCED || co->mode == COHERENCY_LOCKED)
            pending_set(self, c);
        if (r == POST_OVERFLOW)
            full |= (cpuset_t)BIT(c);
    }
    if (co->mode == COHERENCY_SHOOTDOWN)
        return to;
    return co->overflow == OVERFLOW_SHOOTDOWN ? full : 0;
}

/* [0091], step 844: the consumers drain now. Self needs none: it drains at its own event. */
static void shootdown(struct coh_cpu *self, cpuset_t to, gfn_t f)
{
    to &= ~(cpuset_t)BIT(self->cpu);
    if (to)
        (void)action_request(self, to, REQUEST_DRAIN, f);
}

/* 840, optional part: the counter is read before the value is derived. */
static const struct patch_payload *derive(const struct coh_cpu *self, uint64_t gpte,
                                          struct patch_payload *dv)
{
    if (!self->co->derived || self->co->entry4 || !self->derive)
        return NULL;
    dv->gpte = gpte;
    dv->counter = atomic_load_explicit(&self->co->trace_counter, memory_order_seq_cst);
    dv->spte = self->derive(self->ctx, gpte);
    return dv->spte ? dv : NULL;
}

/* [0096], README "Interest": an entry that had P=0 or A=0 can be held by nobody, unless another
 * producer has just cleared A and not posted yet. old: the entry before, P, A in its low bits.
 * But this CPU itself, as a holder, may have an spte that stands for P=0. */
static bool interesting(const struct coh_cpu *self, gpa_t at, uint64_t old)
{
    if (!self->co->interest || direct_mine(self, gpa_gfn(at)))
        return true;
    if ((old & (GPTE_P | GPTE_A)) == (GPTE_P | GPTE_A))
        return true;
    return others_storing(self, at);
}

/* After the exchange of the 8 bytes at `at` from `old` to `now`. own: the patch of the entry at
 * `at` for this CPU is not posted, the caller applies it; *own says whether there is one. */
static void after_exchange(struct coh_cpu *self, gpa_t at, uint64_t old, uint64_t now, bool *own)
{
    /* seq_cst load after a seq_cst RMW: the Dekker pair with trace_install */
    cpuset_t to = consumers_of(self, trace_word(self, gpa_gfn(at))); /* 832 */
    cpuset_t shoot = 0, others = own ? to & ~(cpuset_t)BIT(self->cpu) : to;
    struct patch_payload dv;
    if (to) {
        stat_inc(self->pcpu, STAT_traced_writes);
        bool needed = interesting(self, at, old);
        if (!needed)
            stat_inc(self->pcpu, STAT_skips);
        else if (others)
            shoot |= post(self, others, patch_key_entry(at), derive(self, now, &dv));
        if (own)
            *own = needed && others != to;
        if (self->co->entry4) {
            gpa_t high = gpa(at.v + 4);
            if (interesting(self, high, old >> 32))
                shoot |= post(self, to, patch_key_entry(high), NULL);
            else
                stat_inc(self->pcpu, STAT_skips);
        }
    }
    storing_end(self);
    shootdown(self, shoot, gpa_gfn(at)); /* 844 */
} /* 848 */

/* The 8 bytes around a store, and where the store lies in them. */
struct granule {
    _Atomic uint64_t *p;
    gpa_t at;
    unsigned shift;
    uint64_t mask; /* of `width` bytes, unshifted */
};

static struct granule granule_of(gpa_t at, void *host, unsigned width)
{
    unsigned offset = (unsigned)(at.v & 7);
    struct granule g = {
        .p = (_Atomic uint64_t *)((uintptr_t)host - offset),
        .at = gpa(at.v - offset),
        .shift = offset * 8,
        .mask = width == 8 ? ~0ull : BIT(width * 8) - 1,
    };
    ASSERT(width >= 1 && width <= 8 && offset + width <= 8);
    ASSERT(((uintptr_t)g.p & 7) == 0);
    return g;
}

static uint64_t granule_insert(const struct granule *g, uint64_t word, uint64_t value)
{
    return (word & ~(g->mask << g->shift)) | (value & g->mask) << g->shift;
}

uint64_t producer_exchange(struct coh_cpu *self, gpa_t at, void *host, unsigned width,
                           uint64_t value) /* 830 */
{
    struct granule g = granule_of(at, host, width);
    uint64_t old, now = value;
    storing_alone(self, (g.at.v & ~STORING_GRANULE_MASK) | STORING_BUSY, gpa_gfn(g.at));
    /* 831. One locked RMW: the old P and A are those this very store replaced, and on x86 it drains
     * the store buffer before the trace word is loaded. */
    if (width == 8) {
        old = atomic_exchange_explicit(g.p, value, memory_order_seq_cst);
    } else {
        old = atomic_load_explicit(g.p, memory_order_relaxed);
        do
            now = granule_insert(&g, old, value);
        while (!atomic_compare_exchange_weak_explicit(g.p, &old, now, memory_order_seq_cst,
                                                      memory_order_relaxed));
    }
    after_exchange(self, g.at, old, now, NULL);
    return (old >> g.shift) & g.mask;
}

bool producer_exchange_own(struct coh_cpu *self, gpa_t at, void *host, uint64_t value)
{
    bool own = false;

    ASSERT(!(at.v & 7));
    storing_alone(self, (at.v & ~STORING_GRANULE_MASK) | STORING_BUSY, gpa_gfn(at));
    /* 831, as in producer_exchange */
    uint64_t old = atomic_exchange_explicit((_Atomic uint64_t *)host, value, memory_order_seq_cst);
    after_exchange(self, at, old, value, &own);
    return own;
}

bool producer_cmpxchg(struct coh_cpu *self, gpa_t at, void *host, unsigned width, uint64_t expected,
                      uint64_t value, uint64_t *old_value)
{
    struct granule g = granule_of(at, host, width);
    uint64_t old, now;
    storing_alone(self, (g.at.v & ~STORING_GRANULE_MASK) | STORING_BUSY, gpa_gfn(g.at));
    old = atomic_load_explicit(g.p, memory_order_seq_cst);
    do {
        if (((old >> g.shift) & g.mask) != (expected & g.mask)) {
            *old_value = (old >> g.shift) & g.mask;
            storing_end(self);
            return false;
        }
        now = granule_insert(&g, old, value);
    } while (!atomic_compare_exchange_weak_explicit(g.p, &old, now, memory_order_seq_cst,
                                                    memory_order_seq_cst)); /* 831 */
    *old_value = expected & g.mask;
    after_exchange(self, g.at, old, now, NULL);
    return true;
}

/* Guest memory is read by other CPUs meanwhile: whole aligned words where possible, never torn. */
static void copy_out(unsigned char *host, const unsigned char *src, size_t n)
{
    while (n) {
        uint64_t v;
        if (((uintptr_t)host & 7) == 0 && n >= 8) {
            memcpy(&v, src, 8);
            atomic_store_explicit((_Atomic uint64_t *)(uintptr_t)host, v, memory_order_relaxed);
            host += 8, src += 8, n -= 8;
        } else {
            atomic_store_explicit((_Atomic unsigned char *)host, *src, memory_order_relaxed);
            host++, src++, n--;
        }
    }
}

void producer_store(struct coh_cpu *self, gpa_t at, void *host, const void *src, size_t n)
{
    gfn_t f = gpa_gfn(at);
    cpuset_t to, shoot = 0;
    ASSERT((at.v & PAGE_MASK) + n <= PAGE_SIZE);
    if (!n)
        return;
    storing_alone(self, gfn_gpa(f).v | STORING_FRAME | STORING_BUSY, f);
    copy_out(host, src, n);
    to = consumers_of(self, trace_word_after_stores(self, f));
    if (to) {
        stat_inc(self->pcpu, STAT_stores_bulk);
        shoot = post(self, to, patch_key_whole(f), NULL);
    }
    storing_end(self);
    shootdown(self, shoot, f);
}

bool producer_give_up(struct coh_cpu *self, gfn_t f)
{
    storing_begin(self, gfn_gpa(f).v | STORING_FRAME | STORING_BUSY);
    if (!direct_others(self, f))
        return true;
    storing_end(self);
    return false;
}

void producer_given_up(struct coh_cpu *self)
{
    storing_end(self);
}

void producer_post_whole(struct coh_cpu *self, gfn_t f, cpuset_t to)
{
    if (to)
        shootdown(self, post(self, to, patch_key_whole(f), NULL), f);
}
