/* SPDX-License-Identifier: BSD-2-Clause */
/* Remote flushes: who asks may go on only when nobody of whom he asked can use an old translation
 * (README "Remote flushes"). Tested by tools/tests/test_flush.c and tools/model/flush.pml. */
/* Rules.
 * 1. Who asks and finds the target halted sets its word by a RMW, then loads its mode again. Only
 *    one that is halted still is left alone; any other gets a request and is waited for.
 * 2. A target that was halted leaves that mode, and then exchanges the word: by the order of the
 *    RMWs of that one word either it finds the flush, or who asked finds it awake.
 * 3. A request is answered between two instructions of the guest only, never in the midst of one
 *    that the hypervisor carries out with translations of before (hv/mmu/serve.c). */
#include "hv/coherency/flush.h"
#include "hv/base/stats.h"
#include "hv/coherency/actions.h"

#define PAGE_BITS MASK(35, 0)
#define MORE_SHIFT 36
#define EVERYTHING BIT(40) /* a request carries 56 bits beside its kind */

static gfn_t pack(const struct flush_what *w)
{
    return gfn(w->everything ? EVERYTHING
                             : (w->page & PAGE_BITS) | (uint64_t)w->more << MORE_SHIFT);
}

struct flush_what flush_read(gfn_t f)
{
    return (struct flush_what){.everything = f.v & EVERYTHING,
                               .page = f.v & PAGE_BITS,
                               .more = f.v >> MORE_SHIFT & FLUSH_MORE_MAX};
}

static bool halted(const struct cpu_shared *t)
{
    return atomic_load_explicit(&t->mode, memory_order_seq_cst) == MODE_HALTED;
}

/* false: it has woken up meanwhile. */
static bool leave_to(struct cpu_shared *t)
{
    /* seq_cst RMW, then seq_cst load: pairs with mode_leave and the exchange of flush_take */
    atomic_fetch_or_explicit(&t->flush_owed, 1, memory_order_seq_cst);
    return halted(t);
}

void flush_request(struct coh_cpu *self, cpuset_t to, const struct flush_what *what)
{
    cpuset_t ask = 0;

    for (uint32_t c = 0; c < self->co->ncpus; c++) {
        struct cpu_shared *t = &self->co->cpu[c];
        if (!(to & (cpuset_t)BIT(c)) || c == self->cpu)
            continue;
        if (!halted(t) || !leave_to(t))
            ask |= (cpuset_t)BIT(c);
        else
            stat_inc(self->pcpu, STAT_flushes_left);
    }
    stat_add(self->pcpu, STAT_flushes_asked, cpuset_count(ask));
    (void)action_request(self, ask, REQUEST_FLUSH, pack(what));
}

bool flush_take(struct coh_cpu *self)
{
    /* acq_rel: the mode was stored before, what the guest did before it asked is visible behind */
    return atomic_exchange_explicit(&self->co->cpu[self->cpu].flush_owed, 0, memory_order_acq_rel);
}
