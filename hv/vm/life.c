/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a VM: which of its CPUs have a guest to run, which have stopped, and the end: one CPU
 * finishes, the others stop first. Tested by tools/tests/test_exits.c. */
#include "hv/coherency/actions.h"
#include "hv/vm/vm.h"

struct vm vm_table[VM_MAX];
uint32_t vm_count;

struct vm *vm_of(uint32_t pcpu, uint32_t *vcpu)
{
    const struct coherency *co = coherency_of(pcpu, vcpu);

    for (uint32_t i = 0; co && i < vm_count; i++)
        if (vm_table[i].co == co)
            return &vm_table[i];
    return NULL;
}

void vm_set_active(struct vm *vm, uint32_t cpu, bool active)
{
    if (active)
        atomic_fetch_or(&vm->active, 1u << cpu);
    else
        atomic_fetch_and(&vm->active, ~(1u << cpu));
}

bool vm_any_active(const struct vm *vm)
{
    return atomic_load(&vm->active) != 0;
}

cpuset_t vm_active_set(const struct vm *vm)
{
    return atomic_load(&vm->active);
}

cpuset_t vm_stopped_set(const struct vm *vm)
{
    return atomic_load(&vm->stopped);
}

void vm_mark_stopped(struct vm *vm, uint32_t cpu)
{
    atomic_fetch_or(&vm->stopped, 1u << cpu);
}

bool vm_is_finisher(const struct vm *vm, uint32_t cpu)
{
    return atomic_load_explicit(&vm->finisher, memory_order_acquire) == cpu + 1;
}

HV_ANCHOR void vm_end(struct vm *vm, uint32_t cpu, uint32_t how)
{
    uint32_t none = 0;

    if (!atomic_compare_exchange_strong(&vm->ended, &none, how))
        return; /* another CPU was first: its ACTION_STOP is on the way */
    atomic_store_explicit(&vm->finisher, cpu + 1, memory_order_release);
    for (uint32_t c = 0; c < vm->ncpus; c++)
        if (c != cpu)
            action_post(vm->co, cpu, c, ACTION_STOP);
}
