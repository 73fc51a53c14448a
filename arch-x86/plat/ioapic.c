/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O APICs and the 8259s: everything masked but what the hypervisor itself needs.
 * Tested by typing on the serial console. */
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/plat/kept.h"
#include "arch-x86/plat/machine.h"
#include "hv/base/log.h"

#define PIC_ICW1 0x11 /* edge, cascade, ICW4 follows */
#define PIC_ICW4 0x01 /* 8086 mode */
#define PIC1_VECTOR 0x20
#define PIC2_VECTOR 0x28

#define MPS_POLARITY 0x3
#define MPS_POLARITY_LOW 0x3
#define MPS_TRIGGER 0xc
#define MPS_TRIGGER_LEVEL 0xc

static char *regs[ACPI_MAX_IOAPICS];

void pic_disable(void)
{
    out8(PIC1_CMD, PIC_ICW1);
    out8(PIC2_CMD, PIC_ICW1);
    out8(PIC1_DATA, PIC1_VECTOR);
    out8(PIC2_DATA, PIC2_VECTOR);
    out8(PIC1_DATA, 1u << 2); /* the second hangs on line 2 */
    out8(PIC2_DATA, 2);
    out8(PIC1_DATA, PIC_ICW4);
    out8(PIC2_DATA, PIC_ICW4);
    out8(PIC1_DATA, 0xff);
    out8(PIC2_DATA, 0xff);
}

static uint32_t reg_read(unsigned i, uint32_t reg)
{
    mmio_write32(regs[i] + IOAPIC_REGSEL, reg);
    return mmio_read32(regs[i] + IOAPIC_WINDOW);
}

static void reg_write(unsigned i, uint32_t reg, uint32_t v)
{
    mmio_write32(regs[i] + IOAPIC_REGSEL, reg);
    mmio_write32(regs[i] + IOAPIC_WINDOW, v);
}

static uint32_t pins(unsigned i)
{
    uint32_t version = reg_read(i, IOAPIC_REG_VERSION);
    return version == UINT32_MAX ? 0 : (version >> 16 & 0xff) + 1;
}

void ioapic_init(void)
{
    for (unsigned i = 0; i < acpi_info.nioapics; i++) {
        regs[i] = paging_map_mmio(hpa(acpi_info.ioapic[i].addr), PAGE_SIZE);
        kept_add(acpi_info.ioapic[i].addr, PAGE_SIZE, false);
        for (uint32_t p = 0; p < pins(i); p++)
            reg_write(i, IOAPIC_REG_REDIR + 2 * p, IOAPIC_REDIR_MASKED);
    }
}

/* The I/O APIC and its pin that a legacy interrupt comes in at; false: none. */
static bool find(unsigned irq, unsigned *which, uint32_t *pin)
{
    uint32_t gsi = acpi_info.isa_gsi[irq];

    for (unsigned i = 0; i < acpi_info.nioapics; i++) {
        uint32_t first = acpi_info.ioapic[i].gsi_base;
        if (gsi < first || gsi - first >= pins(i))
            continue;
        *which = i;
        *pin = gsi - first;
        return true;
    }
    return false;
}

static void route(unsigned irq, unsigned which, uint32_t pin, uint64_t entry)
{
    uint32_t low = (uint32_t)entry;
    uint16_t flags = acpi_info.isa_flags[irq];

    if ((flags & MPS_POLARITY) == MPS_POLARITY_LOW)
        low |= IOAPIC_REDIR_LOW_ACTIVE;
    if ((flags & MPS_TRIGGER) == MPS_TRIGGER_LEVEL)
        low |= IOAPIC_REDIR_LEVEL;
    reg_write(which, IOAPIC_REG_REDIR + 2 * pin + 1, (uint32_t)(entry >> 32));
    reg_write(which, IOAPIC_REG_REDIR + 2 * pin, low);
}

bool ioapic_route_isa(unsigned irq, uint8_t vector, uint32_t apic_id)
{
    uint32_t high, pin;
    unsigned which;

    if (!find(irq, &which, &pin))
        return false;
    if (!vtd_ioapic_entry(acpi_info.ioapic[which].id, vector, apic_id, &high)) {
        if (apic_id > 0xff)
            return false;
        high = apic_id << 24;
    }
    route(irq, which, pin, (uint64_t)high << 32 | vector);
    return true;
}

bool ioapic_route_isa_nmi(unsigned irq)
{
    unsigned which;
    uint32_t pin;

    if (!find(irq, &which, &pin))
        return false;
    route(irq, which, pin, (uint64_t)IOAPIC_DEST_ALL << 56 | IOAPIC_REDIR_NMI);
    return true;
}
