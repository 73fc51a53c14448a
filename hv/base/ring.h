/* SPDX-License-Identifier: BSD-2-Clause */
/* Event ring: the last events of each CPU, for panics and the monitor, instead of log lines in the
 * exit path. Tested by tools/tests/test_base.c. */
#pragma once
#include "hv/base/stats.h"
#include "hv/port/cpu.h"

enum ring_kind {
    RING_NONE,
    RING_EXIT,   /* a: vmexit kind | TSC at entry << 8 (its low 56 bits), b: guest RIP */
    RING_PF,     /* a: gva, b: error code; not for a plain fault with its RING_FILL */
    RING_POST,   /* a: gpa | flags, b: consumers */
    RING_DRAIN,  /* a: event, b: patches */
    RING_FILL,   /* a: gva, b: spte */
    RING_TRACE,  /* a: gfn, b: old trace word */
    RING_UNSYNC, /* a: gfn, b: 1 in, 0 out */
    RING_IPI,    /* a: target, b: action bits */
    RING_IRQ,    /* a: vector, b: 0; at the exit after the guest took it */
    RING_CR,     /* a: register number, b: value */
    RING_NOTE,
    RING_PATCH, /* one patch applied; a: gpa | flags as posted, b: producer, RING_ANYONE: not known
                 */
    RING_KIND_COUNT
};
#define RING_EVENTS 2048 /* power of two */
#define RING_ANYONE 0xffull
#define RING_EXIT_KIND(a) ((a) & 0xff)
struct ring_event {
    uint64_t tsc, a, b;
    uint32_t kind, pad;
};
#define RING_BYTES (RING_EVENTS * 32u)
/* The memory of a CPU's ring: RING_BYTES, zeroed, reachable by every CPU. Without it the CPU's
 * events are dropped. Boot CPU, before that CPU runs. */
void ring_place(uint32_t cpu, void *memory);
/* Owner CPU only; no lock. Context: any but NMI. */
void ring_add(uint32_t cpu, enum ring_kind kind, uint64_t a, uint64_t b);
/* The same without a call, for what happens at every exit. */
struct ring_slot {
    _Atomic uint64_t tsc, a, b;
    _Atomic uint32_t kind;
};
_Static_assert(sizeof(struct ring_slot) * RING_EVENTS == RING_BYTES, "memory of a ring");
extern struct ring_slot
    *ring_of[HV_MACHINE_CPUS]; /* NULL: none. Set before the CPU's first event */
static inline void ring_put(uint32_t cpu, enum ring_kind kind, uint64_t a, uint64_t b)
{
    struct ring_slot *s = ring_of[cpu];
    if (!s)
        return;
    uint64_t head = atomic_load_explicit(&hv_stats[cpu].ring_head, memory_order_relaxed);
    s += head % RING_EVENTS;
    /* Release: whoever reads one of these sees the head at which it was written (ring_get). */
    atomic_store_explicit(&s->tsc, port_tsc(), memory_order_release);
    atomic_store_explicit(&s->a, a, memory_order_release);
    atomic_store_explicit(&s->b, b, memory_order_release);
    atomic_store_explicit(&s->kind, (uint32_t)kind, memory_order_release);
    /* pairs with the acquire in ring_head */
    atomic_store_explicit(&hv_stats[cpu].ring_head, head + 1, memory_order_release);
}
/* Events ever added on a CPU; 0 for a number that is no CPU. Any CPU. */
uint64_t ring_head(uint32_t cpu);
/* Event number `n`, counted from 0. false: not there yet, or overwritten already, also while it was
 * being read. Any CPU. */
bool ring_get(uint32_t cpu, uint64_t n, struct ring_event *out);
const char *ring_kind_name(uint32_t kind); /* "?" for a number that is no kind */
/* The newest `n` events of a CPU as text lines through `emit`. Any CPU; leaves out what the owner
 * overwrites meanwhile. */
void ring_dump(uint32_t cpu, unsigned n, void (*emit)(const char *line));
