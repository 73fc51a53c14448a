/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI bus 0 of a VM: who answers a configuration, memory or port access, and where BARs lie at
 * boot. Tested by tools/tests/test_pci_bus.c. */
#include "arch-x86/defs/pc.h"
#include "hv/base/assert.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/vdev/pci/pci.h"

/* At least a page each: nothing of another function lies in a page that a guest maps. */
#define BAR_ALIGN 4096ull

void pci_bus_init(struct pci_bus *b, const struct pci_irq_ops *irq, void *ctx)
{
    memset(b, 0, sizeof(*b));
    b->lock.level = LOCK_PCI;
    b->low = (struct pci_window){PCI_WINDOW_LOW, PCI_WINDOW_LOW_END};
    b->told_low = PCI_WINDOW_LOW;
    b->next_low = PCI_WINDOW_LOW_END; /* downwards: large ones stay aligned, RAM's end is far */
    b->next_io = PCI_IO_BEGIN;
    b->irq = irq;
    b->ctx = ctx;
}

void pci_bus_window(struct pci_bus *b, uint64_t base, uint64_t end)
{
    ASSERT(!((base | end) & REGION_MASK) && base >= BIT(32) && end > base);
    b->high = (struct pci_window){base, end};
    b->next_high = base;
}

void pci_bus_leave(struct pci_bus *b, uint64_t low_end, uint32_t io, uint64_t high)
{
    if (low_end < b->next_low)
        b->next_low = low_end > b->low.base ? low_end : b->low.base;
    if (io > b->next_io)
        b->next_io = io < PCI_IO_END ? io : PCI_IO_END;
    if (high > b->next_high)
        b->next_high = high;
}

static struct pci_function *find(struct pci_bus *b, unsigned bus_devfn)
{
    for (unsigned i = 0; i < b->count; i++)
        if (b->fn[i]->devfn == bus_devfn)
            return b->fn[i];
    return NULL;
}

/* Below 4 GiB, from the top; a wide prefetchable one that finds no room there, above. */
static enum hv_err place_memory(struct pci_bus *b, const struct pci_bar *r, uint64_t *at)
{
    uint64_t align = r->size > BAR_ALIGN ? r->size : BAR_ALIGN;
    if (b->next_low - b->low.base >= align) {
        uint64_t low = (b->next_low - align) & ~(align - 1);
        if (low >= b->low.base && !(r->wide && r->size > BIT(28) && b->high.end)) {
            b->next_low = low;
            *at = low;
            return HV_OK;
        }
    }
    uint64_t high = (b->next_high + align - 1) & ~(align - 1);
    if (!r->wide || !b->high.end || high < b->next_high || high > b->high.end ||
        b->high.end - high < align)
        return HV_NOMEM;
    b->next_high = high + align;
    *at = high;
    return HV_OK;
}

static enum hv_err place(struct pci_bus *b, struct pci_function *f, unsigned bar)
{
    const struct pci_bar *r = &f->bar[bar];
    unsigned reg = PCI_BAR0 + 4 * bar;
    uint64_t at;
    if (r->io) {
        at = (b->next_io + r->size - 1) & ~(r->size - 1);
        if (at + r->size > PCI_IO_END)
            return HV_NOMEM;
        b->next_io = (uint32_t)(at + r->size);
    } else {
        TRY(place_memory(b, r, &at));
    }
    pci_config_put(f, reg, 4, pci_config_get(f, reg, 4) | (uint32_t)at);
    if (r->wide)
        pci_config_put(f, reg + 4, 4, (uint32_t)(at >> 32));
    return HV_OK;
}

enum hv_err pci_bus_add(struct pci_bus *b, struct pci_function *f)
{
    if (b->count == PCI_FUNCTIONS)
        return HV_NOMEM;
    if (f->devfn < PCI_DEVFN(1, 0) || find(b, f->devfn) ||
        ((f->devfn & 7) && !find(b, f->devfn & ~7u)))
        return HV_INVALID;
    f->bus = b;
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (f->bar[i].size)
            TRY(place(b, f, i));
    if (f->devfn & 7) /* 6.2.1 "Device Identification": what function 0 says of the others */
        find(b, f->devfn & ~7u)->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI;
    b->fn[b->count++] = f;
    /* firmware leaves decoding on; an operating system turns it off to size the BARs */
    uint32_t on = pci_config_get(f, PCI_COMMAND, 2);
    on |= f->writable[PCI_COMMAND] & (PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    pci_config_default_write(f, port_cpu(), PCI_COMMAND, 2, on);
    return HV_OK;
}

/* Is there such a register? */
static bool reaches(const struct pci_function *f, unsigned reg, unsigned size)
{
    return f && reg + size <= (f->extended ? PCI_ECAM_FUNCTION : PCI_CONFIG_BYTES);
}

uint32_t pci_config_read(struct pci_bus *b, uint32_t from, unsigned bus_devfn, unsigned reg,
                         unsigned size)
{
    struct pci_function *f = find(b, bus_devfn);
    uint32_t v = ~0u;
    if (!reaches(f, reg, size))
        return v;
    if (f->ops->config_read && f->ops->config_read(f, from, reg, size, &v))
        return v;
    if (reg + size > PCI_CONFIG_BYTES)
        return v;
    return pci_config_default_read(f, reg, size);
}

void pci_config_write(struct pci_bus *b, uint32_t from, unsigned bus_devfn, unsigned reg,
                      unsigned size, uint32_t value)
{
    struct pci_function *f = find(b, bus_devfn);
    if (!reaches(f, reg, size))
        return;
    if (f->ops->config_write && f->ops->config_write(f, from, reg, size, value))
        return;
    if (reg + size > PCI_CONFIG_BYTES)
        return;
    pci_config_default_write(f, from, reg, size, value);
}

static bool bar_access(struct pci_bus *b, struct vio *io, bool ports)
{
    for (unsigned i = 0; i < b->count; i++) {
        struct pci_function *f = b->fn[i];
        for (unsigned n = 0; n < PCI_BARS; n++) {
            struct pci_bar *r = &f->bar[n];
            uint64_t at = atomic_load_explicit(&r->at, memory_order_relaxed);
            if (at == PCI_NOWHERE || r->io != ports || io->addr - at >= r->size ||
                io->addr - at + io->size > r->size)
                continue;
            struct vio inner = *io;
            inner.addr = io->addr - at;
            if (!(n == f->msix.bar && pci_msix_access(f, (uint32_t)inner.addr, &inner)) &&
                f->ops->bar_access)
                f->ops->bar_access(f, n, &inner);
            if (!io->write)
                io->value = inner.value;
            return true;
        }
    }
    return false;
}

void pci_bus_mmio(void *bus, struct vio *io)
{
    (void)bar_access(bus, io, false);
}

bool pci_bus_pio(struct pci_bus *b, struct vio *io)
{
    return bar_access(b, io, true);
}
