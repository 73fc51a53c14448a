/* SPDX-License-Identifier: BSD-2-Clause */
/* Boot-time page allocator over the firmware's memory map. After hv_main has handed everything out
 * it is sealed; the run-time path allocates nothing. Tested by tools/tests/test_phys.c. */
#pragma once
#include "hv/base/types.h"

/* Adds usable RAM [base, base+len); overlaps and any order are fine, at most 128 ranges. */
enum hv_err phys_add(hpa_t base, uint64_t len) HV_MUST_CHECK;
/* Takes [base, base+len) out (hypervisor image, modules, trampoline page, firmware). */
enum hv_err phys_reserve(hpa_t base, uint64_t len) HV_MUST_CHECK;
/* len bytes (rounded up to pages) at `align` (power of two >= 4096), below `limit` (0: anywhere),
 * from the top of memory downwards so that low memory stays identity-placeable for VM 0. Not
 * zeroed. */
enum hv_err phys_alloc(uint64_t len, uint64_t align, uint64_t limit, hpa_t *out) HV_MUST_CHECK;
/* true if the whole 2 MiB granule at `base` is free; used to build gpa = hpa placements. */
bool phys_granule_free(hpa_t base);
/* Zeroes n bytes of memory as it comes from the allocator, writing only pages that are not zero
 * already: firmware, boot loader and we left data in some, most of a machine was never touched. */
void phys_clear(void *at, uint64_t n);
/* Bytes free, and highest RAM address + 1. */
uint64_t phys_free_bytes(void);
uint64_t phys_top(void);
/* Iterates the RAM ranges added (not the free ones): for direct map and banner. false at the end.
 */
bool phys_range(unsigned i, hpa_t *base, uint64_t *len);
void phys_seal(void);

/* Whether it is: then nothing may be asked for any more. Any context. */
bool phys_sealed(void);
/* Forgets everything, for host tests; never called on the machine. */
void phys_reset(void);
