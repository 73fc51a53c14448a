/* SPDX-License-Identifier: BSD-2-Clause */
/* Two or three CPUs in a ring: each writes its own table and shadows the next one's, so each is
 * producer and consumer, asks for drops and is asked while it waits (hv/coherency/README "Trace
 * words", "Unsync tables", "Waiting and waking"; hv/coherency/trace.c, actions.c, hv/mmu/unsync.c,
 * pool.c). Leaf tables are re-read, non-leaf tables given up (ZAP). A post is one step: slot.pml
 * has its inside. Tested by tools/model/run.sh. */
#include "explore.h"

enum { ENT, SEEN = 3, TRACE = 6, PATCH = 9, ALL = 12, ACTION = 15, ACK = 18 }; /* three each */
#define TRACED 1
#define UNSYNC 2
#define WRITER 4
#define CONSUMER(c) (8 << (c))
#define CONSUMERS 56
enum {
    GOOD,
    ZAP_REREADS,
    ZAP_REGISTER_UNLISTED,
    ZAP_KEEPS_REGISTRATION,
    LEAVE_BEFORE_DROP,
    TRANSIENT_CLEARS,
    NO_WAIT,
    READ_BEFORE_ACK,
    WAIT_NO_SERVE,
};
enum { N, V, ALIAS, COPY, LISTED, REG, MUST, W, OLD, LEFT, WAITS, HAD };
/* bounds: CPUs, operations of each, 1 non-leaf | 2 conditional fills | 4 a second table user */

const char *const model_name = "tables";
int model_cpus;
const char *const model_words[] = {"ent0",   "ent1",   "ent2",   "seen0",   "seen1",   "seen2",
                                   "trace0", "trace1", "trace2", "patch0",  "patch1",  "patch2",
                                   "whole0", "whole1", "whole2", "action0", "action1", "action2",
                                   "ack0",   "ack1",   "ack2",   0};
