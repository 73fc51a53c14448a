/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits of MOV CRn, LMSW, SMSW, CLTS and MOV DRn: operands here, rules in cr.c.
 * Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/stats.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vcpu/fetch.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define LMSW_BITS (CR0_PE | CR0_MP | CR0_EM | CR0_TS)
#define DR7_ENABLED 0xffull /* any breakpoint */
#define CR_EXISTS (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8))

/* The instruction, from what the hardware says of it or from its bytes. NULL: the exception is
 * pending. Valid until another one is looked at. */
static const struct insn *fetch(struct subvmm *s, const struct vmexit *x, enum insn_op mov,
                                struct insn *buf)
{
    if (x->gpr != VMEXIT_GPR_NONE && x->next_rip) {
        *buf = (struct insn){.op = mov, .cr = x->cr, .dst_reg = x->gpr, .src_reg = x->gpr};
        return buf;
    }
    if (x->known && x->next_rip) {
        *buf = (struct insn){
            .op = x->msw.lmsw ? INSN_LMSW : INSN_CLTS, .src = OPND_IMM, .imm = x->msw.msw};
        return buf;
    }
    return fetch_look(s, x, buf);
}

static uint64_t cr_value(const struct subvmm *s, unsigned cr)
{
    const struct vcpu *v = &s->vcpu;

    switch (cr) {
    case 0:
        return v->ctl.cr0;
    case 2:
        return v->regs.cr2;
    case 3:
        return v->ctl.cr3;
    case 4:
        return v->ctl.cr4;
    default:
        return vlapic_get_cr8(s->vm->pc, s->cpu);
    }
}

/* A register operand of MOV CR and MOV DR is 64 bits in 64-bit mode and 32 otherwise, whatever the
 * operand size. */
static uint64_t mode_width(struct subvmm *s, uint64_t value)
{
    return vcpu_code_size(s) == 8 ? value : (uint32_t)value;
}

/* --- CR reads --- */

static bool smsw_store(struct subvmm *s, const struct insn *in)
{
    uint16_t word = (uint16_t)s->vcpu.ctl.cr0;
    struct guest_fault fault;
    gpa_t at;
    gva_t va;

    if (emulate_linear(s, in, sizeof(word), true, &va) != HV_OK)
        return false;
    uint32_t access = vcpu_cpl(s) == 3 ? PFEC_U : 0;
    access |= s->vcpu.regs.rflags & RFLAGS_AC ? ACCESS_AC : 0;
    switch (gmem_write(&s->mmu, va, &word, sizeof(word), access, &fault, &at)) {
    case HV_OK:
        return true;
    case HV_FAULT:
        vcpu_inject_pf(s, &fault);
        return false;
    default:
        return true; /* device memory: the store goes nowhere */
    }
}

static bool smsw(struct subvmm *s, const struct insn *in)
{
    uint64_t *reg = &s->vcpu.regs.gpr[in->dst_reg & 15];
    uint64_t cr0 = s->vcpu.ctl.cr0;

    if (in->dst == OPND_MEM)
        return smsw_store(s, in);
    if (in->opsize == 2)
        *reg = (*reg & ~0xffffull) | (cr0 & 0xffff);
    else
        *reg = (uint32_t)cr0;
    return true;
}

/* A flush of the whole TLB is a MOV from CR3 and straight back, and so two exits: the second is
 * saved. Only in the page that the processor executes from, and where nothing can come between the
 * two; an interrupt that waits is taken behind them, as if it came then. */
static void cr3_reload(struct subvmm *s, uint64_t from_rip, unsigned reg)
{
    static const struct vmexit decoded; /* next_rip unknown: the length counts */
    struct vcpu *v = &s->vcpu;
    struct vcpu_debug d;
    struct insn in;

    if (!s->vm->opt->reload || v->pending.type != EVENT_NONE ||
        (from_rip ^ v->regs.rip) >> PAGE_SHIFT)
        return;
    vcpu_ops->get(v, VCPU_DEBUG, &d);
    if ((d.dr7 & DR7_ENABLED) || !fetch_peek(s, &in) || in.op != INSN_MOV_CR_WRITE || in.cr != 3 ||
        (in.src_reg & 15) != reg || !cr_write(s, 3, mode_width(s, v->regs.gpr[reg])))
        return;
    vcpu_skip(s, &decoded, in.length);
    stat_inc(s->pcpu, STAT_reloads);
}

void exit_cr_read(struct subvmm *s, const struct vmexit *x)
{
    struct insn buf;
    const struct insn *in = fetch(s, x, INSN_MOV_CR_READ, &buf);

    if (!in)
        return;
    if (in->op == INSN_SMSW) {
        if ((s->vcpu.ctl.cr4 & CR4_UMIP) && vcpu_cpl(s))
            vcpu_inject_gp0(s);
        else if (smsw(s, in))
            vcpu_skip(s, x, in->length);
        return;
    }
    if (in->op != INSN_MOV_CR_READ || in->cr > 15 || !(CR_EXISTS & BIT(in->cr))) {
        vcpu_inject_ud(s);
        return;
    }
    uint64_t rip = s->vcpu.regs.rip;
    unsigned cr = in->cr, reg = in->dst_reg & 15;
    s->calm = true;
    s->vcpu.regs.gpr[reg] = mode_width(s, cr_value(s, cr));
    vcpu_skip(s, x, in->length);
    if (cr == 3)
        cr3_reload(s, rip, reg); /* looks at another instruction */
}

/* --- CR writes --- */

