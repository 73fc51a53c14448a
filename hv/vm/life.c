/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a VM: which of its CPUs have a guest to run, which have stopped, and the end: one CPU
 * finishes, the others stop first. Tested by tools/tests/test_exits.c. */
#include "hv/coherency/actions.h"
#include "hv/vm/vm.h"

/* CPUs that will not enter the guest again; set by each, read by the finisher. */
static _Atomic cpuset_t end_stopped;
/* CPUs whose VCPU runs or is halted: not before SIPI, not parked. */
static _Atomic cpuset_t end_active;
/* CPU number + 1 of the one that finishes; 0 none yet. Written once, before ACTION_STOP is posted.
 */
static _Atomic uint32_t end_finisher;

void vm_set_active(uint32_t cpu, bool active)
{
    if (active)
        atomic_fetch_or(&end_active, 1u << cpu);
    else
        atomic_fetch_and(&end_active, ~(1u << cpu));
}

bool vm_any_active(void)
{
    return atomic_load(&end_active) != 0;
}

cpuset_t vm_active_set(void)
{
    return atomic_load(&end_active);
}

cpuset_t vm_stopped_set(void)
{
    return atomic_load(&end_stopped);
}

void vm_mark_stopped(uint32_t cpu)
{
    atomic_fetch_or(&end_stopped, 1u << cpu);
}

bool vm_is_finisher(uint32_t cpu)
{
    return atomic_load_explicit(&end_finisher, memory_order_acquire) == cpu + 1;
}

HV_ANCHOR void vm_end(struct vm *vm, uint32_t cpu, uint32_t how)
{
    uint32_t none = 0;

    if (!atomic_compare_exchange_strong(&vm->ended, &none, how))
        return; /* another CPU was first: its ACTION_STOP is on the way */
    atomic_store_explicit(&end_finisher, cpu + 1, memory_order_release);
    for (uint32_t c = 0; c < vm->ncpus; c++)
        if (c != cpu)
            action_post(vm->co, cpu, c, ACTION_STOP);
}
