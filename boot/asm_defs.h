/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers of arch-x86/defs/x86.h in a form the assembler reads (no ull), for the .S files of boot/.
 * Checked against x86.h in boot/main.c. */
#pragma once
#define ASM_CR0_PE 0x1
#define ASM_CR0_ET 0x10
#define ASM_CR0_NE 0x20
#define ASM_CR0_PG 0x80000000
#define ASM_CR4_PAE 0x20
#define ASM_MSR_EFER 0xc0000080
#define ASM_EFER_LME 0x100
#define ASM_EFER_NXE 0x800
