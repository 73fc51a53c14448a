/* SPDX-License-Identifier: BSD-2-Clause */
/* The state CPUs of one VM share to keep private shadow page tables coherent: trace words, the
 * matrix of patch channels, pending/storing/action/mode words. Everything here is C11 atomics in
 * static public memory; protocol and proof: README.md. Tested by tools/tests/test_channel.c,
 * test_trace.c, test_actions.c (real threads under TSan). */
#pragma once
#include <stdatomic.h>
#include "hv/base/lock.h"
#include "hv/base/options.h"
#include "hv/base/types.h"

/* Channel geometry: a small set-associative hash of the entry's address. */
#ifndef CHANNEL_SETS
#define CHANNEL_SETS 32
#endif
#ifndef CHANNEL_WAYS
#define CHANNEL_WAYS 4
#endif
#define CHANNEL_SLOTS (CHANNEL_SETS * CHANNEL_WAYS)

/* A slot word: 0 = free, else the gpa of the entry (394B and 394C together) and flags. */
#define SLOT_WHOLE BIT(52) /* any entry of the page may have changed */
#define SLOT_DV BIT(53)    /* the payload holds a derived value */
#define SLOT_USED BIT(54)  /* 394F */
#define SLOT_GPA MASK(51, 0)

struct patch_payload {
    uint64_t gpte;    /* the entry the value was derived from */
    uint64_t spte;    /* 394D: host frame the entry maps to, in address bits */
    uint64_t counter; /* 394E: trace counter when derived */
};
/* The payload is written by the producer before the word is published and read by the consumer
 * before the word is freed; relaxed atomics, ordered by the word. */
struct patch_slot_payload {
    _Atomic uint64_t gpte, spte, counter;
};
struct channel { /* Fig. 9; 398 */
    _Alignas(64) _Atomic uint64_t slot[CHANNEL_SLOTS];
    _Atomic uint32_t overflow;
    struct patch_slot_payload payload[CHANNEL_SLOTS];
    /* counters of this (producer, consumer) pair, written by the producer / by the consumer */
    _Atomic uint64_t posts, coalesces, overflows, drained;
};

enum cpu_mode { MODE_OFFLINE, MODE_HOST, MODE_GUEST, MODE_HALTED };

/* Action word: bits 0..30 "a request of CPU i waits in mailbox[i]", and these. */
#define ACTION_REQUESTS MASK(30, 0)
#define ACTION_IRQ BIT(32)   /* look at the virtual interrupt controller */
#define ACTION_TIMER BIT(33) /* the physical timer fired or a virtual deadline moved */
#define ACTION_INIT BIT(34)
#define ACTION_SIPI BIT(35) /* vector in struct vcpu_public */
#define ACTION_NMI BIT(36)
#define ACTION_PAUSE BIT(37)
#define ACTION_STOP BIT(38) /* the VM ends: leave the loop and halt */
#define ACTION_AUDIT BIT(39)
#define ACTION_INPUT BIT(40)   /* console input waits */
#define ACTION_DEVICE BIT(42)  /* a device has work that this CPU may do */
#define ACTION_MSI BIT(46)     /* a device of the machine's interrupted: port_msi_take */
#define ACTION_MONITOR BIT(41) /* the monitor asks for something only this CPU can tell */

enum request_kind {
    REQUEST_DROP = 1, /* drop every writable spte of the frame (and a 2 MiB one over it) */
    REQUEST_DRAIN,    /* drain the own channels now (shootdown modes) */
    REQUEST_FLUSH,    /* forget translations before the guest goes on (flush.h packs them) */
    REQUEST_REVOKE,   /* no fault by an entry of the frame reaches the guest any more (direct.h) */
};
struct mailbox { /* one writer (the requester), one reader (the target); one request outstanding */
    _Atomic uint64_t request; /* kind | gfn << 8 */
    _Atomic uint64_t seq;     /* bumped by the requester after request, before the action word */
    _Atomic uint64_t ack;     /* = seq when served */
};
struct cpu_shared {
    _Alignas(64) _Atomic uint64_t pending; /* bit p: producer p published; consumer exchanges */
    _Alignas(64) _Atomic uint64_t storing; /* 0, or STORING_* of the store in flight */
    _Alignas(64) _Atomic uint64_t action;
    _Alignas(64) _Atomic uint32_t mode; /* enum cpu_mode */
    _Atomic uint32_t flush_owed; /* a flush was asked for while this CPU was halted (flush.c) */
    _Alignas(64) struct mailbox mailbox[HV_MAX_CPUS]; /* by requester */
};
#define STORING_BUSY BIT(0)
#define STORING_FRAME BIT(1)    /* names the whole frame, else a granule of 16 bytes */
#define STORING_GRANULE_SHIFT 4 /* the bits below are no address: STORING_* */
#define STORING_GRANULE_MASK (BIT(STORING_GRANULE_SHIFT) - 1)

