/* SPDX-License-Identifier: BSD-2-Clause */
/* A leaf table that is unsync from its first use (hv/coherency/trace.c: trace_install_fresh): CPU 0
 * has the frame mapped writable, registers it, shadows both its entries and writes one of them
 * without exits, until it leaves; CPU 1 writes the other, trapped or through a mapping of its own.
 * Posts are one step: slot.pml has their inside. Tested by tools/model/run.sh. */
#define NP 2
#define ENT(p) (p)
#define SEEN(p) (2 + (p))
#define PATCH 4 /* of entry 1, from CPU 1 */
#define ALL 5   /* WHOLE from CPU 1 */
#define TRACE 6
#define NW 7
#include "tso.inc"
#define NONE 255
#define TRACED 1
#define UNSYNC 2
#define WRITER(p) (4 << (p))
#define WRITERS 12
#define CONSUMER 16
#ifndef OPS
#define OPS 3
#endif
#ifndef STEPS
#define STEPS 4
#endif
bit ask;

inline clear_writer(p)
{
    atomic {
        RMW(p);
        mem[TRACE] = mem[TRACE] & (255 - WRITER(p));
        if
        :: mem[TRACE] & WRITERS
        :: else -> mem[TRACE] = mem[TRACE] & (255 - UNSYNC)
        fi
    }
}

/* --- CPU 1: fills conditionally, leaves when asked or at will, stores --- */

bit alias1;

inline serve1()
{
    if
    :: ask ->
        if
        :: alias1 -> FENCE(1); alias1 = 0; clear_writer(1)
        :: else
        fi;
        ask = 0
    :: else
    fi
}

proctype foreign()
{
    byte v, old, w, n = OPS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; old = 0; w = 0 };
        serve1();
        if
        :: alias1 -> FENCE(1); alias1 = 0; clear_writer(1)
        :: !alias1 ->
            atomic {
                RMW(1);
                old = mem[TRACE];
                if
                :: (old & TRACED) && !(old & UNSYNC)
                :: else -> mem[TRACE] = old | WRITER(1)
                fi
            };
            if
            :: (old & TRACED) && !(old & UNSYNC)
            :: else ->
                if
                :: old & CONSUMER -> atomic { RMW(1); mem[ALL] = 1 }
                :: else
                fi;
                alias1 = 1
            fi
        :: true
        fi;
        v++;
        if
        :: alias1 -> STORE(1, ENT(1), v)
        :: else ->
            atomic { RMW(1); mem[ENT(1)] = v };
            LOAD(1, TRACE, w);
            if
            :: w & CONSUMER -> atomic { RMW(1); mem[PATCH] = 1 }
            :: else
            fi
        fi;
        STORE(1, SEEN(1), v)
    od;
end:
    do
    :: ask -> serve1()
    od
}

/* --- CPU 0: writer and consumer --- */

byte copy[2];
bit alias0, listed, registered;

inline reread(e)
{
    if
    :: copy[e] != NONE -> LOAD(0, ENT(e), copy[e])
    :: else
    fi
}

inline install()
{
#ifdef FRESH_PLAIN /* looks, then stores: a bit set between is lost */
    LOAD(0, TRACE, w);
    fresh = (w == WRITER(0));
    if
    :: fresh -> STORE(0, TRACE, w | TRACED | UNSYNC | CONSUMER)
    :: else
    fi;
#else
    atomic {
        RMW(0);
        w = mem[TRACE];
        fresh = (w == WRITER(0));
        if
        :: fresh -> mem[TRACE] = w | TRACED | UNSYNC | CONSUMER
        :: else
        fi
    };
#endif
    if
    :: fresh ->
#ifndef FRESH_UNLISTED
        listed = 1
#else
        skip
#endif
    :: else -> /* the long way: register, drop the own mapping, ask the other writer and wait */
        atomic { RMW(0); w = mem[TRACE]; mem[TRACE] = w | TRACED | CONSUMER };
        if
        :: alias0 -> alias0 = 0; clear_writer(0)
        :: else
        fi;
        if
        :: w & WRITER(1) -> ask = 1; !ask
        :: else
        fi
    fi;
    registered = 1
}

inline drain()
{
    must0 = mem[SEEN(0)];
    must1 = mem[SEEN(1)];
    atomic { RMW(0); w = mem[ALL]; mem[ALL] = 0; listed = listed | w };
    atomic { RMW(0); w = mem[PATCH]; mem[PATCH] = 0 };
    if
    :: w -> reread(1)
    :: else
    fi;
    if
    :: listed ->
        LOAD(0, TRACE, w);
        reread(0);
        reread(1);
        if
        :: w & UNSYNC
        :: else -> listed = 0
        fi
    :: else
    fi;
    assert(copy[0] == NONE || copy[0] >= must0);
    assert(copy[1] == NONE || copy[1] >= must1)
}

inline store()
{
    v++;
    if
    :: alias0 -> STORE(0, ENT(0), v)
    :: else -> /* trapped: the post to itself is applied at once */
        atomic { RMW(0); mem[ENT(0)] = v };
        reread(0)
    fi;
    STORE(0, SEEN(0), v)
}

proctype self()
{
    byte v, w, must0, must1, n = STEPS;
    bit fresh;
    atomic { copy[0] = NONE; copy[1] = NONE };
    install();
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; w = 0; must0 = 0; must1 = 0 };
        if
        :: copy[0] == NONE -> LOAD(0, ENT(0), copy[0])
        :: copy[1] == NONE -> LOAD(0, ENT(1), copy[1])
        :: store()
        :: drain()
        :: alias0 -> FENCE(0); alias0 = 0; clear_writer(0) /* leaves */
        fi
    od
}

init
{
    atomic {
        alias0 = 1;
        mem[TRACE] = WRITER(0);
        run flusher(0);
        run flusher(1);
        run foreign();
        run self()
    }
}
