/* SPDX-License-Identifier: BSD-2-Clause */
/* The first sectors of the test image: a Linux boot-protocol header (2.12), so that whatever loads Linux
 * loads the tests, and the real-mode stub that enters the payload at code32_start.
 * Tested by running guest.bin with `qemu -kernel`. */
    .code16
    .text
    .globl _start
_start:
    .org 0x1f1
    .byte 4                     /* setup_sects: this file is five sectors */
    .word 0
    .long SYSSIZE               /* payload in 16-byte units */
    .word 0, 0, 0
    .word 0xaa55
    .byte 0xeb, start16 - 0x202 /* jmp short start16 */
    .ascii "HdrS"
    .word 0x020c
    .long 0
    .word 0, 0
    .byte 0
    .byte 1                     /* loadflags: LOADED_HIGH */
    .word 0
    .long 0x100000              /* code32_start */
    .long 0, 0, 0
    .word 0
    .byte 0, 0
    .long 0                     /* cmd_line_ptr, 0x228 */
    .long 0x7fffffff
    .long 0x200000              /* kernel_alignment */
    .byte 0                     /* not relocatable */
    .byte 21
    .word XLOADFLAGS            /* 1: 64-bit entry at +0x200 */
    .long 2047
    .long 0
    .quad 0
    .long 0, 0
    .quad 0
    .quad 0x100000              /* pref_address */
    .long 0x2000000             /* init_size: the payload uses RAM up to 32 MiB */
    .long 0

/* Mode: real, CS = load segment + 0x20, DS = load segment. Live: DS. Leaves to the payload in flat 32-bit
 * protected mode with ESI = this block, which doubles as boot_params for the header's fields. */
start16:
    cli
    cld
    xorl %eax, %eax
    movw %ds, %ax
    shll $4, %eax
    movl %eax, %esi
    addl $gdt, %eax
    movl %eax, gdt_ptr + 2
    lgdtl gdt_ptr
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x10, $0x100000

    .balign 8
gdt:
    .quad 0, 0
    .quad 0x00cf9b000000ffff    /* 0x10: the code segment of the 32-bit boot protocol */
    .quad 0x00cf93000000ffff    /* 0x18: data */
gdt_ptr:
    .word 31
    .long 0
    .org 5 * 512
