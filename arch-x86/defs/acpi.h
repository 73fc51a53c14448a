/* SPDX-License-Identifier: BSD-2-Clause */
/* Layouts of the ACPI tables that are read at boot, ACPI 6.4 chapter 5 "ACPI Software Programming
 * Model". Fields are read bytewise (tables may be unaligned and short).
 * Tested by every boot. */
#pragma once
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct acpi_rsdp { /* 5.2.5.3 "Root System Description Pointer (RSDP) Structure" */
    char sig[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length; /* from here on only with revision >= 2 */
    uint64_t xsdt;
    uint8_t checksum2, reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
#define ACPI_RSDP_V1_BYTES 20

struct acpi_header { /* 5.2.6 "System Description Table Header" */
    char sig[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI header");

struct acpi_gas { /* 5.2.3.2 "Generic Address Structure" */
    uint8_t space, bits, offset, access;
    uint64_t addr;
} __attribute__((packed));
#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO 1

struct acpi_fadt { /* 5.2.9 "Fixed ACPI Description Table (FADT)", up to the reset value */
    struct acpi_header h;
    uint32_t facs, dsdt;
    uint8_t reserved0, profile;
    uint16_t sci_int;
    uint32_t smi_cmd;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
    uint8_t lens[8];
    uint16_t lat[4];
    uint8_t duty[2], day_alarm, month_alarm, century;
    uint16_t boot_arch;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_gas reset;
    uint8_t reset_value;
    uint16_t arm_flags;
    uint8_t minor;
    uint64_t x_facs, x_dsdt;
} __attribute__((packed));
_Static_assert(offsetof(struct acpi_fadt, pm_tmr) == 76, "FADT");
_Static_assert(offsetof(struct acpi_fadt, century) == 108, "FADT");
_Static_assert(offsetof(struct acpi_fadt, flags) == 112, "FADT");
_Static_assert(offsetof(struct acpi_fadt, reset_value) == 128, "FADT");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT");
#define ACPI_FADT_V1_BYTES 116
#define ACPI_FADT_RESET_SUP (1u << 10)
#define ACPI_FADT_TMR_EXT (1u << 8)
#define ACPI_FADT_HW_REDUCED (1u << 20)

#define ACPI_PM1_SCI_EN (1u << 0)
#define ACPI_PM1_SLP_TYP_SHIFT 10
#define ACPI_PM1_SLP_EN (1u << 13)
#define ACPI_PM_TMR_HZ 3579545u

struct acpi_madt { /* 5.2.12 "Multiple APIC Description Table (MADT)" */
    struct acpi_header h;
    uint32_t lapic_addr, flags;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt) == 44, "MADT");
#define ACPI_MADT_PCAT_COMPAT (1u << 0)
#define ACPI_MADT_LAPIC 0
#define ACPI_MADT_IOAPIC 1
#define ACPI_MADT_OVERRIDE 2
#define ACPI_MADT_LAPIC_ADDR 5
#define ACPI_MADT_X2APIC 9
#define ACPI_MADT_ENABLED (1u << 0)

struct acpi_madt_lapic {
    uint8_t type, len, uid, apic_id;
    uint32_t flags;
} __attribute__((packed));
struct acpi_madt_ioapic {
    uint8_t type, len, id, reserved;
    uint32_t addr, gsi_base;
} __attribute__((packed));
struct acpi_madt_override {
    uint8_t type, len, bus, irq;
    uint32_t gsi;
    uint16_t flags;
} __attribute__((packed));
struct acpi_madt_lapic_addr {
    uint8_t type, len;
    uint16_t reserved;
    uint64_t addr;
} __attribute__((packed));
struct acpi_madt_x2apic {
    uint8_t type, len;
    uint16_t reserved;
    uint32_t apic_id, flags, uid;
} __attribute__((packed));
