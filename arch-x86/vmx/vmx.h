/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel VMX as a vendor of VCPUs: the table boot/main.c installs. Tested by every boot on an Intel
 * processor. */
#pragma once
#include "hv/vcpu/vcpu.h"

extern const struct vcpu_ops vmx_ops;
/* Looks what this machine does otherwise than the manual says. Context: boot CPU, interrupts off.
 */
void vmx_probe_run(void);
/* For the panic path: the VMCS of this CPU's VCPU as text, nothing if there is none. */
void vmx_panic_dump(void (*emit)(const char *line));
