/* SPDX-License-Identifier: BSD-2-Clause */
/* The audit's own condition (hv/coherency/README "The property"; hv/mmu/audit.c audit_source,
 * hv/coherency/consumer.c consumer_explains): no false alarm at any interleaving, and no miss of an
 * update that was lost before the audit began. Two producers, one slot each, two keys; the page may
 * go unsync. bound(3) lets producers lose posts. Tested by tools/model/run.sh. */
#include "explore.h"

enum { ENT, UNSYNC, SLOT, OVF = SLOT + 2, STORING = OVF + 2, SEEN = STORING + 2 };
enum { LOST, STARTED }; /* ghosts: highest entry whose post was lost; operations begun */
enum {
    GOOD,
    SLOTS_FIRST,
    ENTRY_LAST,
    NO_STORING,
    CLEARED_EARLY,
    NO_OVERFLOW,
    NO_WHOLE,
    NO_LIST,
    ANY_SLOT,
    FORGETS_WHOLE
};
enum { N, V, W, OP, LOSES };
enum { N_, COPY, LISTED, ACT, E, FOUND, MUST_FIND, SINCE, W_, I };
#define CONS 2
#define KEY 1
#define OTHER 2
#define ALL 3
/* bounds: operations of the producers, actions of the consumer, 1: posts may be lost */

const char *const model_name = "audit";
int model_cpus = 3;
const char *const model_words[] = {"entry",    "unsync",   "slot0", "slot1", "full0", "full1",
                                   "storing0", "storing1", "seen0", "seen1", 0};
