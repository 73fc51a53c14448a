/* SPDX-License-Identifier: BSD-2-Clause */
/* The instructions that ahead.c carries out in the guest's place, wholly or not at all: what a
 * driver and the calls around it are made of. Tested by tools/tests/test_ahead.c. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

/* --- memory and registers --- */

static void *reach(const struct ahead_step *t, uint64_t va, unsigned n, uint32_t access)
{
    return va & (n - 1) ? NULL : mmu_reach(&t->s->mmu, gva(va), access);
}

/* Guest memory is read once, in one piece. Partner of the loads and stores below: any guest store
 * and load; acquire and release are what x86 orders (APM volume 2, 7.2 "Multiprocessor Memory
 * Access Ordering"). */
static bool load(const struct ahead_step *t, uint64_t va, unsigned n, uint64_t *out)
{
    const void *p = reach(t, va, n, 0);

    if (!p)
        return false;
    if (n == 8)
        *out = __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
    else if (n == 4)
        *out = __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
    else if (n == 2)
        *out = __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
    else
        *out = __atomic_load_n((const uint8_t *)p, __ATOMIC_ACQUIRE);
    return true;
}

static bool store(const struct ahead_step *t, uint64_t va, unsigned n, uint64_t value)
{
    void *p = reach(t, va, n, PFEC_W);

    if (!p)
        return false;
    if (n == 8)
        __atomic_store_n((uint64_t *)p, value, __ATOMIC_RELEASE);
    else if (n == 4)
        __atomic_store_n((uint32_t *)p, (uint32_t)value, __ATOMIC_RELEASE);
    else if (n == 2)
        __atomic_store_n((uint16_t *)p, (uint16_t)value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint8_t *)p, (uint8_t)value, __ATOMIC_RELEASE);
    return true;
}

static uint64_t reg_read(const struct ahead_step *t, unsigned reg, unsigned size, bool high8)
{
    if (high8)
        return t->regs->gpr[reg - 4] >> 8 & 0xff;
    return t->regs->gpr[reg] & emu_size_mask(size);
}

static void reg_write(const struct ahead_step *t, unsigned reg, unsigned size, bool high8,
                      uint64_t value)
{
    uint64_t *to = &t->regs->gpr[high8 ? reg - 4 : reg];
    uint64_t mask = emu_size_mask(size);

    if (high8)
        *to = (*to & ~0xff00ull) | (value & 0xff) << 8;
    else
        *to = (size < 4 ? *to & ~mask : 0) | (value & mask);
}

static bool operand_va(const struct ahead_step *t, uint64_t *va)
{
    const struct insn *in = t->in;

    if (in->segment == SEG_FS || in->segment == SEG_GS || in->addrsize != 8)
        return false;
    *va = emu_offset_of(in, t->regs->gpr, t->regs->rip);
    return true;
}

static bool source(const struct ahead_step *t, uint64_t *out)
{
    const struct insn *in = t->in;
    uint64_t va;

    switch (in->src) {
    case OPND_REG:
        *out = reg_read(t, in->src_reg, in->srcsize, in->src_high8);
        return true;
    case OPND_IMM:
        *out = in->imm & emu_size_mask(in->opsize);
        return true;
    case OPND_MEM:
        return operand_va(t, &va) && load(t, va, in->srcsize, out);
    case OPND_NONE:
        break;
    }
    *out = 0;
    return true;
}

static bool result(const struct ahead_step *t, uint64_t value)
{
    const struct insn *in = t->in;
    uint64_t va;

    if (in->dst == OPND_REG) {
        reg_write(t, in->dst_reg, in->opsize, in->dst_high8, value);
        return true;
    }
    return in->dst == OPND_MEM && operand_va(t, &va) && store(t, va, in->opsize, value);
}

/* --- instructions --- */

static bool do_alu(const struct ahead_step *t)
{
    const struct insn *in = t->in;
    uint64_t a, b, va, flags = t->regs->rflags;

    if (!source(t, &b))
        return false;
    if (in->dst == OPND_REG)
        a = reg_read(t, in->dst_reg, in->opsize, in->dst_high8);
    else if (in->dst != OPND_MEM || !operand_va(t, &va) || !load(t, va, in->opsize, &a))
        return false;
    a = alu_compute(in->op, in->opsize, a, b, &flags);
    if (in->op != INSN_CMP && in->op != INSN_TEST && !result(t, a))
        return false;
    t->regs->rflags = flags;
    return true;
}

