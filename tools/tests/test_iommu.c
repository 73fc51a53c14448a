/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware's tables of IOMMUs and of memory-mapped configuration space, good ones and wrong
 * ones of the kinds that machines have; and I/O page tables against the map they are made of. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
/* Pure: compiled here, since the machine's folder is not in the host library. */
#include "arch-x86/iommu/dmar.c"
#define field ivrs_field
#include "arch-x86/iommu/ivrs.c"
#undef field
#include "arch-x86/iommu/tables.c"
#include "arch-x86/plat/mcfg.c"

static uint8_t t[1024];
static unsigned n;
static struct iommu_tables out;

static void b1(unsigned v)
{
    t[n++] = (uint8_t)v;
}
static void b2(unsigned v)
{
    b1(v & 0xff), b1(v >> 8);
}
static void b8(uint64_t v)
{
    memcpy(t + n, &v, 8);
    n += 8;
}
static void begin(unsigned at)
{
    memset(t, 0, sizeof(t));
    n = at;
}

static bool buses(pci_bdf_t f, uint8_t *secondary, uint8_t *subordinate)
{
    *secondary = 5;
    *subordinate = 7;
    return f == 0x00e0; /* 00:1c.0 */
}

static void unit(unsigned flags, uint64_t base, unsigned scope_bytes)
{
    b2(0), b2(16 + scope_bytes), b1(flags), b1(0), b2(0), b8(base);
}

static bool dmar(void)
{
    return dmar_parse(t, n, buses, &out);
}

static void test_dmar(void)
{
    begin(48);
    t[37] = 1;
    unit(0, 0xfed90000, 8);
    b1(1), b1(8), b2(0), b1(0), b1(0), b1(2), b1(0); /* 00:02.0 */
    unit(1, 0xfed91000, 0);
    b2(1), b2(32), b2(0), b2(0), b8(0x7c000000), b8(0x7c7fffff);
    b1(1), b1(8), b2(0), b1(0), b1(0), b1(0x14), b1(0); /* 00:14.0 */
    tap_ok(dmar() && out.nunits == 2 && out.nreserved == 1 && out.intr_remap && !out.truncated,
           "DMAR: two units, one reserved range");
    const struct iommu_reserved *r = iommu_reserved_for(&out, 0x00a0);
    tap_ok(r && r->base == 0x7c000000 && r->end == 0x7c800000, "for its function");
    tap_ok(!iommu_reserved_for(&out, 0x0010), "and no other");
    tap_ok(iommu_covers(&out, 0x1234), "one unit has all");
    begin(48);
    unit(0, 0xfed90000, 16);
    b1(2), b1(8), b2(0), b1(0), b1(0), b1(0x1c), b1(0);  /* what is behind 00:1c.0 */
    b1(1), b1(10), b2(0), b1(0), b1(0), b1(0x1c), b1(0); /* cut off */
    tap_ok(dmar() && out.truncated, "a scope longer than its unit: cut");
    tap_ok(iommu_covers(&out, 0x0600) && iommu_covers(&out, 0x00e0), "the bridge and behind it");
    tap_ok(!iommu_covers(&out, 0x0800) && !iommu_covers(&out, 0x0010), "nothing else");
    begin(48);
    unit(0, 0xfed90000, 10);
    b1(1), b1(10), b2(0), b1(0), b1(0), b1(0x1c), b1(0), b1(3), b1(1); /* 00:1c.0 -> 05:03.1 */
    tap_ok(dmar() && iommu_covers(&out, 0x0519), "a path through a bridge");
    begin(48);
    unit(1, 0xfed90000, 0), unit(1, 0xfed90000, 0), unit(1, 0xfed90123, 0), unit(1, 0, 0);
    tap_ok(dmar() && out.nunits == 1 && out.truncated, "the same unit twice, bases that are none");
    begin(48);
    b2(0), b2(0);
    tap_ok(!dmar() && out.truncated, "an entry of no length ends it");
    begin(48);
    b2(0), b2(200);
    tap_ok(!dmar(), "and one beyond the end");
    tap_ok(!dmar_parse(t, 20, buses, &out), "too short for its head");
    begin(48);
    b2(1), b2(24), b2(0), b2(0), b8(0x2000), b8(0x1000);
    tap_ok(!dmar() && !out.nreserved, "a range that ends before it begins");
}

