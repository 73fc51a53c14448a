/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSR and I/O permission maps: everything exits but the allow-list below.
 * Tested by every boot; the list by reading it; the checks by the guest test platform.canonical. */
#include "arch-x86/svm/internal.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"

/* APM 15.11 "MSR Intercepts": two bits an MSR, three ranges of 2 KiB. */
static _Alignas(4096) uint8_t svm_msr_map[2 * PAGE_SIZE];
/* APM 15.10.1 "I/O Permissions Map": one bit a port, and the byte after FFFFh. */
static _Alignas(4096) uint8_t svm_io_map[3 * PAGE_SIZE];

enum perm_check { PLAIN, CANONICAL, CANONICAL_HOT };
static const struct {
    uint32_t msr;
    enum perm_check check; /* what a write must be refused for */
} svm_msr_allowed[] = {
    /* all are switched by VMLOAD and VMSAVE */
    {MSR_FS_BASE, CANONICAL_HOT},
    {MSR_GS_BASE, CANONICAL_HOT},
    {MSR_KERNEL_GS_BASE, CANONICAL_HOT},
    {MSR_STAR, PLAIN},
    {MSR_LSTAR, CANONICAL},
    {MSR_CSTAR, CANONICAL},
    {MSR_SFMASK, PLAIN},
    {MSR_SYSENTER_CS, PLAIN},
    {MSR_SYSENTER_ESP, PLAIN}, /* AMD ignores the upper half, APM 6.1.2 */
    {MSR_SYSENTER_EIP, PLAIN},
};

static void perm_allow(uint32_t msr, bool write)
{
    uint32_t offset = msr >= 0xc0010000 ? 0x1000 : msr >= 0xc0000000 ? 0x800 : 0;
    uint32_t bit = (msr & 0x1fff) * 2;

    svm_msr_map[offset + bit / 8] &= (uint8_t)~((write ? 3u : 1u) << bit % 8);
}

/* Processors refuse an address that is not canonical; QEMU 7.2 takes it, and then the check is
 * ours. Whoever writes these often has FSGSBASE for it; without, an exit each time is too much. */
static bool perm_write(enum perm_check check)
{
    static const uint64_t odd = BIT(63);
    uint64_t lstar = rdmsr(MSR_LSTAR);
    bool unchecked = probe_wrmsr(MSR_LSTAR, odd) && rdmsr(MSR_LSTAR) == odd;

    wrmsr(MSR_LSTAR, lstar);
    if (check == PLAIN || !unchecked)
        return true;
    return check == CANONICAL_HOT && !(cpuid(7, 0).ebx & BIT(0));
}

void svm_perm_build(void)
{
    memset(svm_msr_map, 0xff, sizeof(svm_msr_map));
    memset(svm_io_map, 0xff, sizeof(svm_io_map));
    for (size_t i = 0; i < ARRAY_SIZE(svm_msr_allowed); i++)
        perm_allow(svm_msr_allowed[i].msr, perm_write(svm_msr_allowed[i].check));
    /* RDTSCP and RDPID read it natively and the host never uses it: the guest owns the register. */
    if (svm_features.tsc_aux)
        perm_allow(MSR_TSC_AUX, true);
}

/* The image is linked where it is loaded, virtual = physical. */
uint64_t svm_msrpm(void)
{
    return (uint64_t)(uintptr_t)svm_msr_map;
}

uint64_t svm_iopm(void)
{
    return (uint64_t)(uintptr_t)svm_io_map;
}
