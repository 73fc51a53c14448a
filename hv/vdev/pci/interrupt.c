/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts of PCI functions: INTx as a level on a shared line, MSI-X with masks and pending bits.
 * Tested by tools/tests/test_pci_bus.c. */
#include "arch-x86/defs/pc.h"
#include "hv/base/assert.h"
#include "hv/base/string.h"
#include "hv/vdev/pci/pci.h"

#define ENTRY_BYTES 16u

static uint32_t msix_control(const struct pci_function *f)
{
    return f->msix.cap ? pci_config_get(f, f->msix.cap + PCI_MSIX_CONTROL, 2) : 0;
}

/* PCI-to-PCI Bridge Architecture 1.2, 9.1: devices' pins are swizzled over the lines. */
static unsigned line_of(const struct pci_function *f)
{
    return ((f->devfn >> 3) + f->config[PCI_INTERRUPT_PIN] - 1u) % PCI_PINS;
}

static unsigned index_of(const struct pci_function *f)
{
    unsigned i = 0;
    while (f->bus->fn[i] != f)
        i++;
    return i;
}

/* 6.2.3 "Device Status", Interrupt Status; 6.2.2, Interrupt Disable; 6.8.2.3: with MSI-X enabled a
 * function does not use its pin. */
static void intx_update(struct pci_function *f, uint32_t from)
{
    if (!f->config[PCI_INTERRUPT_PIN])
        return;
    bool enabled = !(pci_config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_NO_INTX) &&
                   !(msix_control(f) & PCI_MSIX_ENABLE);
    bool driven = f->intx && enabled;
    if (f->intx)
        f->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else
        f->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
    if (driven == f->driven)
        return;
    f->driven = driven;
    unsigned pin = line_of(f);
    uint32_t bit = 1u << index_of(f), old = f->bus->drivers[pin];
    f->bus->drivers[pin] = driven ? old | bit : old & ~bit;
    if (!old != !f->bus->drivers[pin])
        f->bus->irq->line(f->bus->ctx, from, pin, driven);
}

static bool msix_open(const struct pci_function *f, unsigned n)
{
    uint32_t control = msix_control(f);
    return (control & PCI_MSIX_ENABLE) && !(control & PCI_MSIX_MASK_ALL) &&
           !(f->msix.entry[n].control & PCI_MSIX_MASKED) &&
           (pci_config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
}

static void msix_message(struct pci_function *f, uint32_t from, unsigned n)
{
    const struct pci_msix_entry *e = &f->msix.entry[n];
    f->msix.pending[n / 64] &= ~BIT(n % 64);
    f->bus->irq->message(f->bus->ctx, from, (uint64_t)e->address_high << 32 | e->address, e->data);
}

/* What waited for a mask to go. */
static void msix_update(struct pci_function *f, uint32_t from)
{
    if (!(msix_control(f) & PCI_MSIX_ENABLE))
        return;
    for (unsigned w = 0; w < (f->msix.count + 63) / 64; w++)
        for (uint64_t bits = f->msix.pending[w]; bits; bits &= bits - 1) {
            unsigned n = w * 64 + (unsigned)__builtin_ctzll(bits);
            if (msix_open(f, n))
                msix_message(f, from, n);
        }
}

void pci_interrupt_update(struct pci_function *f, uint32_t from)
{
    intx_update(f, from);
    msix_update(f, from);
}

void pci_intx_set(struct pci_function *f, uint32_t from, bool level)
{
    lock_take(&f->bus->lock);
    f->intx = level;
    intx_update(f, from);
    lock_drop(&f->bus->lock);
}

void pci_msix_send(struct pci_function *f, uint32_t from, unsigned n)
{
    lock_take(&f->bus->lock);
    if (n < f->msix.count && (msix_control(f) & PCI_MSIX_ENABLE)) {
        f->msix.pending[n / 64] |= BIT(n % 64);
        if (msix_open(f, n))
            msix_message(f, from, n);
    }
    lock_drop(&f->bus->lock);
}

void pci_msix_forget(struct pci_function *f)
{
    lock_take(&f->bus->lock);
    memset(f->msix.pending, 0, (f->msix.count + 63) / 64 * sizeof(*f->msix.pending));
    lock_drop(&f->bus->lock);
}

bool pci_msix_enabled(struct pci_function *f)
{
    lock_take(&f->bus->lock);
    bool on = msix_control(f) & PCI_MSIX_ENABLE;
    lock_drop(&f->bus->lock);
    return on;
}

/* 6.8.2: aligned dwords and qwords only; others read as ones would, by dwords, and write nothing.
 */
static void table_access(struct pci_function *f, uint32_t offset, struct vio *io)
{
    uint8_t *at = (uint8_t *)f->msix.entry + offset;
    if ((io->size != 4 && io->size != 8) || (offset & (io->size - 1u))) {
        if (!io->write)
            io->value = 0;
        return;
    }
    if (!io->write) {
        io->value = 0;
        memcpy(&io->value, at, io->size);
        return;
    }
    memcpy(at, &io->value, io->size);
    struct pci_msix_entry *e = &f->msix.entry[offset / ENTRY_BYTES];
    e->address &= ~3u;
    e->control &= PCI_MSIX_MASKED;
    msix_update(f, io->cpu);
}

static void pba_read(const struct pci_function *f, uint32_t offset, struct vio *io)
{
    io->value = 0;
    memcpy(&io->value, (const uint8_t *)f->msix.pending + offset, io->size);
}

bool pci_msix_access(struct pci_function *f, uint32_t offset, struct vio *io)
{
    uint32_t table = offset - f->msix.table_at, pba = offset - f->msix.pba_at;
    uint32_t pba_bytes = (f->msix.count + 63) / 64 * 8;
    bool in_table = f->msix.cap && offset >= f->msix.table_at &&
                    table + io->size <= f->msix.count * ENTRY_BYTES;
    bool in_pba = f->msix.cap && offset >= f->msix.pba_at && pba + io->size <= pba_bytes;
    if (!in_table && !in_pba)
        return false;
    lock_take(&f->bus->lock);
    if (in_table)
        table_access(f, table, io);
    else if (!io->write)
        pba_read(f, pba, io);
    lock_drop(&f->bus->lock);
    if (in_table && io->write && f->ops->interrupts_changed)
        f->ops->interrupts_changed(f, io->cpu);
    return true;
}
