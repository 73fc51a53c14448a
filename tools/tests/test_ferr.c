/* SPDX-License-Identifier: BSD-2-Clause */
/* x87 errors of a guest with CR0.NE=0: interrupt 13, port F0, and the wait in between. */
#include "tools/tests/exits_rig.h"

#define ERROR 0x8081 /* B, ES, invalid operation */

static void out(uint16_t port, uint8_t value)
{
    struct vio io = {.addr = port, .size = 1, .write = true, .value = value};
    (void)vbus_pio(vpc_bus(vm.pc), &io);
}

static void pics(void)
{
    static const uint8_t icw[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
                                     {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1},
                                     {0x21, 0xfb}, {0xa1, 0xdf}};
    for (size_t i = 0; i < ARRAY_SIZE(icw); i++)
        out(icw[i][0], icw[i][1]);
}

static void error_exit(void)
{
    struct vmexit x = {.kind = EXIT_EXCEPTION, .gpr = VMEXIT_GPR_NONE, .vector = VEC_MF};
    exit_dispatch(bsp(), &x);
}

static void fresh(void)
{
    rig_new(1, false);
    rig_code("\x9b", 1); /* fwait */
    pics();
    bsp()->vcpu.ctl.cr0 &= ~CR0_NE;
    memset(fake_x87, 0, sizeof(fake_x87));
    fake_x87[1] = ERROR;
    fake_x87[3] = 0x7000; /* where the instruction was */
}

int main(void)
{
    struct vcpu *v = &bsp()->vcpu;

    fresh();
    v->ctl.cr0 |= CR0_NE;
    error_exit();
    tap_ok(took(VEC_MF) && v->state == VCPU_RUNNING, "NE set: #MF");
    tap_ok(vlapic_pending(vm.pc, 0) < 0, "... and no interrupt");

    fresh();
    error_exit();
    tap_ok(v->pending.type == EVENT_NONE && v->state == VCPU_HALTED && v->regs.rip == RIG_CODE,
           "NE clear: it waits before the instruction");
    tap_eq(vlapic_pending(vm.pc, 0), 0, "... for an interrupt of the 8259s,");
    tap_eq(vlapic_accept(vm.pc, 0), 0x28 + 5, "... which is 13");
    subvmm_round(bsp());
    tap_eq(v->state, VCPU_HALTED, "IF clear: it goes on waiting");
    fresh();
    error_exit();
    v->regs.rflags |= RFLAGS_IF;
    subvmm_round(bsp());
    tap_eq(v->state, VCPU_RUNNING, "IF set: it takes it");
    vendor[0].injected.type = EVENT_NONE;
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.type == EVENT_INTR && vendor[0].injected.vector == 0x2d,
           "... at the instruction that waited");

    out(0xf0, 0); /* with the error standing: IGNNE# */
    out(0xa0, 0x20);
    out(0x20, 0x20);
    error_exit();
    tap_ok(v->state == VCPU_RUNNING && fake_x87[1] == 0 && vlapic_pending(vm.pc, 0) < 0,
           "after port F0 the next instruction passes");
    fake_x87[1] = ERROR;
    error_exit();
    tap_ok(v->state == VCPU_HALTED && vlapic_pending(vm.pc, 0) == 0, "... once: IRQ 13 again");

    fresh();
    error_exit();
    (void)vlapic_accept(vm.pc, 0);
    out(0xf0, 0);
    fake_x87[1] = 0; /* the handler cleared it: FERR# and IGNNE# go */
    out(0xa0, 0x20);
    out(0x20, 0x20);
    v->state = VCPU_RUNNING;
    fake_x87[1] = ERROR;
    fake_x87[3] = 0x7100;
    error_exit();
    tap_ok(v->state == VCPU_HALTED && vlapic_pending(vm.pc, 0) == 0 && fake_x87[1] == ERROR,
           "a later error is another one");
    (void)vlapic_accept(vm.pc, 0);
    v->state = VCPU_RUNNING;
    fake_x87[1] = 0;
    out(0xf0, 0);
    fake_x87[1] = ERROR;
    fake_x87[3] = 0;
    out(0xa0, 0x20);
    out(0x20, 0x20);
    error_exit();
    tap_ok(v->state == VCPU_HALTED, "port F0 without an error stands for nothing");
    return tap_done();
}
