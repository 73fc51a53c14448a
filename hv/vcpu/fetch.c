/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction that exited, the short way: its bytes through the shadow tables the processor
 * itself executed it from, its decoding from the last time, if the bytes are still the same.
 * Without the processor's decode assists nearly every exit needs this. Tested by
 * tools/tests/test_emulate.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/emulate/emulate_internal.h"

#define SEG_LONG BIT(9)
#define SEG_BIG BIT(10)
#define BYTES 16u /* copied at once: an instruction and one byte more */
#define INSN_MAX 15u

unsigned fetch_mode(const struct vcpu *v, const struct vcpu_code *c)
{
    bool protected_mode = v->ctl.cr0 & CR0_PE;

    if (protected_mode && (v->ctl.efer & EFER_LMA) && (c->attr & SEG_LONG))
        return 8;
    return (c->attr & SEG_BIG) && !(v->regs.rflags & RFLAGS_VM) ? 4 : 2;
}

/* false: another page follows, a segment that is not flat, or no translation at hand. */
static bool copy_code(struct subvmm *s, const struct vcpu_code *c, unsigned mode, uint64_t out[2])
{
    uint64_t lin = s->vcpu.regs.rip;
    const void *code;

    if (mode != 8) {
        if (c->base || c->limit != 0xffffffff)
            return false;
        lin &= 0xffffffff;
    }
    if ((lin & PAGE_MASK) > PAGE_SIZE - BYTES)
        return false;
    code = mmu_code(&s->mmu, gva(lin));
    if (!code)
        return false;
    memcpy(out, code, BYTES); /* read once; what is checked and decoded is the copy */
    return true;
}

bool emulate_peek(struct subvmm *s, struct insn *out)
{
    struct vcpu_code c;

    vcpu_ops->code(&s->vcpu, &c);
    return fetch_insn(s, &c, fetch_mode(&s->vcpu, &c), out) == HV_OK;
}

enum hv_err fetch_insn(struct subvmm *s, const struct vcpu_code *c, unsigned mode, struct insn *out)
{
    uint64_t rip = s->vcpu.regs.rip, bytes[2];
    struct fetched *f = &s->fetched[(rip ^ rip >> 8) % FETCHED];

    if (!copy_code(s, c, mode, bytes))
        return HV_AGAIN;
    if (f->rip != rip || f->bytes[0] != bytes[0] || f->bytes[1] != bytes[1] || f->mode != mode) {
        f->mode = 0; /* no mode: the entry holds nothing while it is being made */
        if (insn_decode((const uint8_t *)bytes, INSN_MAX, mode, &f->in) != HV_OK)
            return HV_AGAIN;
        f->rip = rip;
        f->bytes[0] = bytes[0];
        f->bytes[1] = bytes[1];
        f->mode = mode;
    }
    *out = f->in;
    return HV_OK;
}
