/* SPDX-License-Identifier: BSD-2-Clause */
/* The fake machine's PCI functions. Tested by tools/tests/test_pass_irq.c. */
#include "tools/tests/fake/pci.h"
#include "hv/port/iommu.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FAKES 40
#define QUEUE 256
static struct fake_pci fakes[FAKES];
static unsigned nfakes;
struct port_pci_bar fake_pci_kept;
/* A device is one thing, however many CPUs are at it. */
static pthread_mutex_t hardware = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint8_t vector[QUEUE];
    unsigned n;
} arrived[HV_MAX_CPUS];

void fake_pci_clear(void)
{
    memset(fakes, 0, sizeof(fakes));
    memset(arrived, 0, sizeof(arrived));
    nfakes = 0;
    fake_pci_kept.size = 0;
}

bool port_pci_kept(uint64_t base, uint64_t size, bool io)
{
    const struct port_pci_bar *k = &fake_pci_kept;

    return k->size && k->io == io && base < k->base + k->size && k->base < base + size;
}

static void put(uint8_t *p, unsigned at, unsigned size, uint32_t v)
{
    memcpy(p + at, &v, size);
}

static uint32_t get(const uint8_t *p, unsigned at, unsigned size)
{
    uint32_t v = 0;
    memcpy(&v, p + at, size);
    return v;
}

struct fake_pci *fake_pci_add(pci_bdf_t bdf, uint32_t id, uint32_t class_code, uint64_t base)
{
    struct fake_pci *d = &fakes[nfakes++];

    d->id = (struct port_pci){.bdf = bdf,
                              .vendor = (uint16_t)id,
                              .device = (uint16_t)(id >> 16),
                              .class_code = class_code,
                              .alias = bdf};
    d->id.bar[0] = (struct port_pci_bar){.base = base, .size = FAKE_PCI_MEMORY};
    put(d->config, PCI_VENDOR, 4, id);
    put(d->config, PCI_CLASS, 4, class_code << 8);
    put(d->config, PCI_BAR0, 4, (uint32_t)base);
    put(d->writable, PCI_BAR0, 4, ~(FAKE_PCI_MEMORY - 1));
    put(d->writable, PCI_COMMAND, 2, 0x0547);
    put(d->clear, PCI_STATUS, 2, 0xf900);
    put(d->writable, PCI_CACHE_LINE, 2, 0xffff);
    return d;
}

static void cap(struct fake_pci *d, unsigned at, unsigned next, uint8_t id)
{
    d->config[at] = id;
    d->config[at + 1] = (uint8_t)next;
    if (!d->config[PCI_CAPABILITIES])
        d->config[PCI_CAPABILITIES] = (uint8_t)at;
    d->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
}

void fake_pci_pm(struct fake_pci *d, unsigned at, unsigned next)
{
    cap(d, at, next, PCI_CAP_PM);
    d->pm = at;
    put(d->config, at + 2, 2, 0xc803);
    put(d->writable, at + PCI_PM_CSR, 2, 0x0103);
}

void fake_pci_msi(struct fake_pci *d, unsigned at, unsigned next, bool wide, bool masking)
{
    unsigned reg = at + PCI_MSI_ADDRESS;

    cap(d, at, next, PCI_CAP_MSI);
    d->msi = at;
    put(d->config, at + 2, 2, (wide ? PCI_MSI_64 : 0) | (masking ? PCI_MSI_MASKING : 0) | 0x0a);
    put(d->writable, at + 2, 2, 0x71);
    put(d->writable, reg, 4, ~3u);
    if (wide)
        put(d->writable, reg += 4, 4, ~0u);
    put(d->writable, reg + 4, 2, 0xffff);
    if (masking)
        put(d->writable, reg + 8, 4, 1);
}

void fake_pci_msix(struct fake_pci *d, unsigned at, unsigned next, unsigned count,
                   uint32_t table_at, uint32_t pba_at)
{
    cap(d, at, next, PCI_CAP_MSIX);
    d->msix = at;
    d->count = count;
    d->table_at = table_at;
    d->pba_at = pba_at;
    put(d->config, at + 2, 2, count - 1);
    put(d->writable, at + 2, 2, 0xc000);
    put(d->config, at + 4, 4, table_at);
    put(d->config, at + 8, 4, pba_at);
    for (unsigned i = 0; i < count; i++)
        d->memory[table_at + i * 16 + 12] = 1;
}

void fake_pci_express(struct fake_pci *d, unsigned at, unsigned next, bool flr)
{
    cap(d, at, next, PCI_CAP_EXPRESS);
    d->express = at;
    put(d->config, at + 2, 2, 2);
    put(d->config, at + PCI_EXP_DEVCAP, 4, flr ? PCI_EXP_FLR_CAP : 0);
    put(d->writable, at + PCI_EXP_DEVCTL, 2, 0x7fff);
    put(d->clear, at + PCI_EXP_DEVSTA, 2, 0x000f);
}