static bool do_movsx(const struct ahead_step *t)
{
    unsigned shift = 64 - 8 * t->in->srcsize;
    uint64_t v;

    return source(t, &v) && result(t, (uint64_t)((int64_t)(v << shift) >> shift));
}

static bool go_to(struct ahead_step *t, uint64_t target)
{
    if ((uint64_t)((int64_t)(target << 16) >> 16) != target)
        return false;
    t->next = target;
    return true;
}

static bool push(const struct ahead_step *t, uint64_t value)
{
    uint64_t sp = t->regs->gpr[RSP] - 8;

    if (!store(t, sp, 8, value))
        return false;
    t->regs->gpr[RSP] = sp;
    return true;
}

/* What uses the stack, and what goes elsewhere: with the operand size of 64-bit mode. */
static bool do_flow(struct ahead_step *t)
{
    const struct insn *in = t->in;
    uint64_t *sp = &t->regs->gpr[RSP], value, back = t->next;

    if (in->opsize != 8)
        return false;
    switch ((int)in->op) {
    case INSN_PUSH:
        return source(t, &value) && push(t, value);
    case INSN_POP:
        if (in->dst != OPND_REG || !load(t, *sp, 8, &value))
            return false;
        *sp += 8;
        return result(t, value);
    case INSN_RET:
        if (!load(t, *sp, 8, &value) || !go_to(t, value))
            return false;
        *sp += 8 + in->imm;
        return true;
    case INSN_CALL:
        if (!source(t, &value) || !go_to(t, in->src == OPND_IMM ? back + in->imm : value))
            return false;
        return push(t, back);
    default: /* JMP through a register or memory */
        return source(t, &value) && go_to(t, value);
    }
}

/* A branch that the decoder knows the length and the distance of. */
static bool do_branch(struct ahead_step *t, bool taken)
{
    return t->in->opsize == 8 && (!taken || go_to(t, t->next + t->in->imm));
}

static unsigned modrm_reg_of(const struct insn *in)
{
    return (in->modrm >> 3 & 7u) | (in->rex & 4 ? 8u : 0); /* REX.R */
}
static unsigned modrm_rm_of(const struct insn *in)
{
    return (in->modrm & 7u) | (in->rex & 1 ? 8u : 0); /* REX.B */
}
static bool modrm_is_reg(const struct insn *in)
{
    return in->modrm >> 6 == 3;
}

/* a shifted by n, 1 .. bits - 1; how: 4 left, 5 right, 7 right with sign. The flags: OF is that of
 * a shift by one, undefined for others, as is AF. APM volume 3 "SAL SHL", "SHR", "SAR". */
static uint64_t shifted(unsigned how, unsigned size, uint64_t a, unsigned n, uint64_t *flags)
{
    unsigned bits = 8 * size;
    int64_t wide = (int64_t)(a << (64 - bits)) >> (64 - bits);
    uint64_t r, carry, over;

    if (how == 4) {
        r = a << n & emu_size_mask(size);
        carry = a >> (bits - n) & 1;
        over = (r >> (bits - 1) & 1) ^ carry;
    } else {
        r = (how == 5 ? a >> n : (uint64_t)(wide >> n)) & emu_size_mask(size);
        carry = (how == 5 ? a >> (n - 1) : (uint64_t)(wide >> (n - 1))) & 1;
        over = how == 5 ? a >> (bits - 1) & 1 : 0;
    }
    (void)alu_compute(INSN_TEST, size, r, r, flags); /* ZF, SF, PF */
    *flags &= ~(RFLAGS_CF | RFLAGS_OF);
    *flags |= (carry ? RFLAGS_CF : 0) | (over ? RFLAGS_OF : 0);
    return r;
}

