/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to hv/insn/decode*.c: the decoder's state and the form of its opcode tables.
 * Tested by tools/tests/test_decode.c. */
#pragma once
#include "hv/insn/decode.h"

/* Where the operands are. E: ModRM.rm, G: ModRM.reg, Z: low opcode bits, A: rAX, I: immediate. */
enum opform {
    FORM_NONE,   /* no ModRM byte, no operand of interest */
    FORM_M,      /* ModRM byte, no operand of interest */
    FORM_EG,     /* E <- G */
    FORM_GE,     /* G <- E */
    FORM_E,      /* E alone, written */
    FORM_SE,     /* E alone, read */
    FORM_EI,     /* E <- immediate */
    FORM_AI,     /* rAX <- immediate */
    FORM_I,      /* immediate alone, read */
    FORM_Z,      /* opcode register, written */
    FORM_SZ,     /* opcode register, read */
    FORM_ZA,     /* opcode register <- rAX (XCHG) */
    FORM_ZI,     /* opcode register <- immediate */
    FORM_AMOFFS, /* rAX <- absolute address */
    FORM_MOFFSA, /* absolute address <- rAX */
    FORM_STRING,
    FORM_IN_I,  /* IN rAX, imm8 */
    FORM_IN_D,  /* IN rAX, DX */
    FORM_OUT_I, /* OUT imm8, rAX */
    FORM_OUT_D, /* OUT DX, rAX */
    FORM_CR,    /* 0F 20..23: ModRM.mod is ignored, rm is a register */
    FORM_GROUP, /* op is an enum opgroup, chosen by ModRM.reg */
};
enum opimm {
    IMM_NONE,
    IMM_8,     /* sign-extended byte */
    IMM_U8,    /* zero-extended byte */
    IMM_16,    /* zero-extended word */
    IMM_Z,     /* 1, 2 or 4 bytes by operand size */
    IMM_V,     /* as IMM_Z, but 8 bytes with a 64-bit operand (MOV reg, imm64) */
    IMM_24,    /* ENTER: word and byte */
    IMM_FAR,   /* offset by operand size and selector */
    IMM_MOFFS, /* absolute address by address size */
};
#define OPF_BYTE 1u /* 8-bit operands */
#define OPF_NO64 2u /* #UD in 64-bit mode */
#define OPF_D64 4u  /* operand size defaults to 64 bits in 64-bit mode */
#define OPF_LOCK 8u /* LOCK allowed with a memory destination */
#define OPF_MEM 16u /* #UD with a register in ModRM.rm */
#define OPF_REG 32u /* #UD with memory in ModRM.rm */
#define OPF_UD 64u  /* no such instruction */
struct opdesc {
    uint8_t op;   /* enum insn_op, or enum opgroup with FORM_GROUP */
    uint8_t form; /* enum opform */
    uint8_t imm;  /* enum opimm */
    uint8_t flags;
};
enum opgroup {
    GROUP_1,
    GROUP_1A,
    GROUP_3,
    GROUP_4,
    GROUP_5,
    GROUP_6,
    GROUP_7,
    GROUP_8,
    GROUP_9,
    GROUP_11,
    GROUP_COUNT
};

extern const struct opdesc decode_map0[256];             /* one-byte opcodes */
extern const struct opdesc decode_map1[256];             /* 0F opcodes */
extern const struct opdesc decode_group[GROUP_COUNT][8]; /* by ModRM.reg */

struct decoder {
    const uint8_t *bytes;
    size_t n, pos;
    unsigned mode; /* 2, 4, 8 */
    struct insn *in;
    struct opdesc d;
    uint8_t opcode, modrm;
    bool have_modrm, opsize_prefix, addrsize_prefix;
    uint8_t segment; /* override in force, or DECODE_NO_SEG */
    uint8_t map;     /* of `opcode`: see struct insn */
};
#define DECODE_NO_SEG 0xff
#define DECODE_NO_REG 0xff
#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

static inline unsigned modrm_mod(uint8_t m)
{
    return m >> 6;
}
static inline unsigned modrm_reg(uint8_t m)
{
    return (m >> 3) & 7u;
}
static inline unsigned modrm_rm(uint8_t m)
{
    return m & 7u;
}
/* HV_RANGE at the end of the bytes. */
static inline HV_MUST_CHECK enum hv_err decode_u8(struct decoder *d, uint8_t *out)
{
    if (d->pos >= d->n)
        return HV_RANGE;
    *out = d->bytes[d->pos++];
    return HV_OK;
}
/* Little-endian integer of 1..8 bytes, sign-extended. */
enum hv_err decode_int(struct decoder *d, unsigned nbytes, uint64_t *out) HV_MUST_CHECK;
/* ModRM, SIB and displacement; fills the memory operand of d->in. */
enum hv_err decode_modrm(struct decoder *d) HV_MUST_CHECK;
/* VEX (C4, C5), EVEX (62) or XOP (8F) after their first byte: length, and with VEX the encoding and
 * the ModRM operand. *handled: false if the bytes are the older instruction of that opcode; nothing
 * consumed then. */
enum hv_err decode_vector(struct decoder *d, bool *handled) HV_MUST_CHECK;
