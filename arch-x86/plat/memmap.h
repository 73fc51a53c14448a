/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware's memory map on its way to phys_*. Tested by every boot (BIOS, UEFI). */
#pragma once
#include "hv/base/types.h"

/* Usable RAM, or what must be kept out of it; order and overlap do not matter. Ranges beyond what
 * the CPU can address are cut. RAM that finds no room in the tables is left out, with a warning;
 * what cannot be kept out stops the machine, as soon as there are consoles (memmap_log). */
void memmap_ram(uint64_t base, uint64_t len);
void memmap_keep_out(uint64_t base, uint64_t len);
/* Logs the map and the sum. */
void memmap_log(void);
