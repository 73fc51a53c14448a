/* SPDX-License-Identifier: BSD-2-Clause */
/* MSI and MSI-X of functions a VM owns. The guest's address and data are its view; the hardware
 * gets a vector of ours, one for each entry and the same on every CPU, and the CPU that the guest's
 * message names. So a change of affinity is one store of the address, and what was on its way to
 * the old CPU is known there too. PCI 3.0, 6.8 "Message Signaled Interrupts".
 * Tested by tools/tests/test_pass_irq.c. */
#include "hv/base/log.h"
#include "hv/base/stats.h"
#include "hv/pass/state.h"
#include "hv/port/cpu.h"

/* More than that from one entry in a hundredth of a second is a storm: the rest of the hundredth
 * is the guest's. */
#define STORM_MOST 2000u
#define STORM_HZ 100u
#define NO_VECTOR 0

enum { AT_ADDRESS = 0, AT_HIGH = 4, AT_DATA = 8, AT_CONTROL = 12 };

static uint8_t *hw_entry(const struct pass_fn *f, unsigned i)
{
    return f->table_page + (f->table_at - f->table_first) + i * PCI_MSIX_ENTRY;
}

static bool msix_enabled(const struct pass_fn *f)
{
    return f->msix && (pass_get(f->own, f->msix + PCI_MSIX_CONTROL, 2) & PCI_MSIX_ENABLE);
}

static bool function_masked(const struct pass_fn *f)
{
    return pass_get(f->own, f->msix + PCI_MSIX_CONTROL, 2) & PCI_MSIX_MASK_ALL;
}

static bool msi_enabled(const struct pass_fn *f)
{
    return f->msi && (pass_get(f->own, f->msi + PCI_MSI_CONTROL, 2) & PCI_MSI_ENABLE);
}

/* May this entry interrupt, as far as the guest is concerned? MSI is off while MSI-X is on. */
static bool wanted(const struct pass_fn *f, unsigned i)
{
    if (msix_enabled(f))
        return !function_masked(f) && !(f->irq[i].control & PCI_MSIX_MASKED);
    return i == 0 && msi_enabled(f) && !(f->irq[0].control & PCI_MSIX_MASKED);
}

/* Gives the entry its vector. */
static bool vector_get(struct pass_irq *e)
{
    struct pass *p = e->fn->pass;
    uint32_t n;

    if (e->vector != NO_VECTOR)
        return true;
    n = atomic_fetch_add_explicit(&p->next_vector, 1, memory_order_relaxed);
    if (n >= PASS_VECTORS) {
        atomic_store_explicit(&p->next_vector, PASS_VECTORS, memory_order_relaxed);
        /* relaxed: it stands for itself; pass_complain takes it, without the lock */
        atomic_store_explicit(&e->fn->no_vector, true, memory_order_relaxed);
        return false;
    }
    e->vector = (uint8_t)(PORT_MSI_FIRST + n);
    /* release: pairs with pass_arrivals */
    atomic_store_explicit(&p->by_vector[e->vector], e, memory_order_release);
    return true;
}

static void msi_write(const struct pass_fn *f, bool on, uint64_t address, uint32_t data)
{
    unsigned at = f->msi, reg = at + PCI_MSI_ADDRESS;
    uint32_t control = port_pci_read(f->host, at + PCI_MSI_CONTROL, 2) & ~0x71u;

    if (!on) {
        port_pci_write(f->host, at + PCI_MSI_CONTROL, 2, control);
        return;
    }
    port_pci_write(f->host, reg, 4, (uint32_t)address);
    if (f->msi_64)
        port_pci_write(f->host, reg += 4, 4, (uint32_t)(address >> 32));
    port_pci_write(f->host, reg + 4, 2, data);
    if (f->msi_masking)
        port_pci_write(f->host, reg + 8, 4, 0);
    port_pci_write(f->host, at + PCI_MSI_CONTROL, 2, control | PCI_MSI_ENABLE);
}

/* 6.8.3.5 "Per-vector Masking and Function Masking": an entry is changed while masked. Only the
 * destination changes in one that is live, and that in one store. */
static void msix_write(const struct pass_fn *f, unsigned i, bool was, uint64_t address,
                       uint32_t data)
{
    uint8_t *hw = hw_entry(f, i);

    if (!was) {
        port_device_write(hw + AT_CONTROL, 4, PCI_MSIX_MASKED);
        port_device_write(hw + AT_HIGH, 4, address >> 32);
        port_device_write(hw + AT_DATA, 4, data);
    }
    port_device_write(hw + AT_ADDRESS, 4, (uint32_t)address);
    port_device_write(hw + AT_CONTROL, 4, 0);
}

static void hw_mask(struct pass_fn *f, unsigned i)
{
    if (!f->irq[i].live)
        return;
    f->irq[i].live = false;
    if (f->irq[i].table)
        port_device_write(hw_entry(f, i) + AT_CONTROL, 4, PCI_MSIX_MASKED);
    else
        msi_write(f, false, 0, 0);
}

