/* SPDX-License-Identifier: BSD-2-Clause */
/* The switch and the network device: who gets a frame, learning, ports that take nothing, drivers
 * that reset, and frames that are none. */
#include "tools/tests/virtio_rig.h"

static struct vswitch sw;
static unsigned told[SWITCH_PORTS];

static void arrived(void *ctx)
{
    (*(unsigned *)ctx)++;
}

static void make(unsigned n)
{
    memset((void *)&sw, 0, sizeof(sw));
    memset(told, 0, sizeof(told));
    switch_init(&sw);
    for (unsigned i = 0; i < n; i++) {
        unsigned port = 99;
        tap_ok(switch_attach(&sw, arrived, &told[i], &port) == HV_OK && port == i, "port %u", i);
        switch_up(&sw, i);
    }
}

static void send(unsigned port, const struct switch_mac *to, const struct switch_mac *from)
{
    struct switch_frame *f = switch_begin(&sw);
    memset(f->data, 0, sizeof(f->data));
    memcpy(f->data, to->byte, 6);
    memcpy(f->data + 6, from->byte, 6);
    f->data[14] = (uint8_t)(port + 0x40);
    f->len = 60;
    switch_send(&sw, port, f);
}
/* Frames that wait at the port, taken. */
static unsigned take(unsigned port)
{
    unsigned n = 0;
    struct switch_frame *f;
    while ((f = switch_receive(&sw, port))) {
        switch_discard(&sw, f);
        n++;
    }
    return n;
}
static const struct switch_mac all = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static void test_switch(void)
{
    make(4);
    struct switch_mac m0 = switch_mac_of(0), m1 = switch_mac_of(1), m2 = switch_mac_of(2);
    struct switch_mac x = {{2, 9, 9, 9, 9, 9}};
    send(0, &all, &m0);
    tap_eq(sw.nfree, SWITCH_FRAMES - 1, "a broadcast is one frame");
    tap_ok(told[1] && told[2] && told[3] && !told[0], "told to the others");
    tap_ok(!take(0) && take(1) == 1 && take(2) == 1 && take(3) == 1, "who all get it");
    tap_eq(sw.nfree, SWITCH_FRAMES, "and then it is free");
    send(0, &m1, &m0);
    tap_ok(take(1) == 1 && !take(2) && !take(3), "an address that was given");
    send(0, &x, &m0);
    tap_ok(take(1) == 1 && take(2) == 1 && take(3) == 1, "one that nobody knows");
    send(2, &m0, &x);
    (void)take(0);
    send(0, &x, &m0);
    tap_ok(!take(1) && take(2) == 1 && !take(3), "learned");
    send(3, &m0, &x);
    (void)take(0);
    send(0, &x, &m0);
    tap_ok(!take(1) && !take(2) && take(3) == 1, "moved");
    send(3, &m0, &m2);
    (void)take(0);
    send(0, &m2, &m0);
    tap_ok(take(2) == 1 && !take(3), "another's own address cannot be taken over");
    tap_eq(sw.port[3].nlearned, 1, "nor is it remembered there");
    send(0, &m0, &m0);
    tap_ok(!take(0) && !take(1), "not back to its sender");
    send(2, &m0, &x); /* 2 knows one, then many more: */
    for (unsigned i = 0; i < 100; i++) {
        struct switch_mac many = {{2, 8, 8, 8, 8, (uint8_t)i}};
        send(1, &m0, &many);
    }
    (void)take(0);
    send(0, &x, &m0);
    tap_ok(!take(1) && take(2) == 1 && !take(3),
           "a port that sends from many forgets its own only");
    tap_eq(sw.port[1].nlearned, SWITCH_LEARNED, "and no more than its places");
    tap_eq(sw.nfree, SWITCH_FRAMES, "all frames are there");
}

