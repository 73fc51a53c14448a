/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry stubs of the 256 vectors, the halt window, and what else needs exact instructions.
 * Tested by every boot. */
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"

    .text
/* On entry: 64-bit, interrupts off, CPU-pushed frame (with error code for 8, 10-14, 17, 21, 29, 30).
 * A stub leaves error code and vector on the stack in that order. */
    .balign TRAP_STUB_BYTES
    .globl trap_stubs
    .type trap_stubs, @object
trap_stubs:
    .set vec, 0
    .rept 256
    .balign TRAP_STUB_BYTES
    .if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
    push $0                     /* a place for the error code */
    .endif
    push $vec
    jmp trap_common
    .set vec, vec + 1
    .endr
    .size trap_stubs, . - trap_stubs

    .type trap_common, @function
trap_common:
    cld                         /* C code expects DF = 0 */
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi              /* struct trap_frame *; stack is 16-byte aligned here */
    call trap_dispatch
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp               /* vector, error code */
    iretq
    .size trap_common, . - trap_common

/* void cpu_halt_window(void): interrupts off on entry, on at return. The NMI handler moves a RIP
 * inside [halt_window_start, halt_window_end) to halt_window_end. */
    .globl cpu_halt_window, halt_window_start, halt_window_end
    .type cpu_halt_window, @function
cpu_halt_window:
halt_window_start:
    cmpb $0, %gs:PERCPU_NMI_SEEN /* an NMI since interrupts went off: do not sleep */
    jne halt_window_end
    sti                         /* takes effect after HLT has begun */
    hlt
halt_window_end:
    sti
    ret
    .size cpu_halt_window, . - cpu_halt_window

/* void segments_reload(uint16_t code, uint16_t data) */
    .globl segments_reload
    .type segments_reload, @function
segments_reload:
    movzwl %di, %eax
    pop %rdx                    /* return address, to be reached through the new CS */
    push %rax
    push %rdx
    mov %esi, %ds
    mov %esi, %es
    mov %esi, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lretq
    .size segments_reload, . - segments_reload

/* _Noreturn void stack_switch(uint64_t top, void (*fn)(void)) */
    .globl stack_switch
    .type stack_switch, @function
stack_switch:
    mov %rdi, %rsp
    xor %ebp, %ebp              /* ends backtraces */
    push $0
    jmp *%rsi                   /* as if called: RSP + 8 is a multiple of 16 */
    .size stack_switch, . - stack_switch

/* bool probe_rdmsr(uint32_t msr, uint64_t *out) */
    .globl probe_rdmsr
    .type probe_rdmsr, @function
probe_rdmsr:
    mov %edi, %ecx
1:  rdmsr
    shl $32, %rdx
    or %rdx, %rax
    mov %rax, (%rsi)
    mov $1, %eax
    ret
2:  xor %eax, %eax              /* it raised #GP */
    ret
    .size probe_rdmsr, . - probe_rdmsr

/* bool probe_wrmsr(uint32_t msr, uint64_t v) */
    .globl probe_wrmsr
    .type probe_wrmsr, @function
probe_wrmsr:
    mov %edi, %ecx
    mov %rsi, %rdx
    mov %esi, %eax
    shr $32, %rdx
3:  wrmsr
    mov $1, %eax
    ret
4:  xor %eax, %eax
    ret
    .size probe_wrmsr, . - probe_wrmsr

    .section .extable, "a", @progbits
    .quad 1b, 2b
    .quad 3b, 4b
    .section .note.GNU-stack, "", @progbits
