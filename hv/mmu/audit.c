/* SPDX-License-Identifier: BSD-2-Clause */
/* The audit: the locally checkable form of the coherency property (hv/coherency/README "The
 * property"), on every spte of this CPU. Tested by tools/tests/test_mmu.c, which plants faults it
 * must find. */
#include "hv/coherency/direct.h"
#include "hv/mmu/internal.h"

#define AUDIT_SAMPLE 8 /* pages a call looks at on level 1 */

static void finding(struct mmu *m, const struct sp *s, unsigned idx, uint64_t spte, uint64_t gpte,
                    const char *what)
{
    stat_inc(m->pcpu, STAT_audit_findings);
    log_err(
        "audit",
        "patchbay-audit: %s: table gfn 0x%llx level %u role 0x%x index %u spte 0x%llx gpte 0x%llx",
        what, (unsigned long long)s->gfn.v, s->level, s->role, idx, (unsigned long long)spte,
        (unsigned long long)gpte);
}

/* Does the spte claim no more than the entry grants? */
static bool entry_agrees(struct mmu *m, const struct sp *s, uint64_t spte, uint64_t gpte)
{
    bool leaf = spte_is_leaf(s->level, spte);
    hpa_t h;

    if (!(gpte & PTE_P) || !(gpte & PTE_A) || gpte_reserved(m, s->role, gpte, s->level))
        return false;
    if (!gpte_is_leaf(gpte, s->level)) {
        const struct sp *c = leaf ? NULL : sp_at(m, spte_child(m, spte));
        if (!c || (c->role & ROLE_DIRECT) || c->gfn.v != (gpte & PTE_ADDR) >> PAGE_SHIFT)
            return false;
    } else if (leaf) {
        uint64_t frames = level_frames(s->level);
        uint64_t f = ((gpte & PTE_ADDR) >> PAGE_SHIFT) & ~(frames - 1);
        bool found = spte & SPTE_DEVICE ? p2m_device(m->cfg.p2m, gfn_gpa(gfn(f)), &h)
                                        : p2m_lookup(m->cfg.p2m, gfn_gpa(gfn(f)), &h);
        if (!found || h.v != (spte & PTE_ADDR))
            return false;
    } else {
        const struct sp *c = sp_at(m, spte_child(m, spte));
        uint64_t f = ((gpte & PTE_ADDR) >> PAGE_SHIFT) & ~(level_frames(s->level) - 1);
        if (!(c->role & ROLE_DIRECT) || c->gfn.v != f)
            return false;
    }
    if (s->role & ROLE_WP0)
        return true; /* rights are combined over levels there */
    bool needs_d = gpte_is_leaf(gpte, s->level);
    if ((spte & PTE_W) && (!(gpte & PTE_W) || (needs_d && !(gpte & PTE_D))))
        return false;
    if ((spte & PTE_U) && !(gpte & PTE_U))
        return false;
    return !((gpte & PTE_NX) && (s->role & ROLE_NXE) && !(spte & PTE_NX));
}

static unsigned audit_source(struct mmu *m, const struct sp *s, unsigned idx, uint64_t spte)
{
    gpa_t at = sp_entry_gpa(s, idx);
    uint64_t gpte = gpte_of(m, s, idx); /* the entry first, then what may explain it */

    if (entry_agrees(m, s, spte, gpte) || s->listed || consumer_explains(m->coh, at))
        return 0;
    finding(m, s, idx, spte, gpte, "spte differs from its entry and nothing says so");
    return 1;
}

/* A writable leaf spte needs this CPU's writer bit; a traced frame is writable only while unsync. A
 * request in flight (trace set, this CPU not asked yet) is no finding: the bit is still set then.
 */
static unsigned audit_writer(struct mmu *m, const struct sp *s, unsigned idx, uint64_t spte)
{
    uint64_t g = m->m2p[(spte & PTE_ADDR) >> REGION_SHIFT];
    gfn_t f = gfn((g << 9) | ((spte & REGION_MASK & PTE_ADDR) >> PAGE_SHIFT));
    bool ok = s->level == 2 ? (region_word(m->coh, f) & BIT(m->cpu)) != 0
                            : (trace_word(m->coh, f) & TRACE_WRITER(m->cpu)) != 0;
    if (ok)
        return 0;
    finding(m, s, idx, spte, 0, "writable spte without a writer bit");
    return 1;
}

/* A direct spte stands for an entry that is not present, whatever leads there, unless this CPU
 * itself has just stored and not drained; and nothing may change that without asking. */
