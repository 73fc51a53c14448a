/* SPDX-License-Identifier: BSD-2-Clause */
/* Interprocessor interrupts and destinations: who a message names, and what becomes of it there.
 * Tested by tools/tests/test_vdev_ipi.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/coherency/actions.h"

#define load(p) atomic_load_explicit(p, memory_order_relaxed)

#define ICR_LOGICAL BIT(11)
#define ICR_LEVEL BIT(14)
#define ICR_TRIGGER BIT(15)
#define ICR_SHORTHAND(lo) (((lo) >> 18) & 3)
#define DFR_FLAT 0xf /* model, in bits 31:28 */
#define CLUSTER_ALL 0xf
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

static cpuset_t all_cpus(const struct vpc *pc)
{
    return (cpuset_t)(BIT(pc->cfg.ncpus) - 1);
}

/* SDM 11.6.2.2 "Logical Destination Mode"; 11.12.10.1 for x2APIC. An 8-bit destination reaches
 * cluster 0 of CPUs in x2APIC mode, which is how an I/O APIC without remapping addresses them. */
static bool logical_match(const struct vlapic *a, uint32_t dest)
{
    uint32_t ldr = load(&a->ldr);
    if (vlapic_x2(a))
        return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
    ldr >>= 24;
    if (dest > XAPIC_DEST_ALL)
        return false;
    if (load(&a->dfr) >> 28 == DFR_FLAT)
        return dest & ldr;
    return (dest >> 4 == ldr >> 4 || dest >> 4 == CLUSTER_ALL) && (dest & ldr & 0xf);
}

cpuset_t vlapic_dest(const struct vpc *pc, uint32_t dest, bool logical, bool x2)
{
    if (dest == (x2 ? ~0u : XAPIC_DEST_ALL))
        return all_cpus(pc);
    if (!logical)
        return dest < pc->cfg.ncpus ? 1u << dest : 0;
    cpuset_t set = 0;
    for (uint32_t c = 0; c < pc->cfg.ncpus; c++)
        if (logical_match(&pc->lapic[c], dest))
            set |= 1u << c;
    return set;
}

/* One CPU of the set: enabled, of the lowest task priority, turn by turn among equals. */
static cpuset_t lowest_priority(struct vpc *pc, cpuset_t set)
{
    uint32_t n = pc->cfg.ncpus, best = n, best_tpr = 0;
    uint32_t first = atomic_fetch_add_explicit(&pc->lowest_next, 1, memory_order_relaxed) % n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = (first + i) % n, tpr = load(&pc->lapic[c].tpr) >> 4;
        if (!(set & 1u << c) || !(load(&pc->lapic[c].svr) & SVR_ENABLE))
            continue;
        if (best == n || tpr < best_tpr) {
            best = c;
            best_tpr = tpr;
        }
    }
    return best == n ? 0 : 1u << best;
}

bool vlapic_send(struct vpc *pc, uint32_t from, cpuset_t to, unsigned mode, uint32_t vector,
                 bool level)
{
    bool taken = false;
    uint64_t action = mode == DM_NMI    ? ACTION_NMI
                      : mode == DM_INIT ? ACTION_INIT
                      : mode == DM_SIPI ? ACTION_SIPI
                                        : 0;
    if (mode == DM_LOWEST)
        to = lowest_priority(pc, to);
    else if (mode != DM_FIXED && !action)
        return false; /* SMI and reserved modes: there is no system management mode */
    for (; to; to &= to - 1) {
        uint32_t c = (uint32_t)__builtin_ctz(to);
        if (!action) {
            taken |= vlapic_deliver(pc, from, c, vector, level);
            continue;
        }
        if (!(load(&pc->lapic[c].base) & APIC_BASE_EN))
            continue;
        if (mode == DM_SIPI) /* release: read after the action was taken */
            atomic_store_explicit(&pc->lapic[c].sipi_vector, vector, memory_order_release);
        action_post(pc->cfg.co, from, c, action);
        taken = true;
    }
    return taken;
}

void vlapic_icr(struct vpc *pc, uint32_t cpu, uint32_t lo, uint32_t dest, bool x2)
{
    unsigned mode = DELIVERY_MODE(lo), shorthand = ICR_SHORTHAND(lo);
    uint32_t vector = lo & 0xff;
    cpuset_t self = 1u << cpu, to = 0;
    switch (shorthand) {
    case SHORT_NONE:
        to = vlapic_dest(pc, dest, lo & ICR_LOGICAL, x2);
        break;
    case SHORT_SELF:
        to = self;
        break;
    case SHORT_ALL:
        to = all_cpus(pc);
        break;
    default:
        to = all_cpus(pc) & ~self;
        break;
    }
    if (mode == DM_EXTINT)
        return; /* reserved in the ICR */
    if (mode == DM_INIT && (lo & ICR_TRIGGER) && !(lo & ICR_LEVEL))
        return; /* INIT level de-assert only resynchronised arbitration IDs of old */
    if (shorthand == SHORT_ALL && (mode == DM_INIT || mode == DM_SIPI))
        return; /* SDM table 11-3: invalid. So is INIT to self, but boot processors use it */
    if (shorthand == SHORT_SELF && mode == DM_SIPI)
        return;
    if ((mode == DM_FIXED || mode == DM_LOWEST) && vector < VECTOR_FIRST) {
        vlapic_error(pc, cpu, cpu, ESR_SEND_ILLEGAL);
        return;
    }
    (void)vlapic_send(pc, cpu, to, mode, vector, false);
}

bool vlapic_ipi(struct vpc *pc, uint32_t cpu, cpuset_t to, uint32_t lo)
{
    unsigned mode = DELIVERY_MODE(lo);

    if ((mode != DM_FIXED && mode != DM_NMI) || (mode == DM_FIXED && (lo & 0xff) < VECTOR_FIRST))
        return false;
    (void)vlapic_send(pc, cpu, to & all_cpus(pc), mode, lo & 0xff, false);
    return true;
}

void vlapic_command(struct vpc *pc, uint32_t cpu, uint32_t icr_low, uint32_t dest)
{
    vlapic_icr(pc, cpu, icr_low, dest, false);
}

uint8_t vlapic_sipi_vector(struct vpc *pc, uint32_t cpu)
{
    return (uint8_t)atomic_load_explicit(&pc->lapic[cpu].sipi_vector, memory_order_acquire);
}
