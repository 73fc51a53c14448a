/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds and loads the GDT, TSS, IDT and GS block of a CPU. Tested by every boot. */
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/defs/layout.h"
#include "arch-x86/defs/x86.h"

_Static_assert(offsetof(struct percpu, cpu) == PERCPU_CPU, "percpu");
_Static_assert(offsetof(struct percpu, nmi_seen) == PERCPU_NMI_SEEN, "percpu");

struct percpu percpus[HV_MACHINE_CPUS];
struct vendor_pages vendor_pages[HV_MACHINE_CPUS];
uint32_t cpu_count = 1;

#define DESC_CODE64 0x00af9b000000ffffull /* present, DPL 0, code, read, accessed, L */
#define DESC_DATA 0x00cf93000000ffffull   /* present, DPL 0, data, write, accessed */
#define DESC_TSS_TYPE (0x89ull << 40)     /* present, available 64-bit TSS */

struct idt_gate { /* APM volume 2, 4.8.4 "Gate Descriptors" (long mode) */
    uint16_t off0, sel;
    uint8_t ist, type;
    uint16_t off1;
    uint32_t off2, reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "IDT gate");
#define GATE_INTERRUPT 0x8e /* present, DPL 0, interrupt gate: IF cleared */

static struct idt_gate idt[256];

static void idt_build(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = (uint64_t)(uintptr_t)trap_stubs + v * TRAP_STUB_BYTES;
        idt[v] = (struct idt_gate){.off0 = (uint16_t)at,
                                   .sel = SEL_CODE,
                                   .type = GATE_INTERRUPT,
                                   .off1 = (uint16_t)(at >> 16),
                                   .off2 = (uint32_t)(at >> 32)};
    }
    idt[VEC_NMI].ist = 1;
    idt[VEC_DF].ist = 2;
    idt[VEC_MC].ist = 3;
}

uint64_t percpu_stack_main_top(uint32_t cpu)
{
    return LAYOUT_STACKS_BASE + (uint64_t)cpu * LAYOUT_STACK_STRIDE + LAYOUT_STACK_MAIN_OFFSET +
           LAYOUT_STACK_MAIN_BYTES;
}

uint64_t percpu_stack_ist_top(uint32_t cpu, unsigned i)
{
    return LAYOUT_STACKS_BASE + (uint64_t)cpu * LAYOUT_STACK_STRIDE + LAYOUT_STACK_IST_OFFSET(i) +
           LAYOUT_STACK_IST_BYTES;
}

void percpu_load(struct percpu *p, const uint64_t ist[3])
{
    uint64_t t = (uint64_t)(uintptr_t)&p->tss;
    struct desc_ptr gdtr = {sizeof(p->gdt) - 1, (uint64_t)(uintptr_t)p->gdt};
    struct desc_ptr idtr = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};

    if (idt[0].type == 0)
        idt_build(); /* the BSP, before any other CPU runs */
    p->self = p;
    p->tss.iomap = sizeof(struct tss);
    for (unsigned i = 0; i < 3; i++)
        p->tss.ist[i] = ist[i];
    p->gdt[0] = 0;
    p->gdt[1] = DESC_CODE64;
    p->gdt[2] = DESC_DATA;
    p->gdt[3] =
        DESC_TSS_TYPE | (sizeof(struct tss) - 1) | (t & 0xffffff) << 16 | (t >> 24 & 0xff) << 56;
    p->gdt[4] = t >> 32;
    cpu_lgdt(&gdtr);
    segments_reload(SEL_CODE, SEL_DATA);
    wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)p);
    wrmsr(MSR_FS_BASE, 0);
    cpu_lldt(0);
    cpu_ltr(SEL_TSS);
    cpu_lidt(&idtr);
}
