/* SPDX-License-Identifier: BSD-2-Clause */
/* The ACPI tables once more as fw_cfg files, for firmware that runs as the guest: the tables, the
 * RSDP, and a script that says which pointers and checksums to mend when they are placed (the
 * commands of QEMU's hw/acpi/bios-linker-loader.c). Tested by tools/tests/test_acpi_fwcfg.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/tables/tables.h"

#define TABLES "etc/acpi/tables"
#define RSDP "etc/acpi/rsdp"
#define LOADER "etc/table-loader"
#define TABLES_MAX 8192u
#define RSDP_BYTES 36u
#define RSDP_V1_BYTES 20u
#define HEADER_BYTES 36u
#define HEADER_CHECKSUM 9u
#define COMMAND_BYTES 128u
#define COMMANDS_MAX 64u
#define NAME_BYTES 56u

enum command { ALLOCATE = 1, ADD_POINTER, ADD_CHECKSUM };
enum zone { ZONE_HIGH = 1, ZONE_FSEG };

static struct fw_files {
    uint8_t tables[TABLES_MAX], rsdp[RSDP_BYTES];
    uint8_t script[COMMANDS_MAX * COMMAND_BYTES];
    size_t script_len;
    uint64_t base; /* where the tables lie in guest RAM */
} of_vm[VM_MAX], *fw; /* the files stay where they are while the VM runs; fw: the one being made */

static uint64_t get(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

/* The next command; NULL: no room, which the caller finds out by the length. */
static uint8_t *command(enum command kind)
{
    size_t at = fw->script_len;
    fw->script_len += COMMAND_BYTES;
    if (fw->script_len > sizeof(fw->script))
        return NULL;
    fw->script[at] = (uint8_t)kind;
    return fw->script + at + 4;
}

static void put_name(uint8_t *to, const char *name)
{
    memcpy(to, name, strlen(name));
}

static void allocate(const char *file, uint32_t align, enum zone zone)
{
    uint8_t *c = command(ALLOCATE);
    if (!c)
        return;
    put_name(c, file);
    memcpy(c + NAME_BYTES, &align, 4);
    c[NAME_BYTES + 4] = (uint8_t)zone;
}

/* A field of n bytes that points into the tables: becomes an offset, to which firmware adds where
 * it put them. */
static void pointer(const char *file, uint8_t *blob, uint32_t offset, uint8_t n)
{
    uint8_t *c = command(ADD_POINTER);
    uint64_t value = get(blob + offset, n);
    if (!c)
        return;
    value -= fw->base;
    memcpy(blob + offset, &value, n);
    put_name(c, file);
    put_name(c + NAME_BYTES, TABLES);
    memcpy(c + 2 * NAME_BYTES, &offset, 4);
    c[2 * NAME_BYTES + 4] = n;
}

static void checksum(const char *file, uint8_t *blob, uint32_t field, uint32_t start, uint32_t len)
{
    uint8_t *c = command(ADD_CHECKSUM);
    if (!c)
        return;
    blob[field] = 0;
    put_name(c, file);
    memcpy(c + NAME_BYTES, &field, 4);
    memcpy(c + NAME_BYTES + 4, &start, 4);
    memcpy(c + NAME_BYTES + 8, &len, 4);
}

/* RSDT or XSDT at `at`, entries of n bytes. */
static void root(uint32_t at, uint8_t n)
{
    uint32_t len = (uint32_t)get(fw->tables + at + 4, 4);
    for (uint32_t i = HEADER_BYTES; i + n <= len; i += n)
        pointer(TABLES, fw->tables, at + i, n);
    checksum(TABLES, fw->tables, at + HEADER_CHECKSUM, at, len);
}

static void fadt(uint32_t at)
{
    static const struct {
        uint8_t offset, bytes;
    } field[] = {{36, 4}, {40, 4}, {132, 8}, {140, 8}}; /* FACS, DSDT, X_FACS, X_DSDT */
    uint32_t len = (uint32_t)get(fw->tables + at + 4, 4);
    for (size_t i = 0; i < ARRAY_SIZE(field); i++)
        if (get(fw->tables + at + field[i].offset, field[i].bytes)) /* 0 is no pointer */
            pointer(TABLES, fw->tables, at + field[i].offset, field[i].bytes);
    checksum(TABLES, fw->tables, at + HEADER_CHECKSUM, at, len);
}

enum hv_err vm_acpi_fwcfg(struct vm *vm, gpa_t base, uint64_t bytes)
{
    const uint8_t *ram = p2m_ptr(&vm->p2m, base);

    fw = &of_vm[vm->id];
    if (!ram || bytes > sizeof(fw->tables))
        return HV_NOMEM;
    memset(fw, 0, sizeof(*fw));
    fw->base = base.v;
    memcpy(fw->tables, ram, bytes);
    memcpy(fw->rsdp, ram, sizeof(fw->rsdp)); /* it comes first */
    uint32_t rsdt = (uint32_t)(get(fw->rsdp + 16, 4) - base.v);
    uint32_t xsdt = (uint32_t)(get(fw->rsdp + 24, 8) - base.v);
    uint32_t first = (uint32_t)(get(fw->tables + xsdt + HEADER_BYTES, 8) - base.v);

    allocate(TABLES, 64, ZONE_HIGH);
    allocate(RSDP, 16, ZONE_FSEG);
    fadt(first);
    root(rsdt, 4);
    root(xsdt, 8);
    pointer(RSDP, fw->rsdp, 16, 4);
    pointer(RSDP, fw->rsdp, 24, 8);
    checksum(RSDP, fw->rsdp, 8, 0, RSDP_V1_BYTES);
    checksum(RSDP, fw->rsdp, 32, 0, RSDP_BYTES);
    if (fw->script_len > sizeof(fw->script))
        return HV_NOMEM;
    vpc_fw_file(vm->pc, RSDP, fw->rsdp, sizeof(fw->rsdp));
    vpc_fw_file(vm->pc, TABLES, fw->tables, bytes);
    vpc_fw_file(vm->pc, LOADER, fw->script, fw->script_len);
    return HV_OK;
}
