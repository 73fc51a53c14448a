/* SPDX-License-Identifier: BSD-2-Clause */
/* Remote flushes by hypercall (hv/coherency/README "Remote flushes"; hv/coherency/flush.c,
 * hv/mmu/remote.c), and KVM's form that leaves them to a waking VCPU by a byte of the guest's
 * (hv/vcpu/steal.c). CPU 0 changes an entry (its number), asks, and then reuses what the old entry
 * named: from there on the target may use the new one only, be it in the guest or in an instruction
 * that the hypervisor carries out for it. The target runs, carries out an instruction, halts and
 * wakes. A target that is asked and never answers is an invalid end state.
 * Tested by tools/model/run.sh. */
#define NP 2
#define ENTRY 0
#define MODE 1   /* of the target: HOST, GUEST, HALTED */
#define OWED 2   /* flush_owed, or the guest's byte: 1 not running, 2 flush */
#define ACTION 3 /* the request */
#define ACK 4
#define NW 5
#include "tso.inc"
#define HOST 0
#define GUEST 1
#define HALTED 2
#ifndef FLUSHES
#define FLUSHES 2
#endif
byte reused;  /* entries up to this one are gone */
byte copy;    /* what the target's TLB and shadow hold */
bit bell;     /* IPI of the doorbell, or the guest's own interrupt */
bit done;

proctype initiator()
{
    byte n, m, w;
    do
    :: n == FLUSHES -> break
    :: n < FLUSHES ->
        n++;
        STORE(0, ENTRY, n);
#ifdef BYTE /* the guest's own code: compare-exchange of the byte, or an interrupt */
        w = 0;
        atomic {
            RMW(0);
            if
            :: mem[OWED] -> mem[OWED] = 3; w = 1
            :: else
            fi
        };
#else
        w = 0;
        LOAD(0, MODE, m);
        if
        :: m == HALTED ->
#ifdef OWED_PLAIN
            STORE(0, OWED, 1);
#else
            atomic { RMW(0); mem[OWED] = 1 };
#endif
#ifdef ONE_LOOK
            m = HALTED;
#else
            LOAD(0, MODE, m);
#endif
            w = (m == HALTED)
        :: else
        fi;
#endif
        if
        :: w
        :: else ->
            atomic { RMW(0); mem[ACK] = 0; mem[ACTION] = 1; bell = 1 };
#ifndef GOES_ON
            atomic { mem[ACK] == 1 -> skip }
#endif
        fi;
        reused = n
    od;
    done = 1
}

inline flush() { LOAD(1, ENTRY, copy) }

/* Uses a translation, in the guest or for it: never one whose page was given away. */
inline use() { assert(copy >= reused) }

inline answer()
{
    if
    :: mem[ACTION] ->
        atomic { RMW(1); mem[ACTION] = 0; bell = 0 };
        owe = 1;
        STORE(1, ACK, 1)
    :: else
    fi
}

inline woken()
{
#ifdef TAKEN_BY_LOAD
    LOAD(1, OWED, w);
    if
    :: w -> STORE(1, OWED, 0)
    :: else
    fi;
#else
    atomic { RMW(1); w = mem[OWED]; mem[OWED] = 0 };
#endif
#ifdef BYTE
    w = w & 2;
#endif
    owe = owe | (w != 0)
}

proctype target()
{
    byte w;
    bit owe;
    do
    :: done && !mem[ACTION] && sbn[0] == 0 -> break
    :: else ->
        answer(); /* between two instructions */
        if
        :: owe -> owe = 0; flush()
        :: else
        fi;
        if
        :: /* the guest, until an exit */
            atomic { RMW(1); mem[MODE] = GUEST };
            LOAD(1, ACTION, w);
            if
            :: w
            :: else ->
                use();
                use()
            fi;
            STORE(1, MODE, HOST)
        :: /* an instruction with a translation of before; it waits in its midst */
            w = copy;
#ifdef ANSWERED_IN_ITS_MIDST
            answer();
#endif
            assert(w >= reused);
            w = 0
        :: /* HLT */
#ifdef BYTE
            atomic { RMW(1); mem[OWED] = 1 };
            if
            :: atomic { bell -> skip }
            :: skip /* another interrupt */
            fi;
#ifdef CLEARED_AFTER
            LOAD(1, OWED, w);
            if
            :: w & 2 -> flush()
            :: else
            fi;
            use();
            STORE(1, OWED, 0);
#else
            woken()
#endif
#else
#ifdef TAKEN_BEFORE
            atomic { RMW(1); mem[MODE] = HALTED };
            woken();
            STORE(1, MODE, HOST)
#else
            atomic { RMW(1); mem[MODE] = HALTED };
            LOAD(1, ACTION, w);
            STORE(1, MODE, HOST);
#ifndef NOT_TAKEN
            woken()
#endif
#endif
#endif
        fi
    od
}

init
{
    atomic {
        run flusher(0);
        run flusher(1);
        run initiator();
        run target()
    }
}
