/* SPDX-License-Identifier: BSD-2-Clause */
/* Putting the chosen functions on a VM's bus: reset, memory for their interrupts, what of their
 * BARs is mapped and what is trapped. Tested by the steps of tools/steps/devices.py. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/iommu.h"
#include "hv/pass/state.h"

/* A BAR that was not sized: our console's, a bridge's. One that is larger than a page begins with
 * another one. */
static bool unsized_in_page(const struct port_pci *m, uint64_t page)
{
    unsigned n = m->layout == PCI_LAYOUT_DEVICE ? PCI_BAR_COUNT : 2;

    for (unsigned i = 0; i < n; i++) {
        uint64_t at = port_pci_read(m->bdf, PCI_BAR0 + 4 * i, 4);
        if (at & PCI_BAR_IO)
            continue;
        bool wide = (at & PCI_BAR_TYPE) == PCI_BAR_64 && i + 1 < n;
        at |= wide ? (uint64_t)port_pci_read(m->bdf, PCI_BAR0 + 4 * i + 4, 4) << 32 : 0;
        if ((at & ~PAGE_MASK) == page)
            return true;
        i += wide;
    }
    return false;
}

/* Does another BAR, or what is Patchbay's, lie in the page of this one, which is smaller than a
 * page? */
static bool page_shared(const struct port_pci_bar *b, pci_bdf_t f)
{
    uint64_t page = b->base & ~PAGE_MASK;

    if (port_pci_kept(page, PAGE_SIZE, false))
        return true;
    for (unsigned i = 0; i < port_pci_count(); i++) {
        const struct port_pci *m = port_pci_at(i);
        bool sized = false;
        for (unsigned j = 0; j < PORT_PCI_BARS; j++) {
            const struct port_pci_bar *o = &m->bar[j];
            sized |= o->size != 0;
            if (!o->size || o->io || (m->bdf == f && o->base == b->base))
                continue;
            if (o->base < page + PAGE_SIZE && page < o->base + o->size)
                return true;
        }
        if (!sized && unsized_in_page(m, page))
            return true;
    }
    return false;
}

/* Device memory [base, base + len) at its own address, by sptes. */
static void range_add(struct pass *p, const struct pass_fn *f, uint64_t base, uint64_t end)
{
    if (base >= end || end - base < PAGE_SIZE)
        return;
    if (p->nranges == PASS_RANGES) {
        log_warn("pass", "%02x:%02x.%u: more pieces of device memory than %u: 0x%llx is not mapped",
                 f->host >> 8, f->host >> 3 & 31u, f->host & 7u, PASS_RANGES,
                 (unsigned long long)base);
        return;
    }
    p->range[p->nranges++] =
        (struct p2m_device){gpa_gfn(gpa(base)), hpa_pfn(hpa(base)), (end - base) >> PAGE_SHIFT};
}

static void small_access(void *dev, struct vio *io)
{
    struct pass_fn *f = dev;

    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        uint64_t at = io->addr - f->bar[i].base;
        if (!f->small[i] || at >= f->bar[i].size || at % io->size)
            continue;
        if (io->write)
            port_device_write(f->small[i] + at, io->size, io->value);
        else
            io->value = port_device_read(f->small[i] + at, io->size);
        return;
    }
}

static void ports_access(void *dev, struct vio *io)
{
    (void)dev;
    if (io->write)
        port_io_write((uint16_t)io->addr, io->size, (uint32_t)io->value);
    else
        io->value = port_io_read((uint16_t)io->addr, io->size);
}

static void bar_place(struct pass *p, struct pass_fn *f, unsigned i)
{
    const struct port_pci_bar *b = &f->bar[i];
    uint64_t end = (b->base + b->size + PAGE_MASK) & ~PAGE_MASK, base = b->base & ~PAGE_MASK;

    if (!b->size)
        return;
    if (b->io) {
        pass_ports_open(p, b); /* what the emulator does is not the processor's access */
        vbus_add_pio_over(vpc_bus(p->pc), (uint16_t)b->base, (uint16_t)b->size, ports_access, f);
        return;
    }
    if (b->size < PAGE_SIZE && page_shared(b, f->host) && !(f->msix && f->table_bar == i)) {
        if (!f->small[i])
            f->small[i] = port_device_map(hpa(b->base), b->size);
        vbus_add_mmio_over(vpc_bus(p->pc), b->base, b->size, small_access, f);
        return;
    }
    if (!f->msix || f->table_bar != i) {
        range_add(p, f, base, end);
        return;
    }
    /* around the pages with the table */
    uint64_t from = b->base + f->table_first;
    range_add(p, f, base, from);
    range_add(p, f, from + f->table_bytes, end);
    vbus_add_mmio_over(vpc_bus(p->pc), from, f->table_bytes, pass_table_access, f);
}

