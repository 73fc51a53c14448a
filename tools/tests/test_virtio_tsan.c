/* SPDX-License-Identifier: BSD-2-Clause */
/* A device's work under real threads, built for the thread sanitizer: CPUs notify queues and run
 * them, one calls from outside, the driver resets. The queues' own state is no atomic: only one CPU
 * may be at work. No notification is lost. */
#include <sched.h>
#include "tools/tests/virtio_rig.h"

#define CPUS 3u
#define LAPS 20000u

static struct virtio dev;
static _Atomic unsigned asked[2];
static _Atomic unsigned done;
static unsigned seen[2], turns; /* the runner's */

static enum hv_err queue(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    (void)v, (void)m, (void)from;
    seen[q] = atomic_load_explicit(&asked[q], memory_order_relaxed);
    return ++turns % 5 ? HV_OK : HV_AGAIN;
}
static void on_reset(struct virtio *v)
{
    (void)v;
    turns++;
}
static const struct virtio_ops ops = {.queue = queue, .reset = on_reset};
static const struct virtio_kind kind = {
    .type = VIRTIO_NET, .class_code = 0xff0000, .nqueues = 2, .ops = &ops};

static void look(uint32_t cpu)
{
    uint64_t a = atomic_exchange(&co.cpu[cpu].action, 0);
    if ((a & ACTION_DEVICE) || virtio_todo(&host, cpu))
        (void)virtio_run(&host, cpu, &mem);
}

static void *vcpu(void *arg)
{
    uint32_t cpu = (uint32_t)(uintptr_t)arg;
    fake_set_cpu(cpu);
    for (unsigned i = 0; i < LAPS; i++) {
        unsigned q = (i + cpu) & 1;
        atomic_fetch_add_explicit(&asked[q], 1, memory_order_relaxed);
        virtio_notify(&dev, cpu, 1u << q);
        look(cpu);
        if (i % 128 == 0) {
            (void)rig_io(cpu, true, bar_of(&dev) + VIRTIO_ISR_AT, 1, false, 0);
            sched_yield();
        }
    }
    atomic_fetch_add(&done, 1);
    while (atomic_load(&done) <= CPUS || virtio_todo(&host, cpu) ||
           atomic_load(&co.cpu[cpu].action)) {
        look(cpu);
        sched_yield();
    }
    return NULL;
}

/* A sender in another VM. */
static void *outside(void *arg)
{
    (void)arg;
    fake_set_cpu(CPUS);
    for (unsigned i = 0; i < LAPS; i++) {
        atomic_fetch_add_explicit(&asked[0], 1, memory_order_relaxed);
        virtio_call(&dev, 1);
        if (i % 64 == 0)
            sched_yield();
    }
    atomic_fetch_add(&done, 1);
    return NULL;
}

int main(void)
{
    pthread_t t[CPUS + 1];
    rig_virtio(CPUS);
    fake_set_ncpus(CPUS + 1);
    tap_eq(virtio_init(&dev, &host, &kind, PCI_DEVFN(2, 0), NULL, 0, NULL), HV_OK, "made");
    tap_eq(vpc_pci_add(&pc, &dev.fn), HV_OK, "on the bus");
    negotiate(&dev, VIRTIO_F_VERSION_1);
    struct ring r = ring_at(0x10000, 8);
    queue_up(&dev, 0, &r), queue_up(&dev, 1, &r);
    driver_ok(&dev);
    for (unsigned i = 0; i < CPUS; i++)
        pthread_create(&t[i], NULL, vcpu, (void *)(uintptr_t)i);
    pthread_create(&t[CPUS], NULL, outside, NULL);
    for (unsigned i = 0; i <= CPUS; i++)
        pthread_join(t[i], NULL);
    for (unsigned i = 0; i < 100 && (run(0) || atomic_load(&dev.work)); i++)
        ;
    tap_eq(seen[0], atomic_load(&asked[0]), "queue 0: nothing is lost");
    tap_eq(seen[1], atomic_load(&asked[1]), "queue 1: nothing is lost");
    tap_eq(atomic_load(&dev.work), 0, "and it rests");
    reg_w(&dev, 0x14, 1, 0);
    (void)run(0);
    tap_eq(reg_r(&dev, 0x14, 1), 0, "a reset");
    return tap_done();
}
