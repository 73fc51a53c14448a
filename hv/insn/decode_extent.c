/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory operand of instructions that only the processor itself performs: where, how many
 * bytes, read or written. APM volume 3 (general purpose), 4 (128- and 256-bit media), 5 (64-bit
 * media and x87). Tested by tools/tests/test_extent.c against Zydis. */
#include "hv/insn/decode.h"

#define REX_W 8u

/* One byte an opcode and prefix: what happens in the upper bits, the size in the lower ones. */
enum extent_size {
    E_NONE, /* no memory operand, or not known */
    E_1,
    E_2,
    E_4,
    E_8,
    E_10,
    E_16,
    E_V, /* the vector: 16 or with VEX.L 32 */
    E_H, /* half, a quarter, an eighth of it */
    E_Q,
    E_O,
    E_D, /* MOVDDUP: 8 or with VEX.L 32 */
    E_Y, /* a general register: 4, or with W in 64-bit mode 8 */
    E_F, /* a number: 4, or with W 8 */
    E_Z, /* the operand size */
    E_SIZE = 0x0f,
    E_W = 0x40, /* written; else read */
    E_P = 0x80, /* written in part */
};

/* By prefix: none, 66, F3, F2. */
struct by_prefix {
    uint8_t of[4];
};
/* clang-format off */
#define N4 {{0, 0, 0, 0}}
#define P(a, b, c, d) {{(a), (b), (c), (d)}}
#define PS P(E_V, E_V, E_4, E_8)      /* packed and scalar floating point */
#define PD P(E_V, E_V, 0, 0)
#define MM P(E_8, E_V, 0, 0)          /* 64-bit media, and 128-bit */
#define SH P(E_8, E_16, 0, 0)         /* shifts by a register: 16 bytes with VEX.L too */
#define V6 P(0, E_V, 0, 0)
#define S6(s) P(0, (s), 0, 0)
#define ZZ P(E_Z, E_Z, E_Z, E_Z)
#define ZW P(E_Z | E_W, E_Z | E_W, 0, 0)
#define ST P(E_V | E_W, E_V | E_W, 0, 0)
#define L2(...) __VA_ARGS__, __VA_ARGS__
#define L4(...) L2(__VA_ARGS__), L2(__VA_ARGS__)
#define L8(...) L4(__VA_ARGS__), L4(__VA_ARGS__)
#define L16(...) L8(__VA_ARGS__), L8(__VA_ARGS__)

static const struct by_prefix extent_map1[256] = {
    /* 00 */ L16(N4),
    /* 10 */ PS, P(E_V | E_W, E_V | E_W, E_4 | E_W, E_8 | E_W), P(E_8, E_8, E_V, E_D),
             P(E_8 | E_W, E_8 | E_W, 0, 0), L2(PD), P(E_8, E_8, E_V, 0),
             P(E_8 | E_W, E_8 | E_W, 0, 0), L8(N4),
    /* 20 */ L8(N4), PD, ST, P(E_8, E_8, E_Y, E_Y), P(E_V | E_W, E_V | E_W, E_4 | E_W, E_8 | E_W),
             L2(P(E_8, E_16, E_4, E_8)), L2(P(E_4, E_8, 0, 0)),
    /* 30 */ L16(N4),
    /* 40 */ L16(ZZ),
    /* 50 */ N4, PS, L2(P(E_V, 0, E_4, 0)), L4(PD), L2(PS), P(E_H, E_V, E_4, E_8),
             P(E_V, E_V, E_V, 0), L4(PS),
    /* 60 */ L2(P(E_4, E_V, 0, 0)), P(E_4, E_V, 0, 0), MM, L8(MM), L2(V6), P(E_Y, E_Y, 0, 0),
             P(E_8, E_V, E_V, 0),
    /* 70 */ P(E_8, E_V, E_V, E_V), N4, L2(N4), L2(MM), MM, N4, L4(N4), L2(P(0, E_V, 0, E_V)),
             P(E_Y | E_W, E_Y | E_W, E_8, 0), P(E_8 | E_W, E_V | E_W, E_V | E_W, 0),
    /* 80 */ L16(N4),
    /* 90 */ L16(N4),
    /* A0 */ L4(N4), L4(N4), L4(N4), L2(N4), N4, ZZ,
    /* B0 */ L8(N4), P(0, 0, E_Z, 0), N4, L2(N4), L2(ZZ), L2(N4),
    /* C0 */ L2(N4), PS, N4, P(E_2, E_2, 0, 0), N4, PD, N4, L8(N4),
    /* D0 */ P(0, E_V, 0, E_V), SH, L2(SH), L2(MM), S6(E_8 | E_W), N4, L8(MM),
    /* E0 */ MM, L2(SH), MM, L2(MM), P(0, E_V, E_H, E_V), P(E_8 | E_W, E_V | E_W, 0, 0), L8(MM),
    /* F0 */ P(0, 0, 0, E_V), SH, L2(SH), L2(MM), MM, N4, L4(MM), L2(MM), MM, N4,
};

