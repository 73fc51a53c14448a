/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the ACPI tables and reads MADT, FADT and \_S5 with the distrust firmware deserves.
 * Tested by tools/tests/test_host_acpi.c, tools/tests/fuzz_acpi.c and every boot. */
#include "arch-x86/plat/acpi.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/paging.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/machine.h"

#define TABLE_MAX (16u << 20)
#define LIMIT paging_identity_end()
#define EBDA_SEGMENT 0x40e
#define LAPIC_DEFAULT 0xfee00000u

struct acpi_info acpi_info;

static const char *at(uint64_t where)
{
    return port_ptr(hpa(where));
}

static bool sums_to_zero(const char *p, size_t n)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + (uint8_t)p[i]);
    return sum == 0;
}

static bool rsdp_valid(const char *p)
{
    return memcmp(p, "RSD PTR ", 8) == 0 && sums_to_zero(p, ACPI_RSDP_V1_BYTES);
}

/* ACPI 6.4, 5.2.5.1 "Finding the RSDP on IA-PC Systems". */
static uint64_t rsdp_scan(void)
{
    uint16_t segment;
    memcpy(&segment, at(EBDA_SEGMENT), sizeof(segment));
    uint64_t ebda = (uint64_t)segment << 4;

    if (ebda >= 0x400 && ebda < 0xa0000)
        for (uint64_t p = ebda; p < ebda + 1024; p += 16)
            if (rsdp_valid(at(p)))
                return p;
    for (uint64_t p = 0xe0000; p < 0x100000; p += 16)
        if (rsdp_valid(at(p)))
            return p;
    return 0;
}

/* The table at `where` if it is one, can be reached and its checksum holds; else NULL. */
static const char *table_at(uint64_t where, const char *sig)
{
    struct acpi_header h;

    if (where == 0 || where >= LIMIT - sizeof(h))
        return NULL;
    memcpy(&h, at(where), sizeof(h));
    if (sig && memcmp(h.sig, sig, 4) != 0)
        return NULL;
    if (h.length < sizeof(h) || h.length > TABLE_MAX || where + h.length > LIMIT)
        return NULL;
    if (!sums_to_zero(at(where), h.length)) {
        log_warn("acpi", "table %.4s has a bad checksum: ignored", h.sig);
        return NULL;
    }
    return at(where);
}

static uint32_t table_length(const char *t)
{
    struct acpi_header h;
    memcpy(&h, t, sizeof(h));
    return h.length;
}

struct root {
    const char *table;
    size_t width; /* 8: XSDT, 4: RSDT */
};

/* The n-th table of signature `sig` under the root. */
static const char *table_find(const struct root *r, const char *sig, unsigned n)
{
    uint32_t len = table_length(r->table);
    for (uint32_t off = sizeof(struct acpi_header); len - off >= r->width;
         off += (uint32_t)r->width) {
        uint64_t where = 0;
        memcpy(&where, r->table + off, r->width);
        const char *t = where && where < LIMIT - 4 && memcmp(at(where), sig, 4) == 0
                            ? table_at(where, sig)
                            : NULL;
        if (t && n-- == 0)
            return t;
    }
    return NULL;
}

static void add_cpu(uint32_t id, uint32_t flags)
{
    struct acpi_info *a = &acpi_info;
    if (!(flags & ACPI_MADT_ENABLED))
        return;
    for (unsigned i = 0; i < a->ncpus; i++)
        if (a->apic_id[i] == id)
            return;
    if (a->ncpus < ACPI_MAX_CPUS)
        a->apic_id[a->ncpus++] = id;
}

