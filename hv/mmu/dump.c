/* SPDX-License-Identifier: BSD-2-Clause */
/* Text dumps of the pager for the monitor and for parked VCPUs. Reads only. Tested by
 * tools/tests/test_mon.c. */
#include "hv/mmu/internal.h"

/* One side of a walk: what its entries grant together. */
struct side {
    bool going;  /* the next level can be read */
    bool mapped; /* a leaf was reached */
    bool w, u, nx;
    uint64_t hpa; /* of the address walked, where it is RAM */
};

/* The guest's entry for `va` in its table at `table`, in the 64-bit form. false: not RAM. */
static bool guest_entry(struct mmu *m, uint64_t table, gva_t va, unsigned level, uint64_t *out)
{
    unsigned idx = va_index(va, level);
    struct sp s = {.gfn = gpa_gfn(gpa(table)), .level = (uint8_t)level, .used = true};

    if (m->top == 3 && level == 3) { /* latched, or none at all in a two-level guest */
        *out = m->role & ROLE_4B ? (m->regs.cr3 & PTE_ADDR) | PTE_P : m->pdpte[idx & 3];
        return true;
    }
    if (!p2m_ptr(m->cfg.p2m, gpa(table)))
        return false;
    s.role = m->role & ~(uint32_t)ROLE_QUAD_MASK;
    if (m->role & ROLE_4B)
        s.role |= ROLE_QUAD((va.v >> (level == 2 ? 30 : 21)) & (level == 2 ? 3 : 1));
    *out = gpte_of(m, &s, idx);
    return true;
}

/* Takes one entry into account; whole: it has no rights of its own (a PDPTE). */
static void side_step(struct side *s, uint64_t e, bool leaf, bool whole)
{
    s->going = (e & PTE_P) && !leaf;
    s->mapped = (e & PTE_P) && leaf;
    if (whole || !(e & PTE_P))
        return;
    s->w &= (e & PTE_W) != 0;
    s->u &= (e & PTE_U) != 0;
    s->nx |= (e & PTE_NX) != 0;
}

static uint64_t leaf_offset(gva_t va, unsigned level)
{
    return va.v & ((level_frames(level) << PAGE_SHIFT) - 1);
}

/* Less in the shadow is normal: it is filled when touched, and traced tables, clean pages and pages
 * with A=0 are mapped with less. More, or another page, is what a TLB may show until the guest's
 * next coherency event, and no longer. */
static void difference(const struct side *g, const struct side *h, void (*emit)(const char *line))
{
    char line[160];

    if (!h->mapped) {
        emit(g->mapped ? "  difference: the shadow has no entry; the next access makes it"
                       : "  difference: none, neither maps the address");
        return;
    }
    if (!g->mapped) {
        emit("  difference: the shadow maps what the guest does not: a patch is on its way, or the "
             "guest has not invalidated it");
        return;
    }
    bool more = (h->w && !g->w) || (h->u && !g->u) || (!h->nx && g->nx);
    bool less = (g->w && !h->w) || (g->u && !h->u) || (!g->nx && h->nx);
    hv_snprintf(line, sizeof(line), "  difference: %s%s%s%s (guest %s%s%s, shadow %s%s%s)",
                g->hpa == h->hpa ? "" : "ANOTHER PAGE ", more ? "the shadow grants more " : "",
                less ? "the shadow grants less" : "",
                g->hpa == h->hpa && !more && !less ? "none" : "", g->w ? "w" : "-",
                g->u ? "u" : "-", g->nx ? "-" : "x", h->w ? "w" : "-", h->u ? "u" : "-",
                h->nx ? "-" : "x");
    emit(line);
}

/* Both walks, level by level. */
static void dump_levels(struct mmu *m, gva_t va, uint32_t page, void (*emit)(const char *line))
{
    struct side g = {.going = m->paged, .w = true, .u = true};
    struct side h = {.going = page != SP_NONE, .w = true, .u = true};
    uint64_t table = m->regs.cr3 & PTE_ADDR;
    char line[200];

    for (unsigned level = m->top; level >= 1 && (g.going || h.going); level--) {
        unsigned idx = va_index(va, level);
        bool whole = m->top == 3 && level == 3;
        uint64_t ge = 0, he = 0, word = trace_word(m->coh, gpa_gfn(gpa(table)));
        bool listed = h.going && m->sps[page].listed;
        hpa_t to = hpa(0);
        if (g.going) {
            bool ram = guest_entry(m, table, va, level, &ge);
            side_step(&g, ram ? ge : 0, gpte_is_leaf(ge, level), whole);
            if (g.mapped && p2m_lookup(m->cfg.p2m,
                                       gpa((ge & PTE_ADDR & ~leaf_offset(gva(~0ull), level)) +
                                           leaf_offset(va, level)),
                                       &to))
                g.hpa = to.v;
        }
        if (h.going) {
            he = spte_get(m, page, idx);
            side_step(&h, he, spte_is_leaf(level, he), whole);
            if (h.mapped)
                h.hpa = (he & PTE_ADDR) + leaf_offset(va, level);
            page = h.going ? spte_child(m, he) : page;
        }
        hv_snprintf(line, sizeof(line),
                    "  level %u index %3u  guest 0x%016llx  shadow 0x%016llx  table's trace word "
                    "0x%016llx%s",
                    level, idx, (unsigned long long)ge, (unsigned long long)he,
                    (unsigned long long)(m->paged && !whole ? word : 0), listed ? "  unsync" : "");
        emit(line);
        table = ge & PTE_ADDR;
    }
    if (m->paged)
        difference(&g, &h, emit);
}

void mmu_dump_walk(struct mmu *m, gva_t va, void (*emit)(const char *line))
{
    char line[160];
    bool shadow = m->root != SP_NONE && m->cfg.opt->mmu != MMU_REF;

    hv_snprintf(line, sizeof(line), "walk of 0x%016llx: cr0 %llx cr3 %llx cr4 %llx efer %llx%s",
                (unsigned long long)va.v, (unsigned long long)m->regs.cr0,
                (unsigned long long)m->regs.cr3, (unsigned long long)m->regs.cr4,
                (unsigned long long)m->regs.efer, m->paged ? "" : ", unpaged");
    emit(line);
    if (!shadow)
        emit(m->cfg.opt->mmu == MMU_REF ? "  the reference pager's tables are not shown"
                                        : "  no shadow root at the moment");
    dump_levels(m, va, shadow ? m->roots[m->root].sp : SP_NONE, emit);
}

void mmu_dump(struct mmu *m, void (*emit)(const char *line))
{
    char line[160];
    hv_snprintf(line, sizeof(line),
                "mmu: pages %u of %u, writable sptes %u, listed %u, left unsync %u, epoch %llu, "
                "downgrades %llu",
                m->npages - m->nfree, m->npages, m->rmap_used, m->unsync_count, m->nout,
                (unsigned long long)m->epoch, (unsigned long long)m->downgrades);
    emit(line);
    for (uint32_t i = 0; i < m->nroots; i++) {
        if (m->roots[i].sp == SP_NONE)
            continue;
        hv_snprintf(line, sizeof(line), "  root %u: gfn 0x%llx role 0x%x%s", i,
                    (unsigned long long)m->sps[m->roots[i].sp].gfn.v, m->sps[m->roots[i].sp].role,
                    i == m->root ? " (current)" : "");
        emit(line);
    }
}
