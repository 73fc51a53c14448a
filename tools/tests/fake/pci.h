/* SPDX-License-Identifier: BSD-2-Clause */
/* Fake PCI functions behind hv/port/pci.h: registers with their write masks, MSI and MSI-X as a
 * device has them, function-level reset. Tested by tools/tests/test_pass_irq.c. */
#pragma once
#include "arch-x86/defs/pci.h"
#include "hv/port/cpu.h"
#include "hv/port/pci.h"

#define FAKE_PCI_MEMORY 0x4000u
struct fake_pci {
    struct port_pci id;
    uint8_t config[PCI_SPACE_X];
    uint8_t writable[PCI_SPACE_X], clear[PCI_SPACE_X]; /* clear: by a 1 */
    uint8_t memory[FAKE_PCI_MEMORY];                   /* what its memory BAR 0 is */
    unsigned pm, msi, msix, express, af;               /* registers, 0: none */
    uint32_t table_at, pba_at, count;
    bool msi_pending;
    unsigned resets, torn; /* FLRs; live MSI-X entries whose data changed */
    unsigned deaf_ms;      /* on its way from D3: it hears nothing for so long */
    unsigned busy_ms;      /* so long requests of its own are pending */
    unsigned early;        /* FLRs before they were over */
    uint64_t command_writes;
};
/* What the hypervisor uses itself: port_pci_kept. size 0: nothing. */
extern struct port_pci_bar fake_pci_kept;
/* What port_iommu_found gives; false at first. */
extern bool fake_iommu_found;
/* Forgets all functions and what has arrived. */
void fake_pci_clear(void);
/* A function without capabilities, with memory BAR 0 at `base`. */
struct fake_pci *fake_pci_add(pci_bdf_t bdf, uint32_t id, uint32_t class_code, uint64_t base);
void fake_pci_pm(struct fake_pci *d, unsigned at, unsigned next);
void fake_pci_msi(struct fake_pci *d, unsigned at, unsigned next, bool wide, bool masking);
void fake_pci_msix(struct fake_pci *d, unsigned at, unsigned next, unsigned count,
                   uint32_t table_at, uint32_t pba_at);
/* Advanced Features: FLR of a conventional function. */
void fake_pci_af(struct fake_pci *d, unsigned at, unsigned next);
void fake_pci_express(struct fake_pci *d, unsigned at, unsigned next, bool flr);
/* The device has something to say by its message n. true: it was sent to a CPU; false: it waits by
 * its pending bit, or is lost since messages are off. */
bool fake_pci_raise(struct fake_pci *d, unsigned n);
/* Vectors that wait at a CPU. */
unsigned fake_msi_waiting(uint32_t cpu);
