/* SPDX-License-Identifier: BSD-2-Clause */
/* What is needed of ACPI, copied out at boot: processors, interrupt controllers, power, reset.
 * Tested by every boot. */
#pragma once
#include "arch-x86/defs/acpi.h"
#include "hv/base/types.h"

#define ACPI_MAX_CPUS 256
#define ACPI_MAX_IOAPICS 8
#define ACPI_ISA_IRQS 16

struct acpi_info {
    bool found, has_s5, hw_reduced, bochs;
    const char *source; /* where the processors come from, for the log */
    uint64_t lapic;
    unsigned ncpus; /* entries of apic_id */
    uint32_t apic_id[ACPI_MAX_CPUS];
    unsigned nioapics;
    struct {
        uint32_t addr, gsi_base;
        uint8_t id;
    } ioapic[ACPI_MAX_IOAPICS];
    uint32_t isa_gsi[ACPI_ISA_IRQS];
    uint16_t isa_flags[ACPI_ISA_IRQS]; /* MPS INTI flags */
    uint16_t pm1a_cnt, pm1b_cnt, pm_tmr, smi_cmd;
    uint8_t acpi_enable, slp_typ_a, slp_typ_b, century;
    struct acpi_gas reset;
    uint8_t reset_value;
};
extern struct acpi_info acpi_info;

/* The first table of that signature, in boot's identity map, and its length; NULL: none. Context:
 * as acpi_init, which need not have been called. */
const char *acpi_find(hpa_t rsdp, bool uefi, const char *sig, uint32_t *len);
/* rsdp: from the loader, 0 to search where a BIOS puts it (never under UEFI). Without ACPI the BSP
 * is the only processor. Context: BSP on boot's identity map; tables beyond it are refused. */
void acpi_init(hpa_t rsdp, bool uefi);
