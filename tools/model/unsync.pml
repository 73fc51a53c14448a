/* SPDX-License-Identifier: BSD-2-Clause */
/* Unsync in and out (hv/coherency/README "Unsync tables"; hv/coherency/trace.c): two CPUs that
 * write one table, each its own entry, trapped or through an alias, and one consumer that
 * registers, lists the page, re-reads it and drops it. Posts are one step: slot.pml has their
 * inside. Tested by tools/model/run.sh. */
#define NP 3
#define C 2
#define ENT(p) (p)
#define SEEN(p) (2 + (p))
#define PATCH(p) (4 + (p)) /* of entry p */
#define ALL(p) (6 + (p))   /* WHOLE from producer p */
#define TRACE 8
#define NW 9
#include "tso.inc"
#define NONE 255
#define TRACED 1
#define UNSYNC 2
#define WRITER(p) (4 << (p))
#define WRITERS 12
#define CONSUMER 16
#ifndef OPS0
#define OPS0 2
#endif
#ifndef OPS1
#define OPS1 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef EVENTS
#define EVENTS 1
#endif
bit ask[2], alias[2];

inline post_whole()
{
    if
    :: old & CONSUMER -> atomic { RMW(p); mem[ALL(p)] = 1 }
    :: else
    fi
}

inline clear_writer()
{
    atomic { FENCE(p); alias[p] = 0 };
#ifdef LEAVE_TWO_RMW
    atomic { RMW(p); mem[TRACE] = mem[TRACE] & (255 - WRITER(p)); old = mem[TRACE] };
    if
    :: old & WRITERS
    :: else -> atomic { RMW(p); mem[TRACE] = mem[TRACE] & (255 - UNSYNC) }
    fi
#else
    atomic {
        RMW(p);
        mem[TRACE] = mem[TRACE] & (255 - WRITER(p));
        if
#ifndef LEAVE_CLEARS_ALWAYS
        :: mem[TRACE] & WRITERS
#endif
        :: else -> mem[TRACE] = mem[TRACE] & (255 - UNSYNC)
        fi
    }
#endif
}

inline serve()
{
    if
    :: ask[p] ->
        if
        :: alias[p] -> clear_writer()
        :: else
        fi;
        ask[p] = 0
    :: else
    fi
}

inline fault()
{
    atomic {
        RMW(p);
        old = mem[TRACE];
        if
        :: old & TRACED -> mem[TRACE] = old | UNSYNC | WRITER(p)
        :: else -> mem[TRACE] = old | WRITER(p)
        fi
    };
#ifndef WHOLE_LATE
    if
#ifdef WHOLE_ONLY_FIRST
    :: old & UNSYNC
#endif
    :: else -> post_whole()
    fi;
#endif
    alias[p] = 1
}

inline fill() /* the conditional one: never makes a table unsync */
{
    atomic {
        RMW(p);
        old = mem[TRACE];
        if
        :: (old & TRACED) && !(old & UNSYNC)
        :: else -> mem[TRACE] = old | WRITER(p)
        fi
    };
    if
    :: (old & TRACED) && !(old & UNSYNC)
    :: else ->
#ifndef FILL_NO_POST
        post_whole();
#endif
        alias[p] = 1
    fi
}

proctype writer(byte p; byte n)
{
    byte v, old, w;
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; old = 0; w = 0 };
        serve();
        if
        :: alias[p] -> clear_writer()
        :: !alias[p] -> fault()
        :: !alias[p] -> fill()
        :: true
        fi;
        v++;
        if
        :: alias[p] ->
            STORE(p, ENT(p), v);
            STORE(p, SEEN(p), v);
#ifdef WHOLE_LATE
            post_whole()
#endif
        :: else ->
            atomic { RMW(p); mem[ENT(p)] = v };
            LOAD(p, TRACE, w);
            if
            :: w & CONSUMER -> atomic { RMW(p); mem[PATCH(p)] = 1 }
            :: else
            fi;
            STORE(p, SEEN(p), v)
        fi
    od;
end:
    do
    :: ask[p] -> serve()
    od
}

byte copy[2];
bit listed;

inline reread(e)
{
    if
    :: copy[e] != NONE -> LOAD(C, ENT(e), copy[e])
    :: else
    fi
}
inline patches(p)
{
    atomic { RMW(C); w = mem[ALL(p)]; mem[ALL(p)] = 0; listed = listed | w };
    atomic { RMW(C); w = mem[PATCH(p)]; mem[PATCH(p)] = 0 };
    if
    :: w -> reread(p)
    :: else
    fi
}
inline list_pass()
{
    if
    :: listed ->
#ifdef WORD_AFTER_REREAD
        reread(0);
        reread(1);
        LOAD(C, TRACE, w);
#else
        LOAD(C, TRACE, w);
        reread(0);
        reread(1);
#endif
        if
        :: w & UNSYNC
        :: else -> listed = 0
        fi
    :: else
    fi
}

proctype consumer()
{
    byte w, events, must0, must1, n = ROUNDS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
        copy[0] = NONE;
        copy[1] = NONE;
        atomic { RMW(C); w = mem[TRACE]; mem[TRACE] = w | TRACED | CONSUMER };
        if
        :: w & UNSYNC ->
#ifndef REG_IGNORES_UNSYNC
            listed = 1
#else
            skip
#endif
        :: !(w & UNSYNC) && (w & WRITERS) ->
            atomic {
                if
                :: w & WRITER(0) -> ask[0] = 1
                :: else
                fi;
                if
                :: w & WRITER(1) -> ask[1] = 1
                :: else
                fi
            };
            !ask[0] && !ask[1]
        :: !(w & (UNSYNC | WRITERS))
        fi;
        events = EVENTS;
        do
        :: events == 0 -> break
        :: events > 0 ->
            atomic { events--; w = 0; must0 = 0; must1 = 0 };
            do
            :: copy[0] == NONE -> LOAD(C, ENT(0), copy[0])
            :: copy[1] == NONE -> LOAD(C, ENT(1), copy[1])
            :: copy[0] != NONE || copy[1] != NONE -> break
            od;
            atomic { must0 = mem[SEEN(0)]; must1 = mem[SEEN(1)] };
#ifdef LIST_BEFORE_PATCHES
            list_pass();
            patches(0);
            patches(1);
#else
            patches(0);
            patches(1);
            list_pass();
#endif
            assert(copy[0] == NONE || copy[0] >= must0);
            assert(copy[1] == NONE || copy[1] >= must1)
        od;
        listed = 0;
        atomic {
            RMW(C);
#ifdef OTHER
            mem[TRACE] = mem[TRACE] & (255 - CONSUMER)
#else
            mem[TRACE] = mem[TRACE] & (255 - CONSUMER - TRACED - UNSYNC)
#endif
        }
    od
}

init
{
    atomic {
#ifdef OTHER /* a consumer of which nothing else is modelled keeps the table traced */
        mem[TRACE] = TRACED;
#endif
        run flusher(0);
        run flusher(1);
        run flusher(C);
        run writer(0, OPS0);
        run writer(1, OPS1);
        run consumer()
    }
}
