/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace install with acknowledgement against writable aliases of the frame and of its 2 MiB region
 * (hv/coherency/README "Trace words", "Waiting and waking"; hv/coherency/trace.c, actions.c): one
 * CPU that writes, untrapped while it has an alias, one that installs, reads, has events and drops.
 * A write that traps is emulated and posted in one step. Tested by tools/model/run.sh. */
#define NP 2
#define W 0
#define C 1
#define ENT 0
#define SEEN 1
#define PATCH 2
#define TRACE 3  /* traced 1, writer 2 */
#define REGION 4 /* writer 64, registrations below */
#define NW 5
#include "tso.inc"
#define NONE 255
#define TRACED 1
#define WRITER 2
#define RWRITER 64
#ifndef STORES
#define STORES 4
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
bit ask, small, large; /* a request open; the aliases: what the writer's MMU holds */

/* Drop, flush (the stores made through the alias are out), clear the writer bits, acknowledge. */
inline serve()
{
    if
    :: ask ->
#ifdef ACK_BEFORE_DROP
        ask = 0;
#endif
        atomic { FENCE(W); small = 0 };
        atomic { RMW(W); mem[TRACE] = mem[TRACE] & (255 - WRITER) };
        if
        :: large ->
            atomic { FENCE(W); large = 0 };
            atomic { RMW(W); mem[REGION] = mem[REGION] & (255 - RWRITER) }
        :: else
        fi;
#ifndef ACK_BEFORE_DROP
        ask = 0
#else
        skip
#endif
    :: else
    fi
}

inline fill_small()
{
#ifdef FILL_TEST_SET
    LOAD(W, TRACE, t);
    if
    :: t & TRACED
    :: else -> atomic { RMW(W); mem[TRACE] = mem[TRACE] | WRITER }; small = 1
    fi
#else
    granted = 0;
    atomic {
        RMW(W);
        if
        :: mem[TRACE] & TRACED
        :: else -> mem[TRACE] = mem[TRACE] | WRITER; granted = 1
        fi
    };
#ifdef SERVE_IN_FILL
    serve();
#endif
    if
    :: granted -> small = 1
    :: else
    fi
#endif
}

inline fill_large()
{
    granted = 0;
#ifdef REGION_TEST_SET
    LOAD(W, REGION, t);
    if
    :: t & 63
    :: else -> atomic { RMW(W); mem[REGION] = mem[REGION] | RWRITER }; granted = 1
    fi;
#else
    atomic {
        RMW(W);
        if
        :: mem[REGION] & 63
        :: else -> mem[REGION] = mem[REGION] | RWRITER; granted = 1
        fi
    };
#endif
    if
    :: granted -> large = 1
    :: else
    fi
}

/* Eager split of the own 2 MiB spte: frame writer first, then the region's. */
inline split()
{
#ifdef SPLIT_REGION_FIRST
    atomic { RMW(W); mem[REGION] = mem[REGION] & (255 - RWRITER) };
    small = 1;
    atomic { FENCE(W); large = 0 };
    atomic { RMW(W); mem[TRACE] = mem[TRACE] | WRITER }
#else
    fill_small();
    atomic { FENCE(W); large = 0 };
    atomic { RMW(W); mem[REGION] = mem[REGION] & (255 - RWRITER) }
#endif
}

proctype writer()
{
    byte v, t, n = STORES;
    bit granted;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
        serve();
        if
        :: !small && !large ->
            if
            :: fill_small()
            :: fill_large()
            fi
        :: large -> split()
        :: small || large
        fi;
        /* The guest's store: it passes the MMU (alias or trap) when it executes. */
        v++;
        atomic {
            if
            :: small || large -> STORE(W, ENT, v); STORE(W, SEEN, v)
            :: else ->
                RMW(W);
                mem[ENT] = v;
                if
                :: mem[TRACE] & TRACED -> mem[PATCH] = 1
                :: else
                fi;
                mem[SEEN] = v
            fi
        }
    od;
end:
    do
    :: ask -> serve()
    od
}

proctype installer()
{
    byte t, r, w, must, copy = NONE, n = ROUNDS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
#ifndef NO_REGION_COUNT
        atomic { RMW(C); r = mem[REGION]; mem[REGION] = r + 1 };
#endif
        atomic { RMW(C); t = mem[TRACE]; mem[TRACE] = t | TRACED };
#ifdef READ_BEFORE_ACK
        LOAD(C, ENT, copy);
#endif
        if
        :: (t & WRITER) || (r & RWRITER) ->
            ask = 1;
#ifndef NO_WAIT
            ask == 0
#endif
        :: else
        fi;
#ifndef READ_BEFORE_ACK
        LOAD(C, ENT, copy);
#endif
        must = mem[SEEN];
        LOAD(C, PATCH, w);
        if
        :: w -> atomic { RMW(C); mem[PATCH] = 0 }; LOAD(C, ENT, copy)
        :: else
        fi;
        assert(copy >= must);
        copy = NONE;
        atomic { RMW(C); mem[TRACE] = mem[TRACE] & (255 - TRACED) };
#ifndef NO_REGION_COUNT
        atomic { RMW(C); mem[REGION] = mem[REGION] - 1 }
#endif
    od
}

init
{
    atomic {
        run flusher(W);
        run flusher(C);
        run writer();
        run installer()
    }
}
