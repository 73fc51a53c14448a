/* SPDX-License-Identifier: BSD-2-Clause */
/* One PCI function's configuration space: header, BARs, capabilities, and what a write does to
 * them. Tested by tools/tests/test_pci_bus.c. */
#include "arch-x86/defs/pc.h"
#include "hv/base/assert.h"
#include "hv/base/string.h"
#include "hv/vdev/pci/pci.h"

#define CAPS_BEGIN 0x40u
#define BAR_IO 1u
#define BAR_WIDE BIT(2)
#define BAR_PREFETCH BIT(3)
#define BAR_MEM_FLAGS 0xfu
#define BAR_IO_FLAGS 0x3u

uint32_t pci_config_get(const struct pci_function *f, unsigned reg, unsigned size)
{
    uint32_t v = 0;
    ASSERT(size <= 4 && reg + size <= PCI_CONFIG_BYTES);
    memcpy(&v, f->config + reg, size);
    return v;
}

void pci_config_put(struct pci_function *f, unsigned reg, unsigned size, uint32_t value)
{
    ASSERT(size <= 4 && reg + size <= PCI_CONFIG_BYTES);
    memcpy(f->config + reg, &value, size);
}

static void allow(struct pci_function *f, unsigned reg, unsigned size, uint32_t bits)
{
    memcpy(f->writable + reg, &bits, size);
}

