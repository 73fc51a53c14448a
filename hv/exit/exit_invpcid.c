/* SPDX-License-Identifier: BSD-2-Clause */
/* INVPCID, and what else of process-context identifiers a processor without them refuses although
 * the guest was shown them: INVPCID is then an undefined opcode, CR4.PCIDE and bit 63 of CR3 are
 * reserved bits, whose #GP comes before the intercept (APM vol. 2 15.9 "Instruction Intercepts").
 * Tested by tools/tests/test_pcid.c. */
#include "arch-x86/defs/x86.h"
#include "hv/mmu/gmem.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vcpu/fetch.h"

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };
struct invpcid_desc {
    uint64_t pcid, va;
};

/* The descriptor in memory. false: a fault is pending. */
static bool descriptor_read(struct subvmm *s, const struct insn *in, struct invpcid_desc *d)
{
    uint32_t access = s->vcpu.regs.rflags & RFLAGS_AC ? ACCESS_AC : 0;
    struct guest_fault fault;
    gpa_t at;
    gva_t va;

    if (emulate_linear(s, in, sizeof(*d), false, &va) != HV_OK)
        return false;
    switch (gmem_read(&s->mmu, va, d, sizeof(*d), access, &fault, &at)) {
    case HV_OK:
        return true;
    case HV_FAULT:
        vcpu_inject_pf(s, &fault);
        return false;
    case HV_AGAIN:
        return false; /* too much concurrent change: executed again */
    default:
        vcpu_inject_gp0(s); /* no memory there reads all ones, reserved bits among them */
        return false;
    }
}

/* SDM vol. 2A "INVPCID": what the type and the descriptor must be. */
static bool descriptor_valid(const struct subvmm *s, uint64_t type, const struct invpcid_desc *d)
{
    bool pcide = s->vcpu.ctl.cr4 & CR4_PCIDE;

    if (d->pcid >> 12)
        return false;
    if (type <= INVPCID_CONTEXT && d->pcid && !pcide)
        return false;
    return type != INVPCID_ADDRESS || (uint64_t)((int64_t)(d->va << 16) >> 16) == d->va;
}

static void invpcid(struct subvmm *s, const struct vmexit *x, const struct insn *in)
{
    uint64_t type = s->vcpu.regs.gpr[in->dst_reg & 15];
    struct invpcid_desc d;

    if (vcpu_code_size(s) != 8)
        type = (uint32_t)type;
    if (vcpu_cpl(s) || type > INVPCID_ALL) {
        vcpu_inject_gp0(s);
        return;
    }
    if (!descriptor_read(s, in, &d))
        return;
    if (!descriptor_valid(s, type, &d)) {
        vcpu_inject_gp0(s);
        return;
    }
    mmu_event_invpcid(&s->mmu, (unsigned)type, d.pcid, gva(d.va));
    vcpu_skip(s, x, in->length);
}

void exit_invpcid(struct subvmm *s, const struct vmexit *x)
{
    struct insn in;

    if (!s->vcpu.invpcid) {
        vcpu_inject_ud(s);
        return;
    }
    if (x->known && x->next_rip) {
        in = (struct insn){.op = INSN_INVPCID,
                           .dst_reg = x->gpr,
                           .segment = (enum seg)x->mem.segment,
                           .base = x->mem.base,
                           .index = x->mem.index,
                           .scale = x->mem.scale,
                           .addrsize = x->mem.addrsize,
                           .disp = x->mem.disp};
        invpcid(s, x, &in);
        return;
    }
    if (fetch_decode(s, x, &in) != HV_OK)
        return;
    if (in.op == INSN_INVPCID)
        invpcid(s, x, &in);
    else
        vcpu_inject_ud(s); /* other bytes than those executed */
}

bool invpcid_refused(struct subvmm *s, const struct vmexit *x)
{
    const struct vcpu *v = &s->vcpu;
    bool pending = v->pending.type != EVENT_NONE; /* a fault of its delivery, not of an opcode */
    struct vmexit again = {.kind = EXIT_CR_WRITE, .gpr = VMEXIT_GPR_NONE};
    struct insn in;

    if (pending || (!v->pcid && !v->invpcid) || (x->error_valid && x->error) || x->delivering)
        return false;
    if (x->vector == VEC_GP && vcpu_cpl(s))
        return false;
    switch (fetch_decode(s, x, &in)) {
    case HV_OK:
        break;
    case HV_FAULT:
        return true; /* pending: #UD for undefined bytes, or the fault of reading them */
    default:
        return false;
    }
    if (in.op == INSN_INVPCID && v->invpcid) {
        invpcid(s, x, &in);
        return true;
    }
    if (x->vector != VEC_GP || in.op != INSN_MOV_CR_WRITE || (in.cr != 3 && in.cr != 4))
        return false;
    exit_cr_write(s, &again);
    return true;
}