const struct model_run model_runs[] = {
    {"", GOOD, {2, 5, 0, 0}, {2, 6, 0, 0}},
    {"", GOOD, {2, 5, 1, 0}, {2, 6, 1, 0}},
    {"", GOOD, {2, 4, 2, 0}, {2, 5, 2, 0}},
    {"", GOOD, {3, 2, 1, 0}, {3, 3, 1, 0}},
    {"", GOOD, {3, 2, 0, 0}, {0}},
    {"zap_rereads", ZAP_REREADS, {2, 5, 1, 0}, {0}},
    {"zap_register_unlisted", ZAP_REGISTER_UNLISTED, {2, 5, 5, 0}, {0}},
    {"zap_keeps_registration", ZAP_KEEPS_REGISTRATION, {2, 6, 1, 0}, {0}},
    {"leave_before_drop", LEAVE_BEFORE_DROP, {2, 5, 0, 0}, {0}},
    {"transient_writer_cleared", TRANSIENT_CLEARS, {2, 5, 2, 0}, {0}},
    {"install_without_wait", NO_WAIT, {2, 5, 0, 0}, {0}},
    {"read_before_ack", READ_BEFORE_ACK, {2, 5, 0, 0}, {0}},
    {"wait_without_serving", WAIT_NO_SERVE, {2, 3, 0, 0}, {0}},
    {"wait_without_serving", WAIT_NO_SERVE, {3, 2, 0, 0}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    model_cpus = bound(0);
    for (int c = 0; c < model_cpus; c++) {
        S.cpu[c].r[N] = (uint8_t)bound(1);
        S.cpu[c].r[COPY] = NONE;
        if (bound(2) & 4) /* a consumer of which nothing else is modelled keeps the tables traced */
            S.mem[TRACE + c] = TRACED;
    }
}

static int next_of(int c)
{
    return (c + 1) % model_cpus;
}

static int previous_of(int c)
{
    return (c + model_cpus - 1) % model_cpus;
}

/* With the last writer unsync goes too, in the same exchange. */
static void clear_writer(int c)
{
    fetch_and(c, TRACE + c, 255 - WRITER - UNSYNC);
}

/* Drop, flush, clear, acknowledge. The only one who asks is the consumer of the own table. */
static bool serve(int c)
{
    SUB_BEGIN;
    if (load(c, ACTION + c)) {
        SUB_NEXT;
        exchange(c, ACTION + c, 0);
        SUB_NEXT;
        fence(c);
        R(ALIAS) = 0;
        SUB_NEXT;
        clear_writer(c);
        SUB_NEXT;
        store(c, ACK + previous_of(c), 1);
    }
    SUB_END;
}

static void post_all(int c, int word)
{
    fence(c);
    if (R(OLD) & CONSUMERS)
        S.mem[word + previous_of(c)] = 1;
}

/* The guest's store, through the alias or emulated: the MMU decides when it executes. */
static bool guest_store(int c)
{
    SUB_BEGIN;
    R(V)++;
    if (R(ALIAS)) {
        store(c, ENT + c, R(V));
    } else {
        exchange(c, ENT + c, R(V));
        SUB_NEXT;
        R(OLD) = (uint8_t)load(c, TRACE + c);
        SUB_NEXT;
        post_all(c, PATCH);
    }
    SUB_NEXT;
    store(c, SEEN + c, R(V));
    SUB_END;
}

/* A writable mapping: by giving the trace up (1) or by the conditional fill (3). */
static bool make_alias(int c)
{
    SUB_BEGIN;
    fence(c);
    R(OLD) = S.mem[TRACE + c];
    if (R(W) == 3 && (R(OLD) & TRACED) && !(R(OLD) & UNSYNC)) {
        R(OLD) = 0;
        S.cpu[c].sub = 0;
        return true;
    }
    S.mem[TRACE + c] |= R(OLD) & TRACED ? UNSYNC | WRITER : WRITER;
    SUB_NEXT;
    if (R(OLD) & TRACED)
        post_all(c, ALL);
    R(ALIAS) = 1;
    SUB_END;
}

static bool leave(int c)
{
    SUB_BEGIN;
    if (is(LEAVE_BEFORE_DROP)) {
        clear_writer(c);
        R(LEFT) = 1; /* dropped when the guest exits next */
    } else {
        fence(c);
        R(ALIAS) = 0;
        SUB_NEXT;
        clear_writer(c);
    }
    SUB_END;
}

/* A fill that sets the bit, finds the table unsync and makes no mapping: a drain's, a batch's. */
static bool transient(int c)
{
    SUB_BEGIN;
    fence(c);
    R(OLD) = S.mem[TRACE + c];
    if ((R(OLD) & TRACED) && (R(OLD) & UNSYNC)) {
        S.mem[TRACE + c] |= WRITER;
        SUB_NEXT;
        if (is(TRANSIENT_CLEARS) || !R(ALIAS))
            clear_writer(c);
    }
    SUB_END;
}

/* The wait for the acknowledgement is in model_run. */
static void install(int c)
{
    fence(c);
    R(OLD) = S.mem[TRACE + next_of(c)];
    S.mem[TRACE + next_of(c)] |= (uint8_t)(TRACED | CONSUMER(c));
    R(REG) = 1;
    if (R(OLD) & UNSYNC)
        R(LISTED) = !is(ZAP_REGISTER_UNLISTED);
    R(WAITS) = !(R(OLD) & UNSYNC) && (R(OLD) & WRITER);
}

static void deregister(int c)
{
    int left = fetch_and(c, TRACE + next_of(c), 255 - CONSUMER(c)) & CONSUMERS & ~CONSUMER(c);
    if (!left && !(bound(2) & 4))
        S.mem[TRACE + next_of(c)] &= 255 - TRACED - UNSYNC;
    R(REG) = R(LISTED) = 0;
    R(COPY) = NONE;
}

static void reread(int c)
{
    if (R(COPY) != NONE)
        R(COPY) = (uint8_t)load(c, ENT + next_of(c));
}

static bool drain(int c)
{
    SUB_BEGIN;
    R(MUST) = S.mem[SEEN + next_of(c)];
    R(LISTED) |= (uint8_t)exchange(c, ALL + c, 0);
    SUB_NEXT;
    R(W) = (uint8_t)exchange(c, PATCH + c, 0);
    if (R(W)) {
        SUB_NEXT;
        reread(c);
    }
    if (R(LISTED) && (bound(2) & 1) && !is(ZAP_REREADS)) {
        SUB_NEXT;
        if (is(ZAP_KEEPS_REGISTRATION)) {
            R(LISTED) = 0;
            R(COPY) = NONE;
        } else if (R(REG)) {
            deregister(c);
        }
    } else if (R(LISTED)) {
        SUB_NEXT;
        R(W) = (uint8_t)load(c, TRACE + next_of(c));
        SUB_NEXT;
        reread(c);
        R(LISTED) = !is(ZAP_REREADS) && (R(W) & UNSYNC);
    }
    expect(R(COPY) == NONE || R(COPY) >= R(MUST), "a stale spte survived a drain");
    if (!R(REG))
        R(LISTED) = 0;
    R(MUST) = R(W) = R(OLD) = 0;
    SUB_END;
}

static void pick(int c)
{
    int half = choose(2);
    R(W) = (uint8_t)(half * 4 + choose(half ? 3 : 4));
    /* only what does something */
    if ((R(W) == 1 && R(ALIAS)) || (R(W) == 2 && (!R(ALIAS) || R(LEFT))) ||
        (R(W) == 3 && !(bound(2) & 2)) || (R(W) == 4 && R(COPY) != NONE) ||
        (R(W) == 5 && R(REG) == 0) || (R(W) == 6 && R(REG) == 0))
        block();
    R(HAD) = R(ALIAS);
    R(N)--;
}

/* 1 gives the trace up, 3 fills conditionally, or transiently over an alias. */
static bool write_side(int c)
{
    if (R(W) == 0)
        return guest_store(c);
    if (R(W) == 2)
        return leave(c);
    if (R(W) == 3 && R(HAD))
        return transient(c);
    return make_alias(c);
}

void model_run(int c)
{
    BEGIN;
    while (R(N)) {
        if (S.mem[ACTION + c]) {
            CALL(serve);
            NEXT;
        }
        pick(c);
        NEXT;
        if (R(LEFT) && R(W) != 0) {
            R(LEFT) = R(ALIAS) = 0;
            NEXT;
        }
        if (R(W) < 4) {
            CALL(write_side);
        } else if (R(W) == 5) {
            CALL(drain);
        } else if (R(W) == 6) {
            deregister(c);
        } else {
            if (!R(REG)) {
                install(c);
                if (is(READ_BEFORE_ACK)) {
                    NEXT;
                    R(COPY) = (uint8_t)load(c, ENT + next_of(c));
                }
                if (R(WAITS)) {
                    NEXT;
                    store(c, ACK + c, 0);
                    NEXT;
                    fetch_or(c, ACTION + next_of(c), 1);
                    while (!is(NO_WAIT) && !S.mem[ACK + c]) {
                        WAIT_FOR(S.mem[ACK + c] || (!is(WAIT_NO_SERVE) && S.mem[ACTION + c]));
                        if (S.mem[ACTION + c] && !is(WAIT_NO_SERVE))
                            CALL(serve);
                    }
                    R(WAITS) = 0;
                }
                NEXT;
            }
            if (R(COPY) == NONE)
                R(COPY) = (uint8_t)load(c, ENT + next_of(c));
        }
        R(W) = R(OLD) = R(HAD) = 0;
        NEXT;
    }
    while (1) { /* it runs no guest, but answers */
        S.cpu[c].done = 2;
        WAIT_FOR(S.mem[ACTION + c]);
        CALL(serve);
    }
    END;
}
