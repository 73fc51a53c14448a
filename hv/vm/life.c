/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a VM: which of its CPUs have a guest to run, which have stopped, and the end: one CPU
 * finishes, the others stop first. Tested by tools/tests/test_exits.c. */
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
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

/* VMs that are not off. */
static _Atomic uint32_t vms_on;

enum vm_state vm_state(const struct vm *vm)
{
    return (enum vm_state)atomic_load_explicit(&vm->state, memory_order_seq_cst);
}

uint32_t vm_go_off(struct vm *vm)
{
    atomic_store_explicit(&vm->state, VM_OFF, memory_order_seq_cst);
    (void)vm_order_take(vm);     /* it is for a VM that runs; pairs with vm_end_from */
    uint32_t less = vm->counted; /* not so one that was off, and could not start again */
    vm->counted = false;
    return atomic_fetch_sub_explicit(&vms_on, less, memory_order_seq_cst) - less;
}

void vm_go_on(struct vm *vm)
{
    if (!vm->counted)
        atomic_fetch_add_explicit(&vms_on, 1, memory_order_seq_cst);
    vm->counted = true;
    atomic_store_explicit(&vm->ended, 0, memory_order_relaxed);
    atomic_store_explicit(&vm->hv_os_id, 0, memory_order_relaxed);
    atomic_store_explicit(&vm->hv_hypercall, 0, memory_order_relaxed);
    atomic_store_explicit(&vm->hv_reference, 0, memory_order_relaxed);
    atomic_store_explicit(&vm->state, VM_ON, memory_order_seq_cst);
    /* release: all that was made anew; pairs with the load in subvmm_off */
    atomic_fetch_add_explicit(&vm->epoch, 1, memory_order_release);
    for (uint32_t c = 0; c < vm->ncpus; c++)
        if (vm_pcpu(vm, c) != port_cpu())
            port_doorbell(vm_pcpu(vm, c));
}

void vm_making(struct vm *vm)
{
    /* Store, then load: pairs with vm_use_begin, which does a RMW and loads the other way round. */
    atomic_store_explicit(&vm->state, VM_MAKING, memory_order_seq_cst);
    while (atomic_load_explicit(&vm->users, memory_order_seq_cst))
        port_relax();
}

bool vm_use_begin(struct vm *vm)
{
    atomic_fetch_add_explicit(&vm->users, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&vm->state, memory_order_seq_cst) == VM_ON)
        return true;
    vm_use_end(vm);
    return false;
}

void vm_use_end(struct vm *vm)
{
    atomic_fetch_sub_explicit(&vm->users, 1, memory_order_release);
}

void vm_start(struct vm *vm)
{
    atomic_store_explicit(&vm->start, true, memory_order_seq_cst);
    if (vm_pcpu(vm, 0) != port_cpu())
        port_doorbell(vm_pcpu(vm, 0)); /* it sleeps in subvmm_off, where no protocol reaches it */
}

bool vm_start_asked(struct vm *vm)
{
    return atomic_load_explicit(&vm->start, memory_order_seq_cst) &&
           atomic_exchange_explicit(&vm->start, false, memory_order_seq_cst);
}

static bool end_by(struct vm *vm, uint32_t finisher, uint32_t how)
{
    uint32_t none = 0;

    if (!atomic_compare_exchange_strong(&vm->ended, &none, how))
        return false; /* another CPU was first: its ACTION_STOP is on the way */
    atomic_store_explicit(&vm->finisher, finisher + 1, memory_order_release);
    return true;
}

HV_ANCHOR void vm_end(struct vm *vm, uint32_t cpu, uint32_t how)
{
    if (!end_by(vm, cpu, how))
        return;
    for (uint32_t c = 0; c < vm->ncpus; c++)
        if (c != cpu)
            action_post(vm->co, cpu, c, ACTION_STOP);
}

uint32_t vm_order_take(struct vm *vm)
{
    return atomic_exchange_explicit(&vm->order, 0, memory_order_seq_cst);
}

/* What has ended already is not ended twice: an order of that time is kept for whoever decides what
 * follows. */
void vm_end_from(struct coh_cpu *self, struct vm *vm, uint32_t how)
{
    while (!end_by(vm, 0, how)) {
        /* Store, then loads: pairs with vm_order_late, which comes behind the stores of vm_go_on,
         * and with vm_go_off. */
        atomic_store_explicit(&vm->order, how, memory_order_seq_cst);
        if (vm_state(vm) == VM_OFF)
            (void)vm_order_take(vm);
        if (vm_state(vm) != VM_ON || atomic_load_explicit(&vm->ended, memory_order_seq_cst) ||
            !vm_order_take(vm))
            return; /* taken, or seen by whoever is at it */
    }
    for (uint32_t c = 0; c < vm->ncpus; c++)
        action_manage(self, vm_pcpu(vm, c), ACTION_STOP);
}

void vm_order_late(struct vm *vm)
{
    uint32_t how = vm_order_take(vm);

    if (how && end_by(vm, 0, how))
        for (uint32_t c = 0; c < vm->ncpus; c++)
            action_post(vm->co, ACTION_OUTSIDE, c, ACTION_STOP);
}
