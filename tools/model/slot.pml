/* SPDX-License-Identifier: BSD-2-Clause */
/* Slot, coalescing, overflow, pending, postponing, WHOLE (hv/coherency/README "Slots and channels";
 * hv/coherency/channel.c, consumer.c): two producers with one slot each, one consumer, two entries
 * of one page. An entry's value is its place in its modification order. Tested by
 * tools/model/run.sh. */
#define NP 3
#define CONS 2 /* the consumer's number */
#define ENT(e) (e)
#define SLOT(p) (2 + (p)) /* 0, 1 + entry, or 3 for WHOLE */
#define OVF(p) (4 + (p))
#define PEND(p) (6 + (p)) /* the bits of the pending word: exchanged in one step */
#define PAY(p) (8 + (p))
#define SEEN(p, e) (10 + (p) * 2 + (e)) /* what the guest's own synchronisation tells */
#define UNSYNC 14 /* of the page's trace word */
#define NW 15
#include "tso.inc"
#define NONE 255
#define WHOLE 3

#ifndef OPS0
#define OPS0 2
#endif
#ifndef OPS1
#define OPS1 1
#endif
#ifndef EVENTS
#define EVENTS 2
#endif

inline publish(p, key, val)
{
#ifdef PENDING_BEFORE_PUBLISH
    atomic { RMW(p); mem[PEND(p)] = 1 };
#endif
    LOAD(p, SLOT(p), w);
    fresh = 0;
    if
    :: w == (key) ->
#ifdef COALESCE_PLAIN
        skip
#else
        atomic {
            RMW(p);
            if
            :: mem[SLOT(p)] == w -> skip /* stored again, without the derived value */
            :: else -> fresh = 1
            fi
        }
#endif
    :: w == 0 -> fresh = 1
    :: else ->
#ifdef OVERFLOW_TEST_SET
        LOAD(p, OVF(p), w);
        if
        :: w == 0 -> STORE(p, OVF(p), 1)
        :: else
        fi;
#else
        STORE(p, OVF(p), 1);
#endif
        fresh = 2
    fi;
    if
    :: fresh == 1 ->
#ifdef DERIVED
        STORE(p, PAY(p), val);
#endif
        STORE(p, SLOT(p), key)
    :: else
    fi;
#ifndef PENDING_BEFORE_PUBLISH
    if
    :: fresh -> atomic { RMW(p); mem[PEND(p)] = 1 }
    :: else
    fi;
#endif
}

proctype producer(byte p; byte ops)
{
    byte e, v, w, fresh, unsync;
    do
    :: ops == 0 -> break
    :: ops > 0 ->
        ops--;
        if
        :: e = 0
        :: e = 1
        :: p == 0 && !unsync -> e = 2
        fi;
        if
        :: e == 2 -> /* from now on stores go untrapped */
            unsync = 1;
            atomic { RMW(p); mem[UNSYNC] = 1 };
            publish(p, WHOLE, 0)
        :: e < 2 ->
#ifdef PLAIN_STORES /* one producer only, so that the number is right although the store waits */
            atomic { LOAD(p, ENT(e), v); v++ };
            STORE(p, ENT(e), v);
#else
            atomic { RMW(p); mem[ENT(e)] = mem[ENT(e)] + 1; v = mem[ENT(e)] };
#endif
            if
            :: unsync
            :: else -> publish(p, e + 1, v)
            fi;
            STORE(p, SEEN(p, e), v)
        fi
    od
}

byte copy[2];
bit listed;

inline reread(e)
{
    if
    :: copy[e] != NONE -> LOAD(CONS, ENT(e), copy[e])
    :: else
    fi
}

inline apply(p, w)
{
    if
    :: w == WHOLE -> listed = 1
    :: w == 1 || w == 2 ->
        if
        :: copy[w - 1] != NONE ->
#ifdef DERIVED
            LOAD(CONS, PAY(p), copy[w - 1])
#else
            LOAD(CONS, ENT(w - 1), copy[w - 1])
#endif
        :: else
        fi
    :: else
    fi
}

inline drain_one(p)
{
    LOAD(CONS, OVF(p), w);
    if
    :: w ->
        atomic { RMW(CONS); mem[OVF(p)] = 0 };
#ifdef OVERFLOW_FORGETS_WHOLE
        copy[0] = NONE;
        copy[1] = NONE
#else
        listed = 1
#endif
    :: else
    fi;
    LOAD(CONS, SLOT(p), w);
    if
    :: w == 0
    :: w && w < WHOLE && events > 0 -> /* 870 */
        held[w - 1] = 1;
        again[p] = 1
    :: w ->
#ifdef FREE_AFTER_REREAD
        apply(p, w);
        atomic { RMW(CONS); mem[SLOT(p)] = 0 }
#else
#ifdef FREE_PLAIN
        STORE(CONS, SLOT(p), 0);
        apply(p, w)
#else
        atomic { RMW(CONS); w = mem[SLOT(p)]; mem[SLOT(p)] = 0 };
        apply(p, w)
#endif
#endif
    fi
}

proctype consumer()
{
    byte w, events = EVENTS;
    byte must[2];
    bit held[2], again[2], p0, p1;
    do
    :: events == 0 -> break
    :: events > 0 ->
        events--;
        do /* guest accesses: derive anew */
        :: copy[0] == NONE -> LOAD(CONS, ENT(0), copy[0])
        :: copy[1] == NONE -> LOAD(CONS, ENT(1), copy[1])
        :: break
        od;
        /* what the guest has been told before this event */
        atomic {
            must[0] = (mem[SEEN(0, 0)] > mem[SEEN(1, 0)] -> mem[SEEN(0, 0)] : mem[SEEN(1, 0)]);
            must[1] = (mem[SEEN(0, 1)] > mem[SEEN(1, 1)] -> mem[SEEN(0, 1)] : mem[SEEN(1, 1)]);
            held[0] = 0; held[1] = 0; again[0] = 0; again[1] = 0
        };
#ifdef PENDING_TAKEN_AFTER
        d_step { p0 = mem[PEND(0)]; p1 = mem[PEND(1)] };
#else
        atomic { RMW(CONS); p0 = mem[PEND(0)]; p1 = mem[PEND(1)]; mem[PEND(0)] = 0; mem[PEND(1)] = 0 };
#endif
        if
        :: p0 -> drain_one(0)
        :: else
        fi;
        if
        :: p1 -> drain_one(1)
        :: else
        fi;
#ifdef PENDING_TAKEN_AFTER
        atomic { RMW(CONS); mem[PEND(0)] = 0; mem[PEND(1)] = 0 };
#endif
#ifndef NO_REARM
        atomic {
            RMW(CONS);
            mem[PEND(0)] = mem[PEND(0)] | again[0];
            mem[PEND(1)] = mem[PEND(1)] | again[1]
        };
#endif
        if
        :: listed -> /* the trace word before the re-read: synced then, it leaves the list */
            LOAD(CONS, UNSYNC, w);
            reread(0);
            reread(1);
            listed = w
        :: else
        fi;
        assert(copy[0] == NONE || held[0] || copy[0] >= must[0]);
        assert(copy[1] == NONE || held[1] || copy[1] >= must[1])
    od
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run flusher(CONS);
        run producer(0, OPS0);
        run producer(1, OPS1);
        run consumer()
    }
}
