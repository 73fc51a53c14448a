/* SPDX-License-Identifier: BSD-2-Clause */
/* The small ports of a PC: system control 61, POST code 80, debug console and debug exit. Guarded
 * by the device lock. Tested by tools/tests/test_vdev_misc.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"

/* Port 61: bits 0 and 1 gate timer 2 and the speaker; 4 toggles with refresh; 5 is timer 2's
 * output. */
static void port61(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    lock_take(&pc->lock);
    uint64_t now = port_tsc();
    if (io->write) {
        pc->misc.port61 = (uint32_t)io->value & 0x0f;
        vpit_gate2(pc, now, io->value & 1);
    } else {
        io->value = pc->misc.port61 | (vpc_ticks(pc, now, 66287) & 1) << 4 | /* every 15.1 us */
                    (uint64_t)vpit_out2(pc, now) << 5;
    }
    lock_drop(&pc->lock);
}

static void post_code(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    if (io->write)
        atomic_store_explicit(&pc->misc.post_code, (uint32_t)io->value, memory_order_relaxed);
    else
        io->value = atomic_load_explicit(&pc->misc.post_code, memory_order_relaxed);
}

/* Bochs ends when "Shutdown" is written here; the machine is not the guest's to end. */
static void ignored(void *dev, struct vio *io)
{
    (void)dev;
    (void)io;
}

static void debugcon(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    if (io->write) {
        atomic_store_explicit(&pc->output_seen, true, memory_order_relaxed);
        port_debugcon((uint8_t)io->value);
    } else {
        io->value = DEBUGCON_PORT; /* how guests find it */
    }
}

static void debug_exit(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    if (!io->write || !pc->cfg.test)
        return;
    vpc_flush(pc);
    if (pc->cfg.debug_exit)
        pc->cfg.debug_exit(pc->cfg.ctx, (uint32_t)io->value);
    else
        port_debug_exit((uint32_t)io->value);
}

void vmisc_init(struct vpc *pc)
{
    vbus_add_pio_bytes(&pc->bus, SYSTEM_CONTROL_B, 1, port61, pc);
    vbus_add_pio_bytes(&pc->bus, POST_PORT, 1, post_code, pc);
    if (port_debugcon_found())
        vbus_add_pio_bytes(&pc->bus, DEBUGCON_PORT, 1, debugcon, pc);
    vbus_add_pio(&pc->bus, DEBUG_EXIT_PORT, 4, debug_exit, pc);
    vbus_add_pio_bytes(&pc->bus, BOCHS_SHUTDOWN_PORT, 1, ignored, pc);
}