/* The CPU that the guest's message reaches, the first if there are several. */
static uint32_t target(const struct pass_irq *e)
{
    cpuset_t to = vpc_message_targets(e->fn->pass->pc, e->address);

    return to ? (uint32_t)__builtin_ctz(to) : 0;
}

/* The hardware follows what the guest wants of entry i. true: something that came meanwhile is to
 * be sent, by the caller, without the lock. */
static bool follow(struct pass_fn *f, unsigned i)
{
    struct pass_irq *e = &f->irq[i];
    uint32_t cpu, data;
    uint64_t address;

    if (!wanted(f, i) || e->stopped || (e->live && e->table != msix_enabled(f)) || !vector_get(e))
        hw_mask(f, i);
    if (!wanted(f, i) || e->stopped || e->vector == NO_VECTOR) {
        return false;
    }
    cpu = f->pass->co->pcpu[target(e)];
    if (!port_msi_message(f->host, cpu, e->vector, &address, &data)) {
        cpu = f->pass->co->pcpu[0];
        if (!port_msi_message(f->host, cpu, e->vector, &address, &data))
            return false;
    }
    if (!e->live || e->cpu != cpu) {
        e->table = msix_enabled(f);
        if (e->table)
            msix_write(f, i, e->live, address, data);
        else
            msi_write(f, true, address, data);
        e->live = true;
        e->cpu = cpu;
    }
    bool late = e->late;
    e->late = false;
    return late;
}

static void send(const struct pass_irq *e, uint32_t from)
{
    vpc_message(e->fn->pass->pc, from, (uint64_t)e->address_high << 32 | e->address, e->data);
}

/* Which of both is on in the hardware. */
static void enables(const struct pass_fn *f)
{
    if (!f->msix || !f->table_page)
        return;
    uint32_t on = msix_enabled(f) ? PCI_MSIX_ENABLE : 0;
    uint32_t now = port_pci_read(f->host, f->msix + PCI_MSIX_CONTROL, 2);
    if ((now & (PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL)) != on)
        port_pci_write(f->host, f->msix + PCI_MSIX_CONTROL, 2, on);
}

void pass_irq_follow(struct pass_fn *f, uint32_t from)
{
    if (f->msi && !msix_enabled(f) && f->nirq) { /* the registers are the entry */
        unsigned reg = f->msi + PCI_MSI_ADDRESS;
        f->irq[0].address = pass_get(f->own, reg, 4);
        f->irq[0].address_high = f->msi_64 ? pass_get(f->own, reg += 4, 4) : 0;
        f->irq[0].data = pass_get(f->own, reg + 4, 2);
        f->irq[0].control = f->msi_masking ? pass_get(f->own, reg + 8, 1) & PCI_MSIX_MASKED : 0;
    }
    enables(f);
    for (unsigned i = 0; i < f->nirq; i++)
        if (follow(f, i))
            send(&f->irq[i], from);
}

void pass_irq_restore(struct pass_fn *f, uint32_t from)
{
    if (!msix_enabled(f) && !msi_enabled(f))
        return;
    if (f->table_page)
        for (unsigned i = 0; f->msix && i < f->nirq; i++)
            port_device_write(hw_entry(f, i) + AT_CONTROL, 4, PCI_MSIX_MASKED);
    for (unsigned i = 0; i < f->nirq; i++)
        f->irq[i].live = false;
    pass_irq_follow(f, from);
}

void pass_complain(struct pass_fn *f)
{
    /* relaxed: pairs with vector_get; looked at first, since it is nearly always false */
    if (!atomic_load_explicit(&f->no_vector, memory_order_relaxed) ||
        !atomic_exchange_explicit(&f->no_vector, false, memory_order_relaxed))
        return;
    if (log_ratelimit(&f->lines))
        log_warn("pass", "%02x:%02x.%u: a VM has %u interrupts at most, one more stays masked",
                 f->host >> 8, f->host >> 3 & 31u, f->host & 7u, PASS_VECTORS);
}

/* --- the table --- */
static void entry_read(const struct pass_irq *e, unsigned at, struct vio *io)
{
    const uint32_t word[4] = {e->address, e->address_high, e->data, e->control};

    io->value = word[at / 4];
    if (io->size == 8)
        io->value |= (uint64_t)word[at / 4 + 1] << 32;
}

static void word_write(struct pass_irq *e, unsigned at, uint32_t value)
{
    if (at == AT_ADDRESS)
        e->address = value & ~3u;
    else if (at == AT_HIGH)
        e->address_high = value;
    else if (at == AT_DATA)
        e->data = value;
    else
        e->control = value & PCI_MSIX_MASKED;
}

/* 6.8.2: aligned dwords and qwords; anything else is undefined, here it is nothing. */
static void table_entry(struct pass_fn *f, uint32_t at, struct vio *io)
{
    struct pass_irq *e = &f->irq[at / PCI_MSIX_ENTRY];
    unsigned in = at % PCI_MSIX_ENTRY;

    if ((io->size != 4 && io->size != 8) || in % io->size)
        return;
    if (!io->write) {
        entry_read(e, in, io);
        return;
    }
    word_write(e, in, (uint32_t)io->value);
    if (io->size == 8)
        word_write(e, in + 4, (uint32_t)(io->value >> 32));
    if (follow(f, at / PCI_MSIX_ENTRY))
        send(e, io->cpu);
}