static void madt_entry(const char *e, uint8_t type, uint8_t len)
{
    struct acpi_info *a = &acpi_info;
    struct acpi_madt_lapic l;
    struct acpi_madt_x2apic x;
    struct acpi_madt_ioapic io;
    struct acpi_madt_override o;
    struct acpi_madt_lapic_addr la;

    if (type == ACPI_MADT_LAPIC && len >= sizeof(l)) {
        memcpy(&l, e, sizeof(l));
        add_cpu(l.apic_id, l.flags);
    } else if (type == ACPI_MADT_X2APIC && len >= sizeof(x)) {
        memcpy(&x, e, sizeof(x));
        add_cpu(x.apic_id, x.flags);
    } else if (type == ACPI_MADT_IOAPIC && len >= sizeof(io)) {
        memcpy(&io, e, sizeof(io));
        if (a->nioapics < ACPI_MAX_IOAPICS) {
            a->ioapic[a->nioapics].addr = io.addr;
            a->ioapic[a->nioapics].id = io.id;
            a->ioapic[a->nioapics++].gsi_base = io.gsi_base;
        }
    } else if (type == ACPI_MADT_OVERRIDE && len >= sizeof(o)) {
        memcpy(&o, e, sizeof(o));
        if (o.bus == 0 && o.irq < ACPI_ISA_IRQS) {
            a->isa_gsi[o.irq] = o.gsi;
            a->isa_flags[o.irq] = o.flags;
        }
    } else if (type == ACPI_MADT_LAPIC_ADDR && len >= sizeof(la)) {
        memcpy(&la, e, sizeof(la));
        a->lapic = la.addr;
    }
}

static void parse_madt(const char *t)
{
    struct acpi_madt m;
    uint32_t len = table_length(t);

    if (len < sizeof(m))
        return;
    memcpy(&m, t, sizeof(m));
    acpi_info.lapic = m.lapic_addr;
    acpi_info.source = "MADT";
    for (uint32_t off = sizeof(m); len - off >= 2;) {
        uint8_t type = (uint8_t)t[off], n = (uint8_t)t[off + 1];
        if (n < 2 || n > len - off) {
            log_warn("acpi", "MADT: damaged entry at %u, the rest is ignored", off);
            break;
        }
        madt_entry(t + off, type, n);
        off += n;
    }
}

/* An integer constant of AML (ACPI 6.4, 20.2.3 "Data Objects Encoding"); advances *p. */
static bool aml_int(const uint8_t **p, const uint8_t *end, uint8_t *out)
{
    const uint8_t *q = *p;
    size_t n = end - q >= 1 ? q[0] == 0x0a ? 2 : q[0] == 0x0b ? 3 : q[0] == 0x0c ? 5 : 1 : 9;
    if ((size_t)(end - q) < n)
        return false;
    if (n == 1 && q[0] > 1)
        return false; /* neither ZeroOp nor OneOp */
    *out = n == 1 ? q[0] : q[1];
    *p = q + n;
    return true;
}

/* Name(\_S5, Package{a, b, ...}) by its bytes: NameOp, path, PackageOp, length, count, elements. */
static bool parse_s5(const char *t)
{
    const uint8_t *p = (const uint8_t *)t, *end = p + table_length(t);

    for (p += sizeof(struct acpi_header); end - p > 8; p++) {
        if (memcmp(p, "_S5_", 4) != 0 || p[4] != 0x12)
            continue;
        if (p[-1] != 0x08 && !(p[-1] == '\\' && p[-2] == 0x08))
            continue;
        const uint8_t *q = p + 5;
        q += 1 + (*q >> 6); /* package length: 1 to 4 bytes */
        if (end - q < 2 || *q < 1)
            continue;
        q++;
        acpi_info.slp_typ_b = 0;
        if (!aml_int(&q, end, &acpi_info.slp_typ_a))
            continue;
        if (!aml_int(&q, end, &acpi_info.slp_typ_b))
            acpi_info.slp_typ_b = acpi_info.slp_typ_a;
        return true;
    }
    return false;
}

