/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSRs that a guest reads and writes without an exit, for both vendors' bitmaps. Tested by
 * every boot; the list by reading it; the checks by the guest test platform.canonical. */
#pragma once
#include "hv/base/types.h"

/* Calls allow for each; write: false if writes must exit. tsc_aux: RDTSCP and RDPID read it
 * natively and the host never uses it, so that the guest owns the register. Context: boot CPU, IDT
 * loaded. */
void msr_list_each(bool tsc_aux, void (*allow)(uint32_t msr, bool write));