static void test_down(void)
{
    make(3);
    struct switch_mac m0 = switch_mac_of(0), m1 = switch_mac_of(1);
    unsigned port;
    send(0, &m1, &m0);
    switch_detach(&sw, 1);
    tap_ok(sw.nfree == SWITCH_FRAMES, "what waited for a VM that ended is gone");
    told[1] = 0;
    send(0, &m1, &m0), send(0, &all, &m0);
    tap_ok(!told[1] && !take(1) && take(2) == 1, "nothing comes there any more");
    tap_ok(switch_attach(&sw, arrived, &told[1], &port) == HV_OK && port == 1,
           "it has its port again");
    send(0, &all, &m0);
    tap_ok(!take(1), "down until there is a device");
    switch_up(&sw, 1);
    send(0, &m1, &m0);
    tap_ok(take(1) == 1 && told[1], "then as before");
    for (unsigned i = 0; i < 50; i++) {
        switch_detach(&sw, 1);
        (void)!switch_attach(&sw, arrived, &told[1], &port);
        switch_up(&sw, port);
    }
    tap_eq(port, 1, "many lives, one port");
}

static void test_deaf(void)
{
    make(SWITCH_PORTS);
    unsigned port;
    tap_eq(switch_attach(&sw, arrived, &sw, &port), HV_NOMEM, "no ninth port");
    struct switch_mac m0 = switch_mac_of(0), m2 = switch_mac_of(2);
    for (unsigned i = 0; i < 10000; i++)
        send(i % 2, &all, &m0);
    tap_eq(sw.port[5].lost, 10000 - SWITCH_INBOX, "ports that take nothing lose");
    tap_ok(sw.nfree >= SWITCH_PORTS, "a staging frame for each is left");
    tap_eq(take(2), SWITCH_INBOX, "one wakes up");
    send(0, &m2, &m0);
    tap_eq(take(2), 1, "and gets what comes for it");
    for (unsigned i = 0; i < SWITCH_PORTS; i++)
        switch_flush(&sw, i);
    tap_eq(sw.nfree, SWITCH_FRAMES, "all frames are there");
}

/* --- two network devices --- */

static struct vnet na, nb;
static struct ring rx[2], tx[2];

static void up(struct vnet *n, unsigned i)
{
    negotiate(&n->dev, VIRTIO_F_VERSION_1 | BIT(5));
    rx[i] = ring_at(0x10000 + 0x8000 * (uint64_t)i, 8);
    tx[i] = ring_at(0x14000 + 0x8000 * (uint64_t)i, 8);
    queue_up(&n->dev, 0, &rx[i]);
    queue_up(&n->dev, 1, &tx[i]);
    driver_ok(&n->dev);
}
static void nets(void)
{
    rig_virtio(2);
    memset((void *)&sw, 0, sizeof(sw));
    switch_init(&sw);
    tap_ok(vnet_init(&na, &host, PCI_DEVFN(2, 0), &sw) == HV_OK &&
               vpc_pci_add(&pc, &na.dev.fn) == HV_OK &&
               vnet_init(&nb, &host, PCI_DEVFN(3, 0), &sw) == HV_OK &&
               vpc_pci_add(&pc, &nb.dev.fn) == HV_OK,
           "two ports");
    up(&na, 0), up(&nb, 1);
}
/* Sends a frame of n bytes, all `c` but for the broadcast address, from port i. */
static void transmit(struct vnet *n, unsigned i, uint32_t bytes, uint8_t c)
{
    memset(ram + 0x60000, 0, 12);
    memset(ram + 0x60000 + 12, 0xff, 6);
    memset(ram + 0x60000 + 18, c, bytes);
    ram[0x60000 + 18] = 2; /* no group address */
    desc_set(tx[i].desc, 0, 0x60000, 12, D_NEXT, 1);
    desc_set(tx[i].desc, 1, 0x60000 + 12, bytes, 0, 0);
    offer(&tx[i], 0);
    kick(&n->dev, 1);
    for (unsigned k = 0; k < 100 && run(0); k++)
        ;
}

