/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI tables: found from the RSDP as an operating system does it, checksums, the facts they state,
 * and iasl's disassembler accepting each of them without a complaint. */
#include "hv/port/machine.h"
#include "hv/vdev/pci/pci.h"
#include "hv/vm/tables/tables.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include <unistd.h>

static uint32_t granules[16];
static uint8_t *ram;
static struct vm vm;

static void build(uint32_t ncpus, struct vpc *pc, gpa_t *rsdp)
{
    memset(&vm, 0, sizeof(vm));
    vm.pc = pc;
    if (!pc) /* else its maker did */
        fake_reset();
    ram = fake_arena(0, sizeof(granules) / sizeof(granules[0]) << REGION_SHIFT);
    for (uint32_t i = 0; i < ARRAY_SIZE(granules); i++)
        granules[i] = i;
    vm.p2m = (struct p2m){.granule = granules, .ngranules = ARRAY_SIZE(granules)};
    vm.ncpus = ncpus;
    vm.ram_bytes = vm.ram_low_end = (uint64_t)ARRAY_SIZE(granules) << REGION_SHIFT;
    tap_eq(vm_acpi_build(&vm, rsdp), HV_OK, "tables are built");
}

static uint32_t get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}
static bool sum_is_0(const uint8_t *p, size_t n)
{
    unsigned s = 0;
    for (size_t i = 0; i < n; i++)
        s += p[i];
    return (s & 0xff) == 0;
}

/* Writes one table to a file and runs iasl -d on it; true if it disassembles without error. */
static bool iasl_accepts(const uint8_t *t, const char *dir)
{
    char path[256], cmd[700], line[512];
    bool complaint = false;
    snprintf(path, sizeof(path), "%s/%.4s.dat", dir, (const char *)t);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(t, 1, get32(t + 4), f) != get32(t + 4) || fclose(f))
        return false;
    snprintf(cmd, sizeof(cmd), "iasl -d -p %s/%.4s %s 2>&1", dir, (const char *)t, path);
    f = popen(cmd, "r");
    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) {
        bool bad = strstr(line, "rror") || strstr(line, "arning") || strstr(line, "nvalid");
        if (bad)
            tap_note("iasl: %s", line);
        complaint |= bad;
    }
    if (pclose(f) != 0)
        return false;
    snprintf(path, sizeof(path), "%s/%.4s.dsl", dir, (const char *)t);
    return !complaint && access(path, R_OK) == 0;
}

static void check_table(const uint8_t *t, const char *dir)
{
    tap_ok(sum_is_0(t, get32(t + 4)), "%.4s: checksum", (const char *)t);
    tap_ok(iasl_accepts(t, dir), "%.4s: iasl disassembles it", (const char *)t);
}

static void check_fadt(const uint8_t *t, const char *dir)
{
    tap_eq(get32(t + 4), 268, "FADT: length of revision 5");
    tap_eq(t[8], 5, "FADT: revision");
    tap_eq(get32(t + 56), VPC_PM_BASE, "FADT: PM1a event block");
    tap_eq(get32(t + 64), VPC_PM_BASE + 4, "FADT: PM1a control block");
    tap_eq(get32(t + 76), VPC_PM_BASE + 8, "FADT: PM timer");
    tap_eq(t[108], 0x32, "FADT: century");
    tap_eq(get32(t + 112) & 0x100500, 0x500, "FADT: 32-bit timer, reset register, real hardware");
    tap_eq(get32(t + 120), VPC_RESET_PORT, "FADT: reset register");
    tap_eq(t[128], 6, "FADT: reset value");
    const uint8_t *facs = ram + get32(t + 36), *dsdt = ram + get32(t + 40);
    unsigned hpets = 0;
    for (uint32_t i = 36; i + 4 <= get32(dsdt + 4); i++)
        hpets += get32(dsdt + i) == 0x0301d041; /* EISAID("PNP0103") */
    tap_eq(hpets, 0, "DSDT: no HPET");
    tap_ok(!memcmp(facs, "FACS", 4) && get32(t + 36) % 64 == 0, "FADT: FACS, aligned");
    tap_ok(!memcmp(dsdt, "DSDT", 4) && get32(t + 140) == get32(t + 40), "FADT: DSDT twice");
    check_table(dsdt, dir);
}

static void check_madt(const uint8_t *t, uint32_t ncpus)
{
    uint32_t cpus = 0, bad = 0, ioapic = ~0u, irq0 = ~0u, irq9 = 0, nmi = 0;
    tap_eq(get32(t + 36), VPC_LAPIC_BASE, "MADT: local APIC address");
    tap_eq(get32(t + 40), 1, "MADT: 8259s present");
    for (uint32_t i = 44; i + 1 < get32(t + 4) && t[i + 1]; i += t[i + 1]) {
        const uint8_t *e = t + i;
        if (e[0] == 0)
            bad += e[3] != cpus++ || get32(e + 4) != 1;
        else if (e[0] == 1 && get32(e + 4) == VPC_IOAPIC_BASE && get32(e + 8) == 0)
            ioapic = e[2];
        else if (e[0] == 2 && e[3] == 0)
            irq0 = get32(e + 4);
        else if (e[0] == 2 && e[3] == 9)
            irq9 = get32(e + 4) | e[8] << 16;
        else if (e[0] == 4)
            nmi = e[2] << 8 | e[5];
    }
    tap_ok(cpus == ncpus && !bad, "MADT: %u CPUs, IDs in order, all enabled", cpus);
    tap_eq(ioapic, ncpus & 15, "MADT: I/O APIC");
    tap_eq(irq0, 2, "MADT: IRQ 0 is on pin 2");
    tap_eq(irq9, 0x0d0009, "MADT: IRQ 9 is level, active high");
    tap_eq(nmi, 0xff01, "MADT: LINT1 is NMI everywhere");
}

