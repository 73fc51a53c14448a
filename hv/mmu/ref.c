/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference pager (mmu=ref): tiny, slow and plainly right. No traces, no patches, nothing kept:
 * a software TLB in the form of one set of tables that is thrown away at every full flush. The
 * oracle for the other pager. Tested by tools/tests/test_mmu.c and by booting a guest on it. */
#include "hv/mmu/internal.h"

/* Pages come from the bottom of the same pool; `clock` counts those in use. Page 0 is the root. */
void ref_drop_all(struct mmu *m)
{
    for (uint32_t p = 0; p < m->clock; p++) {
        for (unsigned i = 0; i < 512; i++)
            if (*sp_spte(m, p, i))
                spte_set_ref(m, p, i, 0);
        m->work += 512;
        serve_point(m);
    }
    m->clock = 0;
    m->downgrades++; /* tables are reused: paging-structure caches must go too */
    m->root = SP_NONE;
}

/* The 2 MiB around va (whole), or va alone. */
static void drop_leaves(struct mmu *m, gva_t va, bool whole)
{
    uint32_t p = 0;

    for (unsigned level = m->top; level > 1; level--) {
        uint64_t e = *sp_spte(m, p, va_index(va, level));
        if (!(e & PTE_P))
            return;
        p = spte_child(m, e);
    }
    for (unsigned i = 0; i < 512; i++)
        if ((whole || i == va_index(va, 1)) && *sp_spte(m, p, i))
            spte_set_ref(m, p, i, 0);
}

/* A #PF invalidates its address; INVLPG also what else came from the same large page: the 2 MiB
 * around it, 4 MiB for a two-level guest, or all if a 1 GiB page was ever seen. */
void ref_drop_va(struct mmu *m, gva_t va, bool invlpg)
{
    if (m->root == SP_NONE || m->clock == 0)
        return;
    if (invlpg && m->ref_huge) {
        ref_drop_all(m);
        return;
    }
    if (m->top == 3)
        va = gva(va.v & 0xffffffffu);
    drop_leaves(m, va, invlpg);
    if (invlpg && (m->role & ROLE_4B))
        drop_leaves(m, gva(va.v ^ REGION_SIZE), true);
}

static uint32_t ref_page(struct mmu *m)
{
    if (m->clock == m->npages)
        return SP_NONE;
    return m->clock++;
}

/* The root, and for an unpaged guest its four PDPTEs, which must not change later (two-level and
 * PAE guests alike). */
uint32_t ref_root(struct mmu *m)
{
    if (m->root != SP_NONE)
        return 0;
    if (m->clock)
        ref_drop_all(m);
    (void)ref_page(m);
    if (m->top == 3)
        for (unsigned i = 0; i < 4; i++)
            spte_set_ref(m, 0, i, sp_hpa(m, ref_page(m)).v | PTE_P);
    m->roots[0].sp = 0;
    m->roots[0].clean_at = ~0ull;
    m->root = 0;
    return 0;
}

static bool ref_permitted(struct mmu *m, struct walk *w)
{
    bool user = (w->access & PFEC_U) != 0;
    if (((w->access & PFEC_I) && w->eff_nx) || (user && !w->eff_u))
        return false;
    if ((w->access & PFEC_W) && !w->eff_w && (user || (m->regs.cr0 & CR0_WP)))
        return false;
    if (!user && w->eff_u && (w->access & PFEC_I))
        return !(m->regs.cr4 & CR4_SMEP);
    if (!user && w->eff_u)
        return !(m->regs.cr4 & CR4_SMAP) || (w->access & ACCESS_AC);
    return true;
}

static enum hv_err ref_fail(struct mmu *m, struct walk *w, uint32_t why)
{
    w->pfec = why | (w->access & (PFEC_W | PFEC_U)) | pfec_fetch(m, w->access);
    return HV_FAULT;
}

/* A table as the functions of gpte.c want it described; there is no shadow page behind it. */
static enum hv_err ref_first_table(struct mmu *m, struct walk *w, struct sp *s)
{
    uint64_t table = m->regs.cr3 | PTE_P;

    *s = (struct sp){.role = m->role, .level = 4};
    if (m->top == 3) {
        unsigned idx = (unsigned)(w->va.v >> 30) & 3;
        w->va = gva(w->va.v & 0xffffffffu);
        s->level = 2;
        if (m->role & ROLE_PAE)
            table = m->pdpte[idx];
        else
            s->role |= ROLE_QUAD(idx);
    }
    s->gfn = gfn((table & PTE_ADDR) >> PAGE_SHIFT);
    return (table & PTE_P) ? HV_OK : ref_fail(m, w, 0);
}

static enum hv_err ref_walk_once(struct mmu *m, struct walk *w)
{
    struct sp s;

