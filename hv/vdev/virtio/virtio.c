/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio device: how it is made, who works on its queues, interrupts, and its end when a driver's
 * ring is broken. Tested by tools/tests/test_virtio.c and test_virtio_tsan.c. */
#include "hv/vdev/virtio/virtio.h"
#include "arch-x86/defs/pc.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"

#define VENDOR 0x1af4u /* 4.1.2 "PCI Device Discovery" */
#define DEVICE_MODERN 0x1040u
#define REVISION_MODERN 1

/* 4.1.4 "Virtio Structure PCI Capabilities" */
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };
enum { CAP_LENGTH = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_BYTES = 12, CAP_END = 16 };

/* --- making one --- */

static unsigned capability(struct virtio *v, uint8_t type, uint32_t at, uint32_t bytes)
{
    uint8_t body[CAP_END + 4] = {0}, writable[CAP_END + 4] = {0};
    uint8_t length = type == CFG_NOTIFY || type == CFG_PCI ? CAP_END + 4 : CAP_END;
    const uint32_t step = VIRTIO_NOTIFY_STEP;
    body[CAP_LENGTH] = length;
    body[CAP_TYPE] = type;
    memcpy(body + CAP_OFFSET, &at, 4);
    memcpy(body + CAP_BYTES, &bytes, 4);
    if (type == CFG_NOTIFY)
        memcpy(body + CAP_END, &step, 4);
    if (type == CFG_PCI) { /* a window on the BAR, 4.1.4.9 */
        writable[CAP_BAR] = 0xff;
        memset(writable + CAP_OFFSET, 0xff, 8);
    }
    return pci_capability(&v->fn, PCI_CAP_VENDOR, body, length, writable);
}

/* true: the access is one to the window's data; *io: what it means in the BAR. */
static bool window(struct virtio *v, uint32_t from, unsigned reg, unsigned size, struct vio *io)
{
    if (reg != v->cfg_cap + CAP_END)
        return false;
    uint32_t bar = pci_config_default_read(&v->fn, v->cfg_cap + CAP_BAR, 1);
    uint32_t at = pci_config_default_read(&v->fn, v->cfg_cap + CAP_OFFSET, 4);
    uint32_t n = pci_config_default_read(&v->fn, v->cfg_cap + CAP_BYTES, 4);
    *io = (struct vio){.cpu = from, .addr = at, .size = (uint8_t)n};
    return bar == 0 && (n == 1 || n == 2 || n == 4) && n <= size && !(at & (n - 1)) &&
           at < VIRTIO_MSIX_AT;
}

static bool config_read(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                        uint32_t *value)
{
    struct vio io;
    if (!window(f->dev, from, reg, size, &io))
        return false;
    virtio_bar_access(f, 0, &io);
    *value = (uint32_t)io.value;
    return true;
}

static bool config_write(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                         uint32_t value)
{
    struct vio io;
    if (reg <= PCI_COMMAND && reg + size > PCI_COMMAND) {
        struct virtio *v = f->dev;
        pci_config_default_write(f, from, reg, size, value);
        lock_take(&v->lock);
        virtio_quiet_update(v, false);
        lock_drop(&v->lock);
        return true;
    }
    if (!window(f->dev, from, reg, size, &io))
        return false;
    io.write = true;
    io.value = value & (uint32_t)MASK(8 * io.size - 1, 0);
    virtio_bar_access(f, 0, &io);
    return true;
}

static const struct pci_ops pci = {
    .config_read = config_read, .config_write = config_write, .bar_access = virtio_bar_access};

void virtio_host_init(struct virtio_host *h, struct pci_bus *bus, struct coherency *co)
{
    memset(h, 0, sizeof(*h));
    h->bus = bus;
    h->co = co;
}

