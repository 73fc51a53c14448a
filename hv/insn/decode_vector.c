/* SPDX-License-Identifier: BSD-2-Clause */
/* Lengths of VEX, EVEX and XOP instructions: SDM volume 2A 2.3 "Intel AVX", 2.7 "Intel AVX-512
 * Encoding"; APM volume 3 1.2.5 "VEX and XOP Prefixes"; the ModRM operand of VEX. Tested by
 * tools/tests/test_decode.c. */
#include "hv/insn/decode_internal.h"

/* Opcodes of the 0F map with an immediate byte: the shuffles, compares, inserts and shifts. */
static bool vector_map1_imm(uint8_t opcode)
{
    return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 || opcode == 0xc4 ||
           opcode == 0xc5 || opcode == 0xc6;
}

/* Opcode, ModRM and immediate. modrm: this opcode has one. */
static enum hv_err vector_tail(struct decoder *d, unsigned map, bool evex)
{
    uint8_t opcode;
    uint64_t imm;
    unsigned nimm = 0;

    TRY(decode_u8(d, &opcode));
    d->opcode = opcode;
    /* VZEROUPPER and VZEROALL are the only ones without ModRM. */
    if (!(map == 1 && opcode == 0x77 && !evex))
        TRY(decode_modrm(d));
    if (map == 3 || map == 8 || (map == 1 && vector_map1_imm(opcode)))
        nimm = 1;
    else if (map == 10)
        nimm = 4;
    if (nimm)
        TRY(decode_int(d, nimm, &imm));
    return HV_OK;
}

/* The last prefix byte. Fields outside 64-bit mode name registers 0 to 7 only. */
static void vector_vex_fields(struct decoder *d, uint8_t p, bool w, unsigned map)
{
    struct insn *in = d->in;

    in->vex = true;
    in->vex_l = p & 4u;
    in->simd = p & 3u; /* 66, F3, F2 in the order of enum simd_prefix */
    d->map = (uint8_t)map;
    if (d->mode != 8)
        in->rex = 0;
    if (w)
        in->rex |= REX_W;
}

static enum hv_err vector_vex2(struct decoder *d)
{
    uint8_t p;

    TRY(decode_u8(d, &p));
    d->in->rex = p & 0x80 ? 0 : REX_R;
    vector_vex_fields(d, p, false, 1);
    return vector_tail(d, 1, false);
}

static enum hv_err vector_vex3(struct decoder *d, bool xop)
{
    uint8_t p0, p1;

    TRY(decode_u8(d, &p0));
    TRY(decode_u8(d, &p1));
    unsigned map = p0 & 0x1fu;
    if (xop ? map < 8 || map > 10 : map < 1 || map > 3)
        return HV_INVALID;
    d->in->rex = (~p0 >> 5) & (REX_R | REX_X | REX_B);
    if (!xop)
        vector_vex_fields(d, p1, p1 & 0x80, map);
    return vector_tail(d, map, false);
}

static enum hv_err vector_evex(struct decoder *d)
{
    uint8_t p0, p1, p2;

    TRY(decode_u8(d, &p0));
    TRY(decode_u8(d, &p1));
    TRY(decode_u8(d, &p2));
    unsigned map = p0 & 7u;
    if ((p0 & 8u) || !(p1 & 4u) || map == 0 || map == 4 || map == 7)
        return HV_INVALID;
    return vector_tail(d, map, true);
}

enum hv_err decode_vector(struct decoder *d, bool *handled)
{
    *handled = false;
    if (d->opcode != 0x62 && d->opcode != 0x8f && d->opcode != 0xc4 && d->opcode != 0xc5)
        return HV_OK;
    if (d->pos >= d->n)
        return HV_RANGE;
    uint8_t next = d->bytes[d->pos];

    if (d->opcode == 0x8f ? (next & 0x1f) < 8 : d->mode != 8 && modrm_mod(next) != 3)
        return HV_OK; /* POP; or BOUND, LES, LDS, whose operand is memory */
    *handled = true;
    if (d->opsize_prefix || d->in->rep || d->in->repne || d->in->lock || d->in->rex)
        return HV_INVALID;
    switch (d->opcode) {
    case 0x62:
        return vector_evex(d);
    case 0xc5:
        return vector_vex2(d);
    default:
        return vector_vex3(d, d->opcode == 0x8f);
    }
}
