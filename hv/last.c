/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a VM as its own CPUs cause it, what is checked and said of it then, and the status
 * that the machine goes off with. What follows is hv/ending.c's, which makes VMs anew, and so calls
 * hv/make.c, which calls this. Tested by tools/tests/test_vms.c and the vms group of `make check`.
 */
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/mon/mon.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/vms.h"

#define EXIT_NONE UINT32_MAX

/* test=1: what the guests wrote to the debug-exit port; the first that another one does not confirm
 * is the machine's. */
static _Atomic uint32_t exit_value = EXIT_NONE;

void vm_end_here(struct vm *vm, uint32_t how)
{
    uint32_t vcpu;

    ASSERT(vm_of(port_cpu(), &vcpu) == vm);
    vm_end(vm, vcpu, how);
}

void vm_last_words(struct vm *vm)
{
    vm_devices_stop(vm);
    vpc_flush(vm->pc);
    if (vm->pass)
        pass_stop(vm->pass);
    if (vm->opt->trace)
        mon_trace_block(vm);
    uint64_t damage = vm_poison_damage();
    if (damage)
        PANIC("host memory outside of the guest changed at 0x%llx", (unsigned long long)damage);
    mon_stats_line(vm);
}

_Noreturn void vm_machine_off(void)
{
    uint32_t value = atomic_load(&exit_value);

    if (value != EXIT_NONE)
        port_debug_exit(value);
    port_poweroff();
}

void vm_debug_exit(struct vm *vm, uint32_t value)
{
    uint32_t none = EXIT_NONE;

    if (vm_count == 1) {
        /* The guest's own status goes to the emulator, after everything that is checked at the end
         * of a VM. */
        vm_last_words(vm);
        port_debug_exit(value);
        return;
    }
    log_info("vm", "VM %s: debug exit 0x%x", vm->name, value);
    /* The first one counts, but a failure (odd, as guests write it) more than a success. */
    if (!atomic_compare_exchange_strong(&exit_value, &none, value) && (value & 1))
        atomic_store(&exit_value, value);
    vm_end_here(vm, VM_POWEROFF);
}
