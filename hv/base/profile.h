/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the instructions of an exit go: sums of TSC units by kind of exit and part of the round, in
 * a build with PROFILE=1 (make bench-count PROFILE=1); otherwise nothing is measured and nothing is
 * paid. Read from outside by tools/pblib/benchguest.py. Tested by the step linux/count. */
#pragma once
#include "hv/base/stats.h"

#ifndef HV_PROFILE
#define HV_PROFILE 0
#endif

enum profile_part {
    PROFILE_GUEST,   /* world switch, guest, translation of the exit */
    PROFILE_AFTER,   /* from the exit to its handler */
    PROFILE_HANDLER, /* the handler of this kind */
    PROFILE_BEFORE,  /* from the handler to the next entry */
    PROFILE_PARTS
};
struct profile {
    uint64_t mark; /* TSC at the last border */
    uint64_t kind; /* of the exit whose round this is */
    uint64_t sum[STATS_MAX_EXITS][PROFILE_PARTS];
};
extern struct profile hv_profile[HV_PROFILE ? HV_MACHINE_CPUS : 1];

/* What passed since the last border was the guest's part of a round that an exit of `kind` began.
 * Owner CPU, as the others. */
void profile_exit(uint32_t cpu, uint32_t kind);
/* ... was `part` of the round of the last exit. */
void profile_border(uint32_t cpu, enum profile_part part);
/* The CPU slept: what passed is no part of anything. */
void profile_restart(uint32_t cpu);