void fake_pci_af(struct fake_pci *d, unsigned at, unsigned next)
{
    cap(d, at, next, PCI_CAP_AF);
    d->af = at;
    d->config[at + 2] = 6;
    d->config[at + PCI_AF_CAPS] = PCI_AF_FLR_CAP | 1;
}

static void message(uint32_t address, uint32_t data)
{
    uint32_t cpu = address >> 12 & 0xff;

    if (address >> 20 != 0xfee || cpu >= HV_MAX_CPUS || arrived[cpu].n == QUEUE)
        abort(); /* the hypervisor never asks for that */
    arrived[cpu].vector[arrived[cpu].n++] = (uint8_t)data;
}

static bool entry_sends(struct fake_pci *d, unsigned n)
{
    uint32_t control = get(d->config, d->msix + 2, 2);
    uint8_t *e = d->memory + d->table_at + n * 16;
    uint8_t *pending = d->memory + d->pba_at + n / 8;

    if (!(control & PCI_MSIX_ENABLE))
        return false;
    if ((control & PCI_MSIX_MASK_ALL) || (e[12] & 1)) {
        *pending |= (uint8_t)(1u << n % 8);
        return false;
    }
    *pending &= (uint8_t)~(1u << n % 8);
    message(get(e, 0, 4), get(e, 8, 4));
    return true;
}

static bool msi_sends(struct fake_pci *d)
{
    unsigned reg = d->msi + PCI_MSI_ADDRESS;
    uint32_t control = get(d->config, d->msi + 2, 2);

    if (!(control & PCI_MSI_ENABLE))
        return false;
    if ((control & PCI_MSI_MASKING) &&
        (get(d->config, reg + (control & PCI_MSI_64 ? 12 : 8), 1) & 1)) {
        d->msi_pending = true;
        return false;
    }
    d->msi_pending = false;
    message(get(d->config, reg, 4), get(d->config, reg + (control & PCI_MSI_64 ? 8 : 4), 2));
    return true;
}

static bool raise_locked(struct fake_pci *d, unsigned n)
{
    if (d->msix && (get(d->config, d->msix + 2, 2) & PCI_MSIX_ENABLE))
        return n < d->count && entry_sends(d, n);
    return d->msi && n == 0 && msi_sends(d);
}

bool fake_pci_raise(struct fake_pci *d, unsigned n)
{
    pthread_mutex_lock(&hardware);
    bool sent = raise_locked(d, n);
    pthread_mutex_unlock(&hardware);
    return sent;
}

unsigned fake_msi_waiting(uint32_t cpu)
{
    return arrived[cpu].n;
}

/* Registers changed: what was masked and pending goes out. */
static void pending_send(struct fake_pci *d)
{
    if (d->msix && (get(d->config, d->msix + 2, 2) & PCI_MSIX_ENABLE))
        for (unsigned i = 0; i < d->count; i++)
            if (d->memory[d->pba_at + i / 8] >> i % 8 & 1)
                (void)entry_sends(d, i);
    if (d->msi_pending)
        (void)msi_sends(d);
}

static void reset(struct fake_pci *d)
{
    put(d->config, PCI_COMMAND, 2, 0);
    put(d->config, PCI_BAR0, 4, 0);
    if (d->msix) {
        put(d->config, d->msix + 2, 2, d->count - 1);
        memset(d->memory + d->pba_at, 0, (d->count + 63) / 64 * 8);
        for (unsigned i = 0; i < d->count; i++)
            put(d->memory, d->table_at + i * 16 + 12, 4, 1);
    }
    if (d->msi)
        d->config[d->msi + 2] &= 0xfe;
    d->msi_pending = false;
}

static void flr(struct fake_pci *d)
{
    d->resets++;
    d->early += d->busy_ms != 0;
    reset(d);
}

/* Out of D3 without No_Soft_Reset: all is forgotten, and nothing heard for a while. */
static void wake(struct fake_pci *d, uint32_t state)
{
    if (state != PCI_PM_STATE || (get(d->config, d->pm + PCI_PM_CSR, 2) & PCI_PM_STATE))
        return;
    reset(d);
    d->deaf_ms = 10;
}

/* --- hv/port/pci.h --- */
unsigned port_pci_count(void)
{
    return nfakes;
}

const struct port_pci *port_pci_at(unsigned i)
{
    return &fakes[i].id;
}

static struct fake_pci *find(pci_bdf_t f)
{
    for (unsigned i = 0; i < nfakes; i++)
        if (fakes[i].id.bdf == f)
            return &fakes[i];
    return NULL;
}

uint32_t port_pci_read(pci_bdf_t f, unsigned reg, unsigned size)
{
    struct fake_pci *d = find(f);

    pthread_mutex_lock(&hardware);
    if (d && d->express && d->busy_ms)
        d->config[d->express + PCI_EXP_DEVSTA] |= PCI_EXP_PENDING;
    if (d && d->af)
        d->config[d->af + PCI_AF_STATUS] = d->busy_ms != 0;
    uint32_t v =
        d && reg + size <= PCI_SPACE_X ? get(d->config, reg, size) : ~0u >> (32 - 8 * size);
    pthread_mutex_unlock(&hardware);
    return v;
}

