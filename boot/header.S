/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot headers and the way from the loader's 32-bit entry to boot_main in 64-bit mode.
 * Tested by every boot, through GRUB (BIOS, UEFI) and through qemu -kernel. */
#include "arch-x86/defs/multiboot.h"
#include "boot/asm_defs.h"

    .section .multiboot, "ax", @progbits
    .balign 4
    .long MB1_HEADER_MAGIC
    .long MB1_HEADER_ALIGN | MB1_HEADER_MEMINFO
    .long -(MB1_HEADER_MAGIC + (MB1_HEADER_ALIGN | MB1_HEADER_MEMINFO))

    .balign 8
mb2_header:
    .long MB2_HEADER_MAGIC
    .long 0                     /* i386, protected mode */
    .long mb2_header_end - mb2_header
    .long -(MB2_HEADER_MAGIC + (mb2_header_end - mb2_header))
    .balign 8
1:  .word MB2_HEADER_INFO_REQUEST, 0
    .long 2f - 1b
    .long MB2_TAG_CMDLINE, MB2_TAG_MODULE, MB2_TAG_MMAP
2:  .balign 8
1:  .word MB2_HEADER_INFO_REQUEST, MB2_HEADER_OPTIONAL
    .long 2f - 1b
    .long MB2_TAG_FRAMEBUFFER, MB2_TAG_ACPI_OLD, MB2_TAG_ACPI_NEW, MB2_TAG_EFI_MMAP
2:  .balign 8
1:  .word MB2_HEADER_MODULE_ALIGN, 0
    .long 8
    .balign 8
1:  .word MB2_HEADER_FRAMEBUFFER, MB2_HEADER_OPTIONAL
    .long 20
    .long 0, 0, 0               /* any width, height, depth; text where the firmware has it */
    .balign 8
    .word MB2_HEADER_END, 0
    .long 8
mb2_header_end:

    .section .text.boot, "ax", @progbits
    .code32
/* Entry: 32-bit flat protected mode, paging off, EAX loader magic, EBX information structure, no
 * stack. Leaves to boot_main(magic, info) in 64-bit mode with 4 GiB mapped identically. */
    .globl boot_entry32
    .type boot_entry32, @function
boot_entry32:
    cli
    cld
    mov $boot_stack_top, %esp
    mov %eax, %edi              /* first argument */
    mov %ebx, %esi              /* second argument */

    pushfl                      /* is there CPUID? RFLAGS.ID can be changed */
    pop %eax
    mov %eax, %ecx
    xor $0x200000, %eax
    push %eax
    popfl
    pushfl
    pop %eax
    cmp %eax, %ecx
    je no_long_mode
    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    test $(1 << 29), %edx       /* LM */
    jz no_long_mode

    /* Four page directories of 2 MiB pages: present, writable, large, accessed, dirty. */
    mov $boot_pds, %edx
    mov $0xe3, %eax
    xor %ecx, %ecx
1:  mov %eax, (%edx, %ecx, 8)
    movl $0, 4(%edx, %ecx, 8)
    add $0x200000, %eax
    inc %ecx
    cmp $2048, %ecx
    jne 1b
    /* The PDPT's first four entries and the PML4's first. */
    mov $boot_pds + 3, %eax
    xor %ecx, %ecx
1:  mov %eax, boot_pdpt(, %ecx, 8)
    add $0x1000, %eax
    inc %ecx
    cmp $4, %ecx
    jne 1b
    movl $boot_pdpt + 3, boot_pml4

    mov $ASM_CR4_PAE, %eax
    mov %eax, %cr4
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov $ASM_MSR_EFER, %ecx
    rdmsr
    or $ASM_EFER_LME, %eax
    wrmsr
    mov $(ASM_CR0_PE | ASM_CR0_ET | ASM_CR0_NE | ASM_CR0_PG), %eax
    mov %eax, %cr0
    lgdt boot_gdtr
    ljmp $0x08, $boot_entry64

/* Says why on VGA and COM1 and stops: nothing else works yet. */
no_long_mode:
    mov $no_long_mode_text, %esi
    mov $0xb8000, %edi
1:  lodsb
    test %al, %al
    jz 3f
    cmp $10, %al                /* the line's end is for the serial port */
    je 4f
    mov $0x4f, %ah              /* white on red */
    mov %ax, (%edi)
    add $2, %edi
4:  mov $0x10000, %ecx          /* bounded: there may be no UART */
2:  mov $0x3fd, %dx
    mov %al, %bl
    in %dx, %al
    test $0x20, %al
    mov %bl, %al
    loopz 2b
    mov $0x3f8, %dx
    out %al, %dx
    jmp 1b
3:  hlt
    jmp 3b
    .size boot_entry32, . - boot_entry32

    .code64
    .type boot_entry64, @function
boot_entry64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $boot_stack_top, %esp
    xor %ebp, %ebp              /* end of backtraces */
    mov %edi, %edi              /* upper halves are undefined after the switch */
    mov %esi, %esi
    call boot_main
1:  hlt
    jmp 1b
    .size boot_entry64, . - boot_entry64

    .section .rodata
no_long_mode_text:
    .asciz "patchbay: stopped: this processor has no 64-bit mode; Patchbay needs an AMD64 one with SVM\n"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 0x08: 64-bit code */
    .quad 0x00cf93000000ffff    /* 0x10: data */
boot_gdtr:
    .word 3 * 8 - 1
    .long boot_gdt, 0

    .bss
    .balign 4096
    .globl boot_pml4, boot_pdpt
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pds:
    .skip 4 * 4096
    .skip 16384
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
