/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages and page tables of the tests. All RAM is identity-mapped, so tables are reached by their
 * physical address. Tested by every run of the image. */
#include "guest/guest.h"

static struct spinlock pool_lock;
static uint64_t pool_next = POOL_BASE_PA;
static uint64_t free_list; /* linked through the first word */

void *page_alloc(void)
{
    uint64_t page;

    spin_lock(&pool_lock);
    if (free_list != 0) {
        page = free_list;
        free_list = load64(page);
    } else {
        page = pool_next;
        pool_next += PAGE;
    }
    spin_unlock(&pool_lock);
    if (page >= POOL_END_PA) {
        test_fail(__FILE__, __LINE__, "page pool exhausted");
        job_abort();
    }
    stosq(page, 0, 512);
    return (void *)page;
}

void page_free(void *page)
{
    spin_lock(&pool_lock);
    store64(pa_of(page), free_list);
    free_list = pa_of(page);
    spin_unlock(&pool_lock);
}

void page_pool_reset(void)
{
    pool_next = POOL_BASE_PA;
    free_list = 0;
}

/* CPUs may build the same path at once: the first one's table is taken. PDPTEs of PAE know P only.
 */
static void install_table(pte_t *e, int level)
{
    pte_t *table = page_alloc(), none = (pte_t)pte_read(e);
    pte_t link = (pte_t)(pa_of(table) | (level > TOP_FLAGS_LEVEL ? PTE_P : PTE_TABLE));

    if ((none & PTE_P) != 0 ||
        !__atomic_compare_exchange_n(e, &none, link, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        page_free(table);
}

static unsigned index_of(uint64_t va, int level)
{
    return (unsigned)(va >> (12 + PTE_BITS * (level - 1))) & ((1u << PTE_BITS) - 1);
}

pte_t *pte_at(pte_t *root, uint64_t va, int level, bool build)
{
    pte_t *table = root;

    for (int l = ROOT_LEVEL; l > level; l--) {
        pte_t *e = &table[index_of(va, l)];
        if ((pte_read(e) & PTE_P) == 0) {
            if (!build)
                return NULL;
            install_table(e, l);
        } else if (l <= 3 && l <= TOP_FLAGS_LEVEL && (pte_read(e) & PTE_PS) != 0) {
            return NULL;
        }
        table = (pte_t *)(uintptr_t)(pte_read(e) & PTE_ADDR);
    }
    return &table[index_of(va, level)];
}

pte_t *map(uint64_t va, uint64_t pa, uint64_t flags)
{
    pte_t *pte = pte_at(kernel_root, va, 1, true);

    pte_write(pte, pa | flags);
    return pte;
}

pte_t *map_2m(uint64_t va, uint64_t pa, uint64_t flags)
{
    pte_t *pde = pte_at(kernel_root, va, 2, true);

    pte_write(pde, pa | flags | PTE_PS);
    return pde;
}

uint64_t *tagged_page(uint64_t tag)
{
    uint64_t *p = page_alloc();

    stosq(pa_of(p), tag, 512);
    return p;
}

unsigned verify_range(pte_t *root, uint64_t va, unsigned n)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < n; i++, va += PAGE) {
        const pte_t *pte = pte_at(root, va, 1, false);
        uint64_t e = pte == NULL ? 0 : pte_read(pte), got = 0;
        bool present = (e & PTE_P) != 0, read = try_read64(va, &got);

        if (read == present && (!read || got == load64(e & PTE_ADDR)))
            continue;
        if (bad++ == 0)
            diag("va %lx, entry %lx: %s %lx, the frame holds %lx", va, e, read ? "read" : "trapped",
                 got, present ? load64(e & PTE_ADDR) : 0);
    }
    return bad;
}
