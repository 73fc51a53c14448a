/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the device of a port or memory access. Tested by tools/tests/test_vdev_misc.c. */
#include "hv/vdev/vbus.h"
#include "hv/base/assert.h"

static void vbus_add(struct vbus_range *r, unsigned *n, struct vbus_range add)
{
    ASSERT(*n < VBUS_MAX && add.len);
    r[(*n)++] = add;
}

void vbus_add_pio(struct vbus *b, uint16_t base, uint16_t len, vio_handler h, void *dev)
{
    vbus_add(b->pio, &b->npio, (struct vbus_range){base, len, h, dev, false});
}

void vbus_add_pio_bytes(struct vbus *b, uint16_t base, uint16_t len, vio_handler h, void *dev)
{
    vbus_add(b->pio, &b->npio, (struct vbus_range){base, len, h, dev, true});
}

void vbus_add_mmio(struct vbus *b, uint64_t base, uint64_t len, vio_handler h, void *dev)
{
    vbus_add(b->mmio, &b->nmmio, (struct vbus_range){base, len, h, dev, false});
}

static void vbus_over(struct vbus_range *r, unsigned *n, struct vbus_range add)
{
    ASSERT(*n < VBUS_MAX && add.len);
    for (unsigned i = (*n)++; i > 0; i--)
        r[i] = r[i - 1];
    r[0] = add;
}

void vbus_add_pio_over(struct vbus *b, uint16_t base, uint16_t len, vio_handler h, void *dev)
{
    vbus_over(b->pio, &b->npio, (struct vbus_range){base, len, h, dev, false});
}

void vbus_add_mmio_over(struct vbus *b, uint64_t base, uint64_t len, vio_handler h, void *dev)
{
    vbus_over(b->mmio, &b->nmmio, (struct vbus_range){base, len, h, dev, false});
}

void vbus_cpu_device(struct vbus *b, vio_handler h, void *dev)
{
    b->cpu_device = (struct vbus_range){0, ~0ull, h, dev, false};
    for (uint32_t c = 0; c < HV_MAX_CPUS; c++)
        b->cpu_page[c] = VBUS_NO_PAGE;
}

void vbus_cpu_page(struct vbus *b, uint32_t cpu, uint64_t base)
{
    b->cpu_page[cpu] = base;
}

static const struct vbus_range *vbus_find(const struct vbus_range *r, unsigned n, uint64_t at)
{
    for (unsigned i = 0; i < n; i++)
        if (at - r[i].base < r[i].len)
            return &r[i];
    return NULL;
}

static uint64_t size_mask(uint8_t size)
{
    return size >= 8 ? ~0ull : BIT(8 * size) - 1;
}

/* Calls the handler if the whole access lies in its range. */
static bool vbus_call(const struct vbus_range *r, struct vio *io)
{
    uint64_t mask = size_mask(io->size);
    bool claimed = r && io->addr - r->base + io->size <= r->len;
    if (io->write)
        io->value &= mask;
    else
        io->value = mask;
    if (claimed)
        r->handler(r->dev, io);
    if (!io->write)
        io->value &= mask;
    return claimed;
}

bool vbus_pio(struct vbus *b, struct vio *io)
{
    const struct vbus_range *r = vbus_find(b->pio, b->npio, io->addr);
    if (!r || !r->bytes || io->size == 1)
        return vbus_call(r, io);

    uint64_t value = 0;
    for (unsigned i = 0; i < io->size; i++) {
        struct vio one = {.cpu = io->cpu,
                          .addr = io->addr + i,
                          .size = 1,
                          .write = io->write,
                          .value = io->value >> (8 * i)};
        (void)vbus_call(vbus_find(b->pio, b->npio, one.addr), &one);
        value |= one.value << (8 * i);
    }
    if (!io->write)
        io->value = value;
    return true;
}

bool vbus_mmio(struct vbus *b, struct vio *io)
{
    if (io->addr - b->cpu_page[io->cpu] < PAGE_SIZE)
        return vbus_call(&b->cpu_device, io);
    return vbus_call(vbus_find(b->mmio, b->nmmio, io->addr), io);
}
