/* SPDX-License-Identifier: BSD-2-Clause */
/* The switch between VMs: who gets a frame, and nobody waits. All work under the lock is bounded by
 * the number of ports. Tested by tools/tests/test_switch.c and test_switch_tsan.c. */
#include "hv/vdev/virtio/switch.h"
#include "hv/base/assert.h"
#include "hv/base/string.h"

#define GROUP 0x01u /* of the first byte: broadcast and multicast */
#define LOCAL 0x02u

void switch_init(struct vswitch *s)
{
    s->lock.level = LOCK_SWITCH;
    for (unsigned i = 0; i < SWITCH_FRAMES; i++)
        s->free[i] = (uint16_t)i;
    s->nfree = SWITCH_FRAMES;
}

struct switch_mac switch_mac_of(unsigned port)
{
    return (struct switch_mac){{LOCAL, 'p', 'a', 't', 'c', (uint8_t)(port + 1)}};
}

/* The port of ctx, or else a free one; SWITCH_PORTS: none. */
static unsigned port_for(const struct vswitch *s, const void *ctx)
{
    unsigned i, unused = SWITCH_PORTS;
    for (i = 0; i < SWITCH_PORTS; i++)
        if (s->port[i].used && s->port[i].ctx == ctx)
            return i;
        else if (!s->port[i].used && unused == SWITCH_PORTS)
            unused = i;
    return unused;
}

static void flush(struct vswitch *s, struct switch_port *p);

enum hv_err switch_attach(struct vswitch *s, void (*arrived)(void *ctx), void *ctx, unsigned *port)
{
    lock_take(&s->lock);
    *port = port_for(s, ctx);
    if (*port < SWITCH_PORTS) {
        flush(s, &s->port[*port]);
        s->port[*port] = (struct switch_port){
            .used = true, .own = switch_mac_of(*port), .arrived = arrived, .ctx = ctx};
    }
    lock_drop(&s->lock);
    return *port < SWITCH_PORTS ? HV_OK : HV_NOMEM;
}

void switch_up(struct vswitch *s, unsigned port)
{
    lock_take(&s->lock);
    s->port[port].up = true;
    lock_drop(&s->lock);
}

void switch_detach(struct vswitch *s, unsigned port)
{
    lock_take(&s->lock);
    flush(s, &s->port[port]);
    s->port[port].up = false;
    s->port[port].nlearned = 0;
    lock_drop(&s->lock);
}

static bool same(const struct switch_mac *a, const uint8_t *b)
{
    return memcmp(a->byte, b, sizeof(a->byte)) == 0;
}

static int port_of(const struct vswitch *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < SWITCH_PORTS; i++)
        if (s->port[i].used && same(&s->port[i].own, mac))
            return (int)i;
    for (unsigned i = 0; i < SWITCH_PORTS; i++)
        for (unsigned n = 0; n < s->port[i].nlearned; n++)
            if (same(&s->port[i].learned[n], mac))
                return (int)i;
    return -1;
}

/* An address moves to the port it was last seen at, unless it was given to one. Each port has its
 * own few places: who sends from many addresses forgets its own only. */
static void learn(struct vswitch *s, unsigned port, const uint8_t *mac)
{
    struct switch_port *p = &s->port[port];
    int at = port_of(s, mac);
    if ((mac[0] & GROUP) || at == (int)port)
        return;
    if (at >= 0) {
        struct switch_port *old = &s->port[at];
        if (same(&old->own, mac))
            return;
        for (unsigned n = 0; n < old->nlearned; n++)
            if (same(&old->learned[n], mac))
                old->learned[n] = old->learned[--old->nlearned];
        old->next_learned = 0;
    }
    unsigned n = p->nlearned < SWITCH_LEARNED ? p->nlearned++ : p->next_learned++ % SWITCH_LEARNED;
    memcpy(p->learned[n].byte, mac, sizeof(p->learned[n].byte));
}

static void release(struct vswitch *s, struct switch_frame *f)
{
    ASSERT(f->refs);
    if (--f->refs == 0)
        s->free[s->nfree++] = (uint16_t)(f - s->frame);
}

struct switch_frame *switch_begin(struct vswitch *s)
{
    struct switch_frame *f = NULL;
    lock_take(&s->lock);
    if (s->nfree) {
        f = &s->frame[s->free[--s->nfree]];
        f->refs = 1;
    }
    lock_drop(&s->lock);
    return f;
}

void switch_discard(struct vswitch *s, struct switch_frame *f)
{
    lock_take(&s->lock);
    release(s, f);
    lock_drop(&s->lock);
}

static void deliver(struct vswitch *s, unsigned port, struct switch_frame *f)
{
    struct switch_port *p = &s->port[port];
    if (p->count == SWITCH_INBOX) {
        p->lost++;
        return;
    }
    p->inbox[(p->head + p->count++) % SWITCH_INBOX] = (uint16_t)(f - s->frame);
    f->refs++;
    p->received++;
}

void switch_send(struct vswitch *s, unsigned port, struct switch_frame *f)
{
    lock_take(&s->lock);
    learn(s, port, f->data + 6);
    int to = f->data[0] & GROUP ? -1 : port_of(s, f->data);
    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        struct switch_port *p = &s->port[i];
        if (!p->up || i == port || (to >= 0 && to != (int)i))
            continue;
        deliver(s, i, f);
        p->arrived(p->ctx); /* under the lock: switch_detach waits for it so */
    }
    s->port[port].sent++;
    release(s, f);
    lock_drop(&s->lock);
}

bool switch_waits(struct vswitch *s, unsigned port)
{
    lock_take(&s->lock);
    bool waits = s->port[port].count;
    lock_drop(&s->lock);
    return waits;
}

struct switch_frame *switch_receive(struct vswitch *s, unsigned port)
{
    struct switch_port *p = &s->port[port];
    struct switch_frame *f = NULL;
    lock_take(&s->lock);
    if (p->count) {
        f = &s->frame[p->inbox[p->head]];
        p->head = (p->head + 1) % SWITCH_INBOX;
        p->count--;
    }
    lock_drop(&s->lock);
    return f;
}

static void flush(struct vswitch *s, struct switch_port *p)
{
    for (; p->count; p->count--) {
        release(s, &s->frame[p->inbox[p->head]]);
        p->head = (p->head + 1) % SWITCH_INBOX;
    }
}

void switch_flush(struct vswitch *s, unsigned port)
{
    lock_take(&s->lock);
    flush(s, &s->port[port]);
    lock_drop(&s->lock);
}
