/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction that exited. The short way: its bytes through the shadow tables the processor
 * itself executed it from, its decoding from the last time, if the bytes are still the same.
 * Without the processor's decode assists nearly every exit needs this. The long way: as the guest's
 * fetch, with its faults. Tested by tools/tests/test_emulate.c and test_fetch_known.c.
 *
 * Rules of what is kept.
 * 1. A decoding is used for the same RIP and code size and for the same bytes, read afresh each
 *    time: who changes code needs to tell nobody.
 * 2. Where the bytes lie is kept only with the root and the number of losses it was found under,
 *    and when either is another looked up again, unless the shadow's own tables still lead there
 *    (mmu_code_there): it is as valid as a translation that the TLB may hold.
 * 3. What bytes mean depends on them and the code size alone, so it is kept by them as well: a
 *    new address space decodes nothing anew that another had.
 * 4. Bytes that reach into another page, code in segments and real mode go the longer way. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/mmu/gmem.h"
#include "hv/vcpu/fetch.h"
#include "hv/vm/vm.h"

#define SEG_LONG BIT(9)
#define SEG_BIG BIT(10)
#define BYTES 16u /* copied at once: an instruction and one byte more */

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
    struct mmu_where where;
    uint64_t lin = s->vcpu.regs.rip;
    const void *code;

    if (mode != 8) {
        if (c->base || c->limit != 0xffffffff)
            return false;
        lin &= 0xffffffff;
    }
    if ((lin & PAGE_MASK) > PAGE_SIZE - BYTES)
        return false;
    code = mmu_code(&s->mmu, gva(lin), &where);
    if (!code)
        return false;
    memcpy(out, code, BYTES); /* read once; what is checked and decoded is the copy */
    return true;
}

bool fetch_peek(struct subvmm *s, struct insn *out)
{
    struct vcpu_code c;

    vcpu_ops->code(&s->vcpu, &c);
    return fetch_insn(s, &c, fetch_mode(&s->vcpu, &c), out) == HV_OK;
}

/* Each root has its own entries: what switches between two finds those of both. */
static struct fetched *slot_of(struct subvmm *s, uint64_t rip)
{
    return &s->fetched[(rip ^ rip >> 8 ^ mmu_code_root(&s->mmu)) % FETCHED];
}

static bool same_code(const struct fetched *f)
{
    uint64_t low, high; /* read once */

    memcpy(&low, f->code, sizeof(low));
    memcpy(&high, f->code + sizeof(low), sizeof(high));
    return low == f->bytes[0] && high == f->bytes[1];
}

static void nowhere(struct fetched *f)
{
    f->where = (struct mmu_where){0};
    f->losses = UINT64_MAX; /* so many there never are */
}

static HV_APART const struct insn *known_lost(struct subvmm *s, struct fetched *f)
{
    f->code = mmu_code(&s->mmu, gva(f->rip), &f->where);
    if (!f->code) {
        nowhere(f);
        return NULL;
    }
    f->root = mmu_code_root(&s->mmu);
    f->losses = mmu_code_losses(&s->mmu);
    return same_code(f) ? &f->in : NULL;
}

/* Looks again where f's bytes lie, which do not reach over their page (copy_code). */
static HV_APART const struct insn *known_anew(struct subvmm *s, struct fetched *f)
{
    if (!mmu_code_there(&s->mmu, &f->where))
        return known_lost(s, f);
    f->root = mmu_code_root(&s->mmu);
    f->losses = mmu_code_losses(&s->mmu);
    return same_code(f) ? &f->in : NULL;
}

static HV_INLINE const struct insn *known_long(struct subvmm *s)
{
    uint64_t rip = s->vcpu.regs.rip;
    struct fetched *f = slot_of(s, rip);

    if (f->rip != rip || f->mode != 8)
        return NULL;
    if (f->losses != mmu_code_losses(&s->mmu) || f->root != mmu_code_root(&s->mmu))
        return known_anew(s, f);
    return same_code(f) ? &f->in : NULL;
}

static HV_APART const struct insn *known_asked(struct subvmm *s)
{
    return vcpu_ops->mode(&s->vcpu) & SEG_LONG ? known_long(s) : NULL;
}

const struct insn *fetch_known(struct subvmm *s, const struct vmexit *x)
{
    const struct vcpu *v = &s->vcpu;

    if (x->insn_len || !(v->ctl.efer & EFER_LMA))
        return NULL;
    if (!v->cs_attr)
        return known_asked(s);
    return *v->cs_attr & SEG_LONG ? known_long(s) : NULL;
}

const struct insn *fetch_look(struct subvmm *s, const struct vmexit *x, struct insn *buf)
{
    const struct insn *in = fetch_known(s, x);

    if (in)
        return in;
    return fetch_decode(s, x, buf) == HV_OK ? buf : NULL;
}

/* Rule 3. */
static enum hv_err decode(struct subvmm *s, const uint64_t bytes[2], unsigned mode,
                          struct insn *out)
{
    struct decoded *d = &s->decoded[(bytes[0] * 0x9e3779b97f4a7c15ull >> 32) % DECODED];

