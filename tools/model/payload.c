/* SPDX-License-Identifier: BSD-2-Clause */
/* Derived values (394D, 394E; hv/coherency/README "Slots and channels"): a patch carries {entry,
 * spte}; the consumer re-reads the entry after freeing the slot and uses the spte only for an equal
 * entry (hv/coherency/channel.c channel_post, channel_free; consumer.c consumer_derived_usable). An
 * entry is its place in its modification order, and its spte the same number. Tested by
 * tools/model/run.sh. */
#include "explore.h"

enum { ENT, PEND, CONSUMER, WHOLE, SEEN, PATCH = SEEN + 2 }; /* three words a producer */
#define SLOT(p) (PATCH + 3 * (p)) /* 0 free, 1 used, 3 used with a derived value */
#define GPTE(p) (PATCH + 3 * (p) + 1)
#define SPTE(p) (PATCH + 3 * (p) + 2)
#define DV 2
enum { GOOD, DERIVED, REWRITTEN };
enum { N, V, W }; /* registers of a producer */
enum { N_, COPY, MUST, P, GP, SP, WORD, HELD, LISTED, P0 };
#define CONS 2
/* bounds: stores of each producer, consumer's actions, and 1 WHOLE | 2 drops | 4 postponing */

const char *const model_name = "payload";
int model_cpus = 3;
const char *const model_words[] = {"entry", "pending", "consumer", "whole", "seen0",
                                   "seen1", "slot0",   "gpte0",    "spte0", "slot1",
                                   "gpte1", "spte1",   0};
const struct model_run model_runs[] = {
    {"", GOOD, {2, 1, 3, 7}, {2, 2, 4, 7}},
    {"", GOOD, {3, 0, 4, 7}, {4, 0, 5, 7}},
    {"derived_two_producers", DERIVED, {1, 1, 2, 0}, {0}},
    {"derived_reregister", DERIVED, {2, 0, 4, 2}, {0}},
    {"derived_whole_between", DERIVED, {2, 0, 3, 5}, {0}},
    {"payload_rewritten_before_coalescing", REWRITTEN, {2, 0, 3, 0}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    S.cpu[0].r[N] = (uint8_t)bound(0);
    S.cpu[1].r[N] = (uint8_t)bound(1);
    S.cpu[CONS].r[N_] = (uint8_t)bound(2);
    S.cpu[CONS].r[COPY] = NONE;
}

static bool post(int c)
{
    SUB_BEGIN;
    R(W) = (uint8_t)load(c, SLOT(c));
    SUB_NEXT;
    if (R(W)) {
        if (is(REWRITTEN)) {
            store(c, GPTE(c), R(V));
            SUB_NEXT;
            store(c, SPTE(c), R(V));
            SUB_NEXT;
        }
        if (cas(c, SLOT(c), R(W), is(REWRITTEN) ? R(W) : 1)) {
            S.cpu[c].sub = 0;
            return true;
        }
        SUB_NEXT;
    }
    store(c, GPTE(c), R(V));
    SUB_NEXT;
    store(c, SPTE(c), R(V));
    SUB_NEXT;
    store(c, SLOT(c), 1 | DV);
    SUB_NEXT;
    fetch_or(c, PEND, 1 << c);
    SUB_END;
}

static void producer(int c)
{
    BEGIN;
    while (R(N)) {
        R(N)--;
        R(W) = (uint8_t)(c == 0 && (bound(3) & 1) ? choose(2) : 0);
        R(V) = (uint8_t)(fetch_add(c, ENT, 1) + 1);
        NEXT;
        if (R(W)) { /* a store of ours of any width: the whole page is posted */
            store(c, WHOLE, 1);
            NEXT;
            fetch_or(c, PEND, 4);
            NEXT;
        } else {
            R(W) = (uint8_t)load(c, CONSUMER);
            NEXT;
            if (R(W))
                CALL(post);
        }
        store(c, SEEN + c, R(V));
        NEXT;
    }
    END;
}

static void apply(int c)
{
    int v = load(c, ENT);
    if (R(COPY) == NONE)
        return;
    if (is(DERIVED))
        R(COPY) = R(WORD) & DV ? R(SP) : (uint8_t)v;
    else
        R(COPY) = (R(WORD) & DV) && R(GP) == v ? R(SP) : (uint8_t)v;
}

static bool event(int c)
{
    SUB_BEGIN;
    R(MUST) = S.mem[SEEN] > S.mem[SEEN + 1] ? S.mem[SEEN] : S.mem[SEEN + 1];
    R(HELD) = R(LISTED) = 0;
    R(P) = (uint8_t)exchange(c, PEND, 0);
    SUB_NEXT;
    if (R(P) & 4)
        R(LISTED) = (uint8_t)exchange(c, WHOLE, 0);
    for (R(P0) = 0; R(P0) < 2; R(P0)++) {
        if (!(R(P) & 1 << R(P0)))
            continue;
        SUB_NEXT;
        if (!load(c, SLOT(R(P0))))
            continue;
        if ((bound(3) & 4) && choose(2)) { /* 870 */
            R(HELD) |= (uint8_t)(1 << R(P0));
            continue;
        }
        SUB_NEXT;
        R(GP) = (uint8_t)load(c, GPTE(R(P0)));
        SUB_NEXT;
        R(SP) = (uint8_t)load(c, SPTE(R(P0)));
        SUB_NEXT;
        R(WORD) = (uint8_t)exchange(c, SLOT(R(P0)), 0); /* 878 */
        SUB_NEXT;
        apply(c);
    }
    if (R(HELD)) {
        SUB_NEXT;
        fetch_or(c, PEND, R(HELD));
    }
    if (R(LISTED) && R(COPY) != NONE) {
        SUB_NEXT;
        R(COPY) = (uint8_t)load(c, ENT);
    }
    expect(R(COPY) == NONE || R(HELD) || R(COPY) >= R(MUST), "a stale spte survived a drain");
    R(GP) = R(SP) = R(WORD) = R(MUST) = R(HELD) = R(P) = 0;
    SUB_END;
}

static void consumer(int c)
{
    BEGIN;
    while (R(N_)) {
        R(N_)--;
        R(WORD) = (uint8_t)choose(bound(3) & 2 ? 3 : 2);
        if (R(WORD) == 0) {
            CALL(event);
        } else if (R(WORD) == 1 && R(COPY) == NONE) {
            fetch_or(c, CONSUMER, 1);
            NEXT;
            R(COPY) = (uint8_t)load(c, ENT);
        } else if (R(WORD) == 2) {
            R(COPY) = NONE;
            fetch_and(c, CONSUMER, 0);
        }
        R(WORD) = 0;
        NEXT;
    }
    END;
}

void model_run(int c)
{
    if (c == CONS)
        consumer(c);
    else
        producer(c);
}
