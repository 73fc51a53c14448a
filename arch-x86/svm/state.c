/* SPDX-License-Identifier: BSD-2-Clause */
/* Register groups between the VMCB and hv/vcpu, and how the VMCB's control registers derive from
 * the guest's view (README "Control bits"). Tested by every boot. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/internal.h"
#include "hv/base/string.h"

static const size_t svm_seg_offset[SEG_COUNT] = {
    [SEG_ES] = offsetof(struct vmcb_save, es),     [SEG_CS] = offsetof(struct vmcb_save, cs),
    [SEG_SS] = offsetof(struct vmcb_save, ss),     [SEG_DS] = offsetof(struct vmcb_save, ds),
    [SEG_FS] = offsetof(struct vmcb_save, fs),     [SEG_GS] = offsetof(struct vmcb_save, gs),
    [SEG_LDTR] = offsetof(struct vmcb_save, ldtr), [SEG_TR] = offsetof(struct vmcb_save, tr),
};

static struct vmcb_segment *seg_at(struct vmcb_save *s, size_t i)
{
    return (struct vmcb_segment *)(void *)((uint8_t *)s + svm_seg_offset[i]);
}

static void segs_get(struct svm_vcpu *a, struct vcpu_segs *out)
{
    struct vmcb_save *s = &a->vmcb->save;

    for (size_t i = 0; i < SEG_COUNT; i++) {
        const struct vmcb_segment *g = seg_at(s, i);
        out->seg[i] = (struct segment){g->selector, g->attrib, g->limit, g->base};
    }
    out->gdtr = (struct dtable){s->gdtr.base, s->gdtr.limit};
    out->idtr = (struct dtable){s->idtr.base, s->idtr.limit};
    /* QEMU takes the CPL from SS.DPL, others from the CPL field; both are kept equal. */
    out->cpl = s->cpl;
}

static void segs_put(struct svm_vcpu *a, const struct vcpu_segs *in)
{
    struct vmcb_save *s = svm_save_dirty(a, CLEAN_SEG | CLEAN_DT);

    for (size_t i = 0; i < SEG_COUNT; i++) {
        const struct segment *g = &in->seg[i];
        *seg_at(s, i) = (struct vmcb_segment){g->sel, g->attr, g->limit, g->base};
    }
    s->gdtr.base = in->gdtr.base;
    s->gdtr.limit = in->gdtr.limit;
    s->idtr.base = in->idtr.base;
    s->idtr.limit = in->idtr.limit;
    s->cpl = in->cpl;
}

static void msrs_get(const struct vmcb_save *s, struct vcpu_msrs *m)
{
    *m = (struct vcpu_msrs){
        .star = s->star,
        .lstar = s->lstar,
        .cstar = s->cstar,
        .sfmask = s->sfmask,
        .kernel_gs_base = s->kernel_gs_base,
        .sysenter_cs = s->sysenter_cs,
        .sysenter_esp = s->sysenter_esp,
        .sysenter_eip = s->sysenter_eip,
    };
}

static void msrs_put(struct vmcb_save *s, const struct vcpu_msrs *m)
{
    s->star = m->star;
    s->lstar = m->lstar;
    s->cstar = m->cstar;
    s->sfmask = m->sfmask;
    s->kernel_gs_base = m->kernel_gs_base;
    s->sysenter_cs = m->sysenter_cs;
    s->sysenter_esp = m->sysenter_esp;
    s->sysenter_eip = m->sysenter_eip;
}

static void debug_get(const struct vmcb_save *s, struct vcpu_debug *d)
{
    d->dr[0] = read_dr0();
    d->dr[1] = read_dr1();
    d->dr[2] = read_dr2();
    d->dr[3] = read_dr3();
    d->dr6 = s->dr6;
    d->dr7 = s->dr7;
}

static void debug_put(struct svm_vcpu *a, const struct vcpu_debug *d)
{
    struct vmcb_save *s = svm_save_dirty(a, CLEAN_DRX);

    write_dr0(d->dr[0]);
    write_dr1(d->dr[1]);
    write_dr2(d->dr[2]);
    write_dr3(d->dr[3]);
    s->dr6 = d->dr6;
    s->dr7 = d->dr7;
}

