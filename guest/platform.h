/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the platform share: counting interrupts, MSR accesses that may fault, the local
 * APIC's base register. Tested by groups platform and apic. */
#pragma once
#include "guest/guest.h"

#define APIC_BASE_PA 0xfee00000ull
#define APIC_BASE_BSP 0x100ull
#define APIC_BASE_EXTD 0x400ull
#define APIC_BASE_EN 0x800ull
#define APIC_VERSION 0x30
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define ICR_LOGICAL 0x800
#define ICR_LOWEST 0x100
#define ICR_BUSY 0x1000
#define ICR_LEVEL 0x8000
#define X2(reg) (MSR_X2APIC_BASE + ((reg) >> 4))
#define WARM_VECTOR 0x467

static inline uint64_t irqs(unsigned cpu, uint8_t vector)
{
    /* pairs with trap_entry */
    return atomic_load_explicit(&cpus[cpu].irqs[vector], memory_order_acquire);
}

static inline void wait_irqs(unsigned cpu, uint8_t vector, uint64_t n)
{
    while (irqs(cpu, vector) < n)
        wait_pause();
}

static inline void spin(unsigned n)
{
    while (n-- != 0)
        pause();
}

struct msr_access {
    uint32_t msr;
    uint64_t value;
};

static inline void do_rdmsr(void *arg)
{
    struct msr_access *m = arg;
    m->value = rdmsr(m->msr);
}

static inline void do_wrmsr(void *arg)
{
    const struct msr_access *m = arg;
    wrmsr(m->msr, m->value);
}

static inline bool wrmsr_faults(uint32_t msr, uint64_t value)
{
    struct msr_access m = {msr, value};
    return caught(do_wrmsr, &m) && trapped(VEC_GP, 0);
}

static inline bool rdmsr_faults(uint32_t msr)
{
    struct msr_access m = {msr, 0};
    return caught(do_rdmsr, &m) && trapped(VEC_GP, 0);
}

/* The local APIC was reset: as every test expects it. Boot processor. */
static inline void apic_again(void)
{
    apic_setup();
    timer_periodic();
}

static inline void apic_base_write(uint64_t bits)
{
    wrmsr(MSR_APIC_BASE, (rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP) | bits);
}
