/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio device's registers and life: what may be written when, features, reset, interrupts by
 * pin and by message, notifications, the window in configuration space, a broken ring, bounded
 * turns. */
#include "tools/tests/virtio_rig.h"

static struct virtio dev;
static struct ring r;
static unsigned calls, resets;
static bool endless;
static const uint8_t config[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static enum hv_err echo(struct virtio *v, const struct vmem *m, unsigned q, uint64_t *bytes)
{
    uint8_t b = 0x99;
    *bytes += v->chain.write_bytes;
    if (v->chain.write_bytes)
        TRY(virtq_write(&v->chain, m, 0, &b, 1));
    return virtq_push(&v->q[q], m, v->chain.head, v->chain.write_bytes ? 1 : 0);
}
static enum hv_err queue(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    calls++;
    if (endless)
        return HV_AGAIN;
    return virtio_drain(v, m, from, q, 4, echo);
}
static void on_reset(struct virtio *v)
{
    (void)v;
    resets++;
}
static const struct virtio_ops ops = {.queue = queue, .reset = on_reset};
static const struct virtio_kind kind = {.type = VIRTIO_NET,
                                        .name = "test",
                                        .class_code = 0xff0000,
                                        .nqueues = 2,
                                        .features = BIT(5) | BIT(40),
                                        .ops = &ops};

#define VIRTIO_F(bits) ((bits) | VIRTIO_F_VERSION_1)

static void make(void)
{
    rig_virtio(2);
    calls = resets = 0;
    endless = false;
    tap_eq(virtio_init(&dev, &host, &kind, PCI_DEVFN(2, 0), config, sizeof(config), NULL), HV_OK,
           "made");
    tap_eq(vpc_pci_add(&pc, &dev.fn), HV_OK, "on the bus");
}

static void msix(bool on)
{
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | dev.fn.msix.cap);
    (void)rig_io(0, false, 0xcfe, 2, true, on ? 0x8000 : 0);
}

static void test_features(void)
{
    make();
    reg_w(&dev, 0, 4, 0);
    tap_eq(reg_r(&dev, 4, 4), BIT(5) | BIT(28) | BIT(29), "offered, low");
    reg_w(&dev, 0, 4, 1);
    tap_eq(reg_r(&dev, 4, 4), BIT(0) | BIT(8), "offered, high");
    reg_w(&dev, 0, 4, 2);
    tap_eq(reg_r(&dev, 4, 4), 0, "no more");
    tap_eq(reg_r(&dev, 0x12, 2), 2, "queues");
    reg_w(&dev, 0x14, 1, 8);
    tap_eq(reg_r(&dev, 0x14, 1), 0, "FEATURES_OK is no first step");
    negotiate(&dev, BIT(5));
    tap_eq(reg_r(&dev, 0x14, 1), 3, "without VERSION_1: not OK");
    negotiate(&dev, VIRTIO_F(BIT(6)));
    tap_eq(reg_r(&dev, 0x14, 1), 3, "what was not offered: not OK");
    negotiate(&dev, VIRTIO_F(BIT(5)));
    tap_eq(reg_r(&dev, 0x14, 1), 11, "OK");
    reg_w(&dev, 8, 4, 0), reg_w(&dev, 12, 4, 0);
    tap_eq(reg_r(&dev, 12, 4), BIT(5), "and fixed");
    reg_w(&dev, 0x14, 1, 3);
    tap_eq(reg_r(&dev, 0x14, 1), 11, "bits are not taken back");
    reg_w(&dev, 0x14, 1, 0xff);
    tap_eq(reg_r(&dev, 0x14, 1), 0x8f, "NEEDS_RESET is not the driver's");
    reg_w(&dev, 0x14, 1, 0);
    tap_eq(reg_r(&dev, 0x14, 1), 0x8f, "a reset shows when it is done");
    reg_w(&dev, 0x14, 1, 1);
    (void)run(0);
    tap_ok(reg_r(&dev, 0x14, 1) == 0 && resets > 0 && reg_r(&dev, 12, 4) == 0,
           "then everything is new");
}

