/* SPDX-License-Identifier: BSD-2-Clause */
/* The DSDT that fits the VM's PCI bus: without functions the plain one, else the one that tells of
 * interrupt lines, with the bus's window above 4 GiB filled in. Tested by tools/tests/test_acpi.c.
 */
#include "hv/base/string.h"
#include "hv/vdev/pci/pci.h"
#include "hv/vm/tables/dsdt.inc"     /* dsdt_aml, and */
#include "hv/vm/tables/dsdt_pci.inc" /* dsdt_pci_aml, both made from hv/vm/tables/dsdt.asl */
#include "hv/vm/tables/tables.h"

/* ACPI 6.4, 6.4.3.5.1 "QWord Address Space Descriptor": tag, length, resource type memory. */
static const uint8_t qword_memory[] = {0x8a, 0x2b, 0x00, 0x00};
enum { QWORD_MIN = 14, QWORD_MAX = 22, QWORD_LENGTH = 38 };
#define TABLE_CHECKSUM 9

static void window_fill(uint8_t *aml, size_t n, const struct pci_window *w)
{
    uint64_t length = w->end - w->base, last = length ? w->end - 1 : 0;
    size_t at = 0;
    while (at + QWORD_LENGTH + 8 < n && memcmp(aml + at, qword_memory, sizeof(qword_memory)) != 0)
        at++;
    memcpy(aml + at + QWORD_MIN, &w->base, 8);
    memcpy(aml + at + QWORD_MAX, &last, 8);
    memcpy(aml + at + QWORD_LENGTH, &length, 8);
}

const uint8_t *vm_acpi_dsdt(const struct vm *vm, size_t *n)
{
    static uint8_t aml[sizeof(dsdt_pci_aml)];
    uint8_t sum = 0;
    if (!vm->pc || !vpc_pci(vm->pc)->count) {
        *n = sizeof(dsdt_aml);
        return dsdt_aml;
    }
    memcpy(aml, dsdt_pci_aml, sizeof(aml));
    window_fill(aml, sizeof(aml), &vpc_pci(vm->pc)->high);
    aml[TABLE_CHECKSUM] = 0;
    for (size_t i = 0; i < sizeof(aml); i++)
        sum = (uint8_t)(sum + aml[i]);
    aml[TABLE_CHECKSUM] = (uint8_t)-sum;
    *n = sizeof(aml);
    return aml;
}
