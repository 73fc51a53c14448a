/* SPDX-License-Identifier: BSD-2-Clause */
/* The allow-list of configuration space: which bits of which register a guest reads from the
 * hardware, which of its writes get there, which are kept virtual. What is not listed reads 0 and
 * is not written. Tested by tools/tests/test_pass_config.c. */
#include "hv/base/string.h"
#include "hv/pass/state.h"

#define CAP_MIN 0x40u
#define CAPS_MAX 48

/* A register: of the header, or at that offset in a capability. */
struct rule {
    uint8_t cap; /* 0: the header */
    uint8_t at, size;
    uint32_t read, write, clear; /* of the hardware's: read, written, cleared by a 1 */
    uint32_t own_write;          /* kept virtual */
};

static const struct rule rules[] = {
    {0, PCI_VENDOR, 4, ~0u, 0, 0, 0},
    /* command: virtual, carried over in config.c; INTx stays off */
    {0, PCI_COMMAND, 2, 0, 0, 0, 0x0547},
    {0, PCI_STATUS, 2, 0xfff7, 0, 0xf900, 0}, /* no Interrupt Status */
    {0, PCI_CLASS, 4, ~0u, 0, 0, 0},
    {0, PCI_CACHE_LINE, 1, 0xff, 0xff, 0, 0},
    {0, PCI_LATENCY, 1, 0xff, 0xff, 0, 0},
    {0, PCI_SUBSYSTEM, 4, ~0u, 0, 0, 0},
    {0, PCI_INTERRUPT_LINE, 1, 0, 0, 0, 0xff},
    /* PCI PM 1.2, 3.2: no PME, which would need a wire; the power state */
    {PCI_CAP_PM, 2, 2, 0x07ff, 0, 0, 0},
    {PCI_CAP_PM, PCI_PM_CSR, 2, 0x000b, 0x0003, 0, 0},
    /* MSI's own registers are made in msi_rules, MSI-X's control is virtual but for its size */
    {PCI_CAP_MSIX, PCI_MSIX_CONTROL, 2, PCI_MSIX_COUNT, 0, 0, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL},
    {PCI_CAP_MSIX, PCI_MSIX_TABLE, 4, ~0u, 0, 0, 0},
    {PCI_CAP_MSIX, PCI_MSIX_PBA, 4, ~0u, 0, 0, 0},
    /* PCIe 4.0, 7.5.3. The port at the other end of the link is not the guest's: what both ends
     * must agree on, payload size, link control, stays as firmware left it. */
    {PCI_CAP_EXPRESS, 2, 2, 0xffff, 0, 0, 0},
    {PCI_CAP_EXPRESS, PCI_EXP_DEVCAP, 4, ~0u, 0, 0, 0},
    /* MRRS, relaxed order, FLR. Reports of errors go to the root port, whose answer is an NMI or SMI
     * of the machine's: virtual. */
    {PCI_CAP_EXPRESS, PCI_EXP_DEVCTL, 2, 0x7ff0, 0xf810, 0, 0x000f},
    {PCI_CAP_EXPRESS, PCI_EXP_DEVSTA, 2, 0x003f, 0, 0x000f, 0},
    {PCI_CAP_EXPRESS, 0x0c, 4, ~0u, 0, 0, 0},         /* link capabilities */
    {PCI_CAP_EXPRESS, 0x10, 2, 0xffff, 0, 0, 0},      /* link control */
    {PCI_CAP_EXPRESS, 0x12, 2, 0xffff, 0, 0, 0},      /* link status */
    {PCI_CAP_EXPRESS, 0x24, 4, 0x0000001f, 0, 0, 0},  /* no LTR, OBFF, atomics, prefixes */
    {PCI_CAP_EXPRESS, 0x28, 2, 0x001f, 0x001f, 0, 0}, /* completion timeout */
    {PCI_CAP_EXPRESS, 0x2c, 4, ~0u, 0, 0, 0},
    {PCI_CAP_EXPRESS, 0x30, 2, 0xffff, 0, 0, 0},
    {PCI_CAP_EXPRESS, 0x32, 2, 0xffff, 0, 0, 0},
    {PCI_CAP_SATA, 2, 2, 0xffff, 0, 0, 0},
    {PCI_CAP_SATA, 4, 4, ~0u, 0, 0, 0},
    /* PCI "Advanced Capabilities for Conventional PCI ECN": FLR */
    {PCI_CAP_AF, 2, 2, 0xffff, 0, 0, 0},
    {PCI_CAP_AF, PCI_AF_CONTROL, 1, 0, PCI_AF_FLR, 0, 0},
    {PCI_CAP_AF, 5, 1, 0x01, 0, 0, 0},
};

uint32_t pass_get(const uint8_t *bytes, unsigned reg, unsigned size)
{
    uint32_t v = 0;

    memcpy(&v, bytes + reg, size);
    return v;
}

void pass_put(uint8_t *bytes, unsigned reg, unsigned size, uint32_t value)
{
    memcpy(bytes + reg, &value, size);
}

static void apply(struct pass_fn *f, unsigned base, uint8_t cap)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        const struct rule *r = &rules[i];
        unsigned reg = base + r->at;
        if (r->cap != cap || reg + r->size > PCI_SPACE)
            continue;
        pass_put(f->hw_read, reg, r->size, r->read);
        pass_put(f->hw_write, reg, r->size, r->write);
        pass_put(f->hw_clear, reg, r->size, r->clear);
        pass_put(f->own_write, reg, r->size, r->own_write);
    }
}

