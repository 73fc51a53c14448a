/* SPDX-License-Identifier: BSD-2-Clause */
/* Offsets into struct vcpu_regs, of that in struct vcpu, and into struct svm_block, for enter.S;
 * entry.c asserts each of them. */
#pragma once
#define VCPU_REGS_RAX 0x00
#define VCPU_REGS_RCX 0x08
#define VCPU_REGS_RDX 0x10
#define VCPU_REGS_RBX 0x18
#define VCPU_REGS_RSP 0x20
#define VCPU_REGS_RBP 0x28
#define VCPU_REGS_RSI 0x30
#define VCPU_REGS_RDI 0x38
#define VCPU_REGS_R8 0x40
#define VCPU_REGS_R9 0x48
#define VCPU_REGS_R10 0x50
#define VCPU_REGS_R11 0x58
#define VCPU_REGS_R12 0x60
#define VCPU_REGS_R13 0x68
#define VCPU_REGS_R14 0x70
#define VCPU_REGS_R15 0x78
#define VCPU_REGS_CR2 0x90
#define VCPU_REGS 0x10
#define SVM_BLOCK_HOST 0x1000
