/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI on the host side, what the rest of arch-x86 needs of it; hv/port/pci.h is what hv/ sees.
 * Tested by every boot. */
#pragma once
#include "hv/port/pci.h"

struct pci_window { /* memory-mapped configuration space */
    hpa_t base;     /* of bus 0, be it not among them */
    unsigned first, last;
};
/* The window of segment 0 in an MCFG table of `len` bytes, header included. Pure. false: there is
 * none, or it is out of the question (not aligned, above the processor's addresses, no bus). */
bool mcfg_parse(const uint8_t *table, uint32_t len, struct pci_window *out);

/* Is there configuration mechanism 1? First of all. */
bool pci_config_init(void);
/* Looks for MCFG. Context: as acpi_find. */
void pci_config_ecam(hpa_t rsdp, bool uefi);
/* From now on this bus's registers are reached by memory. Boot, own page tables. */
void pci_config_map(unsigned bus);
/* Fills the list of port_pci_at and sizes BARs. Boot, own page tables, bus masters off. */
void pci_scan(void);

/* If firmware holds this USB host controller, asks for it, waits a second, and switches its SMIs
 * off. Boot. */
void pci_usb_handoff(pci_bdf_t f);
/* Before the TSC's rate is known: by port 80h, about a microsecond an access. */
void pci_early_wait_ms(unsigned ms);
