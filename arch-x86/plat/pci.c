/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine's PCI functions: stopping what the firmware left mastering the bus before its memory
 * becomes guest RAM, the list with sized BARs, and serial ports among them.
 * Tested by tools/tests/test_pci_quiesce.c and every boot (the log says how many functions). */
#include "arch-x86/plat/pci.h"
#include "arch-x86/defs/pci.h"
#include "arch-x86/plat/machine.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

#define MAX_BUS 256
#define UART_OFF 0xffff
#define ALL_DEVICES 256u /* devices and functions of a bus */

static struct port_pci found[PORT_PCI_FUNCTIONS];
static unsigned nfound;
static bool too_many;
static pci_bdf_t uart_of_ours[4];
static unsigned nuarts;

static pci_bdf_t bdf_of(uint32_t bus, uint32_t dev, uint32_t fn)
{
    return (pci_bdf_t)(bus << 8 | dev << 3 | fn);
}

static bool somebody(pci_bdf_t f)
{
    return port_pci_read(f, PCI_VENDOR, 2) != PCI_ID_NOBODY;
}

/* Calls visit for every function there is, by number. */
static void each(void (*visit)(pci_bdf_t f))
{
    for (uint32_t bus = 0; bus < MAX_BUS; bus++) {
        for (uint32_t devfn = 0; devfn < ALL_DEVICES; devfn++) {
            pci_bdf_t f = (pci_bdf_t)(bus << 8 | devfn);
            if (!somebody(f)) {
                devfn |= devfn & 7 ? 0 : 7; /* without function 0 there is no device */
                continue;
            }
            visit(f);
            if (!(devfn & 7) && !(port_pci_read(f, PCI_HEADER_TYPE, 1) & PCI_HEADER_MULTI))
                devfn |= 7;
        }
    }
}

/* --- stopping what firmware left running --- */
static unsigned seen, stopped;

static void quiesce(pci_bdf_t f)
{
    uint32_t command = port_pci_read(f, PCI_COMMAND, 2);

    seen++;
    if (!(command & PCI_COMMAND_MASTER))
        return;
    /* 2 bytes: the status beside it is write 1 to clear. A bridge forwards nothing then. */
    port_pci_write(f, PCI_COMMAND, 2, command & ~PCI_COMMAND_MASTER);
    stopped++;
}

void pci_quiesce(void)
{
    if (!pci_config_init()) {
        log_info("pci", "no configuration mechanism 1");
        return;
    }
    /* All of them first: a firmware's handler may wait for its controller, which reaches memory
     * through the bridges above it. */
    each(pci_usb_handoff);
    each(quiesce);
    log_info("pci", "%u functions, Bus Master cleared on %u", seen, stopped);
}

/* --- the list --- */

/* PCI 3.0, 6.2.5.1 "Address Maps": all ones are written and what stays 0 is the size. Returns how
 * many registers the BAR takes. The function does not decode meanwhile. */
static unsigned bar_size(pci_bdf_t f, unsigned i, struct port_pci_bar *b)
{
    unsigned reg = PCI_BAR0 + 4 * i;
    uint32_t low = port_pci_read(f, reg, 4), high = 0;
    uint64_t mask;

    b->io = low & PCI_BAR_IO;
    b->wide = !b->io && (low & PCI_BAR_TYPE) == PCI_BAR_64 && i + 1 < PCI_BAR_COUNT;
    b->prefetch = !b->io && (low & PCI_BAR_PREFETCH);
    port_pci_write(f, reg, 4, ~0u);
    mask = port_pci_read(f, reg, 4);
    port_pci_write(f, reg, 4, low);
    if (b->wide) {
        high = port_pci_read(f, reg + 4, 4);
        port_pci_write(f, reg + 4, 4, ~0u);
        mask |= (uint64_t)port_pci_read(f, reg + 4, 4) << 32;
        port_pci_write(f, reg + 4, 4, high);
    } else if (mask) {
        mask |= 0xffffffff00000000ull;
    }
    if (b->io && !(mask & 0xffff0000u))
        mask |= 0xffff0000u; /* the upper half need not be there */
    mask &= ~(uint64_t)(b->io ? 3 : 15);
    b->base = ((uint64_t)high << 32 | low) & ~(uint64_t)(b->io ? 3 : 15);
    b->size = mask ? ~mask + 1 : 0;
    return b->wide ? 2 : 1;
}

