/* SPDX-License-Identifier: BSD-2-Clause */
/* What of the machine is the hypervisor's for ever: registers that it uses at addresses which
 * firmware chose, as it chose BARs, and may have chosen twice.
 * Tested by tools/tests/test_pci_quiesce.c. */
#include "arch-x86/plat/kept.h"
#include "arch-x86/plat/acpi.h"
#include "hv/base/log.h"
#include "hv/port/pci.h"

#define KEPT_MAX 64 /* units of an IOMMU, I/O APICs, consoles, ACPI's ports */

static struct kept {
    uint64_t base, size;
    bool io;
} kept[KEPT_MAX];
static unsigned nkept;

void kept_add(uint64_t base, uint64_t size, bool io)
{
    if (nkept < KEPT_MAX)
        kept[nkept++] = (struct kept){base, size, io};
    else
        log_warn("pci", "more than %u places are Patchbay's: a guest's device may overlap 0x%llx",
                 KEPT_MAX, (unsigned long long)base);
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

/* ACPI 6.4, 4.8.3 "Fixed Hardware Registers" as far as they are used, and reset. */
static bool is_power(uint64_t base, uint64_t size)
{
    const struct acpi_info *a = &acpi_info;

    return (a->pm1a_cnt && overlap(base, size, a->pm1a_cnt, 2)) ||
           (a->pm1b_cnt && overlap(base, size, a->pm1b_cnt, 2)) ||
           (a->pm_tmr && overlap(base, size, a->pm_tmr, 4)) ||
           (a->smi_cmd && overlap(base, size, a->smi_cmd, 1)) ||
           (a->reset.space == ACPI_SPACE_IO && a->reset.addr &&
            overlap(base, size, a->reset.addr, 1));
}

bool port_pci_kept(uint64_t base, uint64_t size, bool io)
{
    for (unsigned i = 0; i < nkept; i++)
        if (kept[i].io == io && overlap(base, size, kept[i].base, kept[i].size))
            return true;
    return io && is_power(base, size);
}
