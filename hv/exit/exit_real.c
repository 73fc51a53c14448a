/* SPDX-License-Identifier: BSD-2-Clause */
/* #GP in real mode on a processor that runs it in virtual-8086 mode: what is privileged there and
 * not in real mode is carried out by the handler that its exit has in protected mode, an access
 * beyond 64 KiB that the segment's own limit allows is emulated, and the rest is the guest's own.
 * Tested by tools/tests/test_real.c. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/fetch.h"
#include "hv/vcpu/rules.h"

#define DT_GROUP 0x01 /* 0F 01 */
#define MODRM_REG(m) ((m) >> 3 & 7)
enum { DT_LGDT = 2, DT_LIDT = 3 };

static void own(struct subvmm *s)
{
    vcpu_inject_exception(s, VEC_GP, false, 0);
}

/* The operand: limit and base, of which 24 bits count with 16-bit operands (APM volume 3, "LGDT").
 */
static void dt_load(struct subvmm *s, const struct vmexit *x, const struct insn *in)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } operand = {0};
    struct guest_fault fault;
    struct vcpu_segs segs;
    gpa_t at;
    gva_t va;

    if (emulate_linear(s, in, sizeof(operand), false, &va) != HV_OK)
        return;
    if (gmem_read(&s->mmu, va, &operand, sizeof(operand), 0, &fault, &at) != HV_OK) {
        own(s);
        return;
    }
    struct dtable t = {in->opsize == 2 ? operand.base & 0xffffff : operand.base, operand.limit};
    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &segs);
    if (MODRM_REG(in->modrm) == DT_LGDT)
        segs.gdtr = t;
    else
        segs.idtr = t;
    vcpu_ops->put(&s->vcpu, VCPU_SEGS, &segs);
    vcpu_skip(s, x, in->length);
}

/* Segments may have limits that protected mode left behind. */
static void far_access(struct subvmm *s, const struct vmexit *x, const struct insn *in)
{
    struct vmexit access = *x;
    gva_t va;

    if (in->dst != OPND_MEM && in->src != OPND_MEM) {
        own(s);
        return;
    }
    if (emulate_linear(s, in, in->opsize, in->dst == OPND_MEM, &va) != HV_OK)
        return; /* the fault is pending */
    access.gva = va;
    access.have_gva = true;
    if (emulate_insn(s, &access, gpa(va.v)) == EMULATE_DECLINED)
        own(s);
}

static exit_handler handler(const struct insn *in)
{
    switch (in->op) {
    case INSN_HLT:
        return exit_hlt;
    case INSN_MOV_CR_READ:
        return exit_cr_read;
    case INSN_MOV_CR_WRITE:
    case INSN_CLTS:
    case INSN_LMSW:
        return exit_cr_write;
    case INSN_MOV_DR_READ:
        return exit_dr_read;
    case INSN_MOV_DR_WRITE:
        return exit_dr_write;
    case INSN_INVLPG:
        return exit_invlpg;
    case INSN_RDMSR:
        return exit_rdmsr;
    case INSN_WRMSR:
        return exit_wrmsr;
    case INSN_WBINVD:
    case INSN_INVD:
        return exit_nop;
    case INSN_RDPMC:
        return exit_gp;
    case INSN_XSETBV:
        return exit_xsetbv;
    default:
        return NULL;
    }
}

void exit_real_gp(struct subvmm *s, const struct vmexit *x)
{
    struct insn in;

    if (fetch_decode(s, x, &in) != HV_OK) {
        if (s->vcpu.pending.type == EVENT_NONE)
            own(s);
        return;
    }
    exit_handler h = handler(&in);
    if (h)
        h(s, x);
    else if (in.op == INSN_OTHER && in.map == 1 && in.opcode == DT_GROUP && in.modrm < 0xc0 &&
             (MODRM_REG(in.modrm) == DT_LGDT || MODRM_REG(in.modrm) == DT_LIDT))
        dt_load(s, x, &in);
    else
        far_access(s, x, &in);
}
