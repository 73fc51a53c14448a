/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules of the architecture for one VCPU, a part a file: states, registers, paravirtual words,
 * events, and what becomes of one that cannot go on. Tested by tools/tests/test_exits.c. */
#pragma once
#include "hv/vcpu/subvmm.h"

/* vcpu.c: states of the VCPU. */
void vcpu_power_on(struct subvmm *s);
void vcpu_init_reset(struct subvmm *s);
/* After vcpu_init_reset: runs on in real mode at cs:ip. */
void vcpu_start_real(struct subvmm *s, uint16_t cs, uint16_t ip);
/* restart.c. The same, as firmware does it on the boot processor: where and how CMOS 0F asks, or
 * not at all: the VM is reset. */
void vcpu_restart(struct subvmm *s);
/* After v->ctl changed: the vendor derives its registers, the host's CR4 follows. */
void vcpu_ctl_commit(struct subvmm *s);
struct mmu_regs vcpu_mmu_regs(const struct vcpu *v);
bool vcpu_long_mode(const struct vcpu *v);
static inline uint64_t vcpu_edx_eax(const struct vcpu *v)
{
    return v->regs.gpr[RDX] << 32 | (uint32_t)v->regs.gpr[RAX];
}
static inline void vcpu_set_edx_eax(struct vcpu *v, uint64_t value)
{
    v->regs.gpr[RAX] = (uint32_t)value;
    v->regs.gpr[RDX] = value >> 32;
}

/* cr.c: a write by the guest. false: #GP, nothing changed. */
bool cr_write(struct subvmm *s, unsigned cr, uint64_t value);
bool cr_write_efer(struct subvmm *s, uint64_t value);

/* cpuid.c */
void cpuid_answer(struct subvmm *s, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* cr4_allowed, efer_allowed, xcr0_allowed, phys_bits, pcid, invpcid */
void cpuid_power_on(struct subvmm *s);

/* xstate.c. Bits of XCR0 that this machine shows; 0: no XSAVE. */
uint64_t xstate_components(void);
/* May the guest have this in XCR0? */
bool xstate_legal(const struct vcpu *v, uint64_t xcr0);
/* XCR0 and the registers it enables as after a reset. INIT leaves them alone. */
void xstate_power_on(struct subvmm *s);
/* Right after an exit: takes over what XSETBV did where it does not exit, and puts back what is not
 * shown. */
void xstate_sync(struct subvmm *s);
/* CPUID leaf 0Dh; r: in the processor's own answer. */
void xstate_leaf(struct subvmm *s, uint32_t subleaf, uint32_t r[4]);

/* msr.c. false: #GP. */
bool msr_read(struct subvmm *s, uint32_t msr, uint64_t *value);
bool msr_write(struct subvmm *s, uint32_t msr, uint64_t value);
void msr_power_on(struct subvmm *s);
/* mtrr.c: 200..2FF and PAT. */
bool mtrr_read(struct subvmm *s, uint32_t msr, uint64_t *value);
bool mtrr_write(struct subvmm *s, uint32_t msr, uint64_t value);
void mtrr_power_on(struct subvmm *s);

/* pveoi.c. The MSR; false: #GP. */
bool pveoi_write_msr(struct subvmm *s, uint64_t value);
/* `vector` is being injected: offer the guest to skip its EOI if nothing depends on it. */
void pveoi_arm(struct subvmm *s, uint8_t vector);
/* Right after an exit, before anything looks at the local APIC: performs the EOI the guest skipped.
 */
void pveoi_sync(struct subvmm *s);
/* The interrupt the offer was for was not taken: the offer is void. */
void pveoi_disarm(struct subvmm *s);
/* Before an entry: takes the offer back if another interrupt waits. */
void pveoi_revoke(struct subvmm *s);
/* steal.c. The MSR; false: #GP. */
bool steal_write_msr(struct subvmm *s, uint64_t value);
/* The VCPU halts for a while: flushes may be left to its waking. */
void steal_halt(struct subvmm *s);
/* It runs again; what was left to it is owed before the entry. */
void steal_wake(struct subvmm *s);

/* hyperv.c, the interface of hvsig=hyperv. */
void hyperv_leaf(const struct subvmm *s, uint32_t leaf, uint32_t r[4]);
bool hyperv_read_msr(struct subvmm *s, uint32_t msr, uint64_t *value); /* false: #GP */
bool hyperv_write_msr(struct subvmm *s, uint32_t msr, uint64_t value); /* false: #GP */
bool hyperv_calls(const struct subvmm *s); /* has the guest enabled the hypercall page? */

/* kvmclock.c. false: #GP. */
bool kvmclock_write_time(struct subvmm *s, uint64_t value);
bool kvmclock_write_wall(struct subvmm *s, uint64_t value);

/* events.c: the entry did not happen; what was accepted for it is requested again. */
void events_put_off(struct subvmm *s);
/* events.c: after an exit, before anything looks at the local APIC: an interrupt that the guest did
 * not take is requested again; an exit that only ends a single step becomes EXIT_INTR. Owner CPU.
 */
void events_settle(struct subvmm *s, struct vmexit *x);
/* events.c: decides what the next entry injects (v->pending) and whether a window is needed. */
void events_prepare(struct subvmm *s);
/* Makes the guest exit soon, or behind its IRET, if events_prepare wants that. Interrupts off, the
 * entry is certain. */
void events_kick(struct subvmm *s);
/* park.c */
void subvmm_triple_fault(struct subvmm *s);
/* The guest resets the VM by way of this CPU. */
void subvmm_reset(struct subvmm *s, const char *what);
void subvmm_dump(struct subvmm *s, const struct vmexit *x, void (*emit)(const char *line));
