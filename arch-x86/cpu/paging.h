/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's own page tables (defs/layout.h is the map). Tested by every boot and by the W^X
 * check of `make check`, which reads the running tables. */
#pragma once
#include "hv/base/types.h"

/* Memory the direct map must not show: private pools and the image. At most HV_MACHINE_CPUS + 2. */
void paging_exclude(hpa_t base, uint64_t len);
/* Builds what all CPUs share: image, direct map, MMIO root, stacks root. Needs phys_*, the feature
 * flags and the identity map of boot/header.S. Context: BSP. */
void paging_init(void);
/* Stacks of CPU `cpu` with their guard pages. */
void paging_add_stacks(uint32_t cpu);
/* PML4 of one CPU: the shared part and its private window. */
hpa_t paging_cpu_root(hpa_t priv, uint64_t priv_bytes);
/* First load on the calling CPU: EFER.NXE, CR0.WP, CR4, PAT, CR3. */
void paging_cpu_enable(hpa_t root);
/* The BSP's first load also moves port_ptr() to the direct map. */
void paging_direct_enable(void);
/* End of what boot's identity map reaches: 4 GiB, or 512 GiB where the processor has 1 GiB pages,
 * which the first call adds. Context: BSP, before paging_direct_enable. */
uint64_t paging_identity_end(void);
/* Device registers, uncached, NX. Before paging_direct_enable it is the identity map. Any length;
 * mappings are for ever. Context: BSP, boot. */
void *paging_map_mmio(hpa_t base, uint64_t len);
/* The same for memory that is only drawn into: write combining, where the processor has a PAT. */
void *paging_map_screen(hpa_t base, uint64_t len);
