/* SPDX-License-Identifier: BSD-2-Clause */
/* The DSDT that fits the VM's PCI bus: without functions the plain one, else the one that tells of
 * interrupt lines, with the bus's windows filled in. Tested by tools/tests/test_acpi.c.
 */
#include "hv/base/string.h"
#include "hv/vdev/pci/pci.h"
#include "hv/vm/tables/dsdt.inc"     /* dsdt_aml, and */
#include "hv/vm/tables/dsdt_pci.inc" /* dsdt_pci_aml, both made from hv/vm/tables/dsdt.asl */
#include "hv/vm/tables/tables.h"

#define TABLE_CHECKSUM 9

/* A descriptor of an address space: ACPI 6.4, 6.4.3.5.1 "QWord Address Space Descriptor" and
 * 6.4.3.5.2 "DWord Address Space Descriptor": tag, length, resource type memory; where first and
 * last address and the length are in it. */
struct descriptor {
    uint8_t head[4];
    uint8_t min, max, length, bytes;
};
static const struct descriptor qword_memory = {{0x8a, 0x2b, 0x00, 0x00}, 14, 22, 38, 8};
static const struct descriptor dword_memory = {{0x87, 0x17, 0x00, 0x00}, 10, 14, 22, 4};

static void window_fill(uint8_t *aml, size_t n, const struct descriptor *d,
                        const struct pci_window *w)
{
    uint64_t length = w->end - w->base, last = length ? w->end - 1 : 0;
    size_t at = 0;

    while (at + d->length + d->bytes < n && memcmp(aml + at, d->head, sizeof(d->head)) != 0)
        at++;
    memcpy(aml + at + d->min, &w->base, d->bytes);
    memcpy(aml + at + d->max, &last, d->bytes);
    memcpy(aml + at + d->length, &length, d->bytes);
}

const uint8_t *vm_acpi_dsdt(const struct vm *vm, size_t *n)
{
    static uint8_t aml[sizeof(dsdt_pci_aml)];
    struct pci_window low;
    uint8_t sum = 0;

    if (!vm->pc || !vpc_pci(vm->pc)->count) {
        *n = sizeof(dsdt_aml);
        return dsdt_aml;
    }
    memcpy(aml, dsdt_pci_aml, sizeof(aml));
    low = (struct pci_window){vpc_pci(vm->pc)->told_low, PCI_WINDOW_LOW_END};
    window_fill(aml, sizeof(aml), &dword_memory, &low);
    window_fill(aml, sizeof(aml), &qword_memory, &vpc_pci(vm->pc)->high);
    aml[TABLE_CHECKSUM] = 0;
    for (size_t i = 0; i < sizeof(aml); i++)
        sum = (uint8_t)(sum + aml[i]);
    aml[TABLE_CHECKSUM] = (uint8_t)-sum;
    *n = sizeof(aml);
    return aml;
}
