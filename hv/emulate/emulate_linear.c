/* SPDX-License-Identifier: BSD-2-Clause */
/* Effective and linear addresses of the emulator with the segment checks of each mode: APM volume
 * 2 4.12 "Segment Limit Checks", 4.5 "Segmentation Data Structures and Registers". Tested by
 * tools/tests/test_emulate.c. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

/* Segment attributes in the VMCB's layout (hv/vcpu/vcpu.h). */
#define SEG_TYPE_ACCESSED BIT(0)
#define SEG_TYPE_RW BIT(1)         /* data: writable; code: readable */
#define SEG_TYPE_EXPANDDOWN BIT(2) /* data */
#define SEG_TYPE_CODE BIT(3)
#define SEG_PRESENT BIT(7)
#define SEG_BIG BIT(10)

uint64_t emu_size_mask(unsigned size)
{
    return size >= 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

unsigned emu_stack_size(const struct emu *e)
{
    if (e->mode == 8)
        return 8;
    return e->segs.seg[SEG_SS].attr & SEG_BIG ? 4 : 2;
}

uint64_t emu_offset_of(const struct insn *in, const uint64_t *gpr, uint64_t rip)
{
    uint64_t off = (uint64_t)in->disp;

    if (in->base < 16)
        off += gpr[in->base];
    if (in->index < 16)
        off += gpr[in->index] * in->scale;
    if (in->rip_relative)
        off += rip + in->length;
    return off & emu_size_mask(in->addrsize);
}

uint64_t emu_offset(const struct emu *e)
{
    return emu_offset_of(&e->in, e->gpr, e->rip);
}

static bool emu_canonical(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

/* Type and limit of a segment outside 64-bit mode; first and last: offsets of the first and last
 * byte. Offsets have at most 32 bits here, so their sum does not wrap. */
static bool emu_segment_ok(const struct emu *e, enum seg seg, uint64_t first, uint64_t last,
                           bool write)
{
    const struct segment *g = &e->segs.seg[seg];
    uint64_t top = g->attr & SEG_BIG ? 0xffffffffull : 0xffffull;
    bool code = g->attr & SEG_TYPE_CODE;

    if (e->real)
        return last <= g->limit;
    if (!(g->attr & SEG_PRESENT))
        return false; /* a null selector */
    if (write ? code || !(g->attr & SEG_TYPE_RW) : code && !(g->attr & SEG_TYPE_RW))
        return false;
    if (!code && (g->attr & SEG_TYPE_EXPANDDOWN))
        return first > g->limit && last <= top;
    return last <= g->limit;
}

/* #AC for a misaligned access of user code that asked for it: APM volume 2 8.2.17. */
static enum hv_err emu_alignment(struct emu *e, uint64_t lin, size_t n)
{
    bool asked = e->code.cpl == 3 && (e->s->vcpu.ctl.cr0 & CR0_AM) && (e->rflags & RFLAGS_AC);

    if (!asked || n > 8 || (n & (n - 1)) || !(lin & (n - 1)))
        return HV_OK;
    return emu_raise(e, VEC_AC, true);
}

enum hv_err emu_linear(struct emu *e, enum seg seg, uint64_t offset, size_t n, bool write,
                       gva_t *out)
{
    uint8_t vector = seg == SEG_SS ? VEC_SS : VEC_GP;
    uint64_t lin = offset, end;

    if (e->mode == 8) {
        if (seg == SEG_FS || seg == SEG_GS)
            lin += emu_segs(e)->seg[seg].base;
        if (__builtin_add_overflow(lin, n - 1, &end) || !emu_canonical(lin) || !emu_canonical(end))
            return emu_raise(e, vector, true);
    } else {
        if (!emu_segment_ok(e, seg, offset, offset + n - 1, write))
            return emu_raise(e, vector, true);
        lin = (lin + e->segs.seg[seg].base) & 0xffffffffull;
    }
    TRY(emu_alignment(e, lin, n));
    if (e->code.breakpoints)
        emu_watch(e, lin, n, write);
    *out = gva(lin);
    return HV_OK;
}
