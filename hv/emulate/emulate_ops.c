/* SPDX-License-Identifier: BSD-2-Clause */
/* The emulator's instructions other than string ones: a table of handlers by operation.
 * Tested by tools/tests/test_emulate_native.c against the CPU it runs on. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

uint64_t emu_reg_read(const struct emu *e, unsigned reg, unsigned size, bool high8)
{
    if (high8)
        return (e->gpr[reg - 4] >> 8) & 0xff;
    return e->gpr[reg] & emu_size_mask(size);
}

/* 8- and 16-bit writes keep the rest of the register, 32-bit ones clear the upper half: APM volume
 * 3 1.2.7 "Instruction Prefixes in 64-Bit Mode" and volume 1 3.1.2 "64-Bit-Mode Registers". */
void emu_reg_write(struct emu *e, unsigned reg, unsigned size, bool high8, uint64_t value)
{
    if (high8) {
        e->gpr[reg - 4] = (e->gpr[reg - 4] & ~0xff00ull) | ((value & 0xff) << 8);
        return;
    }
    uint64_t mask = emu_size_mask(size);
    uint64_t keep = size < 4 ? e->gpr[reg] & ~mask : 0;
    e->gpr[reg] = keep | (value & mask);
}

static uint64_t emu_dst_reg(const struct emu *e)
{
    return emu_reg_read(e, e->in.dst_reg, e->in.opsize, e->in.dst_high8);
}

static void emu_set_dst_reg(struct emu *e, uint64_t value)
{
    emu_reg_write(e, e->in.dst_reg, e->in.opsize, e->in.dst_high8, value);
}

static enum hv_err emu_operand_va(struct emu *e, unsigned n, bool write, gva_t *va)
{
    return emu_linear(e, e->in.segment, emu_offset(e), n, write, va);
}

/* The source operand, zero-extended from its width. */
static enum hv_err emu_source(struct emu *e, uint64_t *out)
{
    const struct insn *in = &e->in;
    unsigned size = in->srcsize;
    gva_t va;

    switch (in->src) {
    case OPND_REG:
        *out = emu_reg_read(e, in->src_reg, size, in->src_high8);
        return HV_OK;
    case OPND_IMM:
        *out = in->imm & emu_size_mask(in->opsize);
        return HV_OK;
    case OPND_MEM:
        TRY(emu_operand_va(e, size, false, &va));
        return emu_read(e, va, size, out);
    case OPND_NONE:
        break;
    }
    *out = 0;
    return HV_OK;
}

static enum hv_err emu_store(struct emu *e, uint64_t value)
{
    gva_t va;

    if (e->in.dst == OPND_REG) {
        emu_set_dst_reg(e, value);
        return HV_OK;
    }
    TRY(emu_operand_va(e, e->in.opsize, true, &va));
    return emu_write(e, va, e->in.opsize, value);
}

static enum hv_err op_mov(struct emu *e)
{
    uint64_t v;

    TRY(emu_source(e, &v));
    return emu_store(e, v);
}

static enum hv_err op_movsx(struct emu *e)
{
    unsigned shift = 64 - 8 * e->in.srcsize;
    uint64_t v;

    TRY(emu_source(e, &v));
    emu_set_dst_reg(e, (uint64_t)((int64_t)(v << shift) >> shift));
    return HV_OK;
}

static uint64_t modify_alu(struct emu *e, uint64_t old, uint64_t operand)
{
    return alu_compute(e->in.op, e->in.opsize, old, operand, &e->rflags);
}

/* Two-operand and one-operand arithmetic. */
static enum hv_err op_alu(struct emu *e)
{
    uint64_t b, old;
    gva_t va;

    TRY(emu_source(e, &b));
    if (e->in.dst == OPND_REG) {
        emu_set_dst_reg(e, modify_alu(e, emu_dst_reg(e), b));
        return HV_OK;
    }
    TRY(emu_operand_va(e, e->in.opsize, true, &va));
    return emu_rmw(e, va, e->in.opsize, modify_alu, b, &old);
}

/* CMP and TEST write nothing. */
static enum hv_err op_compare(struct emu *e)
{
    uint64_t a, b;
    gva_t va;

    TRY(emu_source(e, &b));
    if (e->in.dst == OPND_MEM) {
        TRY(emu_operand_va(e, e->in.opsize, false, &va));
        TRY(emu_read(e, va, e->in.opsize, &a));
    } else {
        a = emu_dst_reg(e);
    }
    (void)modify_alu(e, a, b);
    return HV_OK;
}

/* XCHG and XADD: the old destination goes to the source register, which is written first. */
static enum hv_err op_exchange(struct emu *e)
{
    unsigned n = e->in.opsize;
    bool add = e->in.op == INSN_XADD;
    uint64_t b = emu_reg_read(e, e->in.src_reg, n, e->in.src_high8), old;
    gva_t va;

