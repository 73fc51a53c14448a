/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of the ACPI reader (arch-x86/plat/acpi.c): the input is a list of tables, put into a 4 GiB
 * machine with good checksums and a root that names them, or with damage on purpose. What lies
 * behind a table must not be read as part of it. */
#include "arch-x86/plat/acpi.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/paging.h"
#include "hv/base/log.h"
#include "tools/tests/fake/fake.h"
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MACHINE (1ull << 32)
#define TABLES 24
#define SLOT 0x3000ull         /* one table each */
#define SLOTS_AT 0x00400000ull /* BIOS memory of this machine */
#define ROOT_AT 0x00200000ull
#define RSDP_AT 0xf0010ull
#define FLAG_SCAN BIT(0) /* no RSDP given: it is looked for */
#define FLAG_XSDT BIT(1)
#define FLAG_DAMAGE BIT(2) /* lengths, checksums and addresses as in the input */
#define FLAG_UEFI BIT(3)

struct cpu_features cpu_features = {.phys_bits = 40};
static char *machine;

uint64_t paging_identity_end(void)
{
    return MACHINE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_acpi: %s\n", what);
    abort();
}

static void set_checksum(char *at, size_t n, size_t where)
{
    uint8_t sum = 0;
    at[where] = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + (uint8_t)at[i]);
    at[where] = (char)-sum;
}

/* A table of `n` bytes behind its header; the bytes behind it cannot be read. */
static void put_table(uint64_t where, const char *sig, const uint8_t *body, size_t n, bool damage)
{
    struct acpi_header h = {.revision = 1};
    char *t = machine + where;
    memcpy(h.sig, sig, 4);
    h.length = (uint32_t)(sizeof(h) + n);
    if (damage && n >= 4)
        memcpy(&h.length, body, 4);
    memcpy(h.oem, "FUZZED", 6);
    memcpy(t, &h, sizeof(h));
    memcpy(t + sizeof(h), body, n);
    if (!damage)
        set_checksum(t, h.length, offsetof(struct acpi_header, checksum));
}

/* Tables out of the input: one byte of kind, two of length, the body. Returns how many. */
static unsigned put_tables(const uint8_t *data, size_t size, bool damage, size_t *lengths)
{
    static const char *const kinds[] = {"APIC", "FACP", "DSDT", "SSDT",
                                        "APIC", "FACP", "HPET", "SSDT"};
    unsigned n = 0;
    while (size >= 3 && n < TABLES) {
        size_t len = (data[1] | (size_t)data[2] << 8) % (SLOT - 64);
        const char *kind = kinds[data[0] & 7];
        uint8_t body[SLOT];
        data += 3, size -= 3;
        len = len < size ? len : size;
        memcpy(body, data, len);
        /* The DSDT is named by the FADT: low bits of the field choose the slot. */
        for (size_t f = 0; !damage && kind[0] == 'F' && f < 2; f++) {
            size_t field =
                (f ? offsetof(struct acpi_fadt, x_dsdt) : offsetof(struct acpi_fadt, dsdt)) -
                sizeof(struct acpi_header);
            uint64_t where = SLOTS_AT + (body[field < len ? field : 0] % TABLES) * SLOT;
            if (field + (f ? 8 : 4) <= len)
                memcpy(body + field, &where, f ? 8 : 4);
        }
        put_table(SLOTS_AT + n * SLOT, kind, body, len, damage);
        lengths[n++] = len;
        data += len, size -= len;
    }
    return n;
}

static void put_root(unsigned n, uint8_t flags)
{
    uint8_t body[TABLES * 8];
    size_t width = flags & FLAG_XSDT ? 8 : 4;
    struct acpi_rsdp r = {.revision = flags & FLAG_XSDT ? 2 : 0, .rsdt = (uint32_t)ROOT_AT};
    for (unsigned i = 0; i < n; i++) {
        uint64_t where = SLOTS_AT + i * SLOT;
        memcpy(body + i * width, &where, width);
    }
    put_table(ROOT_AT, width == 8 ? "XSDT" : "RSDT", body, n * width, false);
    memcpy(r.sig, "RSD PTR ", 8);
    r.xsdt = flags & FLAG_XSDT ? ROOT_AT : 0;
    r.length = sizeof(r);
    memcpy(machine + RSDP_AT, &r, sizeof(r));
    set_checksum(machine + RSDP_AT, ACPI_RSDP_V1_BYTES, offsetof(struct acpi_rsdp, checksum));
}

static void check_result(void)
{
    const struct acpi_info *a = &acpi_info;
    check(a->source != NULL, "no source");
    check(a->ncpus <= ACPI_MAX_CPUS && a->nioapics <= ACPI_MAX_IOAPICS, "too many");
    for (unsigned i = 0; i < a->ncpus; i++)
        for (unsigned j = 0; j < i; j++)
            check(a->apic_id[i] != a->apic_id[j], "a processor twice");
    check(a->found || (!a->has_s5 && !a->ncpus), "facts out of nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t lengths[TABLES] = {0};
    if (size < 2)
        return 0;
    if (!machine) {
        fake_reset();
        machine = fake_arena(0, MACHINE);
        log_set_level(LOG_ERR);
    }
    uint8_t flags = data[0];
    bool damage = flags & FLAG_DAMAGE;
    unsigned n = put_tables(data + 1, size - 1, damage, lengths);
    put_root(n, flags);
    for (unsigned i = 0; !damage && i < n; i++) {
        char *slot = machine + SLOTS_AT + i * SLOT;
        size_t used = sizeof(struct acpi_header) + lengths[i];
        ASAN_POISON_MEMORY_REGION(slot + used, SLOT - used);
    }
    memset(&acpi_info, 0, sizeof(acpi_info));
    acpi_init(hpa(flags & FLAG_SCAN ? 0 : RSDP_AT), flags & FLAG_UEFI);
    check_result();
    ASAN_UNPOISON_MEMORY_REGION(machine + SLOTS_AT, n * SLOT);
    for (unsigned i = 0; i < n; i++)
        memset(machine + SLOTS_AT + i * SLOT, 0, sizeof(struct acpi_header) + lengths[i]);
    memset(machine + ROOT_AT, 0, sizeof(struct acpi_header) + TABLES * 8);
    fake_console_clear();
    return 0;
}
