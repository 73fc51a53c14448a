/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSR and I/O bitmaps: everything exits but the allow-list; a VM that owns ports has an I/O map
 * of its own (vcpu.io_map), whose first two pages are these two. Tested by
 * tools/tests/test_vmx_perm.c. */
#include "arch-x86/cpu/msr_list.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/string.h"

/* 24.6.9 "MSR-Bitmap Address": reads of 0 to 1FFFh, of C0000000h to C0001FFFh, writes likewise. */
static _Alignas(4096) uint8_t msr_map[PAGE_SIZE];
/* 24.6.4 "I/O-Bitmap Addresses": ports 0 to 7FFFh, 8000h to FFFFh. */
static _Alignas(4096) uint8_t io_map[2][PAGE_SIZE];

static void allow(uint32_t msr, bool write)
{
    uint32_t offset = msr >= 0xc0000000 ? 0x400 : 0, bit = msr & 0x1fff;

    msr_map[offset + bit / 8] &= (uint8_t)~(1u << bit % 8);
    if (write)
        msr_map[0x800 + offset + bit / 8] &= (uint8_t)~(1u << bit % 8);
}

void vmx_perm_build(void)
{
    memset(msr_map, 0xff, sizeof(msr_map));
    memset(io_map, 0xff, sizeof(io_map));
    msr_list_each(vmx_caps.rdtscp, allow);
}

/* The image is linked where it is loaded, virtual = physical. */
static uint64_t io_bitmap(unsigned half)
{
    return (uint64_t)(uintptr_t)io_map[half];
}

void vmx_perm_write(uint64_t ports)
{
    vmcs_write(VMCS_MSR_BITMAP, (uint64_t)(uintptr_t)msr_map);
    vmcs_write(VMCS_IO_BITMAP_A, ports ? ports : io_bitmap(0));
    vmcs_write(VMCS_IO_BITMAP_B, ports ? ports + PAGE_SIZE : io_bitmap(1));
}
