/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers of Intel's VMX, spelled as in the SDM, volume 3 (chapters 24 to 28, appendices A to C).
 * Numbers only. */
#pragma once

/* capability MSRs: appendix A "VMX Capability Reporting Facility" */
#define MSR_FEATURE_CONTROL 0x3a
#define FEATURE_CONTROL_LOCK (1ull << 0)
#define FEATURE_CONTROL_VMXON_IN_SMX (1ull << 1)
#define FEATURE_CONTROL_VMXON (1ull << 2) /* outside SMX operation */
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_PINBASED_CTLS 0x481
#define MSR_VMX_PROCBASED_CTLS 0x482
#define MSR_VMX_EXIT_CTLS 0x483
#define MSR_VMX_ENTRY_CTLS 0x484
#define MSR_VMX_MISC 0x485
#define MSR_VMX_CR0_FIXED0 0x486
#define MSR_VMX_CR0_FIXED1 0x487
#define MSR_VMX_CR4_FIXED0 0x488
#define MSR_VMX_CR4_FIXED1 0x489
#define MSR_VMX_PROCBASED_CTLS2 0x48b
#define MSR_VMX_EPT_VPID_CAP 0x48c
#define MSR_VMX_TRUE_PINBASED_CTLS 0x48d
#define MSR_VMX_TRUE_PROCBASED_CTLS 0x48e
#define MSR_VMX_TRUE_EXIT_CTLS 0x48f
#define MSR_VMX_TRUE_ENTRY_CTLS 0x490
#define BASIC_REVISION 0x7fffffffull
#define BASIC_INS_OUTS (1ull << 54)
#define BASIC_TRUE (1ull << 55)
#define MISC_TIMER_SHIFT 0x1full
#define VPID_INVVPID (1ull << 32)
#define VPID_SINGLE (1ull << 41)
#define VPID_ALL (1ull << 42)
#define INVVPID_SINGLE 1ull
#define INVVPID_ALL 2ull
#define CPUID_VMX (1ull << 5) /* leaf 1 ECX */
#define CR4_VMXE (1ull << 13)
#define CR4_SMXE (1ull << 14)

/* 24.6.1 "Pin-Based VM-Execution Controls" */
#define PIN_INTR (1u << 0)
#define PIN_NMI (1u << 3)
#define PIN_VNMI (1u << 5)
#define PIN_TIMER (1u << 6)
/* 24.6.2 "Processor-Based VM-Execution Controls" */
#define PROC_INTR_WINDOW (1u << 2)
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_HLT (1u << 7)
#define PROC_INVLPG (1u << 9)
#define PROC_MWAIT (1u << 10)
#define PROC_RDPMC (1u << 11)
#define PROC_RDTSC (1u << 12)
#define PROC_CR3_LOAD (1u << 15)
#define PROC_CR3_STORE (1u << 16)
#define PROC_CR8_LOAD (1u << 19)
#define PROC_CR8_STORE (1u << 20)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_MOV_DR (1u << 23)
#define PROC_IO_BITMAPS (1u << 25)
#define PROC_MSR_BITMAPS (1u << 28)
#define PROC_MONITOR (1u << 29)
#define PROC_PAUSE (1u << 30)
#define PROC_SECONDARY (1u << 31)
#define PROC2_RDTSCP (1u << 3)
#define PROC2_VPID (1u << 5)
#define PROC2_WBINVD (1u << 6)
#define PROC2_INVPCID (1u << 12)
/* 24.7.1 "VM-Exit Controls", 24.8.1 "VM-Entry Controls" */
#define EXIT_CTL_SAVE_DEBUG (1u << 2)
#define EXIT_CTL_HOST64 (1u << 9)
#define ENTRY_CTL_LOAD_DEBUG (1u << 2)
#define ENTRY_CTL_IA32E (1u << 9)

