/* SPDX-License-Identifier: BSD-2-Clause */
/* How a machine's memory is divided between the guest and the CPUs' shadow pools: any machine of 64
 * MiB to 1 TiB and 1 to 31 CPUs starts, and a pool is what it should be wherever there is room. */
#include "hv/main.h"
#include "hv/mmu/state.h"
#include "hv/vcpu/subvmm.h"
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

int main(void)
{
    fake_reset();
    options_parse(&hv_opt, "", NULL);
    any_machine();
    enough(200, 4);
    enough(500, 4);
    enough(1000, 8);
    enough(2000, 31);
    enough(64 << 10, 16);
    enough(64 << 10, 31);
    enough(1 << 20, 31);
    tap_eq(hv_private_share(500 * MIB, 4), 18 * MIB, "a usual machine has what it had");
    options_parse(&hv_opt, "mem=512", NULL);
    tap_eq(hv_private_share(64ull << 30, 16), hv_private_bytes(512 * MIB),
           "mem=512 on a large machine: pools for that much");
    options_parse(&hv_opt, "pool=64", NULL);
    tap_eq(hv_private_share(64 * MIB, 31), hv_private_bytes(0), "pool= decides alone");
    return tap_done();
}
