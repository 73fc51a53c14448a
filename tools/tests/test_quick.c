/* SPDX-License-Identifier: BSD-2-Clause */
/* The quick round of hv/subvmm/loop.c: it is taken after an exit that touched nothing, and never
 * when something waits: an action, a patch, an event, a timer, another root, a flush, another
 * state. The file is compiled into this test with a look at two of its calls. */
#include "hv/coherency/actions.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vdev/pc/vpc_state.h"

static unsigned prepares, timers;
#define events_prepare(s) (prepares++, events_prepare(s))
#define vpc_timers(pc, cpu, now) (timers++, vpc_timers(pc, cpu, now))
#include "hv/subvmm/loop.c"
#undef events_prepare
#undef vpc_timers

#include "tools/tests/exits_rig.h"

#define TABLES 0x100000ull /* of rig_new(..., true) */

static struct vcpu_ops ops;
static unsigned roots, flushes;
static hpa_t root_now;
static bool ran_in_vain; /* a guest that was entered with something left to do */

static void count_root(struct vcpu *v, hpa_t root, uint32_t asid, bool one, bool all)
{
    (void)v, (void)asid;
    roots++;
    flushes += one || all;
    root_now = root;
}

static void run_and_look(struct vcpu *v, struct vmexit *x)
{
    ran_in_vain |= atomic_load(&co.cpu[v->cpu].pending) || sub[v->cpu].vcpu.state != VCPU_RUNNING;
    fv_run(v, x);
    atomic_store(&fake_cpu[v->cpu].irq_off, false); /* as after VMRUN and STGI */
}

static uint64_t *entry(unsigned table, unsigned i)
{
    return (uint64_t *)port_ptr(hpa(TABLES + table * PAGE_SIZE)) + i;
}

/* Two CPUs; CPU 0 in 64-bit code at RIG_CODE, the first 2 MiB mapped one to one; every exit a
 * CPUID. */