    w->eff_w = w->eff_u = true;
    w->eff_nx = false;
    TRY(ref_first_table(m, w, &s));
    for (;;) {
        unsigned idx = va_index(w->va, s.level);
        w->level = s.level;
        if (!p2m_ptr(m->cfg.p2m, gfn_gpa(s.gfn)))
            return ref_fail(m, w, PFEC_P | PFEC_RSVD); /* as the other pager says */
        w->raw = gpte_raw(m, &s, idx);
        w->gpte = gpte_norm(&s, idx, w->raw);
        if (!(w->gpte & PTE_P))
            return ref_fail(m, w, 0);
        if (gpte_reserved(m, s.role, w->gpte, w->level))
            return ref_fail(m, w, PFEC_P | PFEC_RSVD);
        w->eff_w = w->eff_w && (w->gpte & PTE_W);
        w->eff_u = w->eff_u && (w->gpte & PTE_U);
        w->eff_nx = w->eff_nx || ((w->gpte & PTE_NX) && (m->regs.efer & EFER_NXE));
        bool leaf = gpte_is_leaf(w->gpte, w->level);
        if (leaf && !ref_permitted(m, w))
            return ref_fail(m, w, PFEC_P);
        uint64_t bits = PTE_A | (leaf && (w->access & PFEC_W) ? PTE_D : 0);
        if (!gpte_mark(m, &s, idx, w->raw, bits))
            return HV_AGAIN;
        w->gpte |= bits;
        m->ref_huge |= leaf && w->level == 3;
        if (leaf)
            break;
        s.role = role_child(s.role, w->gpte, idx);
        s.gfn = gfn((w->gpte & PTE_ADDR) >> PAGE_SHIFT);
        s.level--;
    }
    uint64_t frames = level_frames(w->level);
    w->target = gfn((((w->gpte & PTE_ADDR) >> PAGE_SHIFT) & ~(frames - 1)) |
                    ((w->va.v >> PAGE_SHIFT) & (frames - 1)));
    return HV_OK;
}

enum hv_err ref_walk(struct mmu *m, gva_t va, uint32_t access, struct walk *w)
{
    stat_inc(m->pcpu, STAT_walks);
    for (unsigned tries = 0; tries < 64; tries++) {
        *w = (struct walk){.va = va, .access = access};
        if (!m->paged) {
            w->va = gva(va.v & 0xffffffffu);
            w->target = gfn(w->va.v >> PAGE_SHIFT);
            w->eff_w = w->eff_u = true;
            w->gpte = PTE_D;
            return HV_OK;
        }
        enum hv_err err = ref_walk_once(m, w);
        if (err != HV_AGAIN)
            return err;
    }
    return HV_AGAIN;
}

static void ref_fill(struct mmu *m, const struct walk *w, hpa_t h)
{
    uint32_t p = ref_root(m);
    bool flip = !w->eff_w && (w->access & PFEC_W); /* CR0.WP = 0, trap 22 */
    uint64_t spte = h.v | PTE_P | PTE_A;

    for (unsigned level = m->top; level > 1; level--) {
        uint64_t e = *sp_spte(m, p, va_index(w->va, level));
        if (!(e & PTE_P)) {
            uint32_t child = ref_page(m);
            if (child == SP_NONE) { /* pool full: start over, the access faults again */
                ref_drop_all(m);
                return;
            }
            e = sp_hpa(m, child).v | PTE_P | PTE_W | PTE_U | PTE_A;
            spte_set_ref(m, p, va_index(w->va, level), e);
        }
        p = spte_child(m, e);
    }
    if (w->eff_u && !flip)
        spte |= PTE_U;
    if ((w->gpte & PTE_D) && (w->eff_w || flip))
        spte |= PTE_W | PTE_D;
    if (w->eff_nx || (flip && w->eff_u && (m->regs.cr4 & CR4_SMEP)))
        spte |= PTE_NX;
    spte_set_ref(m, p, va_index(w->va, 1), spte);
}

enum mmu_verdict ref_fault(struct mmu *m, gva_t va, uint32_t access, struct mmu_fault_out *out)
{
    struct walk w;
    hpa_t h;
    enum hv_err err = ref_walk(m, va, access, &w);

    if (err == HV_FAULT) {
        ref_drop_va(m, va, false);
        m->xlate_gen++;
        stat_inc(m->pcpu, STAT_faults_forwarded);
        out->fault = (struct guest_fault){.cr2 = va, .pfec = w.pfec};
        return MMU_FORWARD;
    }
    if (err != HV_OK)
        return MMU_RESUME;
    out->gpa = gpa((w.target.v << PAGE_SHIFT) | (va.v & PAGE_MASK));
    if (!p2m_lookup(m->cfg.p2m, gfn_gpa(w.target), &h))
        return MMU_MMIO;
    if (flip_needed(m, &w)) {
        if (!flip_granted(m, &w))
            return MMU_EMULATE;
        flip_made(m, 1);
    }
    ref_fill(m, &w, h);
    stat_inc(m->pcpu, STAT_fill_single);
    stat_inc(m->pcpu, STAT_faults_hidden);
    return MMU_RESUME;
}
