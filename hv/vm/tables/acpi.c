/* SPDX-License-Identifier: BSD-2-Clause */
/* The ACPI tables of a virtual machine: RSDP, RSDT, XSDT, FADT, FACS, MADT, DSDT, with a PCI bus
 * MCFG, in the BIOS area.
 * Structures of ACPI 6.4, chapter 5 "ACPI Software Programming Model". Tested by
 * tools/tests/test_acpi.c, which has iasl read them back. */
#include "hv/vm/tables/tables.h"
#include "hv/vdev/pci/pci.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

#define ACPI_AREA 0xe0000ull
#define ACPI_AREA_END 0x100000ull
#define PACKED __attribute__((packed))

struct PACKED acpi_rsdp {
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t checksum_all;
    uint8_t reserved[3];
};
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
_Static_assert(offsetof(struct acpi_rsdp, xsdt) == 24, "RSDP");

struct PACKED acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
};
_Static_assert(sizeof(struct acpi_header) == 36, "table header");

#define TABLES_MAX 3 /* FADT, MADT, MCFG */
struct PACKED acpi_rsdt {
    struct acpi_header h;
    uint32_t table[TABLES_MAX]; /* only as many as there are */
};
struct PACKED acpi_xsdt {
    struct acpi_header h;
    uint64_t table[TABLES_MAX];
};
struct PACKED acpi_mcfg { /* PCI Firmware Specification 3.2, 4.1.2 "MCFG Table Description" */
    struct acpi_header h;
    uint64_t reserved0;
    uint64_t base;
    uint16_t segment;
    uint8_t first, last; /* buses */
    uint32_t reserved1;
};
_Static_assert(sizeof(struct acpi_mcfg) == 60, "MCFG");

struct PACKED acpi_gas { /* Generic Address Structure, 5.2.3.2 */
    uint8_t space, bits, offset, access;
    uint64_t at;
};
#define GAS_IO 1
_Static_assert(sizeof(struct acpi_gas) == 12, "GAS");

struct PACKED acpi_fadt { /* 5.2.9, revision 5 */
    struct acpi_header h;
    uint32_t facs, dsdt;
    uint8_t reserved0, profile;
    uint16_t sci_int;
    uint32_t smi_cmd;
    uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
    uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
    uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
    uint8_t gpe0_len, gpe1_len, gpe1_base, cst_cnt;
    uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_arch;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_gas reset_reg;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor;
    uint64_t x_facs, x_dsdt;
    struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr;
    struct acpi_gas x_gpe0, x_gpe1, sleep_control, sleep_status;
};
_Static_assert(sizeof(struct acpi_fadt) == 268, "FADT revision 5");
_Static_assert(offsetof(struct acpi_fadt, pm_tmr) == 76, "FADT");
_Static_assert(offsetof(struct acpi_fadt, boot_arch) == 109, "FADT");
_Static_assert(offsetof(struct acpi_fadt, reset_reg) == 116, "FADT");
_Static_assert(offsetof(struct acpi_fadt, x_facs) == 132, "FADT");
#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_PWR_BUTTON (1u << 4) /* no fixed-hardware power button, sleep button, RTC wake */
#define FADT_SLP_BUTTON (1u << 5)
#define FADT_FIX_RTC (1u << 6)
#define FADT_TMR_VAL_EXT (1u << 8) /* 32-bit timer */
#define FADT_RESET_REG_SUP (1u << 10)
#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_MSI (1u << 3)

struct PACKED acpi_facs {
    char signature[4];
    uint32_t length, hw_signature, waking, lock, flags;
    uint64_t x_waking;
    uint8_t version;
    uint8_t reserved[31];
};
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS");

struct PACKED madt_lapic {
    uint8_t type, length, uid, apic_id;
    uint32_t flags;
};
struct PACKED madt_ioapic {
    uint8_t type, length, id, reserved;
    uint32_t at, gsi_base;
};
struct PACKED madt_override {
    uint8_t type, length, bus, source;
    uint32_t gsi;
    uint16_t flags;
};
struct PACKED madt_lapic_nmi {
    uint8_t type, length, uid;
    uint16_t flags;
    uint8_t lint;
};
struct PACKED acpi_madt {
    struct acpi_header h;
    uint32_t lapic_at, flags;
    struct madt_ioapic ioapic;
    struct madt_override irq0, irq9;
    struct madt_lapic_nmi nmi;
    struct madt_lapic cpu[HV_MAX_CPUS]; /* only as many as there are */
};
_Static_assert(sizeof(struct madt_lapic) == 8 && sizeof(struct madt_ioapic) == 12 &&
                   sizeof(struct madt_override) == 10 && sizeof(struct madt_lapic_nmi) == 6,
               "MADT entries");
