/* SPDX-License-Identifier: BSD-2-Clause */
/* The DMAR table, read with the distrust firmware deserves. Pure. Intel Virtualization Technology
 * for Directed I/O 4.1, chapter 8 "BIOS Considerations".
 * Tested by tools/tests/test_iommu.c and tools/tests/fuzz_iommu.c. */
#include "arch-x86/iommu/iommu.h"
#include "hv/base/string.h"

#define DMAR_FIRST 48u
#define DMAR_FLAGS 37u
#define FLAG_INTR_REMAP 1u
#define FLAG_X2APIC_OPT_OUT 2u
#define DRHD_BYTES 16u
#define RMRR_BYTES 24u
enum { TYPE_DRHD, TYPE_RMRR };
#define DRHD_ALL 1u
enum { SCOPE_ENDPOINT = 1, SCOPE_BRIDGE, SCOPE_IOAPIC };
#define SCOPE_BYTES 6u

struct reader {
    const uint8_t *p;
    uint32_t len;
    iommu_bridge bridge;
    struct iommu_tables *out;
};

static uint64_t field(const uint8_t *p, unsigned at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p + at, bytes);
    return v;
}

/* 8.3.1 "Device Scope Structure": a start bus and a path of (device, function) through bridges. */
static bool path_follow(const struct reader *r, const uint8_t *s, unsigned len, pci_bdf_t *out)
{
    unsigned bus = s[5], hops = (len - SCOPE_BYTES) / 2;

    for (unsigned i = 0; i < hops; i++) {
        unsigned dev = s[SCOPE_BYTES + 2 * i], fn = s[SCOPE_BYTES + 2 * i + 1];
        uint8_t secondary, subordinate;
        if (dev > 31 || fn > 7)
            return false;
        *out = (pci_bdf_t)(bus << 8 | dev << 3 | fn);
        if (i + 1 < hops) {
            if (!r->bridge || !r->bridge(*out, &secondary, &subordinate))
                return false;
            bus = secondary;
        }
    }
    return hops > 0;
}

/* Its identifier is that of MADT: 8.3.1, "Enumeration ID". */
static void ioapic_take(const struct reader *r, const uint8_t *s, unsigned len)
{
    struct iommu_tables *t = r->out;
    pci_bdf_t f;

    if (t->nioapics == IOMMU_IOAPICS)
        t->truncated = true;
    else if (path_follow(r, s, len, &f))
        t->ioapic[t->nioapics++] = (struct iommu_ioapic){.id = s[4], .as = f};
}

static void scopes_read(const struct reader *r, const uint8_t *s, uint32_t len, unsigned index,
                        bool reserved)
{
    struct iommu_tables *t = r->out;

    while (len >= SCOPE_BYTES) {
        unsigned n = s[1];
        pci_bdf_t f;
        if (n < SCOPE_BYTES || n > len) {
            t->truncated = true;
            return;
        }
        if (s[0] == SCOPE_IOAPIC && !reserved)
            ioapic_take(r, s, n);
        if ((s[0] == SCOPE_ENDPOINT || s[0] == SCOPE_BRIDGE) && path_follow(r, s, n, &f)) {
            struct iommu_scope *e = &t->scope[t->nscopes];
            uint8_t secondary, subordinate;
            if (t->nscopes + 2 > IOMMU_SCOPES) {
                t->truncated = true;
                return;
            }
            *e = (struct iommu_scope){
                .unit = (uint8_t)index, .reserved = reserved, .first = f, .last = f};
            t->nscopes++;
            if (s[0] == SCOPE_BRIDGE && r->bridge && r->bridge(f, &secondary, &subordinate)) {
                e[1] = *e;
                e[1].bridge = true;
                e[1].first = (pci_bdf_t)(secondary << 8);
                e[1].last = (pci_bdf_t)(subordinate << 8 | 0xff);
                t->nscopes++;
            }
        }
        s += n;
        len -= n;
    }
}