static void test_queue(void)
{
    make();
    reg_w(&dev, 0x16, 2, 7);
    tap_ok(reg_r(&dev, 0x18, 2) == 0 && reg_r(&dev, 0x1a, 2) == 0xffff, "no such queue: size 0");
    reg_w(&dev, 0x16, 2, 1);
    tap_eq(reg_r(&dev, 0x18, 2), VIRTQ_MAX, "the most at first");
    reg_w(&dev, 0x18, 2, 16);
    tap_eq(reg_r(&dev, 0x18, 2), VIRTQ_MAX, "not before FEATURES_OK");
    negotiate(&dev, VIRTIO_F(0));
    reg_w(&dev, 0x16, 2, 1);
    reg_w(&dev, 0x18, 2, 24), reg_w(&dev, 0x18, 2, 0), reg_w(&dev, 0x18, 2, 256);
    tap_eq(reg_r(&dev, 0x18, 2), VIRTQ_MAX, "powers of two up to the most");
    reg_w(&dev, 0x18, 2, 16);
    tap_eq(reg_r(&dev, 0x18, 2), 16, "taken");
    reg_w(&dev, 0x20, 4, 0x12345670), reg_w(&dev, 0x24, 4, 0x1), reg_w(&dev, 0x20, 4, 0x10000);
    tap_eq(reg_r(&dev, 0x20, 8), 0x100010000, "halves replace");
    tap_eq(reg_r(&dev, 0x1e, 2), 1, "where to notify");
    reg_w(&dev, 0x20, 8, 0x10008);
    reg_w(&dev, 0x1c, 2, 1);
    tap_eq(reg_r(&dev, 0x1c, 2), 0, "a table that is not aligned is not enabled");
    reg_w(&dev, 0x20, 8, 0x10000);
    reg_w(&dev, 0x1c, 2, 1);
    tap_eq(reg_r(&dev, 0x1c, 2), 1, "enabled");
    reg_w(&dev, 0x20, 8, 0x70000), reg_w(&dev, 0x18, 2, 8), reg_w(&dev, 0x1c, 2, 0);
    tap_ok(reg_r(&dev, 0x20, 8) == 0x10000 && reg_r(&dev, 0x18, 2) == 16 &&
               reg_r(&dev, 0x1c, 2) == 1,
           "and fixed");
    driver_ok(&dev);
    reg_w(&dev, 0x16, 2, 0);
    reg_w(&dev, 0x20, 8, 0x70000), reg_w(&dev, 0x18, 2, 8), reg_w(&dev, 0x1c, 2, 1);
    tap_ok(reg_r(&dev, 0x20, 8) == 0 && reg_r(&dev, 0x1c, 2) == 0, "with DRIVER_OK the others too");
    tap_eq(reg_r(&dev, 0x16, 4), 0, "a field is accessed by its own width");
    reg_w(&dev, 0x1a, 2, 3);
    tap_eq(reg_r(&dev, 0x1a, 2), 0xffff, "no such vector");
}

static void start(uint64_t features)
{
    negotiate(&dev, VIRTIO_F(features));
    r = ring_at(0x10000, 8);
    queue_up(&dev, 1, &r);
    desc_set(r.desc, 0, 0x40000, 4, D_WRITE, 0);
    driver_ok(&dev);
}

static void test_work(void)
{
    uint32_t head, len;
    make();
    reg_w(&dev, 0x3004, 2, 1);
    (void)run(0);
    tap_eq(calls, 0, "notified too early");
    start(0);
    calls = 0;
    offer(&r, 0);
    kick(&dev, 1);
    tap_ok(reap(&r, &head, &len) && head == 0 && len == 1 && ram[0x40000] == 0x99, "done");
    kick(&dev, 0);
    tap_eq(calls, 1, "a queue that is not enabled is not looked at");
    reg_w(&dev, 0x3000, 2, 77);
    tap_ok(!run(0) && calls == 1, "nor one that is not there");
    for (unsigned i = 0; i < 8; i++)
        offer(&r, 0);
    reg_w(&dev, 0x3004, 2, 1);
    tap_ok(run(0), "more than a turn");
    tap_eq(get16(r.used + 2), 5, "bounded");
    tap_ok(virtio_todo(&host, 0) && run(0), "goes on");
    (void)run(0);
    tap_eq(get16(r.used + 2), 9, "to the end");
    tap_ok(!run(0), "then rests");
    tap_eq(mem_stores % 3, 0, "an element in two stores, the index in one");
}

