/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest state between hv/vcpu's groups and the VMCS, and the control registers the processor really
 * runs with. Tested by tools/tests/test_vmx.c. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/string.h"

/* #PF #DB #AC #MC; others while they are the hypervisor's: exceptions_of. Not #DF: a fault while it
 * is delivered is a triple fault, which exits. */
#define VMX_EXCEPTIONS (1u << VEC_PF | 1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC)
/* Bits of CR0 that the guest changes without an exit: nothing is derived from them. */
#define CR0_GUESTS (CR0_MP | CR0_EM | CR0_TS | CR0_AM)

/* SYSCALL's and KERNEL_GS stay the guest's in the processor all the time: the host uses none. */
static void msrs_get(struct vcpu_msrs *m)
{
    *m = (struct vcpu_msrs){
        .star = rdmsr(MSR_STAR),
        .lstar = rdmsr(MSR_LSTAR),
        .cstar = rdmsr(MSR_CSTAR),
        .sfmask = rdmsr(MSR_SFMASK),
        .kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE),
        .sysenter_cs = vmcs_read(VMCS_GUEST_SYSENTER_CS),
        .sysenter_esp = vmcs_read(VMCS_GUEST_SYSENTER_ESP),
        .sysenter_eip = vmcs_read(VMCS_GUEST_SYSENTER_EIP),
    };
}

static void msrs_put(const struct vcpu_msrs *m)
{
    wrmsr(MSR_STAR, m->star);
    wrmsr(MSR_LSTAR, m->lstar);
    wrmsr(MSR_CSTAR, m->cstar);
    wrmsr(MSR_SFMASK, m->sfmask);
    wrmsr(MSR_KERNEL_GS_BASE, m->kernel_gs_base);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, m->sysenter_cs);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, m->sysenter_esp);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, m->sysenter_eip);
}

/* The host uses no breakpoints: DR0 to DR3 and DR6 are the guest's, DR7 is switched. */
static void debug_get(struct vcpu_debug *d)
{
    d->dr[0] = read_dr0();
    d->dr[1] = read_dr1();
    d->dr[2] = read_dr2();
    d->dr[3] = read_dr3();
    d->dr6 = read_dr6();
    d->dr7 = vmcs_read(VMCS_GUEST_DR7);
}

static void debug_put(const struct vcpu_debug *d)
{
    write_dr0(d->dr[0]);
    write_dr1(d->dr[1]);
    write_dr2(d->dr[2]);
    write_dr3(d->dr[3]);
    write_dr6(d->dr6);
    vmcs_write(VMCS_GUEST_DR7, d->dr7);
}

static uint64_t derive_cr0(const struct vcpu_ctl *c)
{
    return (c->cr0 & ~(CR0_CD | CR0_NW)) | CR0_WP | CR0_PG | CR0_ET | CR0_NE | CR0_PE;
}

static uint64_t derive_cr4(const struct vcpu_ctl *c)
{
    /* PSE means nothing in PAE tables and no spte carries G; MCE: with the guest's 0 an error of
     * the machine would shut the processor down. PCIDE stays 0: roots are told apart by VPID, and
     * MOV CR3 and INVPCID exit before their operand is checked. */
    const uint64_t host = CR4_PSE | CR4_PGE | CR4_MCE;
    uint64_t cr4 = (c->cr4 & ~host) | (read_cr4() & host) | CR4_PAE | CR4_VMXE;

    cr4 &= ~(CR4_LA57 | CR4_PKE | CR4_CET | CR4_PCIDE | CR4_SMXE);
    if (!(c->cr0 & CR0_PG)) /* unpaged: the identity shadow has user rights everywhere */
        cr4 &= ~(CR4_SMEP | CR4_SMAP);
    if (!(c->cr0 & CR0_PE)) /* virtual-8086 mode: as real mode has it */
        cr4 = (cr4 & ~(CR4_UMIP | CR4_TSD | CR4_PVI)) | CR4_VME;
    return cr4;
}

static uint32_t exceptions_of(const struct vcpu *v)
{
    uint32_t mask = VMX_EXCEPTIONS;

    if (!(v->ctl.cr0 & CR0_NE)) /* an interrupt of the PC's, not an exception: vpc_ferr */
        mask |= 1u << VEC_MF;
    if (v->invpcid && !vmx_caps.invpcid) /* see invpcid_refused */
        mask |= 1u << VEC_UD;
    return mask;
}

