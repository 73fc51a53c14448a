/* SPDX-License-Identifier: BSD-2-Clause */
/* The 256 vector stubs of the 32-bit images, and leaving a function early when a trap was expected.
 * Tested by every run of the images. */
#include "guest/layout.h"
    .text
    .globl trap_stubs
    .balign 16
trap_stubs:                     /* 16 bytes each */
    .set v, 0
    .altmacro
    .macro STUB n
    .balign 16
    .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21) || (\n == 29) || (\n == 30)
    .else
    pushl $0
    .endif
    pushl $\n
    jmp trap_common
    .endm
    .rept 256
    STUB %v
    .set v, v + 1
    .endr
    .noaltmacro

/* Mode: protected, interrupts off, frame of the CPU plus error code and vector on the stack. */
trap_common:
    pushal
    pushl %ds
    pushl %es
    pushl %gs
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl $0x18, %eax            /* SEL_PERCPU: ring 3 has none */
    movl %eax, %gs
    cld
    movl %esp, %eax
    subl $16, %esp              /* load64 and store64 use it */
    movups %xmm0, (%esp)
    pushl %eax
    call trap_entry
    addl $4, %esp
    movups (%esp), %xmm0
    addl $16, %esp
    popl %gs
    popl %es
    popl %ds
    popal
    addl $8, %esp
    iretl

/* bool catch_call(struct catch_ctx *ctx, void (*fn)(void *), void *arg): 0 if fn returned, 1 if the trap
 * handler (with EDI = ctx) or a call of catch_land(ctx) continued here. */
    .globl catch_call, catch_land, catch_land_edi
catch_call:
    pushl %ebx
    pushl %ebp
    pushl %esi
    pushl %edi
    movl 20(%esp), %eax
    movl %esp, 4(%eax)
    movl 24(%esp), %ecx
    pushl 28(%esp)
    call *%ecx
    addl $4, %esp
    xorl %eax, %eax
1:  popl %edi
    popl %esi
    popl %ebp
    popl %ebx
    ret
catch_land:
    movl 4(%esp), %edi
catch_land_edi:
    movl 4(%edi), %esp
    movl $1, %eax
    jmp 1b

/* void user_enter(uint64_t rip, uint64_t rsp, uint64_t arg): ring 3 with EDI = arg; comes back only by a trap
 * that the caller catches. */
    .globl user_enter
user_enter:
    movl 4(%esp), %eax
    movl 12(%esp), %edx
    movl 20(%esp), %edi
    pushl $0x23
    pushl %edx
    pushl $0x202
    pushl $0x2b
    pushl %eax
    movl $0x23, %eax
    movl %eax, %ds
    movl %eax, %es
    iretl

    .section .note.GNU-stack, "", @progbits
