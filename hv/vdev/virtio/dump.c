/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio devices for people: the monitor's list and a panic's. Reads without locks: what changes
 * meanwhile is off by that. Tested by tools/tests/test_virtio_dev.c. */
#include "hv/base/log.h"
#include "hv/vdev/virtio/virtio.h"

#define LINE 200u

static unsigned long long count(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

static void dump_queue(const struct virtq *q, unsigned i, char *line)
{
    hv_snprintf(line, LINE, "  queue %u: %u entries, available %u, used %u, told %u, vector 0x%x",
                i, q->size, q->next_avail, q->next_used, q->told_used, q->vector);
}

void virtio_dump(const struct virtio_host *h, void (*emit)(const char *line))
{
    char line[LINE];
    for (unsigned i = 0; i < h->count; i++) {
        const struct virtio *v = h->dev[i];
        hv_snprintf(line, sizeof(line),
                    "virtio %02x.%u %s: status 0x%02x isr %u work 0x%x of cpu%u, %llu chains, %llu "
                    "interrupts, %llu broken rings",
                    v->fn.devfn >> 3, v->fn.devfn & 7u, v->kind->name, v->status, v->isr,
                    atomic_load_explicit(&v->work, memory_order_relaxed),
                    atomic_load_explicit(&v->runner, memory_order_relaxed), count(&v->chains),
                    count(&v->interrupts), count(&v->broken));
        emit(line);
        for (unsigned q = 0; q < v->kind->nqueues; q++) {
            if (!v->q[q].enabled)
                continue;
            dump_queue(&v->q[q], q, line);
            emit(line);
        }
        if (v->kind->ops->say) {
            v->kind->ops->say(v, line, sizeof(line));
            emit(line);
        }
    }
}
