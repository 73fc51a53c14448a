/* SPDX-License-Identifier: BSD-2-Clause */
/* xAPIC and x2APIC behind one interface. Tested by every boot; x2APIC under Bochs only. */
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/apic_regs.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"

#define ICR_WAIT_SPINS 100000u /* then send anyway: a stuck busy bit must not hang us */

static bool x2;
static char *regs; /* xAPIC page */

uint32_t apic_reg_read(uint32_t reg)
{
    return x2 ? (uint32_t)rdmsr(MSR_X2APIC_BASE + (reg >> 4)) : mmio_read32(regs + reg);
}

void apic_reg_write(uint32_t reg, uint32_t v)
{
    if (x2)
        wrmsr(MSR_X2APIC_BASE + (reg >> 4), v);
    else
        mmio_write32(regs + reg, v);
}

bool apic_is_x2(void)
{
    return x2;
}

void apic_init(hpa_t base, const char *why_not)
{
    uint64_t msr = rdmsr(MSR_APIC_BASE);
    bool left_on = (msr & APIC_BASE_EN) && (msr & APIC_BASE_EXTD);

    x2 = left_on || (!why_not && cpu_features.x2apic);
    if (!x2)
        regs = paging_map_mmio(base, PAGE_SIZE);
    if (!x2 && cpu_features.x2apic)
        log_info("apic", "xAPIC (%s)", why_not);
    else
        log_info("apic", "%s%s", x2 ? "x2APIC" : "xAPIC",
                 left_on ? " (left on by the firmware)" : "");
}

static void mode_set(void)
{
    uint64_t msr = rdmsr(MSR_APIC_BASE);
    /* From x2APIC back to xAPIC leads through "disabled" (APM volume 2, 16.9 "Enabling x2APIC
     * Mode"). */
    if (!x2 && (msr & APIC_BASE_EXTD))
        wrmsr(MSR_APIC_BASE, msr & ~(APIC_BASE_EXTD | APIC_BASE_EN));
    msr = (msr & ~APIC_BASE_EXTD) | APIC_BASE_EN;
    if (!(rdmsr(MSR_APIC_BASE) & APIC_BASE_EN))
        wrmsr(MSR_APIC_BASE, msr);
    if (x2)
        wrmsr(MSR_APIC_BASE, msr | APIC_BASE_EXTD);
}

void apic_cpu_init(void)
{
    static const uint16_t lvts[] = {APIC_LVT_TIMER, APIC_LVT_LINT0, APIC_LVT_ERROR, APIC_LVT_PERF,
                                    APIC_LVT_THERMAL};
    mode_set();
    uint32_t max_lvt = apic_reg_read(APIC_VERSION) >> 16 & 0xff;
    for (size_t i = 0; i < ARRAY_SIZE(lvts); i++) {
        bool there = lvts[i] == APIC_LVT_PERF      ? max_lvt >= 4
                     : lvts[i] == APIC_LVT_THERMAL ? max_lvt >= 5
                                                   : true;
        if (there)
            apic_reg_write(lvts[i], APIC_LVT_MASKED | VECTOR_SPURIOUS);
    }
    apic_reg_write(APIC_TPR, 0);
    apic_reg_write(APIC_SVR, APIC_SVR_ENABLE | VECTOR_SPURIOUS);
    /* What the firmware left in service would block us: as many EOIs as there are vectors. */
    for (unsigned i = 0; i < 256 && (apic_reg_read(APIC_PPR) & 0xf0); i++)
        apic_eoi();
}

uint32_t apic_id(void)
{
    return x2 ? apic_reg_read(APIC_ID) : apic_reg_read(APIC_ID) >> 24;
}

bool apic_can_address(uint32_t id)
{
    return x2 || id < 255;
}

void apic_eoi(void)
{
    apic_reg_write(APIC_EOI, 0);
}

void apic_ipi(uint32_t id, uint32_t icr)
{
    /* WRMSR to the x2APIC is not ordered behind earlier stores (APM volume 2, 16.11 "x2APIC ...");
     * the target must see the action word first. A store to UC memory is ordered already. */
    if (x2) {
        fence_mfence();
        fence_lfence();
        wrmsr(MSR_X2APIC_BASE + (APIC_ICR >> 4), (uint64_t)id << 32 | icr);
        return;
    }
    uint64_t flags = read_rflags();
    cpu_cli(); /* the two halves belong together */
    for (unsigned i = 0; i < ICR_WAIT_SPINS && (apic_reg_read(APIC_ICR) & APIC_ICR_BUSY); i++)
        cpu_pause();
    apic_reg_write(APIC_ICR_HIGH, id << APIC_ICR_DEST_SHIFT);
    apic_reg_write(APIC_ICR, icr);
    if (flags & RFLAGS_IF)
        cpu_sti();
}
