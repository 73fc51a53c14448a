/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting the other processors. Tested by booting with 1, 2, 4 and 8 CPUs. */
#pragma once
#include "hv/base/types.h"

/* Starts APs until `want` CPUs run, in MADT order, each prepared like the BSP, then parked in HLT
 * until smp_release. apic_ids: of all CPUs of the machine. prepare: gives percpus[c] its root and
 * stack for number c before it starts. A CPU that refuses is named and skipped. Context: BSP. */
void smp_start(const uint32_t *apic_ids, unsigned nids, uint32_t want, void (*ap_main)(void));
/* Lets the parked APs go on into ap_main. */
void smp_release(void);
