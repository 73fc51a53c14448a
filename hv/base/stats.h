/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters, one set a CPU in public memory: written by the owner only, read by anyone.
 * Tested by tools/tests/test_stats.c. */
#pragma once
#include <stdatomic.h>
#include "hv/base/types.h"

#define STAT_LIST(X)                                                                               \
    X(fill_single)      /* sptes made for the faulting address */                                  \
    X(fill_batch)       /* sptes made for its neighbours */                                        \
    X(fill_large)       /* 2 MiB sptes made */                                                     \
    X(split_large)      /* 2 MiB sptes dropped for a trace inside */                               \
    X(walks)            /* guest page walks */                                                     \
    X(walk_restarts)    /* walks restarted after a drain in a wait or a failed A/D exchange */     \
    X(faults_forwarded) /* page faults given to the guest */                                       \
    X(faults_hidden)    /* page faults solved without the guest noticing */                        \
    X(trace_installs)   /* registrations */                                                        \
    X(trace_drops)      /* registrations removed */                                                \
    X(traced_writes)    /* guest stores to traced frames that were emulated */                     \
    X(stores_bulk)      /* stores of ours posted as WHOLE */                                       \
    X(stores_seen)      /* stores of others re-read at an event before they were posted */         \
    X(posts)            /* slots published */                                                      \
    X(posts_whole)      /* ... of them WHOLE */                                                    \
    X(coalesces)        /* posts that found their slot in use */                                   \
    X(skips)            /* posts saved by the interest rule */                                     \
    X(overflows)        /* channels found full */                                                  \
    X(overflow_recoveries)                                                                         \
    X(drains)       /* drains that found something pending */                                      \
    X(drains_empty) /* coherency events with nothing pending */                                    \
    X(patches_applied)                                                                             \
    X(patches_own) /* for an own store, applied without being posted */                            \
    X(patches_postponed)                                                                           \
    X(derived_used)                                                                                \
    X(unsync_in)     /* leaf tables gone unsync by this writer */                                  \
    X(unsync_out)    /* ... and left again */                                                      \
    X(unsync_listed) /* shadow pages put on this consumer's list */                                \
    X(unsync_reread) /* listed pages re-read at an event */                                        \
    X(aged)          /* sptes dropped because their entry lost A without a flush */                \
    X(zaps)          /* non-leaf shadow pages dropped for a write */                               \
    X(doorbells)     /* IPIs sent */                                                               \
    X(requests_served)                                                                             \
    X(acks_waited)   /* acknowledgements waited for */                                             \
    X(waits)         /* waits (installs or shootdowns) */                                          \
    X(flush_all)     /* entries with a TLB flush */                                                \
    X(flush_page)    /* single-page invalidations */                                               \
    X(direct_tables) /* leaf tables whose not-present entries were left to the guest */            \
    X(direct_sptes)  /* ... their sptes */                                                         \
    X(direct_asked)  /* stores that asked other CPUs first for that */                             \
    X(fresh)         /* leaf tables unsync from their first use */                                 \
    X(dying)         /* address spaces given up as a whole */                                      \
    X(reloads)       /* CR3 read and written back in one exit */                                   \
    X(flushes_asked) /* of other CPUs by hypercall, with their answer waited for */                \
    X(flushes_left)  /* the same, left to a halted CPU's waking */                                 \
    X(flushes_owed)  /* done for other CPUs' hypercalls */                                         \
    X(hypercalls)    /* served */                                                                  \
    X(root_hits)                                                                                   \
    X(root_misses)                                                                                 \
    X(asid_recycles)                                                                               \
    X(reclaims)                                                                                    \
    X(shadow_pages) /* in use now */                                                               \
    X(shadow_pages_high)                                                                           \
    X(rmap_high)                                                                                   \
    X(unserved_high)   /* steps of work in a row without a look at inbound requests, at most */    \
    X(crowded)         /* sptes dropped because their frame or table had too many */               \
    X(device_irqs)     /* interrupts of devices that the VM owns */                                \
    X(device_spurious) /* ... of nobody's */                                                       \
    X(audits)                                                                                      \
    X(audit_findings)                                                                              \
    X(emulated) /* instructions emulated */                                                        \
    X(mmio)     /* device accesses by memory */                                                    \
    X(pio)      /* port accesses */                                                                \
    X(io_pairs) /* a register selected and accessed in one exit */                                 \
    X(io_ahead) /* port accesses reached without an exit */                                        \
    X(irqs_injected)                                                                               \
    X(parked)

enum stat {
#define X(name) STAT_##name,
    STAT_LIST(X)
#undef X
        STAT_COUNT
};

#define STATS_MAX_EXITS 60 /* >= EXIT_KIND_COUNT of hv/vcpu/vmexit.h */

/* Aligned so that what a CPU writes at every exit lies in one page. */
struct stats {
    _Alignas(1024) _Atomic uint64_t n[STAT_COUNT];
    _Atomic uint64_t exits[STATS_MAX_EXITS];
    _Atomic uint64_t ring_head; /* events ever added to the CPU's ring (ring.c) */
};
_Static_assert(sizeof(struct stats) == 1024, "a quarter of a page a CPU");
extern struct stats hv_stats[HV_MACHINE_CPUS];
extern const char *const stat_name[STAT_COUNT];

/* Owner CPU only: a relaxed load and store, no LOCK prefix. Readers see a recent value. */
static inline void stat_add(uint32_t cpu, enum stat s, uint64_t n)
{
    _Atomic uint64_t *c = &hv_stats[cpu].n[s];
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void stat_inc(uint32_t cpu, enum stat s)
{
    stat_add(cpu, s, 1);
}
static inline void stat_max(uint32_t cpu, enum stat s, uint64_t v)
{
    if (v > atomic_load_explicit(&hv_stats[cpu].n[s], memory_order_relaxed))
        atomic_store_explicit(&hv_stats[cpu].n[s], v, memory_order_relaxed);
}
static inline void stat_set(uint32_t cpu, enum stat s, uint64_t v)
{
    atomic_store_explicit(&hv_stats[cpu].n[s], v, memory_order_relaxed);
}
