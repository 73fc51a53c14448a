/* SPDX-License-Identifier: BSD-2-Clause */
/* What hv/ needs of the machine's PCI functions: their list, their registers, their interrupts.
 * Defined by arch-x86/plat and arch-x86/cpu, or the fake. */
#pragma once
#include "hv/base/types.h"

#define PORT_PCI_FUNCTIONS 256 /* of the machine, beyond which they are not seen */
#define PORT_PCI_BARS 6
/* Bus 15:8, device 7:3, function 2:0; segment 0 is all there is. */
typedef uint16_t pci_bdf_t;

struct port_pci_bar {
    uint64_t base, size; /* size 0: none, or the upper half of the one before */
    bool io, wide, prefetch;
};
struct port_pci {
    pci_bdf_t bdf;
    uint16_t vendor, device;
    uint32_t class_code; /* class, subclass, interface: 23:0 */
    uint8_t layout;      /* of the header: 0 device, 1 bridge */
    bool ours;           /* a console of the hypervisor's */
    /* The path below bridges: what the function's requests are tagged with where a bridge to
     * conventional PCI stands in between. */
    pci_bdf_t alias;
    struct port_pci_bar bar[PORT_PCI_BARS];
};
/* The functions found at boot, in the order of their numbers. Any context after boot's scan. */
unsigned port_pci_count(void);
const struct port_pci *port_pci_at(unsigned i);
/* Is any of [base, base + size), ports or memory, what the hypervisor itself uses: its consoles,
 * power management, configuration space as memory, IOMMUs, I/O APICs? Boot, after the scan. */
bool port_pci_kept(uint64_t base, uint64_t size, bool io);

/* Registers of a function; size 1, 2 or 4, aligned. Beyond FFh only where the machine has memory
 * mapped configuration; else reads give all ones. Serialised inside. Context: any but handlers. */
uint32_t port_pci_read(pci_bdf_t f, unsigned reg, unsigned size);
void port_pci_write(pci_bdf_t f, unsigned reg, unsigned size, uint32_t value);
/* Waits, for a function after its reset. Context: loop or boot, no lock held. */
void port_pause_ms(unsigned ms);

/* Device memory, uncached, for ever. Context: boot, one CPU. */
void *port_device_map(hpa_t at, uint64_t len);
/* size 1, 2, 4 or 8; one access. */
uint64_t port_device_read(const void *at, unsigned size);
void port_device_write(void *at, unsigned size, uint64_t value);
/* A map of ports that exit, a 1 each, as both vendors have it: its last page is all ones (APM
 * volume 2, 15.10.1 "I/O Permissions Map": accesses that end beyond FFFFh). It does not change
 * while a VCPU of its VM runs. */
#define PORT_IO_MAP_BYTES (3 * PAGE_SIZE)
uint32_t port_io_read(uint16_t port, unsigned size);
void port_io_write(uint16_t port, unsigned size, uint32_t value);

/* Interrupts by message. The vectors that devices may have, on every CPU. */
#define PORT_MSI_FIRST 0x30u
#define PORT_MSI_LAST 0xefu
/* What makes function f interrupt `cpu` with `vector`; false: that CPU cannot be addressed. With
 * interrupt remapping, it may from now on, and what it could send by this vector before is over. */
bool port_msi_message(pci_bdf_t f, uint32_t cpu, uint8_t vector, uint64_t *address, uint32_t *data);
/* A vector that arrived at this CPU, 0: none is left. ACTION_DEVICE was posted with it. Owner CPU.
 */
uint8_t port_msi_take(void);
