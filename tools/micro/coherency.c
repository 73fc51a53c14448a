/* SPDX-License-Identifier: BSD-2-Clause */
/* Microbenchmarks of hv/coherency on the host's own CPUs: what a post, a coalesced post, a skipped
 * one, a drain and an event with nothing to drain cost; the same through coherency=locked and
 * through a shared channel under a pthread mutex ([0127]); one producer and one consumer on two
 * CPUs; and the work of the matrix with 1 to 31 CPUs, replayed by one thread.
 * Usage: coherency [REPETITIONS]. Tested by the step unit/micro of tools/check.py. */
#include "tools/micro/micro.h"
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <x86intrin.h>
#include "hv/coherency/actions.h"
#include "hv/coherency/channel.h"
#include "hv/coherency/consumer.h"
#include "hv/coherency/producer.h"
#include "hv/coherency/trace.h"
#include "tools/tests/fake/fake.h"

#define FRAMES 1024u
#define ENTRIES CHANNEL_SLOTS /* neighbouring entries: as many as a channel holds */
#define STORED 0x1000027u     /* present and accessed: of interest to a consumer */
#define PAIR_STORES 20480u

static struct coherency co;
static struct channel matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct coh_cpu cpu[HV_MAX_CPUS];
static uint64_t words[FRAMES + 64];
static _Alignas(4096) _Atomic uint64_t page[512];
static double clock_cost;

/* The event rings read the TSC as the hypervisor does, not the host's clock. */
uint64_t __wrap_port_tsc(void);
uint64_t __wrap_port_tsc(void)
{
    return __rdtsc();
}

/* --- the shared channel of [0127] under a pthread mutex ----------------------------------------
 */