static const struct by_prefix extent_map2[256] = {
    /* 00 */ L8(MM), L4(MM), L4(V6),
    /* 10 */ V6, N4, N4, S6(E_H), L4(V6), S6(E_4), S6(E_8), S6(E_16), N4, L2(MM), MM, N4,
    /* 20 */ S6(E_H), S6(E_Q), S6(E_O), S6(E_H), S6(E_Q), S6(E_H), L2(N4), L4(V6), L2(V6),
             L2(S6(E_V | E_W | E_P)),
    /* 30 */ S6(E_H), S6(E_Q), S6(E_O), S6(E_H), S6(E_Q), S6(E_H), L2(V6), L8(V6),
    /* 40 */ V6, S6(E_16), N4, L2(N4), V6, L2(V6), L8(N4),
    /* 50 */ L4(V6), L4(N4), S6(E_4), S6(E_8), S6(E_16), N4, L4(N4),
    /* 60 */ L16(N4),
    /* 70 */ L8(N4), S6(E_1), S6(E_2), L2(N4), L4(N4),
    /* 80 */ L8(N4), L4(N4), V6, N4, S6(E_V | E_W | E_P), N4,
    /* 90 */ L4(N4), L2(N4), L2(V6), V6, S6(E_F), V6, S6(E_F), L2(V6, S6(E_F)),
    /* A0 */ L4(N4), L2(N4), L2(V6), L4(V6, S6(E_F)),
    /* B0 */ L4(N4), L4(V6), L4(V6, S6(E_F)),
    /* C0 */ L8(N4), L4(P(E_16, 0, 0, 0)), L2(P(E_16, 0, 0, 0)), N4, V6,
    /* D0 */ L8(N4), L2(N4), N4, S6(E_16), L4(V6),
    /* E0 */ L16(N4),
    /* F0 */ P(E_Z, E_Z, 0, E_1), P(E_Z | E_W, E_Z | E_W, 0, E_Z), P(E_Y, 0, 0, 0),
             P(E_Y, 0, 0, 0), N4, P(E_Y, 0, E_Y, E_Y), P(0, E_Y, E_Y, E_Y),
             P(E_Y, E_Y, E_Y, E_Y), N4, P(E_Y | E_W, 0, 0, 0), L2(N4), L4(N4),
};

/* With prefix 66, but for the three in extent_of_map3. */
static const uint8_t extent_map3[256] = {
    /* 00 */ E_V, E_V, E_V, 0, E_V, E_V, E_V, 0, E_V, E_V, E_4, E_8, E_V, E_V, E_V, E_V,
    /* 10 */ 0, 0, 0, 0, E_1 | E_W, E_2 | E_W, E_Y | E_W, E_4 | E_W, E_16, E_16 | E_W, 0, 0,
             0, E_H | E_W, 0, 0,
    /* 20 */ E_1, E_4, E_Y, 0, 0, 0, 0, 0, L8(0),
    /* 30 */ L8(0), E_16, E_16 | E_W, 0, 0, L4(0),
    /* 40 */ E_V, E_16, E_V, 0, E_V, 0, E_V, 0, E_V, E_V, E_V, E_V, E_V, 0, 0, 0,
    /* 50 */ L8(0), L4(0), L4(E_V),
    /* 60 */ L4(E_16), L4(0), E_V, E_V, E_4, E_8, E_V, E_V, E_4, E_8,
    /* 70 */ L8(0), E_V, E_V, E_4, E_8, E_V, E_V, E_4, E_8,
    /* 80 */ L16(0),
    /* 90 */ L16(0),
    /* A0 */ L16(0),
    /* B0 */ L16(0),
    /* C0 */ L8(0), L4(0), L2(0), E_V, E_V,
    /* D0 */ L8(0), L4(0), L2(0), 0, E_16,
    /* E0 */ L16(0),
    /* F0 */ L16(0),
};

/* D8..DF by ModRM.reg; FLDENV, FNSTENV, FRSTOR and FNSAVE are in extent_x87. */
static const uint8_t extent_fpu[8][8] = {
    {L8(E_4)},
    {E_4, 0, E_4 | E_W, E_4 | E_W, 0, E_2, 0, E_2 | E_W},
    {L8(E_4)},
    {E_4, E_4 | E_W, E_4 | E_W, E_4 | E_W, 0, E_10, 0, E_10 | E_W},
    {L8(E_8)},
    {E_8, E_8 | E_W, E_8 | E_W, E_8 | E_W, 0, 0, 0, E_2 | E_W},
    {L8(E_2)},
    {E_2, E_2 | E_W, E_2 | E_W, E_2 | E_W, E_10, E_8, E_10 | E_W, E_8 | E_W},
};
/* clang-format on */

