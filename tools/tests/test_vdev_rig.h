/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of hv/vdev share: a virtual PC of up to four CPUs behind its bus, a clock that the
 * test moves, and the action words of the CPUs. Tested by the tests that use it. */
#pragma once
#include "arch-x86/defs/x86.h"
#include "hv/coherency/actions.h"
#include "hv/vdev/pc/vpc_state.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

#define RIG_HZ 2449000000ull
static struct coherency co;
static struct vpc pc;
static uint64_t now;
static unsigned rig_poweroffs, rig_resets;

static void rig_poweroff(void *ctx)
{
    (void)ctx;
    rig_poweroffs++;
}
static void rig_reset(void *ctx)
{
    (void)ctx;
    rig_resets++;
}

/* Time passes, and every CPU looks at its timers once. */
static void at(uint64_t tsc)
{
    now = tsc;
    fake_set_tsc(now, 0);
    for (uint32_t c = 0; c < pc.cfg.ncpus; c++)
        (void)vpc_timers(&pc, c, now);
}
__attribute__((unused)) static void after_ns(uint64_t ns)
{
    at(now + scale_up(ns, RIG_HZ, NS_PER_S));
}

static void rig_init(uint32_t ncpus)
{
    struct vpc_config cfg = {.ncpus = ncpus,
                             .co = &co,
                             .tsc_hz = RIG_HZ,
                             .ram_top_low = 0x20000000,
                             .ram_above_4g = 0x40000000,
                             .test = true,
                             .poweroff = rig_poweroff,
                             .reset = rig_reset};
    memset((void *)&co, 0, sizeof(co));
    co.ncpus = ncpus;
    fake_reset();
    fake_set_ncpus(ncpus);
    fake_set_boot_time(951782399); /* 2000-02-28 23:59:59 */
    now = 5 * RIG_HZ + 12345;
    fake_set_tsc(now, 0);
    fake_set_tsc_hz(RIG_HZ);
    vpc_init(&pc, &cfg);
    rig_poweroffs = rig_resets = 0;
}

/* Takes and clears the action word of CPU c. */
__attribute__((unused)) static uint64_t actions(uint32_t c)
{
    return atomic_exchange(&co.cpu[c].action, 0);
}

static uint64_t rig_io(uint32_t cpu, bool mem, uint64_t where, uint8_t size, bool write,
                       uint64_t value)
{
    struct vio io = {.cpu = cpu, .addr = where, .size = size, .write = write, .value = value};
    if (mem)
        (void)vbus_mmio(vpc_bus(&pc), &io);
    else
        (void)vbus_pio(vpc_bus(&pc), &io);
    return io.value;
}
__attribute__((unused)) static uint8_t inb(uint16_t port)
{
    return (uint8_t)rig_io(0, false, port, 1, false, 0);
}
__attribute__((unused)) static void outb(uint16_t port, uint8_t v)
{
    (void)rig_io(0, false, port, 1, true, v);
}
__attribute__((unused)) static uint32_t apic_r(uint32_t cpu, uint32_t reg)
{
    return (uint32_t)rig_io(cpu, true, VPC_LAPIC_BASE + reg, 4, false, 0);
}
__attribute__((unused)) static void apic_w(uint32_t cpu, uint32_t reg, uint32_t v)
{
    (void)rig_io(cpu, true, VPC_LAPIC_BASE + reg, 4, true, v);
}
__attribute__((unused)) static uint32_t ioapic_r(uint32_t reg)
{
    (void)rig_io(0, true, VPC_IOAPIC_BASE, 4, true, reg);
    return (uint32_t)rig_io(0, true, VPC_IOAPIC_BASE + 0x10, 4, false, 0);
}
__attribute__((unused)) static void ioapic_w(uint32_t reg, uint32_t v)
{
    (void)rig_io(0, true, VPC_IOAPIC_BASE, 4, true, reg);
    (void)rig_io(0, true, VPC_IOAPIC_BASE + 0x10, 4, true, v);
}
__attribute__((unused)) static void ioapic_pin(unsigned pin, uint64_t rte)
{
    ioapic_w(0x11 + 2 * pin, (uint32_t)(rte >> 32));
    ioapic_w(0x10 + 2 * pin, (uint32_t)rte);
}
/* A device line, as a device would move it while CPU 0 emulates it. */
__attribute__((unused)) static void line(unsigned irq, bool level)
{
    lock_take(&pc.lock);
    vpc_irq(&pc, 0, irq, level);
    lock_drop(&pc.lock);
}
/* Enables the local APICs of all CPUs with all LVT entries masked. */
__attribute__((unused)) static void apics_on(void)
{
    for (uint32_t c = 0; c < pc.cfg.ncpus; c++) {
        apic_w(c, 0xf0, 0x1ff);
        for (uint32_t r = 0x320; r <= 0x370; r += 0x10)
            apic_w(c, r, 0x10000);
    }
}
/* ICW1..ICW4 and masks, as Linux programs them. */
__attribute__((unused)) static void pic_setup(uint8_t icw4, uint8_t mask0, uint8_t mask1)
{
    outb(0x20, 0x11), outb(0x21, 0x30), outb(0x21, 4), outb(0x21, icw4);
    outb(0xa0, 0x11), outb(0xa1, 0x38), outb(0xa1, 2), outb(0xa1, icw4 & ~0x10);
    outb(0x21, mask0), outb(0xa1, mask1);
}