    if (d->bytes[0] != bytes[0] || d->bytes[1] != bytes[1] || d->mode != mode) {
        d->mode = 0;
        TRY(insn_decode((const uint8_t *)bytes, INSN_MAX, mode, &d->in));
        d->bytes[0] = bytes[0];
        d->bytes[1] = bytes[1];
        d->mode = s->vm->opt->shortcuts ? mode : 0;
    }
    *out = d->in;
    return HV_OK;
}

enum hv_err fetch_insn(struct subvmm *s, const struct vcpu_code *c, unsigned mode, struct insn *out)
{
    uint64_t rip = s->vcpu.regs.rip, bytes[2];
    struct fetched *f = slot_of(s, rip);

    if (!copy_code(s, c, mode, bytes))
        return HV_AGAIN;
    if (f->rip != rip || f->bytes[0] != bytes[0] || f->bytes[1] != bytes[1] || f->mode != mode) {
        f->mode = 0; /* no mode: the entry holds nothing while it is being made */
        nowhere(f);
        if (decode(s, bytes, mode, &f->in) != HV_OK)
            return HV_AGAIN;
        f->rip = rip;
        f->bytes[0] = bytes[0];
        f->bytes[1] = bytes[1];
        f->mode = s->vm->opt->shortcuts ? mode : 0; /* 0: for this once */
    }
    *out = f->in;
    return HV_OK;
}

/* --- the long way --- */

static enum hv_err raise(struct subvmm *s, struct fetch *f, uint8_t vector, bool has_error)
{
    *f->fault = vcpu_fault(&s->vcpu, vector, has_error);
    return HV_FAULT;
}

/* Reads more bytes of the instruction, not beyond the page or the limit of CS. */
static enum hv_err fetch_part(struct subvmm *s, struct fetch *f, size_t *have)
{
    uint64_t mask = f->mode == 8 ? UINT64_MAX : BIT(8 * f->mode) - 1;
    uint64_t offset = (f->rip & mask) + *have, lin = offset;
    uint64_t limit = f->code->limit;
    uint32_t access = PFEC_I | (f->code->cpl == 3 ? PFEC_U : 0);
    size_t n = INSN_MAX - *have;
    struct guest_fault pf = {0};
    gpa_t at = {0};

    if (f->mode != 8) {
        if (offset > limit)
            return raise(s, f, VEC_GP, true);
        if (n - 1 > limit - offset)
            n = (size_t)(limit - offset) + 1;
        lin = (offset + f->code->base) & 0xffffffffull;
    }
    if (n > PAGE_SIZE - (lin & PAGE_MASK))
        n = PAGE_SIZE - (size_t)(lin & PAGE_MASK);
    enum hv_err r = gmem_read(&s->mmu, gva(lin), f->bytes + *have, n, access, &pf, &at);
    if (r == HV_FAULT) {
        *f->fault = (struct vcpu_fault){.vector = VEC_PF, .pf = pf};
        return HV_FAULT;
    }
    f->busy |= r == HV_AGAIN;
    if (r != HV_OK)
        return HV_UNSUPPORTED; /* code outside RAM */
    *have += n;
    return HV_OK;
}

static enum hv_err decoded(struct subvmm *s, struct fetch *f, enum hv_err r)
{
    if (r == HV_INVALID)
        return raise(s, f, VEC_UD, false);
    return r == HV_OK || r == HV_RANGE ? r : HV_UNSUPPORTED;
}

enum hv_err fetch_bytes(struct subvmm *s, struct fetch *f)
{
    const struct vmexit *x = f->x;
    size_t have = 0;
    enum hv_err r = HV_RANGE;

    if (x->insn_len > 0 && x->insn_len <= sizeof(x->insn)) {
        memcpy(f->bytes, x->insn, sizeof(x->insn));
        r = decoded(s, f, insn_decode(f->bytes, x->insn_len, f->mode, f->in));
    }
    /* At most two pages; the second only when the first does not hold the whole instruction. */
    while (r == HV_RANGE && have < INSN_MAX) {
        TRY(fetch_part(s, f, &have));
        r = decoded(s, f, insn_decode(f->bytes, have, f->mode, f->in));
    }
    if (r == HV_RANGE)
        return raise(s, f, VEC_GP, true); /* more than INSN_MAX bytes */
    return r;
}

enum hv_err fetch_decode(struct subvmm *s, const struct vmexit *x, struct insn *out)
{
    uint8_t bytes[INSN_MAX];
    struct vcpu_fault fault = {0};
    struct vcpu_code c;
    struct insn in = {0};

    vcpu_ops->code(&s->vcpu, &c);
    unsigned mode = fetch_mode(&s->vcpu, &c);
    if (!x->insn_len && fetch_insn(s, &c, mode, out) == HV_OK)
        return HV_OK;
    struct fetch f = {.x = x,
                      .code = &c,
                      .mode = mode,
                      .rip = s->vcpu.regs.rip,
                      .bytes = bytes,
                      .in = &in,
                      .fault = &fault};
    enum hv_err r = fetch_bytes(s, &f);
    if (r == HV_FAULT)
        vcpu_inject_fault(s, &fault);
    if (r == HV_OK)
        *out = in;
    return r;
}
