/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's part for several VMs: which one it is about, the list of them, and orders to one.
 * Tested by tools/tests/test_mon_vms.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mon/internal.h"
#include "hv/vm/console.h"

static struct vm *chosen; /* NULL: the one in front */

struct vm *mon_vm(const struct subvmm *s)
{
    if (vm_count <= 1)
        return s->vm;
    return chosen ? chosen : vm_console_front();
}

static const char *state_text(const struct vm *vm)
{
    static const char *const name[] = {[VM_ON] = "on", [VM_OFF] = "off", [VM_MAKING] = "starting"};

    return atomic_load_explicit(&vm->ended, memory_order_relaxed) && vm_state(vm) == VM_ON
               ? "ending"
               : name[vm_state(vm)];
}

static void list(const struct subvmm *s)
{
    for (uint32_t i = 0; i < vm_count; i++) {
        const struct vm *vm = &vm_table[i];
        char cpus[100];
        size_t n = 0;
        for (uint32_t c = 0; c < vm->ncpus && n + 5 < sizeof(cpus); c++)
            n += (size_t)hv_snprintf(cpus + n, sizeof(cpus) - n, "%s%u", c ? "," : "",
                                     vm_pcpu(vm, c));
        mon_say("%c %u %-15s %-8s %5lu MiB, CPUs %s, started %u time%s",
                vm == mon_vm(s) ? '*' : ' ', i, vm->name, state_text(vm), vm->ram_bytes >> 20, cpus,
                atomic_load_explicit(&vm->epoch, memory_order_relaxed),
                atomic_load_explicit(&vm->epoch, memory_order_relaxed) == 1 ? "" : "s");
    }
}

/* By name or number; NULL: said that there is none. */
static struct vm *named(const char *text)
{
    for (uint32_t i = 0; i < vm_count; i++)
        if (strcmp(vm_table[i].name, text) == 0 || (text[0] == (char)('0' + i) && text[1] == 0))
            return &vm_table[i];
    mon_say("no VM is called '%s'", text);
    return NULL;
}

void mon_vm_choose(struct subvmm *s, const char *text)
{
    struct vm *vm = text[0] ? named(text) : NULL;

    if (vm_count <= 1) {
        mon_say("there is one VM");
        return;
    }
    if (vm) {
        chosen = vm;
        vm_console_to_front(vm);
    }
    if (vm || !text[0])
        list(s);
}

static void order_stop(struct subvmm *s, struct vm *vm, uint32_t how)
{
    if (vm_state(vm) == VM_OFF)
        mon_say("it is off");
    else
        vm_end_from(&s->coh, vm, how);
}

static void order_start(struct vm *vm)
{
    if (vm_state(vm) == VM_OFF)
        vm_start(vm);
    else
        mon_say("it is %s", state_text(vm));
}

static void order_pause(struct subvmm *s, struct vm *vm, uint64_t how)
{
    if (vm_state(vm) == VM_ON)
        (void)mon_ask(s, vm, (cpuset_t)(BIT(vm->ncpus) - 1), ASK_PAUSE, how);
    else
        mon_say("it is %s", state_text(vm));
}

void mon_vm_order(struct subvmm *s, const char *text)
{
    static const char *const word[] = {"start", "stop", "reset", "reload", "pause", "resume"};
    const char *at = strchr(text, ' ');
    size_t n = at ? (size_t)(at - text) : strlen(text);
    unsigned i = 0;

    while (i < ARRAY_SIZE(word) && (strlen(word[i]) != n || strncmp(word[i], text, n) != 0))
        i++;
    while (at && *at == ' ')
        at++;
    struct vm *vm = at && *at ? named(at) : mon_vm(s);
    if (i == ARRAY_SIZE(word))
        mon_say("start, stop, reset, reload, pause or resume, and a VM");
    if (i == ARRAY_SIZE(word) || !vm)
        return;
    if (i == 0)
        order_start(vm);
    else if (i < 4)
        order_stop(s, vm, i == 1 ? VM_ORDER_STOP : VM_ORDER_RESET);
    else
        order_pause(s, vm, i == 4 ? PAUSE_ON : PAUSE_OFF);
}