#define MADT_PCAT_COMPAT 1u /* there are 8259s */
#define MADT_ENABLED 1u
#define INTI_LEVEL_HIGH 0x000d /* polarity 01b active high, trigger 11b level */

/* --- building --- */
struct acpi_place { /* tables are laid one behind the other */
    struct vm *vm;
    uint64_t next;
};

static uint8_t sum(const void *data, size_t n)
{
    const uint8_t *p = data;
    unsigned s = 0;
    while (n--)
        s += *p++;
    return (uint8_t)s;
}

static void header_fill(struct acpi_header *h, const char *signature, uint8_t revision,
                        size_t length)
{
    memcpy(h->signature, signature, 4);
    h->length = (uint32_t)length;
    h->revision = revision;
    memcpy(h->oem_id, "PTCHBY", 6);
    memcpy(h->oem_table_id, "PATCHBAY", 8);
    h->oem_revision = 1;
    memcpy(h->creator_id, "PTBY", 4);
    h->creator_revision = 1;
}

/* Copies n bytes to the next place, a multiple of 64 as the FACS needs it. */
static enum hv_err place(struct acpi_place *p, const void *table, size_t n, uint64_t *at)
{
    *at = (p->next + 63) & ~63ull;
    if (*at + n > ACPI_AREA_END)
        return HV_NOMEM;
    p->next = *at + n;
    return vm_copy_in(p->vm, gpa(*at), table, n);
}

static enum hv_err place_table(struct acpi_place *p, struct acpi_header *h, uint64_t *at)
{
    h->checksum = 0;
    h->checksum = (uint8_t)-sum(h, h->length);
    return place(p, h, h->length, at);
}

static struct acpi_gas gas_io(uint8_t bits, uint8_t access, uint64_t port)
{
    return (struct acpi_gas){GAS_IO, bits, 0, access, port};
}

static bool has_functions(const struct vm *vm)
{
    return vm->pc && vpc_pci(vm->pc)->count;
}

static enum hv_err build_fadt(struct acpi_place *p, uint64_t facs, uint64_t dsdt, uint64_t *at)
{
    struct acpi_fadt f = {
        .facs = (uint32_t)facs,
        .dsdt = (uint32_t)dsdt,
        .sci_int = 9,
        /* no SMI command port: the machine is in ACPI mode from the start */
        .pm1a_evt = VPC_PM_BASE,
        .pm1a_cnt = VPC_PM_BASE + 4,
        .pm_tmr = VPC_PM_BASE + 8,
        .pm1_evt_len = 4,
        .pm1_cnt_len = 2,
        .pm_tmr_len = 4,
        .p_lvl2_lat = 0xffff, /* no C2, no C3 */
        .p_lvl3_lat = 0xffff,
        .century = 0x32,
        /* the 8042 has no keyboard: not announced, it is there for its reset line */
        .boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,
        .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_FIX_RTC |
                 FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP,
        .reset_reg = gas_io(8, 1, VPC_RESET_PORT),
        .reset_value = 0x06,
        .minor = 1,
        .x_facs = 0, /* below 4 GiB the 32-bit field counts (5.2.9, X_FIRMWARE_CTRL) */
        .x_dsdt = dsdt,
        .x_pm1a_evt = gas_io(32, 2, VPC_PM_BASE),
        .x_pm1a_cnt = gas_io(16, 2, VPC_PM_BASE + 4),
        .x_pm_tmr = gas_io(32, 3, VPC_PM_BASE + 8),
    };
    if (!has_functions(p->vm))
        f.boot_arch |= BOOT_NO_MSI; /* nothing there would send one */
    header_fill(&f.h, "FACP", 5, sizeof(f));
    return place_table(p, &f.h, at);
}

