/* SPDX-License-Identifier: BSD-2-Clause */
/* RAM of a VM that begins anew is zeroed by all its CPUs: the one that makes it hands out granules,
 * the others take some while they wait in subvmm_off. Tested by tools/tests/test_vms.c and
 * test_vm_clear_tsan.c. */
#include "hv/mem/phys.h"
#include "hv/port/cpu.h"
#include "hv/vm/vm.h"

static void clear_granule(struct vm *vm, uint64_t g)
{
    if (vm->p2m.granule[g] != P2M_NONE)
        phys_clear(port_ptr(hpa((uint64_t)vm->p2m.granule[g] << REGION_SHIFT)), REGION_SIZE);
}

bool vm_clear_waits(const struct vm *vm)
{
    /* relaxed: a hint; vm_clear_help decides by its RMW, and vm_clear's doorbell makes one look */
    return atomic_load_explicit(&vm->clear_left, memory_order_relaxed) > 0;
}

bool vm_clear_help(struct vm *vm)
{
    int64_t left;

    if (!vm_clear_waits(vm))
        return false;
    /* acquire: pairs with the store in vm_clear; whoever gets one is waited for there */
    left = atomic_fetch_sub_explicit(&vm->clear_left, 1, memory_order_acquire);
    if (left <= 0)
        return false;
    clear_granule(vm, (uint64_t)left - 1);
    /* release: the zeros lie before what the maker does next; pairs with the load in vm_clear */
    atomic_fetch_sub_explicit(&vm->clear_open, 1, memory_order_release);
    return true;
}

void vm_clear(struct vm *vm)
{
    atomic_store_explicit(&vm->clear_open, vm->p2m.ngranules, memory_order_relaxed);
    /* release: pairs with the RMW in vm_clear_help */
    atomic_store_explicit(&vm->clear_left, (int64_t)vm->p2m.ngranules, memory_order_release);
    for (uint32_t c = 0; c < vm->ncpus; c++)
        if (vm_pcpu(vm, c) != port_cpu())
            port_doorbell(vm_pcpu(vm, c));
    while (vm_clear_help(vm))
        ;
    /* acquire: pairs with the subtractions in vm_clear_help */
    while (atomic_load_explicit(&vm->clear_open, memory_order_acquire))
        port_relax();
}
