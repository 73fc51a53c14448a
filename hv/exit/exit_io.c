/* SPDX-License-Identifier: BSD-2-Clause */
/* Port I/O exits: one access to the device bus, or the emulator for strings; and with a write that
 * selects a register, the access to it that follows. Tested by tools/tests/test_exits.c and
 * test_iopair.c. */
#include "arch-x86/defs/pc.h"
#include "hv/base/options.h"
#include "hv/base/stats.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/fetch.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

#define DR7_ENABLED 0xffull /* any breakpoint */

static void io_string(struct subvmm *s, const struct vmexit *x)
{
    if (emulate_string_io(s, x) == EMULATE_DECLINED)
        vcpu_refuse(s, x);
}

static void io_result(uint64_t *rax, unsigned size, uint64_t value)
{
    if (size == 4)
        *rax = (uint32_t)value; /* 32-bit results clear the upper half */
    else if (size == 2)
        *rax = (*rax & ~0xffffull) | (value & 0xffff);
    else
        *rax = (*rax & ~0xffull) | (value & 0xff);
}

static void access(struct subvmm *s, uint16_t port, uint8_t size, bool in)
{
    uint64_t *rax = &s->vcpu.regs.gpr[RAX];
    struct vio io = {.cpu = s->cpu, .addr = port, .size = size, .write = !in};

    stat_inc(s->pcpu, STAT_pio);
    if (io.write)
        io.value = *rax & (BIT(size * 8u) - 1);
    (void)vbus_pio(vpc_bus(s->vm->pc), &io); /* unclaimed reads give all ones */
    if (in)
        io_result(rax, size, io.value);
    emulate_watch_port(s, port, size);
}

/* May what follows be done in the same exit? It could be another exit or no exit at all: not where
 * a trap could come in between, nor where ports have to be asked for. */
static bool pair_allowed(struct subvmm *s, uint64_t from_rip)
{
    struct vcpu_debug d;

    if (!s->vm->opt->iopair || s->vcpu.pending.type != EVENT_NONE ||
        (from_rip ^ s->vcpu.regs.rip) >> PAGE_SHIFT || vcpu_cpl(s))
        return false;
    vcpu_ops->get(&s->vcpu, VCPU_DEBUG, &d);
    return !(d.dr7 & DR7_ENABLED);
}

static bool loads_register(const struct insn *in)
{
    return in->op == INSN_MOV && in->dst == OPND_REG && in->src == OPND_IMM && in->opsize == 4;
}

/* The data register of that index register. Another port may be one of a device that the VM owns,
 * which does not exit and is on no bus of ours. */
static bool is_data(uint16_t index, uint16_t port)
{
    return index == CMOS_INDEX ? port == CMOS_INDEX + 1 : port >> 2 == PCI_CONFIG_DATA >> 2;
}

/* A write to an index register is worth nothing without the access of what it selects: mostly the
 * next instruction, or the one behind a MOV of the port's number. */
static void pair(struct subvmm *s, uint16_t index, uint64_t from_rip)
{
    static const struct vmexit decoded; /* next_rip unknown: the length counts */
    struct vcpu *v = &s->vcpu;
    struct insn in;

    if (!pair_allowed(s, from_rip) || !fetch_peek(s, &in))
        return;
    if (loads_register(&in)) {
        v->regs.gpr[in.dst_reg & 15] = (uint32_t)in.imm;
        vcpu_skip(s, &decoded, in.length);
        if (!pair_allowed(s, from_rip) || !fetch_peek(s, &in))
            return;
    }
    if (in.op != INSN_IN && in.op != INSN_OUT)
        return;
    bool input = in.op == INSN_IN;
    bool by_imm = (input ? in.src : in.dst) == OPND_IMM;
    uint16_t port = (uint16_t)(by_imm ? in.imm & 0xff : v->regs.gpr[RDX]);
    if (!is_data(index, port))
        return;
    vcpu_skip(s, &decoded, in.length);
    access(s, port, in.opsize, input);
    stat_inc(s->pcpu, STAT_io_pairs);
}

static bool selects(const struct vmexit *x)
{
    return !x->io_in && ((x->io_port == PCI_CONFIG_ADDRESS && x->io_size == 4) ||
                         (x->io_port == CMOS_INDEX && x->io_size == 1));
}

void exit_io(struct subvmm *s, const struct vmexit *x)
{
    uint64_t rip = s->vcpu.regs.rip;

    if (x->io_string) {
        stat_inc(s->pcpu, STAT_pio);
        io_string(s, x);
        return;
    }
    if (vcpu_skip_decoded(s, x) != HV_OK) {
        stat_inc(s->pcpu, STAT_pio);
        return;
    }
    access(s, x->io_port, x->io_size, x->io_in);
    if (selects(x))
        pair(s, x->io_port, rip);
    s->ahead.due = true;
}
