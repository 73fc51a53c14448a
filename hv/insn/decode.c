/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction decoder: prefixes, opcode maps, groups, operands, immediates and LOCK rules.
 * Bounded by the 15 bytes it may read. Tested by tools/tests/test_decode.c. */
#include "hv/insn/decode.h"
#include "hv/base/string.h"
#include "hv/insn/decode_internal.h"

/* true if b is a legacy prefix, which is then noted. */
static bool decode_prefix(struct decoder *d, uint8_t b)
{
    struct insn *in = d->in;

    switch (b) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        /* APM volume 3 1.2.4 "Segment-Override Prefixes": without effect in 64-bit mode. */
        if (d->mode != 8)
            d->segment = (uint8_t)((b >> 3) & 3); /* ES, CS, SS, DS in the order of enum seg */
        return true;
    case 0x64:
    case 0x65:
        d->segment = b == 0x64 ? SEG_FS : SEG_GS;
        return true;
    case 0x66:
        d->opsize_prefix = true;
        return true;
    case 0x67:
        d->addrsize_prefix = true;
        return true;
    case 0xf0:
        in->lock = true;
        return true;
    case 0xf2:
    case 0xf3: /* the last of the two counts */
        in->repne = b == 0xf2;
        in->rep = b == 0xf3;
        return true;
    default:
        return false;
    }
}

/* Prefixes and the first opcode byte. A REX byte counts only right before the opcode. */
static enum hv_err decode_prefixes(struct decoder *d)
{
    uint8_t b;

    for (;;) {
        TRY(decode_u8(d, &b));
        if (d->mode == 8 && (b & 0xf0) == 0x40) {
            d->in->rex = b;
            continue;
        }
        if (!decode_prefix(d, b))
            break;
        d->in->rex = 0;
    }
    d->opcode = b;
    if (d->mode == 2)
        d->in->addrsize = d->addrsize_prefix ? 4 : 2;
    else if (d->mode == 4)
        d->in->addrsize = d->addrsize_prefix ? 2 : 4;
    else
        d->in->addrsize = d->addrsize_prefix ? 4 : 8;
    return HV_OK;
}

/* Operand size from mode, prefixes and the opcode's flags: APM volume 3 1.2.2 "Operand-Size
 * Override Prefix". Near branches follow AMD: the prefix counts in 64-bit mode. */
static uint8_t decode_opsize(const struct decoder *d)
{
    if (d->d.flags & OPF_BYTE)
        return 1;
    if (d->mode == 8) {
        if (d->in->rex & REX_W)
            return 8;
        if (d->opsize_prefix)
            return 2;
        return d->d.flags & OPF_D64 ? 8 : 4;
    }
    return (d->mode == 4) != d->opsize_prefix ? 4 : 2;
}

/* Register forms of 0F 01 that are instructions of their own; SMSW and LMSW stay as they are. */
static void decode_group7_reg(struct decoder *d)
{
    static const struct {
        uint8_t modrm, op;
    } known[] = {{0xc8, INSN_MONITOR},
                 {0xc9, INSN_MWAIT},
                 {0xd1, INSN_XSETBV},
                 {0xd9, INSN_VMMCALL},
                 {0xf9, INSN_RDTSCP}};
    unsigned reg = modrm_reg(d->modrm);

    if (modrm_mod(d->modrm) != 3 || reg == 4 || reg == 6)
        return;
    d->d = (struct opdesc){INSN_OTHER, FORM_M, IMM_NONE, 0};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].modrm == d->modrm)
            d->d.op = known[i].op;
}

/* Replaces the group's descriptor by the member that ModRM.reg names. */
static enum hv_err decode_select(struct decoder *d)
{
    struct opdesc primary = d->d;

    if (primary.form == FORM_NONE || primary.form == FORM_STRING ||
        (primary.form >= FORM_AI && primary.form <= FORM_OUT_D))
        return HV_OK;
    TRY(decode_modrm(d));
    if (primary.form != FORM_GROUP)
        return HV_OK;
    d->d = decode_group[primary.op][modrm_reg(d->modrm)];
    d->d.flags |= primary.flags;
    if (d->d.imm == IMM_NONE)
        d->d.imm = primary.imm;
    if (primary.op == GROUP_7)
        decode_group7_reg(d);
    /* XABORT and XBEGIN are the only /7 of group 11. */
    if (primary.op == GROUP_11 && modrm_reg(d->modrm) == 7 && d->modrm != 0xf8)
        return HV_INVALID;
    return HV_OK;
}

static enum hv_err decode_imm(struct decoder *d)
{
    struct insn *in = d->in;
    unsigned z = in->opsize == 8 ? 4u : in->opsize;
    unsigned n = 0;
    uint64_t skip;

