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
    f->pci.extended = true;
    return vpc_pci_add(f->pass->pc, &f->pci);
}

/* Where BARs of one kind lie. */
struct span {
    uint64_t low, end;
};

static void span_add(struct span *s, const struct port_pci_bar *b)
{
    s->low = b->base < s->low ? b->base : s->low;
    s->end = b->base + b->size > s->end ? b->base + b->size : s->end;
}

/* The window above 4 GiB in which they lie, as _CRS must name it, else systems refuse them. */
static void window_above(const struct pass *p, const struct span *s)
{
    if (s->end)
        vpc_pci_window(p->pc, s->low & ~REGION_MASK, (s->end + REGION_MASK) & ~REGION_MASK);
}

static void window_below(const struct pass *p)
{
    uint64_t base = pass_low_end(p) & ~REGION_MASK; /* RAM ends there */

    if (base < PCI_WINDOW_LOW)
        vpc_pci_low(p->pc, base);
}

/* The virtual devices' BARs are placed around these functions'. */
void pass_bus_leave(struct pass *p)
{
    struct span io = {UINT64_MAX, 0}, low = {UINT64_MAX, 0}, high = {UINT64_MAX, 0};

    for (unsigned i = 0; i < p->nfns; i++)
        for (unsigned b = 0; b < PCI_BAR_COUNT; b++) {
            const struct port_pci_bar *bar = &p->fn[i]->bar[b];
            if (!bar->size)
                continue;
            if (bar->base >> 32)
                span_add(&high, bar);
            else if (bar->io || bar->base >= PCI_WINDOW_LOW)
                span_add(bar->io ? &io : &low, bar);
        }
    window_above(p, &high);
    window_below(p);
    pci_bus_leave(vpc_pci(p->pc), low.low, (uint32_t)io.end, high.end);
}
