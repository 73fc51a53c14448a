/* SPDX-License-Identifier: BSD-2-Clause */
/* The opcode maps of the decoder: APM volume 3 appendix A "Opcode and Operand Encodings".
 * Tested by tools/tests/test_decode.c. */
#include "hv/insn/decode_internal.h"

/* clang-format off */
#define D(o, f, i, fl) { INSN_##o, FORM_##f, IMM_##i, (fl) }
#define X_ D(OTHER, NONE, NONE, 0)           /* nothing follows the opcode */
#define X8 D(OTHER, NONE, 8, 0)              /* one immediate byte follows */
#define XM D(OTHER, M, NONE, 0)              /* ModRM */
#define XMM D(OTHER, M, NONE, OPF_MEM)
#define XM8 D(OTHER, M, 8, 0)
#define XN D(OTHER, NONE, NONE, OPF_NO64)
#define XD D(OTHER, NONE, NONE, OPF_D64)
#define XB8 D(OTHER, NONE, 8, OPF_D64)       /* short branch */
#define XBZ D(OTHER, NONE, Z, OPF_D64)       /* near branch */
#define UD D(OTHER, NONE, NONE, OPF_UD)
#define G(g, i, fl) { GROUP_##g, FORM_GROUP, IMM_##i, (fl) }
#define ALU(o, lk) D(o, EG, NONE, OPF_BYTE | (lk)), D(o, EG, NONE, (lk)), \
    D(o, GE, NONE, OPF_BYTE), D(o, GE, NONE, 0), D(o, AI, Z, OPF_BYTE), D(o, AI, Z, 0)
#define X2(...) __VA_ARGS__, __VA_ARGS__
#define X4(...) X2(__VA_ARGS__), X2(__VA_ARGS__)
#define X8T(...) X4(__VA_ARGS__), X4(__VA_ARGS__)
#define X16(...) X8T(__VA_ARGS__), X8T(__VA_ARGS__)

