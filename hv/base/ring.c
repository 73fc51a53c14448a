/* SPDX-License-Identifier: BSD-2-Clause */
/* The event ring of each CPU. Tested by tools/tests/test_base.c. */
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/port/cpu.h"
#include <stdatomic.h>

/* Relaxed atomics so that a dump from another CPU may tear an event but nothing worse. */
struct slot {
    _Atomic uint64_t tsc, a, b;
    _Atomic uint32_t kind;
};
static struct {
    _Alignas(64) _Atomic uint64_t head; /* events ever added */
    struct slot slot[RING_EVENTS];
} ring[HV_MAX_CPUS];

static const char *const kind_name[RING_KIND_COUNT] = {
    [RING_NONE] = "none",   [RING_EXIT] = "exit", [RING_PF] = "pf",       [RING_POST] = "post",
    [RING_DRAIN] = "drain", [RING_FILL] = "fill", [RING_TRACE] = "trace", [RING_UNSYNC] = "unsync",
    [RING_IPI] = "ipi",     [RING_IRQ] = "irq",   [RING_CR] = "cr",       [RING_NOTE] = "note",
};

void ring_add(uint32_t cpu, enum ring_kind kind, uint64_t a, uint64_t b)
{
    if (cpu >= HV_MAX_CPUS)
        return;
    uint64_t head = atomic_load_explicit(&ring[cpu].head, memory_order_relaxed);
    struct slot *s = &ring[cpu].slot[head % RING_EVENTS];
    atomic_store_explicit(&s->tsc, port_tsc(), memory_order_relaxed);
    atomic_store_explicit(&s->a, a, memory_order_relaxed);
    atomic_store_explicit(&s->b, b, memory_order_relaxed);
    atomic_store_explicit(&s->kind, (uint32_t)kind, memory_order_relaxed);
    /* pairs with the acquire in ring_dump */
    atomic_store_explicit(&ring[cpu].head, head + 1, memory_order_release);
}

void ring_dump(uint32_t cpu, unsigned n, void (*emit)(const char *line))
{
    if (cpu >= HV_MAX_CPUS)
        return;
    /* pairs with the release in ring_add */
    uint64_t head = atomic_load_explicit(&ring[cpu].head, memory_order_acquire);
    uint64_t count = head < RING_EVENTS ? head : RING_EVENTS;
    if (count > n)
        count = n;
    for (uint64_t i = head - count; i < head; i++) {
        const struct slot *s = &ring[cpu].slot[i % RING_EVENTS];
        uint32_t kind = atomic_load_explicit(&s->kind, memory_order_relaxed);
        char line[128];
        hv_snprintf(line, sizeof(line), "  %lu cpu%u %-6s 0x%lx 0x%lx",
                    atomic_load_explicit(&s->tsc, memory_order_relaxed), cpu,
                    kind < RING_KIND_COUNT ? kind_name[kind] : "?",
                    atomic_load_explicit(&s->a, memory_order_relaxed),
                    atomic_load_explicit(&s->b, memory_order_relaxed));
        emit(line);
    }
}