static uint64_t derive_cr4(const struct vcpu_ctl *c)
{
    /* MCE: with the guest's 0 an error of the machine would shut the processor down instead. */
    const uint64_t host = CR4_PSE | CR4_PGE | CR4_MCE;
    uint64_t cr4 = c->cr4 | CR4_PAE;

    /* PSE means nothing in PAE tables and sptes never carry G: equal to the host's, exits are
     * cheaper. The guest reads its own bits: svm_put. */
    cr4 = (cr4 & ~host) | (read_cr4() & host);
    if (!svm_features.pcid) /* with it MOV CR3 and INVPCID exit for the very operands allowed */
        cr4 &= ~CR4_PCIDE;
    cr4 &= ~(CR4_LA57 | CR4_PKE | CR4_CET);
    if (!(c->cr0 & CR0_PG)) /* unpaged: the identity shadow has user rights everywhere */
        cr4 &= ~(CR4_SMEP | CR4_SMAP);
    return cr4;
}

static uint64_t derive_efer(const struct vcpu_ctl *c)
{
    uint64_t efer = c->efer & (EFER_SCE | EFER_FFXSR);

    /* LMA is written, never left to the processor: QEMU does not compute it at VMRUN. */
    if ((c->efer & EFER_LME) && (c->cr0 & CR0_PG))
        efer |= EFER_LME | EFER_LMA;
    if (svm_features.nx)
        efer |= EFER_NXE;
    return efer | EFER_SVME;
}

/* And what the guest is shown and the processor lacks: see invpcid_refused. */
static uint32_t derive_exceptions(const struct vcpu *v)
{
    uint32_t mask = SVM_EXCEPTIONS;

    if (!(v->ctl.cr0 & CR0_NE)) /* an interrupt of the PC's, not an exception: vpc_ferr */
        mask |= 1u << VEC_MF;
    if (v->invpcid && !svm_features.invpcid)
        mask |= 1u << VEC_UD;
    return mask;
}

static void ctl_put(struct vcpu *v, const struct vcpu_ctl *c)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb_save *s = svm_save_dirty(a, CLEAN_CRX);
    struct vmcb_control *ctl = svm_ctl_dirty(a, CLEAN_I);
    uint16_t reads = svm_cr_reads();

    s->cr0 = (c->cr0 & ~(CR0_CD | CR0_NW)) | CR0_WP | CR0_PG | CR0_ET | CR0_NE;
    s->cr4 = derive_cr4(c);
    s->efer = derive_efer(c);
    if (s->cr0 != c->cr0)
        reads |= BIT(0);
    if (s->cr4 != c->cr4)
        reads |= BIT(4);
    ctl->intercept_cr_read = reads;
    ctl->tsc_offset = v->tsc_adjust;
    ctl->intercept_exceptions = a->exceptions = derive_exceptions(v);
}

void svm_get(struct vcpu *v, enum vcpu_group g, void *out)
{
    struct svm_vcpu *a = svm_of(v);

    switch (g) {
    case VCPU_SEGS:
        segs_get(a, out);
        break;
    case VCPU_MSRS:
        msrs_get(&a->vmcb->save, out);
        break;
    case VCPU_DEBUG:
        debug_get(&a->vmcb->save, out);
        break;
    case VCPU_CTL: /* hv/vcpu owns it: every write exits */
        memcpy(out, &v->ctl, sizeof(v->ctl));
        break;
    }
}

void svm_code(const struct vcpu *v, struct vcpu_code *out)
{
    const struct vmcb_save *s = &svm_of(v)->vmcb->save;

    *out = (struct vcpu_code){
        .base = s->cs.base,
        .limit = s->cs.limit,
        .attr = s->cs.attrib,
        .cpl = s->cpl,
        .breakpoints = s->dr7 & 0xff, /* L0..G3 */
    };
}

uint32_t svm_mode(const struct vcpu *v)
{
    const struct vmcb_save *s = &svm_of(v)->vmcb->save;

    return s->cs.attrib | (uint32_t)s->cpl << 16;
}

void svm_put(struct vcpu *v, enum vcpu_group g, const void *in)
{
    struct svm_vcpu *a = svm_of(v);

    switch (g) {
    case VCPU_SEGS:
        segs_put(a, in);
        break;
    case VCPU_MSRS:
        msrs_put(&a->vmcb->save, in);
        break;
    case VCPU_DEBUG:
        debug_put(a, in);
        break;
    case VCPU_CTL:
        ctl_put(v, in);
        break;
    }
}
