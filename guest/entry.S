/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points of the payload: 32-bit at +0, 64-bit at +0x200, and the start of the other CPUs.
 * Tested by every run of the image. */
#include "guest/layout.h"

    .section .head, "ax"
    .code32
    .globl start32
/* Mode: flat protected mode, paging off. Live: ESI = boot_params. */
start32:
    cli
    cld
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $0x20, %eax             /* PAE */
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax            /* LME, NXE */
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    lgdtl early_gdt_ptr
    ljmpl $0x08, $start64

    .org 0x200
    .code64
    .globl entry64
/* Mode: 64-bit, the loader's identity map. Live: RSI = boot_params. Moves the payload to where it is
 * linked if the loader put it elsewhere. */
entry64:
    cli
    cld
    leaq start32(%rip), %rax
    movq $start32, %rdi
    cmpq %rax, %rdi
    je 1f
    movq %rsi, %rbx
    movq %rax, %rsi
    movq $payload_end, %rcx
    subq %rdi, %rcx
    rep movsb
    movq %rbx, %rsi
1:  lgdt early_gdt_ptr
    pushq $0x08
    movq $start64, %rax
    pushq %rax
    lretq

    .text
/* Mode: 64-bit, CS = 0x08, any identity map. Live: RSI = boot_params. */
start64:
    movl $0xc0000080, %ecx      /* a 64-bit entry may come without NXE */
    rdmsr
    btsl $11, %eax
    wrmsr
    movq $boot_pml4, %rax
    movq %rax, %cr3
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq $bss_start, %rdi
    movq $bss_end, %rcx
    subq %rdi, %rcx
    rep stosb
    movq $stacks + STACK_BYTES, %rsp
    movq %rsi, %rdi
    xorl %ebp, %ebp
    call guest_main
1:  cli
    hlt
    jmp 1b

/* Code for AP_TRAMPOLINE_PA, started there by SIPI. */
#define LOW(sym) (AP_TRAMPOLINE_PA + (sym) - ap_trampoline)
    .globl ap_trampoline, ap_trampoline_end
    .code16
ap_trampoline:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl LOW(ap_gdt_ptr)
    movl %cr0, %eax
    andl $0x9fffffff, %eax      /* CD and NW are set after INIT */
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $LOW(ap32)
    .code32
ap32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %ss
    movl $0x20, %eax
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmpl $0x08, $LOW(ap64)
    .code64
ap64:
    movq $ap_start64, %rax
    jmp *%rax
    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 0x08: 64-bit code */
    .quad 0x00cf93000000ffff    /* 0x10: data */
    .quad 0x00cf9b000000ffff    /* 0x18: 32-bit code */
ap_gdt_ptr:
    .word 31
    .long LOW(ap_gdt)
ap_trampoline_end:

/* warm_restart(rdi = function that causes an INIT): saves what a C function keeps, calls it and waits; comes back
 * through the trampoline with warm_rsp set. */
    .globl warm_restart
warm_restart:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, warm_rsp
    subq $8, %rsp               /* 16-byte alignment at the call */
    call *%rdi
1:  hlt
    jmp 1b
warm_land:
    movq %rax, %rsp
    movq $0, warm_rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

/* The index of a CPU is looked up by APIC id, so that a CPU may be started again; the first start draws it. */
ap_start64:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $0x10, %eax
    movl %eax, %es
    movq warm_rsp, %rax
    testq %rax, %rax
    jnz warm_land
    movl $0xfee00020, %eax
    movl (%rax), %ebx
    shrl $24, %ebx
    movzbl apic_index(%rbx), %edi
    cmpl $0xff, %edi
    jne 1f
    movl $1, %edi
    lock xaddl %edi, ap_ticket
    movb %dil, apic_index(%rbx)
1:  cmpl $MAX_CPUS, %edi
    jae 2f
    leal 1(%rdi), %eax
    imulq $STACK_BYTES, %rax, %rax
    leaq stacks(%rax), %rsp
    xorl %ebp, %ebp
    call ap_main
2:  cli
    hlt
    jmp 2b

    .data
    .balign 8
warm_rsp:
    .quad 0                     /* stack of a boot processor that waits for its INIT */
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
early_gdt_ptr:
    .word 23
    .quad early_gdt

/* Identity map of 4 GiB in 2 MiB pages; the last GiB, where devices are, uncached. */
    .globl boot_pml4, boot_pdpt
    .balign 4096
boot_pml4:
    .quad boot_pdpt + 3
    .zero 4088
boot_pdpt:
    .quad boot_pd + 3, boot_pd + 0x1003, boot_pd + 0x2003, boot_pd + 0x3003
    .zero 4096 - 32
boot_pd:
    .set i, 0
    .rept 1536
    .quad i * 0x200000 + 0x83
    .set i, i + 1
    .endr
    .rept 512
    .quad i * 0x200000 + 0x9b
    .set i, i + 1
    .endr

    .section .note.GNU-stack, "", @progbits
