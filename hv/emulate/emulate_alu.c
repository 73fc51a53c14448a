/* SPDX-License-Identifier: BSD-2-Clause */
/* Arithmetic of the emulator: results and flags, APM volume 3 chapter 3 "General-Purpose
 * Instruction Reference". Pure. Tested by tools/tests/test_emulate_native.c against the CPU it runs
 * on. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

#define ALU_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static uint64_t alu_sign(unsigned size)
{
    return 1ull << (8 * size - 1);
}

/* Flags that depend on the result alone. */
static uint64_t alu_result_flags(unsigned size, uint64_t r)
{
    uint64_t f = 0;
    unsigned p = (unsigned)(r ^ (r >> 4)) & 0xfu;

    if (!((0x6996u >> p) & 1u)) /* bit p: parity of p */
        f |= RFLAGS_PF;
    if (!(r & emu_size_mask(size)))
        f |= RFLAGS_ZF;
    if (r & alu_sign(size))
        f |= RFLAGS_SF;
    return f;
}

static uint64_t alu_add(unsigned size, uint64_t a, uint64_t b, uint64_t carry, uint64_t *f)
{
    uint64_t r = (a + b + carry) & emu_size_mask(size);
    uint64_t carries = (a & b) | ((a | b) & ~r);

    *f = alu_result_flags(size, r);
    if (carries & alu_sign(size))
        *f |= RFLAGS_CF;
    if ((a ^ r) & (b ^ r) & alu_sign(size))
        *f |= RFLAGS_OF;
    if ((a ^ b ^ r) & 0x10)
        *f |= RFLAGS_AF;
    return r;
}

static uint64_t alu_sub(unsigned size, uint64_t a, uint64_t b, uint64_t borrow, uint64_t *f)
{
    uint64_t r = (a - b - borrow) & emu_size_mask(size);
    uint64_t borrows = (~a & b) | ((~a | b) & r);

    *f = alu_result_flags(size, r);
    if (borrows & alu_sign(size))
        *f |= RFLAGS_CF;
    if ((a ^ b) & (a ^ r) & alu_sign(size))
        *f |= RFLAGS_OF;
    if ((a ^ b ^ r) & 0x10)
        *f |= RFLAGS_AF;
    return r;
}

static uint64_t alu_logic(unsigned size, uint64_t r, uint64_t *f)
{
    *f = alu_result_flags(size, r); /* CF and OF are cleared, AF is undefined */
    return r & emu_size_mask(size);
}

uint64_t alu_compute(enum insn_op op, unsigned size, uint64_t a, uint64_t b, uint64_t *flags)
{
    uint64_t mask = emu_size_mask(size), cf = *flags & RFLAGS_CF, f = 0, r = 0;

    a &= mask;
    b &= mask;
    switch ((int)op) {
    case INSN_ADD:
    case INSN_XADD:
        r = alu_add(size, a, b, 0, &f);
        break;
    case INSN_ADC:
        r = alu_add(size, a, b, cf, &f);
        break;
    case INSN_SUB:
        r = alu_sub(size, a, b, 0, &f);
        break;
    case INSN_SBB:
        r = alu_sub(size, a, b, cf, &f);
        break;
    case INSN_CMP:
        (void)alu_sub(size, a, b, 0, &f);
        r = a;
        break;
    case INSN_AND:
        r = alu_logic(size, a & b, &f);
        break;
    case INSN_OR:
        r = alu_logic(size, a | b, &f);
        break;
    case INSN_XOR:
        r = alu_logic(size, a ^ b, &f);
        break;
    case INSN_TEST:
        (void)alu_logic(size, a & b, &f);
        r = a;
        break;
    case INSN_INC:
        r = alu_add(size, a, 1, 0, &f);
        f = (f & ~RFLAGS_CF) | cf;
        break;
    case INSN_DEC:
        r = alu_sub(size, a, 1, 0, &f);
        f = (f & ~RFLAGS_CF) | cf;
        break;
    case INSN_NEG:
        r = alu_sub(size, 0, a, 0, &f);
        break;
    default: /* NOT */
        return ~a & mask;
    }
    *flags = (*flags & ~ALU_FLAGS) | f;
    return r;
}

uint64_t alu_bit(enum insn_op op, uint64_t a, unsigned bit, uint64_t *flags)
{
    uint64_t m = 1ull << bit;

    *flags &= ~RFLAGS_CF; /* the other flags are undefined, or ZF unchanged */
    if (a & m)
        *flags |= RFLAGS_CF;
    switch ((int)op) {
    case INSN_BTS:
        return a | m;
    case INSN_BTR:
        return a & ~m;
    case INSN_BTC:
        return a ^ m;
    default:
        return a;
    }
}

bool alu_condition(unsigned cond, uint64_t f)
{
    bool sf_ne_of = !(f & RFLAGS_SF) != !(f & RFLAGS_OF);
    bool r = false;

    switch (cond >> 1) {
    case 0:
        r = f & RFLAGS_OF;
        break;
    case 1:
        r = f & RFLAGS_CF;
        break;
    case 2:
        r = f & RFLAGS_ZF;
        break;
    case 3:
        r = f & (RFLAGS_CF | RFLAGS_ZF);
        break;
    case 4:
        r = f & RFLAGS_SF;
        break;
    case 5:
        r = f & RFLAGS_PF;
        break;
    case 6:
        r = sf_ne_of;
        break;
    default:
        r = sf_ne_of || (f & RFLAGS_ZF);
        break;
    }
    return r != (cond & 1);
}