static void test_interrupts(void)
{
    make();
    ioapic_pin(VPC_PCI_PIN + 2, 0x8000 | 0x51);
    start(0);
    offer(&r, 0);
    kick(&dev, 1);
    tap_eq(vlapic_pending(&pc, 0), 0x51, "by its pin");
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 1, "ISR: a queue");
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 0, "reading takes it");
    (void)vlapic_accept(&pc, 0), vlapic_eoi(&pc, 0);
    tap_eq(vlapic_pending(&pc, 0), -1, "and the level");
    put16(r.avail, 1);
    offer(&r, 0);
    kick(&dev, 1);
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 0, "NO_INTERRUPT");
    put16(r.avail, 0);
    uint8_t b = 9;
    uint8_t before = (uint8_t)reg_r(&dev, 0x15, 1);
    tap_eq(reg_r(&dev, VIRTIO_CONFIG_AT, 4), 0x04030201, "configuration");
    tap_eq(reg_r(&dev, VIRTIO_CONFIG_AT + 6, 4), 0, "not over its end");
    reg_w(&dev, VIRTIO_CONFIG_AT, 4, 0);
    virtio_config_change(&dev, 0, 0, &b, 1);
    tap_ok(reg_r(&dev, VIRTIO_CONFIG_AT, 1) == 9 && (uint8_t)reg_r(&dev, 0x15, 1) == before + 1,
           "changed, with a generation");
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 2, "ISR: configuration");
    /* MSI-X */
    reg_w(&dev, VIRTIO_MSIX_AT + 32, 4, 0xfee01000), reg_w(&dev, VIRTIO_MSIX_AT + 40, 4, 0x61);
    reg_w(&dev, VIRTIO_MSIX_AT + 44, 4, 0);
    msix(true);
    offer(&r, 0);
    kick(&dev, 1);
    (void)vlapic_accept(&pc, 0), vlapic_eoi(&pc, 0);
    tap_eq(vlapic_pending(&pc, 1), 0x61, "by message, queue 1's vector 2");
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 0, "without ISR");
}

static void configuration_changes(void)
{
    uint8_t b = 7;
    virtio_config_change(&dev, 0, 0, &b, 1);
}

/* Vectors: read back, mapped to nothing, one for the configuration; ISR tells of that one alone. */
static void test_vectors(void)
{
    make();
    start(0);
    tap_ok(reg_r(&dev, 0x10, 2) == 0xffff && reg_r(&dev, 0x1a, 2) == 2, "vectors are read back");
    reg_w(&dev, 0x10, 2, 3);
    tap_eq(reg_r(&dev, 0x10, 2), 0xffff, "one beyond the table: NO_VECTOR");
    msix(true);
    configuration_changes();
    tap_ok(vlapic_pending(&pc, 0) == -1 && vlapic_pending(&pc, 1) == -1, "NO_VECTOR: no message");
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 2, "a changed configuration is in ISR all the same");
    reg_w(&dev, 0x10, 2, 0);
    tap_eq(reg_r(&dev, 0x10, 2), 0, "mapped");
    reg_w(&dev, VIRTIO_MSIX_AT, 4, 0xfee01000), reg_w(&dev, VIRTIO_MSIX_AT + 8, 4, 0x62);
    reg_w(&dev, VIRTIO_MSIX_AT + 12, 4, 0);
    configuration_changes();
    tap_eq(vlapic_pending(&pc, 1), 0x62, "its message");
    (void)vlapic_accept(&pc, 1), vlapic_eoi(&pc, 1);
    reg_w(&dev, 0x16, 2, 1), reg_w(&dev, 0x1a, 2, 0xffff);
    offer(&r, 0);
    kick(&dev, 1);
    tap_eq(vlapic_pending(&pc, 1), -1, "a queue whose vector was taken away interrupts nobody");
    reg_w(&dev, 0x1a, 2, 1);
    offer(&r, 0);
    kick(&dev, 1);
    tap_ok(dev.pending[0] == 2 && vlapic_pending(&pc, 1) == -1, "a masked entry waits");
    reg_w(&dev, 0x14, 1, 0);
    (void)run(0);
    tap_ok(dev.pending[0] == 0, "and a reset takes what waits");
    reg_w(&dev, 0x16, 2, 1);
    tap_ok(reg_r(&dev, 0x10, 2) == 0xffff && reg_r(&dev, 0x1a, 2) == 0xffff, "with the vectors");
}

/* Who takes Bus Master away, as a kernel does that makes room for the next one, has its memory for
 * itself: also when the bit comes back, until a driver calls. */
