/* SPDX-License-Identifier: BSD-2-Clause */
/* Two-level trace words (hv/coherency/README "Trace words"): two CPUs that install on frames of one
 * 2 MiB region, one that maps the region writable when it counts no registration
 * (hv/coherency/trace.c trace_install, trace_drop, trace_fill_region, trace_clear_region_writer). A
 * traced store is emulated and posted in one step. Tested by tools/model/run.sh. */
#include "explore.h"

enum { REGION, TRACE, ENT = TRACE + 2, SEEN = ENT + 2, PATCH = SEEN + 2, ASK = PATCH + 2, ACK };
#define RWRITER 128
#define COUNT 127
enum { GOOD, PER_FRAME, SCAN_CLEARS, FILL_TEST_SET, NOBODY_ASKED };
enum { N, V, ALIAS, F, OLD };
enum { N_, FR, R_, T, COPY, MUST, LEFT };
#define WR 2
/* bounds: rounds of the installers, stores of the writer, frames the second installer may take */

const char *const model_name = "region";
int model_cpus = 3;
const char *const model_words[] = {"region", "trace0", "trace1", "ent0", "ent1", "seen0",
                                   "seen1",  "patch0", "patch1", "ask",  "ack",  0};
const struct model_run model_runs[] = {
    {"", GOOD, {2, 1, 3, 2}, {2, 2, 4, 2}},
    {"", GOOD, {1, 1, 4, 2}, {2, 2, 5, 2}},
    {"count_per_frame", PER_FRAME, {1, 1, 3, 1}, {0}},
    {"bit_cleared_after_scan", SCAN_CLEARS, {1, 1, 3, 2}, {0}},
    {"fill_tests_then_sets", FILL_TEST_SET, {1, 1, 2, 1}, {0}},
    {"region_writers_not_asked", NOBODY_ASKED, {1, 1, 2, 1}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    S.cpu[0].r[N_] = (uint8_t)bound(0);
    S.cpu[1].r[N_] = (uint8_t)bound(1);
    S.cpu[WR].r[N] = (uint8_t)bound(2);
    S.cpu[0].r[COPY] = S.cpu[1].r[COPY] = NONE;
}

/* Asked by bit; the acknowledgement is a bit of each asker. */
static bool serve(int c)
{
    SUB_BEGIN;
    R(OLD) = (uint8_t)exchange(c, ASK, 0);
    SUB_NEXT;
    fence(c);
    R(ALIAS) = 0;
    SUB_NEXT;
    fetch_and(c, REGION, 255 - RWRITER);
    SUB_NEXT;
    fetch_or(c, ACK, R(OLD));
    R(OLD) = 0;
    SUB_END;
}

static bool fill(int c)
{
    SUB_BEGIN;
    if (is(FILL_TEST_SET)) {
        R(OLD) = load(c, REGION) & COUNT;
        SUB_NEXT;
        if (!R(OLD)) {
            fetch_or(c, REGION, RWRITER);
            R(ALIAS) = 1;
        }
    } else {
        fence(c);
        if (!(S.mem[REGION] & COUNT)) {
            S.mem[REGION] |= RWRITER;
            SUB_NEXT;
            R(ALIAS) = 1;
        }
    }
    R(OLD) = 0;
    SUB_END;
}

static bool guest_store(int c)
{
    SUB_BEGIN;
    R(V)++;
    if (R(ALIAS)) {
        store(c, ENT + R(F), R(V));
    } else {
        fence(c);
        S.mem[ENT + R(F)] = R(V);
        S.mem[PATCH] |= (uint8_t)(1 << R(F));
        S.mem[PATCH + 1] |= (uint8_t)(1 << R(F));
    }
    SUB_NEXT;
    store(c, SEEN + R(F), R(V));
    SUB_END;
}

static void writer(int c)
{
    BEGIN;
    while (R(N)) {
        if (S.mem[ASK]) {
            CALL(serve);
            NEXT;
        }
        R(N)--;
        R(F) = (uint8_t)choose(bound(3));
        if (!R(ALIAS) && choose(2)) {
            NEXT;
            CALL(fill);
        }
        NEXT;
        CALL(guest_store);
        R(F) = 0;
        NEXT;
    }
    while (1) {
        S.cpu[c].done = 2;
        WAIT_FOR(S.mem[ASK]);
        CALL(serve);
    }
    END;
}

static bool install(int c)
{
    SUB_BEGIN;
    if (is(PER_FRAME)) { /* the region counts frames: only who traces one first goes there */
        R(T) = (uint8_t)fetch_or(c, TRACE + R(FR), 1 << c);
        if (!R(T)) {
            SUB_NEXT;
            R(R_) = (uint8_t)fetch_add(c, REGION, 1);
        }
    } else {
        R(R_) = (uint8_t)(is(SCAN_CLEARS) ? fetch_or(c, REGION, 1) : fetch_add(c, REGION, 1));
        SUB_NEXT;
        R(T) = (uint8_t)fetch_or(c, TRACE + R(FR), 1 << c);
    }
    SUB_END;
}

static bool drop(int c)
{
    SUB_BEGIN;
    R(COPY) = NONE;
    R(LEFT) = (uint8_t)(fetch_and(c, TRACE + R(FR), ~(1 << c)) & ~(1 << c));
    SUB_NEXT;
    if (is(SCAN_CLEARS)) { /* no count: nothing traced in the region any more? */
        R(LEFT) = (uint8_t)load(c, TRACE);
        SUB_NEXT;
        R(LEFT) |= (uint8_t)load(c, TRACE + 1);
        SUB_NEXT;
        if (!R(LEFT))
            fetch_and(c, REGION, 255 - COUNT);
    } else if (!is(PER_FRAME) || !R(LEFT)) {
        fetch_add(c, REGION, -1);
    }
    SUB_END;
}

static void installer(int c)
{
    BEGIN;
    while (R(N_)) {
        R(N_)--;
        R(FR) = (uint8_t)(c == 1 ? choose(bound(3)) : 0);
        CALL(install);
        if ((R(R_) & RWRITER) && !is(NOBODY_ASKED)) {
            NEXT;
            fetch_and(c, ACK, ~(1 << c));
            NEXT;
            fetch_or(c, ASK, 1 << c);
            WAIT_FOR(S.mem[ACK] & 1 << c);
        }
        NEXT;
        R(COPY) = (uint8_t)load(c, ENT + R(FR));
        NEXT;
        R(MUST) = S.mem[SEEN + R(FR)]; /* an event */
        NEXT;
        if (exchange(c, PATCH + c, 0) & 1 << R(FR)) {
            NEXT;
            R(COPY) = (uint8_t)load(c, ENT + R(FR));
        }
        expect(R(COPY) >= R(MUST), "a stale spte survived a drain");
        NEXT;
        CALL(drop);
        R(FR) = R(R_) = R(T) = R(MUST) = R(LEFT) = 0;
        NEXT;
    }
    END;
}

void model_run(int c)
{
    if (c == WR)
        writer(c);
    else
        installer(c);
}