    switch ((enum opimm)d->d.imm) {
    case IMM_NONE:
        return HV_OK;
    case IMM_8:
    case IMM_U8:
        n = 1;
        break;
    case IMM_16:
        n = 2;
        break;
    case IMM_Z:
        n = z;
        break;
    case IMM_V:
        n = in->opsize;
        break;
    case IMM_24:
        n = 3;
        break;
    case IMM_FAR:
        TRY(decode_int(d, z, &in->imm));
        return decode_int(d, 2, &skip);
    case IMM_MOFFS:
        TRY(decode_int(d, in->addrsize, &skip));
        in->disp = (int64_t)skip;
        return HV_OK;
    }
    TRY(decode_int(d, n, &in->imm));
    if (d->d.imm == IMM_U8 || d->d.imm == IMM_16)
        in->imm &= n == 1 ? 0xffu : 0xffffu;
    return HV_OK;
}

static void decode_set_reg(struct decoder *d, bool dst, unsigned reg, unsigned size)
{
    struct insn *in = d->in;
    bool high8 = size == 1 && !in->rex && reg >= 4;

    if (dst) {
        in->dst = OPND_REG;
        in->dst_reg = (uint8_t)reg;
        in->dst_high8 = high8;
    } else {
        in->src = OPND_REG;
        in->src_reg = (uint8_t)reg;
        in->src_high8 = high8;
    }
}

static void decode_set_e(struct decoder *d, bool dst, unsigned size)
{
    if (modrm_mod(d->modrm) == 3)
        decode_set_reg(d, dst, modrm_rm(d->modrm) | (d->in->rex & REX_B ? 8u : 0u), size);
    else if (dst)
        d->in->dst = OPND_MEM;
    else
        d->in->src = OPND_MEM;
}

/* MOV to and from control and debug registers. LOCK MOV CR0 is MOV CR8 outside 64-bit mode: APM
 * volume 3 "MOV CRn". */
static enum hv_err decode_cr(struct decoder *d)
{
    struct insn *in = d->in;
    bool write = in->op == INSN_MOV_CR_WRITE || in->op == INSN_MOV_DR_WRITE;
    bool debug = in->op == INSN_MOV_DR_READ || in->op == INSN_MOV_DR_WRITE;

    in->cr = (uint8_t)(modrm_reg(d->modrm) | (in->rex & REX_R ? 8u : 0u));
    if (debug ? in->cr > 7 || in->lock : in->cr == 1 || (in->cr > 4 && in->cr != 8))
        return HV_INVALID;
    if (in->lock && in->cr != 0)
        return HV_INVALID;
    if (in->lock)
        in->cr = 8;
    in->opsize = d->mode == 8 ? 8 : 4;
    decode_set_reg(d, !write, modrm_rm(d->modrm) | (in->rex & REX_B ? 8u : 0u), in->opsize);
    return HV_OK;
}

static void decode_string(struct decoder *d)
{
    struct insn *in = d->in;

    if ((in->op == INSN_INS || in->op == INSN_OUTS) && in->opsize == 8)
        in->opsize = 4;
    /* rDI with ES is implied; in->segment is the segment of rSI. */
    if (in->op != INSN_LODS && in->op != INSN_OUTS && in->op != INSN_SCAS)
        in->dst = OPND_MEM;
    if (in->op != INSN_STOS && in->op != INSN_INS)
        in->src = OPND_MEM;
}

static enum hv_err decode_port(struct decoder *d)
{
    struct insn *in = d->in;
    bool by_imm = d->d.form == FORM_IN_I || d->d.form == FORM_OUT_I;
    bool input = in->op == INSN_IN;

    if (in->opsize == 8)
        in->opsize = 4;
    decode_set_reg(d, input, RAX, in->opsize);
    if (by_imm && input)
        in->src = OPND_IMM;
    else if (by_imm)
        in->dst = OPND_IMM;
    else
        decode_set_reg(d, !input, RDX, 2);
    return HV_OK;
}

/* The two operands of each form. */
enum opplace { AT_NONE, AT_E, AT_G, AT_Z, AT_A, AT_IMM, AT_MOFFS };
static const struct {
    uint8_t dst, src; /* enum opplace */
} decode_places[FORM_GROUP + 1] = {
    [FORM_EG] = {AT_E, AT_G},         [FORM_GE] = {AT_G, AT_E},   [FORM_E] = {AT_E, AT_NONE},
    [FORM_SE] = {AT_NONE, AT_E},      [FORM_EI] = {AT_E, AT_IMM}, [FORM_AI] = {AT_A, AT_IMM},
    [FORM_I] = {AT_NONE, AT_IMM},     [FORM_Z] = {AT_Z, AT_NONE}, [FORM_SZ] = {AT_NONE, AT_Z},
    [FORM_ZA] = {AT_Z, AT_A},         [FORM_ZI] = {AT_Z, AT_IMM}, [FORM_AMOFFS] = {AT_A, AT_MOFFS},
    [FORM_MOFFSA] = {AT_MOFFS, AT_A},
};

