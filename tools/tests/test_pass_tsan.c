/* SPDX-License-Identifier: BSD-2-Clause */
/* Functions that a guest owns under real threads, built for the thread sanitizer: every CPU reads
 * and writes configuration space by both ways and the MSI-X table at random, the devices raise, and
 * arrivals are taken, all at once. The hardware is never what it may not be, and afterwards a
 * driver has everything work. */
#include <pthread.h>
#include <sched.h>
#include "tools/tests/pass_rig.h"

#define A 2u
#define MSIX 0xa0u
#define LAPS 6000u

static uint32_t hw(const struct fake_pci *d, unsigned reg, unsigned size)
{
    return pass_get(d->config, reg, size);
}

static void once(uint32_t cpu, uint64_t seed)
{
    uint32_t r = (uint32_t)(seed >> 33), v = (uint32_t)(seed >> 11);
    unsigned size = 1u << r % 3, reg = (r >> 4) % 256 & ~(size - 1), dev = A + (r >> 12 & 1);

    switch (r >> 16 & 7) {
    case 0: /* another CPU may have moved the address meanwhile */
        (void)rig_io(cpu, false, 0xcf8, 4, true, 0x80000000u | dev << 11 | (reg & 0xfc));
        (void)rig_io(cpu, false, 0xcfc + (reg & 3), (uint8_t)size, r >> 19 & 1, v);
        break;
    case 1:
    case 2:
        (void)rig_io(cpu, true, PCI_ECAM_BASE + (dev << 15 | reg << (r >> 20 & 1 ? 4 : 0)),
                     (uint8_t)size, r >> 19 & 1, v);
        break;
    case 3:
        (void)rig_io(cpu, true, BAR_A + TABLE + (v & 0xfff & ~3u), 4, r >> 19 & 1, v >> 4);
        break;
    case 4:
        (void)rig_io(cpu, true, PCI_ECAM_BASE + (A << 15 | MSIX), 4, true, PCI_MSIX_ENABLE << 16);
        break;
    default:
        (void)fake_pci_raise(r >> 20 & 1 ? dev_a : dev_b, r >> 21 & 1 ? 0 : (r >> 22) % ENTRIES);
    }
}

static void *vcpu(void *arg)
{
    uint32_t cpu = (uint32_t)(uintptr_t)arg;
    uint64_t seed = 99 + cpu;

    fake_set_cpu(cpu);
    for (unsigned i = 0; i < LAPS; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        once(cpu, seed);
        pass_arrivals(pass, cpu);
        (void)pass_timers(pass, cpu, port_tsc());
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void settle(void)
{
    cfg_w(A, 0x44, 4, 0); /* D0 */
    port_pause_ms(10);    /* it may have been in D3 */
    cfg_w(A, PCI_COMMAND, 2, 0);
    cfg_w(A, PCI_BAR0, 4, BAR_A);
    cfg_w(A, PCI_COMMAND, 2, 6);
    cfg_w(A, MSIX + 2, 2, PCI_MSIX_ENABLE);
    for (unsigned i = 0; i < ENTRIES; i++)
        mem_w(BAR_A + TABLE + i * 16 + 12, 4, 1);
    for (uint32_t c = 0; c < RIG_CPUS; c++) {
        fake_set_cpu(c);
        pass_arrivals(pass, c);
    }
    fake_set_cpu(0);
    after_ns(100 * 1000 * 1000); /* a storm is over */
    (void)pass_timers(pass, 0, port_tsc());
}

int main(void)
{
    pthread_t thread[RIG_CPUS];

    pass_rig("all");
    for (uint32_t c = 0; c < RIG_CPUS; c++)
        pthread_create(&thread[c], NULL, vcpu, (void *)(uintptr_t)c);
    for (uint32_t c = 0; c < RIG_CPUS; c++)
        pthread_join(thread[c], NULL);
    settle();
    tap_eq(dev_a->torn, 0, "no entry was written while it could send");
    tap_eq(hw(dev_a, 0x68, 2) & 0x00ef, 0, "no reports of errors, no payload size");
    tap_eq(hw(dev_a, PCI_COMMAND, 2), PCI_COMMAND_NO_INTX | 6u, "its command");
    tap_eq(cfg_r(A, PCI_VENDOR, 4), 0x10d38086, "who it is");
    tap_eq(cfg_r(A, PCI_BAR0, 4), BAR_A, "where it is");
    tap_eq(hw(dev_a, PCI_BAR0, 4), BAR_A, "... for the hardware as well");
    atomic_store(&pc.lapic[1].irr[1], 0);
    mem_w(BAR_A + TABLE, 4, 0xfee01000);
    mem_w(BAR_A + TABLE + 4, 4, 0);
    mem_w(BAR_A + TABLE + 8, 4, 0x51);
    mem_w(BAR_A + TABLE + 12, 4, 0);
    tap_ok(fake_pci_raise(dev_a, 0), "it raises");
    fake_set_cpu(1);
    pass_arrivals(pass, 1);
    tap_ok(atomic_load(&pc.lapic[1].irr[1]) & BIT(0x51 & 63),
           "... and that arrives where it is to");
    return tap_done();
}
