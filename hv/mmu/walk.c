/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest page walk, steps 802..812 of Fig. 8: every table is read only through a shadow page
 * whose trace is installed. Sets A and D by compare-exchange against the walked value. Tested by
 * tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

#define WALK_TRIES 64 /* restarts before the guest simply faults again */

static enum hv_err walk_fault(struct mmu *m, struct walk *w, uint32_t why)
{
    w->pfec = why | (w->access & (PFEC_W | PFEC_U)) | pfec_fetch(m, w->access);
    return HV_FAULT;
}

static bool walk_permitted(const struct mmu *m, const struct walk *w)
{
    bool user = (w->access & PFEC_U) != 0;
    if ((w->access & PFEC_I) && w->eff_nx)
        return false;
    if (user && !w->eff_u)
        return false;
    if ((w->access & PFEC_W) && !w->eff_w && (user || (m->regs.cr0 & CR0_WP)))
        return false;
    if (!user && w->eff_u) { /* SDM vol. 3 4.6.1 "Determination of Access Rights" */
        if (w->access & PFEC_I)
            return !(m->regs.cr4 & CR4_SMEP);
        return !(m->regs.cr4 & CR4_SMAP) || (w->access & ACCESS_AC);
    }
    return true;
}

/* Does the entry deny the access by itself, whatever the levels above grant? */
static bool denied_by(const struct mmu *m, const struct walk *w, uint64_t gpte)
{
    bool user = (w->access & PFEC_U) != 0;

    return (user && !(gpte & PTE_U)) ||
           ((w->access & PFEC_W) && !(gpte & PTE_W) && (user || (m->regs.cr0 & CR0_WP))) ||
           ((w->access & PFEC_I) && (gpte & PTE_NX) && (m->regs.efer & EFER_NXE));
}

/* Links `child` below (page, idx). HV_AGAIN if something was served or dropped meanwhile. */
static enum hv_err walk_link(struct mmu *m, struct walk *w, unsigned idx, uint32_t child,
                             uint64_t rights)
{
    if (m->changed)
        return HV_AGAIN;
    uint64_t spte = sp_hpa(m, child).v | rights;
    uint64_t old = spte_get(m, w->sp, idx);
    if (((old ^ spte) & ~(PTE_A | PTE_D)) || !(old & PTE_P)) {
        /* The child may be older than the entry just read: what was posted for it before the entry
         * was written is applied first, or addresses never walked would use stale entries below. */
        if (consumer_pending(m->coh)) {
            mmu_drain(m);
            return HV_AGAIN;
        }
        spte_replace(m, w->sp, idx, spte, gfn(0));
        if (m->sps[child].npresent) /* else nothing below can be stale */
            unsync_sync_under(m, child);
    }
    if (m->changed)
        return HV_AGAIN;
    w->sp = child;
    w->level--;
    return HV_OK;
}

/* The shadow page of the next level, made if need be (steps 810, 812). */
static enum hv_err walk_descend(struct mmu *m, struct walk *w, unsigned idx)
{
    uint32_t role = m->sps[w->sp].role;
    m->upper_listed = m->sps[w->sp].listed;
    uint32_t child = sp_get(m, gfn((w->gpte & PTE_ADDR) >> PAGE_SHIFT), w->level - 1,
                            role_child(role, w->gpte, idx));
    return walk_link(m, w, idx, child, gpte_link_rights(role, w->gpte));
}

static enum hv_err walk_leaf(struct mmu *m, struct walk *w, unsigned idx)
{
    uint64_t bits = PTE_A | ((w->access & PFEC_W) ? PTE_D : 0);

    if (!walk_permitted(m, w)) {
        w->by_links = w->by_links && !denied_by(m, w, w->gpte);
        return walk_fault(m, w, PFEC_P);
    }
    if (!gpte_mark(m, sp_at(m, w->sp), idx, w->raw, bits))
        return HV_AGAIN;
    w->gpte |= bits;
    ASSERT(w->level >= 1); /* entries of level 1 are leaves */
    uint64_t frames = level_frames(w->level);
    w->target = gfn((((w->gpte & PTE_ADDR) >> PAGE_SHIFT) & ~(frames - 1)) |
                    ((w->va.v >> PAGE_SHIFT) & (frames - 1)));
    return HV_OK;
}

/* PAE and two-level guests have a PAE-format root whose four entries are not read from a traced
 * table: they are the latched PDPTEs, or quarters of the one page directory. */
static enum hv_err walk_pae_root(struct mmu *m, struct walk *w)
{
    unsigned idx = (unsigned)(w->va.v >> 30);
    uint64_t table = m->pdpte[idx];
    uint32_t role = m->role;

    if (role & ROLE_4B) {
        table = m->regs.cr3 | PTE_P;
        role |= ROLE_QUAD(idx);
    }
    if (!(table & PTE_P))
        return walk_fault(m, w, 0);
    if (!p2m_ptr(m->cfg.p2m, gpa(table & PTE_ADDR)))
        return walk_fault(m, w, PFEC_P | PFEC_RSVD);
    return walk_link(m, w, idx, sp_get(m, gfn((table & PTE_ADDR) >> PAGE_SHIFT), 2, role), PTE_P);
}

/* One level: the entry, its rights, and whether the walk ends here. */
static enum hv_err walk_level(struct mmu *m, struct walk *w, unsigned idx, bool *leaf)
{
    const struct sp *s = sp_at(m, w->sp);

