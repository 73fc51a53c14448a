/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers of AMD SVM: intercept bits, exit codes, event injection, feature bits (APM volume 2 rev.
 * 3.40, appendix B "VMCB Layout" and appendix C "SVM Intercept Exit Codes").
 * Tested by tools/tests/test_svm.c. */
#pragma once

/* CPUID 8000000A EDX */
#define SVM_EDX_NRIPS (1u << 3)
#define SVM_EDX_CLEAN (1u << 5)
#define SVM_EDX_FLUSHBYASID (1u << 6)
#define SVM_EDX_ASSISTS (1u << 7)
/* CPUID 80000001 ECX */
#define CPUID_SVM (1u << 2)
/* VM_CR */
#define VM_CR_SVMDIS (1ull << 4)

/* intercept vector 3, VMCB 00Ch */
#define ICPT1_INTR (1u << 0)
#define ICPT1_NMI (1u << 1)
#define ICPT1_SMI (1u << 2)
#define ICPT1_INIT (1u << 3)
#define ICPT1_VINTR (1u << 4)
#define ICPT1_RDTSC (1u << 14)
#define ICPT1_RDPMC (1u << 15)
#define ICPT1_CPUID (1u << 18)
#define ICPT1_RSM (1u << 19)
#define ICPT1_IRET (1u << 20)
#define ICPT1_INVD (1u << 22)
#define ICPT1_HLT (1u << 24)
#define ICPT1_INVLPG (1u << 25)
#define ICPT1_INVLPGA (1u << 26)
#define ICPT1_IOIO (1u << 27)
#define ICPT1_MSR (1u << 28)
#define ICPT1_TASK_SWITCH (1u << 29)
#define ICPT1_FERR_FREEZE (1u << 30)
#define ICPT1_SHUTDOWN (1u << 31)
/* intercept vector 4, VMCB 010h */
#define ICPT2_VMRUN (1u << 0)
#define ICPT2_VMMCALL (1u << 1)
#define ICPT2_VMLOAD (1u << 2)
#define ICPT2_VMSAVE (1u << 3)
#define ICPT2_STGI (1u << 4)
#define ICPT2_CLGI (1u << 5)
#define ICPT2_SKINIT (1u << 6)
#define ICPT2_ICEBP (1u << 8)
#define ICPT2_WBINVD (1u << 9)
#define ICPT2_MONITOR (1u << 10)
#define ICPT2_MWAIT (1u << 11)
#define ICPT2_MWAIT_ARMED (1u << 12)
#define ICPT2_XSETBV (1u << 13)
#define ICPT2_RDPRU (1u << 14)
/* intercept vector 5, VMCB 014h */
#define ICPT3_INVLPGB (1u << 0)
#define ICPT3_INVLPGB_ILLEGAL (1u << 1)
#define ICPT3_INVPCID (1u << 2)
#define ICPT3_MCOMMIT (1u << 3)
#define ICPT3_TLBSYNC (1u << 4)

/* VMCB 060h */
#define VINTR_V_IRQ (1ull << 8)
#define VINTR_PRIO_15 (0xfull << 16)
#define VINTR_IGN_TPR (1ull << 20)
#define VINTR_MASKING (1ull << 24)
#define VINTR_VECTOR_SHIFT 32

#define TLB_KEEP 0
#define TLB_FLUSH_ALL 1
#define TLB_FLUSH_ASID 3

/* EVENTINJ and EXITINTINFO, APM 15.20 "Event Injection" */
#define EVENT_VECTOR 0xffull
#define EVENT_TYPE_INTR (0ull << 8)
#define EVENT_TYPE_NMI (2ull << 8)
#define EVENT_TYPE_EXCEPTION (3ull << 8)
#define EVENT_TYPE_SOFT (4ull << 8)
#define EVENT_TYPE_MASK (7ull << 8)
#define EVENT_EV (1ull << 11)
#define EVENT_V (1ull << 31)

