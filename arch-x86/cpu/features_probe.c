/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks the processor that executes it. Tested by every boot. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"

static void probe_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    struct cpuid_regs r = cpuid(leaf, subleaf);
    out[0] = r.eax;
    out[1] = r.ebx;
    out[2] = r.ecx;
    out[3] = r.edx;
}

const struct cpu_probe cpu_probe_self = {probe_cpuid, probe_rdmsr, probe_wrmsr};
