/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a virtio device on PCI: VIRTIO 1.2, 4.1.4 "Virtio Structure PCI Capabilities".
 * Which write is legal in which state is decided here; what is not is ignored. Tested by
 * tools/tests/test_virtio.c and test_virtio_hostile.c. */
#include "arch-x86/defs/pc.h"
#include "hv/base/string.h"
#include "hv/vdev/virtio/virtio.h"

/* 4.1.4.3 "Common configuration structure layout" */
enum common {
    DEVICE_FEATURE_SELECT = 0x00,
    DEVICE_FEATURE = 0x04,
    DRIVER_FEATURE_SELECT = 0x08,
    DRIVER_FEATURE = 0x0c,
    CONFIG_MSIX_VECTOR = 0x10,
    NUM_QUEUES = 0x12,
    DEVICE_STATUS = 0x14,
    CONFIG_GENERATION = 0x15,
    QUEUE_SELECT = 0x16,
    QUEUE_SIZE = 0x18,
    QUEUE_MSIX_VECTOR = 0x1a,
    QUEUE_ENABLE = 0x1c,
    QUEUE_NOTIFY_OFF = 0x1e,
    QUEUE_DESC = 0x20,
    QUEUE_DESC_HIGH = 0x24,
    QUEUE_DRIVER = 0x28,
    QUEUE_DRIVER_HIGH = 0x2c,
    QUEUE_DEVICE = 0x30,
    QUEUE_DEVICE_HIGH = 0x34,
};

void virtio_registers_reset(struct virtio *v)
{
    v->accepted = 0;
    v->device_feature_select = v->driver_feature_select = 0;
    v->status = v->isr = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->queue_select = 0;
    v->resetting = false;
    v->quiet = true;
    for (unsigned i = 0; i < v->kind->nqueues; i++)
        v->q[i] = (struct virtq){.max = VIRTQ_MAX, .size = VIRTQ_MAX, .vector = VIRTIO_NO_VECTOR};
}

/* NULL: no such queue; its size reads 0 then. */
static struct virtq *selected(struct virtio *v)
{
    return v->queue_select < v->kind->nqueues ? &v->q[v->queue_select] : NULL;
}

static uint32_t half(uint64_t value, uint32_t select)
{
    return select == 0 ? (uint32_t)value : select == 1 ? (uint32_t)(value >> 32) : 0;
}

static uint32_t queue_read(struct virtio *v, unsigned reg)
{
    const struct virtq *q = selected(v);
    if (!q)
        return reg == QUEUE_MSIX_VECTOR ? VIRTIO_NO_VECTOR : 0;
    switch (reg) {
    case QUEUE_SIZE:
        return q->size;
    case QUEUE_MSIX_VECTOR:
        return q->vector;
    case QUEUE_ENABLE:
        return q->enabled;
    case QUEUE_NOTIFY_OFF:
        return v->queue_select;
    case QUEUE_DESC:
        return (uint32_t)q->desc;
    case QUEUE_DESC_HIGH:
        return (uint32_t)(q->desc >> 32);
    case QUEUE_DRIVER:
        return (uint32_t)q->avail;
    case QUEUE_DRIVER_HIGH:
        return (uint32_t)(q->avail >> 32);
    case QUEUE_DEVICE:
        return (uint32_t)q->used;
    case QUEUE_DEVICE_HIGH:
        return (uint32_t)(q->used >> 32);
    default:
        return 0;
    }
}

static uint32_t common_read(struct virtio *v, unsigned reg)
{
    switch (reg) {
    case DEVICE_FEATURE_SELECT:
        return v->device_feature_select;
    case DEVICE_FEATURE:
        return half(v->offered, v->device_feature_select);
    case DRIVER_FEATURE_SELECT:
        return v->driver_feature_select;
    case DRIVER_FEATURE:
        return half(v->accepted, v->driver_feature_select);
    case CONFIG_MSIX_VECTOR:
        return v->config_vector;
    case NUM_QUEUES:
        return v->kind->nqueues;
    case DEVICE_STATUS:
        return v->status;
    case CONFIG_GENERATION:
        return v->generation;
    case QUEUE_SELECT:
        return v->queue_select;
    default:
        return queue_read(v, reg);
    }
}

