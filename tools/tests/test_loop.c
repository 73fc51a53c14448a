/* SPDX-License-Identifier: BSD-2-Clause */
/* The order of hv/subvmm/loop.c around entry and halt: interrupts off, then the mode, then the
 * action word once more; what comes in between keeps the CPU awake and out of the guest (hv/README
 * "Waiting and waking"). The file is compiled into this test with a look at two of its calls. */
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"

static void before_irq_off(void);
static void before_mode(void);
#define port_irq_off() (before_irq_off(), port_irq_off())
#define mode_enter(self, mode) (before_mode(), mode_enter(self, mode))
#include "hv/subvmm/loop.c"
#undef port_irq_off
#undef mode_enter

#include "hv/coherency/trace.h"
#include "tools/tests/exits_rig.h"

static uint64_t post_late; /* action bits another CPU sets just before interrupts go off */
static unsigned mode_changes, mode_changes_open; /* all, and those with interrupts on */
static enum cpu_mode mode_in_guest;
static bool irqs_in_guest;

static void before_irq_off(void)
{
    if (post_late)
        action_post(&co, 1, 0, post_late);
    post_late = 0;
}

static void before_mode(void)
{
    mode_changes++;
    mode_changes_open += !atomic_load(&fake_cpu[0].irq_off);
}

static void run_and_look(struct vcpu *v, struct vmexit *x)
{
    mode_in_guest = (enum cpu_mode)atomic_load(&co.cpu[v->cpu].mode);
    irqs_in_guest = !atomic_load(&fake_cpu[v->cpu].irq_off);
    fv_run(v, x);
    atomic_store(&fake_cpu[v->cpu].irq_off, false); /* as after VMRUN and STGI */
}

static uint64_t halts(void)
{
    return atomic_load(&fake_cpu[0].halts);
}

static struct vcpu_ops ops;

static void new_machine(void)
{
    rig_new(2, true);
    rig_code("\xf4", 1);
    ops = fake_ops;
    ops.run = run_and_look;
    vcpu_ops = &ops;
    bsp()->vcpu.regs.rflags |= RFLAGS_IF;
    bsp()->vcpu.ctl.cr0 = CR0_PE; /* unpaged: no tables needed here */
    bsp()->vcpu.ctl.efer = 0;
    mmu_reset(&bsp()->mmu, &(struct mmu_regs){.cr0 = CR0_PE});
    mode_changes = mode_changes_open = 0;
    post_late = 0;
}

static void test_enter(void)
{
    new_machine();
    subvmm_round(bsp());
    tap_ok(vendor[0].runs == 1, "the guest runs");
    tap_ok(mode_in_guest == MODE_GUEST && !irqs_in_guest,
           "... in guest mode, with interrupts held off");
    tap_ok(mode_changes == 1 && mode_changes_open == 0, "interrupts go off before the mode is set");
    tap_eq(atomic_load(&co.cpu[0].mode), MODE_HOST, "and the mode is left again");
    post_late = ACTION_NMI;
    subvmm_round(bsp());
    tap_eq(vendor[0].runs, 1, "an action that comes last keeps the guest out");
    tap_ok(!atomic_load(&fake_cpu[0].irq_off), "... interrupts are on again");
    subvmm_round(bsp());
    tap_ok(vendor[0].runs == 2 && action_peek(&bsp()->coh) == 0, "the next round takes it first");
}

/* An interrupt accepted for an entry that did not happen, while the guest has IF=0. */
static void test_put_off(void)
{
    struct vio svr = {.addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};

    new_machine();
    bsp()->vcpu.regs.rflags &= ~RFLAGS_IF;
    vbus_mmio(vpc_bus(vm.pc), &svr);
    vlapic_set_irr(vm.pc, 0, 0, 0x51, false);
    (void)action_take(&bsp()->coh, ~0ull);
    post_late = ACTION_TIMER;
    subvmm_round(bsp());
    tap_ok(vendor[0].runs == 0 && vlapic_pending(vm.pc, 0) == 0x51,
           "an entry put off leaves the interrupt with the APIC");
    tap_eq(bsp()->vcpu.pending.type, EVENT_NONE, "... and nothing pending");
    subvmm_round(bsp());
    tap_ok(vendor[0].runs == 1 && vendor[0].injected.vector == 0x51, "the next one has it");
}