static void new_machine(void)
{
    rig_new(2, true);
    rig_code("\x0f\xa2\x0f\xa2\x0f\xa2\x0f\xa2\x0f\xa2\x0f\xa2\x0f\xa2\x0f\xa2", 16);
    *entry(0, 0) = (TABLES + 1 * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    *entry(1, 0) = (TABLES + 2 * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    *entry(2, 0) = (TABLES + 3 * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    for (unsigned i = 0; i < 512; i++)
        *entry(3, i) = (uint64_t)i << PAGE_SHIFT | PTE_P | PTE_W | PTE_A | PTE_D;
    ops = fake_ops;
    ops.run = run_and_look;
    ops.set_root = count_root;
    vcpu_ops = &ops;
    vendor[0].next.kind = EXIT_CPUID;
    vendor[0].next.next_rip = RIG_CODE;
    bsp()->vcpu.regs.rflags |= RFLAGS_IF;
    subvmm_round(bsp()); /* a whole one */
    subvmm_round(bsp()); /* and one that sets the root for the second time at most */
    ran_in_vain = false;
    prepares = timers = roots = flushes = 0;
}

/* Was the round that follows a quick one? The guest runs in it either way. */
static bool quick_round(void)
{
    unsigned before = prepares, runs = vendor[0].runs;

    subvmm_round(bsp());
    if (vendor[0].runs != runs + 1)
        tap_ok(false, "the guest runs in every round here");
    return prepares == before;
}

static void test_taken(void)
{
    new_machine();
    bool all = true;
    for (unsigned i = 0; i < 10; i++)
        all &= quick_round();
    tap_ok(all && timers == 0, "CPUID after CPUID: quick rounds");
    tap_eq(roots, 0, "... with the root as it is");
    vendor[0].next.kind = EXIT_INTR;
    tap_ok(quick_round() && !quick_round() && timers == 1,
           "behind a physical interrupt comes a whole one");
    static const enum vmexit_kind touching[] = {EXIT_RDMSR, EXIT_WRMSR, EXIT_IO, EXIT_IRQ_WINDOW,
                                                EXIT_IRET};
    for (unsigned i = 0; i < ARRAY_SIZE(touching); i++) {
        new_machine();
        vendor[0].next.kind = touching[i];
        vendor[0].next.io_size = 1;
        vendor[0].next.io_in = true;
        bsp()->vcpu.regs.gpr[RCX] = 0x10; /* MSR_TSC */
        subvmm_round(bsp());
        bsp()->vcpu.pending.type = EVENT_NONE;
        tap_ok(!quick_round(), "... and behind what may have touched a device, kind %u",
               (unsigned)touching[i]);
    }
}

static void svr_on(void)
{
    struct vio svr = {.addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};
    vbus_mmio(vpc_bus(vm.pc), &svr);
}

static void test_actions(void)
{
    new_machine();
    svr_on();
    vlapic_set_irr(vm.pc, 1, 0, 0x51, false);
    tap_ok(!quick_round() && vendor[0].injected.vector == 0x51,
           "an interrupt from another CPU is injected");
    new_machine();
    action_post(&co, 1, 0, ACTION_PAUSE);
    unsigned runs = vendor[0].runs;
    subvmm_round(bsp());
    subvmm_round(bsp());
    tap_eq(vendor[0].runs, runs, "a paused guest does not run");
    new_machine();
    struct mailbox *m = &co.cpu[0].mailbox[1];
    atomic_store(&m->request, REQUEST_DROP | 0x300u << 8);
    atomic_store(&m->seq, 7);
    action_post(&co, 1, 0, BIT(1));
    subvmm_round(bsp());
    tap_eq(atomic_load(&m->ack), 7, "a request is answered");
    new_machine();
    bsp()->mmu.work += 10;
    tap_ok(quick_round() && bsp()->mmu.served_at == bsp()->mmu.work,
           "a quick round is a look at requests");
}

static void test_patches(void)
{
    new_machine();
    atomic_store(&co.cpu[0].pending, BIT(1));
    (void)quick_round();
    tap_ok(!ran_in_vain && !atomic_load(&co.cpu[0].pending),
           "patches are drained before the guest runs");
    new_machine();
    bsp()->mmu.flipped[0] = 1;
    (void)quick_round();
    tap_eq(bsp()->mmu.flipped[0], 0, "a spte made for one entry is taken back");
    new_machine();
    bsp()->mmu.owed_all = true; /* as one that a handler answered while it waited */
    tap_ok(!quick_round() && !bsp()->mmu.owed_all,
           "a flush that was promised comes before the entry");
    new_machine();
    bsp()->mmu.owed[bsp()->mmu.nowed++] = 0x400;
    tap_ok(!quick_round() && !bsp()->mmu.nowed, "... of a page as well");
}

/* A store to a table of its own is posted to this CPU too, and is no reason for a whole round. */
static void test_own_store(void)
{
    struct vmexit *x = &vendor[0].next;

    new_machine();
    *entry(2, 5) = 0x800000 | PTE_P | PTE_W | PTE_A | PTE_PS;
    *x = (struct vmexit){
        .kind = EXIT_PF, .gpr = VMEXIT_GPR_NONE, .have_gva = true, .gva = {RIG_CODE}};
    subvmm_round(bsp());         /* the tables are shadowed */
    rig_code("\x48\x89\x03", 3); /* mov [rbx], rax */
    bsp()->vcpu.regs.rip = RIG_CODE;
    bsp()->vcpu.regs.gpr[RBX] = x->gva.v = TABLES + 2 * PAGE_SIZE + 5 * 8;
    bsp()->vcpu.regs.gpr[RAX] = 0xa00000 | PTE_P | PTE_W | PTE_A | PTE_PS;
    x->pfec = PFEC_P | PFEC_W;
    subvmm_round(bsp());
    tap_ok(*entry(2, 5) == bsp()->vcpu.regs.gpr[RAX] && bsp()->vcpu.regs.rip == RIG_CODE + 3,
           "a store to a directory is emulated");
    tap_ok(hv_stats[0].n[STAT_posts] == 1 && hv_stats[0].n[STAT_patches_applied] == 1 &&
               !atomic_load(&co.cpu[0].pending),
           "... posted to itself, and that is drained");
    *x = (struct vmexit){.kind = EXIT_CPUID, .gpr = VMEXIT_GPR_NONE, .next_rip = RIG_CODE};
    tap_ok(quick_round(), "... before a quick round");
}

/* What waits and cannot be taken yet is looked at in every round. */
static void test_events(void)
{
    new_machine();
    svr_on();
    bsp()->vcpu.regs.rflags &= ~RFLAGS_IF;
    fv_no_wait = true;
    vlapic_set_irr(vm.pc, 1, 0, 0x51, false);
    subvmm_round(bsp());
    tap_ok(vendor[0].window && !vendor[0].injected.type, "with IF=0 a window is opened");
    bsp()->vcpu.regs.rflags |= RFLAGS_IF;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "... and behind a CPUID with IF=1 it is injected");
    tap_ok(!vendor[0].window, "... and the window is closed");
    fv_no_wait = false;

    new_machine();
    svr_on();
    vlapic_set_cr8(vm.pc, 0, 15);
    vlapic_set_irr(vm.pc, 1, 0, 0x51, false);
    tap_ok(!quick_round() && !vendor[0].injected.type && quick_round(),
           "CR8 holds an interrupt back");
    vendor[0].next.kind = EXIT_CR_WRITE;
    vendor[0].next.cr = 8;
    vendor[0].next.gpr = RDX;
    bsp()->vcpu.regs.gpr[RDX] = 0;
    subvmm_round(bsp());
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "... until it is written");

    new_machine();
    uint64_t arms = atomic_load(&fake_cpu[0].timer_arms);
    bsp()->vcpu.nmi_pending = true;
    bsp()->vcpu.int_shadow = true;
    vendor[0].next.window_shadow = true;
    bsp()->calm = false;
    subvmm_round(bsp());
    tap_ok(atomic_load(&fake_cpu[0].timer_arms) > arms,
           "an NMI in STI's shadow makes the guest exit soon");
    bsp()->vcpu.int_shadow = false;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NMI, "... and comes behind it");

    new_machine();
    vcpu_inject_gp0(bsp());
    tap_ok(quick_round() && vendor[0].injected.vector == VEC_GP,
           "what a handler raised goes along");
    vendor[0].injected.type = EVENT_NONE;
    tap_ok(quick_round() && !vendor[0].injected.type, "... once");
}