    w->raw = (s->role & ROLE_DIRECT) ? ~0ull : gpte_raw(m, s, idx);
    w->gpte = gpte_norm(s, idx, w->raw);
    if (!(w->gpte & PTE_P))
        return walk_fault(m, w, 0); /* step 804 */
    if (gpte_reserved(m, s->role, w->gpte, w->level))
        return walk_fault(m, w, PFEC_P | PFEC_RSVD); /* step 808 */
    w->eff_w = w->eff_w && (w->gpte & PTE_W);
    w->eff_u = w->eff_u && (w->gpte & PTE_U);
    w->eff_nx = w->eff_nx || ((w->gpte & PTE_NX) && (m->regs.efer & EFER_NXE));
    *leaf = gpte_is_leaf(w->gpte, w->level);
    if (*leaf)
        return walk_leaf(m, w, idx);
    if (!p2m_ptr(m->cfg.p2m, gpa(w->gpte & PTE_ADDR)))
        return walk_fault(m, w, PFEC_P | PFEC_RSVD); /* a table outside RAM reads all ones */
    if (!gpte_mark(m, s, idx, w->raw, PTE_A))
        return HV_AGAIN;
    w->gpte |= PTE_A;
    return walk_descend(m, w, idx);
}

/* The upper levels as the shadow has them: after a drain, and with no table given up, its links
 * lead where the guest's entries lead, with A set. They may have fewer rights (a repair gives
 * none), so what they deny, and the last entry does not by itself, the full walk decides. Not with
 * CR0.WP = 0: rights are in the roles. */
static void walk_linked(struct mmu *m, struct walk *w)
{
    const struct mmu_path *p;
    bool whole;

    if (!w->by_links || m->top != 4 || m->zap_count || (m->role & ROLE_WP0))
        return;
    p = path_walk(m, w->va, &whole);
    if (p && !(m->sps[p->sp].role & ROLE_DIRECT) &&
        (!m->upper_count || upper_path_stands(m, p, w->va))) {
        w->eff_w = p->w;
        w->eff_u = p->u;
        w->eff_nx = p->nx;
        w->sp = p->sp;
        w->level = p->level;
        m->sps[p->up[0]].stamp = m->sps[p->up[1]].stamp = m->walk;
        m->sps[p->sp].stamp = m->walk;
        return;
    }
    while (w->level > 1) {
        uint64_t e = spte_get(m, w->sp, va_index(w->va, w->level));
        if (!(e & PTE_P) || spte_is_leaf(w->level, e))
            return;
        uint32_t child = spte_child(m, e);
        if (m->sps[child].role & ROLE_DIRECT)
            return; /* fragments: the entry here is the leaf */
        if (m->sps[w->sp].listed && !upper_stands(m, w->sp, va_index(w->va, w->level)))
            return;
        w->eff_w = w->eff_w && (e & PTE_W);
        w->eff_u = w->eff_u && (e & PTE_U);
        w->eff_nx = w->eff_nx || (e & PTE_NX);
        w->sp = child;
        w->level--;
        m->sps[child].stamp = m->walk;
    }
}

static enum hv_err walk_once(struct mmu *m, struct walk *w)
{
    bool leaf = false;

    w->eff_w = w->eff_u = true;
    w->eff_nx = false;
    w->level = m->top;
    w->sp = root_page(m);
    if (m->changed)
        return HV_AGAIN;
    if (m->top == 3) {
        w->va = gva(w->va.v & 0xffffffffu);
        TRY(walk_pae_root(m, w));
    }
    walk_linked(m, w);
    while (!leaf)
        TRY(walk_level(m, w, va_index(w->va, w->level), &leaf));
    return HV_OK;
}

/* CR0.PG = 0: the identity, as if by a writable, dirty 1 GiB entry. */
static enum hv_err walk_unpaged(struct mmu *m, struct walk *w)
{
    uint32_t root = root_page(m);
    if (m->changed)
        return HV_AGAIN;
    w->va = gva(w->va.v & 0xffffffffu);
    w->sp = spte_child(m, spte_get(m, root, (unsigned)(w->va.v >> 30)));
    sp_at(m, w->sp)->stamp = m->walk;
    w->level = 2;
    w->gpte = (w->va.v & ~REGION_MASK) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_PS;
    w->eff_w = w->eff_u = true;
    w->eff_nx = false;
    w->target = gfn(w->va.v >> PAGE_SHIFT);
    return HV_OK;
}

enum hv_err walk_guest(struct mmu *m, gva_t va, uint32_t access, struct walk *w)
{
    bool by_links = true;

    stat_inc(m->pcpu, STAT_walks);
    for (unsigned tries = 0; tries < WALK_TRIES; tries++) {
        m->walk++;
        m->changed = false;
        *w = (struct walk){.va = va, .access = access, .by_links = by_links};
        enum hv_err err = m->paged ? walk_once(m, w) : walk_unpaged(m, w);
        if (err == HV_FAULT && w->by_links && (w->pfec & (PFEC_P | PFEC_RSVD)) == PFEC_P) {
            by_links = false; /* rights: the guest's entries have the last word */
            continue;
        }
        if (err != HV_AGAIN)
            return err;
        stat_inc(m->pcpu, STAT_walk_restarts);
    }
    return HV_AGAIN;
}
