/* SPDX-License-Identifier: BSD-2-Clause */
/* The world switch of one entry. Tested by every boot on an Intel processor. */
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/svm/offsets.h"

#define FIELD_HOST_RSP 0x6c14

    .text
    .globl vmx_enter, vmx_exit_point, vmx_window_start, vmx_window_end, vmx_skip
    .type vmx_enter, @function
/* uint32_t vmx_enter(struct vcpu_regs *regs, bool launched)
 * In: 64-bit host mode, IF=0, the VMCS current, rdi = regs, esi = launched. Out: IF=0, enum vmx_entry;
 * regs filled but rip, rflags, rsp, which are in the VMCS. Clobbers: all caller-saved. */
vmx_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdi                   /* regs, for after the exit */
    mov $FIELD_HOST_RSP, %eax
    vmwrite %rsp, %rax
    mov VCPU_REGS_CR2(%rdi), %rax
    mov %rax, %cr2              /* no field holds it */
    test %esi, %esi
    mov VCPU_REGS_RAX(%rdi), %rax
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
/* An NMI between the loop's last look at the action word and the entry must not be forgotten: its
 * handler moves RIP from here to vmx_skip, and one before left its mark. */
vmx_window_start:
    jz 1f
    cmpb $0, %gs:PERCPU_NMI_SEEN
    jne vmx_skip
    vmresume
    jmp 2f
1:  cmpb $0, %gs:PERCPU_NMI_SEEN
    jne vmx_skip
    vmlaunch
vmx_window_end:
2:  mov $1, %eax                /* VMfailInvalid: CF */
    jc 3f
    mov $2, %eax                /* VMfailValid: ZF */
3:  pop %rdi
    jmp 4f
vmx_skip:
    mov $3, %eax
    pop %rdi
    jmp 4f
vmx_exit_point:                 /* RSP as it was; RFLAGS = 2 */
    push %rdi                   /* the guest's */
    mov 8(%rsp), %rdi
    mov %rax, VCPU_REGS_RAX(%rdi)
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
    mov %cr2, %rax
    mov %rax, VCPU_REGS_CR2(%rdi)
    pop %rdi
    xor %eax, %eax
4:  pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size vmx_enter, . - vmx_enter
    .section .note.GNU-stack, "", @progbits
