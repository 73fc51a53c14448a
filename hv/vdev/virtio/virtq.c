/* SPDX-License-Identifier: BSD-2-Clause */
/* Split virtqueues, the device's half. Tested by tools/tests/test_virtq.c and
 * tools/tests/fuzz_virtq.c. */
#include "hv/vdev/virtio/virtq.h"
#include <stdatomic.h>

struct desc { /* 2.7.5 "The Virtqueue Descriptor Table" */
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == 16, "descriptor");
#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u

/* 2.7.6 "The Virtqueue Available Ring", 2.7.8 "The Virtqueue Used Ring": flags, idx, ring, event */
#define RING_IDX 2u
#define RING_ENTRIES 4u
#define AVAIL_ENTRY 2u
#define USED_ENTRY 8u
#define AVAIL_NO_INTERRUPT 1u

void virtq_start(struct virtq *q, bool indirect, bool event_idx)
{
    q->indirect = indirect;
    q->event_idx = event_idx;
    q->next_avail = q->next_used = q->told_used = 0;
}

/* Ring memory that is no RAM breaks the ring. */
static enum hv_err get(const struct vmem *m, uint64_t at, void *buf, size_t n)
{
    return m->read(m->ctx, gpa(at), buf, n) == HV_OK ? HV_OK : HV_INVALID;
}

static enum hv_err put(const struct vmem *m, uint64_t at, unsigned width, uint64_t value)
{
    return m->store(m->ctx, gpa(at), width, value) == HV_OK ? HV_OK : HV_INVALID;
}

/* Chains that wait. An index further ahead than the queue is long is no index. */
static enum hv_err waiting(const struct virtq *q, const struct vmem *m, unsigned *n)
{
    uint16_t idx;
    TRY(get(m, q->avail + RING_IDX, &idx, sizeof(idx)));
    *n = (uint16_t)(idx - q->next_avail);
    /* acquire: what the driver wrote before its index; pairs with its release store or barrier */
    atomic_thread_fence(memory_order_acquire);
    return *n <= q->size ? HV_OK : HV_INVALID;
}

static enum hv_err segment_add(struct virtq_chain *c, const struct desc *d, unsigned limit)
{
    bool write = d->flags & DESC_WRITE;
    unsigned n = c->nread + c->nwrite;
    uint64_t end;
    if (n >= limit || (!write && c->nwrite) || __builtin_add_overflow(d->addr, d->len, &end))
        return HV_INVALID; /* longer than the queue; 2.7.4.2: readable ones come first */
    c->seg[n] = (struct virtq_segment){gpa(d->addr), d->len};
    if (write) {
        c->nwrite++;
        c->write_bytes += d->len;
    } else {
        c->nread++;
        c->read_bytes += d->len;
    }
    return HV_OK;
}

/* A table of `count` descriptors at `table`, from entry `at` on. indirect: the table is one that a
 * descriptor named, where none may name another. Each descriptor is read once. */
static enum hv_err walk(const struct virtq *q, const struct vmem *m, struct virtq_chain *c,
                        uint64_t table, uint32_t count, uint32_t at, bool indirect)
{
    struct desc d;
    for (unsigned steps = 0; steps < q->size; steps++) {
        if (at >= count)
            return HV_INVALID;
        TRY(get(m, table + (uint64_t)at * sizeof(d), &d, sizeof(d)));
        if (d.flags & DESC_INDIRECT) {
            /* 2.7.5.3.1: not without the feature, not in a table, not with NEXT */
            if (indirect || !q->indirect || (d.flags & DESC_NEXT) || d.len == 0 ||
                d.len % sizeof(d) || d.len / sizeof(d) > q->size)
                return HV_INVALID;
            return walk(q, m, c, d.addr, d.len / (uint32_t)sizeof(d), 0, true);
        }
        TRY(segment_add(c, &d, q->size));
        if (!(d.flags & DESC_NEXT))
            return HV_OK;
        at = d.next;
    }
    return HV_INVALID; /* longer than the queue, so a circle */
}

