/* SPDX-License-Identifier: BSD-2-Clause */
/* The shared half of two VMs, of two CPUs each, of which one VM is reset while the other works
 * (hv/coherency/README "Several VMs"; hv/make.c, hv/vm/life.c, hv/coherency/actions.c). In each VM
 * one CPU stores to a table and asks for a drain, the other holds a copy: trace word, slot and
 * pending bit of its square, mailbox, action and mode word, and the doorbell of a CPU of the
 * machine. No copy may be older than an answered request; nobody posts for who has not registered in
 * this life; a lost wake-up is an invalid end state. Tested by tools/model/run.sh. */
#define NP 4
#define VM(c) ((c) / 2)
#define VCPU(c) ((c) % 2)
#define HOLDER(v) ((v) * 2 + 1) /* the storing CPU is the one before it */
#define PER 9
#define ENT(v) ((v) * PER)       /* of the guest's table; grows, also over a reset */
#define TRACE(v) ((v) * PER + 1) /* the holder's bit */
#define SLOT(v) ((v) * PER + 2)  /* 0, or 1 + who posted: of the VM's own square */
#define PEND(v) ((v) * PER + 3)
#define SEQ(v) ((v) * PER + 4) /* mailbox */
#define ACK(v) ((v) * PER + 5)
#define ACT(v) ((v) * PER + 6) /* of the holder: 1 a request, 2 stop */
#define MODE(v) ((v) * PER + 7) /* of the holder */
#define LIFE(v) ((v) * PER + 8) /* lives begun */
#define NW (2 * PER)
#include "tso.inc"
#define OFFLINE 0
#define HOST 1
#define ASLEEP 2
#define NONE 255
#define LIVES(v) (2 - (v)) /* the first VM is reset once */
#ifndef STORES
#define STORES 1
#endif

bit bell[NP]; /* by CPU of the machine */
bit stopped[2], registered[2];
byte copy[2];

#ifdef MATRIX_FOREIGN /* every VM posts into the first one's square */
#define SQUARE(v) 0
#else
#define SQUARE(v) (v)
#endif
#ifdef BELL_CROSSES /* by the number of the VCPU */
#define RUNG(c) VCPU(c)
#else
#define RUNG(c) (c)
#endif

#ifdef MADE_UNDER_A_CPU /* made anew before the other CPU has stopped */
#define WAITS 0
#else
#define WAITS 1
#endif

inline action_post(p, v, bits)
{
    atomic { RMW(p); old = mem[ACT(v)]; mem[ACT(v)] = mem[ACT(v)] | (bits) };
    LOAD(p, MODE(v), w);
    if
    :: w == ASLEEP && old == 0 -> bell[RUNG(HOLDER(v))] = 1
    :: else
    fi
}

/* On the storing CPU, when the other one has stopped. */
inline make_again(p, v)
{
    atomic {
        RMW(p);
#ifndef TRACE_KEPT
        mem[TRACE(v)] = 0;
#endif
#ifndef MAILBOX_KEPT
        mem[SEQ(v)] = 0;
        mem[ACK(v)] = 0;
#endif
        mem[SLOT(v)] = 0;
        mem[PEND(v)] = 0;
        mem[ACT(v)] = 0;
        mem[MODE(v)] = OFFLINE;
        registered[v] = 0;
        stopped[v] = 0
    };
    STORE(p, LIFE(v), life + 1);
    bell[HOLDER(v)] = 1
}

proctype storer(byte p)
{
    byte old, w, value, life, seq, n;
    do
    :: life == LIVES(VM(p)) -> break
    :: else ->
        seq = 0;
        n = STORES;
        do
        :: n == 0 -> break
        :: else ->
            n--;
            atomic { RMW(p); mem[ENT(VM(p))] = mem[ENT(VM(p))] + 1; value = mem[ENT(VM(p))] };
            LOAD(p, TRACE(VM(p)), w);
            if
            :: w ->
                assert(registered[VM(p)]); /* in this life */
                STORE(p, SLOT(SQUARE(VM(p))), 1 + VM(p));
                atomic { RMW(p); mem[PEND(SQUARE(VM(p)))] = 1 }
            :: else
            fi;
            LOAD(p, MODE(VM(p)), w);
            if
            :: w != OFFLINE ->
                seq++;
                STORE(p, SEQ(VM(p)), seq);
                action_post(p, VM(p), 1);
                do
                :: LOAD(p, ACK(VM(p)), w);
                    if
                    :: w == seq -> break
                    :: else -> atomic { mem[ACK(VM(p))] == seq -> skip } /* not by turning round */
                    fi
                od
            :: else
            fi;
            assert(copy[VM(p)] == NONE || copy[VM(p)] >= value)
        od;
        action_post(p, VM(p), 2);
        (stopped[VM(p)] == 1 || !WAITS);
        make_again(p, VM(p));
        life++
    od
}

proctype holder(byte p)
{
    byte w, life;
    do
    :: life == LIVES(VM(p)) -> break
    :: else ->
        atomic { RMW(p); mem[MODE(VM(p))] = HOST };
        do
        :: copy[VM(p)] == NONE -> /* the guest touches it */
            atomic { RMW(p); mem[TRACE(VM(p))] = 1; registered[VM(p)] = 1 };
            LOAD(p, ENT(VM(p)), copy[VM(p)])
        :: atomic { RMW(p); mem[MODE(VM(p))] = ASLEEP };
            LOAD(p, ACT(VM(p)), w);
            if
            :: w
            :: else -> atomic { bell[p] -> bell[p] = 0 }
            fi;
            STORE(p, MODE(VM(p)), HOST);
            atomic { RMW(p); w = mem[ACT(VM(p))]; mem[ACT(VM(p))] = 0 };
            if
            :: w & 2 -> break
            :: w == 1 ->
                atomic { RMW(p); w = mem[PEND(VM(p))]; mem[PEND(VM(p))] = 0 };
                if
                :: w ->
                    atomic { RMW(p); w = mem[SLOT(VM(p))]; mem[SLOT(VM(p))] = 0 };
                    assert(w == 0 || w == 1 + VM(p)); /* its own VM's */
                    if
                    :: copy[VM(p)] != NONE -> LOAD(p, ENT(VM(p)), copy[VM(p)])
                    :: else
                    fi
                :: else
                fi;
                LOAD(p, SEQ(VM(p)), w);
                STORE(p, ACK(VM(p)), w)
            :: else
            fi
        od;
        copy[VM(p)] = NONE;
        atomic { RMW(p); stopped[VM(p)] = 1 };
        atomic { mem[LIFE(VM(p))] == life + 1 -> life++ }; /* subvmm_off */
        bell[p] = 0
    od
}

init
{
    atomic {
        copy[0] = NONE;
        copy[1] = NONE;
        run flusher(0);
        run flusher(1);
        run flusher(2);
        run flusher(3);
        run storer(0);
        run storer(2);
        run holder(1);
        run holder(3)
    }
}
