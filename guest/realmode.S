/* SPDX-License-Identifier: BSD-2-Clause */
/* 16-bit code that a CPU started by STARTUP at REAL_MODE_PA runs; it reports at REAL_MODE_REPORT_PA and halts.
 * Tested by smp.real_mode. */
#include "guest/layout.h"

#define REPORT (REAL_MODE_REPORT_PA - REAL_MODE_PA)
#define LOW(sym) ((sym) - realmode_start)
    .globl realmode_start, realmode_end
    .text
    .code16
/* Mode: real, CS = REAL_MODE_PA / 16. Report words: CS, CR0, result of INT 21h, of a far call, of string
 * moves, of a trip through protected mode (which loads above 1 MiB), and last the mark 0x600d. */
realmode_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorw %cx, %cx
    movw %cx, %ss
    movw $0x7000, %sp
    movw %ax, REPORT + 2
    movl %cr0, %ebx
    movl %ebx, REPORT + 4

    movw %cx, %es               /* interrupt vector 21h */
    movw $LOW(int21), %es:0x84
    movw %ax, %es:0x86
    movw $0x1234, %ax
    int $0x21
    movw %ax, REPORT + 8

    lcall $REAL_MODE_PA >> 4, $LOW(far_routine)
    movw %ax, REPORT + 10

    movw %ds, %ax               /* 16 words out and the sum of them back */
    movw %ax, %es
    movw $REPORT + 0x100, %di
    movw $16, %cx
    movw $0x0101, %ax
    rep stosw
    movw $REPORT + 0x100, %si
    movw $16, %cx
    xorw %dx, %dx
1:  lodsw
    addw %ax, %dx
    loop 1b
    movw %dx, REPORT + 12

    lgdtl LOW(rm_gdt_ptr)       /* protected mode with a 4 GiB segment, and back */
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $0x10, $LOW(pm16)
pm16:
    movw $8, %ax
    movw %ax, %es
    movl $POOL_BASE_PA, %edi
    movl %es:(%edi), %edx
    movl $0xfeedf00d, %es:4(%edi)
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $REAL_MODE_PA >> 4, $LOW(rm_again)
rm_again:
    movl %edx, REPORT + 16
    movw $0x600d, REPORT
1:  hlt
    jmp 1b

int21:
    addw $0x1111, %ax
    iret
far_routine:
    movw $0x7e57, %ax
    lret

    .balign 8
rm_gdt:
    .quad 0
    .quad 0x00cf93000000ffff                              /* 0x08: flat data */
    .quad 0x00009b000000ffff + (REAL_MODE_PA << 16)       /* 0x10: 16-bit code, base here */
rm_gdt_ptr:
    .word 23
    .long LOW(rm_gdt) + REAL_MODE_PA
realmode_end:
    .section .note.GNU-stack, "", @progbits
