/* SPDX-License-Identifier: BSD-2-Clause */
/* The emulator's frame: instruction fetch, registers in and out, faults. What instructions do is in
 * emulate_ops.c, emulate_string.c and emulate_io.c. Tested by tools/tests/test_emulate.c. */
#include "hv/vcpu/emulate.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/ring.h"
#include "hv/base/string.h"
#include "hv/vcpu/emulate_internal.h"

#define INSN_MAX 15u

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
    e->fault = (struct emu_fault){0};
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
    /* Real mode pushes no error codes: APM volume 2 8.2 "Vectors". */
    bool code = has_error && (e->s->vcpu.ctl.cr0 & CR0_PE);

    e->fault = (struct emu_fault){.vector = vector, .has_error = code};
    return HV_FAULT;
}

/* Hands the fault to the VCPU. */
static void emu_inject(struct emu *e)
{
    const struct emu_fault *f = &e->fault;

    if (f->vector == VEC_PF)
        vcpu_inject_pf(e->s, &f->pf);
    else if (f->vector == VEC_MF)
        vcpu_x87_error(e->s);
    else
        vcpu_inject_exception(e->s, f->vector, f->has_error, f->error);
}

/* Reads up to `want` more bytes of the instruction, not beyond the page or the limit of CS. */
static enum hv_err emu_fetch_part(struct emu *e, uint8_t *bytes, size_t *have)
{
    uint64_t offset = (e->rip & emu_size_mask(e->mode)) + *have, lin = offset;
    uint64_t limit = e->code.limit;
    uint32_t access = PFEC_I | (e->access & PFEC_U);
    size_t n = INSN_MAX - *have;
    struct guest_fault f = {0};
    gpa_t at = {0};

    if (e->mode != 8) {
        if (offset > limit)
            return emu_raise(e, VEC_GP, true);
        if (n - 1 > limit - offset)
            n = (size_t)(limit - offset) + 1;
        lin = (offset + e->code.base) & 0xffffffffull;
    }
    if (n > PAGE_SIZE - (lin & PAGE_MASK))
        n = PAGE_SIZE - (size_t)(lin & PAGE_MASK);
    enum hv_err r = gmem_read(&e->s->mmu, gva(lin), bytes + *have, n, access, &f, &at);
    if (r == HV_FAULT) {
        e->fault = (struct emu_fault){.vector = VEC_PF, .pf = f};
        return HV_FAULT;
    }
    e->busy |= r == HV_AGAIN;
    if (r != HV_OK)
        return HV_UNSUPPORTED; /* code outside RAM */
    *have += n;
    return HV_OK;
}

static enum hv_err emu_decoded(struct emu *e, enum hv_err r)
{
    if (r == HV_INVALID)
        return emu_raise(e, VEC_UD, false);
    return r == HV_OK || r == HV_RANGE ? r : HV_UNSUPPORTED;
}

enum hv_err emu_fetch_bytes(struct emu *e)
{
    size_t have = 0;
    enum hv_err r = HV_RANGE;

    if (e->x->insn_len > 0 && e->x->insn_len <= sizeof(e->x->insn)) {
        memcpy(e->bytes, e->x->insn, sizeof(e->bytes));
        r = emu_decoded(e, insn_decode(e->bytes, e->x->insn_len, e->mode, &e->in));
    }
    /* At most two pages; the second only when the first does not hold the whole instruction. */
    while (r == HV_RANGE && have < INSN_MAX) {
        TRY(emu_fetch_part(e, e->bytes, &have));
        r = emu_decoded(e, insn_decode(e->bytes, have, e->mode, &e->in));
    }
    if (r == HV_RANGE) /* APM volume 3 1.1: more than 15 bytes */
        return emu_raise(e, VEC_GP, true);
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
        emu_inject(e);
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
        ring_add(s->cpu, RING_NOTE, at.v, e.rip);
    if (s->native.machine_check) {
        s->native.machine_check = false;
        vcpu_machine_check(s, x);
    }
    return result;
}

enum hv_err emulate_decode(struct subvmm *s, const struct vmexit *x, struct insn *out)
{
    struct vcpu_code c;
    struct emu e;

    vcpu_ops->code(&s->vcpu, &c);
    if (!x->insn_len && fetch_insn(s, &c, fetch_mode(&s->vcpu, &c), out) == HV_OK)
        return HV_OK;
    emu_begin(&e, s, x);
    enum hv_err r = emu_fetch(&e);
    if (r == HV_FAULT)
        emu_inject(&e);
    if (r == HV_OK)
        *out = e.in;
    return r;
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
        emu_inject(&e);
    return r;
}