static unsigned audit_direct(struct mmu *m, uint32_t page, unsigned idx)
{
    const struct sp *s = sp_at(m, page);
    const char *what = NULL;
    uint64_t gpte = gpte_of(m, s, idx);
    uint64_t word = trace_word(m->coh, s->gfn);

    if (s->level != 1 || s->role != ROLE_NXE || !s->claimed || s->listed)
        what = "direct spte in a page that may have none";
    else if ((gpte & PTE_P) && !consumer_explains(m->coh, sp_entry_gpa(s, idx)))
        what = "direct spte of a present entry";
    else if (!direct_mine(m->coh, s->gfn) || !(word & TRACE_TRACED) || (word & TRACE_UNSYNC))
        what = "direct spte of a table that changes unasked";
    /* A link that cannot be claimed ends all of them before the guest runs (direct_enter). */
    for (uint32_t l = m->direct_unfit ? 0 : s->parent; l && !what; l = m->rlink[l - 1])
        if (!m->sps[(l - 1) >> 9].claimed || m->sps[(l - 1) >> 9].listed)
            what = "direct spte below a table that changes unasked";
    if (!what)
        return 0;
    finding(m, s, idx, 0, gpte, what);
    return 1;
}

/* Of pages above: what is claimed here is announced there. */
static unsigned audit_claim(struct mmu *m, const struct sp *s)
{
    if (!s->claimed || (direct_mine(m->coh, s->gfn) && !s->listed))
        return 0;
    finding(m, s, 0, 0, trace_word(m->coh, s->gfn), "a claim that nobody is told of");
    return 1;
}

/* In the reverse map PTE_PS tells a 2 MiB spte from others (set.c, rule 7). */
static unsigned audit_size(struct mmu *m, const struct sp *s, unsigned idx, uint64_t spte)
{
    if (s->level != 1 || (spte & (SPTE_DEVICE | PTE_PS)) != PTE_PS)
        return 0;
    finding(m, s, idx, spte, 0, "4 KiB of RAM with a memory type");
    return 1;
}

static unsigned audit_page(struct mmu *m, uint32_t page)
{
    const struct sp *s = sp_at(m, page);
    unsigned found = audit_claim(m, s);
    unsigned n = 0, ndirect = 0;

    if (!s->used)
        return 0;
    for (unsigned idx = 0; idx < 512; idx++) {
        uint64_t e = *sp_spte(m, page, idx);
        bool present = (s->present[idx >> 6] >> (idx & 63)) & 1;
        if (m->absent && !e) {
            found += audit_direct(m, page, idx);
            ndirect++;
        }
        if (e == m->absent)
            e = 0;
        if (present != ((e & PTE_P) != 0) || (!present && e != 0)) {
            finding(m, s, idx, e, 0, "present bitmap wrong, or a not-present spte with bits");
            found++;
        }
        if (!(e & PTE_P))
            continue;
        n++;
        found += audit_size(m, s, idx, e);
        if (!(s->role & ROLE_DIRECT))
            found += audit_source(m, s, idx, e);
        if (spte_mapped_rw(s->level, e))
            found += audit_writer(m, s, idx, e);
    }
    if (n != s->npresent || ndirect != s->ndirect) {
        finding(m, s, 0, n, s->npresent, "count of present or direct sptes wrong");
        found++;
    }
    if (!(s->role & ROLE_DIRECT) && p2m_ptr(m->cfg.p2m, gfn_gpa(s->gfn)) &&
        !(trace_word(m->coh, s->gfn) & TRACE_CONSUMER(m->cpu))) {
        finding(m, s, 0, 0, trace_word(m->coh, s->gfn), "shadow page without registration");
        found++;
    }
    return found;
}

unsigned mmu_audit(struct mmu *m, unsigned level)
{
    uint32_t n = level >= 2 ? m->npages : AUDIT_SAMPLE;
    unsigned found = 0;

    if (m->cfg.opt->mmu == MMU_REF || level == 0)
        return 0;
    stat_inc(m->pcpu, STAT_audits);
    for (uint32_t i = 0; i < m->npages && n; i++) {
        m->audit_cursor = m->audit_cursor + 1 < m->npages ? m->audit_cursor + 1 : 0;
        if (!m->sps[m->audit_cursor].used)
            continue;
        m->work += 512;
        serve_point(m);
        found += audit_page(m, m->audit_cursor);
        n--;
    }
    return found;
}
