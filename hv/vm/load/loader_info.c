/* SPDX-License-Identifier: BSD-2-Clause */
/* What a kernel is told about the machine: the memory map, and the one page-sized structure that
 * multiboot and PVH kernels are given. Tested by tools/tests/test_loader_multiboot.c. */
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

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

unsigned guest_ranges(const struct vm *vm, uint64_t low_end, struct guest_range *out)
{
    unsigned n = range_add(out, 0, 0, low_end, E820_RAM);
    n = range_add(out, n, low_end, 0xa0000, E820_RESERVED);
    n = range_add(out, n, ACPI_GPA, HIGH_GPA, E820_RESERVED); /* ACPI and MP tables */
    n = range_add(out, n, HIGH_GPA, vm->ram_low_end, E820_RAM);
    n = range_add(out, n, VPC_IOAPIC_BASE, VPC_IOAPIC_BASE + PAGE_SIZE, E820_RESERVED);
    n = range_add(out, n, VPC_LAPIC_BASE, VPC_LAPIC_BASE + PAGE_SIZE, E820_RESERVED);
    return range_add(out, n, FOUR_GIB, vm->ram_high_end, E820_RAM);
}

static struct {
    uint8_t page[INFO_ROOM];
    uint32_t used;
} info;

void info_start(uint32_t used)
{
    memset(&info, 0, sizeof(info));
    info.used = used;
}

void info_put(uint32_t at, uint64_t v, unsigned bytes)
{
    memcpy(info.page + at, &v, bytes);
}

uint32_t info_used(void)
{
    return info.used;
}

uint32_t info_take(uint32_t n)
{
    uint32_t at = (info.used + 7) & ~7u;
    if (at > INFO_ROOM || n > INFO_ROOM - at)
        return 0;
    info.used = at + n;
    return at;
}

uint32_t info_string(const char *first, const char *s, size_t n)
{
    size_t head = strlen(first);
    uint32_t at = info_take((uint32_t)(head + n + 2 < INFO_ROOM ? head + n + 2 : INFO_ROOM));
    if (!at)
        return 0;
    memcpy(info.page + at, first, head);
    if (head && n)
        info.page[at + head++] = ' ';
    memcpy(info.page + at + head, s, n);
    return at;
}

enum hv_err info_commit(struct vm *vm)
{
    return vm_copy_in(vm, gpa(INFO_GPA), info.page, sizeof(info.page));
}