/* What I/O APICs are tagged with; as QEMU and as machines have it: a device on a bus of its own. */
static void test_dmar_ioapics(void)
{
    begin(48);
    unit(1, 0xfed90000, 16);
    b1(3), b1(8), b2(0), b1(2), b1(0xff), b1(0), b1(0);  /* I/O APIC 2: ff:00.0 */
    b1(3), b1(8), b2(0), b1(9), b1(0xf0), b1(40), b1(0); /* no such device */
    tap_ok(dmar() && out.nioapics == 1 && out.ioapic[0].id == 2 && out.ioapic[0].as == 0xff00,
           "an I/O APIC's tag");
    begin(48);
    unit(1, 0xfed90000, 20 * 8);
    for (unsigned i = 0; i < 20; i++)
        b1(3), b1(8), b2(0), b1(i), b1(0xff), b1(i), b1(0);
    tap_ok(dmar() && out.nioapics == IOMMU_IOAPICS && out.truncated, "more than fit");
}

/* Which mode of the APICs interrupts are remapped in. */
static void test_dmar_xapic(void)
{
    const uint64_t none[2] = {0}, ir[2] = {VTD_ECAP_IR, VTD_ECAP_IR},
                   eim[2] = {VTD_ECAP_IR | VTD_ECAP_EIM, VTD_ECAP_IR | VTD_ECAP_EIM},
                   one_eim[2] = {VTD_ECAP_IR | VTD_ECAP_EIM, VTD_ECAP_IR},
                   one_ir[2] = {VTD_ECAP_IR, VTD_ECAP_EIM};

    for (unsigned flags = 0; flags < 4; flags++) { /* 1: remapping, 2: no x2APIC */
        begin(48);
        t[37] = (uint8_t)flags;
        unit(0, 0xfed90000, 0), unit(1, 0xfed91000, 0);
        tap_ok(dmar() && out.nunits == 2 && !dmar_wants_xapic(&out, none) &&
                   !dmar_wants_xapic(&out, one_ir),
               "nothing is remapped where a unit cannot (flags %u)", flags);
        tap_ok(dmar_wants_xapic(&out, ir) == (flags & 1) &&
                   dmar_wants_xapic(&out, one_eim) == (flags & 1),
               "xAPIC for units without EIM (flags %u)", flags);
        tap_ok(dmar_wants_xapic(&out, eim) == (flags == 3),
               "xAPIC by the firmware's wish (flags %u)", flags);
    }
}

static unsigned block(unsigned type, unsigned id, uint64_t base)
{
    unsigned at = n;

    b1(type), b1(0), b2(0), b2(id), b2(0x40), b8(base), b2(0), b2(0), b2(0), b2(0);
    if (type != 0x10)
        b8(0), b8(0);
    return at;
}
static void block_end(unsigned at)
{
    t[at + 2] = (uint8_t)(n - at);
    t[at + 3] = (uint8_t)((n - at) >> 8);
}

/* In a block of its own size, behind which a read is found. */
static void test_dmar_ends(void)
{
    for (unsigned type = 0; type < 2; type++) {
        begin(48);
        b2(type), b2(4);
        uint8_t *exact = malloc(n);
        memcpy(exact, t, n);
        tap_ok(!dmar_parse(exact, n, buses, &out), "a table that ends with an entry's head");
        free(exact);
    }
}

static void test_ivrs(void)
{
    unsigned at;

    begin(48);
    at = block(0x10, 2, 0xfed80000);
    b1(3), b2(0x0008), b1(0), b1(4), b2(0xfffe), b1(0);
    block_end(at);
    at = block(0x11, 2, 0xfed80000);
    b1(2), b2(0x0300), b1(0);
    b1(0x42), b2(0x0500), b1(0), b1(0), b2(0x0400), b1(0); /* 05:00.0 as 04:00.0 */
    b1(0x48), b2(0), b1(0), b1(0), b2(0x00a0), b1(1);
    block_end(at);
    at = block(0x40, 2, 0xfed80000);
    b1(0xf0), b2(0x0700);
    for (unsigned i = 0; i < 18; i++)
        b1(0);
    b1(3), b1('x'), b1('y'), b1('z');
    b1(2), b2(0x0301), b1(0);
    block_end(at);
    tap_ok(ivrs_parse(t, n, &out) && out.nunits == 1 && !out.truncated,
           "IVRS: three blocks of one unit");
    tap_ok(iommu_covers(&out, 0x0301) && !iommu_covers(&out, 0x0300), "the newest kind counts");
    t[at] = 0x77; /* a kind that nobody knows */
    tap_ok(ivrs_parse(t, n, &out) && iommu_covers(&out, 0x0300), "else the one before it");
    tap_ok(iommu_alias_of(&out, 0x0500) == 0x0400 && iommu_alias_of(&out, 0x0300) == 0x0300,
           "aliases");
    begin(48);
    at = block(0x10, 2, 0xfed80000);
    b1(4), b2(0x0010), b1(0);
    b1(3), b2(0x0020), b1(0);
    block_end(at);
    tap_ok(ivrs_parse(t, n, &out) && out.truncated && !iommu_covers(&out, 0x0020),
           "an end without a start, a start without an end");
    begin(48);
    at = block(0x10, 2, 0xfed80000);
    b1(0xc0), b2(0), b1(0);
    block_end(at);
    tap_ok(ivrs_parse(t, n, &out) && out.truncated, "an entry of unknown length ends the block");
    begin(48);
    at = block(0x10, 2, 0xfed80001);
    block_end(at);
    tap_ok(!ivrs_parse(t, n, &out), "registers that are not aligned");
    begin(48);
    at = block(0x10, 2, 0xfed80000);
    b1(1), b2(0), b1(0);
    block_end(at);
    b1(0x22), b1(0), b2(32), b2(0x0100), b2(0x01ff), b8(0), b8(0x1000000), b8(0x2000);
    b1(0x21), b1(0), b2(32), b2(0x0200), b2(0), b8(0), b8(UINT64_MAX - 4095), b8(0x2000);
    tap_ok(ivrs_parse(t, n, &out) && out.nreserved == 1 && out.truncated,
           "reserved memory, and one that wraps");
    tap_ok(iommu_reserved_for(&out, 0x0180) && !iommu_reserved_for(&out, 0x0200), "for its range");
    begin(48);
    b1(0x10), b1(0), b2(3);
    tap_ok(!ivrs_parse(t, n, &out), "a block shorter than its length");
}