void port_pci_write(pci_bdf_t f, unsigned reg, unsigned size, uint32_t value)
{
    struct fake_pci *d = find(f);

    if (!d || reg + size > PCI_SPACE_X)
        return;
    pthread_mutex_lock(&hardware);
    uint32_t state = d->pm ? d->config[d->pm + PCI_PM_CSR] & PCI_PM_STATE : 0;
    for (unsigned i = 0; i < size && !d->deaf_ms; i++) {
        uint8_t v = (uint8_t)(value >> 8 * i), *c = &d->config[reg + i];
        *c = (uint8_t)((*c & ~d->writable[reg + i]) | (v & d->writable[reg + i]));
        *c &= (uint8_t)~(v & d->clear[reg + i]);
    }
    if (d->express && reg == d->express + PCI_EXP_DEVCTL && size >= 2 && (value & PCI_EXP_FLR) &&
        (get(d->config, d->express + PCI_EXP_DEVCAP, 4) & PCI_EXP_FLR_CAP))
        flr(d);
    if (d->af && reg == d->af + PCI_AF_CONTROL && (value & PCI_AF_FLR))
        flr(d);
    if (d->pm)
        wake(d, state);
    d->command_writes += reg == PCI_COMMAND;
    pending_send(d);
    pthread_mutex_unlock(&hardware);
}

void port_pause_ms(unsigned ms)
{
    for (unsigned i = 0; i < nfakes; i++) {
        struct fake_pci *d = &fakes[i];
        d->deaf_ms -= d->deaf_ms < ms ? d->deaf_ms : ms;
        d->busy_ms -= d->busy_ms < ms ? d->busy_ms : ms;
        if (!d->busy_ms && d->express)
            d->config[d->express + PCI_EXP_DEVSTA] &= (uint8_t)~PCI_EXP_PENDING;
    }
}

void *port_device_map(hpa_t at, uint64_t len)
{
    for (unsigned i = 0; i < nfakes; i++)
        if (at.v - fakes[i].id.bar[0].base + len <= FAKE_PCI_MEMORY)
            return fakes[i].memory + (at.v - fakes[i].id.bar[0].base);
    abort();
}

uint64_t port_device_read(const void *at, unsigned size)
{
    uint64_t v = 0;

    pthread_mutex_lock(&hardware);
    memcpy(&v, at, size);
    pthread_mutex_unlock(&hardware);
    return v;
}

static void device_write_locked(void *at, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < nfakes; i++) {
        struct fake_pci *d = &fakes[i];
        size_t in = (size_t)((uint8_t *)at - d->memory - d->table_at);
        if ((uint8_t *)at < d->memory || in >= d->count * 16 || !d->msix)
            continue;
        /* the data of an entry that may send at any moment */
        if (in % 16 == 8 && !(d->memory[d->table_at + in / 16 * 16 + 12] & 1) &&
            get(at, 0, 4) != (uint32_t)value)
            d->torn++;
        memcpy(at, &value, size);
        pending_send(d);
        return;
    }
    memcpy(at, &value, size);
}

void port_device_write(void *at, unsigned size, uint64_t value)
{
    pthread_mutex_lock(&hardware);
    device_write_locked(at, size, value);
    pthread_mutex_unlock(&hardware);
}

uint32_t port_io_read(uint16_t port, unsigned size)
{
    (void)port;
    return ~0u >> (32 - 8 * size);
}

void port_io_write(uint16_t port, unsigned size, uint32_t value)
{
    (void)port;
    (void)size;
    (void)value;
}

bool port_msi_message(pci_bdf_t f, uint32_t cpu, uint8_t vector, uint64_t *address, uint32_t *data)
{
    (void)f;
    *address = 0xfee00000u | cpu << 12;
    *data = vector;
    return true;
}

uint8_t port_msi_take(void)
{
    uint32_t cpu = port_cpu();

    pthread_mutex_lock(&hardware);
    uint8_t v = arrived[cpu].n ? arrived[cpu].vector[--arrived[cpu].n] : 0;
    pthread_mutex_unlock(&hardware);
    return v;
}

/* --- hv/port/iommu.h: there is none in use --- */
bool fake_iommu_found;

bool port_iommu_found(void)
{
    return fake_iommu_found;
}

bool port_iommu_isolates(void)
{
    return false;
}

enum hv_err port_iommu_give(pci_bdf_t f, const struct p2m *p2m)
{
    (void)f;
    (void)p2m;
    return HV_UNSUPPORTED;
}

void port_iommu_take(pci_bdf_t f)
{
    (void)f;
}

bool port_iommu_remaps(void)
{
    return false;
}

void port_iommu_faults(void)
{
}

void port_iommu_late(void)
{
}
