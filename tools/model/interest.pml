/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry-granular interest with `storing` words, and A by compare-exchange (hv/coherency/README
 * "Interest", [0096]; hv/coherency/producer.c): two producers, one entry, one registered consumer.
 * The entry is 2 * number + A; P is always 1. A post is one step: slot.pml has its inside.
 * Tested by tools/model/run.sh. */
#define NP 3
#define CONS 2
#define ENT 0
#define STORING(p) (1 + (p))
#define SEEN(p) (3 + (p))
#define PATCH(p) (5 + (p))
#define NW 7
#include "tso.inc"
#define NONE 255
#ifndef STORES
#define STORES 2
#endif
#ifndef EVENTS
#define EVENTS 2
#endif

inline look() { LOAD(p, STORING(1 - p), other) }

proctype producer(byte p)
{
    byte n = STORES, old, now, other;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
#ifndef NO_STORING
        STORE(p, STORING(p), 1);
#endif
#ifdef STORING_SEEN_EARLY
        look();
#endif
#ifdef OLD_SEPARATE
        LOAD(p, ENT, old);
        atomic { RMW(p); now = (mem[ENT] / 2 + 1) * 2; mem[ENT] = now };
#else
        atomic { RMW(p); old = mem[ENT]; now = (old / 2 + 1) * 2; mem[ENT] = now };
#endif
#ifndef STORING_SEEN_EARLY
        look();
#endif
#ifdef STORING_CLEARED_EARLY
        STORE(p, STORING(p), 0);
#endif
        if
        :: (old & 1) == 0 && other == 0 /* nobody can hold it */
        :: else -> atomic { RMW(p); mem[PATCH(p)] = 1 }
        fi;
#ifndef STORING_CLEARED_EARLY
        STORE(p, STORING(p), 0);
#endif
        STORE(p, SEEN(p), (now / 2))
    od
}

proctype consumer()
{
    byte v, must, got, w0, w1, copy = NONE, n = EVENTS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
        do /* guest accesses */
        :: copy == NONE ->
            LOAD(CONS, ENT, v);
            if
            :: v & 1 -> copy = v / 2
            :: else ->
#ifdef WITHOUT_A
                copy = v / 2
#else
#ifdef A_PLAIN
                STORE(CONS, ENT, (v | 1));
                copy = v / 2
#else
                atomic {
                    RMW(CONS);
                    if
                    :: mem[ENT] == v -> mem[ENT] = v | 1; copy = v / 2
                    :: else /* walk again */
                    fi
                }
#endif
#endif
            fi
        :: break
        od;
        must = mem[SEEN(0)];
        got = mem[SEEN(1)];
        if
        :: got > must -> must = got
        :: else
        fi;
        atomic { RMW(CONS); w0 = mem[PATCH(0)]; mem[PATCH(0)] = 0 };
        atomic { RMW(CONS); w1 = mem[PATCH(1)]; mem[PATCH(1)] = 0 };
        if
        :: w0 || w1 ->
            LOAD(CONS, ENT, v);
            if
            :: copy == NONE
#ifdef KEEP_WITHOUT_A
            :: copy != NONE -> copy = v / 2
#else
            :: copy != NONE && (v & 1) -> copy = v / 2
            :: copy != NONE && !(v & 1) -> copy = NONE
#endif
            fi
        :: else
        fi;
        assert(copy == NONE || copy >= must)
    od
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run flusher(CONS);
        run producer(0);
        run producer(1);
        run consumer()
    }
}