const struct model_run model_runs[] = {
    {"", GOOD, {1, 1, 4, 0}, {2, 1, 4, 0}},
    {"", GOOD, {2, 0, 4, 0}, {3, 0, 5, 0}},
    {"", GOOD, {1, 1, 3, 1}, {2, 1, 3, 1}},
    {"slots_before_storing", SLOTS_FIRST, {2, 1, 3, 0}, {0}},
    {"entry_last", ENTRY_LAST, {2, 1, 3, 0}, {0}},
    {"storing_ignored", NO_STORING, {2, 1, 3, 0}, {0}},
    {"storing_cleared_early", CLEARED_EARLY, {2, 1, 3, 0}, {0}},
    {"overflow_ignored", NO_OVERFLOW, {2, 1, 3, 0}, {0}},
    {"whole_ignored", NO_WHOLE, {2, 1, 3, 0}, {0}},
    {"list_ignored", NO_LIST, {3, 0, 4, 0}, {0}},
    {"overflow_forgets_whole", FORGETS_WHOLE, {2, 0, 4, 0}, {0}},
    {"any_slot_explains", ANY_SLOT, {2, 1, 3, 1}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    S.cpu[0].r[N] = (uint8_t)bound(0);
    S.cpu[1].r[N] = (uint8_t)bound(1);
    S.cpu[CONS].r[N_] = (uint8_t)bound(2);
    S.cpu[CONS].r[COPY] = NONE; /* registered all the time, but for overflow */
}

static bool post(int c)
{
    SUB_BEGIN;
    R(W) = (uint8_t)load(c, SLOT + c);
    SUB_NEXT;
    if (R(W) == R(OP) && cas(c, SLOT + c, R(W), R(W))) {
        S.cpu[c].sub = 0;
        return true;
    }
    if (R(W) == 0 || R(W) == R(OP))
        store(c, SLOT + c, R(OP));
    else
        store(c, OVF + c, 1);
    SUB_END;
}

/* Producer 0 may make the page unsync, store without exits, and leave. */
static bool unsync_round(int c)
{
    SUB_BEGIN;
    fetch_or(c, UNSYNC, 1);
    R(OP) = ALL;
    SUB_NEXT;
    R(W) = (uint8_t)load(c, SLOT + c);
    SUB_NEXT;
    if (R(W) != ALL || !cas(c, SLOT + c, ALL, ALL)) {
        store(c, R(W) && R(W) != ALL ? OVF + c : SLOT + c, R(W) && R(W) != ALL ? 1 : ALL);
        SUB_NEXT;
    }
    R(V) = (uint8_t)(fetch_add(c, ENT, 1) + 1);
    SUB_NEXT;
    store(c, SEEN + c, R(V));
    SUB_NEXT;
    fetch_and(c, UNSYNC, 0);
    SUB_END;
}

static void producer(int c)
{
    BEGIN;
    while (R(N)) {
        R(N)--;
        R(OP) = (uint8_t)(KEY + choose(3)); /* an entry's store, another's, a bulk store */
        R(LOSES) = (uint8_t)(bound(3) && R(OP) == KEY ? choose(2) : 0);
        if (c == 0 && R(OP) == ALL && !bound(3) && choose(2)) {
            CALL(unsync_round);
            R(W) = R(OP) = R(V) = 0;
            NEXT;
            continue;
        }
        S.ghost[STARTED] = (uint8_t)(S.ghost[STARTED] + (bound(3) ? 1 : 0));
        store(c, STORING + c, 1);
        NEXT;
        R(V) = (uint8_t)(fetch_add(c, ENT, R(OP) != OTHER) + (R(OP) != OTHER));
        if (R(LOSES) && R(V) > S.ghost[LOST])
            S.ghost[LOST] = R(V);
        NEXT;
        if (is(CLEARED_EARLY)) {
            store(c, STORING + c, 0);
            NEXT;
        }
        if (!R(LOSES)) {
            CALL(post);
            NEXT;
        }
        store(c, STORING + c, 0);
        NEXT;
        if (R(OP) != OTHER) {
            store(c, SEEN + c, R(V));
            NEXT;
        }
        R(W) = R(OP) = R(V) = R(LOSES) = 0;
    }
    END;
}

static bool event(int c)
{
    SUB_BEGIN;
    for (R(I) = 0; R(I) < 2; R(I)++) {
        if (load(c, OVF + R(I))) {
            SUB_NEXT;
            exchange(c, OVF + R(I), 0);
            R(COPY) = NONE;
        }
        SUB_NEXT;
        if (!load(c, SLOT + R(I)))
            continue;
        SUB_NEXT;
        R(W_) = (uint8_t)exchange(c, SLOT + R(I), 0);
        R(LISTED) |= R(W_) == ALL;
        if (R(W_) == KEY && R(COPY) != NONE) {
            SUB_NEXT;
            R(COPY) = (uint8_t)load(c, ENT);
        }
    }
    if (R(LISTED)) {
        SUB_NEXT;
        R(W_) = (uint8_t)load(c, UNSYNC);
        SUB_NEXT;
        if (R(COPY) != NONE)
            R(COPY) = (uint8_t)load(c, ENT);
        R(LISTED) = R(W_);
    }
    R(I) = R(W_) = 0;
    SUB_END;
}

static bool explained_by(int c, int p)
{
    int key = load(c, SLOT + p);
    return key == KEY || (key == ALL && !is(NO_WHOLE)) || (key && is(ANY_SLOT));
}

/* An update that is lost for good when the audit begins: stored, told, and announced nowhere. */
static bool lost_already(int c)
{
    uint8_t told = S.mem[SEEN] > S.mem[SEEN + 1] ? S.mem[SEEN] : S.mem[SEEN + 1];
    for (int p = 0; p < 2; p++)
        if (S.mem[STORING + p] || S.cpu[p].n || S.mem[OVF + p] || S.mem[SLOT + p] == KEY ||
            S.mem[SLOT + p] == ALL)
            return false;
    return R(COPY) < told && !R(LISTED);
}

static bool look_at_slots(int c)
{
    SUB_BEGIN;
    for (R(I) = 0; R(I) < 2; R(I)++) {
        R(FOUND) |= explained_by(c, R(I));
        SUB_NEXT;
    }
    for (R(I) = 0; R(I) < 2; R(I)++) {
        R(FOUND) |= !is(NO_OVERFLOW) && load(c, OVF + R(I));
        SUB_NEXT;
    }
    R(I) = 0;
    SUB_END;
}

static bool look_at_storing(int c)
{
    SUB_BEGIN;
    for (R(I) = 0; R(I) < 2; R(I)++) {
        R(FOUND) |= !is(NO_STORING) && load(c, STORING + R(I));
        SUB_NEXT;
    }
    R(I) = 0;
    SUB_END;
}

/* FOUND: an explanation. */
static void verdict(int c)
{
    bool alarm = R(E) != R(COPY) && !R(FOUND) && (is(NO_LIST) || !R(LISTED));
    expect(!alarm || S.ghost[LOST] > R(COPY), "a false alarm");
    expect(!R(MUST_FIND) || alarm || S.ghost[STARTED] != R(SINCE), "a lost update not found");
    R(FOUND) = R(MUST_FIND) = R(E) = R(SINCE) = 0;
}

static void consumer(int c)
{
    BEGIN;
    while (R(N_)) {
        R(N_)--;
        R(ACT) = (uint8_t)choose(2);
        if (R(COPY) == NONE && R(ACT)) {
            if (!is(FORGETS_WHOLE)) { /* overflow deregistered the page: it may be unsync now */
                R(LISTED) |= (uint8_t)fetch_or(c, UNSYNC, 0);
                NEXT;
            }
            R(COPY) = (uint8_t)load(c, ENT);
        } else if (R(ACT)) {
            CALL(event);
        } else if (R(COPY) != NONE) {
            R(MUST_FIND) = lost_already(c);
            R(SINCE) = S.ghost[STARTED];
            if (!is(ENTRY_LAST)) {
                R(E) = (uint8_t)load(c, ENT);
                NEXT;
            }
            if (is(SLOTS_FIRST))
                CALL(look_at_slots);
            CALL(look_at_storing);
            if (!is(SLOTS_FIRST))
                CALL(look_at_slots);
            if (is(ENTRY_LAST))
                R(E) = (uint8_t)load(c, ENT);
            verdict(c);
        }
        R(ACT) = 0;
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
