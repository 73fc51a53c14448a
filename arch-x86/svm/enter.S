/* SPDX-License-Identifier: BSD-2-Clause */
/* The world switch of one entry. Tested by tools/tests/test_enter.c and every boot. */
#include "arch-x86/svm/offsets.h"

    .text
    .globl svm_enter
    .type svm_enter, @function
/* void svm_enter(struct vcpu *v, struct vmexit *x, uint64_t block_hpa)
 * In: 64-bit host mode, GIF=1, IF=0, rdi = v, rsi = x, for svm_exited, rdx = guest VMCB, the host's
 * VMLOAD block behind it. CR2 is the guest's: svm_cr2_load.
 * Goes on in svm_exited(v, x), which returns to the caller: GIF=1, IF=1, registers of v filled but
 * rip, rflags, rax, rsp, which are in the VMCB.
 * Clobbers: all caller-saved. Callee-saved ones are on the stack. Stack: 16-byte aligned or not. */
svm_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    push %rsi                   /* x and */
    push %rdi                   /* v, for after the exit */
    clgi                        /* no interrupt nor NMI from here ... */
    sti                         /* IF=1 so that a physical interrupt makes the guest exit */
    mov %rdx, %rax              /* the shadow of STI ends behind this, not in the guest */
    mov VCPU_REGS + VCPU_REGS_RCX(%rdi), %rcx
    mov VCPU_REGS + VCPU_REGS_RDX(%rdi), %rdx
    mov VCPU_REGS + VCPU_REGS_RBX(%rdi), %rbx
    mov VCPU_REGS + VCPU_REGS_RBP(%rdi), %rbp
    mov VCPU_REGS + VCPU_REGS_RSI(%rdi), %rsi
    mov VCPU_REGS + VCPU_REGS_R8(%rdi), %r8
    mov VCPU_REGS + VCPU_REGS_R9(%rdi), %r9
    mov VCPU_REGS + VCPU_REGS_R10(%rdi), %r10
    mov VCPU_REGS + VCPU_REGS_R11(%rdi), %r11
    mov VCPU_REGS + VCPU_REGS_R12(%rdi), %r12
    mov VCPU_REGS + VCPU_REGS_R13(%rdi), %r13
    mov VCPU_REGS + VCPU_REGS_R14(%rdi), %r14
    mov VCPU_REGS + VCPU_REGS_R15(%rdi), %r15
    mov VCPU_REGS + VCPU_REGS_RDI(%rdi), %rdi
    vmload %rax                 /* FS GS TR LDTR and the system-call MSRs */
    vmrun %rax
    .globl svm_after_vmrun
svm_after_vmrun:                /* quirks.c: an exception here may be the guest's */
    vmsave %rax                 /* rax: restored from the host save area */
    add $SVM_BLOCK_HOST, %rax
    vmload %rax                 /* the host's FS GS TR and MSRs */
    pop %rax                    /* v */
    mov %rcx, VCPU_REGS + VCPU_REGS_RCX(%rax)
    mov %rdx, VCPU_REGS + VCPU_REGS_RDX(%rax)
    mov %rbx, VCPU_REGS + VCPU_REGS_RBX(%rax)
    mov %rbp, VCPU_REGS + VCPU_REGS_RBP(%rax)
    mov %rsi, VCPU_REGS + VCPU_REGS_RSI(%rax)
    mov %rdi, VCPU_REGS + VCPU_REGS_RDI(%rax)
    mov %r8, VCPU_REGS + VCPU_REGS_R8(%rax)
    mov %r9, VCPU_REGS + VCPU_REGS_R9(%rax)
    mov %r10, VCPU_REGS + VCPU_REGS_R10(%rax)
    mov %r11, VCPU_REGS + VCPU_REGS_R11(%rax)
    mov %r12, VCPU_REGS + VCPU_REGS_R12(%rax)
    mov %r13, VCPU_REGS + VCPU_REGS_R13(%rax)
    mov %r14, VCPU_REGS + VCPU_REGS_R14(%rax)
    mov %r15, VCPU_REGS + VCPU_REGS_R15(%rax)
    mov %cr2, %rcx              /* not restored by #VMEXIT: still the guest's */
    mov %rcx, VCPU_REGS + VCPU_REGS_CR2(%rax)
    mov %rax, %rdi
    pop %rsi
    stgi                        /* IF=1: whatever caused the exit is taken now */
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    jmp svm_exited
    .size svm_enter, . - svm_enter

    .globl svm_cr2_load
    .type svm_cr2_load, @function
/* void svm_cr2_load(uint64_t cr2): VMRUN does not load it everywhere. */
svm_cr2_load:
    mov %rdi, %cr2
    ret
    .size svm_cr2_load, . - svm_cr2_load
    .section .note.GNU-stack, "", @progbits
