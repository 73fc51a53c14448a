/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices under real threads, built for the thread sanitizer: four CPUs send each other interrupts,
 * use the shared devices and look at their own local APIC only when their action word tells them.
 * An interrupt that is lost, or not announced, stops the ring. */
#include <sched.h>
#include <unistd.h>
#include "hv/port/cpu.h"
#include "tools/tests/test_vdev_rig.h"

#define CPUS 4u
#define LAPS 60000u
#define VEC_TOKEN 0x40u
#define VEC_NOISE 0x50u
#define VEC_PIT 0x60u

static _Atomic unsigned laps, noise_sent, noise_taken, ticks_taken;
static _Atomic bool stop;

static void send(uint32_t cpu, uint32_t to, uint32_t lo)
{
    apic_w(cpu, 0x310, to << 24);
    apic_w(cpu, 0x300, lo);
}

/* Everything a CPU shares with others, in some order. */
static void use_devices(uint32_t cpu, unsigned i)
{
    switch (i % 8) {
    case 0:
        (void)rig_io(cpu, false, 0x3f8, 1, true, i % 64 ? 'x' : '\n');
        break;
    case 1:
        (void)rig_io(cpu, false, 0x70, 1, true, 12);
        (void)rig_io(cpu, false, 0x71, 1, false, 0);
        break;
    case 2:
        (void)rig_io(cpu, false, 0x43, 1, true, 0);
        (void)rig_io(cpu, false, 0x40, 1, false, 0);
        break;
    case 3:
        (void)rig_io(cpu, false, 0x608, 4, false, 0);
        break;
    case 4:
        (void)rig_io(cpu, true, VPC_IOAPIC_BASE + 0x10, 4, false, 0);
        break;
    case 5:
        (void)rig_io(cpu, false, 0x21, 1, true, 0xfb);
        break;
    case 6:
        (void)vpc_uart_input(&pc, 'i');
        break;
    default:
        (void)rig_io(cpu, false, 0x3f8 + 2, 1, false, 0);
        break;
    }
}

static void take_interrupts(uint32_t cpu)
{
    int v;
    while ((v = vlapic_accept(&pc, cpu)) >= 0) {
        apic_w(cpu, 0xb0, 0);
        if (v == (int)VEC_TOKEN) {
            if (atomic_fetch_add(&laps, 1) + 1 >= LAPS)
                atomic_store(&stop, true);
            send(cpu, (cpu + 1) % CPUS, VEC_TOKEN);
        } else if (v >= (int)VEC_NOISE && v < (int)(VEC_NOISE + CPUS)) {
            atomic_fetch_add(&noise_taken, 1);
        } else if (v == (int)VEC_PIT) {
            atomic_fetch_add(&ticks_taken, 1);
        }
    }
}

static void *run(void *arg)
{
    uint32_t cpu = (uint32_t)(uintptr_t)arg;
    fake_set_cpu(cpu);
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        if (actions(cpu) & ACTION_IRQ)
            take_interrupts(cpu);
        (void)vpc_timers(&pc, cpu, port_tsc());
        if (cpu == 0) /* its own expiries are not announced */
            take_interrupts(cpu);
        if (i % 4 == 0) {
            atomic_fetch_add(&noise_sent, CPUS - 1);
            send(cpu, 0, 0xc0000 | (VEC_NOISE + cpu));
        }
        use_devices(cpu, i / 2 + cpu);
        sched_yield();
    }
    return NULL;
}

int main(void)
{
    pthread_t t[CPUS];
    alarm(120); /* a ring that stands still ends the test */
    rig_init(CPUS);
    apics_on();
    ioapic_pin(2, VEC_PIT);
    outb(0x43, 0x34), outb(0x40, 0x00), outb(0x40, 0x10);
    fake_set_tsc(now, 2000);
    for (uint32_t c = 0; c < CPUS; c++)
        (void)actions(c);
    send(0, 1, VEC_TOKEN);
    for (uint32_t c = 0; c < CPUS; c++)
        if (pthread_create(&t[c], NULL, run, (void *)(uintptr_t)c))
            return 1;
    for (uint32_t c = 0; c < CPUS; c++)
        pthread_join(t[c], NULL);
    tap_ok(atomic_load(&laps) >= LAPS, "the token went round (%u)", atomic_load(&laps));
    tap_ok(atomic_load(&noise_taken) > 0 && atomic_load(&noise_taken) <= atomic_load(&noise_sent),
           "noise taken %u of %u sent", atomic_load(&noise_taken), atomic_load(&noise_sent));
    tap_ok(atomic_load(&ticks_taken) > 0, "timer ticks (%u)", atomic_load(&ticks_taken));
    return tap_done();
}
