/* SPDX-License-Identifier: BSD-2-Clause */
/* From one port access to the next without the guest: a driver that polls a register, or a search
 * of a bus, executes the same few instructions between two exits again and again. They are carried
 * out here in place of an entry, and the access that they lead to comes as an exit that was none.
 * Tested by tools/tests/test_ahead.c.
 *
 * Rules.
 * 1. For everybody else the guest runs: the caller has set MODE_GUEST as for any entry, and stands
 *    where mmu_enter would say the same again, with nothing to flush. Nothing waits to be injected,
 *    or an interrupt alone, and IF is 0: no instruction known here sets it.
 * 2. Memory is reached as the processor would reach it, through this CPU's shadow tables alone, and
 *    only where it had nothing to set there, nothing to ask and no fault to raise (mmu_reach).
 *    Nothing of mmu_* that may wait, serve or change a spte is called.
 * 3. An instruction is carried out wholly or not at all. What is not known here, might fault, be
 *    intercepted, or take more than one access of memory that is not aligned, is the processor's:
 *    the guest is entered in front of it.
 * 4. 64-bit code of the supervisor only, with no trap, breakpoint or shadow in force, and no port
 *    that does not exit.
 * 5. At most AHEAD_MAX instructions, and no more than one port access; then the whole loop looks
 *    around. Where no access was reached it is tried more and more seldom. */
#include "arch-x86/defs/x86.h"
#include "hv/base/stats.h"
#include "hv/emulate/emulate_internal.h"
#include "hv/vm/vm.h"

#define AHEAD_MAX 64u
#define AHEAD_FAILS 10u /* let pass at most 2^10 times */
#define ATTR_LONG BIT(9)

static bool allowed(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    bool closed =
        !(v->regs.rflags & RFLAGS_IF) &&
        (v->pending.type == EVENT_NONE || (v->pending.type == EVENT_INTR && v->pending.lapic));
    struct vcpu_code c;

    if (!s->vm->opt->iopair || !s->vm->opt->shortcuts || v->int_shadow ||
        !(closed || (s->quiet && v->pending.type == EVENT_NONE)) || v->iret_rip != UINT64_MAX ||
        s->mmu.flipped[0] || v->io_map.v || !(v->ctl.efer & EFER_LMA) ||
        (v->regs.rflags & (RFLAGS_TF | RFLAGS_RF)))
        return false;
    vcpu_ops->code(v, &c);
    return (c.attr & ATTR_LONG) && !c.cpl && !c.breakpoints;
}

/* The place right behind a port access where the guest stands, and whether it is worth it: not when
 * it is seen for the first time. */
static struct ahead_place *worth(struct subvmm *s)
{
    uint64_t rip = s->vcpu.regs.rip;
    struct ahead_place *p = &s->ahead.place[(rip ^ rip >> 6) % AHEAD_PLACES];

    if (p->rip != rip) {
        *p = (struct ahead_place){.rip = rip};
        return NULL;
    }
    if (!p->skip)
        return p;
    p->skip--;
    return NULL;
}

static void in_vain(struct ahead_place *p)
{
    if (p->fails < AHEAD_FAILS)
        p->fails++;
    p->skip = (uint16_t)(1u << p->fails);
}

/* The instruction at RIP, which the processor might fetch and execute here. */
static const struct insn *at_rip(struct subvmm *s, uint64_t *page, struct insn *buf)
{
    static const struct vmexit none;
    uint64_t rip = s->vcpu.regs.rip;
    const struct insn *in;

    if (rip >> PAGE_SHIFT != *page && !mmu_reach(&s->mmu, gva(rip), PFEC_I))
        return NULL;
    *page = rip >> PAGE_SHIFT;
    in = fetch_known(s, &none);
    return in ? in : fetch_peek(s, buf) ? buf : NULL;
}

static void describe(const struct subvmm *s, const struct insn *in, struct vmexit *x)
{
    bool input = in->op == INSN_IN;
    bool by_imm = (input ? in->src : in->dst) == OPND_IMM;

    *x = (struct vmexit){
        .kind = EXIT_IO,
        .gpr = VMEXIT_GPR_NONE,
        .next_rip = s->vcpu.regs.rip + in->length,
        .io_port = (uint16_t)(by_imm ? in->imm & 0xff : s->vcpu.regs.gpr[RDX]),
        .io_size = in->opsize,
        .io_in = input,
    };
}

bool ahead_run(struct subvmm *s, struct vmexit *x)
{
    struct ahead_place *p = allowed(s) ? worth(s) : NULL;
    uint64_t page = UINT64_MAX;
    struct insn buf;

    for (unsigned i = 0; p && i < AHEAD_MAX; i++) {
        struct ahead_step t = {.s = s, .regs = &s->vcpu.regs, .in = at_rip(s, &page, &buf)};
        if (!t.in)
            break;
        if (t.in->op == INSN_IN || t.in->op == INSN_OUT) {
            describe(s, t.in, x);
            p->fails = 0;
            stat_inc(s->pcpu, STAT_io_ahead);
            return true;
        }
        t.next = t.regs->rip + t.in->length;
        if (!ahead_carry_out(&t))
            break;
        t.regs->rip = t.next;
    }
    if (p)
        in_vain(p);
    return false;
}
