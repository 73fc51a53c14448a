/* SPDX-License-Identifier: BSD-2-Clause */
/* Coherency events (hv/coherency/README "Coherency events"): drain, then the unsync list, then the
 * flush by generation. After each, the shadow and the TLB are no staler than a physical TLB could
 * be ([0087]). Tested by tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

/* What every event begins with. */
static HV_INLINE void event_begin(struct mmu *m)
{
    m->epoch++;
    m->xlate_gen++;
    if (!consumer_pending(m->coh))
        stat_inc(m->pcpu, STAT_drains_empty);
    mmu_drain_event(m);
    unsync_event(m); /* after the slots: hv/coherency/README "Coherency events" */
}

static uint32_t role_of(const struct mmu_regs *r)
{
    uint32_t role = 0;
    if (!(r->cr0 & CR0_PG))
        return 0;
    if (!(r->cr4 & CR4_PAE))
        role = ROLE_4B | ((r->cr4 & CR4_PSE) ? ROLE_PSE : 0);
    else if (!(r->efer & EFER_LMA))
        role = ROLE_PAE;
    if (!(role & ROLE_4B) && (r->efer & EFER_NXE))
        role |= ROLE_NXE;
    if (!(r->cr0 & CR0_WP)) {
        role |= ROLE_WP0 | ROLE_ACC_W | ROLE_ACC_U;
        role |= (r->cr4 & CR4_SMEP) ? ROLE_SMEP0 : 0;
        role |= (r->cr4 & CR4_SMAP) ? ROLE_SMAP0 : 0;
    }
    return role;
}

static void set_mode(struct mmu *m, const struct mmu_regs *regs)
{
    m->regs = *regs;
    m->paged = (regs->cr0 & CR0_PG) != 0;
    m->top = m->paged && (regs->efer & EFER_LMA) ? 4 : 3;
    m->role = role_of(regs);
    if (m->role & ROLE_4B)
        coherency_entry4(m->coh->co); /* before the first such table is registered */
    root_invalidate(m);
}

void mmu_latch_pdptes(struct mmu *m, const uint64_t pdpte[4])
{
    if (!memcmp(m->pdpte, pdpte, sizeof(m->pdpte)))
        return;
    memcpy(m->pdpte, pdpte, sizeof(m->pdpte));
    m->xlate_gen++;
    root_invalidate(m); /* a load by CR0.CD or NW is no other event: the root is matched again */
}

/* A full flush by the guest: own hot pages are left, then everything reachable is re-read. */
static void full_flush(struct mmu *m)
{
    event_begin(m);
    unsync_leave(m, false);
    if (m->cfg.opt->mmu == MMU_REF)
        ref_drop_all(m);
}

/* Re-reads what the new root reaches. A root that is not retained links nothing yet; mmu_enter and
 * the walks re-read what they link. */
static void sync_new_root(struct mmu *m)
{
    if (!m->paged || m->cfg.opt->mmu == MMU_REF)
        return;
    m->walk++;
    if (root_retained(m))
        unsync_sync(m, false);
}

void mmu_event_mode(struct mmu *m, const struct mmu_regs *regs)
{
    uint64_t d0 = m->regs.cr0 ^ regs->cr0;
    uint64_t d4 = m->regs.cr4 ^ regs->cr4;
    uint64_t de = m->regs.efer ^ regs->efer;

    if (!(d0 & (CR0_PG | CR0_WP | CR0_PE)) && !(de & (EFER_NXE | EFER_LMA | EFER_LME)) &&
        !(d4 & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP | CR4_PCIDE)) &&
        m->regs.cr3 == regs->cr3) {
        m->regs = *regs;
        return;
    }
    full_flush(m);
    if (d4 & (CR4_SMEP | CR4_SMAP))
        m->downgrades++; /* a root that stays: what its ASID holds was not checked for them */
    set_mode(m, regs);
    sync_new_root(m);
}

void mmu_event_cr3(struct mmu *m, uint64_t cr3, bool noflush)
{
    m->regs.cr3 = cr3;
    if (!m->paged)
        return;
    m->xlate_gen++; /* another address space, also where nothing is flushed */
    if (!noflush)
        full_flush(m);
    else if (m->hushed)
        unsync_leave_quiet(m);
    root_invalidate(m);
    sync_new_root(m);
}

void mmu_event_invlpg(struct mmu *m, gva_t va)
{
    m->event_invlpg = true;
    m->event_va = va;
    event_begin(m);
    m->event_invlpg = false;
    stat_inc(m->pcpu, STAT_flush_page);
    if (m->cfg.opt->mmu == MMU_REF) {
        ref_drop_va(m, va, true);
    } else {
        if (m->upper_count) /* every address's, as a processor's caches of them */
            upper_sync(m);
        unsync_sync_va(m, va);
    }
}

