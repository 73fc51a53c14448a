/* SPDX-License-Identifier: BSD-2-Clause */
/* The ACPI files of fw_cfg, placed as firmware places them: every table arrives with a right
 * checksum, and equals the one in guest RAM but for its pointers. */
#include "hv/vm/tables/tables.h"
#include "tools/tests/test_vdev_rig.h"

#define BASE 0x7f001240u /* where this firmware puts the tables */
#define RSDP_AT 0xf5a30u

static uint32_t granules[16];
static uint8_t *ram;
static struct vm vm;

struct file {
    char name[57];
    uint32_t len, at;
    uint8_t data[9000];
};
static struct file files[8];
static unsigned nfiles;

static uint32_t be(unsigned n)
{
    uint32_t v = 0;
    while (n--)
        v = v << 8 | inb(0x511);
    return v;
}

static void read_files(void)
{
    uint32_t key[8];
    (void)rig_io(0, false, 0x510, 2, true, 0x19);
    nfiles = be(4);
    for (unsigned i = 0; i < nfiles && i < 8; i++) {
        files[i].len = be(4);
        key[i] = be(2);
        (void)be(2);
        for (unsigned k = 0; k < 56; k++)
            files[i].name[k] = (char)inb(0x511);
    }
    for (unsigned i = 0; i < nfiles && i < 8; i++) {
        (void)rig_io(0, false, 0x510, 2, true, key[i]);
        for (uint32_t k = 0; k < files[i].len && k < sizeof(files[i].data); k++)
            files[i].data[k] = inb(0x511);
    }
}

static struct file *file(const char *name)
{
    for (unsigned i = 0; i < nfiles && i < 8; i++)
        if (!strcmp(files[i].name, name))
            return &files[i];
    tap_ok(false, "file %s", name);
    exit(1);
}

static uint64_t get(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    unsigned s = 0;
    while (n--)
        s += *p++;
    return (uint8_t)s;
}

static void run_script(const struct file *script)
{
    unsigned pointers = 0, sums = 0;
    tap_eq(script->len % 128, 0, "whole commands");
    for (const uint8_t *c = script->data; c < script->data + script->len; c += 128) {
        struct file *f = file((const char *)c + 4);
        uint64_t v;
        switch (get(c, 4)) {
        case 1:
            f->at = c[64] == 2 ? RSDP_AT : BASE;
            tap_ok(f->at % get(c + 60, 4) == 0, "%s is aligned", f->name);
            break;
        case 2:
            v = get(f->data + get(c + 116, 4), c[120]) + file((const char *)c + 60)->at;
            memcpy(f->data + get(c + 116, 4), &v, c[120]);
            pointers++;
            break;
        case 3:
            f->data[get(c + 60, 4)] -= sum(f->data + get(c + 64, 4), get(c + 68, 4));
            sums++;
            break;
        default:
            tap_ok(false, "command %u", (unsigned)get(c, 4));
        }
    }
    tap_eq(pointers, 9, "pointers");
    tap_eq(sums, 5, "checksums");
}

/* The table at gpa p in what was placed, and its counterpart in RAM. */
static const uint8_t *placed(uint64_t p)
{
    const struct file *t = file("etc/acpi/tables");
    bool inside = p >= BASE && p < BASE + t->len;
    tap_ok(inside, "0x%" PRIx64 " points into the tables", p);
    return inside ? t->data + (p - BASE) : t->data;
}

static void check_table(uint64_t p, const char *signature)
{
    const uint8_t *t = placed(p), *r = ram + 0xe0000 + (p - BASE);
    uint32_t len = (uint32_t)get(t + 4, 4);
    tap_ok(!memcmp(t, signature, 4) && !memcmp(r, t, 8), "%s", signature);
    if (strcmp(signature, "FACS") != 0)
        tap_eq(sum(t, len), 0, "its checksum");
    tap_eq(sum(r, strcmp(signature, "FACS") ? len : 0), 0, "and that of the one in RAM");
}

static void check(uint32_t ncpus)
{
    gpa_t rsdp_gpa;
    rig_init(1);
    memset(&vm, 0, sizeof(vm));
    ram = fake_arena(0, (uint64_t)ARRAY_SIZE(granules) << REGION_SHIFT);
    for (uint32_t i = 0; i < ARRAY_SIZE(granules); i++)
        granules[i] = i;
    vm.p2m = (struct p2m){.granule = granules, .ngranules = ARRAY_SIZE(granules)};
    vm.ncpus = ncpus;
    vm.ram_bytes = vm.ram_low_end = (uint64_t)ARRAY_SIZE(granules) << REGION_SHIFT;
    vm.pc = &pc;
    memset(files, 0, sizeof(files));
    tap_ok(vm_acpi_build(&vm, &rsdp_gpa) == HV_OK, "tables for %u CPUs", ncpus);
    read_files();
    tap_eq(nfiles, 4, "files");
    run_script(file("etc/table-loader"));
    const uint8_t *rsdp = file("etc/acpi/rsdp")->data;
    tap_ok(!memcmp(rsdp, "RSD PTR ", 8) && !sum(rsdp, 20) && !sum(rsdp, 36), "RSDP");
    const uint8_t *rsdt = placed(get(rsdp + 16, 4)), *xsdt = placed(get(rsdp + 24, 8));
    check_table(get(rsdp + 16, 4), "RSDT");
    check_table(get(rsdp + 24, 8), "XSDT");
    tap_eq(get(rsdt + 36, 4), get(xsdt + 36, 8), "both name the FADT");
    check_table(get(xsdt + 36, 8), "FACP");
    check_table(get(xsdt + 44, 8), "APIC");
    const uint8_t *fadt = placed(get(xsdt + 36, 8));
    check_table(get(fadt + 36, 4), "FACS");
    check_table(get(fadt + 40, 4), "DSDT");
    tap_eq(get(fadt + 140, 8), get(fadt + 40, 4), "X_DSDT");
    tap_eq(get(fadt + 132, 8), 0, "X_FACS stays nothing");
}

int main(void)
{
    check(1);
    check(HV_MAX_CPUS);
    return tap_done();
}
