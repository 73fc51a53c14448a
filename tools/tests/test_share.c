/* SPDX-License-Identifier: BSD-2-Clause */
/* How a machine's memory is divided between the guest and the CPUs' shadow pools: any machine of 64
 * MiB to 1 TiB and 1 to 31 CPUs starts, and a pool is what it should be wherever there is room. */
#include "hv/main.h"
#include "hv/mmu/state.h"
#include "hv/vcpu/subvmm.h"
#include "hv/vm/share.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

#define MIB (1ull << 20)

static uint64_t shadow_pages(uint64_t share)
{
    return (share - sizeof(struct subvmm)) / 6800; /* a page and its bookkeeping, rounded up */
}

static void any_machine(void)
{
    unsigned bad = 0, machines = 0;
    for (uint64_t mib = 64; mib <= 1 << 20; mib *= 2)
        for (uint32_t n = 1; n <= HV_MAX_CPUS; n++) {
            uint64_t ram = (mib - 12) * MIB; /* without image and stacks */
            uint64_t share = hv_private_share(ram, n);
            bool good = n * share <= ram / 2 && ram - n * share >= 32 * MIB &&
                        shadow_pages(share) >= MMU_POOL_FLOOR && share % PAGE_SIZE == 0;
            machines++;
            if (!good && !bad++)
                tap_note("%llu MiB, %u CPUs: %llu KiB each", (unsigned long long)mib, n,
                         (unsigned long long)share >> 10);
        }
    tap_eq(bad, 0, "each CPU has a pool, and the guest at least half of the memory");
    tap_ok(machines == 15 * 31, "... on %u machines", machines);
}

/* What a pool should be: a page for each 2 MiB of the guest's, and a working set. */
static void enough(uint64_t mib, uint32_t n)
{
    uint64_t share = hv_private_share(mib * MIB, n), guest = mib * MIB - n * share;
    tap_ok(share + REGION_SIZE >= hv_private_bytes(guest), "%llu MiB, %u CPUs: %llu MiB for each",
           (unsigned long long)mib, n, (unsigned long long)(share / MIB));
}

/* Trace words come before the guest's RAM is known: enough of them for whatever it becomes. */
static void frames(void)
{
    tap_eq(share_frames(1000 * MIB, 0), 1000 * MIB >> PAGE_SHIFT, "frames of all that is free");
    tap_eq(share_frames(1000 * MIB, 100 * MIB), 100 * MIB >> PAGE_SHIFT, "... of what mem= asks");
    tap_eq(share_frames(1000 * MIB, 4000 * MIB), 1000 * MIB >> PAGE_SHIFT, "... if it is there");
    tap_eq(share_frames(3072 * MIB + REGION_SIZE, 0), (4096 * MIB + REGION_SIZE) >> PAGE_SHIFT,
           "... and beyond 3 GiB the hole below 4 GiB");
}

/* A pool of the bytes that are said to be needed has the pages. */
static void exact_pages(void)
{
    struct share_ask a = {.free_bytes = 1000 * MIB, .ncpus = 4, .granules = 512, .pool_pages = 777};
    uint64_t bytes = share_bytes(&a, 0);
    tap_ok(bytes >= mmu_pool_bytes(777, 512) && bytes < mmu_pool_bytes(777, 512) + REGION_SIZE,
           "pool=777 is given room for 777 pages, and less than 2 MiB more");
    tap_ok(mmu_pool_bytes(2, 1) - mmu_pool_bytes(1, 1) < 6700,
           "a page takes less than 6,700 bytes");
}

int main(void)
{
    fake_reset();
    options_parse(&hv_opt, "", NULL);
    any_machine();
    exact_pages();
    enough(200, 4);
    enough(500, 4);
    enough(1000, 8);
    enough(2000, 31);
    enough(64 << 10, 16);
    enough(64 << 10, 31);
    enough(1 << 20, 31);
    /* what QEMU's 1 GiB leaves free beside image, rings and trace words */
    tap_ok(1004 * MIB - 4 * hv_private_share(1004 * MIB, 4) >= 978 * MIB,
           "four CPUs with 1 GiB: the guest has at least 978 MiB (%llu KiB a CPU)",
           (unsigned long long)(hv_private_share(1004 * MIB, 4) >> 10));
    tap_ok(shadow_pages(hv_private_share(1004 * MIB, 4)) >= 768,
           "... and a pool all the same that the loads do not fill");
    frames();
    options_parse(&hv_opt, "mem=512", NULL);
    tap_eq(hv_private_share(64ull << 30, 16), hv_private_bytes(512 * MIB),
           "mem=512 on a large machine: pools for that much");
    options_parse(&hv_opt, "pool=64", NULL);
    tap_eq(hv_private_share(64 * MIB, 31), hv_private_bytes(0), "pool= decides alone");
    return tap_done();
}
