/* SPDX-License-Identifier: BSD-2-Clause */
/* Address and frame-number types, error codes, and small constants every folder shares.
 * Tested by every host test. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HV_MAX_CPUS 31      /* of a VM: width of the CPU sets in a trace word */
#define HV_MACHINE_CPUS 128 /* of the machine */
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096u
#define PAGE_MASK 0xfffull
#define REGION_SHIFT 21 /* a 2 MiB region */
#define REGION_SIZE 0x200000ull
#define REGION_MASK 0x1fffffull

#define BIT(n) (1ull << (n))
#define MASK(hi, lo) ((~0ull >> (63 - (hi))) & (~0ull << (lo)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

typedef struct {
    uint64_t v;
} gva_t; /* guest-virtual (linear) */
typedef struct {
    uint64_t v;
} gpa_t; /* guest-physical */
typedef struct {
    uint64_t v;
} hpa_t; /* host-physical */
typedef struct {
    uint64_t v;
} gfn_t; /* gpa >> 12 */
typedef struct {
    uint64_t v;
} pfn_t;                   /* hpa >> 12 */
typedef uint32_t cpuset_t; /* bit c: VCPU c of a VM, dense numbers 0..HV_MAX_CPUS-1 */

/* Number of CPUs in a set; freestanding, so without the compiler's library call. */
static inline unsigned cpuset_count(cpuset_t s)
{
    unsigned n = 0;
    for (; s; s &= s - 1)
        n++;
    return n;
}
static inline gva_t gva(uint64_t v)
{
    return (gva_t){v};
}
static inline gpa_t gpa(uint64_t v)
{
    return (gpa_t){v};
}
static inline hpa_t hpa(uint64_t v)
{
    return (hpa_t){v};
}
static inline gfn_t gfn(uint64_t v)
{
    return (gfn_t){v};
}
static inline pfn_t pfn(uint64_t v)
{
    return (pfn_t){v};
}
static inline gfn_t gpa_gfn(gpa_t a)
{
    return gfn(a.v >> PAGE_SHIFT);
}
static inline gpa_t gfn_gpa(gfn_t f)
{
    return gpa(f.v << PAGE_SHIFT);
}
static inline pfn_t hpa_pfn(hpa_t a)
{
    return pfn(a.v >> PAGE_SHIFT);
}
static inline hpa_t pfn_hpa(pfn_t f)
{
    return hpa(f.v << PAGE_SHIFT);
}

/* Every fallible function returns one of these; out-parameters are valid only with HV_OK
 * unless its comment says more. */
enum hv_err {
    HV_OK = 0,
    HV_FAULT,       /* the guest must get a fault; the out-parameter says which */
    HV_RANGE,       /* an address or a number is out of range */
    HV_NOMEM,       /* a fixed pool is empty */
    HV_AGAIN,       /* nothing done, the caller restarts from the beginning */
    HV_UNSUPPORTED, /* understood, and not implemented */
    HV_INVALID,     /* malformed input */
    HV_MMIO,        /* the address is not RAM */
};
#define HV_MUST_CHECK __attribute__((warn_unused_result))
/* A small part of a path that every exit takes: no call, no frame. */
#define HV_INLINE inline __attribute__((always_inline))
/* Kept out of its caller, which then needs no registers for it. */
#define HV_APART __attribute__((noinline))
/* A rare path kept out of its caller, which then saves no registers for it. */
#define HV_RARE __attribute__((noinline, cold))
/* A function to set breakpoints on: one place, however much is inlined elsewhere. */
#ifdef __clang__
#define HV_ANCHOR __attribute__((noinline))
#else
#define HV_ANCHOR __attribute__((noinline, noclone)) /* a clone has another name */
#endif
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum hv_err try_err_ = (expr);                                                             \
        if (try_err_ != HV_OK)                                                                     \
            return try_err_;                                                                       \
    } while (0)
