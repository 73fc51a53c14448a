/* SPDX-License-Identifier: BSD-2-Clause */
/* What an entry injects and what becomes of it: interrupts, shadows, HLT, NMIs, events whose
 * delivery was cut short; on the fake machine with a fake vendor. */
#include "tools/tests/exits_rig.h"
#include "hv/base/stats.h"
#include "hv/vdev/pc/vpc_state.h"

/* Enables the BSP's local APIC and sets a vector pending. */
static void raise(uint8_t vector)
{
    struct vio svr = {.addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};
    vbus_mmio(vpc_bus(vm.pc), &svr);
    vlapic_set_irr(vm.pc, 0, 0, vector, false);
}

static void test_interrupts(void)
{
    struct vcpu *v = &bsp()->vcpu;
    uint64_t counted = hv_stats[0].n[STAT_irqs_injected];

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    raise(0x51);
    subvmm_round(bsp());
    tap_eq(vendor[0].runs, 1, "IF=0: enters");
    tap_ok(!vendor[0].window && vendor[0].injected.vector == 0x51,
           "... and the interrupt waits there");
    tap_eq(vlapic_pending(vm.pc, 0), -1, "taken, so the APIC has it in service");
    vlapic_eoi(vm.pc, 0);
    tap_eq(hv_stats[0].n[STAT_irqs_injected] - counted, 1, "... and it is counted");
    fv_no_wait = true;
    vendor[0].injected.type = EVENT_NONE;
    raise(0x51);
    subvmm_round(bsp());
    tap_ok(vendor[0].window && vendor[0].injected.type == EVENT_NONE,
           "where none can wait in the guest: a window");
    v->regs.rflags |= RFLAGS_IF;
    vendor[0].next.kind = EXIT_IRQ_WINDOW;
    rig_exit(EXIT_IRQ_WINDOW);
    tap_ok(!vendor[0].window, "the window closes");
    subvmm_round(bsp());
    fv_no_wait = false;
    tap_ok(vendor[0].injected.type == EVENT_INTR && vendor[0].injected.vector == 0x51, "injected");
    tap_eq(vlapic_pending(vm.pc, 0), -1, "... and taken from the APIC");

    raise(0x61); /* above 0x51, which is in service */
    vendor[0].next.kind = EXIT_IRQ_WINDOW;
    vendor[0].injected.type = EVENT_NONE;
    vcpu_inject_ud(bsp());
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.type == EVENT_EXCEPTION, "the exception goes first");
    tap_ok(!vendor[0].window, "... and its window closes");
    tap_ok(fake_cpu[0].timer != UINT64_MAX, "... but the guest is made to exit soon");
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x61, "then the interrupt");
}

/* What the guest has not taken by the exit is as if it had not been offered. */
static void test_untaken(void)
{
    struct vcpu *v = &bsp()->vcpu;
    uint64_t counted = hv_stats[0].n[STAT_irqs_injected];

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    raise(0x51);
    vendor[0].next = (struct vmexit){.kind = EXIT_INTR, .untaken = true};
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "offered");
    tap_eq(vlapic_pending(vm.pc, 0), 0x51, "not taken: the APIC has it again");
    tap_ok(v->pending.type == EVENT_NONE && hv_stats[0].n[STAT_irqs_injected] == counted,
           "... nothing is pending, nothing counted");
    raise(0x61);
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x61, "a higher one goes first then");
    vlapic_set_cr8(vm.pc, 0, 7);
    vendor[0].injected.type = EVENT_NONE;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NONE, "... none once the guest raised its priority");
    vlapic_set_cr8(vm.pc, 0, 0);
    vendor[0].next.redeliver = true; /* its delivery faulted */
    subvmm_round(bsp());
    tap_ok(v->pending.type == EVENT_NONE && vlapic_pending(vm.pc, 0) == 0x61,
           "a delivery that began and failed begins anew");
    vendor[0].next = (struct vmexit){.kind = EXIT_INTR};
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x61 && vlapic_pending(vm.pc, 0) == -1, "taken at last");
}

/* An 8259's vector, once asked for, cannot be given back. */
static void test_untaken_extint(void)
{
    struct vcpu *v = &bsp()->vcpu;
    static const struct {
        uint16_t port;
        uint8_t value;
    } init[] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0xfe}};

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    for (unsigned i = 0; i < ARRAY_SIZE(init); i++) {
        struct vio io = {.addr = init[i].port, .size = 1, .write = true, .value = init[i].value};
        vbus_pio(vpc_bus(vm.pc), &io);
    }
    vpc_irq(vm.pc, 0, 0, true);
    subvmm_round(bsp());
    tap_ok(vendor[0].window && vendor[0].injected.type == EVENT_NONE, "IF=0: a window for an 8259");
    v->regs.rflags |= RFLAGS_IF;
    vendor[0].next = (struct vmexit){.kind = EXIT_INTR, .untaken = true};
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x30, "its vector, asked for at last");
    tap_ok(v->pending.type == EVENT_INTR && v->pending.vector == 0x30,
           "not taken: it stays pending");
    vendor[0].next.untaken = false;
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x30 && v->pending.type == EVENT_NONE, "... and goes next");
}

