/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulated processor's MMU: an adversarial TLB and paging-structure caches by ASID, filled by
 * walking the shadow tables. They keep what they have until the ASID is flushed, or drop it when
 * they like. Tested with the simulator. */
#include "tools/tests/sim.h"

static uint64_t dice(unsigned c, uint64_t n)
{
    return sim_random(&sim_cpu[c].dice, n);
}

unsigned sim_slot(uint64_t va)
{
    return (unsigned)(((va >> 39) & 3) * 1024 + ((va >> 30) & 3) * 256 + ((va >> 21) & 7) * 32 +
                      ((va >> 12) & 31));
}

uint64_t sim_gfn_of(unsigned c, uint64_t pfn)
{
    const struct sim_vm *vm = sim_vm(c);
    uint64_t g = pfn >> 9;
    if (g - 128 >= SIM_HOST_GRANULES || vm->ungranule[g - 128] == P2M_NONE)
        sim_fail("a translation to host frame 0x%llx, which is not the guest's",
                 (unsigned long long)pfn);
    return ((uint64_t)vm->ungranule[g - 128] << 9) | (pfn & 511);
}

void sim_hw_flush(unsigned c, uint32_t asid)
{
    sim_cpu[c].gen[asid]++;
}

static bool rights_allow(unsigned c, const struct sim_tlb *t, uint32_t access)
{
    bool user = access & PFEC_U;
    if ((access & PFEC_W) && !t->w) /* the hardware's CR0.WP is always 1 */
        return false;
    if ((user && !t->u) || ((access & PFEC_I) && t->nx))
        return false;
    return !((access & PFEC_I) && !user && t->u && (sim_cpu[c].regs.cr4 & CR4_SMEP));
}

static unsigned psc_slot(uint64_t va, unsigned level)
{
    return sim_slot(va) >> (level == 4 ? 10 : level == 3 ? 8 : 5);
}

/* Begins at the root, or below it where a structure cache has an entry and the dice say so. */
static unsigned walk_start(unsigned c, uint64_t va, uint32_t *page, struct sim_tlb *t)
{
    struct sim_cpu *s = &sim_cpu[c];
    for (unsigned level = 2; s->mmu.paged && level <= (s->mmu.top == 4 ? 4 : 2); level++) {
        const struct sim_psc *p = &s->psc[s->asid][level][psc_slot(va, level)];
        if (p->gen != s->gen[s->asid] || dice(c, 2))
            continue;
        *page = p->page;
        t->w = p->w;
        t->u = p->u;
        t->nx = p->nx;
        return level - 1;
    }
    *page = s->root;
    return s->mmu.top;
}

static bool walk(unsigned c, uint64_t va, struct sim_tlb *t)
{
    struct sim_cpu *s = &sim_cpu[c];
    uint32_t page;
    *t = (struct sim_tlb){.gen = s->gen[s->asid], .w = true, .u = true};
    for (unsigned level = walk_start(c, va, &page, t);; level--) {
        bool pdpte = level == 3 && s->mmu.top == 3; /* a register, without rights */
        uint64_t e =
            pdpte ? s->hw_pdpte[va >> 30 & 3] : *sp_spte(&s->mmu, page, va_index(gva(va), level));
        if (s->mmu.absent && e == MMU_ABSENT)
            return false;
        if (!(e & PTE_P)) {
            t->direct = s->mmu.absent && s->mmu.top == 4;
            if (e)
                sim_fail("cpu %u: a not-present spte with bits 0x%llx", c, (unsigned long long)e);
            return false;
        }
        if (!pdpte) {
            t->w = t->w && (e & PTE_W);
            t->u = t->u && (e & PTE_U);
            t->nx = t->nx || (e & PTE_NX);
        }
        if (spte_is_leaf(level, e)) {
            t->pfn = ((e & PTE_ADDR) >> 12) + (level == 2 ? (va >> 12) & 511 : 0);
            return true;
        }
        page = spte_child(&s->mmu, e);
        if (page >= s->mmu.npages)
            sim_fail("cpu %u: spte 0x%llx points outside the pool", c, (unsigned long long)e);
        if (pdpte)
            continue;
        s->psc[s->asid][level][psc_slot(va, level)] = (struct sim_psc){
            .gen = s->gen[s->asid], .page = page, .w = t->w, .u = t->u, .nx = t->nx};
    }
}

