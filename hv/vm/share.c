/* SPDX-License-Identifier: BSD-2-Clause */
/* How a machine's memory is divided (hv/mmu/README "Pool and reclaim" has the measurements).
 * Tested by tools/tests/test_share.c. */
#include "hv/vm/share.h"
#include "hv/mmu/mmu.h"

/* A pool holds a leaf table for each 2 MiB of the guest's RAM, so that one address space as large
 * as that never reclaims, and the tables of many small ones at once: measured, with a margin. */
#define WORKING_SET_PAGES 448
/* What all pools together leave: half of the memory, and so much for a guest with its tables; but a
 * sixth of a very small machine is theirs. */
#define POOL_LEAVES (80ull << 20)
#define LOW_RAM_MAX (3ull << 30)
#define HIGH_RAM_BASE (4ull << 30)
#define ROUNDS 4 /* each takes a tenth of the error at most */

static uint64_t round_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) / to * to;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t share_pool_pages(uint64_t guest_ram_bytes)
{
    return guest_ram_bytes / REGION_SIZE + WORKING_SET_PAGES;
}

static uint64_t exact(const struct share_ask *a, uint64_t pages)
{
    return a->head_bytes + mmu_pool_bytes(pages, a->granules);
}

uint64_t share_bytes(const struct share_ask *a, uint64_t guest_ram_bytes)
{
    uint64_t pages = a->pool_pages ? a->pool_pages : share_pool_pages(guest_ram_bytes);

    return round_up(exact(a, pages), REGION_SIZE);
}

/* Guest RAM beside n pools that are what it needs. */
static uint64_t guest_ram(const struct share_ask *a)
{
    uint64_t ram = a->free_bytes;

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t pools = a->ncpus * share_bytes(a, ram);
        ram = a->free_bytes > pools ? a->free_bytes - pools : 0;
    }
    return a->guest_bytes ? lesser(ram, a->guest_bytes) : ram;
}

uint64_t share_each(const struct share_ask *a)
{
    uint64_t bytes = share_bytes(a, guest_ram(a)), free_bytes = a->free_bytes;
    uint64_t least = exact(a, a->fewest_pages);
    uint64_t most = free_bytes > POOL_LEAVES ? free_bytes - POOL_LEAVES : 0;

    most = lesser(most, free_bytes / 2);
    most = (most > free_bytes / 6 ? most : free_bytes / 6) / a->ncpus;
    if (bytes <= most || a->pool_pages)
        return bytes;
    if (most < least)
        return round_up(least, PAGE_SIZE);
    return most & ~(most < 4 * REGION_SIZE ? PAGE_MASK : REGION_MASK);
}

uint64_t share_frames(uint64_t free_bytes, uint64_t guest_bytes)
{
    uint64_t ram = guest_bytes ? lesser(guest_bytes, free_bytes) : free_bytes;

    if (ram > LOW_RAM_MAX)
        ram += HIGH_RAM_BASE - LOW_RAM_MAX;
    return round_up(ram, REGION_SIZE) >> PAGE_SHIFT;
}
