/* SPDX-License-Identifier: BSD-2-Clause */
/* NMIs that come while another is handled: one is kept, and it is taken at once behind the IRET of
 * the first, which is single-stepped without a trace; on the fake machine with a fake vendor. */
#include "tools/tests/exits_rig.h"
#include "hv/port/cpu.h"

#define HANDLER 0x8100ull /* where the IRET of the handler is */
#define BACK 0x8200ull    /* where it returns to */
#define DR6_CLEAR 0xffff0ff0ull
#define DR6_BS BIT(14)

static struct vcpu *v(void)
{
    return &bsp()->vcpu;
}

static void round_with(enum vmexit_kind kind, uint8_t vector, uint64_t rip, uint64_t rflags,
                       uint64_t dr6)
{
    vendor[0].next = (struct vmexit){.kind = kind, .vector = vector, .gpr = VMEXIT_GPR_NONE};
    vendor[0].run_rip = rip;
    vendor[0].exit_rflags = rflags;
    vendor[0].exit_dr6 = dr6;
    vendor[0].injected.type = EVENT_NONE;
    subvmm_round(bsp());
}

/* The first NMI is in its handler, more came, and the IRET has exited. */
static void at_iret(unsigned more)
{
    rig_new(1, false);
    rig_code("\x90\x90", 2);
    vendor[0].debug.dr6 = DR6_CLEAR;
    v()->nmi_pending = true;
    round_with(EXIT_INTR, 0, HANDLER, RFLAGS_FIXED1, 0);
    tap_eq(vendor[0].injected.type, EVENT_NMI, "the first");
    for (unsigned i = 0; i < more; i++)
        action_post(&co, 0, 0, ACTION_NMI);
    round_with(EXIT_IRET, 0, HANDLER, UINT64_MAX, 0);
    tap_eq(vendor[0].injected.type, EVENT_NONE, "none in its handler");
}

static bool nmi_next(void)
{
    round_with(EXIT_INTR, 0, UINT64_MAX, UINT64_MAX, 0);
    return vendor[0].injected.type == EVENT_NMI && !(vendor[0].run_rflags & RFLAGS_TF);
}

static void test_at_once(void)
{
    at_iret(3);
    round_with(EXIT_EXCEPTION, VEC_DB, BACK, RFLAGS_FIXED1 | RFLAGS_IF, DR6_BS);
    tap_ok(vendor[0].stepped && (vendor[0].run_rflags & RFLAGS_TF), "the IRET is single-stepped");
    tap_eq(vendor[0].injected.type, EVENT_NONE, "... with nothing injected");
    tap_ok(quiet(), "its trap is not the guest's");
    tap_eq(vendor[0].debug.dr6, DR6_CLEAR, "... and leaves no bit");
    tap_eq(v()->regs.rflags, RFLAGS_FIXED1 | RFLAGS_IF, "RFLAGS as it popped them");
    tap_ok(nmi_next() && v()->regs.rip == BACK, "the second comes before any other instruction");
    round_with(EXIT_IRET, 0, HANDLER, UINT64_MAX, 0);
    round_with(EXIT_INTR, 0, BACK, UINT64_MAX, 0);
    tap_ok(!vendor[0].stepped && vendor[0].injected.type == EVENT_NONE, "of three, one was kept");
}

/* IRET back to the very same IRET, as with one exit path for all handlers. */
static void test_same_place(void)
{
    at_iret(1);
    round_with(EXIT_EXCEPTION, VEC_DB, HANDLER, RFLAGS_FIXED1, DR6_BS);
    tap_ok(nmi_next(), "RIP did not change, but the IRET ran");
    at_iret(0);
    round_with(EXIT_INTR, 0, BACK, RFLAGS_FIXED1, 0);
    round_with(EXIT_INTR, 0, HANDLER, RFLAGS_FIXED1, 0);
    action_post(&co, 0, 0, ACTION_NMI);
    tap_ok(nmi_next(), "an IRET that ran long ago is not waited for when RIP comes back");
}

/* An exit before the IRET ran: our TF is gone, and the step is tried again. */
static void test_again(void)
{
    at_iret(1);
    round_with(EXIT_INTR, 0, UINT64_MAX, UINT64_MAX, 0);
    tap_ok(vendor[0].stepped && !(v()->regs.rflags & RFLAGS_TF), "an interrupt came first");
    tap_eq(vendor[0].debug.dr6, DR6_CLEAR, "DR6 as it was");
    round_with(EXIT_EXCEPTION, VEC_DB, BACK, RFLAGS_FIXED1, DR6_BS);
    tap_ok(vendor[0].stepped && quiet() && nmi_next(), "stepped again, then the NMI");

    at_iret(1);
    round_with(EXIT_EXCEPTION, VEC_SS, UINT64_MAX, UINT64_MAX, 0);
    tap_ok(v()->pending.vector == VEC_SS && !(v()->regs.rflags & RFLAGS_TF),
           "a fault of the IRET is delivered without our TF in its frame");
    uint64_t bells = fake_cpu[0].doorbells;
    round_with(EXIT_INTR, 0, 0x8300, RFLAGS_FIXED1, 0);
    tap_ok(vendor[0].injected.vector == VEC_SS && !vendor[0].stepped, "... unstepped");
    tap_eq(fake_cpu[0].doorbells, bells + 1, "... with a doorbell behind it");
    tap_ok(nmi_next(), "... and the NMI at the start of its handler");
}