static void bars_size(struct port_pci *p)
{
    uint32_t command = port_pci_read(p->bdf, PCI_COMMAND, 2);

    if (p->layout != PCI_LAYOUT_DEVICE || p->ours || p->class_code >> 16 == PCI_BASE_BRIDGE)
        return;
    port_pci_write(p->bdf, PCI_COMMAND, 2,
                   (command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY)) | PCI_COMMAND_NO_INTX);
    for (unsigned i = 0; i < PCI_BAR_COUNT;)
        i += bar_size(p->bdf, i, &p->bar[i]);
    port_pci_write(p->bdf, PCI_COMMAND, 2, command | PCI_COMMAND_NO_INTX);
}

static bool is_ours(pci_bdf_t f)
{
    for (unsigned i = 0; i < nuarts; i++)
        if (uart_of_ours[i] == f)
            return true;
    return false;
}

static void list(pci_bdf_t f)
{
    struct port_pci *p = &found[nfound];

    if (nfound == PORT_PCI_FUNCTIONS) {
        too_many = true;
        return;
    }
    pci_config_map(f >> 8);
    *p = (struct port_pci){
        .bdf = f,
        .vendor = (uint16_t)port_pci_read(f, PCI_VENDOR, 2),
        .device = (uint16_t)port_pci_read(f, PCI_VENDOR + 2, 2),
        .class_code = port_pci_read(f, PCI_CLASS, 4) >> 8,
        .layout = (uint8_t)(port_pci_read(f, PCI_HEADER_TYPE, 1) & PCI_HEADER_LAYOUT),
        .ours = is_ours(f),
        .alias = f,
    };
    bars_size(p);
    nfound++;
}

/* Bridges that forward nothing keep what is behind them from its memory. */
static void bridges_enable(void)
{
    for (unsigned i = 0; i < nfound; i++) {
        pci_bdf_t f = found[i].bdf;
        if (found[i].layout == PCI_LAYOUT_BRIDGE)
            port_pci_write(f, PCI_COMMAND, 2,
                           port_pci_read(f, PCI_COMMAND, 2) | PCI_COMMAND_MASTER);
    }
}

void pci_scan(void)
{
    each(list);
    bridges_enable();
    if (too_many)
        log_warn("pci", "more than %u functions: the others are not looked at", PORT_PCI_FUNCTIONS);
}

unsigned port_pci_count(void)
{
    return nfound;
}

const struct port_pci *port_pci_at(unsigned i)
{
    return &found[i];
}

/* --- serial ports --- */
bool pci_uart_at(uint32_t bus, uint32_t dev, uint32_t fn, struct uart_where *out)
{
    pci_bdf_t f = bdf_of(bus, dev, fn);
    uint32_t bar, class, command;

    if (!pci_config_init() || !somebody(f))
        return false;
    bar = port_pci_read(f, PCI_BAR0, 4);
    class = port_pci_read(f, PCI_CLASS, 4) >> 16;
    command = port_pci_read(f, PCI_COMMAND, 2);
    *out = (struct uart_where){.mmio = !(bar & PCI_BAR_IO), .stride = 1};
    out->base = bar & (out->mmio ? ~0xfu : ~3u);
    if (out->mmio && (bar & PCI_BAR_TYPE) == PCI_BAR_64)
        out->base |= (uint64_t)port_pci_read(f, PCI_BAR0 + 4, 4) << 32;
    /* Ports in chipsets, of other classes, have 32-bit registers. */
    if (out->mmio && class != PCI_CLASS_UART)
        out->stride = 4;
    if (out->base == 0 || (!out->mmio && out->base > 0xfff8))
        return false;
    port_pci_write(f, PCI_COMMAND, 2, command | (out->mmio ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO));
    if (!is_ours(f) && nuarts < ARRAY_SIZE(uart_of_ours))
        uart_of_ours[nuarts++] = f;
    return true;
}

static struct uart_where *uart_out;
static bool uart_found;

static void uart_try(pci_bdf_t f)
{
    if (!uart_found && port_pci_read(f, PCI_CLASS, 4) >> 16 == PCI_CLASS_UART)
        uart_found = pci_uart_at(f >> 8, f >> 3 & 31, f & 7, uart_out);
}

bool pci_uart_find(struct uart_where *out)
{
    if (!pci_config_init())
        return false;
    uart_out = out;
    uart_found = false;
    each(uart_try);
    return uart_found;
}
