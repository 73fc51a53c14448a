/* SPDX-License-Identifier: BSD-2-Clause */
/* A function between two owners: silent, and reset where it can be. PCIe 4.0, 6.6.2 "Function Level
 * Reset (FLR)". Tested by tools/tests/test_pass_config.c. */
#include "hv/base/log.h"
#include "hv/pass/state.h"
#include "hv/port/iommu.h"

#define FLR_MS 100 /* 6.6.2: a function need not answer for so long */
#define PENDING_TRIES 10
#define PENDING_MS 10
#define ANSWER_TRIES 100
#define WAKE_MS 10 /* 5.9 "State Transition Recovery Time Requirements" */

void pass_bars_restore(const struct pass_fn *f)
{
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        const struct port_pci_bar *b = &f->bar[i];
        if (!b->size)
            continue;
        port_pci_write(f->host, PCI_BAR0 + 4 * i, 4, (uint32_t)b->base);
        if (b->wide)
            port_pci_write(f->host, PCI_BAR0 + 4 * i + 4, 4, (uint32_t)(b->base >> 32));
    }
}

/* To D0: a sleeping function keeps what the last owner told it. One that leaves D3 may have
 * forgotten everything, and is not to be spoken to for a while. */
static void wake(const struct pass_fn *f)
{
    unsigned at = f->pm + PCI_PM_CSR;

    if (!f->pm)
        return;
    bool asleep = port_pci_read(f->host, at, 2) & PCI_PM_STATE;
    port_pci_write(f->host, at, 2, 0);
    if (asleep)
        port_pause_ms(WAKE_MS);
}

/* Nothing of what it asked for is on its way any more, or that is not to be had. */
static void idle_wait(const struct pass_fn *f, unsigned status, uint32_t pending)
{
    for (unsigned i = 0; i < PENDING_TRIES && (port_pci_read(f->host, status, 1) & pending); i++)
        port_pause_ms(PENDING_MS);
}

/* true: the function knows FLR and was given one. */
static bool flr(const struct pass_fn *f)
{
    if (f->express && (port_pci_read(f->host, f->express + PCI_EXP_DEVCAP, 4) & PCI_EXP_FLR_CAP)) {
        unsigned ctl = f->express + PCI_EXP_DEVCTL;
        idle_wait(f, f->express + PCI_EXP_DEVSTA, PCI_EXP_PENDING);
        port_pci_write(f->host, ctl, 2, port_pci_read(f->host, ctl, 2) | PCI_EXP_FLR);
        return true;
    }
    if (f->af && (port_pci_read(f->host, f->af + PCI_AF_CAPS, 1) & PCI_AF_FLR_CAP)) {
        idle_wait(f, f->af + PCI_AF_STATUS, PCI_AF_PENDING);
        port_pci_write(f->host, f->af + PCI_AF_CONTROL, 1, PCI_AF_FLR);
        return true;
    }
    return false;
}

void pass_reset(struct pass_fn *f)
{
    port_pci_write(f->host, PCI_COMMAND, 2, PCI_COMMAND_NO_INTX);
    if (f->msi)
        port_pci_write(f->host, f->msi + PCI_MSI_CONTROL, 2, 0);
    if (f->msix)
        port_pci_write(f->host, f->msix + PCI_MSIX_CONTROL, 2, 0);
    wake(f);
    if (flr(f)) {
        port_pause_ms(FLR_MS);
        for (unsigned i = 0; i < ANSWER_TRIES && port_pci_read(f->host, PCI_VENDOR, 2) != f->vendor;
             i++)
            port_pause_ms(PENDING_MS);
    }
    port_pci_write(f->host, PCI_COMMAND, 2, PCI_COMMAND_NO_INTX);
    pass_bars_restore(f);
}

void pass_stop(struct pass *p)
{
    for (unsigned i = 0; i < p->nfns; i++) {
        pass_reset(p->fn[i]);
        port_iommu_take(p->fn[i]->host);
    }
}
