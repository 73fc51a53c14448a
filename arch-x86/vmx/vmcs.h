/* SPDX-License-Identifier: BSD-2-Clause */
/* The instructions of VMX, one a function: insn.c on the machine, tools/tests/vmcs_fake.h in tests.
 * Context: owner CPU, whose VMCS is current. */
#pragma once
#include "arch-x86/defs/vmx.h"
#include "hv/base/types.h"

/* A field of the current VMCS; one that the processor lacks is our bug and stops the machine. */
uint64_t vmcs_read(uint32_t field);
void vmcs_write(uint32_t field, uint64_t value);
/* SDM volume 3, 30.3 "VMX Instructions". false: the instruction failed. */
bool vmx_on(const uint64_t *hpa);
bool vmcs_clear(const uint64_t *hpa);
bool vmcs_load(const uint64_t *hpa);
/* type: INVVPID_*; a failure is our bug and stops the machine. */
void vmx_invvpid(uint64_t type, uint16_t vpid);
/* INT 2: the NMI handler, whose IRET ends the blocking of NMIs. */
void vmx_take_nmi(void);
/* Interrupts on, and whatever waits has been taken when it returns. */
void vmx_take_interrupts(void);
