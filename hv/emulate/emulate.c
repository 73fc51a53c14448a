/* SPDX-License-Identifier: BSD-2-Clause */
/* The emulator's frame: registers in and out, faults. What instructions do is in
 * emulate_ops.c, emulate_string.c and emulate_io.c. Tested by tools/tests/test_emulate.c. */
#include "hv/emulate/emulate.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/ring.h"
#include "hv/base/string.h"
#include "hv/emulate/emulate_internal.h"

void emu_begin(struct emu *e, struct subvmm *s, const struct vmexit *x)
{
    struct vcpu *v = &s->vcpu;

    e->s = s;
    e->x = x;
    e->branched = false;
    e->busy = false;
    e->hits = 0;
    e->at = gpa(0);
    e->have_segs = false;
    e->fault = (struct vcpu_fault){0};
    vcpu_ops->code(v, &e->code);
    memcpy(e->gpr, v->regs.gpr, sizeof(e->gpr));
    e->rip = v->regs.rip;
    e->rflags = v->regs.rflags;
    e->real = !(v->ctl.cr0 & CR0_PE) || (e->rflags & RFLAGS_VM);
    e->mode = fetch_mode(v, &e->code);
    if (e->mode != 8)
        (void)emu_segs(e);
    e->access = (e->code.cpl == 3 ? PFEC_U : 0) | (e->rflags & RFLAGS_AC ? ACCESS_AC : 0);
}

const struct vcpu_segs *emu_segs(struct emu *e)
{
    if (!e->have_segs)
        vcpu_ops->get(&e->s->vcpu, VCPU_SEGS, &e->segs);
    e->have_segs = true;
    return &e->segs;
}

enum hv_err emu_raise(struct emu *e, uint8_t vector, bool has_error)
{
    e->fault = vcpu_fault(&e->s->vcpu, vector, has_error);
    return HV_FAULT;
}

enum hv_err emu_fetch_bytes(struct emu *e)
{
    struct fetch f = {.x = e->x,
                      .code = &e->code,
                      .mode = e->mode,
                      .rip = e->rip,
                      .bytes = e->bytes,
                      .in = &e->in,
                      .fault = &e->fault};
    enum hv_err r = fetch_bytes(e->s, &f);

    e->busy |= f.busy;
    return r;
}

enum hv_err emu_fetch(struct emu *e)
{
    if (!e->x->insn_len && fetch_insn(e->s, &e->code, e->mode, &e->in) == HV_OK)
        return HV_OK;
    return emu_fetch_bytes(e);
}

enum emulate_result emu_finish(struct emu *e, enum hv_err r)
{
    static const struct vmexit decoded; /* next_rip unknown: the length below counts */
    struct vcpu_regs *regs = &e->s->vcpu.regs;

    if (r == HV_FAULT) {
        vcpu_inject_fault(e->s, &e->fault);
        return EMULATE_FAULT;
    }
    if (r != HV_OK && r != HV_AGAIN)
        return e->busy ? EMULATE_RETRY : EMULATE_DECLINED;
    memcpy(regs->gpr, e->gpr, sizeof(regs->gpr));
    /* POPF that sets TF steps the next instruction, not itself. */
    uint64_t later = e->rflags & ~regs->rflags & RFLAGS_TF;
    regs->rflags = e->rflags & ~later;
    regs->rip = e->rip;
    /* Length 0 leaves RIP, and still ends the STI shadow and single-steps: a REP is interruptible
     * between iterations, and a taken CALL has its RIP already. */
    vcpu_skip(e->s, &decoded, r == HV_AGAIN || e->branched ? 0 : e->in.length);
    regs->rflags |= later;
    if (e->hits)
        emu_watch_raise(e);
    return EMULATE_DONE;
}

enum emulate_result emulate_insn(struct subvmm *s, const struct vmexit *x, gpa_t at)
{
    struct emu e;

    emu_begin(&e, s, x);
    e.at = at;
    /* The access belongs to the delivery of an event, not to the instruction at RIP. */
    enum hv_err r = x->redeliver ? HV_UNSUPPORTED : emu_fetch(&e);
    if (r == HV_OK)
        r = emu_execute(&e);
    enum emulate_result result = emu_finish(&e, r);
    if (result == EMULATE_DECLINED)
        ring_add(s->pcpu, RING_NOTE, at.v, e.rip);
    if (s->native.machine_check) {
        s->native.machine_check = false;
        vcpu_machine_check(s);
    }
    return result;
}

enum hv_err emulate_linear(struct subvmm *s, const struct insn *in, size_t n, bool write,
                           gva_t *out)
{
    static const struct vmexit none;
    struct emu e;

    emu_begin(&e, s, &none);
    e.in = *in;
    uint64_t offset = emu_offset(&e);
    if (in->op == INSN_INVLPG) {
        /* Faults for neither limits nor non-canonical addresses: SDM volume 2A "INVLPG". */
        bool based = e.mode != 8 || in->segment == SEG_FS || in->segment == SEG_GS;
        uint64_t lin = offset + (based ? emu_segs(&e)->seg[in->segment].base : 0);
        *out = gva(e.mode == 8 ? lin : lin & 0xffffffffull);
        return HV_OK;
    }
    enum hv_err r = emu_linear(&e, in->segment, offset, n, write, out);
    if (r == HV_FAULT)
        vcpu_inject_fault(s, &e.fault);
    return r;
}
