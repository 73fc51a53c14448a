/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest finds in its memory about its machine, where firmware would have put it.
 * Tested by tools/tests/test_acpi.c, test_mptable.c and test_bios.c. */
#pragma once
#include "hv/vm/vm.h"

/* ACPI tables (RSDP at E0000, XSDT, FADT, MADT, DSDT) into guest RAM. Returns bytes used. */
enum hv_err vm_acpi_build(struct vm *vm, gpa_t *rsdp) HV_MUST_CHECK;
/* The DSDT for the functions on the VM's bus, n bytes; valid until the next call. Boot. */
const uint8_t *vm_acpi_dsdt(const struct vm *vm, size_t *n);
/* The same tables, `bytes` from the RSDP at `base` on, as fw_cfg files. Boot, once. */
enum hv_err vm_acpi_fwcfg(struct vm *vm, gpa_t base, uint64_t bytes) HV_MUST_CHECK;
/* MP table at F0000 for guests without ACPI. */
enum hv_err vm_mptable_build(struct vm *vm) HV_MUST_CHECK;
/* Interrupt vectors, data area and handlers of a BIOS, as far as there is one (bios.c). */
enum hv_err vm_bios_build(struct vm *vm) HV_MUST_CHECK;

/* --- the memory map (memmap.c) --- */
#define EBDA_GPA 0x9fc00ull
#define ACPI_GPA 0xe0000ull
struct guest_range {
    uint64_t base, end;
    uint32_t type; /* E820_* */
};
#define GUEST_RANGES_MAX 24 /* more pieces of RAM than that are not shown */
/* The memory map; low_end: where free memory below 640 KiB ends. Returns the number of ranges. */
unsigned guest_ranges(const struct vm *vm, uint64_t low_end, struct guest_range *out);
