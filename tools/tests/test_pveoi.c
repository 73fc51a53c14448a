/* SPDX-License-Identifier: BSD-2-Clause */
/* Paravirtual EOI: offered only when the EOI would do nothing else, performed when the guest took
 * the offer, taken back when another interrupt waits. */
#include "tools/tests/tap.h"
#include "tools/tests/exits_rig.h"

#define WORD 0x5000
#define MSR_PV_EOI 0x4b564d04

static uint32_t *word(void)
{
    return port_ptr(hpa(WORD));
}

static void raise(uint8_t vector, bool level)
{
    struct vio svr = {.addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};
    vbus_mmio(vpc_bus(vm.pc), &svr);
    vlapic_set_irr(vm.pc, 0, 0, vector, level);
}

static void fresh(void)
{
    rig_new(1, false);
    rig_code("\x90\x90", 2);
    tap_ok(pveoi_write_msr(bsp(), WORD | 1), "the MSR takes an address");
    bsp()->vcpu.regs.rflags |= RFLAGS_IF;
}

/* Is vector v deliverable, that is, has the EOI of a higher one been done? */
static bool eoi_done(uint8_t v)
{
    raise(v, false);
    return vlapic_pending(vm.pc, 0) == v;
}

int main(void)
{
    fresh();
    raise(0x51, false);
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "injected");
    tap_eq(*word(), 1, "... and the guest may skip the EOI");
    *word() = 0; /* it does */
    subvmm_round(bsp());
    tap_ok(eoi_done(0x41), "the EOI was done for it: a lower vector is deliverable");
    tap_ok(!bsp()->vcpu.pveoi_armed, "... once");

    fresh();
    raise(0x51, false);
    subvmm_round(bsp());
    raise(0x42, false); /* waits for the EOI */
    subvmm_round(bsp());
    tap_eq(*word(), 0, "another interrupt waits: the offer is taken back");
    tap_eq(vlapic_pending(vm.pc, 0), -1, "... and the EOI has not been done");
    vlapic_eoi(vm.pc, 0); /* the guest's own */
    tap_eq(vlapic_pending(vm.pc, 0), 0x42, "... until the guest does it");

    fresh();
    raise(0x51, true);
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x51 && *word() == 0, "level-triggered: no offer");

    fresh();
    raise(0x51, false);
    raise(0x41, false);
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x51 && *word() == 0, "a second one requested: no offer");

    fresh();
    raise(0x51, false);
    bsp()->vcpu.regs.rflags &= ~RFLAGS_IF;
    vendor[0].next = (struct vmexit){.kind = EXIT_INTR, .untaken = true};
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x51 && *word() == 0 && !bsp()->vcpu.pveoi_armed,
           "an interrupt that was not taken leaves no offer");
    tap_eq(vlapic_pending(vm.pc, 0), 0x51, "... and no EOI was done");

    fresh();
    tap_ok(!pveoi_write_msr(bsp(), RIG_RAM | 1), "outside of RAM: #GP");
    tap_ok(!pveoi_write_msr(bsp(), WORD | 3), "misaligned: #GP");
    tap_ok(pveoi_write_msr(bsp(), 0), "disabled");
    raise(0x51, false);
    *word() = 0x77;
    subvmm_round(bsp());
    tap_eq(*word(), 0x77, "... nothing is written any more");
    return tap_done();
}