enum hv_err virtio_init(struct virtio *v, struct virtio_host *h, const struct virtio_kind *kind,
                        uint8_t devfn, const void *config, unsigned config_bytes, void *back)
{
    if (h->count == VIRTIO_DEVICES)
        return HV_NOMEM;
    ASSERT(config_bytes <= VIRTIO_CONFIG_BYTES && kind->nqueues <= VIRTIO_QUEUES);
    memset((void *)v, 0, sizeof(*v));
    v->kind = kind;
    v->back = back;
    v->host = h;
    v->lock.level = LOCK_VIRTIO;
    v->offered = kind->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    if (config_bytes)
        memcpy(v->config, config, config_bytes);
    v->config_bytes = config_bytes;
    virtio_registers_reset(v);
    pci_function_init(&v->fn,
                      &(struct pci_identity){
                          .id = VENDOR | (DEVICE_MODERN + (uint32_t)kind->type) << 16,
                          .subsystem = VENDOR | (DEVICE_MODERN + (uint32_t)kind->type) << 16,
                          .class_code = kind->class_code,
                          .revision = REVISION_MODERN,
                          .pin = 1,
                          .devfn = devfn,
                      },
                      &pci, v);
    pci_bar_declare(&v->fn, 0, VIRTIO_BAR_BYTES, false, false);
    (void)capability(v, CFG_COMMON, VIRTIO_COMMON_AT, VIRTIO_COMMON_BYTES);
    (void)capability(v, CFG_NOTIFY, VIRTIO_NOTIFY_AT, kind->nqueues * VIRTIO_NOTIFY_STEP);
    (void)capability(v, CFG_ISR, VIRTIO_ISR_AT, 1);
    if (config_bytes)
        (void)capability(v, CFG_DEVICE, VIRTIO_CONFIG_AT, config_bytes);
    v->cfg_cap = capability(v, CFG_PCI, 0, 0);
    pci_msix_declare(&v->fn, &(struct pci_msix){.count = VIRTIO_VECTORS,
                                                .bar = 0,
                                                .table_at = VIRTIO_MSIX_AT,
                                                .pba_at = VIRTIO_PBA_AT,
                                                .entry = v->entry,
                                                .pending = v->pending});
    h->dev[h->count++] = v;
    return HV_OK;
}

/* --- interrupts --- */

/* vector: a field of the device, read under its lock. 4.1.4.5.1: ISR tells of a configuration
 * change with MSI-X too, and of queues without it only. */
static void interrupt(struct virtio *v, uint32_t from, const uint16_t *vector, uint8_t cause)
{
    bool msix = pci_msix_enabled(&v->fn);
    lock_take(&v->lock);
    uint16_t n = *vector;
    if (!msix || cause == VIRTIO_ISR_CONFIG) {
        v->isr |= cause;
        pci_intx_set(&v->fn, from, true); /* which drives no pin with MSI-X */
    }
    lock_drop(&v->lock);
    if (msix && n != VIRTIO_NO_VECTOR)
        pci_msix_send(&v->fn, from, n);
    atomic_fetch_add_explicit(&v->interrupts, 1, memory_order_relaxed);
}

enum hv_err virtio_tell(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    bool want;
    TRY(virtq_wants(&v->q[q], m, &want));
    if (want)
        interrupt(v, from, &v->q[q].vector, VIRTIO_ISR_QUEUE);
    return HV_OK;
}

enum hv_err virtio_drain(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q,
                         unsigned most, virtio_chain_fn fn)
{
    uint64_t bytes = 0;
    enum hv_err r = HV_OK;
    bool empty = false;
    for (unsigned i = 0; i < most && bytes < VIRTIO_BYTES && r == HV_OK; i++) {
        r = virtq_next(&v->q[q], m, &v->chain);
        empty = r == HV_AGAIN;
        if (r != HV_OK)
            break;
        atomic_fetch_add_explicit(&v->chains, 1, memory_order_relaxed);
        r = fn(v, m, q, &bytes);
    }
    if (r != HV_OK && r != HV_AGAIN)
        return HV_INVALID;
    TRY(virtio_tell(v, m, from, q));
    return empty ? HV_OK : HV_AGAIN;
}

