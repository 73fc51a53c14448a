/* SPDX-License-Identifier: BSD-2-Clause */
/* Ticket locks whose order is checked on each CPU. Tested by tools/tests/test_base.c. */
#include "hv/base/assert.h"
#include "hv/base/lock.h"
#include "hv/port/cpu.h"

/* Levels this CPU holds, bit l for level l; touched by its owner only. */
static struct {
    _Alignas(64) uint32_t levels;
} held[HV_MACHINE_CPUS];

void lock_take(struct lock *l)
{
    uint32_t cpu = port_cpu();
    ASSERT(cpu < HV_MACHINE_CPUS);
    /* none of the same or a higher level is held */
    ASSERT((held[cpu].levels >> l->level) == 0);
    uint32_t ticket = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
    /* pairs with the release in lock_drop */
    while (atomic_load_explicit(&l->owner, memory_order_acquire) != ticket)
        port_relax();
    held[cpu].levels |= 1u << l->level;
}

void lock_drop(struct lock *l)
{
    uint32_t cpu = port_cpu();
    ASSERT(cpu < HV_MACHINE_CPUS && (held[cpu].levels & (1u << l->level)));
    held[cpu].levels &= ~(1u << l->level);
    /* pairs with the acquire in lock_take */
    atomic_store_explicit(&l->owner, atomic_load_explicit(&l->owner, memory_order_relaxed) + 1,
                          memory_order_release);
}
