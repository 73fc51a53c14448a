/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of virtio share: guest memory that is an array, a driver that keeps its rings in
 * it, and a virtual PC whose bus it finds the devices on. Tested by the tests that use it. */
#pragma once
#include "arch-x86/defs/pc.h"
#include "hv/vdev/virtio/devices.h"
#include "tools/tests/test_vdev_rig.h"

#define RAM_BYTES (1u << 20)
static _Alignas(4096) uint8_t ram[RAM_BYTES];
static unsigned mem_reads, mem_writes, mem_stores;
/* Called before each read of guest memory: a guest that changes it meanwhile. */
static void (*mem_hook)(uint64_t at);

static enum hv_err ram_read(void *ctx, gpa_t at, void *buf, size_t n)
{
    (void)ctx;
    mem_reads++;
    if (mem_hook)
        mem_hook(at.v);
    if (at.v > RAM_BYTES || n > RAM_BYTES - at.v)
        return HV_RANGE;
    memcpy(buf, ram + at.v, n);
    return HV_OK;
}
static enum hv_err ram_write(void *ctx, gpa_t at, const void *buf, size_t n)
{
    (void)ctx;
    mem_writes++;
    if (at.v > RAM_BYTES || n > RAM_BYTES - at.v)
        return HV_RANGE;
    memcpy(ram + at.v, buf, n);
    return HV_OK;
}
static enum hv_err ram_store(void *ctx, gpa_t at, unsigned width, uint64_t value)
{
    (void)ctx;
    mem_stores++;
    if (at.v > RAM_BYTES || width > RAM_BYTES - at.v || (at.v & (width - 1)))
        return HV_RANGE;
    memcpy(ram + at.v, &value, width);
    return HV_OK;
}
__attribute__((unused)) static const struct vmem mem = {
    .read = ram_read, .write = ram_write, .store = ram_store};

static void put16(uint64_t at, uint16_t v)
{
    memcpy(ram + at, &v, 2);
}
__attribute__((unused)) static uint16_t get16(uint64_t at)
{
    uint16_t v;
    memcpy(&v, ram + at, 2);
    return v;
}
__attribute__((unused)) static uint32_t get32(uint64_t at)
{
    uint32_t v;
    memcpy(&v, ram + at, 4);
    return v;
}

/* --- the driver's half of a queue --- */
#define D_NEXT 1
#define D_WRITE 2
#define D_INDIRECT 4
struct ring {
    uint64_t desc, avail, used;
    uint16_t size, next, seen;
};
__attribute__((unused)) static struct ring ring_at(uint64_t base, uint16_t size)
{
    memset(ram + base, 0, 0x2000);
    return (struct ring){base, base + 0x1000, base + 0x1800, size, 0, 0};
}
__attribute__((unused)) static void desc_set(uint64_t table, unsigned i, uint64_t at, uint32_t len,
                                             uint16_t flags, uint16_t next)
{
    uint64_t d = table + 16 * (uint64_t)i;
    memcpy(ram + d, &at, 8);
    memcpy(ram + d + 8, &len, 4);
    put16(d + 12, flags);
    put16(d + 14, next);
}
__attribute__((unused)) static void offer(struct ring *r, uint16_t head)
{
    put16(r->avail + 4 + 2 * (uint64_t)(r->next++ % r->size), head);
    put16(r->avail + 2, r->next);
}
/* The next used element, or false. */
__attribute__((unused)) static bool reap(struct ring *r, uint32_t *head, uint32_t *len)
{
    if (get16(r->used + 2) == r->seen)
        return false;
    uint64_t at = r->used + 4 + 8 * (uint64_t)(r->seen++ % r->size);
    *head = get32(at);
    *len = get32(at + 4);
    return true;
}

/* --- a driver of the whole device, by its BAR --- */
static struct virtio_host host;

__attribute__((unused)) static void rig_virtio(uint32_t ncpus)
{
    rig_init(ncpus);
    apics_on();
    memset(ram, 0, sizeof(ram));
    mem_hook = NULL;
    virtio_host_init(&host, vpc_pci(&pc), &co);
}
__attribute__((unused)) static uint64_t bar_of(struct virtio *v)
{
    return pci_config_get(&v->fn, 0x10, 4) & ~0xfull;
}
__attribute__((unused)) static uint64_t reg_r(struct virtio *v, unsigned reg, uint8_t size)
{
    return rig_io(0, true, bar_of(v) + reg, size, false, 0);
}
__attribute__((unused)) static void reg_w(struct virtio *v, unsigned reg, uint8_t size,
                                          uint64_t value)
{
    (void)rig_io(0, true, bar_of(v) + reg, size, true, value);
}
__attribute__((unused)) static bool run(uint32_t cpu)
{
    return virtio_run(&host, cpu, &mem);
}
static void command(struct virtio *v, uint16_t bits)
{
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80000004u | (uint32_t)v->fn.devfn << 8);
    (void)rig_io(0, false, 0xcfc, 2, true, bits);
}
/* Up to FEATURES_OK with these features. */
__attribute__((unused)) static void negotiate(struct virtio *v, uint64_t features)
{
    command(v, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    reg_w(v, 0x14, 1, 0);
    (void)run(0);
    reg_w(v, 0x14, 1, 1);
    reg_w(v, 0x14, 1, 3);
    reg_w(v, 8, 4, 0), reg_w(v, 12, 4, (uint32_t)features);
    reg_w(v, 8, 4, 1), reg_w(v, 12, 4, features >> 32);
    reg_w(v, 0x14, 1, 11);
}
__attribute__((unused)) static void queue_up(struct virtio *v, unsigned q, const struct ring *r)
{
    reg_w(v, 0x16, 2, q);
    reg_w(v, 0x18, 2, r->size);
    reg_w(v, 0x1a, 2, q + 1);
    reg_w(v, 0x20, 8, r->desc), reg_w(v, 0x28, 8, r->avail), reg_w(v, 0x30, 8, r->used);
    reg_w(v, 0x1c, 2, 1);
}
__attribute__((unused)) static void driver_ok(struct virtio *v)
{
    reg_w(v, 0x14, 1, 15);
    (void)run(0);
}
/* Notifies queue q and runs what comes of it to its end. */
__attribute__((unused)) static void kick(struct virtio *v, unsigned q)
{
    reg_w(v, VIRTIO_NOTIFY_AT + q * VIRTIO_NOTIFY_STEP, 2, q);
    for (unsigned i = 0; i < 1000 && run(0); i++)
        ;
}