enum hv_err virtq_pop(struct virtq *q, const struct vmem *m, struct virtq_chain *c)
{
    unsigned n;
    uint16_t slot = q->next_avail & (q->size - 1);
    TRY(waiting(q, m, &n));
    if (!n)
        return HV_AGAIN;
    TRY(get(m, q->avail + RING_ENTRIES + (uint64_t)slot * AVAIL_ENTRY, &c->head, sizeof(c->head)));
    c->nread = c->nwrite = 0;
    c->read_bytes = c->write_bytes = 0;
    TRY(walk(q, m, c, q->desc, q->size, c->head, false));
    q->next_avail++;
    return HV_OK;
}

enum hv_err virtq_push(struct virtq *q, const struct vmem *m, uint16_t head, uint32_t written)
{
    uint64_t entry = q->used + RING_ENTRIES + (uint64_t)(q->next_used & (q->size - 1)) * USED_ENTRY;
    TRY(put(m, entry, 4, head));
    TRY(put(m, entry + 4, 4, written));
    q->next_used++;
    return put(m, q->used + RING_IDX, 2, q->next_used);
}

enum hv_err virtq_wants(struct virtq *q, const struct vmem *m, bool *want)
{
    uint16_t word, old = q->told_used, now = q->next_used;
    *want = false;
    if (old == now)
        return HV_OK;
    q->told_used = now;
    /* The index was stored with a full fence: the driver sees it, or we see what it asks for. */
    if (!q->event_idx) {
        TRY(get(m, q->avail, &word, sizeof(word)));
        *want = !(word & AVAIL_NO_INTERRUPT);
        return HV_OK;
    }
    TRY(get(m, q->avail + RING_ENTRIES + (uint64_t)q->size * AVAIL_ENTRY, &word, sizeof(word)));
    *want = (uint16_t)(now - word - 1) < (uint16_t)(now - old);
    return HV_OK;
}

enum hv_err virtq_next(struct virtq *q, const struct vmem *m, struct virtq_chain *c)
{
    enum hv_err r = virtq_pop(q, m, c);
    if (r != HV_AGAIN)
        return r;
    /* Without the feature the used ring's flags say "notify" all the time. The store is a full
     * fence: we see what the driver added, or it sees that it has to notify. */
    if (q->event_idx)
        TRY(put(m, q->used + RING_ENTRIES + (uint64_t)q->size * USED_ENTRY, 2, q->next_avail));
    return virtq_pop(q, m, c);
}

/* Bytes [offset, offset + n) of segments [first, last). */
static enum hv_err copy(const struct virtq_chain *c, const struct vmem *m, unsigned first,
                        unsigned last, uint64_t offset, uint8_t *in, const uint8_t *out, size_t n)
{
    for (unsigned i = first; i < last && n; i++) {
        const struct virtq_segment *s = &c->seg[i];
        if (offset >= s->len) {
            offset -= s->len;
            continue;
        }
        size_t room = (size_t)(s->len - offset), step = n < room ? n : room;
        gpa_t at = gpa(s->at.v + offset);
        enum hv_err r = in ? m->read(m->ctx, at, in, step) : m->write(m->ctx, at, out, step);
        if (r != HV_OK)
            return HV_INVALID;
        if (in)
            in += step;
        else
            out += step;
        n -= step;
        offset = 0;
    }
    return n ? HV_RANGE : HV_OK;
}

enum hv_err virtq_read(const struct virtq_chain *c, const struct vmem *m, uint64_t offset,
                       void *buf, size_t n)
{
    return copy(c, m, 0, c->nread, offset, buf, NULL, n);
}

enum hv_err virtq_write(const struct virtq_chain *c, const struct vmem *m, uint64_t offset,
                        const void *buf, size_t n)
{
    return copy(c, m, c->nread, c->nread + c->nwrite, offset, NULL, buf, n);
}
