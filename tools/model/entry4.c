/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of 4 bytes (hv/coherency/README "Producer"; hv/coherency/coherency.c coherency_entry4,
 * producer.c after_exchange, hv/mmu/event.c set_mode): the 8 bytes of a store are two entries once
 * some CPU may shadow 4-byte tables; the flag is set before the first registration. With the
 * interest rule, each half by its own A. A half is 2 * number + A. Tested by tools/model/run.sh. */
#include "explore.h"

enum { LOW, HIGH, FLAG, TRACE, PATCH, SEEN = PATCH + 2 };
enum { GOOD, FLAG_LATE, FLAG_FIRST, LOW_ONLY, ONE_INTEREST };
enum { N, V, O0, O1, W, F };
enum { N_, COPY, W_ = 3, MUST, E };
/* bounds: stores of each producer, actions of the consumer */

const char *const model_name = "entry4";
int model_cpus = 2;
const char *const model_words[] = {"low",       "high",       "flag", "traced",
                                   "patch_low", "patch_high", "seen", 0};
const struct model_run model_runs[] = {
    {"", GOOD, {3, 5, 0, 0}, {5, 9, 0, 0}},
    {"flag_after_registration", FLAG_LATE, {2, 4, 0, 0}, {0}},
    {"flag_before_the_exchange", FLAG_FIRST, {2, 4, 0, 0}, {0}},
    {"low_half_only", LOW_ONLY, {2, 4, 0, 0}, {0}},
    {"interest_of_one_half", ONE_INTEREST, {2, 4, 0, 0}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    S.cpu[0].r[N] = (uint8_t)bound(0);
    S.cpu[1].r[N_] = (uint8_t)bound(1);
    S.cpu[1].r[COPY] = NONE;
}

static void producer(int c)
{
    BEGIN;
    while (R(N)) {
        R(N)--;
        if (is(FLAG_FIRST)) {
            R(F) = (uint8_t)load(c, FLAG);
            NEXT;
        }
        R(V)++;
        R(O0) = (uint8_t)exchange(c, LOW, R(V) * 2); /* both halves in one exchange */
        R(O1) = S.mem[HIGH];
        S.mem[HIGH] = (uint8_t)(R(V) * 2);
        NEXT;
        R(W) = (uint8_t)load(c, TRACE);
        NEXT;
        if (R(W)) {
            if (R(O0) & 1) {
                fetch_or(c, PATCH, 1);
                NEXT;
            }
            if (!is(FLAG_FIRST))
                R(F) = (uint8_t)load(c, FLAG);
            NEXT;
            if (R(F) && !is(LOW_ONLY) && ((is(ONE_INTEREST) ? R(O0) : R(O1)) & 1)) {
                fetch_or(c, PATCH + 1, 1);
                NEXT;
            }
        }
        store(c, SEEN, R(V));
        R(O0) = R(O1) = R(W) = R(F) = 0;
        NEXT;
    }
    END;
}

/* Shadows the high half. */
static bool derive(int c)
{
    SUB_BEGIN;
    if (!is(FLAG_LATE)) {
        exchange(c, FLAG, 1);
        SUB_NEXT;
    }
    fetch_or(c, TRACE, 1);
    SUB_NEXT;
    R(W_) = (uint8_t)load(c, HIGH);
    SUB_NEXT;
    if ((R(W_) & 1) || cas(c, HIGH, R(W_), R(W_) | 1))
        R(COPY) = R(W_) / 2;
    R(W_) = 0;
    if (is(FLAG_LATE)) {
        SUB_NEXT;
        exchange(c, FLAG, 1);
    }
    SUB_END;
}

static void consumer(int c)
{
    BEGIN;
    while (R(N_)) {
        R(N_)--;
        R(E) = (uint8_t)choose(2);
        if (R(E) == 0 && R(COPY) == NONE) {
            NEXT;
            CALL(derive);
        } else if (R(E) == 0) {
            R(COPY) = NONE;
            fetch_and(c, TRACE, 0);
        } else {
            R(MUST) = S.mem[SEEN];
            NEXT;
            if (exchange(c, PATCH + 1, 0) && R(COPY) != NONE) {
                NEXT;
                R(W_) = (uint8_t)load(c, HIGH);
                R(COPY) = R(W_) & 1 ? R(W_) / 2 : NONE;
            }
            expect(R(COPY) == NONE || R(COPY) >= R(MUST), "a stale spte survived a drain");
        }
        R(E) = R(MUST) = R(W_) = 0;
        NEXT;
    }
    END;
}

void model_run(int c)
{
    if (c == 0)
        producer(c);
    else
        consumer(c);
}
