/* SPDX-License-Identifier: BSD-2-Clause */
/* Instruction decoder for what has to be emulated: lengths of everything common, operands of
 * stores, loads, MOV CR/DR, INVLPG, string I/O, LMSW. Pure function of its input. Tested by
 * tools/tests/test_decode.c against Zydis. */
#pragma once
#include "hv/base/types.h"
#include "hv/insn/regs.h"

enum insn_op {
    INSN_OTHER, /* length known, not emulatable */
    INSN_MOV,   /* incl. MOVNTI; store, load or immediate */
    INSN_MOVZX,
    INSN_MOVSX, /* incl. MOVSXD */
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_TEST,
    INSN_INC,
    INSN_DEC,
    INSN_NOT,
    INSN_NEG,
    INSN_XCHG,
    INSN_CMPXCHG,
    INSN_XADD,
    INSN_CMPXCHG8B, /* 16B with op_size 8 operands: see opsize */
    INSN_BT,
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    INSN_MOVS,
    INSN_STOS,
    INSN_LODS,
    INSN_SCAS,
    INSN_CMPS,
    INSN_INS,
    INSN_OUTS,
    INSN_PUSH,
    INSN_POP,
    INSN_CALL,
    INSN_JMP, /* near, through a register or memory */
    INSN_RET, /* near */
    INSN_SETCC,
    INSN_LAR,
    INSN_LSL,
    INSN_VERR,
    INSN_VERW,
    INSN_SSE_STORE, /* MOVUPS/MOVDQU/... 16-byte store */
    INSN_MOV_CR_READ,
    INSN_MOV_CR_WRITE,
    INSN_MOV_DR_READ,
    INSN_MOV_DR_WRITE,
    INSN_LMSW,
    INSN_SMSW,
    INSN_CLTS,
    INSN_INVLPG,
    INSN_INVPCID,
    INSN_CPUID,
    INSN_RDMSR,
    INSN_WRMSR,
    INSN_HLT,
    INSN_IN,
    INSN_OUT,
    INSN_PAUSE,
    INSN_RDTSC,
    INSN_RDTSCP,
    INSN_WBINVD,
    INSN_INVD,
    INSN_MONITOR,
    INSN_MWAIT,
    INSN_RDPMC,
    INSN_XSETBV,
    INSN_VMMCALL,
    INSN_INT3,
    INSN_INTN,
    INSN_IRET,
    INSN_UD2,
};
enum insn_operand { OPND_NONE, OPND_REG, OPND_MEM, OPND_IMM };
struct insn {
    enum insn_op op;
    uint8_t length;   /* bytes, 1..15 */
    uint8_t opsize;   /* operand width in bytes: 1, 2, 4, 8 (16 for CMPXCHG16B) */
    uint8_t srcsize;  /* MOVZX/MOVSX source width */
    uint8_t addrsize; /* 2, 4, 8 */
    bool lock, rep, repne;
    uint8_t rex; /* whole byte or 0 */
    enum insn_operand dst, src;
    uint8_t dst_reg, src_reg; /* enum gpr; with opsize 1 and no REX, 4..7 mean AH..BH (high8) */
    bool dst_high8, src_high8;
    uint8_t cr;   /* MOV CR/DR: register number */
    bool flat;    /* the memory operand is insn_flat: 64-bit, without a segment base or RIP */
    bool store8;  /* MOV of a register or an immediate, 8 bytes, to memory */
    uint64_t imm; /* sign-extended to 64 bits */
    /* memory operand */
    enum seg segment;           /* after overrides and BP/SP defaults */
    uint8_t base, index, scale; /* enum gpr, 0xff none; scale 1,2,4,8 */
    bool rip_relative;          /* base is the next RIP */
    int64_t disp;
    uint8_t cond; /* SETcc condition */
    /* the encoding, for insn_extent */
    uint8_t map;    /* 0: one-byte opcodes, 1: 0F, 2: 0F 38, 3: 0F 3A; MAP_OTHER: XOP, EVEX */
    uint8_t opcode; /* in that map */
    uint8_t modrm;
    uint8_t simd; /* last of the prefixes 66, F3, F2 that counts: enum simd_prefix */
    bool has_modrm, vex, vex_l;
};
/* Linear address of the memory operand, if it is flat. */
static inline uint64_t insn_flat(const struct insn *in, const uint64_t gpr[16])
{
    uint64_t va = (uint64_t)in->disp;

    if (in->base < 16)
        va += gpr[in->base];
    if (in->index < 16)
        va += gpr[in->index] * in->scale;
    return va;
}
enum simd_prefix { SIMD_NONE, SIMD_66, SIMD_F3, SIMD_F2 };
#define MAP_OTHER 0xff
/* mode: 2, 4 or 8 = default code size (16-bit, 32-bit, 64-bit). HV_OK; HV_RANGE: more bytes needed
 * (a valid prefix of an instruction); HV_INVALID: no such instruction (#UD); HV_UNSUPPORTED:
 * exists, not known here. n: bytes available, 1..15; HV_RANGE with all 15 means a longer
 * instruction, which is #GP. */
enum hv_err insn_decode(const uint8_t *bytes, size_t n, unsigned mode,
                        struct insn *out) HV_MUST_CHECK;

/* The one memory operand of an instruction that emulate_ops.c has no handler for. */
enum extent_at {
    EXTENT_MODRM, /* the operand of the ModRM byte */
    EXTENT_STACK, /* SS:rSP + delta */
    EXTENT_FRAME, /* SS:rBP */
    EXTENT_RDI,   /* rDI in the segment of the ModRM operand */
    EXTENT_XLAT,  /* rBX + AL, likewise */
};
#define EXTENT_R 1u      /* read */
#define EXTENT_W 2u      /* written; with EXTENT_R: read and then written */
#define EXTENT_PART 4u   /* perhaps not all of its bytes are written */
#define EXTENT_XSTATE 8u /* an XSAVE area: its size is the processor's (`size` is 0) */
struct insn_extent {
    enum extent_at at;
    int16_t delta;
    uint16_t size;  /* bytes */
    uint8_t access; /* EXTENT_*; 0: a cache-line operation, which needs a translation only */
};
/* Where the memory operand of `in` is, its size and what happens to it: APM volumes 3 to 5, the
 * operands of each instruction. mode as for insn_decode. false: it has none, more than one, reads
 * descriptor tables, or is not known. Tested by tools/tests/test_extent.c against Zydis. */
bool insn_extent(const struct insn *in, unsigned mode, struct insn_extent *out);
