/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration mechanism 1: a bus with nothing but a host bridge, by which systems recognise
 * that the mechanism works; and the reset control register in its midst. Guarded by the device
 * lock. Tested by tools/tests/test_vdev_misc.c. */
#include "hv/vdev/pc/vpc_state.h"

#define CONFIG_ENABLE BIT(31)
#define CONFIG_ADDRESS_KEPT 0x80fffffcu
#define NOT_THE_BRIDGE 0x00ffff00u /* any bus, device or function but 0 */
#define NOT_BUS_0 0x00ff0000u
#define REGISTER 0xfcu
#define RESET_CPU 0x04u
#define RESET_SYSTEM 0x02u /* with it the whole machine, without INIT of the CPUs */

/* A generic bridge without registers of its own: 1B36:0008, class 060000. */
static uint32_t bridge_read(uint32_t reg)
{
    switch (reg) {
    case PCI_VENDOR:
        return 0x00081b36;
    case PCI_CLASS:
        return 0x06000000;
    default:
        return 0;
    }
}

static uint32_t config_read(const struct vmisc *m)
{
    if (!(m->pci_address & CONFIG_ENABLE) || (m->pci_address & NOT_THE_BRIDGE))
        return ~0u; /* not bus 0, device 0, function 0: nobody answers */
    return bridge_read(m->pci_address & REGISTER);
}

/* true: reset. CF9 is a byte register inside the dword of CF8, which takes dwords only. */
static bool address_access(struct vmisc *m, struct vio *io)
{
    if (io->addr == PCI_CONFIG_ADDRESS && io->size == 4) {
        if (io->write)
            m->pci_address = (uint32_t)io->value & CONFIG_ADDRESS_KEPT;
        else
            io->value = m->pci_address;
    } else if (io->addr == VPC_RESET_PORT && io->size == 1) {
        if (!io->write) {
            io->value = m->reset_control;
            return false;
        }
        bool reset = (io->value & RESET_CPU) && !(m->reset_control & RESET_CPU);
        m->reset_control = (uint32_t)io->value & 0x0e;
        return reset;
    }
    return false;
}

static void vpci_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    bool reset = false;
    lock_take(&pc->lock);
    if (io->addr < PCI_CONFIG_DATA)
        reset = address_access(&pc->misc, io);
    else if (!io->write)
        io->value = config_read(&pc->misc) >> (8 * (io->addr & 3));
    uint32_t at = pc->misc.pci_address;
    lock_drop(&pc->lock);
    if (io->addr >= PCI_CONFIG_DATA && pc->config_hook && (at & CONFIG_ENABLE) &&
        !(at & NOT_BUS_0) && at & NOT_THE_BRIDGE)
        (void)pc->config_hook(pc->config_ctx, io, (uint8_t)(at >> 8),
                              (at & REGISTER) + (io->addr & 3));
    if (reset && (io->value & RESET_SYSTEM))
        vpc_end(pc, true);
    else if (reset)
        vpc_soft_reset(pc, io->cpu);
}

void vpc_on_config(struct vpc *pc, vpc_config_hook hook, void *ctx)
{
    pc->config_hook = hook;
    pc->config_ctx = ctx;
}

void vpci_init(struct vpc *pc)
{
    vbus_add_pio(&pc->bus, PCI_CONFIG_ADDRESS, 8, vpci_io, pc);
}