/* PCI 3.0, 6.8.2.3 and on: where the table is. false: it is where no table can be. */
static bool table_find(struct pass_fn *f)
{
    uint32_t table = port_pci_read(f->host, f->msix + PCI_MSIX_TABLE, 4);
    uint32_t pba = port_pci_read(f->host, f->msix + PCI_MSIX_PBA, 4);
    uint32_t n = (port_pci_read(f->host, f->msix + PCI_MSIX_CONTROL, 2) & PCI_MSIX_COUNT) + 1;
    const struct port_pci_bar *b;
    uint64_t end;

    f->table_bar = table & PCI_MSIX_BIR;
    f->table_at = table & ~PCI_MSIX_BIR;
    f->pba_bar = pba & PCI_MSIX_BIR;
    f->pba_at = pba & ~PCI_MSIX_BIR;
    f->nirq = n;
    if (f->table_bar >= PCI_BAR_COUNT)
        return false;
    b = &f->bar[f->table_bar];
    end = (uint64_t)f->table_at + n * PCI_MSIX_ENTRY;
    if (!b->size || b->io || end > b->size)
        return false;
    if (f->pba_bar == f->table_bar && f->pba_at + (n + 63) / 64 * 8 > b->size)
        return false;
    /* the pages with the table; a BAR smaller than a page is trapped as a whole */
    f->table_first = b->size < PAGE_SIZE ? 0 : f->table_at & ~(uint32_t)PAGE_MASK;
    end = b->size < PAGE_SIZE ? b->size : (end + PAGE_MASK) & ~PAGE_MASK;
    f->table_bytes = (uint32_t)(end - f->table_first);
    return true;
}

static enum hv_err irqs_make(struct pass_fn *f)
{
    hpa_t at;
    uint64_t bytes;

    f->nirq = 1;
    if (f->msix && !table_find(f)) {
        log_warn("pass", "%02x:%02x.%u: its MSI-X table lies nowhere: hidden", f->host >> 8,
                 f->host >> 3 & 31u, f->host & 7u);
        return HV_INVALID;
    }
    bytes = ((uint64_t)f->nirq * sizeof(struct pass_irq) + PAGE_MASK) & ~PAGE_MASK;
    TRY(phys_alloc(bytes, PAGE_SIZE, 0, &at));
    f->irq = port_ptr(at);
    memset(f->irq, 0, bytes);
    for (unsigned i = 0; i < f->nirq; i++) {
        f->irq[i].fn = f;
        f->irq[i].control = f->msix ? PCI_MSIX_MASKED : 0;
    }
    if (f->msix)
        f->table_page =
            port_device_map(hpa(f->bar[f->table_bar].base + f->table_first), f->table_bytes);
    return HV_OK;
}

static bool fn_start(struct pass *p, struct pass_fn *f, const struct p2m *p2m)
{
    uint64_t mapped = 0;

    if (!f->irq && irqs_make(f) != HV_OK)
        return false;
    pass_reset(f);
    if (port_iommu_isolates() && port_iommu_give(f->host, p2m) != HV_OK) {
        log_warn("pass", "%02x:%02x.%u left out: no way to keep it in the guest's memory",
                 f->host >> 8, f->host >> 3 & 31u, f->host & 7u);
        return false;
    }
    if (p->started)
        pass_forget(f);
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        bar_place(p, f, i);
        mapped += f->bar[i].io ? 0 : f->bar[i].size;
    }
    if (pass_bus_add(f) != HV_OK)
        return false;
    log_info("pass",
             "%02x:%02x.%u (%04x:%04x) is the guest's 00:%02x.%u: %llu KiB of registers, %s",
             f->host >> 8, f->host >> 3 & 31u, f->host & 7u, f->vendor, f->device, f->devfn >> 3,
             f->devfn & 7u, (unsigned long long)(mapped >> 10), f->msix ? "MSI-X" : "MSI");
    return true;
}

void pass_start(struct pass *p, struct vpc *pc, const struct coherency *co, struct p2m *p2m)
{
    unsigned n = 0;

    p->pc = pc;
    p->co = co;
    p->nranges = 0;
    pass_bus_leave(p);
    if (pass_ports_close(p) != HV_OK)
        log_warn("pass", "no memory for a map of ports: each access of one exits");
    atomic_store_explicit(&p->deadline, UINT64_MAX, memory_order_relaxed);
    for (unsigned i = 0; i < p->nfns; i++)
        if (fn_start(p, p->fn[i], p2m))
            p->fn[n++] = p->fn[i];
    p->nfns = n;
    p->started = true;
    p2m->device = p->range;
    p2m->ndevices = p->nranges;
}
