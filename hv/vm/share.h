/* SPDX-License-Identifier: BSD-2-Clause */
/* How a machine's memory is divided between guests and the CPUs' shadow pools: numbers in, numbers
 * out. Tested by tools/tests/test_share.c. */
#pragma once
#include "hv/base/types.h"

struct share_ask {
    uint64_t free_bytes; /* of the machine, before anything below is taken */
    uint32_t ncpus;
    uint64_t head_bytes;   /* of each CPU's private memory that is not pool */
    uint64_t granules;     /* of 2 MiB that host memory spans */
    uint64_t guest_bytes;  /* asked for by mem=, 0: all there is */
    uint32_t pool_pages;   /* asked for by pool=, 0: computed */
    uint32_t fewest_pages; /* a pool must have */
};

/* Pages a CPU's shadow pool should have for that much guest RAM. */
uint64_t share_pool_pages(uint64_t guest_ram_bytes);
/* Bytes of private memory of a CPU for that much guest RAM. Multiple of 2 MiB. */
uint64_t share_bytes(const struct share_ask *a, uint64_t guest_ram_bytes);
/* The same by what is left for the guest, and less where memory is short, down to the least that
 * runs a guest. Multiple of 2 MiB, of 4 KiB where that is much. */
uint64_t share_each(const struct share_ask *a);
/* Guest frames, at most, of a guest that gets what is free, or guest_bytes: trace words are
 * allocated ahead of the guest's memory, which then takes all the rest. */
uint64_t share_frames(uint64_t free_bytes, uint64_t guest_bytes);