static void test_master(void)
{
    uint32_t head, len;
    make();
    start(0);
    offer(&r, 0);
    command(&dev, PCI_COMMAND_MEMORY);
    mem_writes = mem_stores = 0;
    kick(&dev, 1);
    virtio_call(&dev, 2);
    (void)run(0);
    tap_ok(!mem_writes && !mem_stores && !virtio_live(&dev),
           "without Bus Master nothing is touched");
    command(&dev, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    virtio_call(&dev, 2);
    (void)run(0);
    tap_ok(!mem_writes && !mem_stores, "nor when it comes back, for what is left in a ring");
    kick(&dev, 1);
    tap_ok(reap(&r, &head, &len) && virtio_live(&dev), "until the driver notifies");
}

/* Fields by their own width: 4.1.3.1. */
static void test_widths(void)
{
    make();
    negotiate(&dev, VIRTIO_F(0));
    reg_w(&dev, 0x16, 1, 1);
    tap_eq(reg_r(&dev, 0x16, 2), 0, "half of a field is not written");
    reg_w(&dev, 0x14, 2, 0x0f);
    tap_eq(reg_r(&dev, 0x14, 1), 11, "nor two fields at once");
    reg_w(&dev, 0x20, 2, 0x1234), reg_w(&dev, 0x22, 4, 0x1234), reg_w(&dev, 0x24, 8, 0x1234);
    tap_eq(reg_r(&dev, 0x20, 8), 0, "64 bits: whole or by aligned halves");
    reg_w(&dev, 0x04, 4, 1), reg_w(&dev, 0x12, 2, 9), reg_w(&dev, 0x15, 1, 9),
        reg_w(&dev, 0x1e, 2, 9);
    tap_ok(reg_r(&dev, 0x12, 2) == 2 && reg_r(&dev, 0x1e, 2) == 0, "what is read-only stays");
    tap_eq(reg_r(&dev, 0x34, 8), 0, "nothing beyond the end");
    reg_w(&dev, 0x14, 1, 0x40);
    tap_eq(reg_r(&dev, 0x14, 1), 11, "status bits are not exchanged for others");
}

static void test_broken(void)
{
    uint32_t head, len;
    make();
    start(VIRTIO_F_EVENT_IDX);
    offer(&r, 99);
    kick(&dev, 1);
    tap_eq(reg_r(&dev, 0x14, 1), 15 | VIRTIO_NEEDS_RESET, "NEEDS_RESET");
    tap_eq(reg_r(&dev, VIRTIO_ISR_AT, 1), 2, "and the driver told");
    offer(&r, 0);
    calls = 0;
    kick(&dev, 1);
    tap_eq(calls, 0, "nothing is done until a reset");
    start(0);
    offer(&r, 0);
    kick(&dev, 1);
    tap_ok(reap(&r, &head, &len), "after which all is well");
}

static void test_window(void)
{
    make();
    unsigned cap = dev.cfg_cap;
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 8));
    (void)rig_io(0, false, 0xcfc, 4, true, 0x12);
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 12));
    (void)rig_io(0, false, 0xcfc, 4, true, 2);
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 16));
    tap_eq(rig_io(0, false, 0xcfc, 4, false, 0) & 0xffff, 2, "read through the window: two queues");
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 8));
    (void)rig_io(0, false, 0xcfc, 4, true, 0x14);
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 12));
    (void)rig_io(0, false, 0xcfc, 4, true, 1);
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 16));
    (void)rig_io(0, false, 0xcfc, 1, true, 1);
    tap_eq(reg_r(&dev, 0x14, 1), 1, "written through it");
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 8));
    (void)rig_io(0, false, 0xcfc, 4, true, 0x7fffffff);
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80001000 | (cap + 16));
    tap_ok(rig_io(0, false, 0xcfc, 1, false, 0) != 0x1234, "a place that is none harms nothing");
}

/* A CPU that finds another at work leaves its bits to it; a call reaches the one that ran it last.
 */
static void test_runner(void)
{
    make();
    start(0);
    atomic_fetch_or(&dev.work, VIRTIO_WORK_RUNNING);
    calls = 0;
    reg_w(&dev, 0x3004, 2, 1);
    tap_ok(!run(0) && calls == 0, "somebody is at it");
    tap_ok(atomic_load(&dev.work) & 2, "and finds the bit");
    atomic_fetch_and(&dev.work, ~(uint32_t)VIRTIO_WORK_RUNNING);
    (void)run(1);
    tap_eq(calls, 1, "whoever comes next");
    (void)actions(1);
    virtio_call(&dev, 2);
    tap_eq(actions(1) & ACTION_DEVICE, ACTION_DEVICE, "CPU 1 ran it last: it is called");
    virtio_call(&dev, 2);
    tap_eq(actions(1), 0, "once");
    endless = true;
    tap_ok(run(1) && run(1), "work that does not end");
    reg_w(&dev, 0x14, 1, 0);
    (void)run(0);
    tap_eq(reg_r(&dev, 0x14, 1), 0, "ends with a reset");
    tap_ok(!run(0) && !run(1), "and rests");
}

int main(void)
{
    test_features();
    test_queue();
    test_work();
    test_interrupts();
    test_vectors();
    test_master();
    test_widths();
    test_broken();
    test_window();
    test_runner();
    struct virtio more[VIRTIO_DEVICES];
    enum hv_err e = HV_OK;
    rig_virtio(1);
    for (unsigned i = 0; i < VIRTIO_DEVICES; i++)
        e = virtio_init(&more[i], &host, &kind, PCI_DEVFN(2 + i, 0), config, 8, NULL);
    tap_eq(e, HV_OK, "as many as fit");
    tap_eq(virtio_init(&dev, &host, &kind, PCI_DEVFN(20, 0), config, 8, NULL), HV_NOMEM,
           "and no more");
    return tap_done();
}
