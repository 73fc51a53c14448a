/* SPDX-License-Identifier: BSD-2-Clause */
/* A deterministic x86 in miniature for the files of hv/coherency: the threads of a test become
 * coroutines that switch at atomic operations, plain atomic stores wait in a store buffer per CPU,
 * read-modify-writes and seq_cst stores drain it (SDM vol. 3 9.2.2 "Memory Ordering in P6 and More
 * Recent Processor Families"). A seed replays. Included first, before coh_rig.h.
 * Tested by tools/tests/test_channel_tso.c, test_trace_tso.c and test_actions_tso.c. */
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
/* What is no part of the protocol keeps real atomics. */
#include "hv/base/assert.h"
#include "hv/base/lock.h"
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

#define TSO_CPUS 4
#define TSO_DEPTH 6 /* stores a buffer holds */
#define TSO_STACK (64u << 10)
#define TSO_MOOD 3000 /* points after which the scheduler's habits change */

struct tso_store {
    volatile void *at;
    size_t size;
    uint64_t value;
};
struct tso_cpu {
    ucontext_t context;
    void *(*fn)(void *arg);
    void *arg;
    bool alive;
    unsigned n;
    struct tso_store store[TSO_DEPTH];
    char *stack;
};
static struct {
    struct tso_cpu cpu[TSO_CPUS];
    ucontext_t main;
    unsigned n, now, flush_odds, switch_odds, frozen;
    uint64_t rng, points, limit, mood_left, thaw_at;
    void (*wrote)(volatile void *at, uint64_t value); /* a value becomes visible to all */
    bool on, hung;
} tso = {.rng = 88172645463325252ull, .limit = 400000000};

static uint64_t tso_rnd(uint64_t n)
{
    tso.rng ^= tso.rng << 13;
    tso.rng ^= tso.rng >> 7;
    tso.rng ^= tso.rng << 17;
    return tso.rng % n;
}

static uint64_t tso_read(const volatile void *at, size_t size)
{
    return size == 8   ? *(const volatile uint64_t *)at
           : size == 4 ? *(const volatile uint32_t *)at
           : size == 2 ? *(const volatile uint16_t *)at
                       : *(const volatile uint8_t *)at;
}

static void tso_write(volatile void *at, size_t size, uint64_t v)
{
    if (size == 8)
        *(volatile uint64_t *)at = v;
    else if (size == 4)
        *(volatile uint32_t *)at = (uint32_t)v;
    else if (size == 2)
        *(volatile uint16_t *)at = (uint16_t)v;
    else
        *(volatile uint8_t *)at = (uint8_t)v;
    if (tso.on && tso.wrote)
        tso.wrote(at, v);
}

static void tso_flush_one(struct tso_cpu *c)
{
    if (!c->n)
        return;
    tso_write(c->store[0].at, c->store[0].size, c->store[0].value);
    memmove(&c->store[0], &c->store[1], --c->n * sizeof(c->store[0]));
}

static void tso_flush(struct tso_cpu *c)
{
    while (c->n)
        tso_flush_one(c);
}

static void tso_mood(void)
{
    static const unsigned odds[] = {2, 5, 20, 100};
    tso.flush_odds = odds[tso_rnd(4)];
    tso.switch_odds = odds[tso_rnd(3)];
    tso.mood_left = TSO_MOOD;
}

static void tso_switch(void)
{
    unsigned from = tso.now, to = (unsigned)tso_rnd(tso.n);
    if (tso.points >= tso.thaw_at) { /* one CPU stands still for a while, as after an SMI */
        tso.frozen = (unsigned)tso_rnd(tso.n + 2);
        tso.thaw_at = tso.points + tso_rnd(300);
    }
    for (unsigned i = 0; i < 2 * tso.n; i++, to = (to + 1) % tso.n)
        if (tso.cpu[to].alive && (to != tso.frozen || i >= tso.n))
            break;
    if (to == from || !tso.cpu[to].alive)
        return;
    tso.now = to;
    fake_set_cpu(to);
    swapcontext(&tso.cpu[from].context, &tso.cpu[to].context);
}

/* Before every atomic operation: anything may happen now. */
static void tso_point(bool yield)
{
    if (++tso.points > tso.limit) {
        tso.hung = true;
        setcontext(&tso.main);
    }
    if (!tso.mood_left--)
        tso_mood();
    if (yield || tso_rnd(tso.flush_odds) == 0)
        tso_flush_one(&tso.cpu[tso_rnd(tso.n)]);
    if (yield || tso_rnd(tso.switch_odds) == 0)
        tso_switch();
}

static uint64_t tso_load(const volatile void *at, size_t size)
{
    if (!tso.on)
        return tso_read(at, size);
    tso_point(false);
    struct tso_cpu *c = &tso.cpu[tso.now];
    uintptr_t a = (uintptr_t)at;
    for (unsigned i = c->n; i-- > 0;) {
        uintptr_t b = (uintptr_t)c->store[i].at;
        if (a == b && size == c->store[i].size)
            return c->store[i].value; /* store forwarding */
        if (a < b + c->store[i].size && b < a + size) {
            tso_flush(c);
            break;
        }
    }
    return tso_read(at, size);
}