/* An alarm that has passed without its interrupt is no reason to arm no other. */
static void test_overdue(void)
{
    new_machine();
    vlapic_timer_start(vm.pc, 0, 1000000000);
    bsp()->timer_armed = port_tsc() - 1;
    uint64_t arms = atomic_load(&fake_cpu[0].timer_arms);
    bsp()->calm = false;
    subvmm_round(bsp());
    tap_ok(atomic_load(&fake_cpu[0].timer_arms) == arms + 1 && bsp()->timer_armed > port_tsc(),
           "an alarm that passed unheard does not stand for the next one");
    bsp()->calm = false;
    subvmm_round(bsp());
    tap_eq(atomic_load(&fake_cpu[0].timer_arms), arms + 1, "... which stands as any other");
}

/* What is looked at behind an exit only where there may be something. */
static void test_unsettled(void)
{
    new_machine();
    vendor[0].next.kind = EXIT_INTR;
    vendor[0].next.window_shadow = true;
    subvmm_round(bsp());
    tap_ok(bsp()->vcpu.int_shadow, "a shadow in force at an exit is known");
    vendor[0].next.window_shadow = false;
    subvmm_round(bsp());
    tap_ok(bsp()->vcpu.int_shadow, "... and lasts until RIP has moved");
    vendor[0].run_rip = RIG_CODE + 2;
    subvmm_round(bsp());
    tap_ok(!bsp()->vcpu.int_shadow && !bsp()->vcpu.unsettled, "... not longer");
    vendor[0].run_rip = UINT64_MAX;
}

/* XSETBV may have been executed without an exit. */
static void test_xcr0(void)
{
    struct vcpu *v = &bsp()->vcpu;

    new_machine();
    v->cr4_allowed |= CR4_OSXSAVE;
    v->ctl.cr4 |= CR4_OSXSAVE;
    v->xcr0_allowed = 7;
    fake_cpu[0].xcr0 = 3;
    tap_ok(quick_round() && v->xcr0 == 3, "a quick round looks at XCR0");
}

