/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports and register numbers of a PC's fixed devices, by the names of their data sheets: for those
 * who drive them, those who model them and guests. Numbers only. Tested by every boot. */
#pragma once

/* 8259A "Programmable Interrupt Controller": +0 ICW1, OCW2, OCW3; +1 ICW2 to ICW4, OCW1 */
#define PIC1_CMD 0x20
#define PIC1_DATA 0x21
#define PIC2_CMD 0xa0
#define PIC2_DATA 0xa1
#define PIC_ELCR1 0x4d0 /* edge/level control of the EISA bridge */
#define PIC_ELCR2 0x4d1

/* 8254 "Programmable Interval Timer" */
#define PIT_CH0 0x40
#define PIT_CH2 0x42
#define PIT_CMD 0x43

/* 8042 keyboard controller, and the system control ports beside it */
#define KBC_DATA 0x60
#define KBC_STATUS 0x64   /* written: commands */
#define KBC_READ_RAM 0x20 /* commands 20 to 3F: a byte of its memory, 20 the command byte */
#define KBC_READ_RAM_LAST 0x3f
#define KBC_WRITE_RAM 0x60
#define KBC_WRITE_RAM_LAST 0x7f
#define KBC_AUX_OFF 0xa7
#define KBC_AUX_ON 0xa8
#define KBC_AUX_TEST 0xa9
#define KBC_SELF_TEST 0xaa
#define KBC_TEST 0xab
#define KBC_OFF 0xad
#define KBC_ON 0xae
#define KBC_READ_INPUT 0xc0
#define KBC_READ_OUTPUT 0xd0
#define KBC_WRITE_OUTPUT 0xd1
#define KBC_WRITE_BUFFER 0xd2 /* as if the keyboard had sent it */
#define KBC_WRITE_AUX_BUFFER 0xd3
#define KBC_WRITE_AUX 0xd4
#define KBC_A20_OFF 0xdd
#define KBC_A20_ON 0xdf
#define KBC_PULSE 0xf0 /* to FF: pulses the output lines whose bit is 0; bit 0 is reset */
#define KBC_PULSE_RESET 0xfe
#define KBC_PULSE_LAST 0xff
#define SYSTEM_CONTROL_A 0x92
#define SYSTEM_CONTROL_B 0x61

/* MC146818 clock: the port that selects one of its bytes, and the byte */
#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71

/* 16550 UART (PC16550D, "Table II. Summary of Registers") */
#define COM1_PORT 0x3f8
#define COM2_PORT 0x2f8
#define COM3_PORT 0x3e8
#define COM4_PORT 0x2e8
#define UART_RBR 0 /* read */
#define UART_THR 0 /* written */
#define UART_DLL 0 /* with LCR.DLAB */
#define UART_IER 1
#define UART_DLM 1 /* with LCR.DLAB */
#define UART_IIR 2 /* read */
#define UART_FCR 2 /* written */
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_MSR 6
#define UART_SCR 7

/* PCI 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions"; 6.1 "Configuration Space
 * Organization" */
#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_CONFIG_DATA 0xcfc
#define PCI_VENDOR 0x00
#define PCI_COMMAND 0x04
#define PCI_CLASS 0x08 /* and revision */
#define PCI_HEADER 0x0c
#define PCI_BAR0 0x10
/* 6.2 "Configuration Space Functions", 6.7 "Capabilities List" */
#define PCI_COMMAND_IO 0x0001u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_COMMAND_NO_INTX 0x0400u
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT 0x08u
#define PCI_STATUS_CAPABILITIES 0x10u
#define PCI_CACHE_LINE 0x0c
#define PCI_LATENCY 0x0d
#define PCI_HEADER_TYPE 0x0e
#define PCI_HEADER_MULTI 0x80u
#define PCI_SUBSYSTEM 0x2c
#define PCI_CAPABILITIES 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX 0x11
/* 6.8.2 "MSI-X Capability and Table Structures": registers of the capability */
#define PCI_MSIX_CONTROL 2
#define PCI_MSIX_ENABLE 0x8000u
#define PCI_MSIX_MASK_ALL 0x4000u
#define PCI_MSIX_TABLE 4
#define PCI_MSIX_PBA 8
#define PCI_MSIX_CAP_BYTES 12

#define POST_PORT 0x80
#define FERR_PORT 0xf0       /* clears FERR#; F1 resets the coprocessor */
#define DEBUGCON_PORT 0xe9   /* Bochs, QEMU; reads as its own number where it exists */
#define DEBUG_EXIT_PORT 0xf4 /* QEMU's isa-debug-exit as it is customarily placed */
#define BOCHS_SHUTDOWN_PORT 0x8900
