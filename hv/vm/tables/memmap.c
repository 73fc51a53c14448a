/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory map, as the BIOS and each kind of boot data tell it. Tested by
 * tools/tests/test_loader_multiboot.c and tools/tests/test_bios.c. */
#include "hv/vdev/pci/pci.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/tables/tables.h"

/* What can follow the last piece of RAM below 4 GiB that is not left out: its end, I/O APIC, APIC,
 * ECAM, RAM above. */
#define RANGES_BEHIND 5
#define HIGH_GPA 0x100000ull
#define FOUR_GIB 0x100000000ull

static unsigned range_add(struct guest_range *out, unsigned n, uint64_t base, uint64_t end,
                          uint32_t type)
{
    if (base >= end)
        return n;
    out[n] = (struct guest_range){base, end, type};
    return n + 1;
}

/* RAM from base to end, less what is not shown. */
static unsigned runs_add(const struct vm *vm, struct guest_range *out, unsigned n, uint64_t base,
                         uint64_t end)
{
    uint64_t first = base;

    for (uint64_t a = base; a < end; a = (a & ~REGION_MASK) + REGION_SIZE) {
        if (vm_ram_shown(vm, a, a + 1))
            continue;
        if (n < GUEST_RANGES_MAX - RANGES_BEHIND)
            n = range_add(out, n, first, a, E820_RAM);
        first = (a & ~REGION_MASK) + REGION_SIZE;
    }
    return range_add(out, n, first, end, E820_RAM);
}

unsigned guest_ranges(const struct vm *vm, uint64_t low_end, struct guest_range *out)
{
    unsigned n = range_add(out, 0, 0, low_end, E820_RAM);
    n = range_add(out, n, low_end, 0xa0000, E820_RESERVED);
    n = range_add(out, n, ACPI_GPA, HIGH_GPA, E820_RESERVED); /* ACPI and MP tables */
    n = runs_add(vm, out, n, HIGH_GPA, vm->ram_low_end);
    n = range_add(out, n, VPC_IOAPIC_BASE, VPC_IOAPIC_BASE + PAGE_SIZE, E820_RESERVED);
    n = range_add(out, n, VPC_LAPIC_BASE, VPC_LAPIC_BASE + PAGE_SIZE, E820_RESERVED);
    if (vm->pc && vpc_pci(vm->pc)->count)
        n = range_add(out, n, PCI_ECAM_BASE, PCI_ECAM_BASE + PCI_ECAM_BYTES, E820_RESERVED);
    return runs_add(vm, out, n, FOUR_GIB, vm->ram_high_end);
}
