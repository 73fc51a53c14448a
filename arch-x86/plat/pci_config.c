/* SPDX-License-Identifier: BSD-2-Clause */
/* Access to the registers of PCI functions: configuration mechanism 1, and the memory that MCFG
 * names (PCI Firmware Specification 3.2, 4.1.2 "MCFG Table Description"), also above 4 GiB.
 * Tested by every boot; the table's parser by tools/tests/test_iommu.c. */
#include "arch-x86/plat/pci.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/pci.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/plat/kept.h"
#include "hv/base/lock.h"
#include "hv/base/log.h"
#include "hv/port/cpu.h"

#define ENABLE 0x80000000u
#define BYTES_PER_BUS (1u << 20)
#define BYTES_PER_FUNCTION 4096u

static struct lock lock = {.level = LOCK_PCI_CONFIG};
static struct pci_window ecam; /* of segment 0, as MCFG has it */
static uint8_t *bus_map[256];  /* registers of that bus, once mapped */
static bool mechanism_1;

bool pci_config_init(void)
{
    out32(PCI_CONFIG_ADDRESS, ENABLE);
    mechanism_1 = in32(PCI_CONFIG_ADDRESS) == ENABLE;
    return mechanism_1;
}

void pci_config_ecam(hpa_t rsdp, bool uefi)
{
    uint32_t len;
    const char *t = acpi_find(rsdp, uefi, "MCFG", &len);

    if (!t)
        return;
    if (!mcfg_parse((const uint8_t *)t, len, &ecam)) {
        log_warn("pci", "MCFG names no usable window: configuration mechanism 1 alone is used");
        return;
    }
    kept_add(ecam.base.v + (uint64_t)ecam.first * BYTES_PER_BUS,
             (ecam.last - ecam.first + 1ull) * BYTES_PER_BUS, false);
    log_info("pci", "memory-mapped configuration of buses %u-%u at 0x%llx", ecam.first, ecam.last,
             (unsigned long long)ecam.base.v);
}

void pci_config_map(unsigned bus)
{
    if (!ecam.base.v || bus < ecam.first || bus > ecam.last || bus_map[bus])
        return;
    bus_map[bus] = paging_map_mmio(hpa(ecam.base.v + (uint64_t)bus * BYTES_PER_BUS), BYTES_PER_BUS);
}

static uint8_t *mapped(pci_bdf_t f, unsigned reg)
{
    uint8_t *bus = bus_map[f >> 8];

    return bus ? bus + (f & 0xffu) * BYTES_PER_FUNCTION + reg : NULL;
}

/* CF8 is shared: every access through it takes the lock. */
static uint32_t ports_read(pci_bdf_t f, unsigned reg, unsigned size)
{
    uint16_t port = (uint16_t)(PCI_CONFIG_DATA + (reg & 3));

    out32(PCI_CONFIG_ADDRESS, ENABLE | (uint32_t)f << 8 | (reg & 0xfc));
    return port_io_read(port, size);
}

static void ports_write(pci_bdf_t f, unsigned reg, unsigned size, uint32_t value)
{
    uint16_t port = (uint16_t)(PCI_CONFIG_DATA + (reg & 3));

    out32(PCI_CONFIG_ADDRESS, ENABLE | (uint32_t)f << 8 | (reg & 0xfc));
    port_io_write(port, size, value);
}

uint32_t port_pci_read(pci_bdf_t f, unsigned reg, unsigned size)
{
    const uint8_t *p = mapped(f, reg);
    uint32_t value;

    if (p)
        return (uint32_t)port_device_read(p, size);
    if (reg >= PCI_SPACE || !mechanism_1)
        return size == 4 ? ~0u : (1u << 8 * size) - 1;
    lock_take(&lock);
    value = ports_read(f, reg, size);
    lock_drop(&lock);
    return value;
}

void port_pci_write(pci_bdf_t f, unsigned reg, unsigned size, uint32_t value)
{
    uint8_t *p = mapped(f, reg);

    if (p) {
        port_device_write(p, size, value);
        return;
    }
    if (reg >= PCI_SPACE || !mechanism_1)
        return;
    lock_take(&lock);
    ports_write(f, reg, size, value);
    lock_drop(&lock);
}

void *port_device_map(hpa_t at, uint64_t len)
{
    return paging_map_mmio(at, len);
}

uint64_t port_device_read(const void *at, unsigned size)
{
    return mmio_read(at, size);
}

void port_device_write(void *at, unsigned size, uint64_t value)
{
    mmio_write(at, size, value);
}

uint32_t port_io_read(uint16_t port, unsigned size)
{
    return size == 1 ? in8(port) : size == 2 ? in16(port) : in32(port);
}

void port_io_write(uint16_t port, unsigned size, uint32_t value)
{
    if (size == 1)
        out8(port, (uint8_t)value);
    else if (size == 2)
        out16(port, (uint16_t)value);
    else
        out32(port, value);
}

void port_pause_ms(unsigned ms)
{
    uint64_t until = rdtsc() + tsc_hz / 1000 * ms;

    while (rdtsc() < until)
        cpu_pause();
}

void pci_early_wait_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms * 1000; i++)
        out8(POST_PORT, 0);
}
