/* SPDX-License-Identifier: BSD-2-Clause */
/* What the room of exits offers: one call for the loop, and the handlers, one family a file.
 * Tested by tools/tests/test_exits.c. */
#pragma once
#include "hv/vcpu/subvmm.h"

/* A handler completes or refuses what the guest did: registers, v->pending, v->state. */
typedef void (*exit_handler)(struct subvmm *s, const struct vmexit *x);
/* Counts, redelivers what was lost, and calls the handler of x->kind. */
void exit_dispatch(struct subvmm *s, const struct vmexit *x);

void exit_intr(struct subvmm *s, const struct vmexit *x);
void exit_irq_window(struct subvmm *s, const struct vmexit *x);
void exit_nmi_window(struct subvmm *s, const struct vmexit *x);
void exit_real_gp(struct subvmm *s, const struct vmexit *x);
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