static void decode_place(struct decoder *d, bool dst, enum opplace at)
{
    struct insn *in = d->in;
    unsigned size = dst ? in->opsize : in->srcsize;
    enum insn_operand kind = at == AT_IMM ? OPND_IMM : OPND_MEM;

    switch (at) {
    case AT_NONE:
        break;
    case AT_E:
        decode_set_e(d, dst, size);
        break;
    case AT_G:
        decode_set_reg(d, dst, modrm_reg(d->modrm) | (in->rex & REX_R ? 8u : 0u), size);
        break;
    case AT_Z:
        decode_set_reg(d, dst, (d->opcode & 7u) | (in->rex & REX_B ? 8u : 0u), size);
        break;
    case AT_A:
        decode_set_reg(d, dst, RAX, size);
        break;
    case AT_IMM:
    case AT_MOFFS:
        if (dst)
            in->dst = kind;
        else
            in->src = kind;
        break;
    }
}

static enum hv_err decode_operands(struct decoder *d)
{
    decode_place(d, true, (enum opplace)decode_places[d->d.form].dst);
    decode_place(d, false, (enum opplace)decode_places[d->d.form].src);
    switch (d->d.form) {
    case FORM_STRING:
        decode_string(d);
        return HV_OK;
    case FORM_IN_I:
    case FORM_IN_D:
    case FORM_OUT_I:
    case FORM_OUT_D:
        return decode_port(d);
    case FORM_CR:
        return decode_cr(d);
    default:
        return HV_OK;
    }
}

/* ARPL outside 64-bit mode, MOVSXD in it; NOP and PAUSE among the XCHGs. */
static void decode_map0_special(struct decoder *d)
{
    if (d->opcode == 0x63 && d->mode != 8)
        d->d = (struct opdesc){INSN_OTHER, FORM_M, IMM_NONE, 0};
    if (d->opcode == 0x90 && !(d->in->rex & REX_B))
        d->d = (struct opdesc){d->in->rep ? INSN_PAUSE : INSN_OTHER, FORM_NONE, IMM_NONE, 0};
}

/* The 16-byte stores that guests use to clear and copy pages. */
static bool decode_sse_store(const struct decoder *d)
{
    if (modrm_mod(d->modrm) == 3)
        return false;
    switch (d->opcode) {
    case 0x11: /* MOVUPS, MOVUPD; the scalar forms are narrower */
    case 0x7f: /* MOVDQA, MOVDQU; without prefix MOVQ */
        return d->opcode == 0x11 ? !d->in->rep && !d->in->repne : d->opsize_prefix || d->in->rep;
    case 0x29:
    case 0x2b:
        return !d->in->rep && !d->in->repne;
    case 0xe7:
        return d->opsize_prefix;
    default:
        return false;
    }
}

/* What the 0F map needs beyond its table. */
static enum hv_err decode_map1_special(struct decoder *d)
{
    struct insn *in = d->in;

    switch (d->opcode) {
    case 0x78: /* EXTRQ and INSERTQ have two immediate bytes, VMREAD none */
        if (d->opsize_prefix || in->repne)
            d->d.imm = IMM_16;
        break;
    case 0xc3: /* MOVNTI has no 16-bit form */
        if (d->opsize_prefix || in->rep || in->repne)
            return HV_INVALID;
        in->opsize = in->rex & REX_W ? 8 : 4;
        break;
    case 0xc7: /* RDRAND, RDSEED, RDPID and others are register forms of the virtual-machine ones */
        if (d->d.op == INSN_CMPXCHG8B)
            in->opsize = in->rex & REX_W ? 16 : 8;
        break;
    case 0x01:
        if (d->d.op == INSN_SMSW && modrm_mod(d->modrm) != 3)
            in->opsize = 2;
        if (d->d.op == INSN_LMSW)
            in->opsize = 2;
        if (d->d.op == INSN_INVLPG)
            in->opsize = 1;
        break;
    default:
        if ((d->opcode & 0xf0) == 0x90)
            in->cond = d->opcode & 0x0f;
        else if (decode_sse_store(d))
            d->d.op = INSN_SSE_STORE;
        break;
    }
    return HV_OK;
}

/* 0F 38 and 0F 3A: lengths are uniform, only INVPCID has operands of interest. */
static enum hv_err decode_map23(struct decoder *d)
{
    uint8_t escape = d->opcode;