static bool extent_set(struct insn_extent *x, unsigned size, unsigned access)
{
    x->size = (uint16_t)size;
    x->access = (uint8_t)access;
    return true;
}

static bool extent_stack(struct insn_extent *x, enum extent_at at, int delta, unsigned size,
                         unsigned access)
{
    x->at = at;
    x->delta = (int16_t)delta;
    return extent_set(x, size, access);
}

static bool extent_code(const struct insn *in, unsigned mode, uint8_t code, struct insn_extent *x)
{
    static const uint8_t fixed[] = {
        [E_1] = 1, [E_2] = 2, [E_4] = 4, [E_8] = 8, [E_10] = 10, [E_16] = 16};
    unsigned vector = in->vex && in->vex_l ? 32 : 16, n;

    switch (code & E_SIZE) {
    case E_NONE:
        return false;
    case E_V:
    case E_H:
    case E_Q:
    case E_O:
        n = vector >> ((code & E_SIZE) - E_V);
        break;
    case E_D:
        n = vector == 32 ? 32 : 8;
        break;
    case E_Y:
        n = mode == 8 && (in->rex & REX_W) ? 8 : 4;
        break;
    case E_F:
        n = in->rex & REX_W ? 8 : 4;
        break;
    case E_Z:
        if (in->vex) /* operations on masks, of registers only */
            return false;
        n = in->opsize;
        break;
    default:
        n = fixed[code & E_SIZE];
        break;
    }
    return extent_set(x, n, (code & E_W ? EXTENT_W : EXTENT_R) | (code & E_P ? EXTENT_PART : 0));
}

static unsigned reg_field(const struct insn *in)
{
    return (in->modrm >> 3) & 7u;
}

static bool in_memory(const struct insn *in)
{
    return in->has_modrm && in->modrm >> 6 != 3;
}

/* The environment is 14 or 28 bytes, the registers are 80: APM volume 2 11.4.4 "Saving Media and
 * x87 Execution Unit State". */
static bool extent_x87(const struct insn *in, unsigned mode, struct insn_extent *x)
{
    unsigned reg = reg_field(in), env = in->opsize == 2 ? 14 : 28;
    bool all = in->opcode == 0xdd;

    if ((in->opcode == 0xd9 || all) && (reg == 4 || reg == 6))
        return extent_set(x, env + (all ? 80 : 0), reg == 4 ? EXTENT_R : EXTENT_W);
    return extent_code(in, mode, extent_fpu[in->opcode & 7u][reg], x);
}

/* Without ModRM, on the stack or by fixed registers. */
static bool extent_implied(const struct insn *in, struct insn_extent *x)
{
    int n = in->opsize;

    switch (in->opcode) {
    case 0x60: /* PUSHA, POPA */
        return extent_stack(x, EXTENT_STACK, -8 * n, 8 * in->opsize, EXTENT_W);
    case 0x61:
        return extent_stack(x, EXTENT_STACK, 0, 8 * in->opsize, EXTENT_R);
    case 0x9c: /* PUSHF, POPF */
        return extent_stack(x, EXTENT_STACK, -n, in->opsize, EXTENT_W);
    case 0x9d:
        return extent_stack(x, EXTENT_STACK, 0, in->opsize, EXTENT_R);
    case 0xc8: /* ENTER; a nested one copies another frame as well */
        return !(in->imm >> 16 & 0x1f) && extent_stack(x, EXTENT_STACK, -n, in->opsize, EXTENT_W);
    case 0xc9: /* LEAVE */
        return extent_stack(x, EXTENT_FRAME, 0, in->opsize, EXTENT_R);
    case 0xd7:
        return extent_stack(x, EXTENT_XLAT, 0, 1, EXTENT_R);
    default:
        return false;
    }
}

static bool extent_of_map0(const struct insn *in, unsigned mode, struct insn_extent *x)
{
    unsigned size = in->opcode & 1 ? in->opsize : 1;

    if (!in->has_modrm)
        return extent_implied(in, x);
    if (!in_memory(in))
        return false;
    if (in->opcode >= 0xd8 && in->opcode <= 0xdf)
        return extent_x87(in, mode, x);
    switch (in->opcode) {
    case 0x62: /* BOUND */
        return extent_set(x, 2u * in->opsize, EXTENT_R);
    case 0x63: /* ARPL */
        return mode != 8 && extent_set(x, 2, EXTENT_R | EXTENT_W);
    case 0x69:
    case 0x6b: /* IMUL */
        return extent_set(x, in->opsize, EXTENT_R);
    case 0x8c: /* MOV from a segment register */
        return extent_set(x, 2, EXTENT_W);
    case 0xc0: /* shifts and rotates */
    case 0xc1:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return extent_set(x, size, EXTENT_R | EXTENT_W);
    case 0xf6: /* MUL, IMUL, DIV, IDIV */
    case 0xf7:
        return reg_field(in) >= 4 && extent_set(x, size, EXTENT_R);
    default:
        return false;
    }
}

