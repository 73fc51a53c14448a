/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction per wrapper; every other file of arch-x86 that needs an instruction includes
 * this. Tested by every boot under QEMU and Bochs. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};
struct desc_ptr { /* operand of LGDT, LIDT, SGDT, SIDT */
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}
static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
/* false: there was none to be had. */
static inline bool rdrand(uint64_t *v)
{
    bool good;
    __asm__ volatile("rdrand %[v]" : [v] "=r"(*v), "=@ccc"(good));
    return good;
}
static inline uint8_t in8(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %[port], %[v]" : [v] "=a"(v) : [port] "Nd"(port) : "memory");
    return v;
}
static inline uint16_t in16(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %[port], %[v]" : [v] "=a"(v) : [port] "Nd"(port) : "memory");
    return v;
}
static inline uint32_t in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %[port], %[v]" : [v] "=a"(v) : [port] "Nd"(port) : "memory");
    return v;
}
static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %[v], %[port]" : : [v] "a"(v), [port] "Nd"(port) : "memory");
}
static inline void out16(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %[v], %[port]" : : [v] "a"(v), [port] "Nd"(port) : "memory");
}
static inline void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %[v], %[port]" : : [v] "a"(v), [port] "Nd"(port) : "memory");
}

#define ASM_CR_READ(n)                                                                             \
    static inline uint64_t read_cr##n(void)                                                        \
    {                                                                                              \
        uint64_t v;                                                                                \
        __asm__ volatile("mov %%cr" #n ", %[v]" : [v] "=r"(v) : : "memory");                       \
        return v;                                                                                  \
    }
#define ASM_CR_WRITE(n)                                                                            \
    static inline void write_cr##n(uint64_t v)                                                     \
    {                                                                                              \
        __asm__ volatile("mov %[v], %%cr" #n : : [v] "r"(v) : "memory");                           \
    }
ASM_CR_READ(0)
ASM_CR_READ(2)
ASM_CR_READ(3)
ASM_CR_READ(4)
ASM_CR_READ(8)
ASM_CR_WRITE(0)
ASM_CR_WRITE(2)
ASM_CR_WRITE(3)
ASM_CR_WRITE(4)
ASM_CR_WRITE(8)
#undef ASM_CR_READ
#undef ASM_CR_WRITE

#define ASM_DR(n)                                                                                  \
    static inline uint64_t read_dr##n(void)                                                        \
    {                                                                                              \
        uint64_t v;                                                                                \
        __asm__ volatile("mov %%dr" #n ", %[v]" : [v] "=r"(v) : : "memory");                       \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_dr##n(uint64_t v)                                                     \
    {                                                                                              \
        __asm__ volatile("mov %[v], %%dr" #n : : [v] "r"(v) : "memory");                           \
    }
ASM_DR(0)
ASM_DR(1)
ASM_DR(2)
ASM_DR(3)
ASM_DR(6)
ASM_DR(7)
#undef ASM_DR

/* Not a serialising instruction: fence_lfence() before it where order matters. */
static inline uint64_t rdtsc(void)
{
    uint64_t lo, hi; /* the upper halves are cleared: APM volume 3, "RDTSC" */

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return hi << 32 | lo;
}
static inline uint64_t xgetbv(uint32_t index)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index) : "memory");
    return (uint64_t)hi << 32 | lo;
}
static inline void xsetbv(uint32_t index, uint64_t v)
{
    __asm__ volatile("xsetbv"
                     :
                     : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
                     : "memory");
}
/* area: 64-byte aligned, standard form. */
static inline void xrstor(const void *area, uint64_t components)
{
    __asm__ volatile("xrstor64 (%[area])"
                     :
                     : [area] "r"(area), "a"((uint32_t)components),
                       "d"((uint32_t)(components >> 32))
                     : "memory");
}
/* XSAVEC, to an area as above, with all ones in YMM0 and zeros in the others, and zeros in all of
 * them afterwards. XCR0 has x87, SSE and AVX. */
static inline void xsavec_of_ones(void *area, uint64_t components)
{
    __asm__ volatile("vzeroall; vpcmpeqd %%xmm0, %%xmm0, %%xmm0; vinsertf128 $1, %%xmm0, %%ymm0, "
                     "%%ymm0; xsavec64 (%[area]); vzeroall"
                     :
                     : [area] "r"(area), "a"((uint32_t)components),
                       "d"((uint32_t)(components >> 32))
                     : "memory");
}
static inline uint64_t read_rflags(void)
{
    uint64_t v;
    __asm__ volatile("pushfq; pop %[v]" : [v] "=r"(v) : : "memory");
    return v;
}
/* The x87 environment of 28 bytes: none of these waits for an error that stands. */
static inline void x87_store_env(uint32_t env[7])
{
    __asm__ volatile("fnstenv (%[env])" : : [env] "r"(env) : "memory");
}
static inline void x87_load_env(const uint32_t env[7])
{
    __asm__ volatile("fldenv (%[env])" : : [env] "r"(env) : "memory");
}
static inline void x87_clear(void)
{
    __asm__ volatile("fnclex" : : : "memory");
}
static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}
static inline void cpu_hlt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}
static inline void cpu_cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}
static inline void cpu_sti(void)
{
    __asm__ volatile("sti" : : : "memory");
}
/* Writes back and forgets the line of `at`. */
static inline void cpu_clflush(const volatile void *at)
{
    __asm__ volatile("clflush %[at]" : : [at] "m"(*(const volatile char *)at) : "memory");
}
static inline void cpu_wbinvd(void)
{
    __asm__ volatile("wbinvd" : : : "memory");
}
static inline void fence_mfence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}
/* What was drawn into write-combining memory leaves the processor. */
static inline void fence_sfence(void)
{
    __asm__ volatile("sfence" : : : "memory");
}
static inline void fence_lfence(void)
{
    __asm__ volatile("lfence" : : : "memory");
}
static inline void cpu_invlpg(uint64_t va)
{
    __asm__ volatile("invlpg (%[va])" : : [va] "r"(va) : "memory");
}
static inline void cpu_lgdt(const struct desc_ptr *p)
{
    __asm__ volatile("lgdt %[p]" : : [p] "m"(*p) : "memory");
}
static inline void cpu_lidt(const struct desc_ptr *p)
{
    __asm__ volatile("lidt %[p]" : : [p] "m"(*p) : "memory");
}
static inline void cpu_sgdt(struct desc_ptr *p)
{
    __asm__ volatile("sgdt %[p]" : [p] "=m"(*p) : : "memory");
}
static inline void cpu_sidt(struct desc_ptr *p)
{
    __asm__ volatile("sidt %[p]" : [p] "=m"(*p) : : "memory");
}
static inline void cpu_ltr(uint16_t sel)
{
    __asm__ volatile("ltr %[sel]" : : [sel] "r"(sel) : "memory");
}
static inline uint16_t cpu_str(void)
{
    uint16_t sel;
    __asm__ volatile("str %[sel]" : [sel] "=r"(sel));
    return sel;
}
static inline void cpu_lldt(uint16_t sel)
{
    __asm__ volatile("lldt %[sel]" : : [sel] "r"(sel) : "memory");
}
/* MMIO registers: volatile means exactly this and nothing else. */
static inline uint32_t mmio_read32(const void *p)
{
    return *(const volatile uint32_t *)p;
}
static inline void mmio_write32(void *p, uint32_t v)
{
    *(volatile uint32_t *)p = v;
}
/* Of any width, through EAX: some processors reach memory-mapped configuration space by no other
 * register (BIOS and Kernel Developer's Guide for AMD Family 10h, 2.11.1 "MMIO Configuration Coding
 * Requirements"). */
