/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace words under real threads and TSan, by a pager in miniature: guest stores through writable
 * aliases (4 KiB and 2 MiB) that nobody traps, traced stores that are emulated, unsync in and out,
 * registration with requests and acknowledgements. Entry i is stored by CPU i % NCPU only,
 * whichever way, so its values are numbered. Oracle: a drain that begins after a store (and its
 * post) leaves no copy of an older value (hv/coherency/README "The property"), and nobody reads a
 * synced table over a foreign alias. */
#define CHANNEL_SETS 1
#define CHANNEL_WAYS 3
#include "tools/tests/coh_rig.h"
#include <sched.h>

#define NCPU 3
#define ENTRIES 6
#define FRAMES 3
#ifndef STEPS
#define STEPS 30000
#endif
#define P_BIT BIT(0)
#define A_BIT BIT(5)

/* Highest number whose store, with everything that belongs to it, lies in the past. */
static _Atomic uint64_t done[FRAMES][ENTRIES];
/* CPU c has a writable alias of f now: set after the fill RMW, cleared before the writer bit. */
static _Atomic bool alias[FRAMES][NCPU];
static _Atomic bool region_alias[NCPU];
static _Atomic uint32_t stale, overlap, checked;

struct cpu_model {
    uint32_t me;
    uint64_t rng, number[FRAMES][ENTRIES];
    bool registered[FRAMES], listed[FRAMES];
    uint64_t copy[FRAMES][ENTRIES];
    unsigned direct, emulated, unsync_in, unsync_out, asked, region, wholes, overflows;
};
static struct cpu_model model[NCPU];

static uint32_t rnd(struct cpu_model *m, uint32_t n)
{
    m->rng = m->rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(m->rng >> 33) % n;
}

static void reread(struct cpu_model *m, uint64_t f, unsigned i)
{
    uint64_t v;
    if (!m->copy[f][i])
        return;
    v = atomic_load_explicit(&page[f][i], memory_order_seq_cst);
    m->copy[f][i] = (v & P_BIT) && (v & A_BIT) ? v : 0;
}

/* The drop of writable sptes, both sizes, that leave, serve and install share. */
static void drop_alias(struct cpu_model *m, uint64_t f, bool region)
{
    if (atomic_load(&alias[f][m->me])) {
        uint64_t old;
        atomic_store(&alias[f][m->me], false); /* spte gone and flushed */
        old = trace_clear_writer(&cpu[m->me], gfn(f));
        m->unsync_out += (old & TRACE_UNSYNC) != 0;
    }
    if (region && atomic_load(&region_alias[m->me])) {
        atomic_store(&region_alias[m->me], false);
        trace_clear_region_writer(&cpu[m->me], gfn(f));
    }
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
        if (kind == REQUEST_DROP)
            drop_alias(m, f.v, true);
        action_request_ack(&cpu[m->me], from);
    }
    return bits != 0;
}

static void on_repair(void *ctx, gpa_t at, const struct patch_payload *dv)
{
    (void)dv;
    reread(ctx, at.v >> PAGE_SHIFT, (unsigned)(at.v & PAGE_MASK) / 8);
}
static void list(struct cpu_model *m, uint64_t f)
{
    if (m->registered[f])
        m->listed[f] = true;
}
static void on_whole(void *ctx, gfn_t f)
{
    struct cpu_model *m = ctx;
    m->wholes++;
    list(m, f.v);
}
static void on_overflow(void *ctx)
{
    struct cpu_model *m = ctx;
    m->overflows++;
    for (uint64_t f = 0; f < FRAMES; f++)
        list(m, f);
}

/* The drain, then the unsync list; the trace word before the re-read. */
static void synchronise(struct cpu_model *m)
{
    const struct patch_sink sink = {
        .ctx = m, .repair = on_repair, .whole = on_whole, .overflow = on_overflow};
    (void)consumer_drain(&cpu[m->me], &sink);
    for (uint64_t f = 0; f < FRAMES; f++) {
        uint64_t w;
        if (!m->listed[f])
            continue;
        w = trace_word(&cpu[m->me], gfn(f));
        for (unsigned i = 0; i < ENTRIES; i++)
            reread(m, f, i);
        if (!(w & TRACE_UNSYNC))
            m->listed[f] = false;
    }
}

