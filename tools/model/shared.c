/* SPDX-License-Identifier: BSD-2-Clause */
/* The one channel of coherency=locked ([0127]; hv/coherency/locked.c shared_post, shared_take), and
 * consumers=all (producer.c consumers_of, actions.c action_online): two producers, of which CPU 0
 * is also a consumer, and a consumer that comes online, registers and goes. What is done under the
 * lock is one step. One slot. Tested by tools/model/run.sh. */
#include "explore.h"

enum { ENT, TRACE = ENT + 2, ONLINE, KEY, TO, FULL, PEND, SEEN = PEND + 3 }; /* SEEN: by key */
enum {
    GOOD,
    COALESCED_NOT_PENDING,
    CONSUMERS_NOT_ADDED,
    TAKEN_FOR_ALL,
    ONLINE_LATE,
    FULL_FORGOTTEN
};
enum { N, V, W, E, SET, COPY = 5, MUST = 7, EVENTS = 9, P, ACT, REG };
/* bounds: stores of the producers, actions of each consumer, 1: consumers=all; 2: both consume */

const char *const model_name = "shared";
int model_cpus = 3;
const char *const model_words[] = {"ent0",  "ent1",  "traced", "online", "key",   "to", "full",
                                   "pend0", "pend1", "pend2",  "seen0",  "seen1", 0};
const struct model_run model_runs[] = {
    {"", GOOD, {1, 1, 3, 0}, {2, 1, 4, 0}},
    {"", GOOD, {1, 1, 3, 1}, {2, 1, 3, 1}},
    {"", GOOD, {1, 1, 2, 2}, {1, 1, 3, 3}},
    {"coalesced_without_pending", COALESCED_NOT_PENDING, {1, 1, 3, 0}, {0}},
    {"coalesced_for_fewer", CONSUMERS_NOT_ADDED, {1, 1, 3, 2}, {0}},
    {"taken_for_everybody", TAKEN_FOR_ALL, {1, 1, 2, 2}, {0}},
    {"overflow_for_nobody", FULL_FORGOTTEN, {1, 1, 3, 0}, {0}},
    {"all_online_after_registration", ONLINE_LATE, {1, 1, 3, 1}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    S.cpu[0].r[N] = (uint8_t)bound(0);
    S.cpu[1].r[N] = (uint8_t)bound(1);
    S.cpu[2].r[EVENTS] = (uint8_t)bound(2);
    if (bound(3) & 2)
        S.cpu[0].r[EVENTS] = 2;
    for (int c = 0; c < 3; c++)
        S.cpu[c].r[COPY] = S.cpu[c].r[COPY + 1] = NONE;
}

/* W: 1 published or overflowed, 2 coalesced. */
static void post_locked(int c)
{
    fence(c);
    R(W) = 1;
    if (S.mem[TO] && S.mem[KEY] == R(E) + 1) {
        R(W) = R(SET) & ~S.mem[TO] ? 1 : 2;
        if (!is(CONSUMERS_NOT_ADDED))
            S.mem[TO] |= R(SET);
    } else if (S.mem[TO]) {
        if (!is(FULL_FORGOTTEN))
            S.mem[FULL] |= R(SET);
    } else {
        S.mem[KEY] = R(E) + 1;
        S.mem[TO] = R(SET);
    }
}

static bool produce(int c)
{
    SUB_BEGIN;
    R(E) = (uint8_t)choose(2);
    R(V) = (uint8_t)(fetch_add(c, ENT + R(E), 1) + 1);
    SUB_NEXT;
    R(SET) = (uint8_t)load(c, TRACE);
    if (R(SET) && (bound(3) & 1)) {
        SUB_NEXT;
        R(SET) = (uint8_t)load(c, ONLINE);
    }
    if (R(SET)) {
        SUB_NEXT;
        post_locked(c);
        for (R(P) = 0; R(P) < 3; R(P)++) {
            if (!(R(SET) & 1 << R(P)) || (R(W) == 2 && is(COALESCED_NOT_PENDING)))
                continue;
            SUB_NEXT;
            fetch_or(c, PEND + R(P), 1 << c);
        }
    }
    SUB_NEXT;
    fence(c); /* two producers of one entry: the highest number stands */
    if (S.mem[SEEN + R(E)] < R(V))
        S.mem[SEEN + R(E)] = R(V);
    R(E) = R(V) = R(SET) = R(W) = R(P) = 0;
    SUB_END;
}

static bool take(int c)
{
    SUB_BEGIN;
    fence(c);
    if (S.mem[FULL] & 1 << c) {
        S.mem[FULL] &= (uint8_t)~(1 << c);
        R(COPY) = R(COPY + 1) = NONE;
    }
    SUB_NEXT;
    fence(c);
    R(W) = 0;
    if (S.mem[TO] & 1 << c) {
        R(W) = S.mem[KEY];
        S.mem[TO] &= (uint8_t)(is(TAKEN_FOR_ALL) ? 0 : ~(1 << c));
    }
    if (R(W) && R(COPY + R(W) - 1) != NONE) {
        SUB_NEXT;
        R(COPY + R(W) - 1) = (uint8_t)load(c, ENT + R(W) - 1);
    }
    R(W) = 0;
    SUB_END;
}

static void check(int c)
{
    for (int e = 0; e < 2; e++)
        expect(R(COPY + e) == NONE || R(COPY + e) >= R(MUST + e), "a stale spte survived a drain");
    R(MUST) = R(MUST + 1) = R(P) = 0;
}

void model_run(int c)
{
    BEGIN;
    while (R(N) || R(EVENTS)) {
        R(ACT) = (uint8_t)choose(3); /* 0 store, 1 event, 2 access or goodbye */
        if (R(ACT) ? !R(EVENTS) : !R(N)) {
            block();
            return;
        }
        if (R(ACT) == 0) {
            R(N)--;
            NEXT;
            CALL(produce);
        } else if (R(ACT) == 1) {
            R(EVENTS)--;
            R(MUST) = S.mem[SEEN];
            R(MUST + 1) = S.mem[SEEN + 1];
            NEXT;
            R(P) = (uint8_t)exchange(c, PEND + c, 0);
            if (R(P)) {
                NEXT;
                CALL(take);
            }
            check(c);
        } else if (!R(REG)) {
            R(EVENTS)--;
            if (!is(ONLINE_LATE)) {
                fetch_or(c, ONLINE, 1 << c);
                NEXT;
            }
            fetch_or(c, TRACE, 1 << c);
            R(REG) = 1;
            NEXT;
            R(COPY) = (uint8_t)load(c, ENT);
            NEXT;
            R(COPY + 1) = (uint8_t)load(c, ENT + 1);
            if (is(ONLINE_LATE)) {
                NEXT;
                fetch_or(c, ONLINE, 1 << c);
            }
        } else {
            R(EVENTS)--;
            R(COPY) = R(COPY + 1) = NONE;
            fetch_and(c, TRACE, ~(1 << c));
            R(REG) = 0;
        }
        R(ACT) = 0;
        NEXT;
    }
    END;
}