struct shared_channel { /* coherency=locked, [0127]: one channel for all under a mutex */
    struct lock lock;
    struct {
        uint64_t word;
        cpuset_t consumers;
        struct patch_payload payload;
    } slot[CHANNEL_SLOTS];
    cpuset_t overflow;
};

struct coherency {
    uint32_t ncpus;
    bool placed;                /* coherency_place came first */
    uint32_t pcpu[HV_MAX_CPUS]; /* the physical CPU that hosts VCPU c */
    enum coherency_mode mode;
    enum overflow_mode overflow;
    bool consumers_traced, interest, derived;
    /* some frame may hold 4-byte entries: a store posts both halves of its 8 bytes */
    _Atomic bool entry4;
    uint64_t nframes;               /* gfns 0..nframes-1 have trace words */
    _Atomic uint64_t *frame;        /* [gfn] */
    _Atomic uint64_t *region;       /* [gfn >> 9] */
    _Atomic uint32_t *holders;      /* [gfn]: direct.h; NULL: none */
    _Atomic uint64_t trace_counter; /* 394E compares with this */
    struct cpu_shared cpu[HV_MAX_CPUS];
    struct channel (*matrix)[HV_MAX_CPUS]; /* [producer][consumer]: 397, Fig. 10 */
    struct shared_channel shared;
};

/* One CPU's handle, in its private memory. */
struct coh_cpu {
    struct coherency *co;
    uint32_t cpu;           /* VCPU, 0..co->ncpus-1: in sets, channels, mailboxes */
    uint32_t pcpu;          /* the CPU of the machine: statistics, events, doorbells */
    struct cpu_shared *own; /* co->cpu[cpu] */
    /* Serves this CPU's inbound requests while it waits; true if a drain or drop changed anything,
     * so that a walk in progress restarts. Set by hv/mmu. */
    bool (*serve)(void *ctx);
    void *ctx;
    uint64_t seq; /* of the requests this CPU makes */
    /* derived=on: the host frame (address bits) a guest entry maps to, 0: none. Called by the
     * producer with ctx; set by hv/mmu after coh_cpu_init, NULL: patches carry no derived value. */
    uint64_t (*derive)(void *ctx, uint64_t gpte);
    bool draining, waiting; /* neither a drain nor a wait is re-entrant: asserted */
};

/* Bytes of frame and region words for `nframes` guest frames. */
size_t coherency_bytes(uint64_t nframes);
/* Ties VCPU c to CPU pcpu[c] of the machine, before coherency_init and for good: a CPU hosts one
 * VCPU of one VM. Without it VCPU c is on CPU c. Context: boot, one CPU. */
void coherency_place(struct coherency *co, const uint32_t *pcpu, uint32_t ncpus);
/* After coherency_init: these CPUs of the machine are this VM's. Asserts that no other VM has one
 * of them. Context: boot, one CPU. */
void coherency_give(struct coherency *co);
/* The VM that a CPU of the machine was given to, and which VCPU of it; NULL: none. This is what an
 * interrupt handler knows about VMs. Any CPU, any context. */
struct coherency *coherency_of(uint32_t pcpu, uint32_t *vcpu);
/* Everything that is shared becomes what it is before a VM's first instruction, whatever it was:
 * trace words in mem, coherency_bytes(nframes) of public memory; the VM's square of the matrix;
 * action words and mailboxes. opt gives the modes. Context: one CPU, at boot or while all of the VM
 * are in subvmm_off. */
void coherency_init(struct coherency *co, uint32_t ncpus, uint64_t nframes, void *mem,
                    struct channel (*matrix)[HV_MAX_CPUS], const struct hv_options *opt);
/* From now on frames may hold 4-byte entries. seq_cst, before the caller's first registration of
 * such a table: a producer that sees the registration sees this, one that does not stored before
 * the table was read. */
void coherency_entry4(struct coherency *co);
void coh_cpu_init(struct coh_cpu *self, struct coherency *co, uint32_t cpu,
                  bool (*serve)(void *ctx), void *ctx);