/* 2.1.2: the driver's ring makes no sense. Nothing of it is looked at until a reset. */
static void needs_reset(struct virtio *v, uint32_t from)
{
    static uint64_t said;
    lock_take(&v->lock);
    v->status |= VIRTIO_NEEDS_RESET;
    lock_drop(&v->lock);
    atomic_fetch_add_explicit(&v->broken, 1, memory_order_relaxed);
    if (log_ratelimit(&said))
        log_warn("virtio", "device %02x.%u: the driver's ring is broken, the device needs a reset",
                 v->fn.devfn >> 3, v->fn.devfn & 7u);
    interrupt(v, from, &v->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_config_change(struct virtio *v, uint32_t from, unsigned at, const void *data,
                          unsigned n)
{
    ASSERT(at + n <= v->config_bytes);
    lock_take(&v->lock);
    memcpy(v->config + at, data, n);
    v->generation++; /* 4.1.4.3.1: a driver that read half of it reads again */
    bool started = v->status & VIRTIO_DRIVER_OK;
    lock_drop(&v->lock);
    if (started)
        interrupt(v, from, &v->config_vector, VIRTIO_ISR_CONFIG);
}

bool virtio_live(struct virtio *v)
{
    lock_take(&v->lock);
    bool live = (v->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) == VIRTIO_DRIVER_OK &&
                !v->resetting && !v->quiet;
    lock_drop(&v->lock);
    return live;
}

/* --- who works --- */

void virtio_call(struct virtio *v, uint32_t bits)
{
    uint32_t old = atomic_fetch_or_explicit(&v->work, bits, memory_order_acq_rel);
    if ((old & bits) == bits)
        return; /* whoever set them called already */
    uint32_t to = atomic_load_explicit(&v->runner, memory_order_relaxed);
    action_post(v->host->co, ACTION_OUTSIDE, to, ACTION_DEVICE);
}

static void reset(struct virtio *v, uint32_t from)
{
    if (v->kind->ops->reset)
        v->kind->ops->reset(v);
    lock_take(&v->lock);
    virtio_registers_reset(v);
    pci_intx_set(&v->fn, from, false);
    pci_msix_forget(&v->fn);
    lock_drop(&v->lock);
}

/* Returns queue bits that are left. */
static uint32_t work_on(struct virtio *v, uint32_t cpu, const struct vmem *m, uint32_t bits)
{
    uint32_t left = 0;
    if (bits & VIRTIO_WORK_RESET) {
        reset(v, cpu);
        return 0; /* what was notified before it is void */
    }
    for (unsigned q = 0; q < v->kind->nqueues; q++) {
        if (!(bits & 1u << q) || !virtio_live(v) || !v->q[q].enabled)
            continue;
        enum hv_err r = v->kind->ops->queue(v, m, cpu, q);
        if (r == HV_AGAIN)
            left |= 1u << q;
        else if (r != HV_OK)
            needs_reset(v, cpu);
    }
    return left;
}

/* true: something is left. */
static bool run_one(struct virtio *v, uint32_t cpu, const struct vmem *m)
{
    const uint32_t running = (uint32_t)VIRTIO_WORK_RUNNING;
    /* acquire: what the runner before us wrote; pairs with the release below */
    if (atomic_fetch_or_explicit(&v->work, running, memory_order_acq_rel) & running)
        return false; /* it, or whoever comes after it, sees the bits we came for */
    uint32_t bits = atomic_fetch_and_explicit(&v->work, running, memory_order_acq_rel) & ~running;
    atomic_store_explicit(&v->runner, cpu, memory_order_relaxed);
    uint32_t left = work_on(v, cpu, m, bits);
    if (left)
        atomic_fetch_or_explicit(&v->work, left, memory_order_relaxed);
    /* release: the next runner goes on where we stopped. Bits that came meanwhile are ours to see
     * to: whoever set them may have found us running. */
    return atomic_fetch_and_explicit(&v->work, ~running, memory_order_acq_rel) & ~running;
}

bool virtio_run(struct virtio_host *h, uint32_t cpu, const struct vmem *m)
{
    bool more = false;
    h->todo[cpu] = false;
    for (unsigned i = 0; i < h->count; i++)
        if (atomic_load_explicit(&h->dev[i]->work, memory_order_acquire))
            more |= run_one(h->dev[i], cpu, m);
    if (more)
        h->todo[cpu] = true;
    return more;
}

void virtio_stop(struct virtio_host *h)
{
    for (unsigned i = 0; i < h->count; i++)
        if (h->dev[i]->kind->ops->stop)
            h->dev[i]->kind->ops->stop(h->dev[i]);
}
