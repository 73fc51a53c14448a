/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction per function. Tested by every run of the image. */
#pragma once
#include <stdint.h>

static inline void outb(uint16_t port, uint8_t v)
{
    asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t v)
{
    asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t v)
{
    asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
    uint8_t v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint16_t inw(uint16_t port)
{
    uint16_t v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint32_t inl(uint16_t port)
{
    uint32_t v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}
static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
    asm volatile("wrmsr" : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
}
struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid_regs r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(sub)
                 : "memory");
    return r;
}
static inline void pause(void)
{
    asm volatile("pause" : : : "memory");
}
static inline void cli(void)
{
    asm volatile("cli" : : : "memory");
}
static inline void sti(void)
{
    asm volatile("sti" : : : "memory");
}
/* An interrupt that was pending before the HLT wakes it: STI takes effect after the HLT has begun.
 */
static inline void sti_hlt(void)
{
    asm volatile("sti; hlt" : : : "memory");
}
static inline void halt(void)
{
    asm volatile("hlt" : : : "memory");
}
static inline uint64_t save_flags(void)
{
    uintptr_t f;
    asm volatile("pushf; pop %0" : "=r"(f) : : "memory");
    return f;
}
static inline void load_flags(uint64_t f)
{
    asm volatile("push %0; popf" : : "r"((uintptr_t)f) : "memory", "cc");
}
static inline void invlpg(uint64_t va)
{
    asm volatile("invlpg (%0)" : : "r"((uintptr_t)va) : "memory");
}
#define CR_ACCESSORS(n)                                                                            \
    static inline uint64_t read_cr##n(void)                                                        \
    {                                                                                              \
        uintptr_t v;                                                                               \
        asm volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");                                 \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_cr##n(uint64_t v)                                                     \
    {                                                                                              \
        asm volatile("mov %0, %%cr" #n : : "r"((uintptr_t)v) : "memory");                          \
    }
CR_ACCESSORS(0)
CR_ACCESSORS(2)
CR_ACCESSORS(3)
CR_ACCESSORS(4)
#define DR_ACCESSORS(n)                                                                            \
    static inline uint64_t read_dr##n(void)                                                        \
    {                                                                                              \
        uintptr_t v;                                                                               \
        asm volatile("mov %%dr" #n ", %0" : "=r"(v) : : "memory");                                 \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_dr##n(uint64_t v)                                                     \
    {                                                                                              \
        asm volatile("mov %0, %%dr" #n : : "r"((uintptr_t)v) : "memory");                          \
    }
DR_ACCESSORS(0)
DR_ACCESSORS(1)
DR_ACCESSORS(2)
DR_ACCESSORS(3)
DR_ACCESSORS(6)
DR_ACCESSORS(7)
#ifdef __x86_64__
CR_ACCESSORS(8)
/* Memory that another CPU or a page-table change alters. */
static inline uint64_t load64(uint64_t va)
{
    uint64_t v;
    asm volatile("movq (%1), %0" : "=r"(v) : "r"(va) : "memory");
    return v;
}
static inline void store64(uint64_t va, uint64_t v)
{
    asm volatile("movq %1, (%0)" : : "r"(va), "r"(v) : "memory");
}
static inline void stosq(uint64_t va, uint64_t v, uint64_t n)
{
    asm volatile("rep stosq" : "+D"(va), "+c"(n) : "a"(v) : "memory");
}
#else
/* Eight bytes in one access, as above: through an SSE register, which nothing else uses. */
static inline uint64_t load64(uint64_t va)
{
    uint64_t v;
    asm volatile("movq (%1), %%xmm0; movq %%xmm0, %0" : "=m"(v) : "r"((uintptr_t)va) : "memory");
    return v;
}
static inline void store64(uint64_t va, uint64_t v)
{
    asm volatile("movq %1, %%xmm0; movq %%xmm0, (%0)" : : "r"((uintptr_t)va), "m"(v) : "memory");
}
static inline void stosq(uint64_t va, uint64_t v, uint64_t n)
{
    uintptr_t to = (uintptr_t)va, count = (uintptr_t)n * 2;
    if ((uint32_t)v == (uint32_t)(v >> 32))
        asm volatile("rep stosl" : "+D"(to), "+c"(count) : "a"((uint32_t)v) : "memory");
    else
        for (uint64_t i = 0; i < n; i++)
            store64(va + 8 * i, v);
}
#endif