/* PCI 3.0, 6.8.1 "MSI Capability Structure": one message, which needs no contiguous vectors. */
static void msi_rules(struct pass_fn *f, unsigned at)
{
    uint32_t control = port_pci_read(f->host, at + PCI_MSI_CONTROL, 2);
    unsigned reg = at + PCI_MSI_ADDRESS;

    f->msi_64 = control & PCI_MSI_64;
    f->msi_masking = control & PCI_MSI_MASKING;
    pass_put(f->own, at + PCI_MSI_CONTROL, 2, control & (PCI_MSI_64 | PCI_MSI_MASKING));
    pass_put(f->own_write, at + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE);
    pass_put(f->own_write, reg, 4, ~3u);
    if (f->msi_64)
        pass_put(f->own_write, reg += 4, 4, ~0u);
    pass_put(f->own_write, reg + 4, 2, 0xffff);
    if (f->msi_masking) {
        pass_put(f->own_write, reg + 8, 1, 1);
        pass_put(f->hw_read, reg + 12, 1, 1); /* pending */
    }
}

/* Virtio's and others' structures: told, not written (a window into BARs stays shut). */
static void vendor_rules(struct pass_fn *f, unsigned at)
{
    unsigned len = port_pci_read(f->host, at + 2, 1);

    for (unsigned i = 2; i < len && at + i < PCI_SPACE; i++)
        f->hw_read[at + i] = 0xff;
}

static unsigned cap_bytes(const struct pass_fn *f, unsigned at, uint8_t id)
{
    switch (id) {
    case PCI_CAP_PM:
        return 8;
    case PCI_CAP_MSI:
        return 24;
    case PCI_CAP_MSIX:
        return 12;
    case PCI_CAP_EXPRESS: /* version 1 ends with the link or slot */
        return (port_pci_read(f->host, at + 2, 2) & 15) > 1 ? 0x34 : 0x14;
    case PCI_CAP_SATA:
        return 8;
    case PCI_CAP_AF:
        return 6;
    case PCI_CAP_VENDOR:
        return 3;
    default:
        return 0;
    }
}

static uint8_t *cap_register(struct pass_fn *f, uint8_t id)
{
    switch (id) {
    case PCI_CAP_PM:
        return &f->pm;
    case PCI_CAP_MSI:
        return &f->msi;
    case PCI_CAP_MSIX:
        return &f->msix;
    case PCI_CAP_EXPRESS:
        return &f->express;
    case PCI_CAP_AF:
        return &f->af;
    default:
        return NULL;
    }
}

/* Takes the capability at `at` into the guest's list, behind the register `link`. */
static bool cap_take(struct pass_fn *f, unsigned at, uint8_t id)
{
    unsigned bytes = cap_bytes(f, at, id);
    uint8_t *kept = cap_register(f, id);

    if (!bytes || at + bytes > PCI_SPACE || (kept && *kept))
        return false;
    if (kept)
        *kept = (uint8_t)at;
    f->own[at] = id;
    if (id == PCI_CAP_MSI)
        msi_rules(f, at);
    else if (id == PCI_CAP_VENDOR)
        vendor_rules(f, at);
    else
        apply(f, at, id);
    if (id == PCI_CAP_EXPRESS && bytes < 0x34)
        for (unsigned i = bytes; i < 0x34 && at + i < PCI_SPACE; i++)
            f->hw_read[at + i] = f->hw_write[at + i] = f->hw_clear[at + i] = 0;
    return true;
}

/* The list as the guest sees it; a damaged one, or one in a circle, ends. */
static void caps_walk(struct pass_fn *f)
{
    unsigned link = PCI_CAPABILITIES;
    unsigned at = port_pci_read(f->host, PCI_CAPABILITIES, 1) & 0xfc;

    if (!(port_pci_read(f->host, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES))
        return;
    for (unsigned n = 0; at >= CAP_MIN && n < CAPS_MAX; n++) {
        uint8_t id = (uint8_t)port_pci_read(f->host, at, 1);
        if (id == 0xff)
            return;
        if (!f->own[at] && cap_take(f, at, id)) {
            f->own[link] = (uint8_t)at;
            link = at + 1;
        }
        at = port_pci_read(f->host, at + 1, 1) & 0xfc;
    }
}

void pass_rules(struct pass_fn *f)
{
    apply(f, 0, 0);
    f->own[PCI_HEADER_TYPE] = PCI_LAYOUT_DEVICE; /* each is a device of its own */
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        const struct port_pci_bar *b = &f->bar[i];
        uint32_t flags = (b->io ? PCI_BAR_IO : 0) | (b->wide ? PCI_BAR_64 : 0) |
                         (b->prefetch ? PCI_BAR_PREFETCH : 0);
        if (!b->size)
            continue;
        pass_put(f->own, PCI_BAR0 + 4 * i, 4, (uint32_t)b->base | flags);
        if (b->wide)
            pass_put(f->own, PCI_BAR0 + 4 * i + 4, 4, (uint32_t)(b->base >> 32));
    }
    caps_walk(f);
}