static void set_half(uint64_t *field, bool high, uint32_t value)
{
    unsigned shift = high ? 32 : 0;
    *field = (*field & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

/* 4.1.4.3.2: what a queue is made of is fixed once it is enabled, and for good with DRIVER_OK. */
static void queue_write(struct virtio *v, unsigned reg, uint32_t value)
{
    struct virtq *q = selected(v);
    if (!q)
        return;
    if (reg == QUEUE_MSIX_VECTOR) {
        q->vector = value < VIRTIO_VECTORS ? (uint16_t)value : VIRTIO_NO_VECTOR;
        return;
    }
    if ((v->status & VIRTIO_DRIVER_OK) || !(v->status & VIRTIO_FEATURES_OK) || q->enabled)
        return;
    switch (reg) {
    case QUEUE_SIZE: /* 2.7: a power of two */
        if (value && value <= q->max && !(value & (value - 1)))
            q->size = (uint16_t)value;
        break;
    case QUEUE_ENABLE: /* alignment: 2.7 "Split Virtqueues", the table */
        q->enabled = value == 1 && !(q->desc & 15) && !(q->avail & 1) && !(q->used & 3);
        break;
    case QUEUE_DESC:
    case QUEUE_DESC_HIGH:
        set_half(&q->desc, reg & 4, value);
        break;
    case QUEUE_DRIVER:
    case QUEUE_DRIVER_HIGH:
        set_half(&q->avail, reg & 4, value);
        break;
    case QUEUE_DEVICE:
    case QUEUE_DEVICE_HIGH:
        set_half(&q->used, reg & 4, value);
        break;
    default:
        break;
    }
}

/* 2.2: the driver's choice counts as a whole when it says FEATURES_OK. */
static bool features_fit(const struct virtio *v)
{
    return !(v->accepted & ~v->offered) && (v->accepted & VIRTIO_F_VERSION_1);
}

void virtio_quiet_update(struct virtio *v, bool called)
{
    bool master = pci_config_default_read(&v->fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
    v->quiet = !master || (v->quiet && !called);
}

/* What starting the device does to its queues. */
static void start(struct virtio *v)
{
    virtio_quiet_update(v, true);
    for (unsigned i = 0; i < v->kind->nqueues; i++)
        virtq_start(&v->q[i], v->accepted & VIRTIO_F_INDIRECT_DESC,
                    v->accepted & VIRTIO_F_EVENT_IDX);
}

/* Each bit may follow only those in `after`; the rest are the device's or reserved. */
static const struct {
    uint8_t bit, after;
} steps[] = {
    {VIRTIO_ACKNOWLEDGE, 0},
    {VIRTIO_DRIVER, VIRTIO_ACKNOWLEDGE},
    {VIRTIO_FEATURES_OK, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER},
    {VIRTIO_DRIVER_OK, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK},
    {VIRTIO_FAILED, 0},
};

/* Bits are added, by legal steps; 0 is a reset. Returns the work that comes of it. */
static uint32_t status_write(struct virtio *v, uint8_t value)
{
    if (value == 0) {
        v->resetting = true; /* reads as it is until the runner has let go of the queues */
        return VIRTIO_WORK_RESET;
    }
    if (v->resetting || (v->status & ~value & (uint8_t)~VIRTIO_NEEDS_RESET))
        return 0; /* 2.1.1: a driver does not clear bits */
    uint8_t was = v->status;
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        if (!(value & ~v->status & steps[i].bit) || (v->status & steps[i].after) != steps[i].after)
            continue;
        if (steps[i].bit != VIRTIO_FEATURES_OK || features_fit(v))
            v->status |= steps[i].bit;
    }
    if (!(v->status & ~was & VIRTIO_DRIVER_OK))
        return 0;
    start(v);
    return (1u << v->kind->nqueues) - 1; /* notified too early does not count: all are looked at */
}

/* Returns work that comes of it. */
static uint32_t common_write(struct virtio *v, unsigned reg, uint32_t value)
{
    switch (reg) {
    case DEVICE_FEATURE_SELECT:
        v->device_feature_select = value;
        break;
    case DRIVER_FEATURE_SELECT:
        v->driver_feature_select = value;
        break;
    case DRIVER_FEATURE:
        if (!(v->status & VIRTIO_FEATURES_OK) && v->driver_feature_select < 2)
            set_half(&v->accepted, v->driver_feature_select, value);
        break;
    case CONFIG_MSIX_VECTOR:
        v->config_vector = value < VIRTIO_VECTORS ? (uint16_t)value : VIRTIO_NO_VECTOR;
        break;
    case DEVICE_STATUS:
        return status_write(v, (uint8_t)value);
    case QUEUE_SELECT:
        v->queue_select = (uint16_t)value;
        break;
    default:
        if (!v->resetting)
            queue_write(v, reg, value);
        break;
    }
    return 0;
}

/* 4.1.3.1: fields are accessed by their own width, and those of 64 bits by halves. 0: no field. */
static unsigned width_of(unsigned reg)
{
    if (reg == DEVICE_STATUS || reg == CONFIG_GENERATION)
        return 1;
    if (reg >= CONFIG_MSIX_VECTOR && reg < QUEUE_DESC)
        return reg & 1 ? 0 : 2;
    return reg & 3 ? 0 : 4;
}

static uint32_t common_access(struct virtio *v, struct vio *io, unsigned reg)
{
    uint32_t work = 0;
    if (!io->write)
        io->value = 0;
    if (reg + io->size > VIRTIO_COMMON_BYTES)
        return 0;
    if (io->size == 8 && reg >= QUEUE_DESC && !(reg & 7)) {
        for (unsigned i = 0; i < 2; i++)
            if (io->write)
                work |= common_write(v, reg + 4 * i, (uint32_t)(io->value >> (32 * i)));
            else
                io->value |= (uint64_t)common_read(v, reg + 4 * i) << (32 * i);
    } else if (io->size == width_of(reg)) {
        if (io->write)
            work = common_write(v, reg, (uint32_t)io->value);
        else
            io->value = common_read(v, reg);
    }
    return work;
}

/* 4.1.4.5: reading takes the causes away, and the interrupt with them. */
static void isr_read(struct virtio *v, struct vio *io)
{
    if (io->write)
        return;
    io->value = v->isr;
    v->isr = 0;
    pci_intx_set(&v->fn, io->cpu, false);
}

void virtio_bar_access(struct pci_function *f, unsigned bar, struct vio *io)
{
    struct virtio *v = f->dev;
    uint32_t at = (uint32_t)io->addr, work = 0;
    if (bar != 0)
        return;
    lock_take(&v->lock);
    if (at < VIRTIO_ISR_AT) {
        work = common_access(v, io, at);
    } else if (at < VIRTIO_CONFIG_AT) {
        if (at == VIRTIO_ISR_AT)
            isr_read(v, io);
    } else if (at < VIRTIO_NOTIFY_AT) {
        uint32_t offset = at - VIRTIO_CONFIG_AT;
        if (!io->write)
            io->value = 0;
        if (!io->write && offset + io->size <= v->config_bytes)
            memcpy(&io->value, v->config + offset, io->size);
    } else if (at < VIRTIO_MSIX_AT && io->write && (uint16_t)io->value < v->kind->nqueues) {
        work = 1u << (uint16_t)io->value; /* 4.1.5.2: the queue's index is what is written */
        if (v->quiet)
            virtio_quiet_update(v, true);
    }
    lock_drop(&v->lock);
    if (work)
        virtio_notify(v, io->cpu, work);
}
