/* SPDX-License-Identifier: BSD-2-Clause */
/* Does what must exit really exit on this machine? A tiny guest in the hypervisor's own tables
 * executes one instruction after the other, and one event comes to it. Emulators have holes that
 * change from version to version, so each is tried instead of being known by a name. Tested by
 * every boot on an Intel processor. */
#include "arch-x86/vmx/probe.h"
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

#define AR_CODE64 0xa09bu
#define AR_DATA 0xc093u
#define AR_TSS 0x8bu
#define TRIES 8
#define MISSED 0xffffu
/* Registers that instructions of the snippets use: RCX, RDX, R8 (CR0), R9 (CR3), R10 (CR4), R15. */

static const struct {
    const char *name;
    const char *start;
    uint32_t msr; /* in RCX */
    uint16_t reason;
    bool optional; /* the processor may lack the instruction: #UD exits then */
} snippets[] = {
#define X(id, name, msr, reason, optional) {name, vmx_probe_##id, msr, reason, optional},
    VMX_PROBE_LIST(X)
#undef X
};

static _Alignas(16) uint8_t stack[1024];

static void segment(unsigned i, uint16_t sel, uint32_t limit, uint32_t ar, uint64_t base)
{
    vmcs_write(VMCS_GUEST_ES_SEL + 2 * i, sel);
    vmcs_write(VMCS_GUEST_ES_LIMIT + 2 * i, limit);
    vmcs_write(VMCS_GUEST_ES_AR + 2 * i, ar);
    vmcs_write(VMCS_GUEST_ES_BASE + 2 * i, base);
}

static void state_build(uint64_t rip)
{
    const struct percpu *p = percpu_self();
    struct desc_ptr gdtr, idtr;

    cpu_sgdt(&gdtr);
    cpu_sidt(&idtr);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        segment(i, SEL_DATA, 0xffffffff, AR_DATA, 0);
    segment(SEG_CS, SEL_CODE, 0xffffffff, AR_CODE64, 0);
    segment(SEG_LDTR, 0, 0, AR_UNUSABLE, 0);
    segment(SEG_TR, SEL_TSS, sizeof(struct tss) - 1, AR_TSS, (uintptr_t)&p->tss);
    vmcs_write(VMCS_GUEST_GDTR_BASE, gdtr.base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, gdtr.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, idtr.base);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, idtr.limit);
    vmcs_write(VMCS_GUEST_CR0, read_cr0());
    vmcs_write(VMCS_CR0_MASK, ~0ull);
    vmcs_write(VMCS_CR0_SHADOW, ~0ull); /* CLTS exits if TS is set there */
    vmcs_write(VMCS_GUEST_CR3, read_cr3());
    vmcs_write(VMCS_GUEST_CR4, read_cr4());
    vmcs_write(VMCS_CR4_MASK, ~0ull);
    vmcs_write(VMCS_CR4_SHADOW, 0);
    vmcs_write(VMCS_ENTRY_CTLS, vmx_caps.entry | ENTRY_CTL_IA32E);
    vmcs_write(VMCS_EXCEPTION_BITMAP, ~0u);
    vmcs_write(VMCS_TSC_OFFSET, 0);
    vmcs_write(VMCS_GUEST_RIP, rip);
    vmcs_write(VMCS_GUEST_RSP, (uintptr_t)(stack + sizeof(stack)));
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED1);
}

/* One entry; what ended it. */
static uint32_t once(struct vmx_vcpu *a, uint32_t msr)
{
    struct vcpu_regs regs = {.gpr = {[RCX] = msr,
                                     [R8] = read_cr0(),
                                     [R9] = read_cr3(),
                                     [R10] = read_cr4(),
                                     [R15] = (uintptr_t)stack}};
    atomic_store_explicit(&percpu_self()->nmi_seen, 0, memory_order_relaxed);
    uint32_t how = vmx_enter(&regs, a->launched);

    if (how != VMX_EXITED)
        return MISSED;
    a->launched = true;
    return (uint32_t)vmcs_read(VMCS_EXIT_REASON);
}

/* Another interrupt of the machine's may come first. */
static void settle(void)
{
    cpu_sti();
    __asm__ volatile("nop" : : : "memory");
    cpu_cli();
}

static bool fires(struct vmx_vcpu *a, size_t i)
{
    for (unsigned n = 0; n < TRIES; n++) {
        state_build((uintptr_t)snippets[i].start);
        uint32_t reason = once(a, snippets[i].msr);
        if (reason == snippets[i].reason)
            return vmcs_read(VMCS_GUEST_RIP) == (uintptr_t)snippets[i].start;
        if (snippets[i].optional && reason == REASON_EXCEPTION)
            return (vmcs_read(VMCS_EXIT_INTR_INFO) & INTR_INFO_VECTOR) == VEC_UD;
        if (reason != REASON_INTR && reason != REASON_EXCEPTION)
            return false;
        settle();
    }
    return false;
}

/* An interrupt that waits when a guest with IF = 0 is entered ends its run at once (25.2 "Other
 * Causes of VM Exits"). Where it does not, the guest's loop ends in VMCALL. */
static bool interrupted(struct vmx_vcpu *a)
{
    uint32_t reason = MISSED;

    for (unsigned n = 0; n < TRIES && reason != REASON_VMCALL && reason != REASON_INTR; n++) {
        state_build((uintptr_t)vmx_probe_loop);
        apic_ipi(percpu_self()->apic_id, APIC_ICR_FIXED | APIC_ICR_ASSERT | VECTOR_DOORBELL);
        reason = once(a, 0);
        settle();
    }
    return reason == REASON_INTR;
}

bool vmx_probe(struct vmx_vcpu *a, bool *intr_if0)
{
    unsigned fire = 0;
    bool fit = true;

    for (size_t i = 0; i < ARRAY_SIZE(snippets); i++) {
        if (fires(a, i)) {
            fire++;
            continue;
        }
        log_err("check",
                "exit       %s DOES NOT EXIT (reason 0x%llx): a guest could not be kept in its VM",
                snippets[i].name, (unsigned long long)vmcs_read(VMCS_EXIT_REASON));
        fit = false;
    }
    log_info("check", "exits      %u of %u tried fire", fire, (unsigned)ARRAY_SIZE(snippets));
    *intr_if0 = interrupted(a);
    return fit;
}
