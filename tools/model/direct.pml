/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults without an exit (hv/mmu/direct.c, hv/coherency/direct.c): CPU 0 has an spte that leaves
 * the fault of a not-present entry to its guest, below a link; CPU 1 stores to the entry, or to the
 * one above that the link came from, trapped or after it has made the table unsync. Odd values of
 * the entry are present; another value of the entry above leads to where the page is present. A
 * fault that the guest gets must be one by the memory of that moment. How CPU 0 is made to leave
 * its guest is in doorbell.pml and serve.pml. Tested by tools/model/run.sh. */
#define NP 2
#define ENT 0
#define UP 1
#define STORING 2 /* CPU 1's: 0, LEAF or UPPER */
#define HOLD 3    /* CPU 0 is a holder: of LEAF, UPPER */
#define TRACE 4   /* 1: the leaf table is unsync */
#define PATCH 5   /* for CPU 0: LEAF, UPPER */
#define NW 6
#include "tso.inc"
#define LEAF 1
#define UPPER 2
#ifndef OPS
#define OPS 3
#endif
#ifndef STEPS
#define STEPS 5
#endif
byte ask; /* LEAF or UPPER: CPU 1 waits for CPU 0 */
bit out;  /* CPU 0 has left for good */

/* --- CPU 1 --- */

inline begin(what) /* storing, then the holders; h: CPU 0 is one */
{
#ifdef LOOK_FIRST
    LOAD(1, HOLD, h);
    STORE(1, STORING, what);
    FENCE(1);
#else
    STORE(1, STORING, what);
#ifndef STORING_PLAIN
    FENCE(1);
#endif
    LOAD(1, HOLD, h);
#endif
    h = h & what
}

inline revoke(what)
{
    if
    :: h && !out -> ask = what; (ask == 0 || out); ask = 0
    :: else
    fi
}

inline trapped(what, at)
{
    begin(what);
#if !defined(NO_REVOKE) && !defined(REVOKE_LATE)
    revoke(what);
#endif
    atomic { RMW(1); mem[at] = mem[at] + 1 };
    atomic { RMW(1); mem[PATCH] = mem[PATCH] | what };
#ifdef REVOKE_LATE
    revoke(what);
#endif
    STORE(1, STORING, 0)
}

proctype foreign()
{
    byte h, v, n = OPS;
    bit alias;
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; h = 0; v = 0 };
        if
        :: alias -> LOAD(1, ENT, v); STORE(1, ENT, v + 1)
        :: alias -> FENCE(1); alias = 0; atomic { RMW(1); mem[TRACE] = 0 }
        :: !alias -> trapped(LEAF, ENT)
        :: trapped(UPPER, UP)
        :: !alias -> /* gives the table up to itself, if nobody holds it */
            begin(LEAF);
#ifdef GIVE_UP_UNASKED
            h = 0;
#endif
            if
            :: h -> STORE(1, STORING, 0)
            :: else ->
                atomic { RMW(1); mem[TRACE] = 1 };
                STORE(1, STORING, 0);
                atomic { RMW(1); mem[PATCH] = mem[PATCH] | LEAF };
                alias = 1
            fi
        fi
    od
}

/* --- CPU 0 --- */

bit direct; /* the spte */
bit link;   /* the link above leads to it */

inline unclaim()
{
    direct = 0;
    atomic { RMW(0); mem[HOLD] = 0 }
}

inline serve()
{
    if
    :: ask ->
        unclaim();
        ask = 0
    :: else
    fi
}

inline drain()
{
    atomic { RMW(0); w = mem[PATCH]; mem[PATCH] = 0 };
    if
    :: w & UPPER -> LOAD(0, UP, e); if :: e -> link = 0 :: else fi
    :: else
    fi;
    if
    :: w & LEAF -> LOAD(0, ENT, e); if :: e & 1 -> direct = 0 :: else fi
    :: else
    fi
}

inline claim()
{
#ifdef READ_FIRST
    LOAD(0, ENT, e);
#endif
#ifdef UPPER_UNCLAIMED
#define BOTH LEAF
#else
#define BOTH (LEAF | UPPER)
#endif
#ifdef CLAIM_PLAIN
    STORE(0, HOLD, BOTH);
#else
    atomic { RMW(0); mem[HOLD] = BOTH };
#endif
    LOAD(0, STORING, w);
#ifdef STORING_IGNORED
    w = 0;
#endif
    LOAD(0, TRACE, t);
#ifdef UNSYNC_IGNORED
    t = 0;
#endif
    if
    :: (w & BOTH) || t -> unclaim()
    :: else ->
#ifndef READ_FIRST
        LOAD(0, ENT, e);
#endif
        direct = !(e & 1)
    fi
}

proctype holder()
{
    byte w, e, t, n = STEPS;
    bit entered;
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; w = 0; e = 0; t = 0 };
        if
        :: entered -> /* the guest touches the page */
            atomic {
                if
                :: link && direct -> assert(!(mem[ENT] & 1) && !mem[UP])
                :: else
                fi
            }
        :: entered = 0; serve()
#ifdef ANSWERED_FIRST /* by an interrupt handler, say, and the guest goes on for a while */
        :: entered && ask -> ask = 0
#endif
        :: !entered && !direct && link -> claim()
        :: !entered && direct -> unclaim()
        :: !entered && (mem[TRACE] == 0) -> /* stores to it itself, trapped */
            atomic { RMW(0); w = mem[ENT]; mem[ENT] = w + 1 };
#ifdef OWN_SKIPPED /* the interest rule: nobody has a copy of what was not present */
            if
            :: w & 1 -> atomic { RMW(0); mem[PATCH] = mem[PATCH] | LEAF }
            :: else
            fi
#else
            atomic { RMW(0); mem[PATCH] = mem[PATCH] | LEAF }
#endif
        :: !entered ->
            serve();
#ifndef ENTER_UNDRAINED
            drain();
#endif
            entered = 1
        fi
    od;
    unclaim();
    out = 1
}

init
{
    atomic {
        link = 1;
        run flusher(0);
        run flusher(1);
        run foreign();
        run holder()
    }
}
