/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and acknowledgements (hv/coherency/README "Waiting and waking"; hv/coherency/actions.c
 * action_request): two CPUs that ask each other at the same time. A CPU that is not answered is an
 * invalid end state. In the middle of other work only drops are done, here the odd requests
 * (hv/mmu/event.c mmu_serve_drops), and the others wait for its end. Mailbox words pass through
 * store buffers, the action bit is a RMW.
 * Tested by tools/model/run.sh. */
#define NP 2
#define REQ(p) (p)       /* request written by p, its number */
#define ACTION(p) (2 + (p)) /* bit set in the other's action word by p */
#define ACK(p) (4 + (p)) /* answer to p */
#define DROPPED(p) (6 + (p)) /* number of p's request for which the other has dropped */
#define NW 8
#include "tso.inc"
#ifndef REQUESTS
#define REQUESTS 2
#endif

inline serve()
{
    LOAD(p, ACTION(1 - p), w);
    if
    :: w ->
        atomic { RMW(p); mem[ACTION(1 - p)] = 0 };
        LOAD(p, REQ(1 - p), w);
#ifdef ACK_BEFORE_DROP
        STORE(p, ACK(1 - p), w);
        STORE(p, DROPPED(1 - p), w)
#else
        STORE(p, DROPPED(1 - p), w);
        STORE(p, ACK(1 - p), w)
#endif
    :: else
    fi
}

inline serve_drops()
{
#ifdef MAILBOX_FIRST
    LOAD(p, REQ(1 - p), r);
    LOAD(p, ACTION(1 - p), w);
#else
    LOAD(p, ACTION(1 - p), w);
    LOAD(p, REQ(1 - p), r);
#endif
    if
    :: w && (r & 1) ->
        atomic { RMW(p); mem[ACTION(1 - p)] = 0 };
        STORE(p, DROPPED(1 - p), r);
        STORE(p, ACK(1 - p), r)
#ifdef TAKES_WHAT_IT_LEAVES
    :: w && !(r & 1) ->
        atomic { RMW(p); mem[ACTION(1 - p)] = 0 }
#endif
    :: else
    fi;
    r = 0
}

proctype cpu(byte p)
{
    byte w, r, seq, n = REQUESTS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
        serve_drops(); /* work */
        seq++;
#ifdef ACTION_FIRST
        atomic { RMW(p); mem[ACTION(p)] = 1 };
        STORE(p, REQ(p), seq);
#else
        STORE(p, REQ(p), seq);
        atomic { RMW(p); mem[ACTION(p)] = 1 };
#endif
        do
        :: atomic { mem[ACK(p)] == seq -> break }
#ifndef WAIT_NO_SERVE
        :: mem[ACTION(1 - p)] -> serve()
#endif
        od;
        LOAD(p, DROPPED(p), w);
        assert(w == seq);
        if
        :: mem[ACTION(1 - p)] -> serve()
        :: else
        fi
    od;
end:
    do
    :: mem[ACTION(1 - p)] -> serve()
    od
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run cpu(0);
        run cpu(1)
    }
}
