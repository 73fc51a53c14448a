/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot 1 and 2 information into struct boot_info and the page allocator. The structures are
 * checked like any input: lengths before offsets, strings copied with a bound.
 * Tested by every boot. */
#pragma once
#include "hv/main.h"

/* true: boot_info is filled, RAM and reservations are known to phys_*. false: `magic` is no
 * loader's or the structure is damaged (logged). Context: BSP on boot's identity map. */
bool multiboot_parse(uint32_t magic, uint64_t info);

/* For multiboot1.c and multiboot2.c. */
bool multiboot1_parse(uint64_t info);
bool multiboot2_parse(uint64_t info);
/* Copy of at most `max` bytes of a string, ended by NUL; "" if there is no room left. */
const char *multiboot_string(const char *s, size_t max);
/* Checks and adds a module; reserves its memory. */
void multiboot_module(uint64_t start, uint64_t end, const char *string, size_t max);