static void test_states(void)
{
    new_machine();
    /* The third fault in a row: the VM is reset in the middle of a handler. */
    vendor[0].next = (struct vmexit){
        .kind = EXIT_PF, .gpr = VMEXIT_GPR_NONE, .have_gva = true, .gva = {0x40000000}};
    vendor[0].next.redeliver = true;
    subvmm_round(bsp());
    bsp()->injected = (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_DF};
    exit_dispatch(bsp(), &vendor[0].next);
    unsigned runs = vendor[0].runs;
    tap_eq(bsp()->vcpu.state, VCPU_STOPPED, "a triple fault ends it");
    tap_ok(!(bsp()->calm && enter_again(bsp())) && vendor[0].runs == runs,
           "... and the guest does not run again");
}

static void test_roots(void)
{
    new_machine();
    bsp()->mmu.downgrades++;
    tap_ok(quick_round() && roots == 1 && flushes == 1, "what was lost in the tables is flushed");
    tap_ok(quick_round() && roots == 1, "... once");
    bsp()->root_set = false; /* the vendor ran something else meanwhile */
    tap_ok(!quick_round() && roots == 2 && flushes == 1, "a root that was replaced is set again");
    tap_ok(quick_round() && roots == 2, "... once");
    bsp()->calm = false;
    tap_ok(!quick_round() && roots == 2, "... and a whole round leaves it otherwise");
    bsp()->calm = false;
    bsp()->mmu.downgrades++;
    tap_ok(!quick_round() && roots == 3 && flushes == 2, "... but for what was lost");

    new_machine();
    hpa_t old = root_now;
    memcpy(entry(4, 0), entry(0, 0), PAGE_SIZE);
    vendor[0].next.kind = EXIT_CR_WRITE;
    vendor[0].next.cr = 3;
    vendor[0].next.gpr = RDX;
    bsp()->vcpu.regs.gpr[RDX] = TABLES + 4 * PAGE_SIZE;
    subvmm_round(bsp());
    vendor[0].next.kind = EXIT_CPUID;
    tap_ok(quick_round() && roots == 1 && root_now.v != old.v, "another CR3 is another root");
    tap_ok(quick_round() && roots == 1, "... which stays");

    /* The only slot is given to another address space in one round. */
    new_machine();
    bsp()->mmu.nroots = 1;
    vendor[0].next.kind = EXIT_CR_WRITE;
    vendor[0].next.cr = 3;
    vendor[0].next.gpr = RDX;
    memcpy(entry(4, 0), entry(0, 0), PAGE_SIZE);
    bsp()->vcpu.regs.gpr[RDX] = TABLES + 4 * PAGE_SIZE;
    subvmm_round(bsp());
    struct guest_fault f;
    gpa_t at;
    tap_ok(mmu_translate(&bsp()->mmu, gva(RIG_CODE), PFEC_I, &at, &f) == HV_OK &&
               bsp()->mmu.root == 0,
           "the handler itself walks the new tables");
    roots = 0;
    vendor[0].next.kind = EXIT_CPUID;
    bsp()->mmu.entered_at = bsp()->mmu.downgrades;
    tap_ok(quick_round() && roots == 1 && flushes >= 1, "also in the same slot");
}

/* shortcuts=off: nothing is kept from one round to the next. */
static void test_off(void)
{
    new_machine();
    opt.shortcuts = false; /* as from the first round on */
    bsp()->quiet = false;
    bsp()->mmu.entered = ENTERED_NONE;
    (void)quick_round();
    (void)quick_round();
    roots = 0;
    tap_ok(!quick_round() && !quick_round(), "shortcuts=off: each round is a whole one");
    tap_eq(roots, 2, "... and chooses the root");
}

int main(void)
{
    test_off();
    test_taken();
    test_actions();
    test_patches();
    test_own_store();
    test_events();
    test_roots();
    test_overdue();
    test_unsettled();
    test_xcr0();
    test_states(); /* the last: it ends the VM */
    return tap_done();
}
