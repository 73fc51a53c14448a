/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot processor at the reset vector again: what the firmware of a PC does there. The byte that
 * the guest left in CMOS 0F says how it goes on, by way of the far pointer in the BIOS data area;
 * without one the machine starts anew. Source: IBM PC/AT Technical Reference, "Real-Time Clock",
 * "Shutdown Status Byte". Tested by tools/tests/test_restart.c. */
#include "arch-x86/defs/x86.h"
#include "hv/mmu/gmem.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define WARM_VECTOR 0x467 /* BIOS data area: offset and segment */
#define FLAGS_SETTABLE 0x7fd5u

/* A real-mode stack while it is unwound. */
struct stack {
    struct subvmm *s;
    uint16_t seg, sp;
    bool bad;
};

static uint16_t pop(struct stack *k)
{
    uint16_t word = 0;

    if (gmem_read_gpa(&k->s->mmu, gpa(((uint64_t)k->seg << 4) + k->sp), &word, sizeof(word)) !=
        HV_OK)
        k->bad = true;
    k->sp = (uint16_t)(k->sp + sizeof(word));
    return word;
}

static void load(struct vcpu_segs *segs, enum seg i, uint16_t sel)
{
    segs->seg[i].sel = sel;
    segs->seg[i].base = (uint64_t)sel << 4;
}

/* POPA: the word for SP is thrown away. */
static void pop_all(struct stack *k, uint64_t gpr[16])
{
    for (int r = RDI; r >= RAX; r--) {
        uint16_t word = pop(k);
        if (r != RSP)
            gpr[r] = word;
    }
}

/* The pointer is SS:SP. false: there is no memory. */
static bool unwind(struct subvmm *s, enum vpc_warm how, const uint16_t pointer[2])
{
    struct stack k = {s, pointer[1], pointer[0], false};
    struct vcpu_regs *regs = &s->vcpu.regs;
    struct vcpu_segs segs;

    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &segs);
    if (how == VPC_WARM_MOVE) { /* as INT 15h, AH=87h saved them */
        load(&segs, SEG_DS, pop(&k));
        load(&segs, SEG_ES, pop(&k));
        pop_all(&k, regs->gpr);
    }
    uint16_t ip = pop(&k), cs = pop(&k);
    if (how != VPC_WARM_RETF)
        regs->rflags = (pop(&k) & FLAGS_SETTABLE) | RFLAGS_FIXED1;
    load(&segs, SEG_SS, k.seg);
    regs->gpr[RSP] = k.sp;
    vcpu_ops->put(&s->vcpu, VCPU_SEGS, &segs);
    if (!k.bad)
        vcpu_start_real(s, cs, ip);
    return !k.bad;
}

void vcpu_restart(struct subvmm *s)
{
    enum vpc_warm how = vpc_warm_start(s->vm->pc);
    uint16_t pointer[2] = {0};

    if (how != VPC_WARM_NONE &&
        gmem_read_gpa(&s->mmu, gpa(WARM_VECTOR), pointer, sizeof(pointer)) == HV_OK) {
        if (how == VPC_WARM_JUMP) {
            vcpu_start_real(s, pointer[1], pointer[0]);
            return;
        }
        if (unwind(s, how, pointer))
            return;
    }
    subvmm_reset(s, "INIT of the boot processor");
}
