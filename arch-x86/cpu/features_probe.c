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

int64_t cpu_divide_self(int64_t high, uint64_t low, int64_t by, int64_t *rest)
{
    int64_t quotient;

    __asm__ volatile("idivq %[by]"
                     : "=a"(quotient), "=d"(*rest)
                     : [by] "r"(by), "a"(low), "d"(high)
                     : "cc");
    return quotient;
}

const struct cpu_probe cpu_probe_self = {probe_cpuid, probe_rdmsr, probe_wrmsr};
