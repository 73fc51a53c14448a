/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest of the boot-time probe (probe.c): one snippet for each intercept. Runs at CPL 0 (the one
 * of #AC: 3) in long mode, those of task_* in 32-bit protected mode, on the probe's own tables, IF=1.
 * In: r8 = CR0, r9 = CR3, r10 = CR4, r11 = PAT, r12 = EFER, r13 = a page that VMSAVE has filled,
 * r14 = a buffer, r15 = an address that is not mapped, rbx = VM_HSAVE_PA, rsp = top of a stack.
 * Each operand is such that the instruction does no harm if it is executed after all; VMMCALL is then
 * what is seen instead of the exit. Tested by every boot. */

/* start of the snippet, and the instruction at which RIP must be found */
    .macro probe name
    .globl probe_\name, probe_at_\name
    .set probe_at_\name, probe_\name
probe_\name:
    .endm
    .macro probe_from name
    .globl probe_\name
probe_\name:
    .endm
    .macro probe_at name
    .globl probe_at_\name
probe_at_\name:
    .endm

    .text
    .balign 4096                /* one page: no other code is entered with these registers */
probe cr0_read
    mov %cr0, %rax
    jmp done
probe smsw
    smsw %eax
    jmp done
probe cr2_read
    mov %cr2, %rax
    jmp done
probe cr3_read
    mov %cr3, %rax
    jmp done
probe cr4_read
    mov %cr4, %rax
    jmp done
probe cr8_read
    mov %cr8, %rax
    jmp done
probe cr0_write
    mov %r8, %cr0
    jmp done
probe_from lmsw
    mov %r8d, %eax
probe_at lmsw
    lmsw %ax
    jmp done
probe clts
    clts
    jmp done
probe cr3_write
    mov %r9, %cr3
    jmp done
probe cr4_write
    mov %r10, %cr4
    jmp done
probe_from cr8_write
    xor %eax, %eax
probe_at cr8_write
    mov %rax, %cr8
    jmp done

probe invlpg
    invlpg (%r14)
    jmp done
probe_from invlpga
    mov %r14, %rax
    mov $1, %ecx
probe_at invlpga
    invlpga
    jmp done
probe_from invpcid
    xor %eax, %eax
    mov %rax, (%r14)
    mov %rax, 8(%r14)
    mov $2, %eax                /* all contexts */
probe_at invpcid
    .byte 0x66, 0x41, 0x0f, 0x38, 0x82, 0x06 /* invpcid (%r14), %rax */
    jmp done
probe_from cpuid
    xor %eax, %eax
probe_at cpuid
    cpuid
    jmp done

probe_from rdmsr_low
    mov $0x277, %ecx            /* PAT */
probe_at rdmsr_low
    rdmsr
    jmp done
probe_from wrmsr_low
    mov $0x277, %ecx
    mov %r11, %rdx
    mov %r11d, %eax
    shr $32, %rdx
probe_at wrmsr_low
    wrmsr
    jmp done
probe_from rdmsr_mid
    mov $0xc0000080, %ecx       /* EFER */
probe_at rdmsr_mid
    rdmsr
    jmp done
probe_from wrmsr_mid
    mov $0xc0000080, %ecx
    xor %edx, %edx
    mov %r12d, %eax
probe_at wrmsr_mid
    wrmsr
    jmp done
probe_from rdmsr_high
    mov $0xc0010117, %ecx       /* VM_HSAVE_PA */
probe_at rdmsr_high
    rdmsr
    jmp done
probe_from wrmsr_high
    mov $0xc0010117, %ecx
    mov %rbx, %rdx
    mov %ebx, %eax
    shr $32, %rdx
probe_at wrmsr_high
    wrmsr
    jmp done
probe_from rdmsr_outside
    mov $0x4b564d00, %ecx       /* in none of the three ranges of the map */
probe_at rdmsr_outside
    rdmsr
    jmp done
probe_from wrmsr_outside
    mov $0x4b564d00, %ecx
    xor %eax, %eax
    xor %edx, %edx
probe_at wrmsr_outside
    wrmsr
    jmp done

probe in8
    in $0x80, %al
    jmp done
probe_from in16
    mov $0x80, %edx
probe_at in16
    in %dx, %ax
    jmp done
probe_from in32
    mov $0x80, %edx
probe_at in32
    in %dx, %eax
    jmp done
probe out8
    out %al, $0x80
    jmp done
probe_from out32
    mov $0x80, %edx
probe_at out32
    out %eax, %dx
    jmp done
probe_from insb
    mov $0x80, %edx
    mov %r14, %rdi
probe_at insb
    insb
    jmp done
probe_from outsb
    mov $0x80, %edx
    mov %r14, %rsi
    mov $1, %ecx
probe_at outsb
    rep outsb
    jmp done

probe hlt
    hlt
    jmp done
probe_from monitor
    mov %r14, %rax
    xor %ecx, %ecx
    xor %edx, %edx
probe_at monitor
    monitor
    jmp done
probe_from mwait                /* nothing is monitored: it does not wait */
    xor %eax, %eax
    xor %ecx, %ecx
probe_at mwait
    mwait
    jmp done
probe wbinvd
    wbinvd
    jmp done
probe invd
    invd
    jmp done
probe_from rdpmc
    xor %ecx, %ecx
probe_at rdpmc
    rdpmc
    jmp done
probe rsm
    rsm
    jmp done
probe icebp
    .byte 0xf1
    jmp done
probe_from xsetbv               /* rcx, rdx:rax: XCR0 as it is */
    xor %ecx, %ecx
    xgetbv
probe_at xsetbv
    xsetbv
    jmp done
probe_from rdpru
    xor %ecx, %ecx
probe_at rdpru
    .byte 0x0f, 0x01, 0xfd
    jmp done
probe_from invlpgb
    xor %eax, %eax
    xor %ecx, %ecx
    xor %edx, %edx
probe_at invlpgb
    .byte 0x0f, 0x01, 0xfe
    jmp done
probe tlbsync
    .byte 0x0f, 0x01, 0xff
    jmp done
probe mcommit
    .byte 0xf3, 0x0f, 0x01, 0xfa
    jmp done

probe_from vmrun
    mov %r13, %rax
probe_at vmrun
    vmrun
    jmp done
probe_from vmload
    mov %r13, %rax
probe_at vmload
    vmload
    jmp done
probe_from vmsave
    mov %r13, %rax
probe_at vmsave
    vmsave
    jmp done
probe stgi
    stgi
    jmp done
probe clgi
    clgi
    jmp done
probe_from skinit
    xor %eax, %eax
probe_at skinit
    skinit
    jmp done
    .globl probe_done, probe_vmmcall, probe_at_vmmcall
probe_vmmcall:
probe_at_vmmcall:
done:
probe_done:
    vmmcall
    ud2
1:  jmp 1b

probe pf
    mov (%r15), %rax
    jmp done
probe_from db                   /* RFLAGS.TF is set: the trap comes behind the NOP */
    nop
probe_at db
    nop
    jmp done
    .globl probe_db_cause, probe_at_db_cause
    .set probe_db_cause, probe_db
    .set probe_at_db_cause, probe_at_db
probe_from db_exit              /* RFLAGS.TF is set here: the exit comes first, and no trap with it */
    pushfq
    orl $0x100, (%rsp)
    popfq
probe_at db_exit
    cpuid
    jmp done
probe ac                        /* CPL 3, RFLAGS.AC: a misaligned load */
    mov 1(%r14), %eax
    jmp done
probe shutdown                  /* the IDT has no entries: #UD, #GP, #DF, shutdown */
    ud2
    jmp done
probe ud
    ud2
    jmp done
probe_from gp
    mov $0x8000000000000000, %rax
probe_at gp
    mov (%rax), %rax
    jmp done
probe_from iret
    mov %rsp, %rax
    mov %ss, %ecx
    push %rcx
    push %rax
    pushfq
    mov %cs, %ecx
    push %rcx
    lea done(%rip), %rax
    push %rax
probe_at iret
    iretq
probe_from window               /* entered with IF=0 and V_IRQ */
    sti
    nop
probe_at window
    nop
    jmp done
    .irp name, window_if1, intr, intr_if0, nmi
    .globl probe_\name, probe_at_\name
    .set probe_\name, probe_spin
    .set probe_at_\name, probe_spin
    .endr
probe spin                      /* for events that come by themselves; bounded */
    mov $10000, %ecx
1:  pause
    dec %ecx
    jnz 1b
    jmp done

    .code32
probe task_switch
    ljmp $0x18, $0
    vmmcall
    .globl probe_task_new
probe_task_new:
    vmmcall
1:  jmp 1b
    .code64
    .balign 4096
    .section .note.GNU-stack, "", @progbits
