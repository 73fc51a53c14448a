/* SPDX-License-Identifier: BSD-2-Clause */
/* Storage and names of the counters. Tested by tools/tests/test_stats.c. */
#include "hv/base/stats.h"

struct stats hv_stats[HV_MACHINE_CPUS];

const char *const stat_name[STAT_COUNT] = {
#define X(name) [STAT_##name] = #name,
    STAT_LIST(X)
#undef X
};
