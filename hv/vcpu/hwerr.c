/* SPDX-License-Identifier: BSD-2-Clause */
/* Errors of the machine and of its x87 unit, wherever the guest's instruction met them: in the
 * guest or where it is performed in the guest's stead. Tested by tools/tests/test_mce.c and
 * test_ferr.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/assert.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

/* A fault of the machine while the guest ran. Unlike the guest's own exceptions it is the host's:
 * its banks were read and emptied, and the guest, which is shown none, gets only what it can act
 * on. */
void vcpu_machine_check(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    switch (port_machine_check()) {
    case PORT_MC_CORRECTED:
        break;
    case PORT_MC_RECOVERABLE:
        if (!(v->ctl.cr4 & CR4_MCE) || (v->mcg_status & MCG_STATUS_MCIP)) {
            subvmm_triple_fault(s); /* APM volume 2, 9.3.2 "Machine Check Global Status" */
            break;
        }
        v->mcg_status = MCG_STATUS_RIPV | MCG_STATUS_MCIP;
        vcpu_inject_exception(s, VEC_MC, false, 0);
        break;
    case PORT_MC_FATAL:
        PANIC("machine check while the guest ran: the banks above say why");
    }
}

/* An instruction that waits for x87 errors met one. With CR0.NE=0 the processor stops before it
 * until an interrupt comes, which IRQ 13 is meant to be. */
void vcpu_x87_error(struct subvmm *s)
{
    if (s->vcpu.ctl.cr0 & CR0_NE)
        vcpu_inject_exception(s, VEC_MF, false, 0);
    else if (vpc_ferr(s->vm->pc, s->cpu))
        port_x87_clear();
    else
        s->vcpu.state = VCPU_HALTED;
}
