/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of hv/coherency share: the folder compiled with a tiny channel geometry, so that
 * slots collide and overflow, one VM of up to four CPUs, and a sink that records.
 * Tested by the tests that use it: test_channel.c, test_trace.c, test_actions.c, test_*_tsan.c. */
#pragma once
#ifndef CHANNEL_SETS
#define CHANNEL_SETS 2
#define CHANNEL_WAYS 2
#endif
#include "hv/coherency/actions.c"
#include "hv/coherency/channel.c"
#include "hv/coherency/coherency.c"
#include "hv/coherency/consumer.c"
#include "hv/coherency/locked.c"
#include "hv/coherency/producer.c"
#include "hv/coherency/trace.c"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

#define RIG_CPUS 4
#define RIG_FRAMES 1500 /* two whole regions and a part */

static struct coherency co;
static struct channel rig_matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct coh_cpu cpu[RIG_CPUS];
static uint64_t rig_words[RIG_FRAMES + 8];
static _Alignas(4096) _Atomic uint64_t page[4][512]; /* guest frames 0..3 */

static struct hv_options rig_options(void)
{
    return (struct hv_options){.coherency = COHERENCY_MATRIX,
                               .overflow = OVERFLOW_LAZY,
                               .consumers_traced = true,
                               .interest = true};
}

static void rig_init(const struct hv_options *opt)
{
    memset(rig_words, 0, sizeof(rig_words));
    memset((void *)page, 0, sizeof(page));
    coherency_init(&co, RIG_CPUS, RIG_FRAMES, rig_words, rig_matrix, opt);
    for (uint32_t c = 0; c < RIG_CPUS; c++) {
        coh_cpu_init(&cpu[c], &co, c, NULL, NULL);
        action_online(&cpu[c]);
    }
    fake_set_ncpus(RIG_CPUS);
}

/* Registers CPU c as consumer of frame f; nobody writes it in these tests. */
__attribute__((unused)) static void rig_consume(uint32_t c, uint64_t f)
{
    cpuset_t ask;
    bool self_drop;
    (void)trace_install(&cpu[c], gfn(f), &ask, &self_drop);
}

/* Guest address and host pointer of entry i of frame f. */
static gpa_t entry_at(uint64_t f, unsigned i)
{
    return gpa(f * PAGE_SIZE + i * 8ull);
}
__attribute__((unused)) static uint64_t set_entry(uint32_t c, uint64_t f, unsigned i, uint64_t v)
{
    return producer_exchange(&cpu[c], entry_at(f, i), (void *)&page[f][i], 8, v);
}
__attribute__((unused)) static uint64_t stat_of(uint32_t c, enum stat s)
{
    return atomic_load_explicit(&hv_stats[c].n[s], memory_order_relaxed);
}
