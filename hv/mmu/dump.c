/* SPDX-License-Identifier: BSD-2-Clause */
/* Text dumps of the pager for the monitor and for parked VCPUs. Reads only. Host test: none, it
 * formats what the audit checks. */
#include "hv/mmu/internal.h"

void mmu_dump_walk(struct mmu *m, gva_t va, void (*emit)(const char *line))
{
    char line[160];
    uint64_t table = m->regs.cr3 & PTE_ADDR;
    uint32_t page = m->root == SP_NONE || !m->paged ? SP_NONE : m->roots[m->root].sp;

    hv_snprintf(line, sizeof(line), "walk of 0x%016llx: cr0 %llx cr3 %llx cr4 %llx efer %llx",
                (unsigned long long)va.v, (unsigned long long)m->regs.cr0,
                (unsigned long long)m->regs.cr3, (unsigned long long)m->regs.cr4,
                (unsigned long long)m->regs.efer);
    emit(line);
    if (!m->paged || m->cfg.opt->mmu == MMU_REF || m->top != 4)
        return;
    bool guest = true;
    for (unsigned level = 4; level >= 1 && (guest || page != SP_NONE); level--) {
        unsigned idx = va_index(va, level);
        const uint64_t *at = guest ? p2m_ptr(m->cfg.p2m, gpa(table + idx * 8ull)) : NULL;
        uint64_t g = at ? __atomic_load_n(at, __ATOMIC_RELAXED) : 0;
        uint64_t e = page != SP_NONE ? *sp_spte(m, page, idx) : 0;
        hv_snprintf(line, sizeof(line),
                    "  level %u index %3u  guest 0x%016llx  shadow 0x%016llx  trace 0x%016llx%s",
                    level, idx, (unsigned long long)g, (unsigned long long)e,
                    (unsigned long long)trace_word(m->coh, gfn(table >> PAGE_SHIFT)),
                    page != SP_NONE && m->sps[page].listed ? "  unsync" : "");
        emit(line);
        guest = guest && (g & PTE_P) && !gpte_is_leaf(g, level);
        table = g & PTE_ADDR;
        page = (e & PTE_P) && !spte_is_leaf(level, e) ? spte_child(m, e) : SP_NONE;
    }
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
