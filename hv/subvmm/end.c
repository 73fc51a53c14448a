/* SPDX-License-Identifier: BSD-2-Clause */
/* The last thing a CPU does for its VM: it waits for the others and ends the machine.
 * Tested by tools/tests/test_exits.c. */
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vm/vm.h"

void (*subvmm_end_hook)(struct vm *vm, uint32_t how);

#define END_WAIT_S 2 /* a CPU that does not stop in this time does not keep the machine on */

_Noreturn void subvmm_finish(struct subvmm *s)
{
    struct vm *vm = s->vm;
    cpuset_t others = action_online_set(vm->co) & ~(1u << s->cpu);
    uint64_t until = port_tsc() + END_WAIT_S * port_tsc_hz();

    s->vcpu.state = VCPU_STOPPED;
    while ((vm_stopped_set() & others) != others && port_tsc() < until) {
        mmu_between(&s->mmu);
        port_relax();
    }
    subvmm_end_hook(vm, atomic_load(&vm->ended));
    port_stop();
}
