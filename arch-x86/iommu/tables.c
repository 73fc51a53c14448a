/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O page tables of a VM: its RAM in the vendor's format, made once, since a p2m is fixed.
 * Tested by tools/tests/test_iommu.c. */
#include "arch-x86/iommu/iommu.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/machine.h"

#define ENTRIES 512
#define LEVEL_BITS 9

static enum hv_err page_new(hpa_t *out)
{
    TRY(phys_alloc(PAGE_SIZE, PAGE_SIZE, 0, out));
    memset(port_ptr(*out), 0, PAGE_SIZE);
    return HV_OK;
}

static unsigned index_of(uint64_t a, unsigned level)
{
    return (unsigned)(a >> (PAGE_SHIFT + LEVEL_BITS * (level - 1))) & (ENTRIES - 1);
}

/* The frames of one granule, in a table of level 1. */
static enum hv_err granule_small(const struct iommu_format *f, uint64_t *slot, uint64_t host)
{
    hpa_t page;

    TRY(page_new(&page));
    for (unsigned i = 0; i < ENTRIES; i++)
        ((uint64_t *)port_ptr(page))[i] = f->leaf(host + (uint64_t)i * PAGE_SIZE, 1);
    *slot = f->link(page.v, 1);
    return HV_OK;
}

static enum hv_err granule_map(const struct iommu_format *f, hpa_t *way, uint64_t at, uint64_t host)
{
    /* way[l]: the table of level l that the last granule lay in */
    for (unsigned l = f->levels; l > 2; l--) {
        uint64_t *slot = (uint64_t *)port_ptr(way[l]) + index_of(at, l);
        if (*slot)
            continue; /* granules come in rising order: it is the table in way[l - 1] */
        TRY(page_new(&way[l - 1]));
        *slot = f->link(way[l - 1].v, l - 1);
    }
    uint64_t *slot = (uint64_t *)port_ptr(way[2]) + index_of(at, 2);
    if (!f->large)
        return granule_small(f, slot, host);
    *slot = f->leaf(host, 2);
    return HV_OK;
}

enum hv_err iommu_tables_build(const struct p2m *p2m, const struct iommu_format *f, hpa_t *root)
{
    hpa_t way[6] = {{0}};
    uint64_t end = p2m->ngranules << REGION_SHIFT;

    if (f->levels < 3 || f->levels > 5 || !end ||
        (end - 1) >> (PAGE_SHIFT + LEVEL_BITS * f->levels))
        return HV_RANGE;
    TRY(page_new(root));
    way[f->levels] = *root;
    for (uint64_t g = 0; g < p2m->ngranules; g++)
        if (p2m->granule[g] != P2M_NONE)
            TRY(granule_map(f, way, g << REGION_SHIFT, (uint64_t)p2m->granule[g] << REGION_SHIFT));
    return HV_OK;
}
