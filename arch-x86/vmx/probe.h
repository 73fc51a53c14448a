/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot-time probe of what must exit: probe.c runs the snippets of probe_guest.S. Tested by
 * every boot on an Intel processor. */
#pragma once
#include "hv/base/types.h"

/* snippet, words, RCX, basic exit reason, may be #UD */
#define VMX_PROBE_LIST(X)                                                                          \
    X(vmcall, "VMCALL", 0, 18, false)                                                              \
    X(cpuid, "CPUID", 0, 10, false)                                                                \
    X(hlt, "HLT", 0, 12, false)                                                                    \
    X(invd, "INVD", 0, 13, false)                                                                  \
    X(invlpg, "INVLPG", 0, 14, false)                                                              \
    X(rdpmc, "RDPMC", 0, 15, false)                                                                \
    X(cr0_write, "MOV to CR0", 0, 28, false)                                                       \
    X(clts, "CLTS", 0, 28, false)                                                                  \
    X(cr3_write, "MOV to CR3", 0, 28, false)                                                       \
    X(cr3_read, "MOV from CR3", 0, 28, false)                                                      \
    X(cr4_write, "MOV to CR4", 0, 28, false)                                                       \
    X(cr8_write, "MOV to CR8", 0, 28, false)                                                       \
    X(cr8_read, "MOV from CR8", 0, 28, false)                                                      \
    X(in8, "IN of a byte", 0, 30, false)                                                           \
    X(out32, "OUT of a doubleword", 0, 30, false)                                                  \
    X(insb, "INS", 0, 30, false)                                                                   \
    X(rdmsr, "RDMSR of 277", MSR_PAT, 31, false)                                                   \
    X(wrmsr, "WRMSR of 277", MSR_PAT, 32, false)                                                   \
    X(rdmsr_efer, "RDMSR of C0000080", MSR_EFER, 31, false)                                        \
    X(rdmsr_outside, "RDMSR outside the bitmap", 0x40000000, 31, false)                            \
    X(wrmsr_outside, "WRMSR outside the bitmap", 0x40000000, 32, false)                            \
    X(mwait, "MWAIT", 0, 36, true)                                                                 \
    X(monitor, "MONITOR", 0, 39, true)                                                             \
    X(vmxon, "VMXON", 0, 27, false)                                                                \
    X(vmread, "VMREAD", 0, 23, false)                                                              \
    X(vmptrld, "VMPTRLD", 0, 21, false)                                                            \
    X(xsetbv, "XSETBV", 0, 55, true)                                                               \
    X(invpcid, "INVPCID", 0, 58, true)                                                             \
    X(ud2, "#UD", 0, 0, false)

#define X(id, name, msr, reason, optional) extern const char vmx_probe_##id[];
VMX_PROBE_LIST(X)
#undef X
extern const char vmx_probe_loop[];

struct vmx_vcpu;
/* Tries them on the current VMCS, whose controls and host state are a guest's. false: one that
 * safety depends on does not exit. *intr_if0: does an interrupt end a guest that has IF = 0?
 * Context: boot CPU, interrupts off. */
bool vmx_probe(struct vmx_vcpu *a, bool *intr_if0);