static enum hv_err build_madt(struct acpi_place *p, uint32_t ncpus, uint64_t *at)
{
    struct acpi_madt m = {
        .lapic_at = VPC_LAPIC_BASE,
        .flags = MADT_PCAT_COMPAT,
        .ioapic = {1, sizeof(m.ioapic), (uint8_t)vpc_ioapic_id(ncpus), 0, VPC_IOAPIC_BASE, 0},
        .irq0 = {2, sizeof(m.irq0), 0, 0, 2, 0}, /* flags 0: as the ISA bus has it */
        .irq9 = {2, sizeof(m.irq9), 0, 9, 9, INTI_LEVEL_HIGH},
        .nmi = {4, sizeof(m.nmi), 0xff, 0, 1}, /* LINT1 of every processor */
    };
    ASSERT(ncpus <= HV_MAX_CPUS);
    for (uint32_t c = 0; c < ncpus; c++)
        m.cpu[c] = (struct madt_lapic){0, sizeof(m.cpu[0]), (uint8_t)c, (uint8_t)c, MADT_ENABLED};
    header_fill(&m.h, "APIC", 3, offsetof(struct acpi_madt, cpu) + ncpus * sizeof(m.cpu[0]));
    return place_table(p, &m.h, at);
}

/* *at 0: there is no function, and so no such table. */
static enum hv_err build_mcfg(struct acpi_place *p, uint64_t *at)
{
    struct acpi_mcfg m = {.base = PCI_ECAM_BASE}; /* bus 0, all there is */

    *at = 0;
    if (!has_functions(p->vm))
        return HV_OK;
    header_fill(&m.h, "MCFG", 1, sizeof(m));
    return place_table(p, &m.h, at);
}

/* table: of TABLES_MAX, 0 behind the last. */
static enum hv_err build_roots(struct acpi_place *p, const uint64_t *table, struct acpi_rsdp *rsdp)
{
    struct acpi_rsdt r = {0};
    struct acpi_xsdt x = {0};
    uint64_t rsdt, xsdt;
    unsigned n = 0;

    for (; n < TABLES_MAX && table[n]; n++) {
        r.table[n] = (uint32_t)table[n];
        x.table[n] = table[n];
    }
    header_fill(&r.h, "RSDT", 1, offsetof(struct acpi_rsdt, table) + n * sizeof(r.table[0]));
    header_fill(&x.h, "XSDT", 1, offsetof(struct acpi_xsdt, table) + n * sizeof(x.table[0]));
    TRY(place_table(p, &r.h, &rsdt));
    TRY(place_table(p, &x.h, &xsdt));
    *rsdp = (struct acpi_rsdp){
        .revision = 2, .rsdt = (uint32_t)rsdt, .length = sizeof(*rsdp), .xsdt = xsdt};
    memcpy(rsdp->signature, "RSD PTR ", 8);
    memcpy(rsdp->oem_id, "PTCHBY", 6);
    rsdp->checksum = (uint8_t)-sum(rsdp, 20); /* the part of ACPI 1.0 */
    rsdp->checksum_all = (uint8_t)-sum(rsdp, sizeof(*rsdp));
    return HV_OK;
}

enum hv_err vm_acpi_build(struct vm *vm, gpa_t *rsdp)
{
    struct acpi_place p = {vm, ACPI_AREA + sizeof(struct acpi_rsdp)};
    struct acpi_facs facs = {.length = sizeof(facs), .version = 2};
    struct acpi_rsdp root;
    uint64_t facs_at, dsdt_at, table[TABLES_MAX];
    size_t dsdt_bytes;
    const uint8_t *dsdt = vm_acpi_dsdt(vm, &dsdt_bytes);

    memcpy(facs.signature, "FACS", 4);
    TRY(place(&p, &facs, sizeof(facs), &facs_at));
    TRY(place(&p, dsdt, dsdt_bytes, &dsdt_at));
    TRY(build_fadt(&p, facs_at, dsdt_at, &table[0]));
    TRY(build_madt(&p, vm->ncpus, &table[1]));
    TRY(build_mcfg(&p, &table[2]));
    TRY(build_roots(&p, table, &root));
    TRY(vm_copy_in(vm, gpa(ACPI_AREA), &root, sizeof(root)));
    *rsdp = gpa(ACPI_AREA);
    if (vm->pc && vm_acpi_fwcfg(vm, *rsdp, p.next - ACPI_AREA) != HV_OK)
        log_warn("vm", "acpi tables are too large for fw_cfg");
    log_debug("vm", "acpi tables at 0x%llx, %llu bytes", (unsigned long long)ACPI_AREA,
              (unsigned long long)(p.next - ACPI_AREA));
    return HV_OK;
}
