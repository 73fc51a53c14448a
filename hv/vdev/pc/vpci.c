/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration mechanism 1 with a host bridge, by which systems recognise that it works, and
 * the same space as memory (PCI Express 4.0, 7.2.2 "PCI Express Enhanced Configuration Access
 * Mechanism (ECAM)"); the reset control register in its midst; and where the interrupts of the bus
 * behind it end. The address register and the lines are guarded by the device lock. Tested by
 * tools/tests/test_vdev_misc.c and test_pci_bus.c. */
#include "hv/vdev/pc/vpc_state.h"

#define CONFIG_ENABLE BIT(31)
#define CONFIG_ADDRESS_KEPT 0x80fffffcu
#define NOT_THE_BRIDGE 0x00ffff00u /* any bus, device or function but 0 */
#define REGISTER 0xfcu
#define BUS_DEVFN(address) ((unsigned)(address) >> 8 & 0xffffu)
#define LINES_EVEN 0x55u /* of the bus's lines, PCI_PINS */
#define LINES_ODD 0xaau
#define MESSAGE_LOGICAL BIT(2)
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

/* Both without the device lock: the bus has its own. */
static uint32_t config_read(struct vpc *pc, uint32_t address, const struct vio *io)
{
    unsigned shift = 8 * (io->addr & 3);
    if (!(address & CONFIG_ENABLE))
        return ~0u;
    if (!(address & NOT_THE_BRIDGE))
        return bridge_read(address & REGISTER) >> shift;
    return pci_config_read(&pc->pci, io->cpu, BUS_DEVFN(address),
                           (address & REGISTER) + (unsigned)(io->addr & 3), io->size);
}

static void config_write(struct vpc *pc, uint32_t address, const struct vio *io)
{
    if ((address & CONFIG_ENABLE) && (address & NOT_THE_BRIDGE))
        pci_config_write(&pc->pci, io->cpu, BUS_DEVFN(address),
                         (address & REGISTER) + (unsigned)(io->addr & 3), io->size,
                         (uint32_t)io->value);
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

/* The page of a function, the register in it. An access of 8 bytes is two. */
static void ecam_dword(struct vpc *pc, struct vio *io)
{
    unsigned at = (unsigned)(io->addr - PCI_ECAM_BASE), devfn = at / PCI_ECAM_FUNCTION;
    unsigned reg = at % PCI_ECAM_FUNCTION;

    if (io->write && devfn)
        pci_config_write(&pc->pci, io->cpu, devfn, reg, io->size, (uint32_t)io->value);
    else if (!io->write && devfn)
        io->value = pci_config_read(&pc->pci, io->cpu, devfn, reg, io->size);
    else if (!io->write && reg < PCI_CONFIG_BYTES)
        io->value = bridge_read(reg & REGISTER) >> 8 * (reg & 3);
}

static void ecam_access(void *dev, struct vio *io)
{
    struct vio half = *io;

    if (io->addr % io->size) /* a bridge need not carry it out */
        return;
    if (io->size <= 4) {
        ecam_dword(dev, io);
        return;
    }
    half.size = 4;
    half.value = (uint32_t)io->value;
    ecam_dword(dev, &half);
    uint64_t low = (uint32_t)half.value;
    half.addr += 4;
    half.value = io->value >> 32;
    ecam_dword(dev, &half);
    if (!io->write)
        io->value = half.value << 32 | low;
}

/* A dword access that begins inside a dword reaches two registers: no bridge carries it out. */
static void data_access(struct vpc *pc, struct vio *io)
{
    lock_take(&pc->lock);
    uint32_t address = pc->misc.pci_address;
    lock_drop(&pc->lock);
    bool fits = (io->addr & 3) + io->size <= 4;
    if (io->write && fits)
        config_write(pc, address, io);
    else if (!io->write)
        io->value = fits ? config_read(pc, address, io) : ~0ull;
}

static void vpci_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    if (io->addr >= PCI_CONFIG_DATA) {
        data_access(pc, io);
        return;
    }
    lock_take(&pc->lock);
    bool reset = address_access(&pc->misc, io);
    lock_drop(&pc->lock);
    if (reset && (io->value & RESET_SYSTEM))
        vpc_end(pc, true);
    else if (reset)
        vpc_soft_reset(pc, io->cpu);
}

static void vpci_ports(void *dev, struct vio *io)
{
    (void)pci_bus_pio(&((struct vpc *)dev)->pci, io);
}

/* A line of the bus: its own pin of the I/O APIC, and one of two interrupts of the 8259s. */
static void vpci_line(void *ctx, uint32_t from, unsigned pin, bool level)
{
    struct vpc *pc = ctx;
    unsigned odd = pin & 1;
    lock_take(&pc->lock);
    pc->pci_lines = level ? pc->pci_lines | 1u << pin : pc->pci_lines & ~(1u << pin);
    vpic_set_line(pc, from, VPC_PCI_IRQ + odd, pc->pci_lines & (odd ? LINES_ODD : LINES_EVEN));
    vioapic_set_line(pc, from, VPC_PCI_PIN + pin, level);
    lock_drop(&pc->lock);
}

/* SDM volume 3, 11.11 "Message Signalled Interrupts": address FEExxxxx names the destination, data
 * what it gets. Elsewhere it would be a write to memory: none of ours sends one. */
static void vpci_message(void *ctx, uint32_t from, uint64_t address, uint32_t data)
{
    vpc_message(ctx, from, address, data);
}

cpuset_t vpc_message_targets(const struct vpc *pc, uint64_t address)
{
    if (address >> 20 != VPC_LAPIC_BASE >> 20)
        return 0;
    return vlapic_dest(pc, (uint32_t)(address >> 12) & 0xff, address & MESSAGE_LOGICAL, false);
}

void vpc_message(struct vpc *pc, uint32_t from, uint64_t address, uint32_t data)
{
    cpuset_t to = vpc_message_targets(pc, address);
    unsigned mode = (unsigned)DELIVERY_MODE(data);
    if (mode != DM_SIPI && mode != DM_EXTINT)
        (void)vlapic_send(pc, from, to, mode, data & 0xff, false);
}

static const struct pci_irq_ops vpci_interrupts = {.line = vpci_line, .message = vpci_message};

struct pci_bus *vpc_pci(struct vpc *pc)
{
    return &pc->pci;
}

enum hv_err vpc_pci_add(struct vpc *pc, struct pci_function *f)
{
    TRY(pci_bus_add(&pc->pci, f));
    if (pc->pci.count == 1)
        vbus_add_mmio(&pc->bus, PCI_ECAM_BASE, PCI_ECAM_BYTES, ecam_access, pc);
    pc->pic.chip[1].elcr |= 3u << (VPC_PCI_IRQ - 8); /* as firmware leaves it: level */
    return HV_OK;
}

void vpc_pci_window(struct vpc *pc, uint64_t base, uint64_t end)
{
    pci_bus_window(&pc->pci, base, end);
    vbus_add_mmio(&pc->bus, base, end - base, pci_bus_mmio, &pc->pci);
}

void vpc_pci_low(struct vpc *pc, uint64_t base)
{
    pc->pci.told_low = base;
    vbus_add_mmio(&pc->bus, base, PCI_WINDOW_LOW - base, pci_bus_mmio, &pc->pci);
}

void vpci_init(struct vpc *pc)
{
    pci_bus_init(&pc->pci, &vpci_interrupts, pc);
    vbus_add_pio(&pc->bus, PCI_CONFIG_ADDRESS, 8, vpci_io, pc);
}

void vpci_windows(struct vpc *pc)
{
    vbus_add_pio(&pc->bus, PCI_IO_BEGIN, PCI_IO_END - PCI_IO_BEGIN, vpci_ports, pc);
    vbus_add_mmio(&pc->bus, PCI_WINDOW_LOW, PCI_WINDOW_LOW_END - PCI_WINDOW_LOW, pci_bus_mmio,
                  &pc->pci);
}