bool sim_hw_access(unsigned c, uint64_t va, uint32_t access, uint64_t *gfn, bool *direct)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct sim_tlb *e = &s->tlb[s->asid][sim_slot(va)];
    struct sim_tlb t;
    *direct = false;
    if (e->gen == s->gen[s->asid] && dice(c, 24)) {
        if (rights_allow(c, e, access)) {
            *gfn = sim_gfn_of(c, e->pfn);
            return true;
        }
        e->gen = 0; /* a fault, or a better walk, replaces it */
        if (dice(c, 2))
            return false;
    }
    if (!walk(c, va, &t)) {
        *direct = t.direct;
        return false;
    }
    if (!rights_allow(c, &t, access))
        return false;
    *e = t;
    *gfn = sim_gfn_of(c, t.pfn);
    return true;
}

static void check(unsigned c, uint64_t va, const struct sim_tlb *t)
{
    uint32_t access = (t->w ? PFEC_W : 0) | (t->u ? PFEC_U : 0) | (t->nx ? 0 : PFEC_I);
    uint64_t f = sim_gfn_of(c, t->pfn);
    if ((access & PFEC_I) && !(access & PFEC_U) && t->u)
        access &= ~(uint32_t)PFEC_I;
    if (oracle_allows(c, va, access, f))
        return;
    oracle_print(va, c);
    sim_fail("cpu %u va 0x%llx: holds frame 0x%llx w %d u %d nx %d, which is not allowed", c,
             (unsigned long long)va, (unsigned long long)f, t->w, t->u, t->nx);
}

static void sweep_under(unsigned c, uint32_t page, unsigned level, uint64_t va)
{
    struct sim_cpu *s = &sim_cpu[c];
    unsigned n = level == 1 ? 16 : level == 2 ? 8 : 3; /* not the window: it never changes */
    for (unsigned i = 0; i < n; i++) {
        unsigned idx = level == 4 && i == 2 ? 258 : i;
        uint64_t e = spte_get(&s->mmu, page, idx);
        uint64_t at = va | ((uint64_t)idx << (12 + 9 * (level - 1)));
        struct sim_tlb t, *slot;
        if (!(e & PTE_P))
            continue;
        if (!spte_is_leaf(level, e)) {
            sweep_under(c, spte_child(&s->mmu, e), level - 1, at);
            continue;
        }
        if (!walk(c, at, &t))
            continue;
        check(c, at, &t);
        slot = &s->tlb[s->asid][sim_slot(at)];
        if (slot->gen != s->gen[s->asid] && dice(c, 2))
            *slot = t;
    }
}

void sim_hw_sweep(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];
    if (!s->in_guest || !s->mmu.paged)
        return;
    sweep_under(c, s->root, s->mmu.top, 0);
    for (uint64_t i = 0; i < SIM_SLOTS; i++) {
        const struct sim_tlb *t = &s->tlb[s->asid][i];
        uint64_t va =
            (i / 1024 << 39) | ((i / 256 & 3) << 30) | ((i / 32 & 7) << 21) | (i % 32) << 12;
        bool window = va >> (s->mmu.top == 4 ? 39 : 30) == 3;
        va |= i / 1024 < 2 ? 0 : 256ull << 39;
        if (t->gen == s->gen[s->asid] && !window)
            check(c, va, t);
    }
}

/* The processor gives a fault to the guest without an exit: only one that a processor without
 * shadow tables could raise at this very moment. */
void sim_hw_fault(unsigned c, uint64_t va, uint32_t access, uint32_t since)
{
    if (!oracle_faults(c, va, access, since, access & (PFEC_W | PFEC_U | PFEC_I))) {
        oracle_print(va, c);
        sim_fail(
            "cpu %u va 0x%llx access 0x%x: a fault without an exit, which the tables do not ask "
            "for",
            c, (unsigned long long)va, access);
    }
    sim.direct++;
    oracle_page_fault(c, va, since);
}
