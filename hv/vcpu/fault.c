/* SPDX-License-Identifier: BSD-2-Clause */
/* An exception between the decision and its being pending: fetch and emulator keep it until nothing
 * else can happen. Tested by tools/tests/test_emulate.c. */
#include "arch-x86/defs/x86.h"
#include "hv/vcpu/subvmm.h"

struct vcpu_fault vcpu_fault(const struct vcpu *v, uint8_t vector, bool has_error)
{
    return (struct vcpu_fault){.vector = vector, .has_error = has_error && (v->ctl.cr0 & CR0_PE)};
}

void vcpu_inject_fault(struct subvmm *s, const struct vcpu_fault *f)
{
    if (f->vector == VEC_PF)
        vcpu_inject_pf(s, &f->pf);
    else if (f->vector == VEC_MF)
        vcpu_x87_error(s);
    else
        vcpu_inject_exception(s, f->vector, f->has_error, f->error);
}