    if (e->in.dst == OPND_REG) {
        old = emu_dst_reg(e);
        uint64_t value = add ? modify_alu(e, old, b) : b;
        emu_reg_write(e, e->in.src_reg, n, e->in.src_high8, old);
        emu_set_dst_reg(e, value);
        return HV_OK;
    }
    TRY(emu_operand_va(e, n, true, &va));
    if (add)
        TRY(emu_rmw(e, va, n, modify_alu, b, &old));
    else
        TRY(emu_exchange(e, va, n, b, &old));
    emu_reg_write(e, e->in.src_reg, n, e->in.src_high8, old);
    return HV_OK;
}

static enum hv_err op_cmpxchg(struct emu *e)
{
    unsigned n = e->in.opsize;
    uint64_t expected = emu_reg_read(e, RAX, n, false), old;
    uint64_t value = emu_reg_read(e, e->in.src_reg, n, e->in.src_high8);
    bool stored;
    gva_t va;

    if (e->in.dst == OPND_REG) {
        old = emu_dst_reg(e);
        stored = old == expected;
        if (stored)
            emu_set_dst_reg(e, value);
    } else {
        TRY(emu_operand_va(e, n, true, &va));
        TRY(emu_cmpxchg(e, va, n, expected, value, &old, &stored));
    }
    (void)alu_compute(INSN_CMP, n, expected, old, &e->rflags);
    if (!stored)
        emu_reg_write(e, RAX, n, false, old);
    return HV_OK;
}

/* CMPXCHG8B; the 16-byte form has no atomic primitive here. */
static enum hv_err op_cmpxchg8b(struct emu *e)
{
    uint64_t expected = (e->gpr[RDX] << 32) | (e->gpr[RAX] & 0xffffffffull);
    uint64_t value = (e->gpr[RCX] << 32) | (e->gpr[RBX] & 0xffffffffull);
    uint64_t old;
    bool stored;
    gva_t va;

    TRY(emu_operand_va(e, 8, true, &va));
    TRY(emu_cmpxchg(e, va, 8, expected, value, &old, &stored));
    e->rflags = stored ? e->rflags | RFLAGS_ZF : e->rflags & ~RFLAGS_ZF;
    if (!stored) {
        emu_reg_write(e, RAX, 4, false, old);
        emu_reg_write(e, RDX, 4, false, old >> 32);
    }
    return HV_OK;
}

static uint64_t modify_bit(struct emu *e, uint64_t old, uint64_t operand)
{
    return alu_bit(e->in.op, old, (unsigned)operand, &e->rflags);
}

/* Bit operations. A register bit offset is signed and reaches beyond the operand: APM volume 3
 * "BT". */
static enum hv_err op_bit(struct emu *e)
{
    unsigned n = e->in.opsize, shift = 64 - 8 * n;
    uint64_t index = e->in.imm, offset, old;
    bool write = e->in.op != INSN_BT;
    gva_t va;

    if (e->in.src == OPND_REG)
        index = emu_reg_read(e, e->in.src_reg, n, false);
    unsigned bit = (unsigned)(index & (8 * n - 1));
    if (e->in.dst == OPND_REG) {
        uint64_t value = modify_bit(e, emu_dst_reg(e), bit);
        if (write)
            emu_set_dst_reg(e, value);
        return HV_OK;
    }
    offset = emu_offset(e);
    if (e->in.src == OPND_REG) {
        int64_t elements = (int64_t)(index << shift) >> shift;
        elements >>= 3 + __builtin_ctz(n); /* floor: bit -1 is the top bit of the element before */
        offset = (offset + (uint64_t)elements * n) & emu_size_mask(e->in.addrsize);
    }
    TRY(emu_linear(e, e->in.segment, offset, n, write, &va));
    if (write)
        return emu_rmw(e, va, n, modify_bit, bit, &old);
    TRY(emu_read(e, va, n, &old));
    (void)modify_bit(e, old, bit);
    return HV_OK;
}

static enum hv_err op_setcc(struct emu *e)
{
    return emu_store(e, alu_condition(e->in.cond, e->rflags));
}

/* The stack slot below or at rSP. */
static enum hv_err emu_stack_va(struct emu *e, uint64_t sp, bool write, gva_t *va)
{
    return emu_linear(e, SEG_SS, sp & emu_size_mask(emu_stack_size(e)), e->in.opsize, write, va);
}

static enum hv_err emu_push(struct emu *e, uint64_t value)
{
    uint64_t sp = e->gpr[RSP] - e->in.opsize;
    gva_t va;

    TRY(emu_stack_va(e, sp, true, &va));
    TRY(emu_write(e, va, e->in.opsize, value));
    emu_reg_write(e, RSP, emu_stack_size(e), false, sp);
    return HV_OK;
}

/* A device read has effects: see first that the push will not fault. */
static enum hv_err emu_push_probe(struct emu *e)
{
    gva_t va;
    bool ram;

