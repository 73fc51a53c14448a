/* SPDX-License-Identifier: BSD-2-Clause */
/* Group memory: RAM above 4 GiB holds what is stored there, each byte once. Needs a loader that
 * tells the memory map in the Linux boot parameters, as Patchbay does. Tested by being run with 6
 * GiB. */
#include "guest/guest.h"

#define FOUR_GIB (1ull << 32)
#define WINDOW 16 /* mappings in use at once */
#define CPUID1_PSE36 (1u << 17)

/* Maps what holds pa, below the window's slot i; returns the address of pa. */
static uint64_t window(unsigned i, uint64_t pa)
{
    if (sizeof(pte_t) == 8) {
        map(TEST_VA + i * PAGE, pa & ~(PAGE - 1), PTE_RW);
        invlpg(TEST_VA + i * PAGE);
        return TEST_VA + i * PAGE + (pa & (PAGE - 1));
    }
    /* PSE-36: bits 39..32 of a 4 MiB page's address lie in bits 20..13 of the entry (SDM vol. 3,
     * 4.3 "32-Bit Paging") */
    uint64_t base = pa & ~(LARGE_PAGE - 1);
    map_2m(TEST_VA + i * LARGE_PAGE, (uint32_t)base | base >> 32 << 13, PTE_RW);
    invlpg(TEST_VA + i * LARGE_PAGE);
    return TEST_VA + i * LARGE_PAGE + (pa - base);
}

static void above_4g_job(void *arg)
{
    const uint64_t step = 37 * PAGE_2M + 3 * PAGE; /* so that offsets in granules and pages vary */
    unsigned me = this_cpu()->index;

    (void)arg;
    for (unsigned pass = 0; pass < 2; pass++) {
        unsigned n = 0;
        for (uint64_t pa = FOUR_GIB + me * 8; pa < high_end; pa += step) {
            uint64_t va = window(me * WINDOW + n++ % WINDOW, pa);
            if (pass == 0)
                store64(va, ~pa);
            else
                CHECK_EQ(load64(va), ~pa, "what was stored above 4 GiB");
        }
        CHECK(n != 0, "nothing was tried");
    }
}

static void test_above_4g(void)
{
    if (high_end == 0) {
        test_skip("no RAM above 4 GiB, or nobody tells of it");
        return;
    }
    if (sizeof(pte_t) == 4 && (cpuid(1, 0).edx & CPUID1_PSE36) == 0) {
        test_skip("no PSE-36");
        return;
    }
    run_on(ncpus, above_4g_job, NULL);
}

static const struct test tests[] = {
    {"memory.above_4g", test_above_4g, 1},
};
const struct test_group tests_memory = GROUP(tests);
