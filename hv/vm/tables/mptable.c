/* SPDX-License-Identifier: BSD-2-Clause */
/* The MP table for guests that read no ACPI ("MultiProcessor Specification version 1.4", chapter
 * 4): processors, the ISA bus, the I/O APIC and its interrupt lines, the same machine that acpi.c
 * describes. Tested by tools/tests/test_mptable.c. */
#include "hv/base/string.h"
#include "hv/vm/tables/tables.h"

#define MP_FLOATING_GPA 0xf0000ull /* the specification searches here */
#define MP_TABLE_GPA 0xf0010ull
#define MP_ROOM 2048u

enum mp_entry { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IOINT, MP_LOCALINT };
enum mp_int { MP_INT, MP_NMI, MP_SMI, MP_EXTINT };
#define MP_BUS_ISA 0
#define MP_ACTIVE_HIGH_EDGE 0x05
#define MP_CONFORMS 0x00

struct mp_build {
    uint8_t page[MP_ROOM];
    size_t used;
    uint16_t entries;
};
static struct mp_build mp;

static uint8_t checksum(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)(0 - sum);
}

static void put(size_t at, uint64_t v, size_t n)
{
    memcpy(mp.page + at, &v, n);
}

static size_t entry(size_t bytes, enum mp_entry type)
{
    size_t at = mp.used;
    put(at, type, 1);
    mp.used += bytes;
    mp.entries++;
    return at;
}

static void processors(uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        size_t at = entry(20, MP_PROCESSOR);
        put(at + 1, c, 1);               /* local APIC id */
        put(at + 2, 0x14, 1);            /* its version */
        put(at + 3, c == 0 ? 3 : 1, 1);  /* enabled, boot processor */
        put(at + 4, 0x600, 4);           /* signature: a guest asks CPUID */
        put(at + 8, BIT(0) | BIT(9), 4); /* FPU and APIC on the chip */
    }
}

static void interrupt(enum mp_entry kind, enum mp_int type, uint16_t flags, uint8_t irq,
                      uint8_t apic, uint8_t pin)
{
    size_t at = entry(8, kind);
    put(at + 1, type, 1);
    put(at + 2, flags, 2);
    put(at + 4, MP_BUS_ISA, 1);
    put(at + 5, irq, 1);
    put(at + 6, apic, 1);
    put(at + 7, pin, 1);
}

static void interrupts(uint8_t ioapic)
{
    for (uint8_t irq = 0; irq < 16; irq++)
        if (irq != 2) /* the cascade; the timer comes in its place */
            interrupt(MP_IOINT, MP_INT, irq == 9 ? 0x0d : MP_ACTIVE_HIGH_EDGE, irq, ioapic,
                      irq == 0 ? 2 : irq);
    interrupt(MP_LOCALINT, MP_EXTINT, MP_CONFORMS, 0, 0, 0);
    interrupt(MP_LOCALINT, MP_NMI, MP_CONFORMS, 0, 0xff, 1);
}

enum hv_err vm_mptable_build(struct vm *vm)
{
    uint8_t floating[16] = "_MP_";
    const uint8_t ioapic = (uint8_t)vpc_ioapic_id(vm->ncpus);
    size_t at;

    memset(&mp, 0, sizeof(mp));
    mp.used = 44;
    processors(vm->ncpus);
    at = entry(8, MP_BUS);
    put(at + 1, MP_BUS_ISA, 1);
    memcpy(mp.page + at + 2, "ISA   ", 6);
    at = entry(8, MP_IOAPIC);
    put(at + 1, ioapic, 1);
    put(at + 2, 0x20, 1);
    put(at + 3, 1, 1);
    put(at + 4, VPC_IOAPIC_BASE, 4);
    interrupts(ioapic);

    memcpy(mp.page, "PCMP", 4);
    put(4, mp.used, 2);
    put(6, 4, 1); /* version 1.4 */
    memcpy(mp.page + 8, "PATCHBAYPATCHBAY HV ", 20);
    put(34, mp.entries, 2);
    put(36, VPC_LAPIC_BASE, 4);
    put(7, checksum(mp.page, mp.used), 1);

    floating[4] = MP_TABLE_GPA & 0xff;
    floating[5] = (MP_TABLE_GPA >> 8) & 0xff;
    floating[6] = (MP_TABLE_GPA >> 16) & 0xff;
    floating[8] = 1; /* length in paragraphs */
    floating[9] = 4;
    floating[10] = checksum(floating, sizeof(floating));
    TRY(vm_copy_in(vm, gpa(MP_TABLE_GPA), mp.page, mp.used));
    return vm_copy_in(vm, gpa(MP_FLOATING_GPA), floating, sizeof(floating));
}
