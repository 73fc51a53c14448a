/* SPDX-License-Identifier: BSD-2-Clause */
/* Flushes that one CPU's guest asks of others (hv/coherency/README "Remote flushes"): promised
 * while requests are served, done by the loop before the next entry. Tested by
 * tools/tests/test_flush.c. */
#include "hv/coherency/flush.h"
#include "hv/mmu/internal.h"

/* 48 bits of address, sign-extended. */
static gva_t page_va(uint64_t page)
{
    return gva((uint64_t)((int64_t)(page << (16 + PAGE_SHIFT)) >> 16));
}

static void flushes_pay(struct mmu *m)
{
    uint32_t n = m->nowed;

    if (!m->owed_all && !n)
        return;
    stat_inc(m->pcpu, STAT_flushes_owed);
    m->nowed = 0;
    if (m->owed_all) {
        m->owed_all = false;
        mmu_event_flush(m);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        mmu_event_invlpg(m, page_va(m->owed[i]));
}

void mmu_between(struct mmu *m)
{
    m->between = true;
    (void)mmu_serve(m);
    m->between = false;
    flushes_pay(m);
}

void mmu_flush_others(struct mmu *m, cpuset_t to, const struct flush_what *what)
{
    m->between = true; /* two that ask each other answer each other */
    flush_request(m->coh, to, what);
    m->between = false;
}

void mmu_flush_self(struct mmu *m, const struct flush_what *what)
{
    for (uint32_t i = 0; !what->everything && i <= what->more; i++)
        mmu_event_invlpg(m, page_va(what->page + i));
    if (what->everything)
        mmu_event_flush(m);
}

void mmu_woken(struct mmu *m)
{
    m->owed_all |= flush_take(m->coh);
}

void mmu_owe_flush(struct mmu *m)
{
    m->owed_all = true;
}
