/* SPDX-License-Identifier: BSD-2-Clause */
/* The public block of each CPU, reached through GS; everything private lives in the private window.
 * Tested by every boot. */
#pragma once
/* Offsets that assembly uses, checked in percpu.c. */
#define PERCPU_CPU 8
#define PERCPU_NMI_SEEN 16

#ifndef __ASSEMBLER__
#include <stdatomic.h>
#include "hv/base/types.h"

struct tss { /* APM volume 2, 12.2.5 "64-Bit Task State Segment" */
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "TSS");

#define PERCPU_WHERE 6
#define GDT_ENTRIES 5 /* null, code, data, TSS (two) */
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18

/* GDT and TSS first in their own cache lines: the rest changes often. */
struct percpu {
    struct percpu *self;
    uint32_t cpu; /* dense number */
    uint32_t apic_id;
    /* Set by the NMI handler, cleared by port_irq_off: closes the window before port_halt. */
    _Atomic uint8_t nmi_seen;
    bool kick_self;          /* its doorbell to itself, where that is no interrupt */
    bool online;             /* hv_cpu_main is about to run or running */
    uint32_t unexpected;     /* interrupts on vectors nobody asked for */
    uint64_t cr4, cr4_fixed; /* current value; bits that do not follow the guest */
    hpa_t root, priv;
    uint64_t priv_bytes;
    uint64_t stack_top; /* main stack */
    uint64_t nmis;
    /* port_where: asked by another CPU, answered by the NMI handler with RIP and return addresses.
     */
    _Atomic uint8_t where_asked;
    uint64_t where[PERCPU_WHERE];
    /* Vectors of devices that came: bits set by the handler, taken by port_msi_take, same CPU. */
    _Atomic uint64_t msi[4];
    _Alignas(64) uint64_t gdt[GDT_ENTRIES];
    _Alignas(64) struct tss tss;
};
extern struct percpu percpus[HV_MACHINE_CPUS];

/* Two pages for what the processor's virtualisation keeps of a CPU, SVM's or VMX's: no machine has
 * both. Static, so that no allocator is needed; identity-mapped like the whole image. */
struct vendor_pages {
    _Alignas(4096) uint8_t page[2][4096];
};
extern struct vendor_pages vendor_pages[HV_MACHINE_CPUS];
extern uint32_t cpu_count; /* running CPUs, dense */

static inline struct percpu *percpu_self(void)
{
    struct percpu *p;
    /* volatile: stays behind the write of GS base, however much is inlined */
    __asm__ volatile("mov %%gs:0, %[p]" : [p] "=r"(p));
    return p;
}
/* GDT, TSS, IDT and GS of the CPU that calls; ist: tops of the NMI, #DF and #MC stacks. */
void percpu_load(struct percpu *p, const uint64_t ist[3]);
/* Top addresses of a CPU's stacks in the hypervisor's map. */
uint64_t percpu_stack_main_top(uint32_t cpu);
uint64_t percpu_stack_ist_top(uint32_t cpu, unsigned i);
#endif