static void test_guest_steps(void)
{
    at_iret(1);
    v()->regs.rflags |= RFLAGS_TF;
    round_with(EXIT_EXCEPTION, VEC_DB, BACK, RFLAGS_FIXED1 | RFLAGS_TF, DR6_BS);
    tap_ok(v()->pending.vector == VEC_DB && (vendor[0].debug.dr6 & DR6_BS),
           "the guest's own single step traps");
    tap_ok(v()->regs.rflags & RFLAGS_TF, "... and its TF stays");
    round_with(EXIT_INTR, 0, 0x8300, RFLAGS_FIXED1, 0);
    tap_eq(vendor[0].injected.vector, VEC_DB, "the trap first");
    tap_ok(nmi_next(), "then the NMI");

    at_iret(1);
    vendor[0].debug.dr7 = 0x400 | 2; /* breakpoint 0 is on, 1 is not */
    round_with(EXIT_EXCEPTION, VEC_DB, BACK, RFLAGS_FIXED1, DR6_BS | 3);
    tap_ok(v()->pending.vector == VEC_DB && v()->pending.type == EVENT_EXCEPTION,
           "a breakpoint on the stack is the guest's");
    tap_eq(vendor[0].debug.dr6, DR6_CLEAR | 1, "... which is told of no single step");

    at_iret(1);
    vendor[0].debug.dr6 = DR6_CLEAR | 4; /* old news that nobody cleared */
    round_with(EXIT_EXCEPTION, VEC_DB, BACK, RFLAGS_FIXED1, DR6_BS);
    tap_ok(quiet() && vendor[0].debug.dr6 == (DR6_CLEAR | 4), "old bits of DR6 mean nothing");
}

/* An interrupt waits as well: the NMI goes first. */
static void test_interrupt(void)
{
    struct vio svr = {.addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};

    at_iret(1);
    vbus_mmio(vpc_bus(vm.pc), &svr);
    vlapic_set_irr(vm.pc, 0, 0, 0x51, false);
    v()->regs.rflags |= RFLAGS_IF;
    round_with(EXIT_EXCEPTION, VEC_DB, BACK, RFLAGS_FIXED1 | RFLAGS_IF, DR6_BS);
    tap_ok(vendor[0].stepped && vendor[0].injected.type == EVENT_NONE && !vendor[0].window,
           "no interrupt into the step");
    tap_ok(nmi_next(), "the NMI");
    round_with(EXIT_INTR, 0, UINT64_MAX, UINT64_MAX, 0);
    tap_eq(vendor[0].injected.vector, 0x51, "the interrupt");
}

/* In the shadow of STI or MOV SS nothing can be stepped: the timer ends the wait, later each time
 * that it was too early. */
static void test_kick(void)
{
    uint64_t delay[3];

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    v()->nmi_pending = true;
    for (unsigned i = 0; i < 3; i++) {
        v()->int_shadow = true;
        uint64_t now = port_tsc();
        round_with(EXIT_INTR, 0, UINT64_MAX, UINT64_MAX, 0);
        delay[i] = fake_cpu[0].timer - now;
        tap_eq(vendor[0].injected.type, EVENT_NONE, "the NMI waits");
    }
    tap_ok(delay[1] > delay[0] * 3 / 2 && delay[2] > delay[1] * 3 / 2, "longer and longer");
    round_with(EXIT_INTR, 0, 0x8001, UINT64_MAX, 0);
    tap_ok(nmi_next(), "until the instruction has run");
}

static void test_init(void)
{
    at_iret(1);
    vcpu_init_reset(bsp());
    vcpu_start_real(bsp(), 0x800, 0);
    tap_ok(!v()->nmi_pending && !v()->step_iret, "INIT forgets it all");
    round_with(EXIT_INTR, 0, UINT64_MAX, UINT64_MAX, 0);
    tap_ok(!vendor[0].stepped && vendor[0].injected.type == EVENT_NONE, "nothing comes");
}

int main(void)
{
    test_at_once();
    test_same_place();
    test_again();
    test_guest_steps();
    test_interrupt();
    test_kick();
    test_init();
    return tap_done();
}
