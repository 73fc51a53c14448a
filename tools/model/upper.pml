/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of tables that is written without exits (hv/mmu/upper.c): CPU 0 moves its entry from one
 * leaf table to another and back, by plain stores while the table is unsync, trapped and posted
 * while it is not, which it changes at will. CPU 1 has a link made of the entry; fills go by the
 * link, faults that the guest gets do not. Versions of the entry name the leaf table by their
 * lowest bit. Tested by tools/model/run.sh. */
#define NP 2
#define UP 0
#define LEAF(t) (1 + (t)) /* is there a page in it? */
#define SEEN 3            /* the version that CPU 1's guest has been told of */
#define TRACE 4
#define PATCH 5
#define ALL 6
#define NW 7
#include "tso.inc"
#define NONE 255
#define UNSYNC 1
#define CONSUMER 2
#ifndef OPS
#define OPS 3
#endif
#ifndef STEPS
#define STEPS 4
#endif

/* --- CPU 0: the writer --- */

proctype writer()
{
    byte v, w, n = OPS;
    bit alias;
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; w = 0 };
        if
        :: !alias -> /* gives the table up: every consumer is told before the guest stores */
            atomic { RMW(0); w = mem[TRACE]; mem[TRACE] = w | UNSYNC };
            if
            :: w & CONSUMER -> atomic { RMW(0); mem[ALL] = 1 }
            :: else
            fi;
            alias = 1
        :: alias -> /* leaves it */
            FENCE(0);
            alias = 0;
            atomic { RMW(0); mem[TRACE] = mem[TRACE] & (255 - UNSYNC) }
        :: true
        fi;
        v++;
        STORE(0, LEAF(v & 1), 1);
        if
        :: alias -> STORE(0, UP, v)
        :: else ->
            atomic { RMW(0); mem[UP] = v };
            LOAD(0, TRACE, w);
            if
            :: w & CONSUMER -> atomic { RMW(0); mem[PATCH] = 1 }
            :: else
            fi
        fi;
        if
        :: STORE(0, LEAF(1 - (v & 1)), 0) /* what the entry led to before goes */
        :: true
        fi;
        STORE(0, SEEN, v)
    od
}

/* --- CPU 1: shadows the table --- */

/* The link as it is re-read: it goes if the entry has changed, and a walk makes it anew. */
inline compare()
{
    if
    :: link != NONE ->
        LOAD(1, UP, e);
        if
        :: e != link -> link = NONE
        :: else
        fi
    :: else
    fi
}

inline drain()
{
    atomic { RMW(1); w = mem[ALL]; mem[ALL] = 0; listed = listed | w };
    atomic { RMW(1); w = mem[PATCH]; mem[PATCH] = 0 };
    if
    :: w -> compare()
    :: else
    fi
}

inline sync()
{
    if
    :: listed ->
        LOAD(1, TRACE, w);
        compare();
        if
        :: w & UNSYNC
        :: else -> listed = 0
        fi
    :: else
    fi
}

/* From the root: what is read is what is linked. */
inline walk()
{
    LOAD(1, UP, e);
    link = e;
    LOAD(1, LEAF(e & 1), leaf)
}

proctype reader()
{
    byte link = NONE, e, w, leaf, must, since, n = STEPS;
    bit listed;
    /* registers, finds out whether it is unsync, and only then reads */
    atomic { RMW(1); w = mem[TRACE]; mem[TRACE] = w | CONSUMER };
#ifndef REG_UNLISTED
    listed = w & UNSYNC;
#endif
    do
    :: n == 0 -> break
    :: n > 0 ->
        atomic { n--; e = 0; w = 0; leaf = 0; must = mem[SEEN] };
        if
        :: /* INVLPG, of whatever address */
            drain();
#ifndef INVLPG_LEAVES
            sync();
#endif
            since = must;
            assert(link == NONE || link >= since)
        :: /* an access: what the link leads to may be used, if it is no older than the last event */
            drain();
            if
            :: link == NONE -> walk()
            :: else ->
                LOAD(1, LEAF(link & 1), leaf);
                e = link;
#ifndef LINK_DENIES
                if
                :: !leaf && listed ->
                    LOAD(1, UP, w);
                    if
                    :: w != link -> walk()
                    :: else
                    fi
                :: else
                fi
#endif
            fi;
            assert(link >= since);
            if
            :: leaf /* filled */
            :: else -> /* the guest's: decided by what was there when it came, and nothing older is
                        * used after it */
                assert(e >= must);
                must = mem[SEEN];
                drain();
#ifndef FAULT_KEEPS
                if
                :: listed -> compare()
                :: else
                fi;
#endif
                assert(link == NONE || link >= must);
                since = must
            fi;
            e = 0
        fi
    od
}

init
{
    atomic {
        mem[LEAF(0)] = 1;
        run flusher(0);
        run flusher(1);
        run writer();
        run reader()
    }
}
