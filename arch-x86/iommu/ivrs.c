/* SPDX-License-Identifier: BSD-2-Clause */
/* The IVRS table, read with the distrust firmware deserves. Pure. AMD I/O Virtualization Technology
 * (IOMMU) Specification 3.07, chapter 5 "I/O Virtualization ACPI Table".
 * Tested by tools/tests/test_iommu.c and tools/tests/fuzz_iommu.c. */
#include "arch-x86/iommu/iommu.h"
#include "hv/base/string.h"

#define IVRS_FIRST 48u
#define IVHD_10_BYTES 24u
#define IVHD_11_BYTES 40u
#define IVMD_BYTES 32u
enum { IVHD_10 = 0x10, IVHD_11 = 0x11, IVHD_40 = 0x40 };
enum { IVMD_ALL = 0x20, IVMD_SELECT = 0x21, IVMD_RANGE = 0x22 };
/* 5.2.2.1 "IVHD Device Entries" */
enum {
    DEV_ALL = 1,
    DEV_SELECT = 2,
    DEV_START = 3,
    DEV_END = 4,
    DEV_ALIAS = 0x42,
    DEV_ALIAS_START = 0x43,
    DEV_EXT = 0x46,
    DEV_EXT_START = 0x47,
    DEV_SPECIAL = 0x48,
    DEV_ACPI_HID = 0xf0,
};
#define HID_FIXED 22u /* bytes of a DEV_ACPI_HID before its unique id */
#define HID_LENGTH 21u

static uint64_t field(const uint8_t *p, unsigned at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p + at, bytes);
    return v;
}

static void scope_add(struct iommu_tables *t, unsigned unit, pci_bdf_t first, pci_bdf_t last,
                      bool reserved)
{
    if (t->nscopes == IOMMU_SCOPES || first > last) {
        t->truncated = true;
        return;
    }
    t->scope[t->nscopes++] = (struct iommu_scope){
        .unit = (uint8_t)unit, .reserved = reserved, .first = first, .last = last};
}

static void alias_add(struct iommu_tables *t, pci_bdf_t first, pci_bdf_t last, pci_bdf_t as)
{
    if (t->naliases == IOMMU_SCOPES || first > last) {
        t->truncated = true;
        return;
    }
    t->alias[t->naliases++] = (struct iommu_alias){first, last, as};
}

static unsigned entry_bytes(const uint8_t *e, uint32_t len)
{
    if (e[0] < 0x40)
        return 4;
    if (e[0] < 0x80)
        return 8;
    if (e[0] == DEV_ACPI_HID)
        return len >= HID_FIXED ? HID_FIXED + e[HID_LENGTH] : 0;
    return 0; /* reserved: how long it is nobody knows */
}

/* What a range that was begun is for. */
struct range {
    bool open, aliased;
    pci_bdf_t first, as;
};

static void entry_read(struct iommu_tables *t, unsigned unit, const uint8_t *e, struct range *r)
{
    pci_bdf_t f = (pci_bdf_t)field(e, 1, 2);

    switch (e[0]) {
    case DEV_ALL:
        t->unit[unit].all = true;
        break;
    case DEV_ALIAS:
        alias_add(t, f, f, (pci_bdf_t)field(e, 5, 2));
        scope_add(t, unit, f, f, false);
        break;
    case DEV_SELECT:
    case DEV_EXT:
        scope_add(t, unit, f, f, false);
        break;
    case DEV_START:
    case DEV_EXT_START:
        *r = (struct range){.open = true, .first = f};
        break;
    case DEV_ALIAS_START:
        *r = (struct range){true, true, f, (pci_bdf_t)field(e, 5, 2)};
        break;
    case DEV_END:
        if (!r->open) {
            t->truncated = true;
            break;
        }
        scope_add(t, unit, r->first, f, false);
        if (r->aliased)
            alias_add(t, r->first, f, r->as);
        r->open = false;
        break;
    default: /* I/O APICs, HPETs, devices without a number */
        break;
    }
}

/* The best block of a unit counts: 40h before 11h before 10h, the first of equals. */
static bool better(const uint8_t *table, uint32_t len, uint32_t mine)
{
    unsigned type = table[mine];
    uint16_t id = (uint16_t)field(table, mine + 4, 2);

    for (uint32_t at = IVRS_FIRST; len - at >= 6;) {
        uint32_t n = (uint32_t)field(table, at + 2, 2);
        if (n < 4 || n > len - at)
            break;
        unsigned that = table[at];
        bool ivhd = that == IVHD_10 || that == IVHD_11 || that == IVHD_40;
        if (ivhd && at != mine && n >= IVHD_10_BYTES && field(table, at + 4, 2) == id &&
            (that > type || (that == type && at < mine)))
            return true;
        at += n;
    }
    return false;
}

static void ivhd(struct iommu_tables *t, const uint8_t *e, uint32_t len)
{
    uint32_t head = e[0] == IVHD_10 ? IVHD_10_BYTES : IVHD_11_BYTES;
    struct range r = {0};

    if (len < head || field(e, 16, 2))
        return; /* another segment */
    uint64_t base = field(e, 8, 8);
    if (!base || base & 0x3fff || base >> 52 || t->nunits == IOMMU_UNITS) {
        t->truncated = true;
        return;
    }
    t->unit[t->nunits] = (struct iommu_unit){.base = base,
                                             .self = (pci_bdf_t)field(e, 4, 2),
                                             .cap = (uint16_t)field(e, 6, 2),
                                             .flags = e[1]};
    for (uint32_t at = head; at + 4 <= len;) {
        unsigned n = entry_bytes(e + at, len - at);
        if (!n || n > len - at) {
            t->truncated = true;
            break;
        }
        entry_read(t, t->nunits, e + at, &r);
        at += n;
    }
    t->truncated |= r.open;
    t->nunits++;
}

/* 5.2.2.6 "I/O Virtualization Memory Definition (IVMD)" */
static void ivmd(struct iommu_tables *t, const uint8_t *e, uint32_t len)
{
    if (len < IVMD_BYTES)
        return;
    uint64_t base = field(e, 16, 8), bytes = field(e, 24, 8), end;
    pci_bdf_t f = (pci_bdf_t)field(e, 4, 2), last = (pci_bdf_t)field(e, 6, 2);

    if (!bytes || __builtin_add_overflow(base, bytes, &end) || t->nreserved == IOMMU_RESERVED) {
        t->truncated = true;
        return;
    }
    t->reserved[t->nreserved] =
        (struct iommu_reserved){.base = base, .end = end, .all = e[0] == IVMD_ALL};
    if (e[0] != IVMD_ALL)
        scope_add(t, t->nreserved, f, e[0] == IVMD_RANGE ? last : f, true);
    t->nreserved++;
}

bool ivrs_parse(const uint8_t *table, uint32_t len, struct iommu_tables *out)
{
    memset(out, 0, sizeof(*out));
    if (len < IVRS_FIRST)
        return false;
    out->intr_remap = true;
    for (uint32_t at = IVRS_FIRST; len - at >= 4;) {
        uint32_t n = (uint32_t)field(table, at + 2, 2);
        uint8_t type = table[at];
        if (n < 4 || n > len - at) {
            out->truncated = true;
            break;
        }
        if (type == IVHD_10 || type == IVHD_11 || type == IVHD_40) {
            if (n >= IVHD_10_BYTES && !better(table, len, at))
                ivhd(out, table + at, n);
        } else if (type == IVMD_ALL || type == IVMD_SELECT || type == IVMD_RANGE) {
            ivmd(out, table + at, n);
        }
        at += n;
    }
    return out->nunits > 0;
}
