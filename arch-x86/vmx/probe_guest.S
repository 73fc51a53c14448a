/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest of probe.c: labels where a snippet's own instruction is, with nothing before it; VMCALL
 * behind each stops one that does not exit. Registers: probe.c. Tested by every boot on an Intel
 * processor. */
    .text
    .macro snippet name:req, insn:vararg
    .globl vmx_probe_\name
vmx_probe_\name:
    \insn
    vmcall
    .endm

    snippet vmcall, vmcall
    snippet cpuid, cpuid
    snippet hlt, hlt
    snippet invd, invd
    snippet invlpg, invlpg (%r15)
    snippet rdpmc, rdpmc
    snippet cr0_write, mov %r8, %cr0
    snippet clts, clts
    snippet cr3_write, mov %r9, %cr3
    snippet cr3_read, mov %cr3, %rax
    snippet cr4_write, mov %r10, %cr4
    snippet cr8_write, mov %rdx, %cr8
    snippet cr8_read, mov %cr8, %rax
    snippet in8, in %dx, %al
    snippet out32, out %eax, %dx
    snippet insb, insb
    snippet rdmsr, rdmsr
    snippet wrmsr, wrmsr
    snippet rdmsr_efer, rdmsr
    snippet rdmsr_outside, rdmsr
    snippet wrmsr_outside, wrmsr
    snippet mwait, mwait
    snippet monitor, monitor
    snippet vmxon, vmxon (%r15)
    snippet vmread, vmread %rax, %rax
    snippet vmptrld, vmptrld (%r15)
    snippet xsetbv, xsetbv
    snippet invpcid, invpcid (%r15), %rdx
    snippet ud2, ud2
    .globl vmx_probe_loop
vmx_probe_loop:
    mov $10000, %ecx
1:  dec %ecx
    jnz 1b
    vmcall
    .section .note.GNU-stack, "", @progbits
