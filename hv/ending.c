/* SPDX-License-Identifier: BSD-2-Clause */
/* What follows the end of a VM: the machine's end, or that it stays off, or that it starts again.
 * Tested by tools/tests/test_vms.c and the vms group of `make check`. */
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/port/machine.h"
#include "hv/vms.h"

static void line(const char *text)
{
    log_raw(text, strlen(text));
}

/* "patchbay: guest powered off", and which where there are several. */
static void said(const struct vm *vm, const char *what)
{
    char text[96];

    if (vm_count > 1)
        hv_snprintf(text, sizeof(text), "patchbay: VM %s: %s\n", vm->name, what);
    else
        hv_snprintf(text, sizeof(text), "patchbay: %s\n", what);
    line(text);
}

/* The VM's end is the machine's. */
static _Noreturn void machine_ends(const struct vm *vm, uint32_t how)
{
    if (how == VM_POWEROFF)
        vm_machine_off();
    if (vm->opt->noreboot)
        port_stop();
    if (how == VM_RESET)
        port_reset();
    vm_machine_off();
}

static bool again(const struct vm *vm, uint32_t how)
{
    if (how == VM_ORDER_STOP)
        return false;
    return how == VM_ORDER_RESET || vm->onend == ONEND_RESTART ||
           (vm->onend == ONEND_AUTO && how == VM_RESET);
}

/* One that is off for good is out of the count: the last one ends the machine. */
static void off(struct vm *vm)
{
    if (vm_go_off(vm) == 0) {
        line("patchbay: no VM runs any more\n");
        if (vm->opt->noreboot && vm_count > 1)
            port_stop();
        vm_machine_off();
    }
    said(vm, "off; the others go on");
}

/* Also at the monitor's order, for a VM that is off: a CPU that has not stopped would go on with
 * the last life's tables in the next one's memory. */
void vm_start_again(struct vm *vm)
{
    if (vm_stopped_set(vm) != (cpuset_t)(BIT(vm->ncpus) - 1)) {
        said(vm, "a CPU does not stop: it cannot start again");
        if (vm_state(vm) != VM_OFF)
            off(vm);
        return;
    }
    if (vm_make_again(vm)) {
        said(vm, "starts again");
        vm_go_on(vm);
        vm_order_late(vm);
        return;
    }
    said(vm, "cannot start again");
    if (vm_state(vm) != VM_OFF)
        off(vm);
}

void vm_ended(struct vm *vm, uint32_t how)
{
    static const char *const what[] = {
        [VM_POWEROFF] = "guest powered off",       [VM_RESET] = "guest reset",
        [VM_PARKED] = "nothing runs any more",     [VM_ORDER_STOP] = "stopped by the monitor",
        [VM_ORDER_RESET] = "reset by the monitor",
    };

    vm_last_words(vm);
    said(vm, what[how]);
    uint32_t order = vm_order_take(vm);
    if (order) {
        how = order;
        said(vm, what[how]);
    }
    if (vm->onend == ONEND_MACHINE ||
        (vm_count == 1 && vm->onend == ONEND_AUTO && how < VM_ORDER_STOP))
        machine_ends(vm, how);
    if (again(vm, how))
        vm_start_again(vm);
    else
        off(vm);
}
