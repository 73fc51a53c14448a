/* SPDX-License-Identifier: BSD-2-Clause */
/* Page faults: what the pager decides is carried out here. Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/base/stats.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"

static void pf_emulate(struct subvmm *s, const struct vmexit *x, gpa_t at)
{
    switch (emulate_insn(s, x, at)) {
    case EMULATE_DONE:
        stat_inc(s->pcpu, STAT_emulated);
        mmu_drain(&s->mmu); /* the store's own post, for which the round would be a whole one */
        break;
    case EMULATE_FAULT:
        break; /* pending is set */
    case EMULATE_RETRY:
    case EMULATE_DECLINED: /* the page stops being traced or goes unsync; the store runs natively */
        mmu_write_fallback(&s->mmu, x->gva, at);
        break;
    }
}

void vcpu_refuse(struct subvmm *s, const struct vmexit *x)
{
    if (log_ratelimit(&s->debug_lines))
        log_warn("emulate",
                 "an instruction on a device is not emulated and gives #UD: RIP 0x%llx, access to "
                 "0x%llx",
                 (unsigned long long)s->vcpu.regs.rip, (unsigned long long)x->gva.v);
    vcpu_inject_ud(s);
}

static void pf_mmio(struct subvmm *s, const struct vmexit *x, gpa_t at)
{
    stat_inc(s->pcpu, STAT_mmio);
    if (emulate_insn(s, x, at) != EMULATE_DECLINED)
        return;
    if (x->redeliver) /* only a kernel can make that */
        subvmm_park(s, "an event delivered through device memory");
    else
        vcpu_refuse(s, x);
}

void exit_pf(struct subvmm *s, const struct vmexit *x)
{
    struct mmu_fault_out out = {0};
    /* A supervisor's access at CPL 3 is implicit: SMAP applies whatever AC says (SDM vol. 3 4.6).
     */
    bool ac = (s->vcpu.regs.rflags & RFLAGS_AC) && vcpu_cpl(s) != 3;

    switch (mmu_fault(&s->mmu, x->gva, x->pfec, ac, &out)) {
    case MMU_RESUME:
        s->calm = true;
        break;
    case MMU_FORWARD:
        s->calm = true;
        vcpu_inject_pf(s, &out.fault);
        break;
    case MMU_EMULATE:
        s->calm = true; /* taken back where an operand is a device */
        if (emulate_store(s, x, out.gpa))
            stat_inc(s->pcpu, STAT_emulated);
        else
            pf_emulate(s, x, out.gpa);
        break;
    case MMU_MMIO:
        pf_mmio(s, x, out.gpa);
        break;
    }
}
