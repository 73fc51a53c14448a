/* SPDX-License-Identifier: BSD-2-Clause */
/* The MCFG table, read with the distrust firmware deserves. Pure.
 * Tested by tools/tests/test_iommu.c and tools/tests/fuzz_iommu.c. */
#include "arch-x86/plat/pci.h"
#include "hv/base/string.h"

#define MCFG_FIRST 44u /* header and 8 reserved bytes */
#define MCFG_ENTRY 16u
#define BUS_SHIFT 20
#define ADDRESS_MAX BIT(52)

struct entry {
    uint64_t base;
    uint16_t segment;
    uint8_t first, last;
    uint32_t reserved;
};
_Static_assert(sizeof(struct entry) == MCFG_ENTRY, "MCFG allocation");

bool mcfg_parse(const uint8_t *table, uint32_t len, struct pci_window *out)
{
    for (uint32_t at = MCFG_FIRST; len >= MCFG_ENTRY && at <= len - MCFG_ENTRY; at += MCFG_ENTRY) {
        struct entry e;

        memcpy(&e, table + at, sizeof(e));
        if (e.segment || e.first > e.last || !e.base || e.base & (BIT(BUS_SHIFT) - 1) ||
            e.base >= ADDRESS_MAX - BIT(BUS_SHIFT + 8))
            continue;
        *out = (struct pci_window){hpa(e.base), e.first, e.last};
        return true;
    }
    return false;
}
