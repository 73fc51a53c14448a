/* SPDX-License-Identifier: BSD-2-Clause */
/* Channels under real threads and TSan: every CPU produces and consumes, with two slots a channel,
 * so that coalescing, overflow and reuse happen all the time. Oracle: a drain that begins after a
 * store's post leaves no copy of an older value (hv/coherency/README "The property"). */
#define CHANNEL_SETS 1
#define CHANNEL_WAYS 2
#include "tools/tests/coh_rig.h"
#include <sched.h>

#define NCPU 3
#define ENTRIES 5
#define SHARED                                                                                     \
    2 /* frames 0 and 1: any CPU stores, by exchange; frame 2: CPU 0 alone, also in bulk */
#define FRAMES 3
#ifndef STEPS
#define STEPS 30000
#endif
#define IDS (NCPU * STEPS * 2 + 8)
#define P_BIT BIT(0)
#define A_BIT BIT(5)

/* An entry: identity of its store in bits 31..12, so that a 4-byte store replaces it too. */
static uint32_t id_of(uint64_t v)
{
    return (uint32_t)(v & MASK(31, 12)) >> 12;
}
static _Atomic uint32_t next_id;
/* Place of a store in the entry's modification order + 1; from the old value its exchange returned.
 */
static _Atomic uint32_t place[IDS];
/* Per entry: highest place whose store has returned, posts included. */
static _Atomic uint32_t posted[FRAMES][ENTRIES];
static _Atomic uint32_t failures, checked, torn;

struct cpu_model {
    uint32_t me;
    uint64_t rng;
    bool registered[FRAMES];
    uint64_t copy[FRAMES][ENTRIES]; /* derived; 0: none */
    unsigned overflows, wholes, derived, postponed;
    unsigned postpone; /* of 4 patches, how many a drain leaves */
};
static struct cpu_model model[NCPU];

#ifdef PLACES_SEEN
static void places_see(void); /* test_channel_tso.c */
#endif

static uint32_t rnd(struct cpu_model *m, uint32_t n)
{
    m->rng = m->rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(m->rng >> 33) % n;
}

static uint64_t derived_of(uint64_t v)
{
    return (v & MASK(31, 12)) ^ 0x5a5a000;
}
static uint64_t on_derive(void *ctx, uint64_t v)
{
    (void)ctx;
    return v & P_BIT ? derived_of(v) : 0;
}

/* Steps 872..876: re-read, keep only what has P and A. */
static void reread(struct cpu_model *m, uint64_t f, unsigned i)
{
    uint64_t v;
    if (!m->copy[f][i])
        return;
    v = atomic_load_explicit(&page[f][i], memory_order_seq_cst);
    m->copy[f][i] = (v & P_BIT) && (v & A_BIT) ? v : 0;
}
static bool on_covers(void *ctx, gpa_t at, bool whole)
{
    struct cpu_model *m = ctx;
    bool yes = rnd(m, 4) >= m->postpone;
    (void)at, (void)whole;
    m->postponed += !yes;
    return yes;
}
static void on_repair(void *ctx, gpa_t at, const struct patch_payload *dv)
{
    struct cpu_model *m = ctx;
    if (dv && dv->spte != derived_of(dv->gpte))
        atomic_fetch_add(&torn, 1);
    m->derived += dv != NULL;
    reread(m, at.v >> PAGE_SHIFT, (unsigned)(at.v & PAGE_MASK) / 8);
}
static void on_whole(void *ctx, gfn_t f)
{
    struct cpu_model *m = ctx;
    m->wholes++;
    for (unsigned i = 0; i < ENTRIES; i++)
        reread(m, f.v, i);
}
static void leave(struct cpu_model *m, uint64_t f)
{
    memset(m->copy[f], 0, sizeof(m->copy[f]));
    if (m->registered[f])
        trace_drop(&cpu[m->me], gfn(f));
    m->registered[f] = false;
}
static void on_overflow(void *ctx)
{
    struct cpu_model *m = ctx;
    m->overflows++;
    for (uint64_t f = 0; f < FRAMES; f++) { /* either recovery does: here no store goes unposted */
        if (m->overflows & 1)
            leave(m, f);
        else
            for (unsigned i = 0; i < ENTRIES; i++)
                reread(m, f, i);
    }
}
static void drain(struct cpu_model *m, unsigned postpone)
{
    const struct patch_sink sink = {.ctx = m,
                                    .covers = postpone ? on_covers : NULL,
                                    .repair = on_repair,
                                    .whole = on_whole,
                                    .overflow = on_overflow};
    m->postpone = postpone;
    (void)consumer_drain(&cpu[m->me], &sink);
}

