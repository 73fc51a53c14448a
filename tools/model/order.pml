/* SPDX-License-Identifier: BSD-2-Clause */
/* An order of the monitor to a VM that ends and starts by itself meanwhile (hv/vm/life.c: vm_end_from,
 * vm_order_late, vm_go_off; hv/ending.c). As it is: the VM resets itself LIVES times and would then run
 * on for ever; an order to stop that was given at any moment has to end it: one that is lost is an
 * invalid end state. -DSTART: it powers itself off, and the monitor, which had ordered the same, starts
 * it again: that life is not ended by what was meant for the one before. Tested by
 * tools/model/run.sh. */
#define NP 2
#define ENDED 0 /* how, as in enum vm_how */
#define ORDER 1
#define STATE 2
#define START_ASKED 3
#define NW 4
#include "tso.inc"
#define ON 0
#define OFF 1
#define MAKING 2
#define ITSELF 1 /* reset, or with START power-off */
#define STOP 2
#ifndef LIVES
#define LIVES 2
#endif

inline STORE_SC(p, a, v) { atomic { RMW(p); mem[a] = v } }
inline TAKE(p, r) { atomic { RMW(p); r = mem[ORDER]; mem[ORDER] = 0 } }
/* r: 1, it is ended by this */
inline end_by(p, how, r)
{
    atomic {
        RMW(p);
        if
        :: mem[ENDED] == 0 -> mem[ENDED] = how; r = 1
        :: else -> r = 0
        fi
    }
}

proctype monitor()
{
    byte r, w;
    LOAD(0, STATE, w);
    if
    :: w == OFF -> goto given /* "it is off" */
    :: else
    fi;
    do
    :: end_by(0, STOP, r);
        if
        :: r -> break
        :: else
        fi;
#ifdef ORDER_PLAIN
        STORE(0, ORDER, STOP);
#else
        STORE_SC(0, ORDER, STOP);
#endif
#ifndef KEPT_WHEN_OFF
        LOAD(0, STATE, w);
        if
        :: w == OFF -> TAKE(0, r)
        :: else
        fi;
#endif
        LOAD(0, STATE, w);
        if
        :: w != ON -> break
        :: else
        fi;
        LOAD(0, ENDED, w);
        if
        :: w -> break
        :: else
        fi;
#ifdef ONE_TRY
        break;
#endif
        TAKE(0, r);
        if
        :: r == 0 -> break
        :: else
        fi
    od;
given:
#ifdef START
    atomic { mem[STATE] == OFF -> skip };
    STORE_SC(0, START_ASKED, 1);
#endif
    skip
}

/* vm_make_again, vm_go_on, vm_order_late */
inline again()
{
    STORE_SC(1, STATE, MAKING);
#ifdef LATE_BEFORE_ON
    TAKE(1, how);
#endif
    STORE(1, ENDED, 0);
    STORE_SC(1, STATE, ON);
#if !defined(NO_LATE) && !defined(LATE_BEFORE_ON)
    TAKE(1, how);
#endif
    if
    :: how -> end_by(1, how, r)
    :: else
    fi;
    how = 0
}

proctype finisher()
{
    byte how, r, life;
    do
    :: life < LIVES ->
        end_by(1, ITSELF, r);
        how = mem[ENDED];
        TAKE(1, r);
        if
        :: r -> how = r
        :: else
        fi;
#ifdef START
        break; /* off either way */
#endif
        if
        :: how == STOP -> break
        :: else -> how = 0; again(); life++
        fi
    :: life == LIVES -> atomic { mem[ENDED] == STOP -> break } /* runs on until then */
    od;
#ifdef GONE_WITH_ORDER
    STORE_SC(1, STATE, OFF);
#else
    STORE_SC(1, STATE, OFF);
    TAKE(1, r);
#endif
#ifdef START
    atomic { mem[START_ASKED] -> skip };
    how = 0;
    again();
    assert(mem[ENDED] == 0 && mem[ORDER] == 0)
#endif
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run monitor();
        run finisher()
    }
}