/* Real mode and protected mode have their segments in different forms. */
static void mode_put(struct vmx_vcpu *a, bool real)
{
    struct vcpu_segs segs;

    if (a->real == real)
        return;
    vmx_segs_get(a, &segs);
    a->real = real;
    vmx_segs_put(a, &segs);
}

/* LMA and LME come from the entry control; the rest of EFER is not switched: NXE is 1 for both, and
 * the host has no use for SCE. */
static void efer_put(const struct vcpu_ctl *c)
{
    bool wide = (c->efer & EFER_LME) && (c->cr0 & CR0_PG);
    uint64_t efer = rdmsr(MSR_EFER), want = (efer & ~EFER_SCE) | (c->efer & EFER_SCE);

    if (want != efer)
        wrmsr(MSR_EFER, want);
    vmcs_write(VMCS_ENTRY_CTLS, vmx_caps.entry | (wide ? ENTRY_CTL_IA32E : 0));
}

static void ctl_put(struct vcpu *v, const struct vcpu_ctl *c)
{
    struct vmx_vcpu *a = vmx_of(v);
    bool real = !(c->cr0 & CR0_PE);

    mode_put(a, real);
    a->cr0_mask = real ? ~0ull : ~CR0_GUESTS;
    vmcs_write(VMCS_GUEST_CR0, derive_cr0(c));
    vmcs_write(VMCS_CR0_MASK, a->cr0_mask);
    vmcs_write(VMCS_CR0_SHADOW, c->cr0);
    vmcs_write(VMCS_GUEST_CR4, derive_cr4(c));
    vmcs_write(VMCS_CR4_MASK, ~0ull);
    vmcs_write(VMCS_CR4_SHADOW, c->cr4);
    a->direct = v->directpf && (c->efer & EFER_LME) && (c->cr0 & CR0_PG);
    vmcs_write(VMCS_HOST_CR4, read_cr4()); /* SMEP and SMAP follow the guest's */
    vmcs_write(VMCS_TSC_OFFSET, v->tsc_adjust);
    efer_put(c);
    a->exceptions = exceptions_of(v);
    vmx_exceptions_set(a);
}

void vmx_get(struct vcpu *v, enum vcpu_group g, void *out)
{
    switch (g) {
    case VCPU_SEGS:
        vmx_segs_get(vmx_of(v), out);
        break;
    case VCPU_MSRS:
        msrs_get(out);
        break;
    case VCPU_DEBUG:
        debug_get(out);
        break;
    case VCPU_CTL: /* hv/vcpu owns it */
        memcpy(out, &v->ctl, sizeof(v->ctl));
        break;
    }
}

void vmx_put(struct vcpu *v, enum vcpu_group g, const void *in)
{
    switch (g) {
    case VCPU_SEGS:
        vmx_segs_put(vmx_of(v), in);
        break;
    case VCPU_MSRS:
        msrs_put(in);
        break;
    case VCPU_DEBUG:
        debug_put(in);
        break;
    case VCPU_CTL:
        ctl_put(v, in);
        break;
    }
}

void vmx_code(const struct vcpu *v, struct vcpu_code *out)
{
    struct vmx_vcpu *a = vmx_of(v);

    if (a->real) {
        struct vcpu_segs segs;
        vmx_real_segs_get(a, &segs);
        *out = (struct vcpu_code){.base = segs.seg[SEG_CS].base,
                                  .limit = segs.seg[SEG_CS].limit,
                                  .attr = segs.seg[SEG_CS].attr};
    } else {
        *out = (struct vcpu_code){
            .base = vmcs_read(VMCS_GUEST_CS_BASE),
            .limit = (uint32_t)vmcs_read(VMCS_GUEST_ES_LIMIT + 2 * SEG_CS),
            .attr = vmx_attr((uint32_t)vmcs_read(VMCS_GUEST_CS_AR)),
            .cpl = (uint8_t)(vmcs_read(VMCS_GUEST_SS_AR) >> 5 & 3),
        };
    }
    out->breakpoints = vmcs_read(VMCS_GUEST_DR7) & 0xff; /* L0..G3 */
}

uint32_t vmx_mode(const struct vcpu *v)
{
    struct vcpu_code code;

    vmx_code(v, &code);
    return code.attr | (uint32_t)code.cpl << 16;
}