static void test_halt(void)
{
    new_machine();
    bsp()->vcpu.state = VCPU_HALTED;
    subvmm_round(bsp());
    tap_ok(halts() == 1 && vendor[0].runs == 0, "a halted VCPU's CPU halts");
    tap_ok(mode_changes == 1 && mode_changes_open == 0, "with interrupts off before the mode");
    post_late = ACTION_IRQ;
    subvmm_round(bsp());
    tap_eq(halts(), 1, "an action that comes last keeps it awake");
    tap_ok(!atomic_load(&fake_cpu[0].irq_off), "... interrupts are on again");
    for (unsigned s = 0; s < 3; s++) {
        static const enum vcpu_state states[] = {VCPU_PARKED, VCPU_WAIT_SIPI, VCPU_RUNNING};
        new_machine();
        bsp()->vcpu.state = states[s];
        bsp()->paused = states[s] == VCPU_RUNNING;
        post_late = ACTION_TIMER;
        subvmm_round(bsp());
        tap_eq(halts(), 0, "so do parked, waiting and paused ones");
    }
}

/* A request of CPU 1 to CPU 0, whatever the VCPU's state. */
static void test_serve(void)
{
    static const enum vcpu_state states[] = {VCPU_RUNNING, VCPU_HALTED, VCPU_WAIT_SIPI, VCPU_PARKED,
                                             VCPU_STOPPED};
    for (unsigned s = 0; s < ARRAY_SIZE(states); s++) {
        new_machine();
        struct mailbox *m = &co.cpu[0].mailbox[1];
        bsp()->vcpu.state = states[s];
        atomic_store(&m->request, REQUEST_DROP | 0x300u << 8);
        atomic_store(&m->seq, 7);
        action_post(&co, 1, 0, BIT(1));
        subvmm_round(bsp());
        tap_eq(atomic_load(&m->ack), 7, "a request is answered in every state");
    }
}

/* A CPU that has stopped looks at no request any more: who still runs must not wait for it. */
static void test_stopped(void)
{
    new_machine();
    bsp()->vcpu.state = VCPU_STOPPED;
    subvmm_round(bsp());
    tap_ok(vm_stopped_set(&vm) & 1u, "a CPU stops");
    if (action_online_set(&co) & 1u) {
        tap_ok(false, "... and nobody waits for its answers");
        return;
    }
    tap_ok(!action_request(&sub[1].coh, 1u, REQUEST_DROP, gfn(0x300)),
           "... and nobody waits for its answers");
}

/* Before a long HLT a writer of unsync tables leaves them. */
static void test_idle(void)
{
    const gfn_t table = gfn(0x400);
    cpuset_t ask;
    bool self_drop;
    new_machine();
    (void)trace_install(&sub[1].coh, table, &ask, &self_drop);
    mmu_write_fallback(&bsp()->mmu, gva(0), gfn_gpa(table));
    uint64_t w = trace_word(&bsp()->coh, table);
    tap_ok((w & TRACE_UNSYNC) && (w & TRACE_WRITER(0)), "CPU 0 writes a table unsync");
    bsp()->vcpu.state = VCPU_HALTED;
    subvmm_round(bsp());
    w = trace_word(&bsp()->coh, table);
    tap_ok(!(w & TRACE_UNSYNC) && !(w & TRACE_WRITER(0)), "... and not any more when it halts");
}

int main(void)
{
    test_enter();
    test_put_off();
    test_halt();
    test_serve();
    test_stopped();
    test_idle();
    return tap_done();
}
