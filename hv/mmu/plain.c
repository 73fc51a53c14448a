/* SPDX-License-Identifier: BSD-2-Clause */
/* The plain fault: nearly every one. A 64-bit guest with CR0.WP = 1 faults where the way to the
 * page of leaves is remembered, on a 4 KiB entry that denies the access by itself, or grants it and
 * maps RAM that nobody traces. Tested by tools/tests/test_mmu_plain.c. */
/* Rules.
 * 1. It answers as walk.c, fill.c and fault_event would, or not at all. Where it does not, nothing
 *    was done but A and D set in the entry, and the long way begins anew.
 * 2. What holds as long as the way is believed is asked once, when it is remembered (path.c). The
 *    rest, which changes without the links, is asked here: the entry, the lists, CR4.
 * 3. A fault is forwarded only if its address needs nothing of the event that it is: its page is
 *    not listed, or the one page of its table and its spte is what the entry says.
 * 4. Nothing inbound is served between the trace word's exchange and the spte.
 * 5. Of a large page the links speak for the entry, as a TLB would: a patch for it was drained
 *    before, and no table is given up. A store is found to be to a traced frame only where the spte
 *    of that frame is there and lacks nothing but W. */
#include "hv/mmu/internal.h"

/* NOLINTNEXTLINE(misc-redundant-expression): one is of the error code, the other of entries */
_Static_assert(PFEC_W == PTE_W && PFEC_U == PTE_U, "rights asked for and granted are one mask");
#define NEEDS (PFEC_W | PFEC_U)

/* Fig. 8, 804 and 806, where the entry alone says so. */
static enum mmu_plain forward(struct mmu *m, const struct mmu_path *p, uint64_t spte, uint64_t g,
                              struct mmu_fault_out *out, gva_t va, uint32_t access)
{
    const struct sp *s = &m->sps[p->sp];

    if (m->leave_soon || consumer_news(m->coh)) /* the entry may be what is not posted yet */
        return PLAIN_NOT;
    if (s->listed &&
        (s->alias || (spte && !is_repaired(m, p->must_be_0, path_mirrored(p), spte, g))))
        return PLAIN_NOT;
    if (m->upper_count && !upper_path_stands(m, p, va))
        return PLAIN_NOT;
    m->epoch++;
    m->xlate_gen++;
    stat_inc(m->pcpu, STAT_faults_forwarded);
    out->fault = (struct guest_fault){
        .cr2 = va,
        .pfec = (uint32_t)(g & PTE_P) | (access & NEEDS) | pfec_fetch(m, access),
    };
    if (m->absent && !(g & PTE_P)) {
        m->changed = false; /* as a walk begins: what a drain did is no matter of this way */
        direct_consider(m, p->sp, access);
    }
    return PLAIN_FORWARD;
}

/* May the access be made, by this entry and what is above it? Nobody else's rights than the
 * entry's own are a reason to forward here. */
static bool granted(const struct mmu *m, const struct mmu_path *p, uint64_t g, uint32_t access)
{
    uint64_t all = g & p->grants;

    if ((access & NEEDS & ~all) || ((access & PFEC_I) && p->nx))
        return false;
    if ((access & PFEC_U) || !(all & PTE_U))
        return true;
    if (access & PFEC_I)
        return !(m->regs.cr4 & CR4_SMEP);
    return !(m->regs.cr4 & CR4_SMAP) || (access & ACCESS_AC);
}

/* W for the spte, if the entry has it, and 0 if not; false: the frame is traced. */
static bool claim(struct mmu *m, const struct mmu_path *p, uint64_t g, gfn_t f, uint64_t *w)
{
    uint64_t old;

    *w = 0;
    if ((g & p->grants & (PTE_W | PTE_D)) != (PTE_W | PTE_D))
        return true;
    if (trace_word(m->coh, f) & TRACE_TRACED)
        return false;
    *w = PTE_W | PTE_D;
    enum trace_fill r = trace_fill_writable(m->coh, f, &old);
    if (r == TRACE_FILL_UNSYNC && !rmap_has_writable(m, f))
        (void)trace_clear_writer(m->coh, f); /* traced meanwhile, and not mapped here */
    return r == TRACE_FILL_RW;
}