static void event(struct cpu_model *m)
{
    uint64_t must[FRAMES][ENTRIES];
    for (unsigned f = 0; f < FRAMES; f++)
        for (unsigned i = 0; i < ENTRIES; i++)
            must[f][i] = atomic_load(&done[f][i]);
    synchronise(m);
    for (unsigned f = 0; f < FRAMES; f++)
        for (unsigned i = 0; i < ENTRIES; i++)
            if (m->copy[f][i]) {
                atomic_fetch_add(&checked, 1);
                if (m->copy[f][i] >> 12 < must[f][i])
                    atomic_fetch_add(&stale, 1);
            }
    for (unsigned f = 0; f < FRAMES; f++) /* a full flush ends unsync */
        if (rnd(m, 2))
            drop_alias(m, f, false);
}

static void leave(struct cpu_model *m, uint64_t f)
{
    memset(m->copy[f], 0, sizeof(m->copy[f]));
    if (m->registered[f])
        trace_drop(&cpu[m->me], gfn(f));
    m->registered[f] = m->listed[f] = false;
}

static void enroll(struct cpu_model *m, uint64_t f)
{
    cpuset_t ask;
    bool self_drop;
    uint64_t old = trace_install(&cpu[m->me], gfn(f), &ask, &self_drop);
    m->registered[f] = true;
    m->asked += ask != 0;
    if (self_drop)
        drop_alias(m, f, true);
    if (ask)
        (void)action_request(&cpu[m->me], ask, REQUEST_DROP, gfn(f));
    if (old & TRACE_UNSYNC)
        m->listed[f] = true;
    /* Our registration keeps the region's count up: no 2 MiB alias is left, none can come. */
    for (uint32_t c = 0; c < NCPU; c++)
        if (atomic_load(&region_alias[c]))
            atomic_fetch_add(&overlap, 1);
}

static void touch(struct cpu_model *m, uint64_t f, unsigned i)
{
    uint64_t v;
    if (!m->registered[f]) {
        if (rnd(m, 8))
            return;
        enroll(m, f);
    }
    v = atomic_load_explicit(&page[f][i], memory_order_seq_cst);
    do {
        if (!(v & P_BIT))
            return;
    } while (!(v & A_BIT) && !atomic_compare_exchange_strong(&page[f][i], &v, v | A_BIT));
    m->copy[f][i] = v | A_BIT;
}

/* WHOLE to everyone in the old word before the guest runs; to itself by listing. */
static void entered(struct cpu_model *m, uint64_t f, uint64_t old)
{
    cpuset_t to = trace_consumers(old);
    list(m, f);
    producer_post_whole(&cpu[m->me], gfn(f), to & ~(cpuset_t)BIT(m->me));
    m->unsync_in++;
}

/* A write fault on f: 2 MiB fill, 4 KiB fill, unsync; false: the store must be emulated. */
static bool write_fault(struct cpu_model *m, uint64_t f)
{
    uint64_t old;
    if (rnd(m, 2) && trace_fill_region(&cpu[m->me], gfn(f))) {
        atomic_store(&region_alias[m->me], true);
        m->region++;
        return true;
    }
    if (rnd(m, 3) == 0) {
        old = trace_enter_unsync(&cpu[m->me], gfn(f));
        if (old & TRACE_TRACED)
            entered(m, f, old);
    } else {
        switch (trace_fill_writable(&cpu[m->me], gfn(f), &old)) {
        case TRACE_FILL_RO:
            return false;
        case TRACE_FILL_RW:
            break;
        case TRACE_FILL_UNSYNC:
            entered(m, f, old);
            break;
        }
    }
    atomic_store(&alias[f][m->me], true);
    return true;
}

