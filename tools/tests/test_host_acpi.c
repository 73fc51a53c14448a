/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader of the machine's ACPI tables: above and below 4 GiB, damaged, absent; finding one
 * table before the rest is read. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
/* Pure: compiled here, since the machine's folder is not in the host library. */
#include "arch-x86/plat/acpi.c"

#define GIB (1ull << 30)
#define RSDP 0xf0010ull

struct cpu_features cpu_features;
static uint64_t reach;
static char *machine;

uint64_t paging_identity_end(void)
{
    return reach;
}

static void checksum(char *t, size_t n, size_t where)
{
    t[where] = 0;
    for (size_t i = 0; i < n; i++)
        if (i != where)
            t[where] = (char)(t[where] - t[i]);
}

static void table(uint64_t where, const char *sig, const void *body, uint32_t n)
{
    struct acpi_header h = {.length = (uint32_t)sizeof(h) + n};
    memcpy(h.sig, sig, 4);
    memcpy(h.oem, "TESTER", 6);
    memcpy(machine + where, &h, sizeof(h));
    memcpy(machine + where + sizeof(h), body, n);
    checksum(machine + where, h.length, offsetof(struct acpi_header, checksum));
}

/* RSDP in low memory, XSDT and tables from `base` on. */
static void build(uint64_t base)
{
    struct {
        uint32_t lapic, flags;
        struct acpi_madt_lapic cpu[3];
        struct acpi_madt_ioapic io;
    } __attribute__((packed)) madt = {.lapic = 0xfee00000,
                                      .cpu = {{0, 8, 0, 4, 1}, {0, 8, 1, 5, 1}, {0, 8, 2, 6, 0}},
                                      .io = {1, 12, 0, 0, 0xfec00000, 0}};
    uint64_t entries[2] = {base + 0x1000, base + 0x2000};
    struct acpi_rsdp r = {.sig = "RSD PTR", .revision = 2, .length = 36, .xsdt = base};

    memset(machine + RSDP, 0, 64);
    r.sig[7] = ' ';
    memcpy(machine + RSDP, &r, sizeof(r));
    checksum(machine + RSDP, ACPI_RSDP_V1_BYTES, offsetof(struct acpi_rsdp, checksum));
    table(base, "XSDT", entries, sizeof(entries));
    table(base + 0x1000, "SPCR", "0123456789", 10);
    table(base + 0x2000, "APIC", &madt, sizeof(madt));
    memset(&acpi_info, 0, sizeof(acpi_info));
    fake_console_clear();
}

int main(void)
{
    uint32_t len;

    fake_reset();
    machine = fake_arena(0, 6 * GIB);
    reach = 6 * GIB;
    build(GIB);
    acpi_init(hpa(RSDP), true);
    tap_ok(acpi_info.found && acpi_info.ncpus == 2 && acpi_info.nioapics == 1 &&
               acpi_info.apic_id[0] == 4 && acpi_info.apic_id[1] == 5,
           "two of three processors are enabled");
    build(GIB);
    acpi_init(hpa(0), false);
    tap_eq(acpi_info.ncpus, 2, "a BIOS's RSDP is found by scanning");
    build(GIB);
    acpi_init(hpa(0), true);
    tap_ok(!acpi_info.found && strstr(fake_console(), "multiboot2 tags 14, 15"),
           "under UEFI it is not scanned for, and the log says what to do");
    build(5 * GIB);
    acpi_init(hpa(RSDP), true);
    tap_eq(acpi_info.ncpus, 2, "tables above 4 GiB");
    tap_ok(acpi_find(hpa(RSDP), true, "SPCR", &len) == machine + 5 * GIB + 0x1000 && len == 46,
           "one table alone");
    tap_ok(!acpi_find(hpa(RSDP), true, "HPET", &len) && len == 0, "one that is not there");
    build(5 * GIB);
    reach = 4 * GIB;
    acpi_init(hpa(RSDP), true);
    tap_ok(!acpi_info.found, "... are left alone where they cannot be reached");
    reach = 6 * GIB;
    build(GIB);
    machine[GIB + 0x2000 + 50] ^= 1;
    acpi_init(hpa(RSDP), true);
    tap_ok(acpi_info.ncpus == 0 && strstr(fake_console(), "APIC has a bad checksum"),
           "a damaged MADT is not believed");
    return tap_done();
}