/* A kernel's store to one of its tables, which it has mapped by a large page: one fragment of it is
 * read-only for the trace, and for nothing else, since the links have W and with it the entry's D.
 */
static bool traced_fragment(struct mmu *m, const struct mmu_path *p, gva_t va, uint32_t access,
                            gpa_t *at)
{
    struct sp *s = sp_at(m, p->sp);
    unsigned idx = va_index(va, 1);

    if (p->level > 1 || m->top != 4 || (s->role & ~(uint32_t)ROLE_NXE) != ROLE_DIRECT || !p->w ||
        p->u || (access & (PFEC_W | PFEC_U)) != PFEC_W || m->absent ||
        (*sp_spte(m, p->sp, idx) & (PTE_P | PTE_W | SPTE_DEVICE)) != PTE_P)
        return false;
    gfn_t f = gfn(s->gfn.v + idx);
    if ((trace_word(m->coh, f) & (TRACE_TRACED | TRACE_UNSYNC)) != TRACE_TRACED)
        return false;
    s->stamp = ++m->walk;
    *at = gpa((f.v << PAGE_SHIFT) | (va.v & PAGE_MASK));
    return true;
}

enum mmu_plain plain_fault(struct mmu *m, gva_t va, uint32_t access, struct mmu_fault_out *out)
{
    const struct mmu_path *p = path_known(m, va);
    unsigned idx = va_index(va, 1);
    uint64_t w;
    hpa_t h;

    if (!p || m->zap_count)
        return PLAIN_NOT;
    if (!p->table)
        return traced_fragment(m, p, va, access, &out->gpa) ? PLAIN_TRACED : PLAIN_NOT;
    /* Hostile and concurrent: one load, the copy is checked. Partner: any guest store. */
    uint64_t g = __atomic_load_n(&p->table[idx], __ATOMIC_SEQ_CST);
    uint64_t spte = spte_get(m, p->sp, idx);
    if (!(g & PTE_P))
        return forward(m, p, spte, g, out, va, access);
    if (g & p->must_be_0)
        return PLAIN_NOT;
    if ((access & NEEDS & ~g) || ((access & PFEC_I) && (g & PTE_NX)))
        return forward(m, p, spte, g, out, va, access);
    if (!granted(m, p, g, access) || !p2m_lookup(m->cfg.p2m, gpa(g & PTE_ADDR), &h))
        return PLAIN_NOT;
    uint64_t bits = PTE_A | (access & PFEC_W ? PTE_D : 0);
    struct sp *s = sp_at(m, p->sp);
    if ((g & bits) != bits && !gpte_mark(m, s, idx, g, bits))
        return PLAIN_NOT;
    g |= bits;
    gfn_t f = gfn((g & PTE_ADDR) >> PAGE_SHIFT);
    if (!claim(m, p, g, f, &w))
        return PLAIN_NOT;
    uint64_t new = h.v | PTE_P | PTE_A | (g & path_mirrored(p)) | w;
    if (new == spte)
        return PLAIN_NOT; /* `spurious` counts */
    spte_set(m, p->sp, idx, new, f);
    s->stamp = ++m->walk;
    m->spurious_count = 0;
    uint32_t cpu = m->pcpu;
    stat_inc(cpu, STAT_fill_single);
    stat_inc(cpu, STAT_faults_hidden);
    ring_put(cpu, RING_FILL, va.v, new);
    if (batch_likely(m, s, p->sp, idx))
        fill_batch(m, p->grants & PTE_W, p->sp, idx);
    return PLAIN_FILLED;
}
