/* SPDX-License-Identifier: BSD-2-Clause */
/* What hv/ needs of the machine's IOMMU. Defined by arch-x86/iommu, or the fake. */
#pragma once
#include "hv/port/pci.h"

struct p2m; /* hv/mem/p2m.h, whose room comes later */

/* Has the firmware named one that iommu= lets be used? It may still fail. Boot, before the VMs are
 * planned. */
bool port_iommu_found(void);
/* Is there one that is in use, so that functions reach only what they are given? Until then, from
 * boot on, they reach nothing. */
bool port_iommu_isolates(void);
/* From now on function f reaches the RAM of the VM whose map is `p2m`, and nothing else; one
 * set of tables serves all functions with the same p2m, which must not change any more. HV_NOMEM;
 * HV_UNSUPPORTED: no IOMMU covers the function, or firmware keeps memory for it (logged). Boot. */
enum hv_err port_iommu_give(pci_bdf_t f, const struct p2m *p2m) HV_MUST_CHECK;
/* It reaches nothing any more. Any CPU's loop. */
void port_iommu_take(pci_bdf_t f);
/* Are interrupts of functions remapped, so that one sends only those it was given? */
bool port_iommu_remaps(void);
/* ACTION_DEVICE: logs what was blocked, at most some lines a second. CPU 0's loop. */
void port_iommu_faults(void);
/* What a storm of them left to be looked at. CPU 0's loop, each whole round. */
void port_iommu_late(void);