/* LMSW: PE can be set, not cleared. false: a fault is pending. */
static bool lmsw_operand(struct subvmm *s, const struct insn *in, uint64_t *word)
{
    struct guest_fault fault;
    uint16_t value = 0;
    gpa_t at;
    gva_t va;

    if (in->src != OPND_MEM) {
        *word = in->src == OPND_IMM ? in->imm : s->vcpu.regs.gpr[in->src_reg & 15] & 0xffff;
        return true;
    }
    if (emulate_linear(s, in, sizeof(value), false, &va) != HV_OK)
        return false;
    uint32_t access = s->vcpu.regs.rflags & RFLAGS_AC ? ACCESS_AC : 0;
    if (gmem_read(&s->mmu, va, &value, sizeof(value), access, &fault, &at) == HV_FAULT) {
        vcpu_inject_pf(s, &fault);
        return false;
    }
    *word = value;
    return true;
}

static bool write_operand(struct subvmm *s, const struct insn *in, uint64_t *value)
{
    uint64_t cr0 = s->vcpu.ctl.cr0, word;

    switch (in->op) {
    case INSN_MOV_CR_WRITE:
        *value = mode_width(s, s->vcpu.regs.gpr[in->src_reg & 15]);
        return true;
    case INSN_CLTS:
        *value = cr0 & ~CR0_TS;
        return true;
    case INSN_LMSW:
        if (!lmsw_operand(s, in, &word))
            return false;
        *value = (cr0 & ~(LMSW_BITS & ~CR0_PE)) | (word & LMSW_BITS);
        return true;
    default:
        vcpu_inject_ud(s);
        return false;
    }
}

/* MOV to CR3 in 64-bit code, of an instruction that is known: each switch between address spaces.
 * false: anything else. */
static bool cr3_write(struct subvmm *s, const struct vmexit *x)
{
    const struct insn *in = x->next_rip ? NULL : fetch_known(s, x);

    if (!in || in->op != INSN_MOV_CR_WRITE || in->cr != 3)
        return false;
    unsigned length = in->length; /* `in` is looked at before anything else is */
    s->calm = cr_write(s, 3, s->vcpu.regs.gpr[in->src_reg & 15]);
    if (s->calm)
        vcpu_skip_long(s, length);
    else
        vcpu_inject_gp0(s);
    return true;
}

static HV_APART void cr_write_any(struct subvmm *s, const struct vmexit *x)
{
    struct insn buf;
    const struct insn *in;
    unsigned cr, length;
    uint64_t value;

    in = fetch(s, x, INSN_MOV_CR_WRITE, &buf);
    if (!in || !write_operand(s, in, &value))
        return;
    cr = in->op == INSN_MOV_CR_WRITE ? in->cr : 0;
    length = in->length;
    if (cr > 15 || !(CR_EXISTS & BIT(cr))) {
        vcpu_inject_ud(s);
        return;
    }
    if (cr == 2) {
        s->vcpu.regs.cr2 = value;
        vcpu_skip(s, x, length);
        return;
    }
    /* The length is decided before the mode changes under it. */
    if (!cr_write(s, cr, value)) {
        vcpu_inject_gp0(s);
        return;
    }
    s->calm = cr != 8; /* that one is the local APIC's */
    vcpu_skip(s, x, length);
}

void exit_cr_write(struct subvmm *s, const struct vmexit *x)
{
    if (!cr3_write(s, x))
        cr_write_any(s, x);
}

/* --- debug registers: where the vendor cannot leave them to the guest --- */

static uint64_t *dr_slot(struct vcpu_debug *d, unsigned dr)
{
    if (dr < 4)
        return &d->dr[dr];
    return dr == 4 || dr == 6 ? &d->dr6 : &d->dr7;
}

static bool dr_fetch(struct subvmm *s, const struct vmexit *x, enum insn_op mov, struct insn *in)
{
    const struct insn *found = fetch(s, x, mov, in);

    if (!found)
        return false;
    if (found != in)
        *in = *found;
    bool alias = in->cr == 4 || in->cr == 5;
    if (in->op != mov || in->cr > 7 || (alias && (s->vcpu.ctl.cr4 & CR4_DE))) {
        vcpu_inject_ud(s);
        return false;
    }
    return true;
}

void exit_dr_read(struct subvmm *s, const struct vmexit *x)
{
    struct vcpu_debug d;
    struct insn in;

    if (!dr_fetch(s, x, INSN_MOV_DR_READ, &in))
        return;
    vcpu_ops->get(&s->vcpu, VCPU_DEBUG, &d);
    s->vcpu.regs.gpr[in.dst_reg & 15] = mode_width(s, *dr_slot(&d, in.cr));
    vcpu_skip(s, x, in.length);
}

void exit_dr_write(struct subvmm *s, const struct vmexit *x)
{
    struct vcpu_debug d;
    struct insn in;

    if (!dr_fetch(s, x, INSN_MOV_DR_WRITE, &in))
        return;
    uint64_t value = mode_width(s, s->vcpu.regs.gpr[in.src_reg & 15]);
    bool status = in.cr >= 4;
    if (status && value >> 32) {
        vcpu_inject_gp0(s);
        return;
    }
    vcpu_ops->get(&s->vcpu, VCPU_DEBUG, &d);
    if (in.cr == 4 || in.cr == 6)
        value = (value & 0xe00f) | 0xffff0ff0; /* APM 13.1.1.3 "Debug-Status Register (DR6)" */
    else if (status)
        value = (value & ~0xd800ull) | 0x400; /* 13.1.1.4 "Debug-Control Register (DR7)" */
    *dr_slot(&d, in.cr) = value;
    vcpu_ops->put(&s->vcpu, VCPU_DEBUG, &d);
    vcpu_skip(s, x, in.length);
}
