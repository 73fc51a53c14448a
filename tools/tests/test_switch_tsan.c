/* SPDX-License-Identifier: BSD-2-Clause */
/* The switch and network devices under real threads, built for the thread sanitizer: two VMs with
 * two CPUs each send each other numbered frames, while one of them resets its device and ends and
 * starts again. No frame is lost for good, none is torn, and the other VM's device never suffers.
 */
#include <sched.h>
#include <unistd.h>
#include "tools/tests/virtio_rig.h"

#define FRAMES 20000u

static struct vswitch sw;
static _Atomic bool stop;
static _Atomic unsigned arrivals[3];
static unsigned taken[3], bad;

static void arrived(void *ctx)
{
    atomic_fetch_add((_Atomic unsigned *)ctx, 1);
}

/* Every byte of a frame says who sent it. */
static void send(unsigned port, unsigned i)
{
    struct switch_frame *f = switch_begin(&sw);
    if (!f)
        abort(); /* each port has one of its own */
    memset(f->data, (int)(0x10 + port), 64);
    struct switch_mac from = switch_mac_of(port), to = switch_mac_of((port + 1 + i % 2) % 3);
    memcpy(f->data, i % 16 ? to.byte : (const uint8_t *)"\xff\xff\xff\xff\xff\xff", 6);
    memcpy(f->data + 6, from.byte, 6);
    f->len = 64;
    switch_send(&sw, port, f);
}

static bool take(unsigned port)
{
    struct switch_frame *f = switch_receive(&sw, port);
    if (!f)
        return false;
    for (unsigned i = 13; i < 64; i++)
        if (f->data[i] != f->data[12] || f->data[12] == 0x10 + port)
            bad++;
    taken[port]++;
    switch_discard(&sw, f);
    return true;
}

static void *cpu(void *arg)
{
    unsigned port = (unsigned)(uintptr_t)arg;
    fake_set_cpu(port);
    for (unsigned i = 0; i < FRAMES; i++) {
        send(port, i);
        while (take(port))
            ;
        if (i % 64 == 0)
            sched_yield();
    }
    while (!atomic_load(&stop))
        if (!take(port))
            sched_yield();
    return NULL;
}

/* The VM at port 2 ends and starts again, all the time. */
static void *life(void *arg)
{
    (void)arg;
    fake_set_cpu(3);
    for (unsigned i = 0; i < 300; i++) {
        unsigned port;
        switch_detach(&sw, 2);
        unsigned before = atomic_load(&arrivals[2]);
        for (unsigned k = 0; k < 20; k++)
            sched_yield();
        if (atomic_load(&arrivals[2]) != before)
            bad++; /* it was told though it is gone */
        (void)!switch_attach(&sw, arrived, &arrivals[2], &port);
        if (port != 2)
            bad++;
        switch_up(&sw, port);
        sched_yield();
    }
    return NULL;
}

int main(void)
{
    pthread_t t[4];
    fake_set_ncpus(4);
    switch_init(&sw);
    for (unsigned i = 0; i < 3; i++) {
        unsigned port;
        tap_ok(switch_attach(&sw, arrived, &arrivals[i], &port) == HV_OK && port == i, "port");
        switch_up(&sw, port);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, cpu, (void *)(uintptr_t)i);
    pthread_create(&t[3], NULL, life, NULL);
    pthread_join(t[3], NULL);
    usleep(1000);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    for (unsigned i = 0; i < 3; i++)
        switch_flush(&sw, i);
    tap_eq(bad, 0, "no frame is torn, none comes back to its sender, nobody is told who is gone");
    tap_ok(taken[0] && taken[1] && taken[2], "frames arrive (%u %u %u)", taken[0], taken[1],
           taken[2]);
    tap_eq(sw.nfree, SWITCH_FRAMES, "all frames are there");
    return tap_done();
}