static bool on_serve(void *ctx)
{
    struct cpu_model *m = ctx;
    uint64_t bits = action_take(&cpu[m->me], ACTION_REQUESTS);
    for (uint32_t from = 0; from < NCPU; from++) {
        enum request_kind kind;
        gfn_t f;
        if (!(bits & BIT(from)))
            continue;
        action_request_read(&cpu[m->me], from, &kind, &f);
        if (kind == REQUEST_DRAIN)
            drain(m, 0);
        action_request_ack(&cpu[m->me], from);
    }
    return bits != 0;
}

/* A guest access through the entry: register, read, set A by compare-exchange, derive. */
static void touch(struct cpu_model *m, uint64_t f, unsigned i)
{
    uint64_t v;
    if (!m->registered[f]) {
        cpuset_t ask;
        bool self_drop;
        (void)trace_install(&cpu[m->me], gfn(f), &ask, &self_drop);
        m->registered[f] = true;
    }
    v = atomic_load_explicit(&page[f][i], memory_order_seq_cst);
    do {
        if (!(v & P_BIT))
            return;
    } while (!(v & A_BIT) && !atomic_compare_exchange_strong(&page[f][i], &v, v | A_BIT));
    m->copy[f][i] = v | A_BIT;
}

/* The place of a store that is made; its CPU is about to note it, unless it waits for us first. */
static uint32_t place_of(struct cpu_model *m, uint32_t id)
{
    uint32_t at;
    if (!id)
        return 0;
    while (!(at = atomic_load(&place[id]))) {
        (void)on_serve(m);
        sched_yield();
    }
    return at;
}

static void record(struct cpu_model *m, uint64_t f, unsigned i, uint32_t id, uint32_t old)
{
    uint32_t at, top;
#ifdef PLACES_SEEN /* noted as the store became visible */
    (void)old;
    at = place_of(m, id);
#else
    at = place_of(m, old) + 1;
    atomic_store(&place[id], at);
#endif
    top = atomic_load(&posted[f][i]);
    while (top < at && !atomic_compare_exchange_weak(&posted[f][i], &top, at))
        ;
}

static void store(struct cpu_model *m, uint64_t f, unsigned i)
{
    struct coh_cpu *c = &cpu[m->me];
    gpa_t at = entry_at(f, i);
    uint32_t id = atomic_fetch_add(&next_id, 1) + 1;
    uint64_t old, v = (uint64_t)id << 12 | (rnd(m, 8) ? P_BIT : 0) | (rnd(m, 2) ? A_BIT : 0);
    unsigned how = rnd(m, f < SHARED ? 3 : 4);
    if (f >= SHARED && m->me != 0)
        return;
    if (how == 0) {
        old = producer_exchange(c, at, (void *)&page[f][i], 4, v);
    } else if (how == 1) {
        uint64_t want = atomic_load(&page[f][i]);
        if (!producer_cmpxchg(c, at, (void *)&page[f][i], 8, want, v, &old))
            return; /* nothing stored: the identity is never used */
    } else if (how == 2) {
        old = producer_exchange(c, at, (void *)&page[f][i], 8, v);
    } else { /* only this CPU stores here, others only set A */
        old = atomic_load(&page[f][i]);
        producer_store(c, at, (void *)&page[f][i], &v, 8);
    }
    record(m, f, i, id, id_of(old));
}

