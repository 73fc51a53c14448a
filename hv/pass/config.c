/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration accesses of the guest to a function it owns, by the masks that rules.c made.
 * Tested by tools/tests/test_pass_config.c. */
#include "hv/base/string.h"
#include "hv/pass/state.h"

static struct pass_fn *find(const struct pass *p, uint8_t devfn)
{
    for (unsigned i = 0; i < p->nfns; i++)
        if (p->fn[i]->devfn == devfn)
            return p->fn[i];
    return NULL;
}

static bool overlaps(unsigned reg, unsigned size, unsigned at, unsigned len)
{
    return reg < at + len && at < reg + size;
}

static uint32_t all_ones(unsigned size)
{
    return size == 4 ? ~0u : (1u << 8 * size) - 1;
}

bool pass_config_read(struct pass *p, uint8_t devfn, unsigned reg, unsigned size, uint32_t *value)
{
    struct pass_fn *f = find(p, devfn);
    uint32_t mask;

    if (!f)
        return false;
    if (reg < PCI_SPACE && reg + size > PCI_SPACE) {
        *value = all_ones(size);
        return true;
    }
    lock_take(&f->lock);
    if (reg >= PCI_SPACE) {
        *value = pass_extended_read(f, reg, size);
        lock_drop(&f->lock);
        return true;
    }
    mask = pass_get(f->hw_read, reg, size);
    *value = pass_get(f->own, reg, size) & ~mask;
    if (mask)
        *value |= port_pci_read(f->host, reg, size) & mask;
    lock_drop(&f->lock);
    return true;
}

/* BARs stay where they are: all ones are answered by the size, anything else by the address, so
 * that whoever tries to move one sees that it did not. */
static void bar_write(struct pass_fn *f, unsigned i)
{
    unsigned reg = PCI_BAR0 + 4 * i;
    bool upper = i > 0 && f->bar[i - 1].size && f->bar[i - 1].wide;
    const struct port_pci_bar *b = &f->bar[upper ? i - 1 : i];
    uint32_t keep = upper ? 0 : b->io ? 3 : 15;
    uint32_t value = pass_get(f->own, reg, 4);
    uint64_t mask = ~(b->size - 1);

    if (!b->size) {
        pass_put(f->own, reg, 4, 0);
        return;
    }
    uint64_t shown = (value | keep) == ~0u ? mask : b->base;
    uint32_t flags = upper ? 0
                           : (b->io ? PCI_BAR_IO : 0) | (b->wide ? PCI_BAR_64 : 0) |
                                 (b->prefetch ? PCI_BAR_PREFETCH : 0);
    pass_put(f->own, reg, 4, (uint32_t)(upper ? shown >> 32 : shown) | flags);
}

static void bars_write(struct pass_fn *f, unsigned reg, unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        unsigned at = PCI_BAR0 + 4 * i;
        if (!overlaps(reg, size, at, 4))
            continue;
        memcpy(f->own + reg, &value, size); /* does not cross a dword */
        bar_write(f, i);
    }
}

/* Decoding and mastering are the guest's, INTx is nobody's; SERR# and parity errors, which end as
 * an NMI of the machine's, are virtual. A function that was reset, or woke from D3, has forgotten
 * its BARs and messages. */
static void command_follow(struct pass_fn *f, uint32_t from)
{
    uint32_t command = pass_get(f->own, PCI_COMMAND, 2);
    uint32_t decode = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
    uint32_t now = port_pci_read(f->host, PCI_COMMAND, 2);

    if (command & decode & ~now)
        pass_bars_restore(f);
    port_pci_write(f->host, PCI_COMMAND, 2,
                   (command & (decode | PCI_COMMAND_MASTER)) | PCI_COMMAND_NO_INTX);
    if (command & decode & ~now)
        pass_irq_restore(f, from);
}

static void hardware_write(struct pass_fn *f, unsigned reg, unsigned size, uint32_t value)
{
    uint32_t write = pass_get(f->hw_write, reg, size), clear = pass_get(f->hw_clear, reg, size);
    uint32_t now;

    if (!(write | (clear & value)))
        return;
    now = port_pci_read(f->host, reg, size);
    port_pci_write(f->host, reg, size,
                   (now & ~(write | clear)) | (value & write) | (value & clear));
}

/* A guest's FLR: the hardware forgets its command, and so does the guest's view. */
void pass_forget(struct pass_fn *f)
{
    pass_put(f->own, PCI_COMMAND, 2, 0);
    if (f->express)
        pass_put(f->own, f->express + PCI_EXP_DEVCTL, 2, 0);
    if (f->msi)
        pass_put(f->own, f->msi + PCI_MSI_CONTROL, 2,
                 pass_get(f->own, f->msi + PCI_MSI_CONTROL, 2) & ~PCI_MSI_ENABLE);
    if (f->msix)
        pass_put(f->own, f->msix + PCI_MSIX_CONTROL, 2, 0);
    for (unsigned i = 0; i < f->nirq; i++) {
        f->irq[i].control = f->msix ? PCI_MSIX_MASKED : 0;
        f->irq[i].live = f->irq[i].late = f->irq[i].stopped = false;
    }
}

/* Of a function that has it: one without goes on as before, and so does what is known of it. */
static bool asks_reset(const struct pass_fn *f, unsigned reg, unsigned size, uint32_t value)
{
    uint64_t bits = (uint64_t)value << 8 * (reg & 3);

    if (f->express && (f->express & ~3u) + 8 == (reg & ~3u) && size + (reg & 3) > 1)
        return (bits & PCI_EXP_FLR) &&
               (port_pci_read(f->host, f->express + PCI_EXP_DEVCAP, 4) & PCI_EXP_FLR_CAP);
    return f->af && overlaps(reg, size, f->af + PCI_AF_CONTROL, 1) &&
           (value >> 8 * (f->af + PCI_AF_CONTROL - reg) & PCI_AF_FLR) &&
           (port_pci_read(f->host, f->af + PCI_AF_CAPS, 1) & PCI_AF_FLR_CAP);
}

bool pass_config_write(struct pass *p, uint32_t from, uint8_t devfn, unsigned reg, unsigned size,
                       uint32_t value)
{
    struct pass_fn *f = find(p, devfn);
    uint32_t own;

    if (!f)
        return false;
    if (reg + size > PCI_SPACE)
        return true;
    lock_take(&f->lock);
    own = pass_get(f->own_write, reg, size);
    pass_put(f->own, reg, size, (pass_get(f->own, reg, size) & ~own) | (value & own));
    if (overlaps(reg, size, PCI_BAR0, 4 * PCI_BAR_COUNT))
        bars_write(f, reg, size, value);
    hardware_write(f, reg, size, value);
    if (asks_reset(f, reg, size, value))
        pass_forget(f);
    else if (overlaps(reg, size, PCI_COMMAND, 2))
        command_follow(f, from);
    if ((f->msi && overlaps(reg, size, f->msi, 24)) || (f->msix && overlaps(reg, size, f->msix, 4)))
        pass_irq_follow(f, from);
    lock_drop(&f->lock);
    pass_complain(f);
    return true;
}
