/* SPDX-License-Identifier: BSD-2-Clause */
/* Leaf sptes of device memory that the VM owns (p2m_device): 4 KiB each, never executable, never
 * cached, without a trace word or a place in the reverse map, since no table lies there. Uncached,
 * or write-combining where the guest's PAT and MTRRs say so (SDM volume 3, 12.5.2.2 "Selecting
 * Memory Types for Pentium III and More Recent Processor Families", table 12-7); what they call
 * write-back or write-through is uncached all the same. Tested by tools/tests/test_mmu_device.c. */
#include "hv/mmu/internal.h"

#define PTE_PAT_LARGE BIT(12)
enum { TYPE_WC = 1, TYPE_WB = 6, TYPE_UC_MINUS = 7 };

static bool mtrr_wc(const struct mmu *m, gfn_t f)
{
    for (unsigned i = 0; i < MMU_WC; i++)
        if (m->wc.mask[i] && (gfn_gpa(f).v & m->wc.mask[i]) == m->wc.base[i])
            return true;
    return false;
}

bool device_wc(const struct mmu *m, uint64_t gpte, unsigned level, gfn_t f)
{
    bool pat = gpte & (level == 1 ? PTE_PAT_4K : PTE_PAT_LARGE);
    unsigned index = (gpte & PTE_PWT ? 1 : 0) | (gpte & PTE_PCD ? 2 : 0) | (pat ? 4 : 0);
    unsigned type = (unsigned)(m->wc.pat >> (8 * index)) & 7;

    return type == TYPE_WC || ((type == TYPE_WB || type == TYPE_UC_MINUS) && mtrr_wc(m, f));
}

uint64_t device_spte(hpa_t h, uint64_t rights, bool wc)
{
    uint64_t r = h.v | (rights & (PTE_P | PTE_W | PTE_U)) | PTE_A | PTE_NX | SPTE_DEVICE;

    r |= r & PTE_W ? PTE_D : 0;
    return r | (wc ? MMU_PTE_WC : PTE_PCD | PTE_PWT);
}

enum fill_result device_fill(struct mmu *m, const struct walk *w, uint32_t page, uint64_t rights)
{
    bool wc = device_wc(m, w->gpte, w->level, w->target);
    hpa_t h;

    if ((w->access & PFEC_I) || !p2m_device(m->cfg.p2m, gfn_gpa(w->target), &h))
        return FILL_MMIO;
    spte_set(m, page, va_index(w->va, 1), device_spte(h, rights, wc), w->target);
    stat_inc(m->pcpu, STAT_fill_single);
    ring_add(m->pcpu, RING_FILL, w->va.v, h.v);
    return FILL_DONE;
}

void device_repair(struct mmu *m, uint32_t page, unsigned idx, uint64_t gpte)
{
    gfn_t f = gfn((gpte & PTE_ADDR) >> PAGE_SHIFT);
    uint64_t rights = PTE_P | (gpte & PTE_U), spte = 0;
    hpa_t h;

    rights |= (gpte & PTE_D) ? gpte & PTE_W : 0;
    if (p2m_device(m->cfg.p2m, gfn_gpa(f), &h))
        spte = device_spte(h, rights, device_wc(m, gpte, 1, f));
    spte_set(m, page, idx, spte, f);
}

void mmu_memory_types(struct mmu *m, const struct mmu_types *t)
{
    if (memcmp(&m->wc, t, sizeof(*t)) == 0)
        return;
    m->wc = *t;
    if (m->cfg.p2m->ndevices || m->cfg.p2m->screen.frames)
        sp_zap_all(m); /* rare: every type that was derived goes */
}
