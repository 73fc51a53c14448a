/* SPDX-License-Identifier: BSD-2-Clause */
/* Changing the paging mode of a CPU at run time, in the 32-bit images. Tested by group modes. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum paging_mode {
    PAGING_OFF,
    PAGING_TWO_LEVEL,
    PAGING_PAE,
    PAGING_LONG,
    PAGING_MODES,
    PAGING_KERNEL
};
struct paging {
    enum paging_mode mode; /* PAGING_KERNEL: the image's own, on its own tables */
    uint64_t root;
};
/* All modes run the same 32-bit code: identity-mapped, in long mode as compatibility mode. With
 * PAGING_LONG interrupts must be off and no exception may occur: the IDT has 32-bit gates. */
void paging_set(const struct paging *p);
/* Has the processor long mode? */
bool paging_has_long(void);
/* Tables for a mode that map what the kernel needs. */
uint64_t paging_root(enum paging_mode mode);
/* Makes a table of the lowest level the one for va. */
void paging_hang(enum paging_mode mode, uint64_t root, uint64_t va, const void *table);
