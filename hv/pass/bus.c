/* SPDX-License-Identifier: BSD-2-Clause */
/* Functions that a VM owns as members of its PCI bus, which asks them for every configuration
 * access; their BARs are not the bus's. Tested by the steps of tools/steps/devices.py. */
#include "hv/pass/state.h"

static bool on_read(struct pci_function *pci, uint32_t from, unsigned reg, unsigned size,
                    uint32_t *value)
{
    const struct pass_fn *f = pci->dev;

    (void)from;
    return pass_config_read(f->pass, f->devfn, reg, size, value);
}

static bool on_write(struct pci_function *pci, uint32_t from, unsigned reg, unsigned size,
                     uint32_t value)
{
    const struct pass_fn *f = pci->dev;

    return pass_config_write(f->pass, from, f->devfn, reg, size, value);
}

enum hv_err pass_bus_add(struct pass_fn *f)
{
    static const struct pci_ops ops = {.config_read = on_read, .config_write = on_write};
    const struct pci_identity id = {.id = (uint32_t)f->device << 16 | f->vendor, .devfn = f->devfn};

    pci_function_init(&f->pci, &id, &ops, f);
    return vpc_pci_add(f->pass->pc, &f->pci);
}

/* The virtual devices' BARs are placed around these functions'. */
void pass_bus_leave(struct pass *p)
{
    uint32_t io = 0;
    uint64_t low = UINT64_MAX;

    for (unsigned i = 0; i < p->nfns; i++)
        for (unsigned b = 0; b < PCI_BAR_COUNT; b++) {
            const struct port_pci_bar *bar = &p->fn[i]->bar[b];
            if (!bar->size)
                continue;
            if (bar->io)
                io = bar->base + bar->size > io ? (uint32_t)(bar->base + bar->size) : io;
            else if (bar->base >= PCI_WINDOW_LOW && bar->base < low)
                low = bar->base;
        }
    pci_bus_leave(vpc_pci(p->pc), low, io);
}