/* Of a register of 4 or 8 bytes. */
static bool do_shift(const struct ahead_step *t)
{
    const struct insn *in = t->in;
    unsigned how = in->modrm >> 3 & 7;
    uint64_t a, n = in->opcode == 0xc1 ? in->imm : in->opcode == 0xd1 ? 1 : t->regs->gpr[RCX];

    if (in->opsize < 4 || !modrm_is_reg(in) || (how != 4 && how != 5 && how != 7))
        return false;
    n &= 8u * in->opsize - 1;
    a = reg_read(t, modrm_rm_of(in), in->opsize, false);
    if (n)
        a = shifted(how, in->opsize, a, (unsigned)n, &t->regs->rflags);
    reg_write(t, modrm_rm_of(in), in->opsize, false, a); /* clears the upper half in any case */
    return true;
}

/* The source is read whatever the condition, and 4 bytes clear the upper half: APM volume 3
 * "CMOVcc". */
static bool do_cmov(const struct ahead_step *t)
{
    const struct insn *in = t->in;
    unsigned to = modrm_reg_of(in);
    uint64_t v, va;

    if (modrm_is_reg(in))
        v = reg_read(t, modrm_rm_of(in), in->opsize, false);
    else if (!operand_va(t, &va) || !load(t, va, in->opsize, &v))
        return false;
    if (!alu_condition(in->opcode & 15, t->regs->rflags))
        v = reg_read(t, to, in->opsize, false);
    reg_write(t, to, in->opsize, false, v);
    return true;
}

static bool do_lea(const struct ahead_step *t)
{
    if (t->in->addrsize != 8)
        return false;
    reg_write(t, modrm_reg_of(t->in), t->in->opsize, false,
              emu_offset_of(t->in, t->regs->gpr, t->regs->rip));
    return true;
}

/* What the decoder knows the length of. `rep` is on the hints alone. */
static bool do_other0(struct ahead_step *t)
{
    const struct insn *in = t->in;

    if ((in->opcode & 0xf0) == 0x70)
        return do_branch(t, alu_condition(in->opcode & 15, t->regs->rflags));
    switch (in->opcode) {
    case 0xe9:
    case 0xeb:
        return do_branch(t, true);
    case 0x8d:
        return do_lea(t);
    case 0x90: /* NOP */
        return true;
    case 0xc1:
    case 0xd1:
    case 0xd3:
        return do_shift(t);
    default:
        return false;
    }
}

static bool do_other1(struct ahead_step *t)
{
    const struct insn *in = t->in;

    if ((in->opcode & 0xf0) == 0x80)
        return do_branch(t, alu_condition(in->opcode & 15, t->regs->rflags));
    if ((in->opcode & 0xf0) == 0x40)
        return do_cmov(t);
    /* NOP of any length; LFENCE, which orders nothing that is out of order here */
    return in->opcode == 0x1f || (in->opcode == 0xae && in->modrm == 0xe8 && !in->simd);
}

static bool do_known(struct ahead_step *t)
{
    uint64_t v;

    switch ((int)t->in->op) {
    case INSN_MOV:
    case INSN_MOVZX:
        return source(t, &v) && result(t, v);
    case INSN_MOVSX:
        return do_movsx(t);
    case INSN_SETCC:
        return result(t, alu_condition(t->in->cond, t->regs->rflags));
    case INSN_PUSH:
    case INSN_POP:
    case INSN_CALL:
    case INSN_JMP:
    case INSN_RET:
        return do_flow(t);
    default:
        return false;
    }
}

bool ahead_carry_out(struct ahead_step *t)
{
    const struct insn *in = t->in;

    if (in->lock || in->vex || in->rep || in->repne)
        return false;
    switch ((int)in->op) {
    case INSN_ADD:
    case INSN_OR:
    case INSN_AND:
    case INSN_SUB:
    case INSN_XOR:
    case INSN_CMP:
    case INSN_TEST:
    case INSN_INC:
    case INSN_DEC:
    case INSN_NOT:
    case INSN_NEG:
        return do_alu(t);
    case INSN_OTHER:
        return in->map == 0 ? do_other0(t) : in->map == 1 && do_other1(t);
    default:
        return do_known(t);
    }
}
