/* SPDX-License-Identifier: BSD-2-Clause */
/* What differs between the three builds of the test image: 64-bit, 32-bit with PAE (GUEST_PAE) and
 * 32-bit with two-level tables. Tested by every run of the images. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
typedef uint64_t pte_t;
#define ROOT_LEVEL 4
#define TOP_FLAGS_LEVEL 4 /* highest level whose entries have U, W and A */
#define NX_LEVEL 3        /* a level above the leaf with NX; 0: there is no NX */
#define PTE_BITS 9
#define LARGE_PAGE 0x200000ull
#define LARGE_RESERVED (1ull << 20) /* must be zero in an entry for a large page */
#define SOFT_SHIFT 52               /* software bits of an entry, SOFT_BITS of them */
#define SOFT_BITS 7
extern pte_t boot_pml4[512], boot_pdpt[512];
#define kernel_root boot_pml4
/* A free area of the address space, new for each test: PML4 slot 1 and up. */
#define TEST_VA 0x8000000000ull
#define SLOT_BYTES 0x8000000000ull
#define USER_LOAD_CODE 0x48, 0x8b, 0x07, 0xcd, 0x80 /* mov rax, [rdi]; int 0x80 */

struct trapframe {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
struct tss {
    uint32_t reserved0;
    uint64_t rsp0, rsp1, rsp2, reserved1, ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "64-bit TSS");
_Static_assert(offsetof(struct tss, ist) == 36, "64-bit TSS");
static inline void pte_store(pte_t *pte, pte_t v)
{
    __asm__ volatile("movq %1, %0" : "=m"(*pte) : "r"(v) : "memory");
}

#else /* 32 bits */
#ifdef GUEST_PAE
typedef uint64_t pte_t;
#define ROOT_LEVEL 3
#define TOP_FLAGS_LEVEL 2
#define NX_LEVEL 2
#define PTE_BITS 9
#define LARGE_PAGE 0x200000ull
#define LARGE_RESERVED (1ull << 20)
#define BOOT_CR4 0x20 /* PAE */
/* As 32-bit kernels do it: what makes the entry present comes last, or goes first. */
static inline void pte_store(pte_t *pte, pte_t v)
{
    volatile uint32_t *half = (volatile uint32_t *)pte;
    if (!(v & 1))
        half[0] = (uint32_t)v;
    half[1] = (uint32_t)(v >> 32);
    half[0] = (uint32_t)v;
}
#else
typedef uint32_t pte_t;
#define ROOT_LEVEL 2
#define TOP_FLAGS_LEVEL 2
#define NX_LEVEL 0
#define PTE_BITS 10
#define LARGE_PAGE 0x400000ull
#define LARGE_RESERVED (1ull << 21)
#define BOOT_CR4 0x10 /* PSE */
static inline void pte_store(pte_t *pte, pte_t v)
{
    __asm__ volatile("movl %1, %0" : "=m"(*pte) : "r"(v) : "memory");
}
#endif
#define SOFT_SHIFT 9 /* the bits above 51 are reserved, or not there */
#define SOFT_BITS 3
extern pte_t boot_root[];
#define kernel_root boot_root
/* The kernel has the first GiB, and the last one for devices. */
#define TEST_VA 0x40000000ull
#define SLOT_BYTES 0x40000000ull
#define USER_LOAD_CODE 0x8b, 0x07, 0xcd, 0x80 /* mov eax, [edi]; int 0x80 */

struct trapframe { /* rsp and ss: from ring 3 only */
    uint32_t gs, es, ds, rdi, rsi, rbp, unused, rbx, rdx, rcx, rax;
    uint32_t vector, error, rip, cs, rflags, rsp, ss;
};
struct tss {
    uint32_t link, rsp0, ss0, unused[22];
    uint16_t trap, iomap;
};
_Static_assert(sizeof(struct tss) == 104, "32-bit TSS");
#define SEL_PERCPU 0x18                       /* GS: this CPU's struct cpu */
#endif

#define SEL_KCODE 0x08
#define SEL_KDATA 0x10
#define SEL_UDATA 0x23
#define SEL_UCODE 0x2b
#define SEL_TSS 0x30
#define SEL_SPARE 0x40 /* a free GDT slot, index 8, for tests */
