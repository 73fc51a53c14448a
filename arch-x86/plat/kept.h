/* SPDX-License-Identifier: BSD-2-Clause */
/* What of the machine is the hypervisor's for ever; port_pci_kept asks.
 * Tested by tools/tests/test_pci_quiesce.c. */
#pragma once
#include "hv/base/types.h"

/* [base, base + size) of memory, or of ports, is reached by the hypervisor and by no guest. Boot,
 * before VMs are made. */
void kept_add(uint64_t base, uint64_t size, bool io);
