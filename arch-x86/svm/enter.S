/* SPDX-License-Identifier: BSD-2-Clause */
/* The world switch of one entry. Tested by tools/tests/test_enter.c and every boot. */
#include "arch-x86/svm/offsets.h"

    .text
    .globl svm_enter
    .type svm_enter, @function
/* void svm_enter(struct vcpu_regs *regs, uint64_t vmcb_hpa, uint64_t host_hpa)
 * In: 64-bit host mode, GIF=1, IF=0, rdi = regs, rsi = guest VMCB, rdx = host VMLOAD block.
 * Out: GIF=1, IF=1, regs filled but rip, rflags, rax, rsp, which are in the VMCB.
 * Clobbers: all caller-saved. Callee-saved ones are on the stack. Stack: 16-byte aligned or not. */
svm_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdx                   /* host block, for after the exit */
    push %rdi                   /* regs, for after the exit */
    clgi                        /* no interrupt nor NMI from here ... */
    sti                         /* IF=1 so that a physical interrupt makes the guest exit */
    nop                         /* the shadow of STI ends here, not in the guest */
    mov VCPU_REGS_CR2(%rdi), %rax
    mov %rax, %cr2              /* VMRUN does not load it everywhere */
    mov %rsi, %rax
    mov VCPU_REGS_RCX(%rdi), %rcx
    mov VCPU_REGS_RDX(%rdi), %rdx
    mov VCPU_REGS_RBX(%rdi), %rbx
    mov VCPU_REGS_RBP(%rdi), %rbp
    mov VCPU_REGS_RSI(%rdi), %rsi
    mov VCPU_REGS_R8(%rdi), %r8
    mov VCPU_REGS_R9(%rdi), %r9
    mov VCPU_REGS_R10(%rdi), %r10
    mov VCPU_REGS_R11(%rdi), %r11
    mov VCPU_REGS_R12(%rdi), %r12
    mov VCPU_REGS_R13(%rdi), %r13
    mov VCPU_REGS_R14(%rdi), %r14
    mov VCPU_REGS_R15(%rdi), %r15
    mov VCPU_REGS_RDI(%rdi), %rdi
    vmload %rax                 /* FS GS TR LDTR and the system-call MSRs */
    vmrun %rax
    .globl svm_after_vmrun
svm_after_vmrun:                /* quirks.c: an exception here may be the guest's */
    vmsave %rax                 /* rax: restored from the host save area */
    push %rdi                   /* the guest's */
    mov 8(%rsp), %rdi
    mov %rcx, VCPU_REGS_RCX(%rdi)
    mov %rdx, VCPU_REGS_RDX(%rdi)
    mov %rbx, VCPU_REGS_RBX(%rdi)
    mov %rbp, VCPU_REGS_RBP(%rdi)
    mov %rsi, VCPU_REGS_RSI(%rdi)
    mov %r8, VCPU_REGS_R8(%rdi)
    mov %r9, VCPU_REGS_R9(%rdi)
    mov %r10, VCPU_REGS_R10(%rdi)
    mov %r11, VCPU_REGS_R11(%rdi)
    mov %r12, VCPU_REGS_R12(%rdi)
    mov %r13, VCPU_REGS_R13(%rdi)
    mov %r14, VCPU_REGS_R14(%rdi)
    mov %r15, VCPU_REGS_R15(%rdi)
    pop %rax
    mov %rax, VCPU_REGS_RDI(%rdi)
    mov %cr2, %rax              /* not restored by #VMEXIT: still the guest's */
    mov %rax, VCPU_REGS_CR2(%rdi)
    pop %rdi
    pop %rax
    vmload %rax                 /* the host's FS GS TR and MSRs */
    stgi                        /* IF=1: whatever caused the exit is taken now */
    nop
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size svm_enter, . - svm_enter
    .section .note.GNU-stack, "", @progbits
