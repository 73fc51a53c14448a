/* SPDX-License-Identifier: BSD-2-Clause */
/* The allow-list of MSRs. Everything else exits. Tested as said in msr_list.h. */
#include "arch-x86/cpu/msr_list.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/x86.h"

enum msr_check { PLAIN, CANONICAL, CANONICAL_HOT };
static const struct {
    uint32_t msr;
    enum msr_check check; /* what a write must be refused for */
} allowed[] = {
    /* switched with the guest, or never used by the host */
    {MSR_FS_BASE, CANONICAL_HOT},
    {MSR_GS_BASE, CANONICAL_HOT},
    {MSR_KERNEL_GS_BASE, CANONICAL_HOT},
    {MSR_STAR, PLAIN},
    {MSR_LSTAR, CANONICAL},
    {MSR_CSTAR, CANONICAL},
    {MSR_SFMASK, PLAIN},
    {MSR_SYSENTER_CS, PLAIN},
    {MSR_SYSENTER_ESP, PLAIN}, /* AMD ignores the upper half, APM 6.1.2; Intel checks it */
    {MSR_SYSENTER_EIP, PLAIN},
};

/* Processors refuse an address that is not canonical; QEMU 7.2 takes it, and then the check is
 * ours. Whoever writes these often has FSGSBASE for it; without, an exit each time is too much. */
static bool written_natively(enum msr_check check)
{
    static const uint64_t odd = BIT(63);
    uint64_t lstar = rdmsr(MSR_LSTAR);
    bool unchecked = probe_wrmsr(MSR_LSTAR, odd) && rdmsr(MSR_LSTAR) == odd;

    wrmsr(MSR_LSTAR, lstar);
    if (check == PLAIN || !unchecked)
        return true;
    return check == CANONICAL_HOT && !(cpuid(7, 0).ebx & BIT(0));
}

void msr_list_each(bool tsc_aux, void (*allow)(uint32_t msr, bool write))
{
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
        allow(allowed[i].msr, written_natively(allowed[i].check));
    if (tsc_aux)
        allow(MSR_TSC_AUX, true);
}