/* Pending bits: the hardware's, and what came too late. */
static void pending_read(const struct pass_fn *f, uint32_t at, struct vio *io)
{
    io->value = port_device_read(f->table_page + (f->pba_at - f->table_first) + at, io->size);
    for (unsigned i = 0; i < io->size * 8u; i++)
        if (at * 8 + i < f->nirq && f->irq[at * 8 + i].late)
            io->value |= BIT(i);
}

void pass_table_access(void *fn, struct vio *io)
{
    struct pass_fn *f = fn;
    uint32_t at = (uint32_t)(io->addr - f->bar[f->table_bar].base);
    uint32_t table = f->nirq * PCI_MSIX_ENTRY, pba = (f->nirq + 63) / 64 * 8;

    if (io->addr % io->size)
        return;
    lock_take(&f->lock);
    if (at - f->table_at < table)
        table_entry(f, at - f->table_at, io);
    else if (f->pba_bar == f->table_bar && at - f->pba_at < pba && !io->write)
        pending_read(f, at - f->pba_at, io);
    else if (io->write)
        port_device_write(f->table_page + (at - f->table_first), io->size, io->value);
    else
        io->value = port_device_read(f->table_page + (at - f->table_first), io->size);
    lock_drop(&f->lock);
    pass_complain(f);
}

/* --- arrivals --- */

/* Counts it; true if this was one too many. */
static bool storm(struct pass_fn *f, struct pass_irq *e, uint64_t now)
{
    uint64_t window = now / (port_tsc_hz() / STORM_HZ);

    if (f->storm_window != window) {
        f->storm_window = window;
        for (unsigned i = 0; i < f->nirq; i++)
            f->irq[i].came = 0;
    }
    if (++e->came <= STORM_MOST)
        return false;
    e->stopped = true;
    f->storms++;
    f->storm_until = (window + 1) * (port_tsc_hz() / STORM_HZ);
    if (f->storm_until < atomic_load_explicit(&f->pass->deadline, memory_order_relaxed))
        atomic_store_explicit(&f->pass->deadline, f->storm_until, memory_order_release);
    return true;
}

static void arrived(struct pass_irq *e, uint32_t cpu)
{
    struct pass_fn *f = e->fn;
    unsigned i = (unsigned)(e - f->irq);
    bool stop;

    lock_take(&f->lock);
    f->arrivals++;
    stat_inc(port_cpu(), STAT_device_irqs);
    stop = storm(f, e, port_tsc());
    if (stop)
        hw_mask(f, i);
    /* With the lock: once the guest has moved the interrupt, nothing comes where it was. Linux
     * looks at the old CPU's IRR then, and gives the vector up. */
    if (wanted(f, i))
        send(e, cpu);
    else
        e->late = msix_enabled(f) || msi_enabled(f);
    lock_drop(&f->lock);
    if (stop && log_ratelimit(&f->lines))
        log_warn("pass",
                 "%02x:%02x.%u: more than %u interrupts in a hundredth of a second: "
                 "the rest of it without",
                 f->host >> 8, f->host >> 3 & 31u, f->host & 7u, STORM_MOST);
}

void pass_arrivals(struct pass *p, uint32_t cpu)
{
    uint8_t vector;

    while ((vector = port_msi_take()) != NO_VECTOR) {
        /* acquire: pairs with vector_get */
        struct pass_irq *e = atomic_load_explicit(&p->by_vector[vector], memory_order_acquire);
        if (e)
            arrived(e, cpu);
        else
            stat_inc(port_cpu(), STAT_device_spurious);
    }
}

/* A storm's time is over: what came meanwhile is told by one more interrupt. */
static void storm_end(struct pass_fn *f, uint32_t cpu, uint64_t now, uint64_t *next)
{
    lock_take(&f->lock);
    for (unsigned i = 0; f->storm_until && i < f->nirq; i++) {
        if (!f->irq[i].stopped)
            continue;
        if (now < f->storm_until) {
            *next = f->storm_until < *next ? f->storm_until : *next;
            break;
        }
        f->irq[i].stopped = false;
        f->irq[i].late = true;
        if (follow(f, i))
            send(&f->irq[i], cpu);
    }
    lock_drop(&f->lock);
}

uint64_t pass_timers(struct pass *p, uint32_t cpu, uint64_t now)
{
    /* acquire: pairs with the release in storm */
    uint64_t next = atomic_load_explicit(&p->deadline, memory_order_acquire);

    if (now < next)
        return next;
    atomic_store_explicit(&p->deadline, UINT64_MAX, memory_order_relaxed);
    next = UINT64_MAX;
    for (unsigned i = 0; i < p->nfns; i++)
        storm_end(p->fn[i], cpu, now, &next);
    if (next != UINT64_MAX)
        atomic_store_explicit(&p->deadline, next, memory_order_release);
    return next;
}
