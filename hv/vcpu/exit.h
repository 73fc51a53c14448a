/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of hv/vcpu share beside subvmm.h: exit handlers (one family a file), the steps of
 * the loop, and the register policies. Tested by tools/tests/test_exits.c. */
#pragma once
#include "hv/vcpu/subvmm.h"

/* A handler completes or refuses what the guest did: registers, v->pending, v->state. */
typedef void (*exit_handler)(struct subvmm *s, const struct vmexit *x);
/* Counts, redelivers what was lost, and calls the handler of x->kind. */
void exit_dispatch(struct subvmm *s, const struct vmexit *x);

void exit_intr(struct subvmm *s, const struct vmexit *x);
void exit_irq_window(struct subvmm *s, const struct vmexit *x);
void exit_iret(struct subvmm *s, const struct vmexit *x);
void exit_pf(struct subvmm *s, const struct vmexit *x);
void exit_exception(struct subvmm *s, const struct vmexit *x);
void exit_icebp(struct subvmm *s, const struct vmexit *x);
void exit_cr_read(struct subvmm *s, const struct vmexit *x);
void exit_cr_write(struct subvmm *s, const struct vmexit *x);
void exit_dr_read(struct subvmm *s, const struct vmexit *x);
void exit_dr_write(struct subvmm *s, const struct vmexit *x);
void exit_invlpg(struct subvmm *s, const struct vmexit *x);
void exit_cpuid(struct subvmm *s, const struct vmexit *x);
void exit_rdmsr(struct subvmm *s, const struct vmexit *x);
void exit_wrmsr(struct subvmm *s, const struct vmexit *x);
void exit_io(struct subvmm *s, const struct vmexit *x);
void exit_hlt(struct subvmm *s, const struct vmexit *x);
void exit_nop(struct subvmm *s, const struct vmexit *x);
void exit_ud(struct subvmm *s, const struct vmexit *x);
void exit_gp(struct subvmm *s, const struct vmexit *x);
void exit_xsetbv(struct subvmm *s, const struct vmexit *x);
void exit_rdtsc(struct subvmm *s, const struct vmexit *x);
void exit_vmmcall(struct subvmm *s, const struct vmexit *x);
/* exit_invpcid.c. An INVPCID or control-register write that the processor itself refused, because
 * it lacks what the guest was shown: done here. false: the exception is the guest's. */
bool invpcid_refused(struct subvmm *s, const struct vmexit *x);
void exit_invpcid(struct subvmm *s, const struct vmexit *x);
void exit_shutdown(struct subvmm *s, const struct vmexit *x);
void exit_task_switch(struct subvmm *s, const struct vmexit *x);
void exit_foreign_cr3(struct subvmm *s, const struct vmexit *x);
void exit_invalid(struct subvmm *s, const struct vmexit *x);
void exit_unknown(struct subvmm *s, const struct vmexit *x);
/* exit_pf.c. An instruction on a device that is not emulated: #UD, and a line that says so. */
void vcpu_refuse(struct subvmm *s, const struct vmexit *x);

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
/* loop.c, for tests: one round; returns false when the CPU is stopped. */
void subvmm_round(struct subvmm *s);
enum hv_err subvmm_init(struct subvmm *s, struct vm *vm, void *pool, hpa_t pool_hpa,
                        uint64_t pool_bytes) HV_MUST_CHECK;
/* watch.c: who reads the console, and a guest that gets nowhere. Once before the loop. */
void watch_start(struct subvmm *s);
/* A look at the CPU that does, by the one that would take over. */
void watch_look(const struct subvmm *s);
/* true: this CPU may read keys until watch_read_end. */
bool watch_read_begin(const struct subvmm *s);
void watch_read_end(const struct subvmm *s);
/* This CPU comes round its loop, whether or not events show it. */
void watch_beat(const struct subvmm *s);
/* guestwatch.c: a guest that gets nowhere is said to, once. When watch_at has come, by its timer.
 */
void guestwatch_start(struct subvmm *s);
void guestwatch_look(struct subvmm *s);
/* This VCPU is in HLT with interrupts off; it left it (or was reset). */
void guestwatch_dead(struct subvmm *s);
void guestwatch_alive(struct subvmm *s);
/* For people: real, 16-bit, 64-bit ... */
const char *vcpu_mode_name(struct subvmm *s);
/* input.c: console keys to the monitor and to the guest's UART, while something waits. */
void input_pump(struct subvmm *s);
void input_start(void); /* nothing is typed yet */
/* For people; the numbers may be torn. */
void input_counts(uint32_t *waiting, uint64_t *lost);
static inline bool input_waits(const struct subvmm *s)
{
    return s->input.ready || s->input.waits;
}
/* end.c */
void subvmm_set_active(uint32_t cpu, bool active);
bool subvmm_any_active(void);
/* CPUs whose VCPU runs or is halted: not before SIPI, not parked */
cpuset_t subvmm_active_set(void);
_Noreturn void subvmm_finish(struct subvmm *s);
void subvmm_mark_stopped(uint32_t cpu);
bool subvmm_is_finisher(uint32_t cpu);
