/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSR and I/O permission maps: everything exits but the allow-list below.
 * Tested by every boot; the list by reading it. */
#include "arch-x86/svm/internal.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"

/* APM 15.11 "MSR Intercepts": two bits an MSR, three ranges of 2 KiB. */
static _Alignas(4096) uint8_t svm_msr_map[2 * PAGE_SIZE];
/* APM 15.10.1 "I/O Permissions Map": one bit a port, and the byte after FFFFh. */
static _Alignas(4096) uint8_t svm_io_map[3 * PAGE_SIZE];

static const struct {
    uint32_t msr;
    const char *why;
} svm_msr_allowed[] = {
    {MSR_FS_BASE, "switched by VMLOAD and VMSAVE"},
    {MSR_GS_BASE, "switched by VMLOAD and VMSAVE"},
    {MSR_KERNEL_GS_BASE, "switched by VMLOAD and VMSAVE"},
    {MSR_STAR, "switched by VMLOAD and VMSAVE"},
    {MSR_LSTAR, "switched by VMLOAD and VMSAVE"},
    {MSR_CSTAR, "switched by VMLOAD and VMSAVE"},
    {MSR_SFMASK, "switched by VMLOAD and VMSAVE"},
    {MSR_SYSENTER_CS, "switched by VMLOAD and VMSAVE"},
    {MSR_SYSENTER_ESP, "switched by VMLOAD and VMSAVE"},
    {MSR_SYSENTER_EIP, "switched by VMLOAD and VMSAVE"},
};

static void perm_allow(uint32_t msr)
{
    uint32_t offset = msr >= 0xc0010000 ? 0x1000 : msr >= 0xc0000000 ? 0x800 : 0;
    uint32_t bit = (msr & 0x1fff) * 2;

    svm_msr_map[offset + bit / 8] &= (uint8_t) ~(3u << bit % 8);
}

void svm_perm_build(void)
{
    memset(svm_msr_map, 0xff, sizeof(svm_msr_map));
    memset(svm_io_map, 0xff, sizeof(svm_io_map));
    for (size_t i = 0; i < ARRAY_SIZE(svm_msr_allowed); i++)
        perm_allow(svm_msr_allowed[i].msr);
    /* RDTSCP and RDPID read it natively and the host never uses it: the guest owns the register. */
    if (svm_features.tsc_aux)
        perm_allow(MSR_TSC_AUX);
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