/* Group 15. */
static bool extent_save(const struct insn *in, struct insn_extent *x)
{
    if (in->simd == SIMD_66) /* CLWB, CLFLUSHOPT */
        return reg_field(in) >= 6 && extent_set(x, 1, 0);
    if (in->simd != SIMD_NONE)
        return false;
    switch (reg_field(in)) {
    case 0: /* FXSAVE leaves out what is reserved */
        return extent_set(x, 512, EXTENT_W | EXTENT_PART);
    case 1:
        return extent_set(x, 512, EXTENT_R);
    case 2: /* LDMXCSR, STMXCSR */
        return extent_set(x, 4, EXTENT_R);
    case 3:
        return extent_set(x, 4, EXTENT_W);
    case 4: /* XSAVE, XSAVEOPT; parts of the area stay */
    case 6:
        return extent_set(x, 0, EXTENT_R | EXTENT_W | EXTENT_XSTATE);
    case 5:
        return extent_set(x, 0, EXTENT_R | EXTENT_XSTATE);
    default: /* CLFLUSH */
        return extent_set(x, 1, 0);
    }
}

static bool extent_of_map1(const struct insn *in, unsigned mode, struct insn_extent *x)
{
    unsigned reg = reg_field(in);

    if (in->opcode == 0xf7 && in->has_modrm && !in_memory(in)) { /* MASKMOVQ, MASKMOVDQU */
        x->at = EXTENT_RDI;
        return in->simd <= SIMD_66 && extent_set(x, in->simd ? 16 : 8, EXTENT_W | EXTENT_PART);
    }
    if (!in_memory(in))
        return false;
    if (in->vex && in->opcode == 0xae) /* VLDMXCSR, VSTMXCSR */
        return (reg == 2 || reg == 3) && extent_save(in, x);
    if (in->vex)
        return extent_code(in, mode, extent_map1[in->opcode].of[in->simd], x);
    switch (in->opcode) {
    case 0x00: /* SLDT, STR */
        return reg <= 1 && extent_set(x, 2, EXTENT_W);
    case 0x01: /* SGDT, SIDT, LGDT, LIDT */
        return reg <= 3 && extent_set(x, mode == 8 ? 10 : 6, reg <= 1 ? EXTENT_W : EXTENT_R);
    case 0xa4: /* SHLD, SHRD */
    case 0xa5:
    case 0xac:
    case 0xad:
        return extent_set(x, in->opsize, EXTENT_R | EXTENT_W);
    case 0xae:
        return extent_save(in, x);
    case 0xc7: /* CMPXCHG16B; XSAVEC */
        if (reg == 1)
            return extent_set(x, in->opsize, EXTENT_R | EXTENT_W);
        return reg == 4 && extent_set(x, 0, EXTENT_R | EXTENT_W | EXTENT_XSTATE);
    default:
        return extent_code(in, mode, extent_map1[in->opcode].of[in->simd], x);
    }
}

static bool extent_of_map3(const struct insn *in, unsigned mode, struct insn_extent *x)
{
    if (in->opcode == 0xf0) /* RORX */
        return in->simd == SIMD_F2 && extent_code(in, mode, E_Y, x);
    if (in->simd == SIMD_NONE && in->opcode == 0x0f) /* PALIGNR, 64-bit */
        return extent_code(in, mode, E_8, x);
    if (in->simd == SIMD_NONE && in->opcode == 0xcc) /* SHA1RNDS4 */
        return extent_code(in, mode, E_16, x);
    return in->simd == SIMD_66 && extent_code(in, mode, extent_map3[in->opcode], x);
}

bool insn_extent(const struct insn *in, unsigned mode, struct insn_extent *out)
{
    *out = (struct insn_extent){.at = EXTENT_MODRM};
    switch (in->map) {
    case 0:
        return extent_of_map0(in, mode, out);
    case 1:
        return extent_of_map1(in, mode, out);
    case 2:
        return in_memory(in) && extent_code(in, mode, extent_map2[in->opcode].of[in->simd], out);
    case 3:
        return in_memory(in) && extent_of_map3(in, mode, out);
    default:
        return false;
    }
}