    TRY(decode_u8(d, &d->opcode));
    d->map = escape == 0x38 ? 2 : 3;
    if (escape == 0x38 && d->opcode == 0x82 && d->opsize_prefix && !d->in->rep && !d->in->repne) {
        d->d = (struct opdesc){INSN_INVPCID, FORM_GE, IMM_NONE, OPF_MEM};
        d->in->opsize = d->mode == 8 ? 8 : 4;
    }
    return HV_OK;
}

static uint8_t decode_srcsize(const struct decoder *d, bool map1)
{
    const struct insn *in = d->in;

    if (in->op == INSN_INVPCID)
        return 16;
    if (in->op == INSN_LAR || in->op == INSN_LSL || in->op == INSN_VERR || in->op == INSN_VERW)
        return 2; /* a selector */
    if (in->op != INSN_MOVZX && in->op != INSN_MOVSX)
        return in->opsize;
    if (map1)
        return d->opcode & 1 ? 2 : 1;
    return 4; /* MOVSXD, with a 16-bit destination too */
}

static enum hv_err decode_check(const struct decoder *d)
{
    const struct insn *in = d->in;
    bool reg = d->have_modrm && modrm_mod(d->modrm) == 3;

    if (d->d.flags & OPF_UD)
        return HV_INVALID;
    if ((d->d.flags & OPF_NO64) && d->mode == 8)
        return HV_INVALID;
    if ((d->d.flags & OPF_MEM) && reg)
        return HV_INVALID;
    if ((d->d.flags & OPF_REG) && d->have_modrm && !reg)
        return HV_INVALID;
    if (in->lock && d->d.form != FORM_CR && !((d->d.flags & OPF_LOCK) && in->dst == OPND_MEM))
        return HV_INVALID;
    return HV_OK;
}

/* Opcode byte(s), ModRM and operand size. */
static enum hv_err decode_opcode(struct decoder *d, bool *map1)
{
    bool invpcid = false;

    *map1 = d->opcode == 0x0f;
    if (*map1) {
        TRY(decode_u8(d, &d->opcode));
        d->map = 1;
        d->d = decode_map1[d->opcode];
        if (d->opcode == 0x38 || d->opcode == 0x3a) {
            TRY(decode_map23(d));
            invpcid = d->d.op == INSN_INVPCID;
            *map1 = false;
        }
    } else {
        d->d = decode_map0[d->opcode];
        decode_map0_special(d);
    }
    /* No byte of an undefined opcode is looked at further. */
    if ((d->d.flags & OPF_UD) || ((d->d.flags & OPF_NO64) && d->mode == 8))
        return HV_INVALID;
    TRY(decode_select(d));
    if (!invpcid)
        d->in->opsize = decode_opsize(d);
    if (*map1)
        TRY(decode_map1_special(d));
    return HV_OK;
}

static void decode_done(const struct decoder *d)
{
    struct insn *in = d->in;

    in->map = d->map;
    in->opcode = d->opcode;
    in->modrm = d->modrm;
    in->has_modrm = d->have_modrm;
    if (!in->vex)
        in->simd = in->rep ? SIMD_F3 : in->repne ? SIMD_F2 : d->opsize_prefix ? SIMD_66 : SIMD_NONE;
    if (d->segment != DECODE_NO_SEG)
        in->segment = (enum seg)d->segment;
    in->length = (uint8_t)d->pos;
    /* Asked of the same instruction at exit after exit, and so said once. */
    in->flat =
        in->addrsize == 8 && in->segment != SEG_FS && in->segment != SEG_GS && !in->rip_relative;
    in->store8 = in->op == INSN_MOV && in->dst == OPND_MEM && in->opsize == 8 &&
                 (in->src == OPND_REG || in->src == OPND_IMM);
}

enum hv_err insn_decode(const uint8_t *bytes, size_t n, unsigned mode, struct insn *out)
{
    struct decoder d = {
        .bytes = bytes, .n = n < 15 ? n : 15, .mode = mode, .in = out, .segment = DECODE_NO_SEG};
    bool handled, map1;

    memset(out, 0, sizeof(*out));
    out->base = out->index = DECODE_NO_REG;
    out->scale = 1;
    out->segment = SEG_DS;
    TRY(decode_prefixes(&d));
    TRY(decode_vector(&d, &handled));
    if (handled) {
        out->op = INSN_OTHER;
        if (!out->vex)
            d.map = MAP_OTHER;
        decode_done(&d);
        return HV_OK;
    }
    TRY(decode_opcode(&d, &map1));
    out->op = (enum insn_op)d.d.op;
    out->srcsize = decode_srcsize(&d, map1);
    TRY(decode_imm(&d));
    TRY(decode_operands(&d));
    TRY(decode_check(&d));
    decode_done(&d);
    return HV_OK;
}
