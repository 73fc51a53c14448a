/* SPDX-License-Identifier: BSD-2-Clause */
/* Stops what the firmware left mastering the bus, before its memory becomes guest RAM.
 * Tested by every boot (the log says how many functions). */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/plat/machine.h"
#include "hv/base/log.h"

#define PCI_ENABLE 0x80000000u
#define PCI_MULTIFUNCTION (1u << 23)
#define PCI_CLASS_UART 0x0700
#define PCI_BAR_IO 1u
#define PCI_BAR_64 4u
#define PCI_BAR_TYPE 6u
#define PCI_NOBODY 0xffffu

static uint32_t select(uint32_t bus, uint32_t dev, uint32_t fn, uint32_t reg)
{
    return PCI_ENABLE | bus << 16 | dev << 11 | fn << 8 | reg;
}

static uint32_t config_read(uint32_t address)
{
    out32(PCI_CONFIG_ADDRESS, address);
    return in32(PCI_CONFIG_DATA);
}

/* true if the function was a bus master. The status half is written as zeros: write 1 to clear. */
static bool quiesce(uint32_t bus, uint32_t dev, uint32_t fn)
{
    uint32_t command = config_read(select(bus, dev, fn, PCI_COMMAND)) & 0xffff;
    if (!(command & PCI_COMMAND_MASTER))
        return false;
    out32(PCI_CONFIG_ADDRESS, select(bus, dev, fn, PCI_COMMAND));
    out32(PCI_CONFIG_DATA, command & ~PCI_COMMAND_MASTER);
    return true;
}

static unsigned quiesce_device(uint32_t bus, uint32_t dev, unsigned *seen)
{
    unsigned stopped = 0, fns = 1;
    for (uint32_t fn = 0; fn < fns; fn++) {
        if ((config_read(select(bus, dev, fn, PCI_VENDOR)) & 0xffff) == PCI_NOBODY)
            continue;
        if (fn == 0 && (config_read(select(bus, dev, 0, PCI_HEADER)) & PCI_MULTIFUNCTION))
            fns = 8;
        ++*seen;
        stopped += quiesce(bus, dev, fn);
    }
    return stopped;
}

bool pci_uart_at(uint32_t bus, uint32_t dev, uint32_t fn, struct uart_where *out)
{
    uint32_t id = config_read(select(bus, dev, fn, PCI_VENDOR));
    uint32_t bar = config_read(select(bus, dev, fn, PCI_BAR0));
    uint32_t class = config_read(select(bus, dev, fn, PCI_CLASS)) >> 16;
    uint32_t command = config_read(select(bus, dev, fn, PCI_COMMAND)) & 0xffff;

    if ((id & 0xffff) == PCI_NOBODY)
        return false;
    *out = (struct uart_where){.mmio = !(bar & PCI_BAR_IO), .stride = 1};
    out->base = bar & (out->mmio ? ~0xfu : ~3u);
    if (out->mmio && (bar & PCI_BAR_TYPE) == PCI_BAR_64)
        out->base |= (uint64_t)config_read(select(bus, dev, fn, PCI_BAR0 + 4)) << 32;
    /* Ports in chipsets, of other classes, have 32-bit registers. */
    if (out->mmio && class != PCI_CLASS_UART)
        out->stride = 4;
    if (out->base == 0 || (!out->mmio && out->base > 0xfff8))
        return false;
    out32(PCI_CONFIG_ADDRESS, select(bus, dev, fn, PCI_COMMAND));
    out32(PCI_CONFIG_DATA, command | (out->mmio ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO));
    return true;
}

bool pci_uart_find(struct uart_where *out)
{
    out32(PCI_CONFIG_ADDRESS, PCI_ENABLE);
    if (in32(PCI_CONFIG_ADDRESS) != PCI_ENABLE)
        return false;
    for (uint32_t at = 0; at < 256 * 32 * 8; at++) {
        uint32_t bus = at >> 8, dev = at >> 3 & 31, fn = at & 7;
        uint32_t header = select(bus, dev, 0, PCI_HEADER);
        if (fn && !(config_read(header) & PCI_MULTIFUNCTION)) {
            at |= 7; /* the next device */
            continue;
        }
        if ((config_read(select(bus, dev, fn, PCI_VENDOR)) & 0xffff) == PCI_NOBODY) {
            at |= fn ? 0 : 7;
            continue;
        }
        if (config_read(select(bus, dev, fn, PCI_CLASS)) >> 16 == PCI_CLASS_UART &&
            pci_uart_at(bus, dev, fn, out))
            return true;
    }
    return false;
}

void pci_quiesce(void)
{
    unsigned seen = 0, stopped = 0;

    out32(PCI_CONFIG_ADDRESS, PCI_ENABLE);
    if (in32(PCI_CONFIG_ADDRESS) != PCI_ENABLE) {
        log_info("pci", "no configuration mechanism 1");
        return;
    }
    for (uint32_t bus = 0; bus < 256; bus++)
        for (uint32_t dev = 0; dev < 32; dev++)
            stopped += quiesce_device(bus, dev, &seen);
    log_info("pci", "%u functions, Bus Master cleared on %u", seen, stopped);
}
