/* SPDX-License-Identifier: BSD-2-Clause */
/* The private state of a CPU in 64-bit mode: GDT, TSS, IDT, control registers; what a trap shows.
 * Tested by basic.exceptions and every run of the image. */
#include "guest/guest.h"

extern const char trap_stubs[];

struct idt_gate {
    uint16_t offset_lo, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_hi, reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "64-bit gate");
static struct idt_gate idt[256];

struct table_ptr {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static void idt_init(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = (uint64_t)trap_stubs + 16 * v;
        idt[v].offset_lo = (uint16_t)at;
        idt[v].offset_mid = (uint16_t)(at >> 16);
        idt[v].offset_hi = (uint32_t)(at >> 32);
        idt[v].selector = SEL_KCODE;
        idt[v].type = v == VEC_USER_RETURN || v == VEC_BP ? 0xee : 0x8e;
        idt[v].ist = v == VEC_DF ? 1 : v == VEC_NMI ? 2 : 0;
    }
}

void cpu_init(unsigned index)
{
    struct cpu *c = &cpus[index];
    struct table_ptr gdtr = {sizeof(c->gdt) - 1, (uint64_t)c->gdt};
    struct table_ptr idtr = {sizeof(idt) - 1, (uint64_t)idt};
    uint64_t tss = (uint64_t)&c->tss;

    if (index == 0)
        idt_init();
    c->self = c;
    c->index = index;
    c->apic_id = apic_read(APIC_ID) >> 24;
    c->gdt[1] = 0x00af9b000000ffff;
    c->gdt[2] = 0x00cf93000000ffff;
    c->gdt[4] = 0x00cff3000000ffff;
    c->gdt[5] = 0x00affb000000ffff;
    c->gdt[6] =
        (sizeof(c->tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
    c->gdt[7] = tss >> 32;
    c->tss.rsp0 = (uint64_t)(c->intr_stack + 512);
    c->tss.ist[0] = (uint64_t)(c->ist_stack[0] + 512);
    c->tss.ist[1] = (uint64_t)(c->ist_stack[1] + 512);
    c->tss.iomap = sizeof(c->tss);
    asm volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
    asm volatile("mov %0, %%ss; mov %0, %%ds; mov %0, %%es; ltr %1"
                 :
                 : "r"(SEL_KDATA), "r"((uint16_t)SEL_TSS)
                 : "memory");
    wrmsr(MSR_GS_BASE, (uint64_t)c);
    cpu_baseline();
}

void cpu_baseline(void)
{
    uint64_t cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_DE;
    uint64_t cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;

    if ((rdmsr(MSR_EFER) & (EFER_NXE | EFER_SCE)) != EFER_NXE)
        wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~EFER_SCE) | EFER_NXE);
    if (read_cr0() != cr0)
        write_cr0(cr0);
    if (read_cr4() != cr4)
        write_cr4(cr4);
    write_cr3(pa_of(boot_pml4));
    this_cpu()->hook = NULL;
}

void trap_report(const struct trapframe *f, uint64_t cr2)
{
    diag("cpu %u: vector %lu error %lx rip %lx cs %lx rflags %lx cr2 %lx cr3 %lx",
         this_cpu()->index, f->vector, f->error, f->rip, f->cs, f->rflags, cr2, read_cr3());
    diag("rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx", f->rax, f->rbx, f->rcx, f->rdx, f->rsi,
         f->rdi);
    diag("rbp %lx rsp %lx r8 %lx r9 %lx r10 %lx r11 %lx", f->rbp, f->rsp, f->r8, f->r9, f->r10,
         f->r11);
    diag("r12 %lx r13 %lx r14 %lx r15 %lx", f->r12, f->r13, f->r14, f->r15);
}

void trap_continue_at(struct trapframe *f, struct catch_ctx *ctx)
{
    f->rip = (uint64_t)catch_land;
    f->rdi = (uint64_t)ctx;
    f->rsp = ctx->rsp;
    f->rflags = ctx->rflags & ~(RFLAGS_TF | RFLAGS_DF | RFLAGS_AC);
    f->cs = SEL_KCODE;
    f->ss = SEL_KDATA;
}