static void drhd(const struct reader *r, const uint8_t *e, uint32_t len)
{
    struct iommu_tables *t = r->out;

    if (len < DRHD_BYTES || field(e, 6, 2))
        return; /* nonsense, or another segment */
    uint64_t base = field(e, 8, 8);
    if (!base || base & PAGE_MASK || base >> 52)
        return;
    if (t->nunits == IOMMU_UNITS) {
        t->truncated = true;
        return;
    }
    for (unsigned i = 0; i < t->nunits; i++)
        if (t->unit[i].base == base) {
            t->truncated = true; /* two descriptions of one unit: the first counts */
            return;
        }
    t->unit[t->nunits] = (struct iommu_unit){.base = base, .all = e[4] & DRHD_ALL};
    scopes_read(r, e + DRHD_BYTES, len - DRHD_BYTES, t->nunits++, false);
}

static void rmrr(const struct reader *r, const uint8_t *e, uint32_t len)
{
    struct iommu_tables *t = r->out;

    if (len < RMRR_BYTES || field(e, 6, 2))
        return;
    uint64_t base = field(e, 8, 8), last = field(e, 16, 8);
    if (base > last || last == UINT64_MAX || t->nreserved == IOMMU_RESERVED) {
        t->truncated = true;
        return;
    }
    t->reserved[t->nreserved] = (struct iommu_reserved){.base = base, .end = last + 1};
    scopes_read(r, e + RMRR_BYTES, len - RMRR_BYTES, t->nreserved++, true);
}

bool dmar_parse(const uint8_t *table, uint32_t len, iommu_bridge bridge, struct iommu_tables *out)
{
    struct reader r = {table, len, bridge, out};

    memset(out, 0, sizeof(*out));
    if (len < DMAR_FIRST)
        return false;
    out->intr_remap = table[DMAR_FLAGS] & FLAG_INTR_REMAP;
    out->x2apic_opt_out = table[DMAR_FLAGS] & FLAG_X2APIC_OPT_OUT;
    for (uint32_t at = DMAR_FIRST; len - at >= 4;) {
        uint32_t type = (uint32_t)field(table, at, 2), n = (uint32_t)field(table, at + 2, 2);
        if (n < 4 || n > len - at) {
            out->truncated = true;
            break;
        }
        if (type == TYPE_DRHD)
            drhd(&r, table + at, n);
        else if (type == TYPE_RMRR)
            rmrr(&r, table + at, n);
        at += n;
    }
    return out->nunits > 0;
}

/* 8.1 "DMA Remapping Reporting Structure": the wish counts where interrupts are remapped. */
bool dmar_wants_xapic(const struct iommu_tables *t, const uint64_t *ecap)
{
    bool extended = !t->x2apic_opt_out;

    for (unsigned i = 0; i < t->nunits; i++) {
        if (!(ecap[i] & VTD_ECAP_IR))
            return false;
        extended = extended && (ecap[i] & VTD_ECAP_EIM);
    }
    return t->intr_remap && !extended;
}

static bool in_scope(const struct iommu_scope *s, pci_bdf_t f)
{
    return f >= s->first && f <= s->last;
}

bool iommu_covers(const struct iommu_tables *t, pci_bdf_t f)
{
    for (unsigned i = 0; i < t->nunits; i++)
        if (t->unit[i].all)
            return true;
    for (unsigned i = 0; i < t->nscopes; i++)
        if (!t->scope[i].reserved && in_scope(&t->scope[i], f))
            return true;
    return false;
}

const struct iommu_reserved *iommu_reserved_for(const struct iommu_tables *t, pci_bdf_t f)
{
    for (unsigned i = 0; i < t->nreserved; i++)
        if (t->reserved[i].all)
            return &t->reserved[i];
    for (unsigned i = 0; i < t->nscopes; i++)
        if (t->scope[i].reserved && in_scope(&t->scope[i], f))
            return &t->reserved[t->scope[i].unit];
    return NULL;
}

pci_bdf_t iommu_alias_of(const struct iommu_tables *t, pci_bdf_t f)
{
    for (unsigned i = 0; i < t->naliases; i++)
        if (f >= t->alias[i].first && f <= t->alias[i].last)
            return t->alias[i].as;
    return f;
}
