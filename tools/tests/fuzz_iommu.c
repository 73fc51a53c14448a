/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of the parsers of DMAR, IVRS and MCFG (arch-x86/iommu, arch-x86/plat/mcfg.c): the first
 * byte chooses, the rest is the table, behind which nothing may be read. What they return must be
 * usable as it is. */
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/plat/pci.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_iommu: %s\n", what);
    abort();
}

static bool bridge(pci_bdf_t f, uint8_t *secondary, uint8_t *subordinate)
{
    *secondary = (uint8_t)(f >> 3 | 1);
    *subordinate = (uint8_t)(*secondary | 15);
    return f & 1;
}

static void usable(const struct iommu_tables *t, bool good)
{
    check(t->nunits <= IOMMU_UNITS && t->nscopes <= IOMMU_SCOPES &&
              t->nreserved <= IOMMU_RESERVED && t->naliases <= IOMMU_SCOPES,
          "more than fits");
    check(good == (t->nunits > 0), "good without a unit, or the reverse");
    for (unsigned i = 0; i < t->nunits; i++)
        check(t->unit[i].base && !(t->unit[i].base & PAGE_MASK) && !(t->unit[i].base >> 52),
              "registers nowhere");
    for (unsigned i = 0; i < t->nscopes; i++)
        check(t->scope[i].first <= t->scope[i].last &&
                  t->scope[i].unit < (t->scope[i].reserved ? t->nreserved : t->nunits),
              "a scope of nobody");
    for (unsigned i = 0; i < t->nreserved; i++)
        check(t->reserved[i].base < t->reserved[i].end, "an empty range");
    for (unsigned f = 0; f < 0x10000; f += 37) {
        (void)iommu_covers(t, (pci_bdf_t)f);
        (void)iommu_reserved_for(t, (pci_bdf_t)f);
        (void)iommu_alias_of(t, (pci_bdf_t)f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct iommu_tables t;
    struct pci_window w;

    if (size < 1)
        return 0;
    /* a copy of its own size: what is read behind it is found */
    uint8_t *table = malloc(size - 1 ? size - 1 : 1);
    memcpy(table, data + 1, size - 1);
    if (data[0] % 3 == 0)
        usable(&t, dmar_parse(table, (uint32_t)(size - 1), bridge, &t));
    else if (data[0] % 3 == 1)
        usable(&t, ivrs_parse(table, (uint32_t)(size - 1), &t));
    else if (mcfg_parse(table, (uint32_t)(size - 1), &w))
        check(w.base.v && !(w.base.v & 0xfffff) && w.first <= w.last && w.last < 256, "no window");
    free(table);
    return 0;
}
