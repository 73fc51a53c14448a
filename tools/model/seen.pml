/* SPDX-License-Identifier: BSD-2-Clause */
/* A store that is in memory and not posted yet: CPU 1's guest sees it there, by a load of its own,
 * and has an event then (hv/coherency/consumer.c: consumer_stores). After the event its spte must
 * not be older than what it saw. CPU 0 stores 1, 2, .. to the one entry; slot and pending word are
 * one step each: slot.pml has their inside. Tested by tools/model/run.sh. */
#define NP 2
#define ENT 0
#define STORING 1
#define SLOT 2
#define PENDING 3
#define NW 4
#include "tso.inc"
#ifndef OPS
#define OPS 3
#endif
#ifndef EVENTS
#define EVENTS 3
#endif

inline post()
{
    atomic { RMW(0); mem[SLOT] = 1 };
    atomic { RMW(0); mem[PENDING] = 1 }
}

active proctype producer()
{
    byte n = 0;
    do
    :: n == OPS -> break
    :: n < OPS ->
        n++;
#ifndef STORING_LATE
        STORE(0, STORING, 1);
        FENCE(0);
#endif
        atomic { RMW(0); mem[ENT] = n };
#ifdef STORING_LATE
        STORE(0, STORING, 1);
        FENCE(0);
#endif
#ifdef CLEARED_EARLY
        STORE(0, STORING, 0);
        post()
#else
        post();
        STORE(0, STORING, 0)
#endif
    od
}

inline look()
{
    skip;
#ifndef NO_LOOK
    LOAD(1, STORING, w);
    if
    :: w -> LOAD(1, ENT, spte)
    :: else
    fi
#endif
}

active proctype consumer()
{
    byte seen, spte = 0, w, n = EVENTS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
        LOAD(1, ENT, seen); /* the guest's */
#ifndef LOOK_LATE
        look();
#endif
        LOAD(1, PENDING, w);
        if
        :: w ->
            atomic { RMW(1); mem[PENDING] = 0 };
            atomic { RMW(1); w = mem[SLOT]; mem[SLOT] = 0 };
            if
            :: w -> LOAD(1, ENT, spte)
            :: else
            fi
        :: else
        fi;
#ifdef LOOK_LATE
        look();
#endif
        assert(spte >= seen)
    od
}

init
{
    run flusher(0);
    run flusher(1)
}
