/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes in from other CPUs: patches, and requests for drops and drains (README "Work that
 * grows with the guest"). Below whatever may have to answer in its midst. Tested by
 * tools/tests/test_mmu_stretch.c and test_mmu_rules.c. */
#include "hv/coherency/flush.h"
#include "hv/mmu/internal.h"

void mmu_drain(struct mmu *m)
{
    if (!consumer_pending(m->coh))
        return;
    ASSERT(!m->draining);
    m->draining = true;
    unsigned n = consumer_drain(m->coh, &m->sink);
    m->draining = false;
    if (n) {
        m->changed = true;
        m->xlate_gen++;
    }
}

static HV_APART void take_news(struct mmu *m)
{
    ASSERT(!m->draining);
    m->draining = true;
    unsigned n = consumer_stores(m->coh, &m->sink); /* before pending is looked at */
    m->draining = false;
    if (n) {
        m->changed = true;
        m->xlate_gen++;
    }
    mmu_drain(m);
}

void mmu_drain_event(struct mmu *m)
{
    if (consumer_news(m->coh)) /* hardly ever, and asked at each fault */
        take_news(m);
}

/* Flushes that were promised wait here for the loop: they may have to wait themselves, which who
 * serves must not. */
static void flush_note(struct mmu *m, gfn_t f)
{
    struct flush_what w = flush_read(f);

    if (w.everything || m->nowed + w.more + 1 > MMU_OWED)
        m->owed_all = true;
    for (uint32_t i = 0; !m->owed_all && i <= w.more; i++)
        m->owed[m->nowed++] = w.page + i;
}

void serve_stretch_end(struct mmu *m)
{
    uint64_t n = m->work - m->served_at;

    m->served_at = m->work;
    if (n > m->stretch_high) {
        m->stretch_high = n;
        stat_max(m->pcpu, STAT_unserved_high, n);
    }
}

void mmu_served(struct mmu *m)
{
    serve_stretch_end(m);
}

/* Requests that are there now. Each is taken from the action word when its turn comes: a drain for
 * one of them answers others by mmu_serve_drops. */
static void serve_requests(struct mmu *m, bool drops_only)
{
    uint64_t from = action_peek(m->coh) & ACTION_REQUESTS;

    serve_stretch_end(m);
    for (; from; from &= from - 1) {
        uint32_t c = (uint32_t)__builtin_ctzll(from);
        enum request_kind kind;
        gfn_t f;
        if (!(action_peek(m->coh) & BIT(c)))
            continue; /* answered meanwhile; the bit is what makes the mailbox valid */
        action_request_read(m->coh, c, &kind, &f);
        if (drops_only && kind != REQUEST_DROP && kind != REQUEST_REVOKE)
            continue; /* a drain frees pages: it waits for the loop */
        if (kind == REQUEST_FLUSH && !m->between)
            continue; /* an instruction is under way: it waits for its end */
        (void)action_take(m->coh, BIT(c));
        if (kind == REQUEST_DROP)
            rmap_drop_writable(m, f);
        else if (kind == REQUEST_REVOKE)
            direct_end(m, f);
        else if (kind == REQUEST_FLUSH)
            flush_note(m, f);
        else if (!m->draining)
            mmu_drain(m);
        action_request_ack(m->coh, c); /* after the drop, the generation and the writer bit */
    }
}

void mmu_serve_drops(struct mmu *m)
{
    serve_requests(m, true);
}

void serve_now(struct mmu *m)
{
    serve_requests(m, true); /* first what is short */
    serve_requests(m, false);
}
