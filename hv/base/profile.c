/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums of TSC units between the borders of an exit. Tested by the step linux/count. */
#include "hv/base/profile.h"
#include "hv/port/cpu.h"

struct profile hv_profile[HV_PROFILE ? HV_MACHINE_CPUS : 1];

void profile_border(uint32_t cpu, enum profile_part part)
{
    if (!HV_PROFILE)
        return;
    struct profile *p = &hv_profile[cpu];
    uint64_t now = port_tsc();
    if (p->mark)
        p->sum[p->kind % STATS_MAX_EXITS][part] += now - p->mark;
    p->mark = port_tsc(); /* without the sum's own instructions */
}

void profile_exit(uint32_t cpu, uint32_t kind)
{
    if (!HV_PROFILE)
        return;
    hv_profile[cpu].kind = kind;
    profile_border(cpu, PROFILE_GUEST);
}

void profile_restart(uint32_t cpu)
{
    if (HV_PROFILE)
        hv_profile[cpu].mark = port_tsc();
}
