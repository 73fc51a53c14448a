/* SPDX-License-Identifier: BSD-2-Clause */
/* A and D of the guest's entry by compare-exchange against the walked value (hv/mmu/README
 * "Accessed and dirty bits"; hv/mmu/gpte.c gpte_mark, walk.c walk_leaf): two CPUs that set them,
 * each also storing the entry. The entry is 4 * number + 2 * D + A. A guest's store must never be
 * undone, and a spte never outlive its entry. Tested by tools/model/run.sh. */
#include "explore.h"

enum { ENT, SEEN, PATCH };
enum { GOOD, A_PLAIN, D_PLAIN, NO_A, NO_D, KEEPS_A0 };
enum { N, COPY, W, OLD, V, WRITABLE, MUST };
/* bounds: operations of each CPU */

const char *const model_name = "dirty";
int model_cpus;
const char *const model_words[] = {"entry", "seen", "patch0", "patch1", "patch2", 0};
const struct model_run model_runs[] = {
    {"", GOOD, {2, 4, 0, 0}, {2, 6, 0, 0}},
    {"", GOOD, {3, 2, 0, 0}, {0}},
    {"a_by_plain_store", A_PLAIN, {2, 3, 0, 0}, {0}},
    {"d_by_plain_store", D_PLAIN, {2, 3, 0, 0}, {0}},
    {"spte_without_a", NO_A, {2, 3, 0, 0}, {0}},
    {"writable_without_d", NO_D, {2, 3, 0, 0}, {0}},
    {"repair_keeps_a0", KEEPS_A0, {2, 4, 0, 0}, {0}},
};
const int model_nruns = sizeof(model_runs) / sizeof(*model_runs);

void model_init(void)
{
    model_cpus = bound(0);
    for (int c = 0; c < model_cpus; c++) {
        S.cpu[c].r[N] = (uint8_t)bound(1);
        S.cpu[c].r[COPY] = NONE;
    }
}

/* The guest's store, trapped: a new number, A and D clear. Posts only what had A. */
static bool guest_store(int c)
{
    SUB_BEGIN;
    fence(c);
    R(OLD) = S.mem[ENT];
    expect(R(OLD) / 4 >= S.mem[SEEN], "a guest's store was undone");
    R(V) = R(OLD) / 4 + 1;
    S.mem[ENT] = R(V) * 4;
    if (R(OLD) & 1) /* the other producers' windows: interest.pml has them */
        for (int p = 0; p < model_cpus; p++)
            S.mem[PATCH + p] = 1;
    if (S.mem[SEEN] < R(V))
        S.mem[SEEN] = R(V);
    R(OLD) = R(V) = 0;
    SUB_END;
}

/* W 1: a read, wants A; 2: a write, wants A and D. */
static bool walk(int c)
{
    SUB_BEGIN;
    R(OLD) = (uint8_t)load(c, ENT);
    SUB_NEXT;
    R(V) = R(OLD) | (is(NO_A) ? 0 : 1);
    if (R(W) == 2 && !is(NO_D))
        R(V) |= 2;
    if ((is(A_PLAIN) || (is(D_PLAIN) && (R(OLD) & 1))) && R(V) != R(OLD)) {
        store(c, ENT, R(V));
    } else if (!cas(c, ENT, R(OLD), R(V))) {
        R(OLD) = R(V) = 0;
        S.cpu[c].sub = 0;
        return true; /* the guest faults again */
    }
    R(COPY) = R(V) / 4;
    R(WRITABLE) = R(W) == 2;
    R(OLD) = R(V) = 0;
    SUB_END;
}

/* A writable spte, used: the guest's entry of that moment must have had D since. */
static bool event(int c)
{
    SUB_BEGIN;
    R(MUST) = S.mem[SEEN];
    if (exchange(c, PATCH + c, 0)) {
        SUB_NEXT;
        R(OLD) = (uint8_t)load(c, ENT);
        if (R(COPY) != NONE) {
            R(COPY) = (R(OLD) & 1) || is(KEEPS_A0) ? R(OLD) / 4 : NONE;
            R(WRITABLE) = R(WRITABLE) && (R(OLD) & 2);
        }
    }
    expect(R(COPY) == NONE || R(COPY) >= R(MUST), "a stale spte survived a drain");
    R(OLD) = R(MUST) = 0;
    if (R(COPY) == NONE)
        R(WRITABLE) = 0;
    else if (R(WRITABLE) && S.mem[ENT] / 4 == R(COPY))
        expect(S.mem[ENT] & 2 || S.cpu[c].n, "a writable spte over an entry without D");
    SUB_END;
}

void model_run(int c)
{
    BEGIN;
    while (R(N)) {
        R(N)--;
        R(W) = (uint8_t)choose(4);
        NEXT;
        if (R(W) == 0)
            CALL(guest_store);
        else if (R(W) == 3)
            CALL(event);
        else
            CALL(walk);
        R(W) = 0;
        NEXT;
    }
    END;
}