/* Prefixes, 0F and REX never reach the tables; they are UD here. */
const struct opdesc decode_map0[256] = {
    /* 00 */ ALU(ADD, OPF_LOCK), XN, XN, ALU(OR, OPF_LOCK), XN, UD,
    /* 10 */ ALU(ADC, OPF_LOCK), XN, XN, ALU(SBB, OPF_LOCK), XN, XN,
    /* 20 */ ALU(AND, OPF_LOCK), UD, XN, ALU(SUB, OPF_LOCK), UD, XN,
    /* 30 */ ALU(XOR, OPF_LOCK), UD, XN, ALU(CMP, 0), UD, XN,
    /* 40 */ X8T(D(INC, Z, NONE, OPF_NO64)), X8T(D(DEC, Z, NONE, OPF_NO64)),
    /* 50 */ X8T(D(PUSH, SZ, NONE, OPF_D64)), X8T(D(POP, Z, NONE, OPF_D64)),
    /* 60 */ XN, XN, D(OTHER, M, NONE, OPF_MEM | OPF_NO64), D(MOVSX, GE, NONE, 0), X4(UD),
    /* 68 */ D(PUSH, I, Z, OPF_D64), D(OTHER, M, Z, 0), D(PUSH, I, 8, OPF_D64), XM8,
    /* 6C */ D(INS, STRING, NONE, OPF_BYTE), D(INS, STRING, NONE, 0),
             D(OUTS, STRING, NONE, OPF_BYTE), D(OUTS, STRING, NONE, 0),
    /* 70 */ X16(XB8),
    /* 80 */ G(1, Z, OPF_BYTE), G(1, Z, 0), G(1, Z, OPF_BYTE | OPF_NO64), G(1, 8, 0),
             D(TEST, EG, NONE, OPF_BYTE), D(TEST, EG, NONE, 0),
             D(XCHG, EG, NONE, OPF_BYTE | OPF_LOCK), D(XCHG, EG, NONE, OPF_LOCK),
    /* 88 */ D(MOV, EG, NONE, OPF_BYTE), D(MOV, EG, NONE, 0), D(MOV, GE, NONE, OPF_BYTE),
             D(MOV, GE, NONE, 0), XM, XMM, XM, G(1A, NONE, OPF_D64),
    /* 90 */ X8T(D(XCHG, ZA, NONE, 0)),
    /* 98 */ X2(X_), D(OTHER, NONE, FAR, OPF_NO64), X_, XD, XD, X_, X_,
    /* A0 */ D(MOV, AMOFFS, MOFFS, OPF_BYTE), D(MOV, AMOFFS, MOFFS, 0),
             D(MOV, MOFFSA, MOFFS, OPF_BYTE), D(MOV, MOFFSA, MOFFS, 0),
    /* A4 */ D(MOVS, STRING, NONE, OPF_BYTE), D(MOVS, STRING, NONE, 0),
             D(CMPS, STRING, NONE, OPF_BYTE), D(CMPS, STRING, NONE, 0),
    /* A8 */ D(TEST, AI, Z, OPF_BYTE), D(TEST, AI, Z, 0),
             D(STOS, STRING, NONE, OPF_BYTE), D(STOS, STRING, NONE, 0),
    /* AC */ D(LODS, STRING, NONE, OPF_BYTE), D(LODS, STRING, NONE, 0),
             D(SCAS, STRING, NONE, OPF_BYTE), D(SCAS, STRING, NONE, 0),
    /* B0 */ X8T(D(MOV, ZI, Z, OPF_BYTE)), X8T(D(MOV, ZI, V, 0)),
    /* C0 */ XM8, XM8, D(RET, I, 16, OPF_D64), D(RET, NONE, NONE, OPF_D64),
             D(OTHER, M, NONE, OPF_MEM | OPF_NO64), D(OTHER, M, NONE, OPF_MEM | OPF_NO64),
             G(11, Z, OPF_BYTE), G(11, Z, 0),
    /* C8 */ D(OTHER, NONE, 24, OPF_D64), XD, D(OTHER, NONE, 16, 0), X_, D(INT3, NONE, NONE, 0),
             D(INTN, I, U8, 0), XN, D(IRET, NONE, NONE, 0),
    /* D0 */ X4(XM), X2(D(OTHER, NONE, 8, OPF_NO64)), XN, X_, X8T(XM),
    /* E0 */ X4(XB8), D(IN, IN_I, U8, OPF_BYTE), D(IN, IN_I, U8, 0),
             D(OUT, OUT_I, U8, OPF_BYTE), D(OUT, OUT_I, U8, 0),
    /* E8 */ D(CALL, I, Z, OPF_D64), XBZ, D(OTHER, NONE, FAR, OPF_NO64), XB8,
             D(IN, IN_D, NONE, OPF_BYTE), D(IN, IN_D, NONE, 0),
             D(OUT, OUT_D, NONE, OPF_BYTE), D(OUT, OUT_D, NONE, 0),
    /* F0 */ UD, X_, UD, UD, D(HLT, NONE, NONE, 0), X_, G(3, NONE, OPF_BYTE), G(3, NONE, 0),
    /* F8 */ X4(X_), X2(X_), G(4, NONE, OPF_BYTE), G(5, NONE, 0),
};

