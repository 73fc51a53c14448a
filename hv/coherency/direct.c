/* SPDX-License-Identifier: BSD-2-Clause */
/* Holders of frames: who must be asked before an entry changes from not present to present (README
 * "Faults without an exit"). Tested by tools/tests/test_mmu_direct.c, the simulator and
 * tools/model/direct.pml. */
/* Rules.
 * 1. Who stores does, in this order: `storing`, the look at the holders, the request and its
 *    answer, the store. Who claims does: the holder bit by a RMW, the look at every `storing` and
 *    at the trace word, the reads of the table. So one of them sees the other.
 * 2. A CPU answers when none of its sptes stands for the frame any more, and its bit is gone.
 * 3. A frame that is unsync has no holder: who makes it so is a storer in the sense of 1. */
#include "hv/coherency/direct.h"
#include "hv/base/assert.h"
#include "hv/base/stats.h"
#include "hv/coherency/actions.h"
#include "hv/coherency/trace.h"

size_t direct_bytes(uint64_t nframes)
{
    return (size_t)nframes * sizeof(_Atomic uint32_t);
}

void direct_init(struct coherency *co, void *mem)
{
    co->holders = mem;
    for (uint64_t i = 0; mem && i < co->nframes; i++)
        atomic_init(&co->holders[i], 0);
}

static _Atomic uint32_t *holders_of(const struct coh_cpu *self, gfn_t f)
{
    return self->co->holders && f.v < self->co->nframes ? &self->co->holders[f.v] : NULL;
}

/* Does another CPU say that it is about to store to f, or that it does? */
static bool others_store(const struct coh_cpu *self, gfn_t f)
{
    for (uint32_t c = 0; c < self->co->ncpus; c++) {
        /* seq_cst, after the RMW of direct_claim: pairs with storing_begin and storing_end in
         * producer.c. Seen cleared, the store and its post lie before. */
        uint64_t s = atomic_load_explicit(&self->co->cpu[c].storing, memory_order_seq_cst);
        if (c != self->cpu && (s & STORING_BUSY) && s >> PAGE_SHIFT == f.v)
            return true;
    }
    return false;
}

bool direct_claim(struct coh_cpu *self, gfn_t f)
{
    const uint64_t must = TRACE_TRACED | TRACE_CONSUMER(self->cpu);
    _Atomic uint32_t *h = holders_of(self, f);

    if (!h)
        return false;
    ASSERT(!direct_mine(self, f));
    /* seq_cst: Dekker pair with direct_others, whose caller has named f in `storing` before */
    atomic_fetch_or_explicit(h, 1u << self->cpu, memory_order_seq_cst);
    if (!others_store(self, f) && (trace_word(self, f) & (must | TRACE_UNSYNC)) == must)
        return true;
    direct_unclaim(self, f);
    return false;
}

void direct_unclaim(struct coh_cpu *self, gfn_t f)
{
    _Atomic uint32_t *h = holders_of(self, f);

    /* release: the sptes are what they are before the bit goes. Pairs with direct_others. */
    if (h)
        atomic_fetch_and_explicit(h, ~(1u << self->cpu), memory_order_release);
}

bool direct_mine(const struct coh_cpu *self, gfn_t f)
{
    _Atomic uint32_t *h = holders_of(self, f);

    /* relaxed: only this CPU changes its bit */
    return h && (atomic_load_explicit(h, memory_order_relaxed) & 1u << self->cpu);
}

static cpuset_t others(const struct coh_cpu *self, gfn_t f)
{
    _Atomic uint32_t *h = holders_of(self, f);

    /* seq_cst: pairs with the RMW of direct_claim; acquire of it with direct_unclaim */
    return h ? atomic_load_explicit(h, memory_order_seq_cst) & ~(1u << self->cpu) : 0;
}

bool direct_others(const struct coh_cpu *self, gfn_t f)
{
    return others(self, f) != 0;
}

void direct_revoke(struct coh_cpu *self, gfn_t f)
{
    cpuset_t to = others(self, f);

    if (!to)
        return;
    stat_inc(self->pcpu, STAT_direct_asked);
    (void)action_request(self, to, REQUEST_REVOKE, f);
}
