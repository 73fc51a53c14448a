/* SPDX-License-Identifier: BSD-2-Clause */
/* The event ring of each CPU. Tested by tools/tests/test_base.c. */
#include "hv/base/log.h"
#include "hv/base/ring.h"

/* Relaxed atomics so that a dump from another CPU may tear an event but nothing worse. */
struct ring_slot *ring_of[HV_MACHINE_CPUS];

static const char *const kind_name[RING_KIND_COUNT] = {
    [RING_NONE] = "none",   [RING_EXIT] = "exit", [RING_PF] = "pf",       [RING_POST] = "post",
    [RING_DRAIN] = "drain", [RING_FILL] = "fill", [RING_TRACE] = "trace", [RING_UNSYNC] = "unsync",
    [RING_IPI] = "ipi",     [RING_IRQ] = "irq",   [RING_CR] = "cr",       [RING_NOTE] = "note",
    [RING_PATCH] = "patch",
};

void ring_place(uint32_t cpu, void *memory)
{
    if (cpu < HV_MACHINE_CPUS)
        ring_of[cpu] = memory;
}

void ring_add(uint32_t cpu, enum ring_kind kind, uint64_t a, uint64_t b)
{
    if (cpu < HV_MACHINE_CPUS)
        ring_put(cpu, kind, a, b);
}

uint64_t ring_head(uint32_t cpu)
{
    /* pairs with the release in ring_add */
    return cpu < HV_MACHINE_CPUS
               ? atomic_load_explicit(&hv_stats[cpu].ring_head, memory_order_acquire)
               : 0;
}

bool ring_get(uint32_t cpu, uint64_t n, struct ring_event *out)
{
    if (n >= ring_head(cpu))
        return false;
    const struct ring_slot *s = &ring_of[cpu][n % RING_EVENTS];
    /* Acquire, pairs with the stores in ring_put, rather than a fence, which the thread sanitizer
     * does not know: all of them before the second look at head, since the owner writes event head
     * into the slot of event head - RING_EVENTS before it says so. */
    out->tsc = atomic_load_explicit(&s->tsc, memory_order_acquire);
    out->a = atomic_load_explicit(&s->a, memory_order_acquire);
    out->b = atomic_load_explicit(&s->b, memory_order_acquire);
    out->kind = atomic_load_explicit(&s->kind, memory_order_acquire);
    out->pad = 0;
    return ring_head(cpu) < n + RING_EVENTS;
}

const char *ring_kind_name(uint32_t kind)
{
    return kind < RING_KIND_COUNT ? kind_name[kind] : "?";
}

void ring_dump(uint32_t cpu, unsigned n, void (*emit)(const char *line))
{
    uint64_t head = ring_head(cpu);
    uint64_t count = head < RING_EVENTS ? head : RING_EVENTS;
    if (count > n)
        count = n;
    for (uint64_t i = head - count; i < head; i++) {
        struct ring_event e;
        char line[128];
        if (!ring_get(cpu, i, &e))
            continue;
        hv_snprintf(line, sizeof(line), "  %lu cpu%u %-6s 0x%lx 0x%lx", e.tsc, cpu,
                    ring_kind_name(e.kind), e.kind == RING_EXIT ? RING_EXIT_KIND(e.a) : e.a, e.b);
        emit(line);
    }
}
