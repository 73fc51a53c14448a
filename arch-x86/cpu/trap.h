/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions and interrupts taken by the hypervisor itself. Tested by every boot. */
#pragma once
#define TRAP_STUB_BYTES 16

/* Fixed vectors of the hypervisor (hv/README "Waiting and waking"); priorities rise with the
 * number. */
#define VECTOR_FIRST_FREE 0x30 /* 0x20..0x2f: where a spurious 8259 interrupt would land */
#define VECTOR_UART 0xf0
#define VECTOR_TIMER 0xf1
#define VECTOR_DOORBELL 0xf2
#define VECTOR_IOMMU 0xf3 /* it blocked something */
#define VECTOR_SPURIOUS 0xff

#ifndef __ASSEMBLER__
#include "hv/base/types.h"

struct trap_frame { /* as entry.S builds it */
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
extern const char trap_stubs[];
extern const char halt_window_start[], halt_window_end[];
/* From entry.S; interrupts off, on the interrupted stack or an IST stack. */
void trap_dispatch(struct trap_frame *f);
/* Loads CS and the data segments from the new GDT. */
void segments_reload(uint16_t code, uint16_t data);
/* STI; HLT unless an NMI came since port_irq_off; returns with interrupts on. */
void cpu_halt_window(void);
/* Continues in fn on a new stack; the old one is not used again. */
_Noreturn void stack_switch(uint64_t top, void (*fn)(void));
#endif
