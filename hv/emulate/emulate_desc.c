/* SPDX-License-Identifier: BSD-2-Clause */
/* LAR, LSL, VERR and VERW, whose selector lies in device memory: APM volume 3 chapter 4 "System
 * Instruction Reference". Tested by tools/tests/test_emulate.c and group native of the guest tests.
 */
#include "arch-x86/defs/x86.h"
#include "hv/mmu/gmem.h"
#include "hv/emulate/emulate_internal.h"

#define SEL_RPL 3u
#define SEL_TI 4u
#define DESC_RW BIT(41) /* data: writable; code: readable */
#define DESC_CONFORMING BIT(42)
#define DESC_CODE BIT(43)
#define DESC_S BIT(44)
#define DESC_G BIT(55)
#define DESC_DPL(d) ((unsigned)((d) >> 45) & 3)
#define DESC_TYPE(d) ((unsigned)((d) >> 40) & 15)
#define LAR_MASK 0x00ffff00u /* "LAR" in chapter 4; 19..16 are the limit's */
#define SEG_PRESENT BIT(7)

/* Is sel within its table? Then *desc. */
static enum hv_err desc_read(struct emu *e, unsigned sel, uint64_t *desc, bool *found)
{
    const struct segment *ldt = &e->segs.seg[SEG_LDTR];
    struct dtable t = e->segs.gdtr;
    struct guest_fault f = {0};
    gpa_t at;

    if (sel & SEL_TI)
        t = (struct dtable){ldt->base, ldt->attr & SEG_PRESENT ? ldt->limit : 0};
    *found = (sel & ~SEL_RPL) && (sel | 7u) <= t.limit;
    if (!*found)
        return HV_OK;
    uint64_t lin = t.base + (sel & ~7u);
    if (!(e->s->vcpu.ctl.efer & EFER_LMA))
        lin &= 0xffffffffull;
    /* Tables are read with the supervisor's rights. */
    enum hv_err r = gmem_read(&e->s->mmu, gva(lin), desc, sizeof(*desc), 0, &f, &at);
    r = emu_mem_result(e, r, &f);
    return r == HV_MMIO ? HV_UNSUPPORTED : r;
}

/* Tables 4-5 "System-Segment Descriptor Types" of volume 2 and those of LAR and LSL. */
static bool desc_system_ok(const struct emu *e, bool lar, unsigned type)
{
    const unsigned legacy_lar = 0x1a3e, legacy_lsl = 0x0a0e; /* TSS, LDT; gates for LAR */
    const unsigned long_lar = 0x1a04, long_lsl = 0x0a04;
    unsigned types = e->s->vcpu.ctl.efer & EFER_LMA ? (lar ? long_lar : long_lsl)
                                                    : (lar ? legacy_lar : legacy_lsl);

    return types >> type & 1;
}

static bool desc_ok(const struct emu *e, unsigned sel, uint64_t d)
{
    unsigned rpl = sel & SEL_RPL, level = e->code.cpl > rpl ? e->code.cpl : rpl;
    bool code = (d & DESC_S) && (d & DESC_CODE);
    bool conforming = code && (d & DESC_CONFORMING);

    switch ((int)e->in.op) {
    case INSN_VERR:
        if (!(d & DESC_S) || (code && !(d & DESC_RW)))
            return false;
        break;
    case INSN_VERW:
        if (!(d & DESC_S) || code || !(d & DESC_RW))
            return false;
        break;
    default:
        if (!(d & DESC_S) && !desc_system_ok(e, e->in.op == INSN_LAR, DESC_TYPE(d)))
            return false;
        break;
    }
    return conforming || level <= DESC_DPL(d);
}

enum hv_err emu_descriptor(struct emu *e, uint64_t selector)
{
    unsigned sel = (unsigned)selector & 0xffff;
    uint64_t d = 0, value;
    bool found;

    (void)emu_segs(e);
    TRY(desc_read(e, sel, &d, &found));
    e->rflags &= ~(uint64_t)RFLAGS_ZF;
    if (!found || !desc_ok(e, sel, d))
        return HV_OK;
    e->rflags |= RFLAGS_ZF;
    if (e->in.op == INSN_LAR) {
        value = d >> 32 & LAR_MASK;
    } else if (e->in.op == INSN_LSL) {
        value = (d & 0xffff) | (d >> 32 & 0xf0000);
        if (d & DESC_G)
            value = value << 12 | 0xfff;
    } else {
        return HV_OK;
    }
    emu_reg_write(e, e->in.dst_reg, e->in.opsize, false, value);
    return HV_OK;
}
