/* SPDX-License-Identifier: BSD-2-Clause */
/* The rest of the machine that boot/main.c brings up: I/O APICs, 8259, PCI, RTC.
 * Tested by every boot. */
#pragma once
#include "arch-x86/dev/uart.h"
#include "hv/base/types.h"

/* Moves the 8259s off the exception vectors and masks them. */
void pic_disable(void);
/* Maps every I/O APIC and masks all pins. */
void ioapic_init(void);
/* Routes ISA interrupt `irq` to the CPU with that APIC id; false: no I/O APIC has the pin. */
bool ioapic_route_isa(unsigned irq, uint8_t vector, uint32_t apic_id);
/* Makes ISA interrupt `irq` an NMI of every CPU; false: no I/O APIC has the pin. */
bool ioapic_route_isa_nmi(unsigned irq);
/* Clears Bus Master on every PCI function (configuration mechanism 1) and says how many had it. */
void pci_quiesce(void);
/* Registers of the serial port in BAR 0 of that function, decoding enabled; false: none there. */
bool pci_uart_at(uint32_t bus, uint32_t dev, uint32_t fn, struct uart_where *out);
/* The first function of class 0700 "16550-compatible serial controller" that has one. */
bool pci_uart_find(struct uart_where *out);
/* Reads the clock once, for port_boot_time_s. */
void rtc_read(void);