static void store(struct cpu_model *m, uint64_t f)
{
    unsigned i = rnd(m, ENTRIES / NCPU) * NCPU + m->me;
    uint64_t n = ++m->number[f][i];
    uint64_t v = n << 12 | (rnd(m, 8) ? P_BIT : 0) | (rnd(m, 2) ? A_BIT : 0);
    bool direct = atomic_load(&alias[f][m->me]) || atomic_load(&region_alias[m->me]);
    if (direct || write_fault(m, f)) {
        atomic_store_explicit(&page[f][i], v, memory_order_release); /* a guest's plain MOV */
        m->direct++;
    } else {
        (void)producer_exchange(&cpu[m->me], entry_at(f, i), (void *)&page[f][i], 8, v);
        m->emulated++;
    }
    atomic_store(&done[f][i], n);
}

static void *run(void *arg)
{
    struct cpu_model *m = arg;
    fake_set_cpu(m->me);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t f = rnd(m, FRAMES);
        unsigned what = rnd(m, 16);
        if (action_peek(&cpu[m->me]))
            (void)on_serve(m);
        if (what < 5)
            store(m, f);
        else if (what < 11)
            touch(m, f, rnd(m, ENTRIES));
        else if (what < 13)
            event(m);
        else if (what < 14)
            synchronise(m);
        else
            leave(m, f);
        if (rnd(m, 32) == 0)
            sched_yield(); /* few processors: meet at many points */
    }
    event(m);
    for (unsigned f = 0; f < FRAMES; f++) {
        leave(m, f);
        drop_alias(m, f, true);
    }
    action_offline(&cpu[m->me]);
    return NULL;
}

static void round_of(const char *name, const struct hv_options *opt)
{
    struct cpu_model sum = {0};
    uint64_t words = 0;
    pthread_t t[NCPU];
    rig_init(opt);
    memset(model, 0, sizeof(model));
    memset((void *)done, 0, sizeof(done));
    atomic_store(&stale, 0);
    atomic_store(&overlap, 0);
    atomic_store(&checked, 0);
    for (uint32_t c = NCPU; c < RIG_CPUS; c++)
        action_offline(&cpu[c]);
    for (uint32_t c = 0; c < NCPU; c++) {
        model[c].me = c;
        model[c].rng = c * 131 + 7;
        cpu[c].serve = on_serve;
        cpu[c].ctx = &model[c];
    }
    for (uint32_t c = 0; c < NCPU; c++)
        pthread_create(&t[c], NULL, run, &model[c]);
    for (uint32_t c = 0; c < NCPU; c++) {
        pthread_join(t[c], NULL);
        sum.direct += model[c].direct;
        sum.emulated += model[c].emulated;
        sum.unsync_in += model[c].unsync_in;
        sum.unsync_out += model[c].unsync_out;
        sum.asked += model[c].asked;
        sum.region += model[c].region;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(rig_words); i++)
        words |= rig_words[i];
    tap_eq(atomic_load(&stale), 0, name);
    tap_eq(atomic_load(&overlap), 0, "no foreign 2 MiB alias over an installed trace");
    tap_eq(words, 0, "all words are 0 when everyone has left");
    tap_ok(atomic_load(&checked) > 1000 && sum.direct && sum.emulated && sum.unsync_in &&
               sum.unsync_out && sum.asked && sum.region,
           "%u copies, %u direct and %u emulated stores, unsync %u in %u out, %u waits, %u regions",
           atomic_load(&checked), sum.direct, sum.emulated, sum.unsync_in, sum.unsync_out,
           sum.asked, sum.region);
}

int main(void)
{
    struct hv_options opt = rig_options();
    round_of("matrix: no copy older than a store before the drain", &opt);
    opt.coherency = COHERENCY_LOCKED;
    round_of("coherency=locked", &opt);
    opt = rig_options();
    opt.interest = false;
    opt.consumers_traced = false;
    round_of("interest=off consumers=all", &opt);
    return tap_done();
}
