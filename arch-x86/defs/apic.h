/* SPDX-License-Identifier: BSD-2-Clause */
/* Local APIC and I/O APIC register numbers and bits (APM volume 2, chapter 16 "Advanced
 * Programmable Interrupt Controller"; 82093AA data sheet). An xAPIC register is at its offset, the
 * x2APIC MSR at 0x800 + (offset >> 4). Tested by every boot and tools/tests/test_vdev_lapic.c. */
#pragma once

#define APIC_BASE_BSP (1ull << 8)
#define APIC_BASE_EXTD (1ull << 10) /* x2APIC mode */
#define APIC_BASE_EN (1ull << 11)
#define APIC_BASE_ADDR 0x000ffffffffff000ull

#define APIC_REG_SHIFT 4 /* registers are 32 bits wide, 16 bytes apart */
#define APIC_REG_BYTES (1u << APIC_REG_SHIFT)
#define X2APIC_INDEX(reg) ((reg) >> APIC_REG_SHIFT) /* MSR - MSR_X2APIC_BASE */

#define APIC_ID 0x020
#define APIC_VERSION 0x030
#define APIC_TPR 0x080
#define APIC_PPR 0x0a0
#define APIC_EOI 0x0b0
#define APIC_LDR 0x0d0
#define APIC_DFR 0x0e0
#define APIC_SVR 0x0f0
#define APIC_ISR 0x100 /* eight registers of 32 vectors each */
#define APIC_ISR_LAST 0x170
#define APIC_TMR 0x180
#define APIC_TMR_LAST 0x1f0
#define APIC_IRR 0x200
#define APIC_IRR_LAST 0x270
#define APIC_ESR 0x280
#define APIC_LVT_CMCI 0x2f0
#define APIC_ICR 0x300
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_THERMAL 0x330
#define APIC_LVT_PERF 0x340
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_LVT_ERROR 0x370
#define APIC_TIMER_ICT 0x380
#define APIC_TIMER_CCT 0x390
#define APIC_TIMER_DCR 0x3e0
#define APIC_SELF_IPI 0x3f0 /* x2APIC only */

#define APIC_SVR_ENABLE (1u << 8)
#define APIC_LVT_MASKED (1u << 16)
#define APIC_LVT_TIMER_ONESHOT (0u << 17)
#define APIC_LVT_TIMER_PERIODIC (1u << 17)
#define APIC_LVT_TIMER_DEADLINE (2u << 17)
#define APIC_DCR_DIV1 0xbu

#define APIC_ICR_FIXED (0u << 8)
#define APIC_ICR_NMI (4u << 8)
#define APIC_ICR_INIT (5u << 8)
#define APIC_ICR_STARTUP (6u << 8)
#define APIC_ICR_BUSY (1u << 12)
#define APIC_ICR_ASSERT (1u << 14)
#define APIC_ICR_LEVEL (1u << 15)
#define APIC_ICR_DEST_SHIFT 24 /* in ICR_HIGH, xAPIC */

#define IOAPIC_REGSEL 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_EOI 0x40 /* version 20h and later */
#define IOAPIC_REG_ID 0x00
#define IOAPIC_REG_VERSION 0x01
#define IOAPIC_REG_ARBITRATION 0x02
#define IOAPIC_REG_REDIR 0x10 /* + 2 * pin: low, high */
#define IOAPIC_REDIR_NMI (4u << 8)
#define IOAPIC_REDIR_LOW_ACTIVE (1u << 13)
#define IOAPIC_REDIR_LEVEL (1u << 15)
#define IOAPIC_REDIR_MASKED (1u << 16)
#define IOAPIC_DEST_ALL 0xff /* physical destination mode */

/* Interrupt messages: APM volume 2, 16.11; SDM volume 3, 11.11 "Message Signalled Interrupts". */
#define APIC_MSI_BASE 0xfee00000u
#define APIC_MSI_DEST_SHIFT 12
#define APIC_MSI_ID_MAX 0xfeu
#define APIC_MSI_LOGICAL BIT(2) /* of the address */
