/* SPDX-License-Identifier: BSD-2-Clause */
/* The private state of a CPU in the 32-bit images: GDT, TSS, IDT, control registers; what a trap
 * shows; and the functions the compiler calls for 64-bit numbers. Tested by every run of the
 * images.
 */
#include "guest/guest.h"
#include "guest/modes32.h"

extern const char trap_stubs[];
void catch_land_edi(void);

static uint64_t idt[256]; /* gates of 8 bytes */

struct table_ptr {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

static void idt_init(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = (uintptr_t)trap_stubs + 16 * v;
        uint64_t type = v == VEC_USER_RETURN || v == VEC_BP ? 0xee : 0x8e;
        idt[v] = (at & 0xffff) | SEL_KCODE << 16 | type << 40 | (at >> 16) << 48;
    }
}

static uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t type)
{
    return limit | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56;
}

void cpu_init(unsigned index)
{
    struct cpu *c = &cpus[index];
    struct table_ptr gdtr = {sizeof(c->gdt) - 1, (uintptr_t)c->gdt};
    struct table_ptr idtr = {sizeof(idt) - 1, (uintptr_t)idt};

    if (index == 0)
        idt_init();
    c->self = c;
    c->index = index;
    c->apic_id = apic_read(APIC_ID) >> 24;
    c->gdt[1] = 0x00cf9b000000ffff;
    c->gdt[2] = 0x00cf93000000ffff;
    c->gdt[3] = descriptor((uintptr_t)c, sizeof(*c) - 1, 0x93) | 0x40ull << 48;
    c->gdt[4] = 0x00cff3000000ffff;
    c->gdt[5] = 0x00cffb000000ffff;
    c->gdt[6] = descriptor((uintptr_t)&c->tss, sizeof(c->tss) - 1, 0x89);
    c->tss.rsp0 = (uint32_t)(uintptr_t)(c->intr_stack + 512);
    c->tss.ss0 = SEL_KDATA;
    c->tss.iomap = sizeof(c->tss);
    asm volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
    asm volatile("ljmp %0, $1f; 1:" : : "i"(SEL_KCODE) : "memory");
    asm volatile("mov %0, %%ss; mov %0, %%ds; mov %0, %%es; ltr %1; mov %2, %%gs"
                 :
                 : "r"(SEL_KDATA), "r"((uint16_t)SEL_TSS), "r"(SEL_PERCPU)
                 : "memory");
    cpu_baseline();
}

void cpu_baseline(void)
{
    static const struct paging kernel = {PAGING_KERNEL, 0};

    paging_set(&kernel);
    this_cpu()->hook = NULL;
}

void trap_report(const struct trapframe *f, uint64_t cr2)
{
    print("# cpu %u: vector %u error %x eip %x cs %x eflags %x cr2 %x cr3 %x\n", this_cpu()->index,
          f->vector, f->error, f->rip, f->cs, f->rflags, (uint32_t)cr2, (uint32_t)read_cr3());
    print("# eax %x ebx %x ecx %x edx %x esi %x edi %x ebp %x\n", f->rax, f->rbx, f->rcx, f->rdx,
          f->rsi, f->rdi, f->rbp);
}

void trap_continue_at(struct trapframe *f, struct catch_ctx *ctx)
{
    f->rip = (uint32_t)(uintptr_t)catch_land_edi;
    f->rdi = (uint32_t)(uintptr_t)ctx;
    f->rflags = (uint32_t)(ctx->rflags & ~(RFLAGS_TF | RFLAGS_DF | RFLAGS_AC));
    f->cs = SEL_KCODE;
    f->ds = f->es = SEL_KDATA;
    f->gs = SEL_PERCPU;
}

/* --- 64-bit atomics and divisions, under the names the compiler uses --- */
static uint64_t cas8(volatile void *p, uint64_t expect, uint64_t v)
{
    asm volatile("lock cmpxchg8b %1"
                 : "+A"(expect), "+m"(*(volatile uint64_t *)p)
                 : "b"((uint32_t)v), "c"((uint32_t)(v >> 32))
                 : "memory", "cc");
    return expect;
}
uint64_t atomic8_load(const volatile void *p, int order) asm("__atomic_load_8");
uint64_t atomic8_load(const volatile void *p, int order)
{
    uint64_t v;
    (void)order;
    asm volatile("movq (%1), %%xmm0; movq %%xmm0, %0" : "=m"(v) : "r"(p) : "memory");
    return v;
}
uint64_t atomic8_exchange(volatile void *p, uint64_t v, int order) asm("__atomic_exchange_8");
uint64_t atomic8_exchange(volatile void *p, uint64_t v, int order)
{
    uint64_t old = atomic8_load(p, order), seen;
    while ((seen = cas8(p, old, v)) != old)
        old = seen;
    return old;
}
void atomic8_store(volatile void *p, uint64_t v, int order) asm("__atomic_store_8");
void atomic8_store(volatile void *p, uint64_t v, int order)
{
    (void)atomic8_exchange(p, v, order);
}
bool atomic8_cas(volatile void *p, void *expect, uint64_t v, int yes,
                 int no) asm("__atomic_compare_exchange_8");
bool atomic8_cas(volatile void *p, void *expect, uint64_t v, int yes, int no)
{
    uint64_t want, seen;
    (void)yes;
    (void)no;
    memcpy(&want, expect, 8);
    seen = cas8(p, want, v);
    memcpy(expect, &seen, 8);
    return seen == want;
}
uint64_t atomic8_add(volatile void *p, uint64_t v, int order) asm("__atomic_fetch_add_8");
uint64_t atomic8_add(volatile void *p, uint64_t v, int order)
{
    uint64_t old = atomic8_load(p, order), seen;
    while ((seen = cas8(p, old, old + v)) != old)
        old = seen;
    return old;
}
uint64_t atomic8_and(volatile void *p, uint64_t v, int order) asm("__atomic_fetch_and_8");
uint64_t atomic8_and(volatile void *p, uint64_t v, int order)
{
    uint64_t old = atomic8_load(p, order), seen;
    while ((seen = cas8(p, old, old & v)) != old)
        old = seen;
    return old;
}

uint64_t divmod8(uint64_t n, uint64_t d, uint64_t *rest) asm("__udivmoddi4");
uint64_t divmod8(uint64_t n, uint64_t d, uint64_t *rest)
{
    uint64_t q = 0, r = 0;
    for (int i = 63; i >= 0; i--) {
        r = r << 1 | (n >> i & 1);
        if (r >= d) {
            r -= d;
            q |= 1ull << i;
        }
    }
    if (rest)
        *rest = r;
    return q;
}
uint64_t div8(uint64_t n, uint64_t d) asm("__udivdi3");
uint64_t div8(uint64_t n, uint64_t d)
{
    return divmod8(n, d, NULL);
}
uint64_t mod8(uint64_t n, uint64_t d) asm("__umoddi3");
uint64_t mod8(uint64_t n, uint64_t d)
{
    uint64_t r;
    (void)divmod8(n, d, &r);
    return r;
}
