/* SPDX-License-Identifier: BSD-2-Clause */
/* Everything that can be told about every CPU without its owner's help: public words, channels in
 * use, recent events, devices. Tested by tools/tests/test_stats.c. */
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/coherency/coherency.h"
#include "hv/mon/internal.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vdev/virtio/virtio.h"

#define EVENTS 16u

const char *mon_mode_name(uint32_t mode)
{
    static const char *const name[] = {
        [MODE_OFFLINE] = "offline",
        [MODE_HOST] = "host",
        [MODE_GUEST] = "guest",
        [MODE_HALTED] = "halted",
    };
    return mode < ARRAY_SIZE(name) ? name[mode] : "?";
}

/* Requests of `c` that their target has not acknowledged: who waits for whom. */
static void requests_dump(const struct coherency *co, uint32_t c, void (*emit)(const char *line))
{
    char line[128];
    for (uint32_t target = 0; target < co->ncpus; target++) {
        const struct mailbox *m = &co->cpu[target].mailbox[c];
        uint64_t seq = atomic_load_explicit(&m->seq, memory_order_relaxed);
        uint64_t ack = atomic_load_explicit(&m->ack, memory_order_relaxed);
        uint64_t request = atomic_load_explicit(&m->request, memory_order_relaxed);
        if (seq == ack)
            continue;
        hv_snprintf(line, sizeof(line),
                    "  waits for cpu%u: request %lu of gfn 0x%lx, seq %lu ack %lu", target,
                    request & 0xff, request >> 8, seq, ack);
        emit(line);
    }
}

/* Channels to `c` with something in them. */
static void channels_dump(const struct coherency *co, uint32_t c, void (*emit)(const char *line))
{
    char line[128];
    for (uint32_t p = 0; p < co->ncpus; p++) {
        const struct channel *ch = &co->matrix[p][c];
        unsigned used = 0;
        for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
            used += atomic_load_explicit(&ch->slot[i], memory_order_relaxed) != 0;
        uint32_t over = atomic_load_explicit(&ch->overflow, memory_order_relaxed);
        if (!used && !over)
            continue;
        hv_snprintf(line, sizeof(line), "  channel from cpu%u: %u of %u slots used%s", p, used,
                    (unsigned)CHANNEL_SLOTS, over ? ", overflow" : "");
        emit(line);
    }
}

void mon_dump_cpu(const struct vm *vm, uint32_t c, unsigned events, void (*emit)(const char *line))
{
    char line[160];
    const struct coherency *co = vm->co;
    const struct cpu_shared *s = &co->cpu[c];
    hv_snprintf(line, sizeof(line), "cpu%u: %s action 0x%lx pending 0x%lx storing 0x%lx", c,
                mon_mode_name(atomic_load_explicit(&s->mode, memory_order_relaxed)),
                atomic_load_explicit(&s->action, memory_order_relaxed),
                atomic_load_explicit(&s->pending, memory_order_relaxed),
                atomic_load_explicit(&s->storing, memory_order_relaxed));
    emit(line);
    requests_dump(co, c, emit);
    channels_dump(co, c, emit);
    ring_dump(co->pcpu[c], events, emit);
}

void mon_dump_all(const struct vm *vm, void (*emit)(const char *line))
{
    char line[160];
    hv_snprintf(line, sizeof(line), "vm: %u CPUs, %lu MiB RAM, ended %u", vm->ncpus,
                vm->ram_bytes >> 20, atomic_load_explicit(&vm->ended, memory_order_relaxed));
    emit(line);
    for (uint32_t c = 0; vm->co && c < vm->ncpus; c++)
        mon_dump_cpu(vm, c, EVENTS, emit);
    if (vm->pc)
        vpc_dump(vm->pc, emit);
    if (vm->virtio)
        virtio_dump(vm->virtio, emit);
}
