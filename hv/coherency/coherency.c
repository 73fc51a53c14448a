/* SPDX-License-Identifier: BSD-2-Clause */
/* Sets up the memory CPUs of one VM share to keep their private shadow page tables coherent.
 * Tested by tools/tests/test_channel.c, test_trace.c, test_actions.c. */
#include "hv/coherency/coherency.h"
#include "hv/base/assert.h"

/* [CPU of the machine]: whose it is. Written at boot before any VM runs, then constant. */
static struct {
    struct coherency *co;
    uint32_t vcpu;
} given[HV_MACHINE_CPUS];

void coherency_place(struct coherency *co, const uint32_t *pcpu, uint32_t ncpus)
{
    ASSERT(ncpus >= 1 && ncpus <= HV_MAX_CPUS);
    for (uint32_t c = 0; c < ncpus; c++) {
        ASSERT(pcpu[c] < HV_MACHINE_CPUS);
        co->pcpu[c] = pcpu[c];
    }
    co->placed = true;
}

void coherency_give(struct coherency *co)
{
    for (uint32_t c = 0; c < co->ncpus; c++) {
        uint32_t p = co->pcpu[c];
        ASSERT(!given[p].co || given[p].co == co);
        given[p].vcpu = c;
        given[p].co = co; /* interrupt handlers of this very CPU post from here on */
    }
}

struct coherency *coherency_of(uint32_t pcpu, uint32_t *vcpu)
{
    *vcpu = pcpu < HV_MACHINE_CPUS ? given[pcpu].vcpu : 0;
    return pcpu < HV_MACHINE_CPUS ? given[pcpu].co : NULL;
}

static uint64_t nregions(uint64_t nframes)
{
    return (nframes + REGION_SIZE / PAGE_SIZE - 1) / (REGION_SIZE / PAGE_SIZE);
}

size_t coherency_bytes(uint64_t nframes)
{
    return (size_t)(nframes + nregions(nframes)) * sizeof(uint64_t);
}

static void channel_clear(struct channel *ch)
{
    for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
        atomic_init(&ch->slot[i], 0);
    atomic_init(&ch->overflow, 0);
    atomic_init(&ch->posts, 0);
    atomic_init(&ch->coalesces, 0);
    atomic_init(&ch->overflows, 0);
    atomic_init(&ch->drained, 0);
}

static void cpu_clear(struct cpu_shared *c)
{
    atomic_init(&c->pending, 0);
    atomic_init(&c->storing, 0);
    atomic_init(&c->action, 0);
    atomic_init(&c->mode, MODE_OFFLINE);
    atomic_init(&c->flush_owed, 0);
    for (unsigned i = 0; i < HV_MAX_CPUS; i++) {
        atomic_init(&c->mailbox[i].request, 0);
        atomic_init(&c->mailbox[i].seq, 0);
        atomic_init(&c->mailbox[i].ack, 0);
    }
}

static void shared_clear(struct shared_channel *s)
{
    atomic_init(&s->lock.next, 0);
    atomic_init(&s->lock.owner, 0);
    s->lock.level = LOCK_COHERENCY;
    for (unsigned i = 0; i < CHANNEL_SLOTS; i++) {
        s->slot[i].word = 0;
        s->slot[i].consumers = 0;
    }
    s->overflow = 0;
}

void coherency_init(struct coherency *co, uint32_t ncpus, uint64_t nframes, void *mem,
                    struct channel (*matrix)[HV_MAX_CPUS], const struct hv_options *opt)
{
    ASSERT(ncpus >= 1 && ncpus <= HV_MAX_CPUS);
    co->ncpus = ncpus;
    co->mode = opt->coherency;
    co->overflow = opt->overflow;
    co->consumers_traced = opt->consumers_traced;
    co->interest = opt->interest;
    co->derived = opt->derived;
    atomic_store_explicit(&co->entry4, false, memory_order_relaxed);
    co->nframes = nframes;
    co->frame = mem;
    co->region = co->frame + nframes;
    for (uint64_t i = 0; i < nframes + nregions(nframes); i++)
        atomic_init(&co->frame[i], 0);
    co->holders = NULL;
    atomic_init(&co->trace_counter, 1);
    co->matrix = matrix;
    for (uint32_t p = 0; p < ncpus; p++) {
        if (!co->placed)
            co->pcpu[p] = p;
        cpu_clear(&co->cpu[p]);
        for (uint32_t c = 0; c < ncpus; c++)
            channel_clear(&matrix[p][c]);
    }
    shared_clear(&co->shared);
}

void coh_cpu_init(struct coh_cpu *self, struct coherency *co, uint32_t cpu,
                  bool (*serve)(void *ctx), void *ctx)
{
    ASSERT(cpu < co->ncpus);
    *self = (struct coh_cpu){.co = co,
                             .cpu = cpu,
                             .pcpu = co->pcpu[cpu],
                             .own = &co->cpu[cpu],
                             .serve = serve,
                             .ctx = ctx};
}

void coherency_entry4(struct coherency *co)
{
    /* Dekker pair with after_exchange of producer.c, through the trace word. */
    if (!atomic_load_explicit(&co->entry4, memory_order_relaxed))
        atomic_store_explicit(&co->entry4, true, memory_order_seq_cst);
}