static void tso_store(volatile void *at, size_t size, uint64_t v, memory_order order)
{
    if (!tso.on) {
        tso_write(at, size, v);
        return;
    }
    tso_point(false);
    struct tso_cpu *c = &tso.cpu[tso.now];
    if (c->n == TSO_DEPTH)
        tso_flush_one(c);
    c->store[c->n++] = (struct tso_store){at, size, v};
    if (order == memory_order_seq_cst)
        tso_flush(c);
}

/* A read-modify-write: the buffer drains and nothing comes between. */
static void tso_locked(void)
{
    if (!tso.on)
        return;
    tso_point(false);
    tso_flush(&tso.cpu[tso.now]);
}

static bool tso_compare(volatile void *at, size_t size, void *expected, uint64_t v)
{
    tso_locked();
    uint64_t old = tso_read(at, size), want = tso_read(expected, size);
    if (old == want)
        tso_write(at, size, v);
    else
        tso_write(expected, size, old);
    return old == want;
}

enum tso_op { TSO_XCHG, TSO_ADD, TSO_SUB, TSO_OR, TSO_AND };
static uint64_t tso_rmw(volatile void *at, size_t size, enum tso_op op, uint64_t v)
{
    tso_locked();
    uint64_t old = tso_read(at, size);
    tso_write(at, size,
              op == TSO_XCHG  ? v
              : op == TSO_ADD ? old + v
              : op == TSO_SUB ? old - v
              : op == TSO_OR  ? old | v
                              : old & v);
    return old;
}

static void tso_start(void)
{
    struct tso_cpu *c = &tso.cpu[tso.now];
    (void)c->fn(c->arg);
    tso_flush(c);
    c->alive = false;
    for (;;) {
        bool any = false;
        for (unsigned i = 0; i < tso.n; i++)
            any |= tso.cpu[i].alive;
        if (!any)
            setcontext(&tso.main);
        tso_switch();
    }
}

static void tso_relax(uint32_t cpu)
{
    (void)cpu;
    if (tso.on)
        tso_point(true);
}

static int tso_spawn(void *(*fn)(void *), void *arg)
{
    struct tso_cpu *c = &tso.cpu[tso.n++];
    ASSERT(tso.n <= TSO_CPUS);
    c->fn = fn;
    c->arg = arg;
    c->alive = true;
    c->n = 0;
    if (!c->stack)
        c->stack = malloc(TSO_STACK);
    getcontext(&c->context);
    c->context.uc_stack.ss_sp = c->stack;
    c->context.uc_stack.ss_size = TSO_STACK;
    makecontext(&c->context, tso_start, 0);
    return 0;
}

/* The first join runs all to their ends. */
static int tso_join(void)
{
    if (!tso.n)
        return 0;
    fake_on_relax = tso_relax;
    tso.points = tso.thaw_at = tso.now = 0;
    tso.hung = false;
    tso_mood();
    fake_set_cpu(0);
    tso.on = true;
    swapcontext(&tso.main, &tso.cpu[0].context);
    tso.on = false;
    tap_ok(!tso.hung, "every CPU comes to its end (%llu points)", (unsigned long long)tso.points);
    tso.n = 0;
    fake_set_cpu(0);
    return 0;
}

#define pthread_create(thread, attr, fn, arg) ((void)(thread), tso_spawn(fn, arg))
#define pthread_join(thread, result) ((void)(thread), tso_join())
#define sched_yield() (tso.on ? tso_point(true) : (void)0)

#define TSO_TYPE(p) __typeof__((void)0, *(p))
#define TSO_RMW(p, op, v) tso_rmw((p), sizeof(*(p)), op, (uint64_t)(v))
#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load(p) ((TSO_TYPE(p))tso_load((p), sizeof(*(p))))
#define atomic_load_explicit(p, order) ((void)(order), atomic_load(p))
#define atomic_store_explicit(p, v, order) tso_store((p), sizeof(*(p)), (uint64_t)(v), order)
#define atomic_store(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#define atomic_exchange(p, v) TSO_RMW(p, TSO_XCHG, v)
#define atomic_exchange_explicit(p, v, order) ((void)(order), atomic_exchange(p, v))
#define atomic_fetch_add(p, v) TSO_RMW(p, TSO_ADD, v)
#define atomic_fetch_add_explicit(p, v, order) ((void)(order), atomic_fetch_add(p, v))
#define atomic_fetch_sub(p, v) TSO_RMW(p, TSO_SUB, v)
#define atomic_fetch_sub_explicit(p, v, order) ((void)(order), atomic_fetch_sub(p, v))
#define atomic_fetch_or(p, v) TSO_RMW(p, TSO_OR, v)
#define atomic_fetch_or_explicit(p, v, order) ((void)(order), atomic_fetch_or(p, v))
#define atomic_fetch_and(p, v) TSO_RMW(p, TSO_AND, v)
#define atomic_fetch_and_explicit(p, v, order) ((void)(order), atomic_fetch_and(p, v))
#define atomic_compare_exchange_strong(p, e, v) tso_compare((p), sizeof(*(p)), (e), (uint64_t)(v))
#define atomic_compare_exchange_weak(p, e, v) atomic_compare_exchange_strong(p, e, v)
#define atomic_compare_exchange_strong_explicit(p, e, v, order, failed)                            \
    ((void)(order), (void)(failed), atomic_compare_exchange_strong(p, e, v))
#define atomic_compare_exchange_weak_explicit(p, e, v, order, failed)                              \
    ((void)(order), (void)(failed), atomic_compare_exchange_strong(p, e, v))
