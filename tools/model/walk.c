/* SPDX-License-Identifier: BSD-2-Clause */
/* A walk that waits in its middle (hv/coherency/README "Consumer"; hv/mmu/walk.c walk_link,
 * walk_once, hv/coherency/actions.c action_request): the entry of an upper table is read, the
 * lower table is installed, which may wait and, while it waits, drain; then the spte is made.
 * Tested by tools/model/run.sh. */
#include "explore.h"

enum { UPPER, SEEN, PATCH, LOWER, ASK, ACK, DRAIN };
#define WRITER 1
#define CONSUMER 2
enum { GOOD, GOES_ON, SERVES_AFTER_CHECK };
enum { N, V, SENT };
enum { N_, COPY, READ, MUST, CHANGED, W };
/* bounds: stores, walks and events */

const char *const model_name = "walk";
int model_cpus = 2;
const char *const model_words[] = {"upper", "seen", "patch", "lower", "ask", "ack", "drain", 0};
const struct model_run model_runs[] = {
    {"", GOOD, {3, 4, 0, 0}, {5, 7, 0, 0}},
    {"goes_on_after_a_drain", GOES_ON, {2, 3, 0, 0}, {0}},
    {"serves_before_the_spte", SERVES_AFTER_CHECK, {2, 3, 0, 0}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    S.cpu[0].r[N] = (uint8_t)bound(0);
    S.cpu[1].r[N_] = (uint8_t)bound(1);
    S.cpu[1].r[COPY] = NONE;
    S.mem[LOWER] = WRITER;
}

/* Writes the upper table, emulated; holds the lower one writable again and again. */
static void writer(int c)
{
    BEGIN;
    while (R(N)) {
        if (S.mem[ASK]) {
            exchange(c, ASK, 0);
            NEXT;
            fetch_and(c, LOWER, 255 - WRITER);
            NEXT;
            store(c, ACK, 1);
            NEXT;
        }
        R(N)--;
        fence(c);
        if (choose(2) && !(S.mem[LOWER] & CONSUMER))
            S.mem[LOWER] |= WRITER;
        NEXT;
        R(V)++;
        exchange(c, UPPER, R(V));
        NEXT;
        fetch_or(c, PATCH, 1);
        R(SENT) = (uint8_t)choose(2);
        if (R(SENT)) { /* a shootdown: the other drains now */
            NEXT;
            fetch_or(c, DRAIN, 1);
        }
        R(SENT) = 0;
        NEXT;
        store(c, SEEN, R(V));
        NEXT;
    }
    while (1) {
        S.cpu[c].done = 2;
        WAIT_FOR(S.mem[ASK]);
        exchange(c, ASK, 0);
        NEXT;
        fetch_and(c, LOWER, 255 - WRITER);
        NEXT;
        store(c, ACK, 1);
        NEXT;
    }
    END;
}

static bool drain(int c)
{
    SUB_BEGIN;
    if (exchange(c, PATCH, 0)) {
        R(CHANGED) = 1;
        SUB_NEXT;
        if (R(COPY) != NONE)
            R(COPY) = (uint8_t)load(c, UPPER);
    }
    SUB_END;
}

static bool serve_drain(int c)
{
    SUB_BEGIN;
    exchange(c, DRAIN, 0);
    SUB_NEXT;
    if (exchange(c, PATCH, 0)) {
        R(CHANGED) = 1;
        SUB_NEXT;
        if (R(COPY) != NONE)
            R(COPY) = (uint8_t)load(c, UPPER);
    }
    SUB_END;
}

static void walker(int c)
{
    BEGIN;
    while (R(N_)) {
        R(N_)--;
        if (R(COPY) == NONE) {
            R(CHANGED) = 0;
            R(READ) = (uint8_t)load(c, UPPER);
            NEXT;
            R(W) = (uint8_t)fetch_or(c, LOWER, CONSUMER);
            if (R(W) & WRITER) {
                NEXT;
                store(c, ACK, 0);
                NEXT;
                fetch_or(c, ASK, 1);
                while (!S.mem[ACK] || load(c, ACK) == 0) {
                    WAIT_FOR(S.mem[ACK] || S.mem[DRAIN]);
                    if (S.mem[DRAIN])
                        CALL(serve_drain);
                }
            }
            R(W) = R(CHANGED);
            if (is(SERVES_AFTER_CHECK) && S.mem[DRAIN]) {
                NEXT;
                CALL(serve_drain);
            }
            NEXT;
            if (!R(W) || is(GOES_ON))
                R(COPY) = R(READ);
        }
        NEXT;
        if (choose(2)) { /* an event, the other tables going with the flush */
            R(MUST) = S.mem[SEEN];
            CALL(drain);
            expect(R(COPY) == NONE || R(COPY) >= R(MUST), "a stale spte survived a drain");
        } else {
            R(COPY) = NONE;
            fetch_and(c, LOWER, 255 - CONSUMER);
        }
        R(MUST) = R(READ) = R(W) = R(CHANGED) = 0;
        NEXT;
    }
    END;
}

void model_run(int c)
{
    if (c == 0)
        writer(c);
    else
        walker(c);
}