const struct opdesc decode_map1[256] = {
    /* 00 */ G(6, NONE, 0), G(7, NONE, 0), D(LAR, GE, NONE, 0), D(LSL, GE, NONE, 0), UD, X_, D(CLTS, NONE, NONE, 0), X_,
    /* 08 */ D(INVD, NONE, NONE, 0), D(WBINVD, NONE, NONE, 0), UD, D(UD2, NONE, NONE, 0), UD, XM,
             X_, XM8,
    /* 10 */ X16(XM),
    /* 20 */ D(MOV_CR_READ, CR, NONE, 0), D(MOV_DR_READ, CR, NONE, 0),
             D(MOV_CR_WRITE, CR, NONE, 0), D(MOV_DR_WRITE, CR, NONE, 0), X4(UD), X8T(XM),
    /* 30 */ D(WRMSR, NONE, NONE, 0), D(RDTSC, NONE, NONE, 0), D(RDMSR, NONE, NONE, 0),
             D(RDPMC, NONE, NONE, 0), X_, X_, UD, X_,
    /* 38 */ XM, UD, XM8, UD, X4(UD), /* 38 and 3A: the whole three-byte maps */
    /* 40 */ X16(XM),
    /* 50 */ X16(XM),
    /* 60 */ X16(XM),
    /* 70 */ X4(XM8), XM, XM, XM, X_, XM, XM, X2(UD), X4(XM),
    /* 80 */ X16(XBZ),
    /* 90 */ X16(D(SETCC, E, NONE, OPF_BYTE)),
    /* A0 */ XD, XD, D(CPUID, NONE, NONE, 0), D(BT, EG, NONE, 0), XM8, XM, XM, XM,
    /* A8 */ XD, XD, X_, D(BTS, EG, NONE, OPF_LOCK), XM8, XM, XM, XM,
    /* B0 */ D(CMPXCHG, EG, NONE, OPF_BYTE | OPF_LOCK), D(CMPXCHG, EG, NONE, OPF_LOCK), XMM,
             D(BTR, EG, NONE, OPF_LOCK), XMM, XMM, D(MOVZX, GE, NONE, 0), D(MOVZX, GE, NONE, 0),
    /* B8 */ XM, XM, G(8, U8, 0), D(BTC, EG, NONE, OPF_LOCK), XM, XM,
             D(MOVSX, GE, NONE, 0), D(MOVSX, GE, NONE, 0),
    /* C0 */ D(XADD, EG, NONE, OPF_BYTE | OPF_LOCK), D(XADD, EG, NONE, OPF_LOCK), XM8,
             D(MOV, EG, NONE, OPF_MEM), XM8, XM8, XM8, G(9, NONE, 0),
    /* C8 */ X8T(X_),
    /* D0 */ X16(XM),
    /* E0 */ X16(XM),
    /* F0 */ X16(XM),
};

const struct opdesc decode_group[GROUP_COUNT][8] = {
    [GROUP_1] = {D(ADD, EI, NONE, OPF_LOCK), D(OR, EI, NONE, OPF_LOCK), D(ADC, EI, NONE, OPF_LOCK),
                 D(SBB, EI, NONE, OPF_LOCK), D(AND, EI, NONE, OPF_LOCK), D(SUB, EI, NONE, OPF_LOCK),
                 D(XOR, EI, NONE, OPF_LOCK), D(CMP, EI, NONE, 0)},
    [GROUP_1A] = {D(POP, E, NONE, 0), UD, UD, UD, UD, UD, UD, UD},
    [GROUP_3] = {D(TEST, EI, Z, 0), D(TEST, EI, Z, 0), D(NOT, E, NONE, OPF_LOCK),
                 D(NEG, E, NONE, OPF_LOCK), X4(XM)},
    [GROUP_4] = {D(INC, E, NONE, OPF_LOCK), D(DEC, E, NONE, OPF_LOCK), UD, UD, X4(UD)},
    [GROUP_5] = {D(INC, E, NONE, OPF_LOCK), D(DEC, E, NONE, OPF_LOCK), D(CALL, SE, NONE, OPF_D64),
                 XMM, D(JMP, SE, NONE, OPF_D64), XMM, D(PUSH, SE, NONE, OPF_D64), UD},
    [GROUP_6] = {XM, XM, XM, XM, D(VERR, SE, NONE, 0), D(VERW, SE, NONE, 0), UD, UD},
    /* The register forms of group 7 other than SMSW and LMSW are in decode.c; F3 /5 is RSTORSSP. */
    [GROUP_7] = {XMM, XMM, XMM, XMM, D(SMSW, E, NONE, 0), XMM, D(LMSW, SE, NONE, 0),
                 D(INVLPG, E, NONE, OPF_MEM)},
    [GROUP_8] = {UD, UD, UD, UD, D(BT, EI, NONE, 0), D(BTS, EI, NONE, OPF_LOCK),
                 D(BTR, EI, NONE, OPF_LOCK), D(BTC, EI, NONE, OPF_LOCK)},
    [GROUP_9] = {UD, D(CMPXCHG8B, E, NONE, OPF_LOCK | OPF_MEM), UD, XMM, XMM, XMM, XM, XM},
    [GROUP_11] = {D(MOV, EI, NONE, 0), UD, UD, UD, UD, UD, UD, XM},
};
/* clang-format on */
