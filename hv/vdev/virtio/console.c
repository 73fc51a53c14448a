/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio console (VIRTIO 1.2, 5.3) with one port: a second line to the VM's console. Tested by
 * tools/tests/test_virtio_dev.c. */
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
#include "hv/vdev/virtio/devices.h"

#define CLASS_COMMUNICATION 0x078000u
enum { QUEUE_IN, QUEUE_OUT, QUEUES };
#define PIECE 256u /* bytes of output at a time */
#define TURN 1024u /* and before the guest gets its turn again: a serial line is slow */
#define INPUTS 16u /* buffers of input a turn */

/* The chain that is open goes out by pieces, however long it is. */
static enum hv_err put_out(struct vconsole *c, const struct vmem *m, unsigned *turn)
{
    char text[PIECE];
    while (c->out_at < c->out.read_bytes && *turn < TURN) {
        uint64_t left = c->out.read_bytes - c->out_at;
        size_t n = left < sizeof(text) ? (size_t)left : sizeof(text);
        TRY(virtq_read(&c->out, m, c->out_at, text, n));
        c->output(c->ctx, text, n);
        c->out_at += n;
        *turn += (unsigned)n;
    }
    if (c->out_at < c->out.read_bytes)
        return HV_AGAIN;
    c->out_open = false;
    return virtq_push(&c->dev.q[QUEUE_OUT], m, c->out.head, 0);
}

static enum hv_err work_out(struct vconsole *c, const struct vmem *m, uint32_t from)
{
    enum hv_err r = HV_OK;
    bool empty = false;
    unsigned turn = 0;
    for (unsigned i = 0; i < VIRTIO_CHAINS && turn < TURN && r == HV_OK; i++) {
        if (!c->out_open) {
            r = virtq_next(&c->dev.q[QUEUE_OUT], m, &c->out);
            empty = r == HV_AGAIN;
            c->out_open = r == HV_OK;
            c->out_at = 0;
        }
        if (r == HV_OK)
            r = put_out(c, m, &turn);
    }
    if (r != HV_OK && r != HV_AGAIN)
        return HV_INVALID;
    TRY(virtio_tell(&c->dev, m, from, QUEUE_OUT));
    return empty ? HV_OK : HV_AGAIN;
}

/* What waits, up to n bytes. */
static unsigned fifo_take(struct vconsole *c, uint8_t *buf, unsigned n)
{
    unsigned got = 0;
    lock_take(&c->dev.lock);
    while (got < n && c->count) {
        buf[got++] = c->fifo[c->head];
        c->head = (c->head + 1) % VCONSOLE_FIFO;
        c->count--;
    }
    lock_drop(&c->dev.lock);
    return got;
}

static unsigned fifo_waits(struct vconsole *c)
{
    lock_take(&c->dev.lock);
    unsigned n = c->count;
    lock_drop(&c->dev.lock);
    return n;
}

/* There is room again for whoever reads the console, on a CPU of this VM or another. */
static void fifo_room(struct vconsole *c, uint32_t from)
{
    uint32_t vcpu;
    lock_take(&c->dev.lock);
    uint32_t starved = c->count < VCONSOLE_FIFO ? c->starved : 0;
    c->listens = true;
    if (starved)
        c->starved = 0;
    lock_drop(&c->dev.lock);
    struct coherency *co = starved ? coherency_of(starved - 1, &vcpu) : NULL;
    if (co)
        action_post(co, co == c->dev.host->co ? from : ACTION_OUTSIDE, vcpu, ACTION_INPUT);
}

static enum hv_err work_in(struct vconsole *c, const struct vmem *m, uint32_t from)
{
    struct virtio *v = &c->dev;
    uint8_t buf[PIECE];
    enum hv_err r = HV_OK;
    unsigned i = 0;
    for (; i < INPUTS && fifo_waits(c); i++) {
        r = virtq_next(&v->q[QUEUE_IN], m, &v->chain);
        if (r != HV_OK)
            break;
        uint64_t room = v->chain.write_bytes;
        unsigned n = fifo_take(c, buf, room < sizeof(buf) ? (unsigned)room : PIECE);
        r = virtq_write(&v->chain, m, 0, buf, n);
        if (r == HV_OK)
            r = virtq_push(&v->q[QUEUE_IN], m, v->chain.head, n);
        if (r != HV_OK)
            break;
    }
    if (r != HV_OK && r != HV_AGAIN)
        return HV_INVALID;
    fifo_room(c, from);
    TRY(virtio_tell(v, m, from, QUEUE_IN));
    return i == INPUTS ? HV_AGAIN : HV_OK;
}

static enum hv_err console_queue(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    struct vconsole *c = v->back;
    return q == QUEUE_IN ? work_in(c, m, from) : work_out(c, m, from);
}

static void console_reset(struct virtio *v)
{
    struct vconsole *c = v->back;
    c->out_open = false;
    lock_take(&v->lock);
    c->listens = false;
    c->head = c->count = 0;
    lock_drop(&v->lock);
}

bool vconsole_listens(struct vconsole *c)
{
    lock_take(&c->dev.lock);
    bool listens = c->listens;
    lock_drop(&c->dev.lock);
    return listens && virtio_live(&c->dev);
}

bool vconsole_input(struct vconsole *c, uint8_t byte)
{
    lock_take(&c->dev.lock);
    bool room = c->count < VCONSOLE_FIFO;
    if (room)
        c->fifo[(c->head + c->count++) % VCONSOLE_FIFO] = byte;
    else
        c->starved = port_cpu() + 1;
    lock_drop(&c->dev.lock);
    virtio_call(&c->dev, 1u << QUEUE_IN);
    return room;
}

static const struct virtio_ops console_ops = {.queue = console_queue, .reset = console_reset};
static const struct virtio_kind console_kind = {.type = VIRTIO_CONSOLE,
                                                .name = "console",
                                                .class_code = CLASS_COMMUNICATION,
                                                .nqueues = QUEUES,
                                                .ops = &console_ops};

enum hv_err vconsole_init(struct vconsole *c, struct virtio_host *h, uint8_t devfn,
                          void (*output)(void *ctx, const char *text, size_t n), void *ctx)
{
    c->output = output;
    c->ctx = ctx;
    /* 5.3.4: cols, rows, max_nr_ports, emerg_wr, none of which was offered */
    const uint8_t config[12] = {0};
    return virtio_init(&c->dev, h, &console_kind, devfn, config, sizeof(config), c);
}
