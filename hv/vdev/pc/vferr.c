/* SPDX-License-Identifier: BSD-2-Clause */
/* x87 errors as a PC reports them to a processor with CR0.NE=0 (APM volume 2, 3.1.1 "CR0 Register",
 * "Numeric Error"): FERR# sets a latch that drives interrupt line 13, a write to port F0 clears it
 * and asserts IGNNE#. The processor itself runs with NE=1 and every error exits, so FERR# is each
 * VCPU's report here, and what IGNNE# lets pass is an error that stands since before the write.
 * Guarded by the device lock. Tested by tools/tests/test_ferr.c and the guest test x87.ferr. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"

#define IRQ_FERR 13
#define FSW_ES BIT(7) /* an unmasked exception is pending */
enum { ENV_CONTROL, ENV_STATUS };

/* Port F0, and F1, which resets the coprocessor where it was a chip of its own. */
static void ferr_port(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vferr *f = &pc->ferr[io->cpu];

    if (!io->write) {
        io->value = 0xff;
        return;
    }
    lock_take(&pc->lock);
    vpc_irq(pc, io->cpu, IRQ_FERR, false);
    lock_drop(&pc->lock);
    port_x87_env(f->env); /* this VCPU's: it is in the processor */
    f->ignne = f->env[ENV_STATUS] & FSW_ES;
}

bool vpc_ferr(struct vpc *pc, uint32_t cpu)
{
    struct vferr *f = &pc->ferr[cpu];
    uint32_t now[X87_ENV_WORDS];

    port_x87_env(now);
    bool passes = f->ignne && memcmp(now, f->env, sizeof(now)) == 0;
    f->ignne = false;
    if (passes)
        return true;
    lock_take(&pc->lock);
    vpc_irq(pc, cpu, IRQ_FERR, true);
    lock_drop(&pc->lock);
    return false;
}

void vferr_init(struct vpc *pc)
{
    vbus_add_pio_bytes(&pc->bus, FERR_PORT, 2, ferr_port, pc);
}