static void test_shadow(void)
{
    struct vcpu *v = &bsp()->vcpu;

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    v->regs.rflags |= RFLAGS_IF;
    v->int_shadow = true;
    v->shadow_rip = v->regs.rip;
    raise(0x51);
    subvmm_round(bsp());
    tap_ok(vendor[0].window && vendor[0].injected.type == EVENT_NONE, "shadow: a window, no event");
    tap_ok(v->int_shadow, "the shadow lasts while RIP stands still");
    vendor[0].next.kind = EXIT_IRQ_WINDOW;
    subvmm_round(bsp());
    vendor[0].next.kind = EXIT_INTR;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "the window ends it even at the same RIP");

    rig_new(1, false);
    rig_code("\xf4", 1);
    v->regs.rflags |= RFLAGS_IF;
    v->int_shadow = true;
    raise(0x51);
    subvmm_round(bsp());
    tap_eq(v->regs.rip, RIG_CODE + 1, "STI; HLT: the HLT is done first");
    tap_eq(vendor[0].injected.vector, 0x51, "... and the interrupt ends it");
    tap_eq(v->state, VCPU_RUNNING, "... at once");
}

static void test_hlt(void)
{
    struct vcpu *v = &bsp()->vcpu;

    rig_new(1, false);
    rig_code("\xf4", 1);
    v->regs.rflags |= RFLAGS_IF;
    rig_exit(EXIT_HLT);
    tap_eq(v->state, VCPU_HALTED, "HLT halts");
    tap_eq(v->regs.rip, RIG_CODE + 1, "... behind it");
    subvmm_round(bsp());
    tap_ok(fake_cpu[0].halts == 1 && vendor[0].runs == 0, "the processor sleeps, no entry");
    raise(0x51);
    subvmm_round(bsp());
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "an interrupt wakes it");

    rig_new(1, false);
    rig_code("\xf4", 1);
    rig_exit(EXIT_HLT);
    raise(0x51);
    subvmm_round(bsp());
    subvmm_round(bsp());
    tap_eq(v->state, VCPU_HALTED, "IF=0: an interrupt does not");
    action_post(&co, 0, 0, ACTION_NMI);
    subvmm_round(bsp());
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NMI, "an NMI does");
}

static void test_nmi(void)
{
    struct vcpu *v = &bsp()->vcpu;

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    v->nmi_pending = true;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NMI, "NMI with IF=0");
    tap_ok(vendor[0].nmi_mask, "IRET is watched");
    vendor[0].injected.type = EVENT_NONE;
    v->nmi_pending = true;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NONE, "a second one waits");
    rig_exit(EXIT_IRET);
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NONE, "... until the IRET has run");
    v->regs.rip++;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.type, EVENT_NMI, "then it comes");
}

static void test_redelivery(void)
{
    struct guest_fault f = {gva(0x1000), 2};
    struct vmexit x = {.kind = EXIT_INTR, .redeliver = true};

    rig_new(1, false);
    vcpu_inject_pf(bsp(), &f);
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.cr2, 0x1000, "#PF with CR2");
    exit_dispatch(bsp(), &x);
    tap_ok(bsp()->vcpu.pending.vector == VEC_PF && bsp()->vcpu.pending.cr2 == 0x1000,
           "what was not delivered is pending again");
    vcpu_inject_gp0(bsp());
    tap_eq(bsp()->vcpu.pending.vector, VEC_DF, "#GP while delivering #PF is #DF");
    bsp()->vcpu.pending.vector = VEC_GP;
    vcpu_inject_pf(bsp(), &f);
    tap_eq(bsp()->vcpu.pending.vector, VEC_PF, "#PF while delivering #GP is #PF");
    bsp()->vcpu.pending.vector = VEC_UD;
    vcpu_inject_gp0(bsp());
    tap_eq(bsp()->vcpu.pending.vector, VEC_GP, "#GP while delivering #UD is #GP");

    rig_new(1, false);
    bsp()->vcpu.ctl.cr0 &= ~CR0_PE;
    vcpu_inject_gp0(bsp());
    subvmm_round(bsp());
    tap_ok(!vendor[0].injected.has_error, "real mode pushes no error code");
}

int main(void)
{
    test_interrupts();
    test_untaken();
    test_untaken_extint();
    test_shadow();
    test_hlt();
    test_nmi();
    test_redelivery();
    return tap_done();
}