    if (e->in.src != OPND_MEM)
        return HV_OK;
    TRY(emu_stack_va(e, e->gpr[RSP] - e->in.opsize, true, &va));
    return emu_probe_write(e, va, e->in.opsize, &ram);
}

static enum hv_err op_push(struct emu *e)
{
    uint64_t v;

    TRY(emu_push_probe(e));
    TRY(emu_source(e, &v));
    return emu_push(e, v);
}

/* POP computes its destination with rSP already moved: APM volume 3 "POP". */
static enum hv_err op_pop(struct emu *e)
{
    uint64_t sp = e->gpr[RSP], v;
    gva_t va;

    TRY(emu_stack_va(e, sp, false, &va));
    TRY(emu_read(e, va, e->in.opsize, &v));
    emu_reg_write(e, RSP, emu_stack_size(e), false, sp + e->in.opsize);
    return emu_store(e, v);
}

static enum hv_err branch_to(struct emu *e, uint64_t target)
{
    if (e->mode == 8 ? (uint64_t)((int64_t)(target << 16) >> 16) != target : target > e->code.limit)
        return emu_raise(e, VEC_GP, true);
    e->rip = target;
    e->branched = true;
    return HV_OK;
}

/* Near calls with the mode's own operand size; with a prefix vendors differ, and no compiler emits
 * it. */
static enum hv_err op_call(struct emu *e)
{
    uint64_t next = e->rip + e->in.length, target;

    if (e->in.opsize != e->mode)
        return HV_UNSUPPORTED;
    TRY(emu_push_probe(e));
    TRY(emu_source(e, &target));
    if (e->in.src == OPND_IMM)
        target = next + e->in.imm;
    target &= emu_size_mask(e->mode);
    TRY(branch_to(e, target));
    return emu_push(e, next & emu_size_mask(e->mode));
}

static enum hv_err op_jmp(struct emu *e)
{
    uint64_t target;

    if (e->in.opsize > e->mode)
        return HV_UNSUPPORTED;
    TRY(emu_source(e, &target));
    return branch_to(e, target);
}

static enum hv_err op_ret(struct emu *e)
{
    uint64_t sp = e->gpr[RSP], target;
    gva_t va;

    TRY(emu_stack_va(e, sp, false, &va));
    TRY(emu_read(e, va, e->in.opsize, &target));
    TRY(branch_to(e, target));
    emu_reg_write(e, RSP, emu_stack_size(e), false, sp + e->in.opsize + e->in.imm);
    return HV_OK;
}

static enum hv_err op_descriptor(struct emu *e)
{
    uint64_t sel;

    if (e->real)
        return emu_raise(e, VEC_UD, false);
    TRY(emu_source(e, &sel));
    return emu_descriptor(e, sel);
}

static enum hv_err (*const emu_op[])(struct emu *) = {
    [INSN_MOV] = op_mov,         [INSN_MOVZX] = op_mov,
    [INSN_MOVSX] = op_movsx,     [INSN_ADD] = op_alu,
    [INSN_OR] = op_alu,          [INSN_ADC] = op_alu,
    [INSN_SBB] = op_alu,         [INSN_AND] = op_alu,
    [INSN_SUB] = op_alu,         [INSN_XOR] = op_alu,
    [INSN_CMP] = op_compare,     [INSN_TEST] = op_compare,
    [INSN_INC] = op_alu,         [INSN_DEC] = op_alu,
    [INSN_NOT] = op_alu,         [INSN_NEG] = op_alu,
    [INSN_XCHG] = op_exchange,   [INSN_CMPXCHG] = op_cmpxchg,
    [INSN_XADD] = op_exchange,   [INSN_CMPXCHG8B] = op_cmpxchg8b,
    [INSN_BT] = op_bit,          [INSN_BTS] = op_bit,
    [INSN_BTR] = op_bit,         [INSN_BTC] = op_bit,
    [INSN_MOVS] = emu_string,    [INSN_STOS] = emu_string,
    [INSN_LODS] = emu_string,    [INSN_SCAS] = emu_string,
    [INSN_CMPS] = emu_string,    [INSN_PUSH] = op_push,
    [INSN_POP] = op_pop,         [INSN_CALL] = op_call,
    [INSN_SETCC] = op_setcc,     [INSN_JMP] = op_jmp,
    [INSN_RET] = op_ret,         [INSN_LAR] = op_descriptor,
    [INSN_LSL] = op_descriptor,  [INSN_VERR] = op_descriptor,
    [INSN_VERW] = op_descriptor,
};

enum hv_err emu_execute(struct emu *e)
{
    if (e->in.op < ARRAY_SIZE(emu_op) && emu_op[e->in.op] &&
        !(e->in.op == INSN_CMPXCHG8B && e->in.opsize != 8))
        return emu_op[e->in.op](e);
    return emu_native(e);
}