static struct {
    pthread_mutex_t mutex;
    struct {
        uint64_t key;
        cpuset_t consumers;
    } slot[CHANNEL_SLOTS];
    cpuset_t overflow;
    _Atomic cpuset_t pending; /* looked at before the mutex is taken */
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void mutex_post(unsigned i, cpuset_t to)
{
    unsigned first = i % CHANNEL_SETS * CHANNEL_WAYS, free_slot = CHANNEL_SLOTS;
    uint64_t key = patch_key_entry(gpa(i * 8ull)) | SLOT_USED;
    atomic_store_explicit(&page[i], STORED, memory_order_relaxed);
    pthread_mutex_lock(&shared.mutex);
    for (unsigned s = first; s < first + CHANNEL_WAYS; s++) {
        if (shared.slot[s].consumers && shared.slot[s].key == key) {
            shared.slot[s].consumers |= to;
            pthread_mutex_unlock(&shared.mutex);
            return;
        }
        if (!shared.slot[s].consumers)
            free_slot = s;
    }
    if (free_slot == CHANNEL_SLOTS) {
        shared.overflow |= to;
    } else {
        shared.slot[free_slot].key = key;
        shared.slot[free_slot].consumers = to;
    }
    atomic_fetch_or(&shared.pending, to);
    pthread_mutex_unlock(&shared.mutex);
}

static unsigned mutex_drain(uint32_t me)
{
    unsigned n = 0;
    if (!(atomic_load_explicit(&shared.pending, memory_order_acquire) & (cpuset_t)BIT(me)))
        return 0;
    pthread_mutex_lock(&shared.mutex);
    atomic_fetch_and(&shared.pending, ~(cpuset_t)BIT(me));
    for (unsigned s = 0; s < CHANNEL_SLOTS; s++) {
        if (!(shared.slot[s].consumers & (cpuset_t)BIT(me)))
            continue;
        shared.slot[s].consumers &= ~(cpuset_t)BIT(me);
        n++;
    }
    n += (shared.overflow & (cpuset_t)BIT(me)) != 0;
    shared.overflow &= ~(cpuset_t)BIT(me);
    pthread_mutex_unlock(&shared.mutex);
    return n;
}

/* --- one channel of the matrix, without what surrounds it in the hypervisor --------------------
 */
static void channel_store(unsigned i)
{
    (void)atomic_exchange_explicit(&page[i], STORED, memory_order_seq_cst);
    if (channel_post(&matrix[0][1], patch_key_entry(gpa(i * 8ull)), NULL) != POST_COALESCED)
        atomic_fetch_or(&co.cpu[1].pending, 1);
}

static unsigned channel_drain(uint32_t me)
{
    struct channel *ch = &matrix[0][me];
    struct patch_payload dv;
    unsigned n = 0;
    if (!atomic_load_explicit(&co.cpu[me].pending, memory_order_acquire))
        return 0;
    (void)atomic_exchange(&co.cpu[me].pending, 0);
    n += channel_take_overflow(ch);
    for (unsigned s = 0; s < CHANNEL_SLOTS; s++)
        if (atomic_load_explicit(&ch->slot[s], memory_order_acquire)) {
            (void)channel_free(ch, s, &dv);
            n++;
        }
    return n;
}

/* --- variants ----------------------------------------------------------------------------------
 */
/* As the hypervisor has them, with statistics and event rings: MATRIX, LOCKED. Bare protocols of
 * one channel, to compare with each other: CHANNEL, MUTEX. */
enum variant { MATRIX, LOCKED, CHANNEL, MUTEX, VARIANTS };
static const char *const variant_name[VARIANTS] = {"matrix", "locked", "channel", "mutex"};

static void no_repair(void *ctx, gpa_t entry, const struct patch_payload *dv)
{
    (void)ctx, (void)entry, (void)dv;
}
static void no_whole(void *ctx, gfn_t f)
{
    (void)ctx, (void)f;
}
static void no_overflow(void *ctx)
{
    (void)ctx;
}
static const struct patch_sink sink = {
    .repair = no_repair, .whole = no_whole, .overflow = no_overflow};

/* A VM of n CPUs; frame 0 is traced by the CPUs of `consumers`. */
static void setup(enum variant v, uint32_t n, cpuset_t consumers)
{
    struct hv_options opt = {.coherency = v == LOCKED ? COHERENCY_LOCKED : COHERENCY_MATRIX,
                             .overflow = OVERFLOW_LAZY,
                             .consumers_traced = true,
                             .interest = true};
    memset(words, 0, sizeof(words));
    memset(matrix, 0, sizeof(matrix));
    memset(shared.slot, 0, sizeof(shared.slot));
    shared.overflow = 0;
    atomic_store(&shared.pending, 0);
    memset(&co, 0, sizeof(co));
    coherency_init(&co, n, FRAMES, words, matrix, &opt);
    fake_set_ncpus(n);
    for (uint32_t c = 0; c < n; c++) {
        cpuset_t ask;
        bool self_drop;
        coh_cpu_init(&cpu[c], &co, c, NULL, NULL);
        fake_set_cpu(c);
        action_online(&cpu[c]);
        if (consumers & (cpuset_t)BIT(c))
            (void)trace_install(&cpu[c], gfn(0), &ask, &self_drop);
    }
    for (unsigned i = 0; i < 512; i++)
        atomic_store(&page[i], STORED);
    fake_set_cpu(0);
}

static void store(enum variant v, uint32_t me, unsigned i, uint64_t value)
{
    if (v == MUTEX)
        mutex_post(i, (cpuset_t)BIT(1));
    else if (v == CHANNEL)
        channel_store(i);
    else
        (void)producer_exchange(&cpu[me], gpa(i * 8ull), (void *)&page[i], 8, value);
}

static unsigned drain(enum variant v, uint32_t me)
{
    if (v == MUTEX)
        return mutex_drain(me);
    return v == CHANNEL ? channel_drain(me) : consumer_drain(&cpu[me], &sink);
}

/* --- one thread --------------------------------------------------------------------------------
 */
static void single(enum variant v)
{
    struct micro_best post = {0}, again = {0}, full = {0}, one = {0}, empty = {0};
    setup(v, 2, (cpuset_t)BIT(1));
    for (unsigned r = 0; r < micro_reps; r++) {
        micro_begin(&post);
        for (unsigned i = 0; i < ENTRIES; i++)
            store(v, 0, i, STORED);
        micro_end(&post);
        micro_begin(&again);
        for (unsigned i = 0; i < ENTRIES; i++)
            store(v, 0, i, STORED);
        micro_end(&again);
        fake_set_cpu(1);
        micro_begin(&full);
        unsigned n = drain(v, 1);
        micro_end(&full);
        if (n != ENTRIES)
            abort();
        micro_begin(&empty);
        for (unsigned i = 0; i < 100; i++)
            (void)drain(v, 1);
        micro_end(&empty);
        fake_set_cpu(0);
        store(v, 0, 5, STORED);
        fake_set_cpu(1);
        micro_begin(&one);
        n = drain(v, 1);
        micro_end(&one);
        if (n != 1)
            abort();
        fake_set_cpu(0);
    }
    micro_say("post", variant_name[v], 0, micro_per(&post, clock_cost, ENTRIES), "ns");
    micro_say("coalesce", variant_name[v], 0, micro_per(&again, clock_cost, ENTRIES), "ns");
    micro_say("drain-patch", variant_name[v], ENTRIES, micro_per(&full, clock_cost, ENTRIES), "ns");
    micro_say("drain-one", variant_name[v], 1, micro_per(&one, clock_cost, 1), "ns");
    micro_say("drain-empty", variant_name[v], 0, micro_per(&empty, clock_cost, 100), "ns");
}

/* What a store costs that is no post, and the lookup of who must know. */
static void lookups(void)
{
    struct micro_best plain = {0}, untraced = {0}, skip = {0}, lookup = {0};
    uint64_t sum = 0;
    setup(MATRIX, 2, (cpuset_t)BIT(1));
    for (unsigned i = 0; i < ENTRIES; i++)
        atomic_store(&page[i], 0); /* nobody has cached a non-present entry */
    for (unsigned r = 0; r < micro_reps; r++) {
        micro_begin(&plain);
        for (unsigned i = 0; i < ENTRIES; i++)
            sum += atomic_exchange(&page[i], 0);
        micro_end(&plain);
        micro_begin(&skip);
        for (unsigned i = 0; i < ENTRIES; i++)
            store(MATRIX, 0, i, 0);
        micro_end(&skip);
        micro_begin(&untraced);
        for (unsigned i = 0; i < ENTRIES; i++)
            (void)producer_exchange(&cpu[0], gpa(4096 + i * 8ull), (void *)&page[i], 8, 0);
        micro_end(&untraced);
        micro_begin(&lookup);
        for (unsigned i = 0; i < ENTRIES; i++)
            sum += trace_consumers(trace_word(&cpu[0], gfn(i & 1)));
        micro_end(&lookup);
    }
    if (sum == 1)
        abort();
    micro_say("store-plain", "none", 0, micro_per(&plain, clock_cost, ENTRIES), "ns");
    micro_say("store-untraced", "matrix", 0, micro_per(&untraced, clock_cost, ENTRIES), "ns");
    micro_say("store-skip", "matrix", 0, micro_per(&skip, clock_cost, ENTRIES), "ns");
    micro_say("lookup", "matrix", 0, micro_per(&lookup, clock_cost, ENTRIES), "ns");
}

/* --- one producer and one consumer -------------------------------------------------------------
 */
/* The producer is never more than half a channel ahead: each store is delivered as a patch. */
#define AHEAD (CHANNEL_SLOTS / 2)

struct side {
    enum variant v;
    uint64_t store_cycles, wall_ns;
};
static _Alignas(64) _Atomic uint64_t delivered;
static pthread_barrier_t both;

static void pin(unsigned n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(n, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static uint64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *produce(void *arg)
{
    struct side *s = arg;
    pin(0);
    fake_set_cpu(0);
    pthread_barrier_wait(&both);
    uint64_t begin = wall_ns();
    for (unsigned i = 0; i < PAIR_STORES; i++) {
        while (i - atomic_load_explicit(&delivered, memory_order_acquire) >= AHEAD)
            __builtin_ia32_pause();
        uint64_t t = __rdtsc();
        store(s->v, 0, i % 512, STORED);
        s->store_cycles += __rdtsc() - t;
    }
    while (atomic_load_explicit(&delivered, memory_order_acquire) < PAIR_STORES)
        __builtin_ia32_pause();
    s->wall_ns = wall_ns() - begin;
    return NULL;
}

static void *consume(void *arg)
{
    struct side *s = arg;
    uint64_t n = 0;
    pin(1);
    fake_set_cpu(1);
    pthread_barrier_wait(&both);
    while (n < PAIR_STORES) {
        n += drain(s->v, 1);
        atomic_store_explicit(&delivered, n, memory_order_release);
    }
    return NULL;
}

static void pair(enum variant v)
{
    double cycles = 0, patch_ns = 0;
    for (unsigned r = 0; r < micro_reps / 8 + 1; r++) {
        struct side producer = {.v = v}, consumer = {.v = v};
        pthread_t a, b;
        setup(v, 2, (cpuset_t)BIT(1));
        atomic_store(&delivered, 0);
        pthread_barrier_init(&both, NULL, 2);
        if (pthread_create(&a, NULL, produce, &producer) ||
            pthread_create(&b, NULL, consume, &consumer))
            abort();
        pthread_join(a, NULL);
        pthread_join(b, NULL);
        pthread_barrier_destroy(&both);
        double ns = (double)producer.wall_ns / PAIR_STORES;
        double store_cycles = (double)producer.store_cycles / PAIR_STORES;
        if (r == 0 || ns < patch_ns)
            patch_ns = ns;
        if (r == 0 || store_cycles < cycles)
            cycles = store_cycles;
    }
    micro_say("pair-store", variant_name[v], 2, cycles, "cycles");
    micro_say("pair-patch", variant_name[v], 2, patch_ns, "ns");
    micro_say("pair-throughput", variant_name[v], 2, 1e3 / patch_ns, "million/s");
}

/* --- the work of the matrix with n CPUs --------------------------------------------------------
 */
/* Every CPU stores 4 entries to a table, all of which fit into a channel; then every consumer has
 * its event. Per store, all work included, and per event with nothing pending. */
static void replay(enum variant v, uint32_t n, const char *name, bool all)
{
    struct micro_best work = {0}, idle = {0};
    setup(v, n, all ? (cpuset_t)(BIT(n) - 1) : (cpuset_t)BIT(0));
    for (unsigned r = 0; r < micro_reps / 4 + 1; r++) {
        micro_begin(&work);
        for (uint32_t c = 0; c < n; c++) {
            fake_set_cpu(c);
            for (unsigned i = 0; i < 4; i++)
                store(v, c, c * 4 + i, STORED);
        }
        for (uint32_t c = 0; c < n; c++) {
            fake_set_cpu(c);
            (void)drain(v, c);
        }
        micro_end(&work);
        micro_begin(&idle);
        for (uint32_t c = 0; c < n; c++) {
            fake_set_cpu(c);
            (void)drain(v, c);
        }
        micro_end(&idle);
    }
    char text[32];
    snprintf(text, sizeof(text), "replay-%s", name);
    micro_say(text, variant_name[v], n, micro_per(&work, clock_cost, 4 * n), "ns");
    snprintf(text, sizeof(text), "replay-%s-idle", name);
    micro_say(text, variant_name[v], n, micro_per(&idle, clock_cost, n), "ns");
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 2, 4, 8, 16, 31};
    if (argc > 1)
        micro_reps = (unsigned)strtoul(argv[1], NULL, 10);
    if (!micro_reps)
        return 2;
    clock_cost = micro_clock();
    for (enum variant v = MATRIX; v < VARIANTS; v++)
        single(v);
    lookups();
    for (enum variant v = MATRIX; v < VARIANTS; v++)
        pair(v);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (enum variant v = MATRIX; v <= LOCKED; v++) {
            replay(v, sizes[i], "private", false);
            replay(v, sizes[i], "shared", true);
        }
    }
    return 0;
}
