/* SPDX-License-Identifier: BSD-2-Clause */
/* The store that kernels make to their tables, without the emulator's frame: MOV of a register or
 * an immediate, 8 bytes, in 64-bit code. Everything else is emulate.c's. Tested by
 * tools/tests/test_emulate_store.c. */
/* Rules.
 * 1. Only what fetch_known knows: the decoding of the bytes that are there now.
 * 2. The operand is the address that faulted, without a segment base or RIP, and lies in one
 *    granule: so the pager has just said where it goes and that it may, and no other check is left.
 * 3. With breakpoints enabled, or while an event was being delivered, it is not done here. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

static bool is_plain(const struct subvmm *s, const struct insn *in, gva_t va)
{
    return in->store8 && in->flat && !(va.v & 7) && insn_flat(in, s->vcpu.regs.gpr) == va.v;
}

bool emulate_store(struct subvmm *s, const struct vmexit *x, gpa_t at)
{
    const struct insn *in = x->redeliver ? NULL : fetch_known(s, x);
    struct vcpu_code code;

    if (!in || !is_plain(s, in, x->gva))
        return false;
    vcpu_ops->code(&s->vcpu, &code);
    if (code.breakpoints)
        return false;
    unsigned length = in->length; /* what is kept of it goes with a loss */
    uint64_t value = in->src == OPND_REG ? s->vcpu.regs.gpr[in->src_reg] : in->imm;
    if (!gmem_store_entry(&s->mmu, at, value))
        return false;
    vcpu_skip_long(s, length);
    return true;
}
