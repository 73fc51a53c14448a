/* SPDX-License-Identifier: BSD-2-Clause */
/* Reclaim in a guest with more 2 MiB regions than the pool has pages. */
#define RIG_GRANULES 80
#include "tools/tests/mmu_rig.h"

/* The four pages of 1 GiB below an unpaged guest's root are there as long as it is in use, however
 * long ago some of them were walked through. */
static void test_unpaged_root(void)
{
    unsigned refused = 0;
    rig_up("batch=off large=off", MMU_POOL_FLOOR);
    regs[0].cr0 = CR0_PE;
    mmu_event_mode(&mmu[0], &regs[0]);
    for (uint64_t pass = 0; pass < 2; pass++) {
        for (uint64_t region = 0; region < RIG_GRANULES; region++)
            refused += fault(0, region << REGION_SHIFT, 0) != MMU_RESUME;
        for (uint64_t g = 1; g < 4; g++)
            refused += fault(0, g << 30, 0) != MMU_MMIO;
    }
    tap_eq(refused, 0,
           "every region of an unpaged guest is mapped, and what is no RAM stays a device");
    tap_ok(stat_of(0, STAT_reclaims) > 80, "... in turn: %llu pages were reclaimed",
           (unsigned long long)stat_of(0, STAT_reclaims));
}

int main(void)
{
    test_unpaged_root();
    return tap_done();
}
