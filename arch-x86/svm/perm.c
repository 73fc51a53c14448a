/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSR and I/O permission maps: everything exits but the allow-list of arch-x86/cpu/msr_list.c;
 * a VM that owns ports has an I/O map of its own (vcpu.io_map).
 * Tested by every boot. */
#include "arch-x86/cpu/msr_list.h"
#include "arch-x86/svm/internal.h"
#include "hv/base/string.h"

/* APM 15.11 "MSR Intercepts": two bits an MSR, three ranges of 2 KiB. */
static _Alignas(4096) uint8_t svm_msr_map[2 * PAGE_SIZE];
/* APM 15.10.1 "I/O Permissions Map": one bit a port, and the byte after FFFFh. */
static _Alignas(4096) uint8_t svm_io_map[3 * PAGE_SIZE];

static void perm_allow(uint32_t msr, bool write)
{
    uint32_t offset = msr >= 0xc0010000 ? 0x1000 : msr >= 0xc0000000 ? 0x800 : 0;
    uint32_t bit = (msr & 0x1fff) * 2;

    svm_msr_map[offset + bit / 8] &= (uint8_t)~((write ? 3u : 1u) << bit % 8);
}

void svm_perm_build(void)
{
    memset(svm_msr_map, 0xff, sizeof(svm_msr_map));
    memset(svm_io_map, 0xff, sizeof(svm_io_map));
    msr_list_each(svm_features.tsc_aux, perm_allow); /* VMLOAD and VMSAVE switch the others */
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