static void parse_fadt(const struct root *r, const char *t)
{
    struct acpi_info *a = &acpi_info;
    struct acpi_fadt f;
    uint32_t len = table_length(t);
    const char *dsdt;

    if (len < ACPI_FADT_V1_BYTES)
        return;
    memset(&f, 0, sizeof(f));
    memcpy(&f, t, len < sizeof(f) ? len : sizeof(f));
    a->hw_reduced = f.flags & ACPI_FADT_HW_REDUCED;
    a->century = f.century;
    if (!a->hw_reduced) {
        a->pm1a_cnt = (uint16_t)f.pm1a_cnt;
        a->pm1b_cnt = (uint16_t)f.pm1b_cnt;
        a->pm_tmr = (uint16_t)f.pm_tmr;
        a->smi_cmd = (uint16_t)f.smi_cmd;
        a->acpi_enable = f.acpi_enable;
    }
    if (f.flags & ACPI_FADT_RESET_SUP) {
        a->reset = f.reset;
        a->reset_value = f.reset_value;
    }
    dsdt = table_at(f.x_dsdt, "DSDT");
    if (!dsdt)
        dsdt = table_at(f.dsdt, "DSDT");
    a->has_s5 = dsdt && parse_s5(dsdt);
    for (unsigned n = 0; !a->has_s5 && n < 32; n++) {
        const char *ssdt = table_find(r, "SSDT", n);
        if (!ssdt)
            break;
        a->has_s5 = parse_s5(ssdt);
    }
}

static bool root_find(uint64_t where, struct root *r)
{
    struct acpi_rsdp p;

    if (where == 0 || where > LIMIT - sizeof(p) || !rsdp_valid(at(where)))
        return false;
    memcpy(&p, at(where), sizeof(p));
    r->table = p.revision >= 2 ? table_at(p.xsdt, "XSDT") : NULL;
    r->width = 8;
    if (!r->table) {
        r->table = table_at(p.rsdt, "RSDT");
        r->width = 4;
    }
    return r->table != NULL;
}

const char *acpi_find(hpa_t rsdp, bool uefi, const char *sig, uint32_t *len)
{
    struct root r;
    const char *t = NULL;

    if (rsdp.v == 0 && !uefi)
        rsdp.v = rsdp_scan();
    if (root_find(rsdp.v, &r))
        t = table_find(&r, sig, 0);
    *len = t ? table_length(t) : 0;
    return t;
}

void acpi_init(hpa_t rsdp, bool uefi)
{
    struct acpi_info *a = &acpi_info;
    struct root r;
    struct acpi_header h;
    const char *t;

    a->lapic = LAPIC_DEFAULT;
    a->source = "the boot processor only";
    for (unsigned i = 0; i < ACPI_ISA_IRQS; i++)
        a->isa_gsi[i] = i;
    if (rsdp.v == 0 && !uefi)
        rsdp.v = rsdp_scan();
    if (!root_find(rsdp.v, &r)) {
        log_err("acpi", "no usable tables: one CPU, no power-off. %s",
                uefi ? "The loader gave no RSDP (multiboot2 tags 14, 15): use a current GRUB"
                     : "Enable ACPI in the firmware setup");
        return;
    }
    a->found = true;
    memcpy(&h, r.table, sizeof(h));
    /* QEMU's tables say so too, but its processors have the hypervisor bit. */
    a->bochs = memcmp(h.oem, "BOCHS", 5) == 0 && !cpu_features.hypervisor;
    t = table_find(&r, "APIC", 0);
    if (t)
        parse_madt(t);
    else
        log_err("acpi", "no MADT: one CPU only");
    t = table_find(&r, "FACP", 0);
    if (t)
        parse_fadt(&r, t);
    log_info("acpi", "%.6s %.8s: %u CPUs from %s, %u I/O APICs, S5 %s, PM timer %s", h.oem,
             h.oem_table, a->ncpus ? a->ncpus : 1, a->source, a->nioapics,
             a->has_s5 ? "found" : "not found", a->pm_tmr ? "found" : "not found");
}
