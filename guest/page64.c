/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel's own part of 4-level tables is: the first entry of the root. Tested by every run
 * of the image. */
#include "guest/guest.h"

pte_t *root_new(void)
{
    pte_t *root = page_alloc();

    root[0] = pte_read(&boot_pml4[0]);
    return root;
}

void test_space_clear(void)
{
    for (unsigned i = 1; i < PTES; i++) {
        if (pte_read(&boot_pml4[i]) != 0)
            pte_write(&boot_pml4[i], 0);
    }
}
