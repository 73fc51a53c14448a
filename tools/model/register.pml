/* SPDX-License-Identifier: BSD-2-Clause */
/* Registration against the producer's look at the consumer set, and dropping (hv/coherency/README
 * "Trace words"; hv/coherency/trace.c trace_install, trace_drop, producer.c after_exchange): one
 * producer that emulates traced stores and makes untraced ones directly, two consumers that come
 * and go. Posting is one step here: slot.pml has its inside. Tested by tools/model/run.sh. */
#define NP 3
#define PROD 2
#define ENT 0
#define SEEN 1
#define PATCH(c) (2 + (c))
#define TRACE 4 /* consumers 1, 2; traced 4; writer 8 */
#define NW 5
#include "tso.inc"
#define NONE 255
#define TRACED 4
#define WRITER 8
#ifndef STORES
#define STORES 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
byte drop_alias; /* request word to the producer, and its answer */
byte asks[2], acks[2];

inline serve()
{
    if
    :: asks[0] != acks[0] || asks[1] != acks[1] ->
        atomic { RMW(PROD); alias = 0; mem[TRACE] = mem[TRACE] & (255 - WRITER) };
        acks[0] = asks[0];
        acks[1] = asks[1]
    :: else
    fi
}

proctype producer()
{
    byte v, w, n = STORES;
    bit alias;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
        serve();
        if
        :: !alias ->
            atomic {
                RMW(PROD);
                if
                :: mem[TRACE] & TRACED
                :: else -> mem[TRACE] = mem[TRACE] | WRITER; alias = 1
                fi
            }
        :: else
        fi;
        v++;
        if
        :: alias -> STORE(PROD, ENT, v)
        :: else ->
#ifdef PLAIN_STORE
            STORE(PROD, ENT, v);
#else
            atomic { RMW(PROD); mem[ENT] = v };
#endif
            LOAD(PROD, TRACE, w);
            if
            :: w & 1 -> atomic { RMW(PROD); mem[PATCH(0)] = 1 }
            :: else
            fi;
            if
            :: w & 2 -> atomic { RMW(PROD); mem[PATCH(1)] = 1 }
            :: else
            fi
        fi;
        STORE(PROD, SEEN, v)
    od;
end:
    do
    :: atomic { asks[0] != acks[0] || asks[1] != acks[1] -> serve() }
    od
}

proctype consumer(byte c)
{
    byte w, must, copy = NONE, n = ROUNDS;
    do
    :: n == 0 -> break
    :: n > 0 ->
        n--;
#ifdef REGISTER_LATE
        LOAD(c, ENT, copy);
#endif
#ifdef REGISTER_TEST_SET
        LOAD(c, TRACE, w);
        if
        :: (w & TRACED) && (w & (1 << c))
        :: else -> STORE(c, TRACE, (w | TRACED | (1 << c)))
        fi;
#else
        atomic { RMW(c); w = mem[TRACE]; mem[TRACE] = w | TRACED | (1 << c) };
#endif
        if
        :: w & WRITER -> asks[c] = asks[c] + 1; acks[c] == asks[c]
        :: else
        fi;
#ifndef REGISTER_LATE
        LOAD(c, ENT, copy);
#endif
        must = mem[SEEN]; /* an event */
        LOAD(c, PATCH(c), w);
        if
        :: w ->
            atomic { RMW(c); mem[PATCH(c)] = 0 };
            LOAD(c, ENT, copy)
        :: else
        fi;
        assert(copy >= must);
        copy = NONE;
#ifdef DROP_TWO_RMW
        atomic { RMW(c); mem[TRACE] = mem[TRACE] & (255 - (1 << c)); w = mem[TRACE] };
        if
        :: w & 3
        :: else -> atomic { RMW(c); mem[TRACE] = mem[TRACE] & (255 - TRACED) }
        fi
#else
        atomic {
            RMW(c);
            mem[TRACE] = mem[TRACE] & (255 - (1 << c));
            if
            :: mem[TRACE] & 3
            :: else -> mem[TRACE] = mem[TRACE] & (255 - TRACED)
            fi
        }
#endif
    od
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run flusher(PROD);
        run producer();
        run consumer(0);
        run consumer(1)
    }
}
