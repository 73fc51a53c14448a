/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a VM: the finisher waits for the others and has it finished; a VM that stays off while
 * others run has its CPUs asleep here. Tested by tools/tests/test_exits.c and test_vms.c. */
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vm/vm.h"

void (*subvmm_end_hook)(struct vm *vm, uint32_t how);
void (*subvmm_start_hook)(struct vm *vm);

#define END_WAIT_S 2 /* a CPU that does not stop in this time does not keep the machine on */
/* Of several VMs one whose CPU does not stop stays off for good: a host that is slow is waited for,
 * while the others go on. */
#define END_WAIT_MANY_S 60
#define INPUT_POLL_HZ 10

void subvmm_finish(struct subvmm *s)
{
    struct vm *vm = s->vm;
    cpuset_t others = (cpuset_t)(BIT(vm->ncpus) - 1) & ~(1u << s->cpu);
    uint64_t wait_s = vm_count > 1 ? END_WAIT_MANY_S : END_WAIT_S;
    uint64_t until = port_tsc() + wait_s * port_tsc_hz();

    if (vm_count <= 1) /* the machine ends: one that never came up is not waited for */
        others &= atomic_load(&vm->up);
    s->vcpu.state = VCPU_STOPPED;
    s->finished = true;
    vm_mark_stopped(vm, s->cpu);
    while ((vm_stopped_set(vm) & others) != others && port_tsc() < until) {
        mmu_between(&s->mmu);
        port_relax();
    }
    action_offline(&s->coh); /* one that did not stop in time may still ask this CPU */
    subvmm_end_hook(vm, atomic_load(&vm->ended));
}

bool subvmm_over(const struct subvmm *s)
{
    if (s->vcpu.state != VCPU_STOPPED)
        return false;
    return s->finished || !vm_is_finisher(s->vm, s->cpu);
}

/* What a CPU still does for others: the console and the monitor. */
static void attend(struct subvmm *s)
{
    uint64_t a = action_take(&s->coh, ~0ull);

    if (a & ACTION_INPUT)
        s->input.ready = true;
    if ((a & ACTION_MONITOR) && subvmm_monitor_hook)
        subvmm_monitor_hook(s);
    if (!input_waits(s))
        return;
    input_pump(s);
    if (input_waits(s))
        port_timer_arm(port_tsc() + port_tsc_hz() / INPUT_POLL_HZ);
}

void subvmm_off(struct subvmm *s)
{
    struct vm *vm = s->vm;

    port_timer_arm(UINT64_MAX);
    /* acquire: pairs with vm_go_on */
    while (atomic_load_explicit(&vm->epoch, memory_order_acquire) == s->epoch) {
        attend(s);
        if (s->cpu == 0 && vm_state(vm) == VM_OFF && vm_start_asked(vm)) {
            subvmm_start_hook(vm);
            continue;
        }
        if (vm_clear_help(vm))
            continue;
        port_irq_off();
        if (atomic_load_explicit(&vm->epoch, memory_order_acquire) != s->epoch ||
            action_peek(&s->coh) || atomic_load(&vm->start) || vm_clear_waits(vm)) {
            port_irq_on();
            port_relax();
            continue;
        }
        port_halt();
    }
}
