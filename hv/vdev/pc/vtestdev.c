/* SPDX-License-Identifier: BSD-2-Clause */
/* With test=1, the ports by which test kernels drive a machine (QEMU's pc-testdev): four bytes of
 * storage at E0, and interrupt lines 0..23 at 2000, each a byte that is the level. Guarded by the
 * device lock. Tested by tools/tests/test_vdev_testdev.c. */
#include "hv/vdev/pc/vpc_state.h"

#define PORT_STORAGE 0xe0
#define PORT_LINES 0x2000

static void storage(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    uint8_t *byte = &pc->testdev.byte[io->addr - PORT_STORAGE];
    lock_take(&pc->lock);
    if (io->write)
        *byte = (uint8_t)io->value;
    else
        io->value = *byte;
    lock_drop(&pc->lock);
}

static void lines(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    unsigned irq = (unsigned)(io->addr - PORT_LINES);
    if (!io->write)
        return;
    lock_take(&pc->lock);
    if (irq < 16)
        vpc_irq(pc, io->cpu, irq, io->value != 0);
    else
        vioapic_set_line(pc, io->cpu, irq, io->value != 0);
    lock_drop(&pc->lock);
}

void vtestdev_init(struct vpc *pc)
{
    if (!pc->cfg.test)
        return;
    vbus_add_pio_bytes(&pc->bus, PORT_STORAGE, 4, storage, pc);
    vbus_add_pio(&pc->bus, PORT_LINES, VPC_IOAPIC_PINS, lines, pc);
}