static inline uint64_t mmio_read(const void *p, unsigned size)
{
    uint64_t v = 0;
    if (size == 1)
        __asm__ volatile("movb %[m], %%al" : "+a"(v) : [m] "m"(*(const volatile uint8_t *)p));
    else if (size == 2)
        __asm__ volatile("movw %[m], %%ax" : "+a"(v) : [m] "m"(*(const volatile uint16_t *)p));
    else if (size == 4)
        __asm__ volatile("movl %[m], %%eax" : "=a"(v) : [m] "m"(*(const volatile uint32_t *)p));
    else
        __asm__ volatile("movq %[m], %%rax" : "=a"(v) : [m] "m"(*(const volatile uint64_t *)p));
    return v;
}
static inline void mmio_write(void *p, unsigned size, uint64_t v)
{
    if (size == 1)
        __asm__ volatile("movb %%al, %[m]" : [m] "=m"(*(volatile uint8_t *)p) : "a"(v));
    else if (size == 2)
        __asm__ volatile("movw %%ax, %[m]" : [m] "=m"(*(volatile uint16_t *)p) : "a"(v));
    else if (size == 4)
        __asm__ volatile("movl %%eax, %[m]" : [m] "=m"(*(volatile uint32_t *)p) : "a"(v));
    else
        __asm__ volatile("movq %%rax, %[m]" : [m] "=m"(*(volatile uint64_t *)p) : "a"(v));
}

/* Instructions that may raise #GP or #UD: false if they did, with nothing changed. For probing at
 * boot; defined in arch-x86/cpu/entry.S, after the IDT is loaded. */
bool probe_rdmsr(uint32_t msr, uint64_t *out);
bool probe_wrmsr(uint32_t msr, uint64_t v);