static void test_mcfg(void)
{
    struct pci_window w;

    begin(44);
    b8(0xb0000000), b2(0), b1(0), b1(255), b2(0), b2(0);
    tap_ok(mcfg_parse(t, n, &w) && w.base.v == 0xb0000000 && w.first == 0 && w.last == 255, "MCFG");
    begin(44);
    b8(0xe0000000), b2(1), b1(0), b1(255), b2(0), b2(0);
    b8(0xe0000000), b2(0), b1(9), b1(3), b2(0), b2(0);
    b8(0xe0000123), b2(0), b1(0), b1(3), b2(0), b2(0);
    tap_ok(!mcfg_parse(t, n, &w), "another segment, buses the wrong way, not aligned");
    b8(0x800000000), b2(0), b1(0), b1(63), b2(0), b2(0);
    tap_ok(mcfg_parse(t, n, &w) && w.base.v == 0x800000000 && w.last == 63, "above 4 GiB");
    tap_ok(!mcfg_parse(t, n - 1, &w) && !mcfg_parse(t, 10, &w), "cut off");
}

/* --- page tables --- */
static uint64_t leaf(uint64_t h, unsigned level)
{
    return h | 1 | level << 1;
}
static uint64_t link_(uint64_t h, unsigned level)
{
    return h | level << 1;
}

/* What the tables say of an address: ~0 nothing. */
static uint64_t walk(const struct iommu_format *f, hpa_t root, uint64_t a)
{
    uint64_t e = link_(root.v, f->levels);

    for (unsigned level = f->levels;; level--) {
        e = ((uint64_t *)port_ptr(hpa(e & ~PAGE_MASK)))[index_of(a, level)];
        if (!e)
            return ~0ull;
        if (e & 1)
            return (e & ~PAGE_MASK) | (a & (level == 2 ? REGION_MASK : PAGE_MASK));
    }
}

static void test_tables(void)
{
    static uint32_t granule[4096];
    const struct p2m p = {.granule = granule, .ngranules = 4096};
    unsigned bad = 0;
    hpa_t root;

    for (unsigned i = 0; i < 4096; i++)
        granule[i] = i % 7 == 3 || (i > 600 && i < 2060) ? P2M_NONE : (i * 37 + 5) % 4096;
    for (unsigned k = 0; k < 4; k++) {
        const struct iommu_format f = {3 + (k & 1), k & 2, leaf, link_};
        fake_reset();
        fake_arena(0x1000000, 64 << 20);
        phys_reset();
        if (phys_add(hpa(0x1000000), 64 << 20) != HV_OK ||
            iommu_tables_build(&p, &f, &root) != HV_OK)
            bad++;
        for (uint64_t a = 0; !bad && a < 4200ull << REGION_SHIFT; a += 0x1ff000) {
            hpa_t h;
            uint64_t want = p2m_lookup(&p, gpa(a), &h) ? h.v : ~0ull;
            bad += walk(&f, root, a) != want;
        }
    }
    tap_eq(bad, 0, "I/O tables have the map's RAM and nothing else, 3 and 4 levels, both sizes");
    const struct p2m big = {.granule = granule, .ngranules = (1ull << 18) + 1};
    const struct iommu_format f3 = {3, true, leaf, link_};
    tap_eq(iommu_tables_build(&big, &f3, &root), HV_RANGE, "more than 3 levels reach");
}

int main(void)
{
    test_dmar();
    test_dmar_ioapics();
    test_dmar_xapic();
    test_dmar_ends();
    test_ivrs();
    test_mcfg();
    test_tables();
    fake_reset();
    return tap_done();
}
