/* SPDX-License-Identifier: BSD-2-Clause */
/* The 256 vector stubs, and leaving a function early when a trap was expected.
 * Tested by basic.exceptions. */
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
    pushq $0
    .endif
    pushq $\n
    jmp trap_common
    .endm
    .rept 256
    STUB %v
    .set v, v + 1
    .endr
    .noaltmacro

/* Mode: 64-bit, interrupts off, frame of the CPU plus error code and vector on the stack. */
trap_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    call trap_entry
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

/* bool catch_call(struct catch_ctx *ctx, void (*fn)(void *), void *arg): 0 if fn returned, 1 if the trap
 * handler (or job_abort) continued at catch_land with RDI = ctx. */
    .globl catch_call, catch_land
catch_call:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, 8(%rdi)
    subq $8, %rsp
    movq %rdx, %rdi
    call *%rsi
    addq $8, %rsp
    xorl %eax, %eax
1:  popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
catch_land:
    movq 8(%rdi), %rsp
    movl $1, %eax
    jmp 1b

/* void user_enter(uint64_t rip, uint64_t rsp, uint64_t arg): ring 3 with RDI = arg; comes back only by a trap
 * that the caller catches. */
    .globl user_enter
user_enter:
    pushq $0x23
    pushq %rsi
    pushq $0x202
    pushq $0x2b
    pushq %rdi
    movq %rdx, %rdi
    iretq

    .section .note.GNU-stack, "", @progbits
