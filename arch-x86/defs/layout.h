/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual address map of the hypervisor. */
#pragma once
#define LAYOUT_IMAGE_BASE 0x100000            /* linked and loaded at 1 MiB, virtual = physical */
#define LAYOUT_DIRECT_BASE 0xffff800000000000 /* direct map of owned and guest RAM, NX */
#define LAYOUT_PRIVATE_BASE 0xffffc00000000000 /* this CPU's private window, in no other CPU's tables */
#define LAYOUT_STACKS_BASE 0xffffd00000000000  /* per-CPU stacks with guard pages */
#define LAYOUT_MMIO_BASE 0xffffe00000000000    /* device pages: APIC, framebuffer, UART; uncached */