/* clean bits, VMCB 0C0h, APM 15.15.3 "VMCB Clean Field" */
#define CLEAN_I (1u << 0)
#define CLEAN_IOPM (1u << 1)
#define CLEAN_ASID (1u << 2)
#define CLEAN_TPR (1u << 3)
#define CLEAN_CRX (1u << 5)
#define CLEAN_DRX (1u << 6)
#define CLEAN_DT (1u << 7)
#define CLEAN_SEG (1u << 8)
#define CLEAN_CR2 (1u << 9)
#define CLEAN_ALL 0x3efu

#define SVM_EXIT_CR_READ 0x00
#define SVM_EXIT_CR_WRITE 0x10
#define SVM_EXIT_DR_READ 0x20
#define SVM_EXIT_DR_WRITE 0x30
#define SVM_EXIT_EXCEPTION 0x40
#define SVM_EXIT_INTR 0x60
#define SVM_EXIT_NMI 0x61
#define SVM_EXIT_SMI 0x62
#define SVM_EXIT_INIT 0x63
#define SVM_EXIT_VINTR 0x64
#define SVM_EXIT_CR0_SEL_WRITE 0x65
#define SVM_EXIT_IDTR_READ 0x66
#define SVM_EXIT_TR_WRITE 0x6d
#define SVM_EXIT_RDTSC 0x6e
#define SVM_EXIT_RDPMC 0x6f
#define SVM_EXIT_CPUID 0x72
#define SVM_EXIT_RSM 0x73
#define SVM_EXIT_IRET 0x74
#define SVM_EXIT_INVD 0x76
#define SVM_EXIT_PAUSE 0x77
#define SVM_EXIT_HLT 0x78
#define SVM_EXIT_INVLPG 0x79
#define SVM_EXIT_INVLPGA 0x7a
#define SVM_EXIT_IOIO 0x7b
#define SVM_EXIT_MSR 0x7c
#define SVM_EXIT_TASK_SWITCH 0x7d
#define SVM_EXIT_FERR_FREEZE 0x7e
#define SVM_EXIT_SHUTDOWN 0x7f
#define SVM_EXIT_VMRUN 0x80
#define SVM_EXIT_VMMCALL 0x81
#define SVM_EXIT_VMLOAD 0x82
#define SVM_EXIT_VMSAVE 0x83
#define SVM_EXIT_STGI 0x84
#define SVM_EXIT_CLGI 0x85
#define SVM_EXIT_SKINIT 0x86
#define SVM_EXIT_RDTSCP 0x87
#define SVM_EXIT_ICEBP 0x88
#define SVM_EXIT_WBINVD 0x89
#define SVM_EXIT_MONITOR 0x8a
#define SVM_EXIT_MWAIT 0x8b
#define SVM_EXIT_MWAIT_ARMED 0x8c
#define SVM_EXIT_XSETBV 0x8d
#define SVM_EXIT_RDPRU 0x8e
#define SVM_EXIT_INVLPGB 0xa0
#define SVM_EXIT_INVLPGB_ILLEGAL 0xa1
#define SVM_EXIT_INVPCID 0xa2
#define SVM_EXIT_MCOMMIT 0xa3
#define SVM_EXIT_TLBSYNC 0xa4

/* EXITINFO2 of a task switch, APM 15.14.1 "Task Switch Intercept" */
#define TASK_BY_IRET (1ull << 36)
#define TASK_BY_JMP (1ull << 38)
#define TASK_ERROR (1ull << 44)
#define TASK_RF (1ull << 48)

/* EXITINFO1 of IOIO, APM 15.10.2 "IN and OUT Behavior" */
#define IOIO_IN (1ull << 0)
#define IOIO_STR (1ull << 2)
#define IOIO_REP (1ull << 3)
#define IOIO_SIZE_SHIFT 4 /* one-hot 1, 2, 4 bytes */
#define IOIO_ADDR_SHIFT 7 /* one-hot 16, 32, 64 bits */
/* EXITINFO1 of MOV CRn / DRn with decode assists, APM 15.33 "Decode Assists" */
#define CRX_MOV (1ull << 63)
#define CRX_GPR 0xfull
