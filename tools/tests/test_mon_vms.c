/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor with several VMs: the list, choosing one, and orders. */
#include "tools/tests/exits_rig.h"
#include "hv/mon/internal.h"
#include "hv/vm/console.h"

static void two(void)
{
    rig_new(1, true);
    memset(vm_table, 0, sizeof(vm_table));
    vm_console_start();
    vm_table[0] = vm;
    strcpy(vm_table[0].name, "work");
    vm_table[1] = vm;
    vm_table[1].id = 1;
    strcpy(vm_table[1].name, "b");
    bsp()->vm = &vm_table[0];
    vm_count = 2;
    fake_console_clear();
}

static bool said(const char *text)
{
    bool yes = strstr(fake_console(), text) != NULL;
    fake_console_clear();
    return yes;
}

int main(void)
{
    rig_new(1, true);
    mon_vm_choose(bsp(), "b");
    tap_ok(said("there is one VM") || vm_count == 0, "one VM: nothing to choose");
    two();
    tap_ok(mon_vm(bsp()) == &vm_table[0], "at first it is about the one in front");
    mon_vm_choose(bsp(), "");
    tap_ok(said("* 0 work"), "the list");
    mon_vm_choose(bsp(), "b");
    tap_ok(mon_vm(bsp()) == &vm_table[1] && vm_console_front() == &vm_table[1], "by name");
    tap_ok(said("VM b is in front"), "it comes to front");
    mon_vm_choose(bsp(), "0");
    tap_ok(mon_vm(bsp()) == &vm_table[0], "by number");
    mon_vm_choose(bsp(), "c");
    tap_ok(said("no VM is called 'c'"), "one that is not there");
    mon_vm_order(bsp(), "jump b");
    tap_ok(said("start, stop, reset"), "an order that there is not");
    mon_vm_order(bsp(), "start b");
    tap_ok(said("it is on"), "one that is on does not start");
    mon_vm_order(bsp(), "stop b");
    tap_eq(atomic_load(&vm_table[1].ended), VM_ORDER_STOP, "stop");
    tap_eq(atomic_load(&vm_table[0].ended), 0, "the other one goes on");
    tap_ok(atomic_load(&co.cpu[0].action) & ACTION_STOP, "its CPUs are told");
    mon_vm_order(bsp(), "reset");
    tap_eq(atomic_load(&vm_table[0].ended), VM_ORDER_RESET, "without a name: the chosen one");
    atomic_store(&vm_table[1].state, VM_OFF);
    mon_vm_order(bsp(), "stop b");
    tap_ok(said("it is off"), "one that is off does not stop");
    mon_vm_order(bsp(), "start b");
    tap_ok(vm_start_asked(&vm_table[1]), "start");
    atomic_store(&vm_table[0].ended, 0);
    mon_vm_order(bsp(), "pause work");
    tap_ok(bsp()->paused && said("paused"), "pause");
    mon_vm_order(bsp(), "pause work");
    tap_ok(bsp()->paused, "twice is once");
    mon_vm_order(bsp(), "resume work");
    tap_ok(!bsp()->paused, "resume");
    mon_show_matrix(&vm_table[1]);
    tap_ok(said("patch channels"), "the matrix of a chosen VM");
    return tap_done();
}
