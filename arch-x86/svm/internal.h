/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of arch-x86/svm share: the state behind vcpu.arch, features, and the operations
 * that svm_ops is made of. Only this folder includes it. */
#pragma once
#include "arch-x86/defs/svm.h"
#include "arch-x86/defs/vmcb.h"
#include "arch-x86/svm/quirks.h"
#include "hv/vcpu/vcpu.h"

/* enter.S finds the second by the first. */
struct svm_block {
    struct vmcb guest;
    uint8_t host[4096]; /* the host's VMLOAD state */
};

struct svm_vcpu {
    struct vmcb *vmcb;
    uint64_t block_hpa;  /* of struct svm_block */
    uint64_t root;       /* VMCB.CR3 must equal it after every exit */
    uint64_t injected;   /* EVENTINJ of this entry, 0 none */
    uint64_t offered;    /* the same for an interrupt that waits for IF as V_IRQ */
    uint32_t exceptions; /* intercepted ones */
    bool injecting_df;   /* every exception is intercepted for this entry */
    bool stepping;       /* so it is, for a single step */
    bool once;           /* one of these four, or the exit may need a repair (quirks.h) */
    uint32_t asid;       /* the pager's of the last entry, where it is not the hardware's */
    uint32_t asid_hw;    /* the hardware's */
};

struct svm_features {
    bool nrips, flush_by_asid, assists;
    bool nx, tsc_aux, pcid, invpcid;
    bool cr_number_lost; /* a CR read may exit with the code of another register: probe.h */
    uint32_t nasids;
    uint32_t clean; /* clean bits after an exit: CLEAN_ALL, or 0 without the feature */
};
extern struct svm_features svm_features; /* of the boot CPU; all are alike */

static inline struct svm_vcpu *svm_of(const struct vcpu *v)
{
    return v->arch;
}
/* The clean bit of what is written next: the only place that knows they exist. */
static inline struct vmcb_control *svm_ctl_dirty(struct svm_vcpu *a, uint32_t clean)
{
    a->vmcb->ctl.clean &= ~clean;
    return &a->vmcb->ctl;
}
static inline struct vmcb_save *svm_save_dirty(struct svm_vcpu *a, uint32_t clean)
{
    a->vmcb->ctl.clean &= ~clean;
    return &a->vmcb->save;
}

/* CR reads that exit always. CR8: V_TPR would be read. */
static inline uint16_t svm_cr_reads(void)
{
    return (uint16_t)(BIT(3) | BIT(8) | quirks.cr_reads);
}

/* perm.c: physical addresses of the permission maps, built once. */
uint64_t svm_msrpm(void);
uint64_t svm_iopm(void);
void svm_perm_build(void);
/* init.c */
enum hv_err svm_enable(void);
enum hv_err svm_init(struct vcpu *v);
uint32_t svm_nasids(void);
/* What every guest is intercepted for, from its first entry on. */
void svm_intercepts_set(struct vmcb_control *c);
/* #PF #DB #AC #MC #DF #GP; VCPU_CTL adds #UD where the guest is shown more */
#define SVM_EXCEPTIONS (1u << 14 | 1u << 1 | 1u << 17 | 1u << 18 | 1u << 8 | 1u << 13)
/* state.c */
void svm_get(struct vcpu *v, enum vcpu_group g, void *out);
void svm_put(struct vcpu *v, enum vcpu_group g, const void *in);
void svm_code(const struct vcpu *v, struct vcpu_code *out);
uint32_t svm_mode(const struct vcpu *v);
/* entry.c */
void svm_run(struct vcpu *v, struct vmexit *x);
void svm_inject(struct vcpu *v, const struct vcpu_event *e);
void svm_window(struct vcpu *v, bool on);
void svm_isolate(struct vcpu *v, bool on);
bool svm_waits(void);
void svm_set_int_shadow(struct vcpu *v, bool on);
void svm_nmi_mask(struct vcpu *v, bool on);
void svm_step(struct vcpu *v);
/* asid.c */
void svm_set_root(struct vcpu *v, hpa_t root, uint32_t asid, bool flush_asid, bool flush_all);
/* translate.c: raw exit -> neutral record, but for the event of the entry. Pure: reads the block,
 * writes *x. */
void svm_translate(const struct svm_vcpu *a, const struct svm_features *f, struct vmexit *x);
/* And what became of the event, behind it. */
void svm_translate_event(const struct svm_vcpu *a, uint64_t entry_rip, struct vmexit *x);
/* dump.c */
void svm_dump(struct vcpu *v, void (*emit)(const char *line));
/* enter.S: VMLOAD, VMRUN, VMSAVE of the guest's block, VMLOAD of the host's; all GPRs but RAX and
 * RSP through v->regs, CR2 out to there. IF=0, GIF=1 on entry; IF=1, GIF=1 when it goes on in
 * svm_exited, from which it returns. block_hpa: of struct svm_block. */
void svm_enter(struct vcpu *v, struct vmexit *x, uint64_t block_hpa);
void svm_exited(struct vcpu *v, struct vmexit *x);
void svm_cr2_load(uint64_t cr2);