static void test_net(void)
{
    uint32_t head, len;
    nets();
    tap_eq(reg_r(&na.dev, VIRTIO_CONFIG_AT, 1), 2, "a local address");
    tap_ok(reg_r(&na.dev, VIRTIO_CONFIG_AT + 5, 1) != reg_r(&nb.dev, VIRTIO_CONFIG_AT + 5, 1),
           "of its own");
    tap_eq(reg_r(&na.dev, VIRTIO_CONFIG_AT + 6, 2), 1, "the link is up");
    desc_set(rx[1].desc, 0, 0x80000, 2000, D_WRITE, 0);
    transmit(&na, 0, 100, 0x5c);
    tap_ok(reap(&tx[0], &head, &len) && len == 0, "sent: nothing written");
    tap_ok(!reap(&rx[1], &head, &len), "no buffer: it waits");
    offer(&rx[1], 0);
    kick(&nb.dev, 0);
    tap_ok(reap(&rx[1], &head, &len) && len == 112, "header and frame");
    tap_ok(get16(0x80000 + 10) == 1 && ram[0x80000 + 12] == 0xff && ram[0x80000 + 111] == 0x5c,
           "one buffer, the frame's bytes");
    offer(&rx[1], 0);
    transmit(&na, 0, 1518, 1);
    tap_ok(reap(&rx[1], &head, &len) && len == 1530, "the longest");
    (void)reap(&tx[0], &head, &len);
    offer(&rx[1], 0);
    transmit(&na, 0, 1519, 1);
    tap_ok(!reap(&rx[1], &head, &len) && reap(&tx[0], &head, &len), "a longer one is lost");
    transmit(&na, 0, 13, 1);
    tap_ok(!reap(&rx[1], &head, &len) && reap(&tx[0], &head, &len), "so is half a header");
    tap_eq(atomic_load(&na.dropped), 2, "and counted");
    transmit(&na, 0, 60, 1);
    (void)reap(&rx[1], &head, &len);
    desc_set(rx[1].desc, 1, 0x80000, 20, D_WRITE, 0);
    offer(&rx[1], 1);
    transmit(&na, 0, 60, 1);
    tap_ok(reap(&rx[1], &head, &len) && len == 0 && nb.dropped == 1, "a buffer that is too short");
    tap_eq(sw.nfree, SWITCH_FRAMES, "all frames are there");
}

static void test_net_hostile(void)
{
    uint32_t head, len;
    nets();
    for (unsigned i = 0; i < 200; i++)
        transmit(&na, 0, 60, 1);
    tap_eq(sw.port[1].count, SWITCH_INBOX, "a full inbox");
    reg_w(&nb.dev, 0x14, 1, 0);
    (void)run(0);
    tap_ok(sw.port[1].count == 0 && sw.nfree == SWITCH_FRAMES, "goes with the driver");
    for (unsigned i = 0; i < 200; i++)
        transmit(&na, 0, 60, 1);
    tap_eq(reg_r(&na.dev, 0x14, 1), 15, "the sender does not suffer");
    up(&nb, 1);
    desc_set(rx[1].desc, 0, RAM_BYTES - 50, 2000, D_WRITE, 0);
    offer(&rx[1], 0);
    kick(&nb.dev, 0);
    transmit(&na, 0, 60, 1);
    for (unsigned i = 0; i < 10 && run(0); i++)
        ;
    tap_ok(reg_r(&nb.dev, 0x14, 1) & VIRTIO_NEEDS_RESET, "a buffer that is no RAM: broken");
    desc_set(tx[0].desc, 0, RAM_BYTES, 12, D_NEXT, 1);
    desc_set(tx[0].desc, 1, RAM_BYTES - 10, 60, 0, 0);
    offer(&tx[0], 0);
    kick(&na.dev, 1);
    tap_ok(reg_r(&na.dev, 0x14, 1) & VIRTIO_NEEDS_RESET, "so for a sender");
    switch_flush(&sw, 0), switch_flush(&sw, 1);
    tap_eq(sw.nfree, SWITCH_FRAMES, "all frames are there");
    (void)reap(&rx[0], &head, &len);
}

int main(void)
{
    test_switch();
    test_down();
    test_deaf();
    test_net();
    test_net_hostile();
    return tap_done();
}
