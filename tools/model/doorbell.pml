/* SPDX-License-Identifier: BSD-2-Clause */
/* Action word, mode word and the doorbell (hv/coherency/README "Waiting and waking";
 * hv/coherency/actions.c): posters and one target that spins, or sleeps (in the guest or halted)
 * only if nobody has asked. A wake-up that is lost leaves the target asleep for ever: an invalid
 * end state. Tested by tools/model/run.sh. */
#define NP 3
#define TARGET 2
#define ACTION(p) (p) /* bit p of one word: changed and read together */
#define MODE 2        /* 0 host, 1 asleep */
#define NW 3
#include "tso.inc"
bit bell; /* the interrupt controller's pending bit */
byte served;

proctype poster(byte p)
{
    byte m, old;
#ifdef BELL_NO_FENCE /* an x2APIC ICR write, which waits for no store (SDM 3A 11.12.3 "MSR
      * Accesses in x2APIC Mode") */
    STORE(p, ACTION(p), 1);
    m = 1;
    old = 0;
#else
#ifdef POST_PLAIN
    STORE(p, ACTION(p), 1);
    old = 0;
    LOAD(p, MODE, m);
#else
#ifdef MODE_READ_FIRST
    LOAD(p, MODE, m);
    atomic { RMW(p); old = mem[ACTION(0)] + mem[ACTION(1)]; mem[ACTION(p)] = 1 };
#else
    atomic { RMW(p); old = mem[ACTION(0)] + mem[ACTION(1)]; mem[ACTION(p)] = 1 };
    LOAD(p, MODE, m);
#endif
#endif
#endif
#ifdef RING_ALWAYS /* whatever the mode and the word said */
    m = 1;
    old = 0;
#endif
#ifdef SILENT /* who leaves something to the target's waking sets the word that others ring for */
    if
    :: p == 0 -> m = 0
    :: else
    fi;
#endif
    if
    :: m == 1 && old == 0 -> bell = 1
    :: else
    fi
}

inline take() { atomic { RMW(TARGET); served = served + mem[0] + mem[1]; mem[0] = 0; mem[1] = 0 } }

proctype target()
{
    byte w;
    do
    :: served == 2 -> break
    :: served < 2 && mem[0] + mem[1] -> take() /* spins in the host, in a wait or an idle loop */
    :: served < 2 ->
#ifdef WORD_READ_FIRST
        atomic { LOAD(TARGET, ACTION(0), w); w = w + mem[ACTION(1)] };
#endif
#ifdef MODE_PLAIN
        STORE(TARGET, MODE, 1);
#else
        atomic { RMW(TARGET); mem[MODE] = 1 };
#endif
#ifndef WORD_READ_FIRST
        atomic { LOAD(TARGET, ACTION(0), w); w = w + mem[ACTION(1)] };
#endif
        if
        :: w
        :: else -> atomic { bell -> bell = 0 } /* asleep */
        fi;
        STORE(TARGET, MODE, 0);
        take()
    od
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run flusher(TARGET);
        run poster(0);
        run poster(1);
        run target()
    }
}
