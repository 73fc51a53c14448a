/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio network device (VIRTIO 1.2, 5.1): a port of the switch. Tested by
 * tools/tests/test_switch.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vdev/virtio/devices.h"

#define CLASS_ETHERNET 0x020000u
enum { QUEUE_RX, QUEUE_TX, QUEUES };
#define NET_F_MAC BIT(5)
#define NET_F_STATUS BIT(16)
#define NET_LINK_UP 1u

struct net_config { /* 5.1.4 */
    uint8_t mac[6];
    uint16_t status;
};
_Static_assert(sizeof(struct net_config) == 8, "network configuration");

struct net_header { /* 5.1.6, with VERSION_1 */
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct net_header) == 12, "network header");

/* The header asks for nothing that was not offered: it is not looked at (5.1.6.2). */
static enum hv_err transmit(struct virtio *v, const struct vmem *m, unsigned q, uint64_t *bytes)
{
    struct vnet *n = v->back;
    uint64_t len = v->chain.read_bytes - sizeof(struct net_header);
    struct switch_frame *f = NULL;
    if (v->chain.read_bytes >= sizeof(struct net_header) + SWITCH_FRAME_MIN &&
        len <= SWITCH_FRAME_MAX)
        f = switch_begin(n->sw);
    if (!f) {
        atomic_fetch_add_explicit(&n->dropped, 1, memory_order_relaxed);
        return virtq_push(&v->q[q], m, v->chain.head, 0);
    }
    f->len = (uint16_t)len;
    if (virtq_read(&v->chain, m, sizeof(struct net_header), f->data, f->len) != HV_OK) {
        switch_discard(n->sw, f);
        return HV_INVALID;
    }
    switch_send(n->sw, n->port, f);
    *bytes += len;
    return virtq_push(&v->q[q], m, v->chain.head, 0);
}

/* The frame into a chain; one that is too short for it is given back empty, and the frame lost. */
static enum hv_err receive(struct vnet *n, const struct vmem *m, const struct switch_frame *f)
{
    struct virtio *v = &n->dev;
    const struct net_header h = {.num_buffers = 1};
    uint32_t written = 0;
    if (v->chain.write_bytes >= sizeof(h) + f->len) {
        TRY(virtq_write(&v->chain, m, 0, &h, sizeof(h)));
        TRY(virtq_write(&v->chain, m, sizeof(h), f->data, f->len));
        written = (uint32_t)sizeof(h) + f->len;
    } else {
        atomic_fetch_add_explicit(&n->dropped, 1, memory_order_relaxed);
    }
    return virtq_push(&v->q[QUEUE_RX], m, v->chain.head, written);
}

/* A frame is taken only when there is a buffer for it: without one it waits at the port. */
static enum hv_err work_rx(struct vnet *n, const struct vmem *m, uint32_t from)
{
    struct virtio *v = &n->dev;
    struct virtq *rx = &v->q[QUEUE_RX];
    enum hv_err r = HV_OK;
    unsigned i = 0;
    for (; i < VIRTIO_CHAINS && switch_waits(n->sw, n->port); i++) {
        r = virtq_next(rx, m, &v->chain);
        if (r != HV_OK)
            break;
        struct switch_frame *f = switch_receive(n->sw, n->port); /* nobody else takes any */
        r = f ? receive(n, m, f) : HV_INVALID;
        if (f)
            switch_discard(n->sw, f);
        if (r != HV_OK)
            break;
    }
    if (r != HV_OK && r != HV_AGAIN)
        return HV_INVALID;
    TRY(virtio_tell(v, m, from, QUEUE_RX));
    return i == VIRTIO_CHAINS ? HV_AGAIN : HV_OK;
}

static enum hv_err net_queue(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    struct vnet *n = v->back;
    return q == QUEUE_RX ? work_rx(n, m, from)
                         : virtio_drain(v, m, from, q, VIRTIO_CHAINS, transmit);
}

static void net_reset(struct virtio *v)
{
    struct vnet *n = v->back;
    switch_flush(n->sw, n->port);
}

/* From a sender's CPU, of any VM. */
static void net_arrived(void *ctx)
{
    struct vnet *n = ctx;
    virtio_call(&n->dev, 1u << QUEUE_RX);
}

/* The VM ends: its device is not called any more. */
static void net_stop(struct virtio *v)
{
    struct vnet *n = v->back;
    switch_detach(n->sw, n->port);
}

static void net_say(const struct virtio *v, char *line, size_t size)
{
    const struct vnet *n = v->back;
    const struct switch_port *p = &n->sw->port[n->port];
    hv_snprintf(line, size,
                "  port %u: %llu frames sent, %llu received, %llu lost for want of room, %llu "
                "dropped, %u wait",
                n->port, (unsigned long long)p->sent, (unsigned long long)p->received,
                (unsigned long long)p->lost,
                (unsigned long long)atomic_load_explicit(&n->dropped, memory_order_relaxed),
                p->count);
}

static const struct virtio_ops net_ops = {
    .queue = net_queue, .reset = net_reset, .stop = net_stop, .say = net_say};
static const struct virtio_kind net_kind = {.type = VIRTIO_NET,
                                            .name = "network",
                                            .class_code = CLASS_ETHERNET,
                                            .nqueues = QUEUES,
                                            .features = NET_F_MAC | NET_F_STATUS,
                                            .ops = &net_ops};

enum hv_err vnet_init(struct vnet *n, struct virtio_host *h, uint8_t devfn, struct vswitch *sw)
{
    struct net_config config = {.status = NET_LINK_UP};
    struct switch_mac mac;
    n->sw = sw;
    TRY(switch_attach(sw, net_arrived, n, &n->port));
    mac = switch_mac_of(n->port);
    memcpy(config.mac, mac.byte, sizeof(config.mac));
    TRY(virtio_init(&n->dev, h, &net_kind, devfn, &config, sizeof(config), n));
    switch_up(sw, n->port);
    return HV_OK;
}
