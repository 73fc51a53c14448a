/* SPDX-License-Identifier: BSD-2-Clause */
/* Hands the firmware's memory map to the page allocator. Tested by every boot (BIOS, UEFI)
 * and tools/tests/test_memmap.c. */
#include "arch-x86/plat/memmap.h"
#include "arch-x86/cpu/features.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/mem/phys.h"

static bool lost, logged;

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

/* What is not kept out would be handed out, to the guest for instance: no going on. The consoles
 * are there when the map is logged. */
static void stop_if_lost(void)
{
    if (lost && logged)
        hv_stop(
            "the firmware's memory map has more pieces than can be kept out of RAM (see above): "
            "try its other mode, UEFI or BIOS, or switch unused devices off in its setup");
}

void memmap_keep_out(uint64_t base, uint64_t len)
{
    if (!usable(base, &len) || phys_reserve(hpa(base), len) == HV_OK)
        return;
    if (!lost)
        log_err("mem", "cannot keep 0x%llx, 0x%llx bytes, out of RAM: too many ranges",
                (unsigned long long)base, (unsigned long long)len);
    lost = true;
    stop_if_lost();
}

void memmap_log(void)
{
    hpa_t base;
    uint64_t len;
    for (unsigned i = 0; phys_range(i, &base, &len); i++)
        log_debug("mem", "RAM 0x%012llx-0x%012llx", (unsigned long long)base.v,
                  (unsigned long long)(base.v + len - 1));
    logged = true;
    stop_if_lost();
    log_info("mem", "%llu MiB of RAM free, top at 0x%llx",
             (unsigned long long)(phys_free_bytes() >> 20), (unsigned long long)phys_top());
}
