/* SPDX-License-Identifier: BSD-2-Clause */
/* Start-up code of the application processors: copied to a page below 640 KiB by arch-x86/cpu/smp.c.
 * Tested by booting with 1, 2, 4 and 8 CPUs. */
#include "boot/asm_defs.h"

#define OFFSET(label) (label - ap_trampoline_start)

    .section .rodata
    .globl ap_trampoline_start, ap_trampoline_end, ap_gdt, ap_gdtr_base, ap_far64, ap_code64
    .globl ap_cr3, ap_param
    .balign 16
/* Entry by SIPI: real mode, CS = page >> 4, IP = 0, nothing else known. Leaves to ap_enter in 64-bit
 * mode on boot's identity map. Uses no stack. */
    .code16
ap_trampoline_start:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    mov $ASM_CR4_PAE, %eax
    mov %eax, %cr4
    movl OFFSET(ap_cr3), %eax
    mov %eax, %cr3
    mov $ASM_MSR_EFER, %ecx
    rdmsr
    or $(ASM_EFER_LME | ASM_EFER_NXE), %eax
    wrmsr
    mov $(ASM_CR0_PE | ASM_CR0_ET | ASM_CR0_NE | ASM_CR0_PG), %eax /* CD and NW go off, too */
    mov %eax, %cr0              /* real mode to long mode in one step: APM volume 2, 14.6.1 */
    lgdtl OFFSET(ap_gdtr)
    ljmpl *OFFSET(ap_far64)
    .code64
ap_code64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    lea ap_param(%rip), %rbx
    xor %eax, %eax
    xchg %eax, 4(%rbx)          /* claim: one CPU per start, late ones stay out */
    test %eax, %eax
    jz 2f
    mov 8(%rbx), %rsi           /* own root */
    mov 16(%rbx), %rdx          /* own stack, mapped there */
    mov 32(%rbx), %rdi          /* own number */
    jmp *24(%rbx)               /* ap_enter, in the image: mapped in both */
2:  cli
    hlt
    jmp 2b

    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 0x08: 64-bit code */
    .quad 0x00cf93000000ffff    /* 0x10: data */
ap_gdtr:
    .word 3 * 8 - 1
ap_gdtr_base:
    .long 0
ap_far64:
    .long 0
    .word 0x08
ap_cr3:
    .long 0
    .balign 8
ap_param:                       /* struct ap_param in smp.c */
    .long 0, 0
    .quad 0, 0, 0, 0
ap_trampoline_end:

    .text
    .globl ap_enter
    .type ap_enter, @function
/* Entry: 64-bit, boot's map, RSI root, RDX stack, RDI number. Leaves to smp_ap_main(number). */
ap_enter:
    mov %rsi, %cr3
    mov %rdx, %rsp
    xor %ebp, %ebp
    push $0                     /* end of backtraces; keeps the ABI's alignment */
    jmp smp_ap_main
    .size ap_enter, . - ap_enter
    .section .note.GNU-stack, "", @progbits
