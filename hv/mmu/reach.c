/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory as the processor would reach it, for what is carried out in its place between two entries
 * (hv/emulate/ahead.c). Tested by tools/tests/test_ahead.c. */
#include "hv/mmu/internal.h"

void *mmu_reach(struct mmu *m, gva_t va, uint32_t access)
{
    uint64_t need = PTE_P | PTE_A | (access & PFEC_W ? PTE_W : 0) /* and with W always D */;
    const struct mmu_path *p;

    if (m->cfg.opt->mmu == MMU_REF || !m->paged || m->top != 4 ||
        (uint64_t)((int64_t)(va.v << 16) >> 16) != va.v)
        return NULL;
    p = path_of(m, va);
    if (!p)
        return NULL;
    uint64_t e = spte_get(m, p->sp, va_index(va, p->level));
    uint64_t mask = p->level == 1 ? PAGE_MASK : REGION_MASK;
    if ((e & need) != need || (e & SPTE_DEVICE) || (p->u && (e & PTE_U)))
        return NULL;
    if (((access & PFEC_W) && !p->w) || ((access & PFEC_I) && (p->nx || (e & PTE_NX))))
        return NULL;
    return port_ptr(hpa((e & PTE_ADDR & ~mask) | (va.v & mask)));
}