/* fields: appendix B "Field Encoding in VMCS" */
#define VMCS_VPID 0x0000
#define VMCS_GUEST_ES_SEL 0x0800 /* CS SS DS FS GS LDTR TR: 2 each */
#define VMCS_GUEST_CS_SEL 0x0802
#define VMCS_GUEST_SS_SEL 0x0804
#define VMCS_GUEST_LDTR_SEL 0x080c
#define VMCS_GUEST_TR_SEL 0x080e
#define VMCS_HOST_ES_SEL 0x0c00
#define VMCS_HOST_CS_SEL 0x0c02
#define VMCS_HOST_SS_SEL 0x0c04
#define VMCS_HOST_DS_SEL 0x0c06
#define VMCS_HOST_FS_SEL 0x0c08
#define VMCS_HOST_GS_SEL 0x0c0a
#define VMCS_HOST_TR_SEL 0x0c0c
#define VMCS_IO_BITMAP_A 0x2000
#define VMCS_IO_BITMAP_B 0x2002
#define VMCS_MSR_BITMAP 0x2004
#define VMCS_TSC_OFFSET 0x2010
#define VMCS_LINK_POINTER 0x2800
#define VMCS_GUEST_DEBUGCTL 0x2802
#define VMCS_PIN_CTLS 0x4000
#define VMCS_PROC_CTLS 0x4002
#define VMCS_EXCEPTION_BITMAP 0x4004
#define VMCS_PFEC_MASK 0x4006
#define VMCS_PFEC_MATCH 0x4008
#define VMCS_CR3_TARGET_COUNT 0x400a
#define VMCS_EXIT_CTLS 0x400c
#define VMCS_EXIT_MSR_STORE_COUNT 0x400e
#define VMCS_EXIT_MSR_LOAD_COUNT 0x4010
#define VMCS_ENTRY_CTLS 0x4012
#define VMCS_ENTRY_MSR_LOAD_COUNT 0x4014
#define VMCS_ENTRY_INTR_INFO 0x4016
#define VMCS_ENTRY_ERROR 0x4018
#define VMCS_ENTRY_LENGTH 0x401a
#define VMCS_PROC2_CTLS 0x401e
#define VMCS_INSN_ERROR 0x4400
#define VMCS_EXIT_REASON 0x4402
#define VMCS_EXIT_INTR_INFO 0x4404
#define VMCS_EXIT_INTR_ERROR 0x4406
#define VMCS_IDT_INFO 0x4408
#define VMCS_IDT_ERROR 0x440a
#define VMCS_EXIT_LENGTH 0x440c
#define VMCS_EXIT_INSN_INFO 0x440e
#define VMCS_GUEST_ES_LIMIT 0x4800
#define VMCS_GUEST_GDTR_LIMIT 0x4810
#define VMCS_GUEST_IDTR_LIMIT 0x4812
#define VMCS_GUEST_ES_AR 0x4814
#define VMCS_GUEST_CS_AR 0x4816
#define VMCS_GUEST_SS_AR 0x4818
#define VMCS_GUEST_TR_AR 0x4822
#define VMCS_GUEST_INTERRUPTIBILITY 0x4824
#define VMCS_GUEST_ACTIVITY 0x4826
#define VMCS_GUEST_SYSENTER_CS 0x482a
#define VMCS_GUEST_TIMER 0x482e
#define VMCS_HOST_SYSENTER_CS 0x4c00
#define VMCS_CR0_MASK 0x6000
#define VMCS_CR4_MASK 0x6002
#define VMCS_CR0_SHADOW 0x6004
#define VMCS_CR4_SHADOW 0x6006
#define VMCS_EXIT_QUALIFICATION 0x6400
#define VMCS_EXIT_LINEAR 0x640a
#define VMCS_GUEST_CR0 0x6800
#define VMCS_GUEST_CR3 0x6802
#define VMCS_GUEST_CR4 0x6804
#define VMCS_GUEST_ES_BASE 0x6806
#define VMCS_GUEST_CS_BASE 0x6808
#define VMCS_GUEST_FS_BASE 0x680e
#define VMCS_GUEST_GDTR_BASE 0x6816
#define VMCS_GUEST_IDTR_BASE 0x6818
#define VMCS_GUEST_DR7 0x681a
#define VMCS_GUEST_RSP 0x681c
#define VMCS_GUEST_RIP 0x681e
#define VMCS_GUEST_RFLAGS 0x6820
#define VMCS_GUEST_PENDING_DEBUG 0x6822
#define VMCS_GUEST_SYSENTER_ESP 0x6824
#define VMCS_GUEST_SYSENTER_EIP 0x6826
#define VMCS_HOST_CR0 0x6c00
#define VMCS_HOST_CR3 0x6c02
#define VMCS_HOST_CR4 0x6c04
#define VMCS_HOST_FS_BASE 0x6c06
#define VMCS_HOST_GS_BASE 0x6c08
#define VMCS_HOST_TR_BASE 0x6c0a
#define VMCS_HOST_GDTR_BASE 0x6c0c
#define VMCS_HOST_IDTR_BASE 0x6c0e
#define VMCS_HOST_SYSENTER_ESP 0x6c10
#define VMCS_HOST_SYSENTER_EIP 0x6c12
#define VMCS_HOST_RSP 0x6c14
#define VMCS_HOST_RIP 0x6c16

/* access rights: 24.4.1 "Guest Register State" */
#define AR_UNUSABLE (1u << 16)

