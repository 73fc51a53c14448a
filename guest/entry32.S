/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry of the 32-bit payloads, by Linux's 32-bit boot protocol or by multiboot 1, and the start of
 * the other CPUs. Tested by every run of the images. */
#include "guest/layout.h"

#ifdef GUEST_PAE
#define BOOT_CR4 0x20
#else
#define BOOT_CR4 0x10
#endif
#define MB_MAGIC 0x1badb002
#define MB_BOOTED 0x2badb002

/* Paging on the tables at boot_root; clobbers EAX, ECX, EDX. */
    .macro PAGING_ON
    movl $BOOT_CR4, %eax
    movl %eax, %cr4
    movl $boot_root, %eax
    movl %eax, %cr3
#ifdef GUEST_PAE
    movl $0xc0000080, %ecx      /* EFER.NXE */
    rdmsr
    orl $0x800, %eax
    wrmsr
#endif
    movl %cr0, %eax
    andl $0x9fffffff, %eax      /* CD and NW are set after INIT */
    orl $0x80000001, %eax
    movl %eax, %cr0
    .endm

    .section .head, "ax"
    .globl start32
/* Mode: flat protected mode, paging off. Live: ESI = boot_params, or EAX = multiboot's magic and EBX
 * its information. Runs at its link address. */
start32:
    cli
    cld
    movl %eax, %edx
    lgdtl %cs:early_gdt_ptr     /* DS may be anything */
    ljmpl $0x08, $1f
    .balign 4
    .long MB_MAGIC, 3, -(MB_MAGIC + 3)
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $bss_start, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    movl $stacks + STACK_BYTES, %esp
    cmpl $MB_BOOTED, %edx
    jne 2f
    movl 16(%ebx), %eax         /* the command line, where Linux's boot parameters have it */
    movl $no_params, %esi
    movl %eax, 0x228(%esi)
2:  PAGING_ON
    xorl %ebp, %ebp
    pushl %esi
    call guest_main
3:  cli
    hlt
    jmp 3b

/* Code for AP_TRAMPOLINE_PA, started there by SIPI. */
#define LOW(sym) (AP_TRAMPOLINE_PA + (sym) - ap_trampoline)
    .text
    .globl ap_trampoline, ap_trampoline_end
    .code16
ap_trampoline:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl LOW(ap_gdt_ptr)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $LOW(ap32)
    .code32
ap32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    PAGING_ON
    movl $ap_start, %eax
    jmp *%eax
    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    /* 0x08: code */
    .quad 0x00cf93000000ffff    /* 0x10: data */
ap_gdt_ptr:
    .word 23
    .long LOW(ap_gdt)
ap_trampoline_end:

/* The index of a CPU is looked up by APIC id, so that a CPU may be started again; the first start draws it. */
ap_start:
    movl 0xfee00020, %ebx
    shrl $24, %ebx
    movzbl apic_index(%ebx), %edi
    cmpl $0xff, %edi
    jne 1f
    movl $1, %edi
    lock xaddl %edi, ap_ticket
    movl %edi, %eax
    movb %al, apic_index(%ebx)
1:  cmpl $MAX_CPUS, %edi
    jae 2f
    leal 1(%edi), %eax
    imull $STACK_BYTES, %eax, %eax
    leal stacks(%eax), %esp
    xorl %ebp, %ebp
    pushl %edi
    call ap_main
2:  cli
    hlt
    jmp 2b

    .data
    .balign 8
early_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
early_gdt_ptr:
    .word 23
    .long early_gdt

/* Identity maps of the first and the last GiB in large pages, the last uncached. */
    .globl boot_root
    .balign 4096
#ifdef GUEST_PAE
boot_root:
    .long boot_pd + 1, 0, boot_pd + 0x1001, 0, boot_pd + 0x2001, 0, boot_pd + 0x3001, 0
    .zero 4096 - 32
    .globl boot_pd
boot_pd:
    .set i, 0
    .rept 512
    .quad i * 0x200000 + 0x83
    .set i, i + 1
    .endr
    .zero 2 * 4096
    .set i, 1536
    .rept 512
    .quad i * 0x200000 + 0x9b
    .set i, i + 1
    .endr
#else
boot_root:
    .set i, 0
    .rept 256
    .long i * 0x400000 + 0x83
    .set i, i + 1
    .endr
    .zero 512 * 4
    .set i, 768
    .rept 256
    .long i * 0x400000 + 0x9b
    .set i, i + 1
    .endr
#endif

    .bss
    .balign 4096
no_params:
    .zero 4096

    .section .note.GNU-stack, "", @progbits