static void check(uint32_t ncpus, const char *dir)
{
    gpa_t at;
    build(ncpus, NULL, &at);
    const uint8_t *r = ram + at.v;
    tap_eq(at.v, 0xe0000, "RSDP in the BIOS area");
    tap_ok(!memcmp(r, "RSD PTR ", 8) && sum_is_0(r, 20) && sum_is_0(r, 36), "RSDP");
    const uint8_t *rsdt = ram + get32(r + 16), *xsdt = ram + get32(r + 24);
    check_table(rsdt, dir);
    check_table(xsdt, dir);
    tap_ok(!memcmp(rsdt, "RSDT", 4) && !memcmp(xsdt, "XSDT", 4), "root tables");
    tap_ok(get32(rsdt + 4) == 36 + 2 * 4 && get32(xsdt + 4) == 36 + 2 * 8,
           "FADT and MADT are all: no HPET, no MCFG");
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *t = ram + get32(xsdt + 36 + 8 * i);
        tap_eq(get32(rsdt + 36 + 4 * i), get32(xsdt + 36 + 8 * i), "both roots agree");
        check_table(t, dir);
        if (!memcmp(t, "FACP", 4))
            check_fadt(t, dir);
        else if (tap_ok(!memcmp(t, "APIC", 4), "MADT"))
            check_madt(t, ncpus);
    }
}

/* The descriptor of an address space that begins with tag and length, fields of n bytes. */
static uint64_t field(const uint8_t *dsdt, uint8_t tag, unsigned at, unsigned n)
{
    uint64_t v = 0;

    for (uint32_t i = 36; i + 46 < get32(dsdt + 4); i++)
        if (dsdt[i] == tag && (dsdt[i + 1] == 0x17 || dsdt[i + 1] == 0x2b) && !dsdt[i + 3]) {
            memcpy(&v, dsdt + i + at, n);
            break;
        }
    return v;
}

/* With a function on the bus: MCFG, and the windows as the bus has them. */
static void check_bus(const char *dir)
{
    static const struct pci_ops none = {0};
    static struct pci_function f;
    const struct pci_identity id = {.id = 0x10001af4, .devfn = PCI_DEVFN(2, 0)};
    struct vpc *pc = calloc(1, vpc_sizeof());
    gpa_t at;

    fake_reset();
    vpc_init(pc, &(struct vpc_config){.ncpus = 2, .tsc_hz = 1000000000});
    vpc_pci_window(pc, 0x800000000, 0xa00000000);
    vpc_pci_low(pc, 0x80000000);
    pci_function_init(&f, &id, &none, NULL);
    tap_eq(vpc_pci_add(pc, &f), HV_OK, "a function on the bus");
    build(2, pc, &at);
    const uint8_t *xsdt = ram + get32(ram + at.v + 24), *rsdt = ram + get32(ram + at.v + 16);
    tap_eq(get32(xsdt + 4), 36 + 3 * 8, "one table more");
    tap_eq(get32(xsdt + 36 + 16), get32(rsdt + 36 + 8), "in both roots");
    check_table(xsdt, dir);
    check_table(rsdt, dir);
    const uint8_t *mcfg = ram + get32(xsdt + 36 + 16), *fadt = ram + get32(xsdt + 36);
    tap_ok(!memcmp(mcfg, "MCFG", 4), "MCFG");
    check_table(mcfg, dir);
    tap_eq(get32(mcfg + 44), PCI_ECAM_BASE, "where configuration space is");
    tap_eq(get32(mcfg + 52), 0, "of segment 0, buses 0 to 0");
    const uint8_t *dsdt = ram + get32(fadt + 40);
    check_table(dsdt, dir);
    tap_eq(field(dsdt, 0x87, 10, 4), 0x80000000, "_CRS: the window below 4 GiB begins with BARs");
    tap_eq(field(dsdt, 0x87, 14, 4), 0xfebfffff, "... and ends before the I/O APIC");
    tap_eq(field(dsdt, 0x87, 22, 4), 0x7ec00000, "... its length");
    tap_eq(field(dsdt, 0x8a, 14, 8), 0x800000000, "_CRS: the window above");
    tap_eq(field(dsdt, 0x8a, 22, 8), 0x9ffffffff, "... to there");
    tap_eq(field(dsdt, 0x8a, 38, 8), 0x200000000, "... its length");
    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(&vm, EBDA_GPA, r), told = 0;
    for (unsigned i = 0; i < n; i++)
        told += r[i].base == PCI_ECAM_BASE && r[i].type == 2;
    tap_eq(told, 1, "... and the memory map reserves configuration space");
    free(pc);
}

int main(void)
{
    char dir[] = "/tmp/test_acpi.XXXXXX", cmd[64];
    if (!mkdtemp(dir))
        return 1;
    check(1, dir);
    check(4, dir);
    check(HV_MAX_CPUS, dir);
    check_bus(dir);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd) == 0 ? tap_done() : 1;
}