/* 24.8.3 "VM-Entry Controls for Event Injection"; the formats of 24.9.2 and 24.9.3 are alike */
#define INTR_INFO_VECTOR 0xffu
#define INTR_INFO_TYPE (7u << 8)
#define INTR_TYPE_EXTERNAL (0u << 8)
#define INTR_TYPE_NMI (2u << 8)
#define INTR_TYPE_HARD (3u << 8)
#define INTR_TYPE_SOFT_INT (4u << 8)
#define INTR_TYPE_PRIV_SOFT (5u << 8) /* INT1 */
#define INTR_TYPE_SOFT (6u << 8)      /* INT3, INTO */
#define INTR_INFO_ERROR (1u << 11)
#define INTR_INFO_IRET_NMI (1u << 12) /* NMIs were unblocked by an IRET that faulted */
#define INTR_INFO_VALID (1u << 31)

/* 24.4.2 "Guest Non-Register State": interruptibility, pending debug exceptions */
#define BLOCKING_STI (1u << 0)
#define BLOCKING_MOV_SS (1u << 1)
#define BLOCKING_NMI (1u << 3)
#define PENDING_DEBUG_BS (1ull << 14)

/* basic exit reasons: appendix C "VMX Basic Exit Reasons" */
#define REASON_FAILED_ENTRY (1u << 31)
#define REASON_EXCEPTION 0
#define REASON_INTR 1
#define REASON_TRIPLE_FAULT 2
#define REASON_INIT 3
#define REASON_SIPI 4
#define REASON_IO_SMI 5
#define REASON_SMI 6
#define REASON_INTR_WINDOW 7
#define REASON_NMI_WINDOW 8
#define REASON_TASK_SWITCH 9
#define REASON_CPUID 10
#define REASON_GETSEC 11
#define REASON_HLT 12
#define REASON_INVD 13
#define REASON_INVLPG 14
#define REASON_RDPMC 15
#define REASON_RDTSC 16
#define REASON_RSM 17
#define REASON_VMCALL 18
#define REASON_VMCLEAR 19 /* to VMXON */
#define REASON_VMXON 27
#define REASON_CR 28
#define REASON_DR 29
#define REASON_IO 30
#define REASON_RDMSR 31
#define REASON_WRMSR 32
#define REASON_GUEST_STATE 33
#define REASON_MSR_LOADING 34
#define REASON_MWAIT 36
#define REASON_MONITOR 39
#define REASON_PAUSE 40
#define REASON_MACHINE_CHECK 41
#define REASON_DT 46
#define REASON_LDT_TR 47
#define REASON_INVEPT 50
#define REASON_RDTSCP 51
#define REASON_TIMER 52
#define REASON_INVVPID 53
#define REASON_WBINVD 54
#define REASON_XSETBV 55
#define REASON_INVPCID 58
#define REASON_VMFUNC 59
#define REASON_COUNT 70

/* exit qualifications: tables 27-1, 27-2, 27-3, 27-5 */
#define QUAL_DB_CAUSES 0x600full /* B0 to B3, BD, BS */
#define QUAL_DB_BD (1ull << 13)
#define QUAL_CR_NUMBER 0xfull
#define QUAL_CR_TYPE(q) ((q) >> 4 & 3)
enum { QUAL_CR_TO, QUAL_CR_FROM, QUAL_CR_CLTS, QUAL_CR_LMSW };
#define QUAL_GPR(q) ((q) >> 8 & 0xf)
#define QUAL_CR_MSW(q) ((q) >> 16 & 0xffff) /* LMSW's source data */
#define QUAL_DR_NUMBER 7ull
#define QUAL_DR_FROM (1ull << 4)
#define QUAL_IO_SIZE 7ull /* less 1 */
#define QUAL_IO_IN (1ull << 3)
#define QUAL_IO_STRING (1ull << 4)
#define QUAL_IO_REP (1ull << 5)
#define QUAL_TASK_SOURCE(q) ((q) >> 30 & 3)
enum { QUAL_TASK_CALL, QUAL_TASK_IRET, QUAL_TASK_JMP, QUAL_TASK_GATE };
/* instruction information of INS and OUTS: table 27-8; of INVPCID, which has the rest: 27-9 */
#define INSN_INFO_ADDRSIZE(i) ((i) >> 7 & 7)
#define INSN_INFO_SCALE(i) ((i) & 3)
#define INSN_INFO_SEGMENT(i) ((i) >> 15 & 7)
#define INSN_INFO_INDEX(i) ((i) >> 18 & 0xf)
#define INSN_INFO_NO_INDEX (1u << 22)
#define INSN_INFO_BASE(i) ((i) >> 23 & 0xf)
#define INSN_INFO_NO_BASE (1u << 27)
#define INSN_INFO_REG2(i) ((i) >> 28 & 0xf)

/* VM-instruction errors that say what to look at: 30.4 "VM Instruction Error Numbers" */
#define INSN_ERROR_CONTROLS 7
#define INSN_ERROR_HOST 8