void mmu_event_invpcid(struct mmu *m, unsigned type, uint64_t pcid, gva_t va)
{
    uint64_t current = m->regs.cr4 & CR4_PCIDE ? m->regs.cr3 & PAGE_MASK : 0;

    if (type == 0) { /* a patch repairs every root, so any PCID's translation of va */
        mmu_event_invlpg(m, va);
    } else if (type == 1 && pcid != current) {
        /* What is listed under other roots is re-read when MOV CR3 loads them, flushing or not;
         * roots of several PCIDs share their ASID, which any downgrade flushes. */
        event_begin(m);
        stat_inc(m->pcpu, STAT_flush_page);
    } else {
        mmu_event_flush(m);
    }
}

void mmu_event_flush(struct mmu *m)
{
    full_flush(m);
    sync_new_root(m);
}

void mmu_idle(struct mmu *m, bool park)
{
    mmu_drain(m);
    unsync_leave(m, true);
    if (park) {
        sp_zap_all(m);
        root_invalidate(m);
        m->xlate_gen++;
    }
}

void mmu_reset(struct mmu *m, const struct mmu_regs *regs)
{
    event_begin(m);
    unsync_leave(m, true);
    sp_zap_all(m);
    set_mode(m, regs);
}

size_t mmu_sizeof(void)
{
    return sizeof(struct mmu);
}

/* 394D: the host frame of a leaf entry, for the payload of a patch. */
static uint64_t derive_cb(void *ctx, uint64_t gpte)
{
    struct mmu *m = ctx;
    hpa_t h;
    return (gpte & PTE_P) && p2m_lookup(m->cfg.p2m, gpa(gpte & PTE_ADDR), &h) ? h.v : 0;
}

static bool serve_cb(void *ctx)
{
    return mmu_serve(ctx);
}

_Static_assert(sizeof(*((struct mmu *)0)->low) * MMU_ROOTS <= PORT_LOW_NATIVE - PORT_LOW_ROOTS,
               "PAE roots");

enum hv_err mmu_init(struct mmu *m, const struct mmu_config *cfg)
{
    memset(m, 0, sizeof(*m));
    m->cfg = *cfg;
    m->coh = cfg->coh;
    m->cpu = cfg->cpu;
    m->pcpu = cfg->coh->pcpu;
    m->coh->serve = serve_cb;
    m->coh->ctx = m;
    m->coh->derive = derive_cb;
    m->root = m->last_root = SP_NONE;
    m->xlate_gen = 1;
    m->links = 1; /* no page's summit is of then */
    m->absent = cfg->opt->mmu == MMU_REF ? 0 : cfg->absent;
    m->nroots = cfg->nasids - 1 < MMU_ROOTS ? cfg->nasids - 1 : MMU_ROOTS;
    if (m->nroots == 0)
        return HV_RANGE;
    m->low = port_low_memory(m->pcpu, &m->low_hpa);
    m->entered = ENTERED_NONE;
    for (uint32_t i = 0; i < MMU_ROOTS; i++)
        m->roots[i] = (struct mmu_root_slot){.sp = SP_NONE, .clean_at = ~0ull};
    repair_init(m);
    return pool_init(m);
}

/* The sptes that fill_leaf made for walk.flip go: at the exit after the entry that they were made
 * for. */
static void flip_back(struct mmu *m)
{
    for (unsigned i = 0; i < ARRAY_SIZE(m->flipped) && m->flipped[i]; i++) {
        uint32_t page = (m->flipped[i] - 1) >> 9, idx = (m->flipped[i] - 1) & 511;
        const struct sp *s = &m->sps[page];
        m->flipped[i] = 0;
        if (m->cfg.opt->mmu == MMU_REF)
            ref_drop_all(m);
        else if (s->used && s->level == 1 &&
                 (s->role & ROLE_SMAP0)) /* else the page was dropped meanwhile */
            spte_set(m, page, idx, 0, gfn(0));
    }
}

bool mmu_serve(struct mmu *m)
{
    bool before = m->changed;

    m->changed = false;
    if (m->flipped[0] && m->flip_entered) {
        flip_back(m);
    } else if (!(action_peek(m->coh) & ACTION_REQUESTS)) { /* nearly every round of the loop */
        serve_stretch_end(m);
        m->changed = before;
        return false;
    }
    serve_now(m);
    bool changed = m->changed;
    m->changed |= before;
    return changed;
}
