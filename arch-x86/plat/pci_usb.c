/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking USB host controllers over from firmware that emulates a PS/2 keyboard by them, before
 * anything else about them changes. xHCI 1.2, 7.1 "USB Legacy Support Capability"; EHCI 1.0, 2.1.7
 * "USB Legacy Support Extended Capability" and 5.1 "EHCI Extended Capability: Pre-OS to OS Handoff
 * Synchronization". Tested by tools/tests/test_pci_quiesce.c and every boot with such a controller.
 */
#include "arch-x86/cpu/paging.h"
#include "arch-x86/defs/pci.h"
#include "arch-x86/plat/machine.h"
#include "arch-x86/plat/pci.h"
#include "hv/base/log.h"

#define HCCPARAMS 0x10u      /* xHCI: HCCPARAMS1, extended capabilities in 31:16, in dwords */
#define EHCI_HCCPARAMS 0x08u /* EECP in 15:8, a register of configuration space */
#define LEGACY_ID 1u
#define BIOS_OWNS 0x00010000u
#define OS_OWNS 0x01000000u
#define CONTROL 4u /* USBLEGCTLSTS */
#define XHCI_SMI_ENABLES 0x0000e011u
#define XHCI_SMI_EVENTS 0xe0000000u /* write 1 to clear */
#define MAX_CAPABILITIES 64
#define WAIT_TRIES 100
#define WAIT_MS 10

/* The registers lie in boot's identity map, or they cannot be reached yet. */
static uint8_t *registers(pci_bdf_t f)
{
    uint64_t bar = port_pci_read(f, PCI_BAR0, 4);

    if (bar & PCI_BAR_IO || !(port_pci_read(f, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY))
        return NULL;
    if ((bar & PCI_BAR_TYPE) == PCI_BAR_64)
        bar |= (uint64_t)port_pci_read(f, PCI_BAR0 + 4, 4) << 32;
    bar &= ~15ull;
    if (!bar)
        return NULL;
    if (bar >= paging_identity_end() - 0x10000) {
        log_warn("pci",
                 "%02x:%02x.%u: registers at 0x%llx, out of reach: the firmware is not asked for "
                 "this USB controller",
                 f >> 8, f >> 3 & 31u, f & 7u, (unsigned long long)bar);
        return NULL;
    }
    return paging_map_mmio(hpa(bar), 0x10000);
}

static void told(pci_bdf_t f, const char *what, bool given)
{
    if (given)
        log_info("pci", "%02x:%02x.%u: the firmware gave this %s controller up", f >> 8,
                 f >> 3 & 31u, f & 7u, what);
    else
        log_warn("pci", "%02x:%02x.%u: the firmware keeps this %s controller: taken all the same",
                 f >> 8, f >> 3 & 31u, f & 7u, what);
}

static void xhci(pci_bdf_t f)
{
    uint8_t *base = registers(f);
    uint32_t at;

    if (!base)
        return;
    at = (uint32_t)(port_device_read(base + HCCPARAMS, 4) >> 16) * 4;
    for (unsigned i = 0; at && at < 0x10000 - 8 && i < MAX_CAPABILITIES; i++) {
        uint32_t cap = (uint32_t)port_device_read(base + at, 4), next = (cap >> 8 & 0xff) * 4;
        if (cap == ~0u)
            return;
        if ((cap & 0xff) == LEGACY_ID) {
            uint32_t control;
            unsigned tries = 0;
            if (!(cap & BIOS_OWNS))
                return;
            port_device_write(base + at, 4, cap | OS_OWNS);
            while (port_device_read(base + at, 4) & BIOS_OWNS && ++tries < WAIT_TRIES)
                pci_early_wait_ms(WAIT_MS);
            if (tries == WAIT_TRIES)
                port_device_write(base + at, 4, OS_OWNS | (cap & 0xffff));
            control = (uint32_t)port_device_read(base + at + CONTROL, 4);
            port_device_write(base + at + CONTROL, 4,
                              (control & ~XHCI_SMI_ENABLES) | XHCI_SMI_EVENTS);
            told(f, "xHCI", tries < WAIT_TRIES);
            return;
        }
        if (!next)
            return;
        at += next;
    }
}

static void ehci(pci_bdf_t f)
{
    const uint8_t *base = registers(f);
    uint32_t at;

    if (!base)
        return;
    at = port_device_read(base + EHCI_HCCPARAMS, 4) >> 8 & 0xfc;
    for (unsigned i = 0; at >= 0x40 && i < MAX_CAPABILITIES; i++) {
        uint32_t cap = port_pci_read(f, at, 4);
        unsigned tries = 0;
        if ((cap & 0xff) != LEGACY_ID) {
            at = cap >> 8 & 0xfc;
            continue;
        }
        if (!(cap & BIOS_OWNS))
            return;
        port_pci_write(f, at, 4, cap | OS_OWNS);
        while (port_pci_read(f, at, 4) & BIOS_OWNS && ++tries < WAIT_TRIES)
            pci_early_wait_ms(WAIT_MS);
        if (tries == WAIT_TRIES)
            port_pci_write(f, at, 4, OS_OWNS | (cap & 0xffff));
        port_pci_write(f, at + CONTROL, 4, 0); /* no SMI */
        told(f, "EHCI", tries < WAIT_TRIES);
        return;
    }
}

void pci_usb_handoff(pci_bdf_t f)
{
    uint32_t class = port_pci_read(f, PCI_CLASS, 4) >> 8;

    if (class == (PCI_CLASS_USB << 8 | PCI_USB_XHCI))
        xhci(f);
    else if (class == (PCI_CLASS_USB << 8 | PCI_USB_EHCI))
        ehci(f);
}