void pci_function_init(struct pci_function *f, const struct pci_identity *id,
                       const struct pci_ops *ops, void *dev)
{
    memset(f, 0, sizeof(*f));
    f->ops = ops;
    f->dev = dev;
    f->devfn = id->devfn;
    f->cap_next = CAPS_BEGIN;
    pci_config_put(f, PCI_VENDOR, 4, id->id);
    pci_config_put(f, PCI_CLASS, 4, id->class_code << 8 | id->revision);
    pci_config_put(f, PCI_SUBSYSTEM, 4, id->subsystem);
    pci_config_put(f, PCI_INTERRUPT_PIN, 1, id->pin);
    allow(f, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
    allow(f, PCI_CACHE_LINE, 1, 0xff);
    allow(f, PCI_LATENCY, 1, 0xff);
    allow(f, PCI_INTERRUPT_LINE, 1, 0xff);
    for (unsigned i = 0; i < PCI_BARS; i++)
        atomic_store_explicit(&f->bar[i].at, PCI_NOWHERE, memory_order_relaxed);
}

void pci_bar_declare(struct pci_function *f, unsigned bar, uint64_t size, bool wide, bool prefetch)
{
    unsigned reg = PCI_BAR0 + 4 * bar;
    ASSERT(bar + wide < PCI_BARS && size >= 16 && !(size & (size - 1)));
    ASSERT(wide || size <= BIT(31));
    f->bar[bar].size = size;
    f->bar[bar].wide = wide;
    f->bar[bar].prefetch = prefetch;
    pci_config_put(f, reg, 4, (wide ? BAR_WIDE : 0) | (prefetch ? BAR_PREFETCH : 0));
    allow(f, reg, 4, (uint32_t)~(size - 1) & ~BAR_MEM_FLAGS);
    if (wide)
        allow(f, reg + 4, 4, (uint32_t)(~(size - 1) >> 32));
    f->writable[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
}

void pci_bar_declare_io(struct pci_function *f, unsigned bar, uint32_t size)
{
    unsigned reg = PCI_BAR0 + 4 * bar;
    ASSERT(bar < PCI_BARS && size >= 4 && size <= 256 && !(size & (size - 1)));
    f->bar[bar].size = size;
    f->bar[bar].io = true;
    pci_config_put(f, reg, 4, BAR_IO);
    allow(f, reg, 4, 0xffffu & ~(size - 1) & ~BAR_IO_FLAGS);
    f->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
}

unsigned pci_capability(struct pci_function *f, uint8_t id, const uint8_t *body, unsigned len,
                        const uint8_t *writable)
{
    unsigned at = f->cap_next;
    ASSERT(len >= 2 && at + len <= PCI_CONFIG_BYTES);
    memcpy(f->config + at, body, len);
    if (writable)
        memcpy(f->writable + at, writable, len);
    f->config[at] = id;
    f->config[at + 1] = 0;
    f->config[f->cap_last ? f->cap_last + 1u : PCI_CAPABILITIES] = (uint8_t)at;
    f->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    f->cap_last = (uint8_t)at;
    f->cap_next = (uint8_t)((at + len + 3) & ~3u);
    return at;
}

void pci_msix_declare(struct pci_function *f, const struct pci_msix *m)
{
    uint8_t body[PCI_MSIX_CAP_BYTES] = {0}, writable[PCI_MSIX_CAP_BYTES] = {0};
    uint32_t table = m->table_at | m->bar, pba = m->pba_at | m->bar;
    uint16_t control = (uint16_t)(m->count - 1);
    ASSERT(m->count >= 1 && m->count <= 2048 && !((m->table_at | m->pba_at) & 7));
    ASSERT(m->table_at + m->count * sizeof(*m->entry) <= f->bar[m->bar].size);
    ASSERT(m->pba_at + (m->count + 63) / 64 * 8 <= f->bar[m->bar].size);
    memcpy(body + PCI_MSIX_CONTROL, &control, 2);
    memcpy(body + PCI_MSIX_TABLE, &table, 4);
    memcpy(body + PCI_MSIX_PBA, &pba, 4);
    writable[PCI_MSIX_CONTROL + 1] = (PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL) >> 8;
    f->msix = *m;
    for (unsigned i = 0; i < m->count; i++)
        m->entry[i] = (struct pci_msix_entry){.control = PCI_MSIX_MASKED};
    memset(m->pending, 0, (m->count + 63) / 64 * 8);
    f->msix.cap = pci_capability(f, PCI_CAP_MSIX, body, sizeof(body), writable);
}

/* Where BAR `bar`'s registers and the command register say that it is. */
static uint64_t bar_place(const struct pci_function *f, unsigned bar)
{
    const struct pci_bar *r = &f->bar[bar];
    uint32_t command = pci_config_get(f, PCI_COMMAND, 2);
    uint64_t at = pci_config_get(f, PCI_BAR0 + 4 * bar, 4);
    if (!r->size || !(command & (r->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return PCI_NOWHERE;
    at &= ~(uint64_t)(r->io ? BAR_IO_FLAGS : BAR_MEM_FLAGS);
    if (r->wide)
        at |= (uint64_t)pci_config_get(f, PCI_BAR0 + 4 * bar + 4, 4) << 32;
    return at;
}

/* BARs follow their registers. Lock held. */
static void bars_update(struct pci_function *f)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint64_t at = bar_place(f, i);
        if (at == atomic_load_explicit(&f->bar[i].at, memory_order_relaxed))
            continue;
        /* relaxed: whoever programmed it orders its own accesses behind, by the exit */
        atomic_store_explicit(&f->bar[i].at, at, memory_order_relaxed);
        if (f->ops->bar_moved)
            f->ops->bar_moved(f, i, at);
    }
}

void pci_config_default_write(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                              uint32_t value)
{
    lock_take(&f->bus->lock);
    for (unsigned i = 0; i < size; i++) {
        uint8_t bits = f->writable[reg + i], v = (uint8_t)(value >> (8 * i));
        f->config[reg + i] = (uint8_t)((f->config[reg + i] & ~bits) | (v & bits));
    }
    bars_update(f);
    pci_interrupt_update(f, from);
    lock_drop(&f->bus->lock);
    if (f->ops->interrupts_changed)
        f->ops->interrupts_changed(f, from);
}

uint32_t pci_config_default_read(struct pci_function *f, unsigned reg, unsigned size)
{
    lock_take(&f->bus->lock);
    uint32_t v = pci_config_get(f, reg, size);
    lock_drop(&f->bus->lock);
    return v;
}
