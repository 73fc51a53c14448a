/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual address map of the hypervisor. Each base starts its own PML4 entry. */
#pragma once
#define LAYOUT_IMAGE_BASE 0x100000            /* linked and loaded at 1 MiB, virtual = physical */
#define LAYOUT_DIRECT_BASE 0xffff800000000000 /* direct map of owned and guest RAM, NX */
/* this CPU's private window, in no other CPU's tables */
#define LAYOUT_PRIVATE_BASE 0xffffc00000000000
#define LAYOUT_STACKS_BASE 0xffffd00000000000 /* per-CPU stacks with guard pages */
#define LAYOUT_MMIO_BASE 0xffffe00000000000   /* device pages: APIC, framebuffer, UART; uncached */

/* One CPU's stacks: each piece has an unmapped page below it. */
#define LAYOUT_STACK_STRIDE 0x40000 /* a CPU */
#define LAYOUT_STACK_MAIN_OFFSET 0x1000
#define LAYOUT_STACK_MAIN_BYTES 0x10000
#define LAYOUT_STACK_IST_OFFSET(i) (0x12000 + (i) * 0x5000) /* NMI, #DF, #MC */
#define LAYOUT_STACK_IST_BYTES 0x4000
#define LAYOUT_STACK_ISTS 3
