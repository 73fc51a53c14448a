/* SPDX-License-Identifier: BSD-2-Clause */
/* Which processors are started, in which order, under which numbers. Tested by
 * tools/tests/test_smp_order.c. */
#pragma once
#include "hv/base/types.h"

enum smp_outcome {
    SMP_RUNS,   /* it has the number for good */
    SMP_SILENT, /* no answer */
    SMP_UNLIKE  /* it answered and was sent away; the reason is logged */
};
struct smp_ops {
    bool (*can_address)(uint32_t apic_id);
    /* Tries to start that processor as CPU `cpu`. */
    enum smp_outcome (*start)(uint32_t cpu, uint32_t apic_id);
};
/* Starts processors in the order of ids (without `self`, which is CPU 0) until `want` CPUs run; one
 * that cannot be used is named, and its number goes to the next. Returns how many run. */
uint32_t smp_order(const uint32_t *ids, unsigned nids, uint32_t self, uint32_t want,
                   const struct smp_ops *ops);
