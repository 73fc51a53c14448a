/* SPDX-License-Identifier: BSD-2-Clause */
/* Paging modes of the simulated CPUs: the same table frames read as 4-level, PAE or two-level
 * tables, addresses and roots of a program adapted to the mode, changes of mode, PCIDs. Tested with
 * the simulator. */
#include "tools/tests/sim.h"

enum sim_mode sim_mode(const struct mmu_regs *r)
{
    if (!(r->cr4 & CR4_PAE))
        return MODE_TWO;
    return r->efer & EFER_LMA ? MODE_LONG : MODE_PAE;
}

unsigned sim_pcid(const struct mmu_regs *r)
{
    return r->cr4 & CR4_PCIDE ? r->cr3 % SIM_PCIDS : 0;
}

/* The self-map and the window are in the upper half of a 4-level address space, as a kernel is:
 * root entries 258 and 259. The window is the last quarter of the other spaces; of their rest,
 * two-level tables have the entries that are followed at other places: both halves of a table, two
 * quarters of a root. */
uint64_t sim_va(unsigned c, uint64_t va)
{
    static const uint64_t high[] = {0, 2, 0, 2}, middle[] = {0, 4, 1, 5};
    const struct mmu_regs *r = &sim_cpu[c].regs;

    if (!(r->cr0 & CR0_PG))
        return va;
    if (sim_mode(r) == MODE_LONG)
        return va >> 39 < 2 ? va : va | 256ull << 39;
    if (va >> 39 == 3)
        return 3ull << 30 | (va & REGION_MASK);
    if (sim_mode(r) == MODE_PAE)
        return va & 0xffffffff;
    return high[va >> 30 & 3] << 30 | middle[va >> 21 & 3] << 21 | (va & REGION_MASK);
}

/* Programs name frames; the first two are roots, other ones are taken as they come. */
uint64_t sim_cr3(unsigned c, uint64_t value)
{
    const struct mmu_regs *r = &sim_cpu[c].regs;
    enum sim_mode mode = sim_mode(r);
    uint64_t f = value >> 12, root = f - SIM_TABLE_GFN;

    if (root < SIM_ROOTS)
        f = SIM_TABLE_GFN + (mode == MODE_LONG ? 0 : mode == MODE_PAE ? 2 : 4) + root;
    return f << 12 | (r->cr4 & CR4_PCIDE ? value % SIM_PCIDS : 0);
}

/* A PAE guest's load of CR3: four entries of the table, made valid, the last one the window's. */
static void latch(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];

    for (unsigned i = 0; i < 3; i++) {
        const uint64_t *p = p2m_ptr(&sim_vm(c)->p2m, gpa((s->regs.cr3 & 0xffffffe0) + i * 8ull));
        s->pdpte[i] = p ? *p & (PTE_P | MASK(39, 12)) : 0;
    }
    s->pdpte[3] = (SIM_WINDOW_GFN + 1) << 12 | PTE_P;
    mmu_latch_pdptes(&s->mmu, s->pdpte);
}

void sim_latch(unsigned c)
{
    const struct mmu_regs *r = &sim_cpu[c].regs;
    if ((r->cr0 & CR0_PG) && sim_mode(r) == MODE_PAE)
        latch(c);
}

void sim_regs(struct mmu_regs *r, enum sim_mode mode)
{
    *r = (struct mmu_regs){.cr0 = CR0_PE | CR0_PG | CR0_WP, .cr4 = CR4_PGE, .efer = EFER_NXE};
    r->cr4 |= mode == MODE_TWO ? CR4_PSE : CR4_PAE;
    if (mode == MODE_LONG) {
        r->efer |= EFER_LME | EFER_LMA;
        r->cr4 |= CR4_PCIDE;
    }
    r->cr3 = (SIM_TABLE_GFN + (mode == MODE_LONG ? 0 : mode == MODE_PAE ? 2 : 4)) << 12;
}
