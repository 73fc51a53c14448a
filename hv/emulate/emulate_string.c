/* SPDX-License-Identifier: BSD-2-Clause */
/* String instructions of the emulator, with REP in bounded batches: APM volume 3 1.2.6 "Repeat
 * Prefixes". Tested by tools/tests/test_emulate.c. */
#include "arch-x86/defs/x86.h"
#include "hv/coherency/actions.h"
#include "hv/emulate/emulate_internal.h"

void emu_advance(struct emu *e, unsigned reg)
{
    uint64_t step = e->rflags & RFLAGS_DF ? -(uint64_t)e->in.opsize : e->in.opsize;

    emu_reg_write(e, reg, e->in.addrsize, false, e->gpr[reg] + step);
}

enum hv_err emu_repeat(struct emu *e, emu_iteration fn, bool until_zf)
{
    unsigned size = e->in.addrsize;
    uint64_t left = emu_reg_read(e, RCX, size, false);

    if (!e->in.rep && !e->in.repne)
        return fn(e);
    if (left == 0)
        return HV_OK;
    for (unsigned done = 1;; done++) {
        enum hv_err r = fn(e);
        /* What earlier iterations did stays; this one happens again from its beginning, and so does
         * a breakpoint it met. */
        if (r != HV_OK && done > 1) {
            e->hits = 0;
            return HV_AGAIN;
        }
        if (r != HV_OK)
            return r;
        left--;
        emu_reg_write(e, RCX, size, false, left);
        if (left == 0 || (until_zf && !(e->rflags & RFLAGS_ZF) != e->in.repne))
            return HV_OK;
        if (done >= EMU_BATCH || (e->rflags & RFLAGS_TF) || e->hits || action_peek(&e->s->coh) != 0)
            return HV_AGAIN;
    }
}

static enum hv_err string_va(struct emu *e, unsigned reg, bool write, gva_t *va)
{
    enum seg seg = reg == RDI ? SEG_ES : e->in.segment; /* ES cannot be overridden */

    return emu_linear(e, seg, emu_reg_read(e, reg, e->in.addrsize, false), e->in.opsize, write, va);
}

static enum hv_err string_read(struct emu *e, unsigned reg, uint64_t *out)
{
    gva_t va;

    TRY(string_va(e, reg, false, &va));
    return emu_read(e, va, e->in.opsize, out);
}

static enum hv_err iterate_movs(struct emu *e)
{
    uint64_t v;
    gva_t to;
    bool ram;

    /* Reading a device has effects: the store's faults come first. */
    TRY(string_va(e, RDI, true, &to));
    TRY(emu_probe_write(e, to, e->in.opsize, &ram));
    TRY(string_read(e, RSI, &v));
    TRY(emu_write(e, to, e->in.opsize, v));
    emu_advance(e, RSI);
    emu_advance(e, RDI);
    return HV_OK;
}

static enum hv_err iterate_stos(struct emu *e)
{
    gva_t to;

    TRY(string_va(e, RDI, true, &to));
    TRY(emu_write(e, to, e->in.opsize, e->gpr[RAX]));
    emu_advance(e, RDI);
    return HV_OK;
}

static enum hv_err iterate_lods(struct emu *e)
{
    uint64_t v;

    TRY(string_read(e, RSI, &v));
    emu_reg_write(e, RAX, e->in.opsize, false, v);
    emu_advance(e, RSI);
    return HV_OK;
}

static enum hv_err iterate_scas(struct emu *e)
{
    uint64_t v;

    TRY(string_read(e, RDI, &v));
    (void)alu_compute(INSN_CMP, e->in.opsize, e->gpr[RAX], v, &e->rflags);
    emu_advance(e, RDI);
    return HV_OK;
}

static enum hv_err iterate_cmps(struct emu *e)
{
    uint64_t a, b;

    TRY(string_read(e, RSI, &a));
    TRY(string_read(e, RDI, &b));
    (void)alu_compute(INSN_CMP, e->in.opsize, a, b, &e->rflags);
    emu_advance(e, RSI);
    emu_advance(e, RDI);
    return HV_OK;
}

/* More than a batch of stores to RAM, and the store is what faulted: a page being cleared or
 * copied, which the guest does faster by itself once the page is released. A copy out of a device
 * stays ours. */
static enum hv_err string_bulk(struct emu *e)
{
    bool store = e->in.op == INSN_MOVS || e->in.op == INSN_STOS;
    bool write_fault = !e->x->have_gva || (e->x->pfec & PFEC_W);
    bool ram;
    gva_t to;

    if (!store || !write_fault || (!e->in.rep && !e->in.repne) ||
        emu_reg_read(e, RCX, e->in.addrsize, false) <= EMU_BATCH)
        return HV_OK;
    TRY(string_va(e, RDI, true, &to));
    TRY(emu_probe_write(e, to, e->in.opsize, &ram));
    return ram ? HV_UNSUPPORTED : HV_OK;
}

enum hv_err emu_string(struct emu *e)
{
    TRY(string_bulk(e));
    switch ((int)e->in.op) {
    case INSN_MOVS:
        return emu_repeat(e, iterate_movs, false);
    case INSN_STOS:
        return emu_repeat(e, iterate_stos, false);
    case INSN_LODS:
        return emu_repeat(e, iterate_lods, false);
    case INSN_SCAS:
        return emu_repeat(e, iterate_scas, true);
    default:
        return emu_repeat(e, iterate_cmps, true);
    }
}