static void event(struct cpu_model *m)
{
    uint32_t must[FRAMES][ENTRIES];
    for (unsigned f = 0; f < FRAMES; f++)
        for (unsigned i = 0; i < ENTRIES; i++)
            must[f][i] = atomic_load(&posted[f][i]);
    drain(m, 0);
    for (unsigned f = 0; f < FRAMES; f++)
        for (unsigned i = 0; i < ENTRIES; i++) {
            uint64_t v = m->copy[f][i];
            if (!v)
                continue;
            atomic_fetch_add(&checked, 1);
            if (place_of(m, id_of(v)) < must[f][i])
                atomic_fetch_add(&failures, 1);
        }
}

static void *run(void *arg)
{
    struct cpu_model *m = arg;
    fake_set_cpu(m->me);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t f = rnd(m, FRAMES);
        unsigned i = rnd(m, ENTRIES), what = rnd(m, 16);
        if (action_peek(&cpu[m->me]))
            (void)on_serve(m);
        if (what < 6)
            store(m, f, i);
        else if (what < 12)
            touch(m, f, i);
        else if (what < 14)
            event(m);
        else if (what < 15)
            drain(m, 2);
        else if (rnd(m, 2) == 0)
            leave(m, f);
        if (rnd(m, 32) == 0)
            sched_yield(); /* few processors: meet at many points */
    }
    event(m);
    for (unsigned f = 0; f < FRAMES; f++)
        leave(m, f);
    action_offline(&cpu[m->me]);
    return NULL;
}

static void round_of(const char *name, const struct hv_options *opt)
{
    pthread_t t[NCPU];
    unsigned overflows = 0, wholes = 0, postponed = 0, derived = 0;
    uint64_t coalesced = 0, skips = 0;
    rig_init(opt);
    memset(model, 0, sizeof(model));
    memset((void *)place, 0, sizeof(place));
    memset((void *)posted, 0, sizeof(posted));
    memset((void *)hv_stats, 0, sizeof(hv_stats));
    atomic_store(&next_id, 0);
    atomic_store(&failures, 0);
    atomic_store(&checked, 0);
    atomic_store(&torn, 0);
    for (uint32_t c = NCPU; c < RIG_CPUS; c++)
        action_offline(&cpu[c]);
#ifdef PLACES_SEEN
    places_see();
#endif
    for (uint32_t c = 0; c < NCPU; c++) {
        model[c].me = c;
        model[c].rng = c * 77 + 5;
        cpu[c].serve = on_serve;
        cpu[c].ctx = &model[c];
        cpu[c].derive = on_derive;
    }
    for (uint32_t c = 0; c < NCPU; c++)
        pthread_create(&t[c], NULL, run, &model[c]);
    for (uint32_t c = 0; c < NCPU; c++) {
        pthread_join(t[c], NULL);
        overflows += model[c].overflows;
        wholes += model[c].wholes;
        postponed += model[c].postponed;
        derived += model[c].derived;
        coalesced += stat_of(c, STAT_coalesces);
        skips += stat_of(c, STAT_skips);
    }
    tap_eq(atomic_load(&failures), 0, name);
    tap_eq(atomic_load(&torn), 0, "no torn payload");
    tap_ok(atomic_load(&checked) > 1000, "%u copies checked", atomic_load(&checked));
    tap_ok(overflows && wholes && coalesced && postponed,
           "overflows %u, wholes %u, coalesced %llu, postponed %u", overflows, wholes,
           (unsigned long long)coalesced, postponed);
    tap_ok((skips != 0) == opt->interest && (derived != 0) == opt->derived,
           "skips %llu, derived %u as the options say", (unsigned long long)skips, derived);
}

int main(void)
{
    struct hv_options opt = rig_options();
    round_of("matrix: no copy older than a post before the drain", &opt);
    opt.derived = true;
    round_of("derived=on", &opt);
    opt.interest = false;
    opt.consumers_traced = false;
    round_of("interest=off consumers=all", &opt);
    opt = rig_options();
    opt.coherency = COHERENCY_LOCKED;
    opt.derived = true;
    round_of("coherency=locked", &opt);
    opt = rig_options();
    opt.overflow = OVERFLOW_SHOOTDOWN;
    round_of("overflow=shootdown", &opt);
    return tap_done();
}
