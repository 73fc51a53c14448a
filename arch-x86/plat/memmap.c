/* SPDX-License-Identifier: BSD-2-Clause */
/* Hands the firmware's memory map to the page allocator. Tested by every boot (BIOS, UEFI). */
#include "arch-x86/plat/memmap.h"
#include "arch-x86/cpu/features.h"
#include "hv/base/log.h"
#include "hv/mem/phys.h"

static bool usable(uint64_t base, uint64_t *len)
{
    uint64_t limit = 1ull << cpu_features.phys_bits;
    if (base >= limit || *len == 0)
        return false;
    if (*len > limit - base)
        *len = limit - base;
    return true;
}

void memmap_ram(uint64_t base, uint64_t len)
{
    if (usable(base, &len) && phys_add(hpa(base), len) != HV_OK)
        log_warn("mem", "RAM at 0x%llx, 0x%llx bytes, left out: too many ranges",
                 (unsigned long long)base, (unsigned long long)len);
}

void memmap_keep_out(uint64_t base, uint64_t len)
{
    if (usable(base, &len) && phys_reserve(hpa(base), len) != HV_OK)
        log_err("mem", "cannot keep 0x%llx, 0x%llx bytes, out of RAM: too many ranges",
                (unsigned long long)base, (unsigned long long)len);
}

void memmap_log(void)
{
    hpa_t base;
    uint64_t len;
    for (unsigned i = 0; phys_range(i, &base, &len); i++)
        log_debug("mem", "RAM 0x%012llx-0x%012llx", (unsigned long long)base.v,
                  (unsigned long long)(base.v + len - 1));
    log_info("mem", "%llu MiB of RAM free, top at 0x%llx",
             (unsigned long long)(phys_free_bytes() >> 20), (unsigned long long)phys_top());
}
