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

/* CPUs may build the same path at once: the first one's table is taken. */
static void install_table(uint64_t *e)
{
    uint64_t *table = page_alloc(), none = pte_read(e);

    if ((none & PTE_P) != 0 ||
        !__atomic_compare_exchange_n(e, &none, pa_of(table) | PTE_TABLE, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        page_free(table);
}

uint64_t *pte_at(uint64_t *root, uint64_t va, int level, bool build)
{
    uint64_t *table = root;

    for (int l = 4; l > level; l--) {
        uint64_t *e = &table[(va >> (12 + 9 * (l - 1))) & 511];
        if ((pte_read(e) & PTE_P) == 0) {
            if (!build)
                return NULL;
            install_table(e);
        } else if (l < 4 && (pte_read(e) & PTE_PS) != 0) {
            return NULL;
        }
        table = (uint64_t *)(pte_read(e) & PTE_ADDR);
    }
    return &table[(va >> (12 + 9 * (level - 1))) & 511];
}

uint64_t *map(uint64_t va, uint64_t pa, uint64_t flags)
{
    uint64_t *pte = pte_at(boot_pml4, va, 1, true);

    pte_write(pte, pa | flags);
    return pte;
}

uint64_t *map_2m(uint64_t va, uint64_t pa, uint64_t flags)
{
    uint64_t *pde = pte_at(boot_pml4, va, 2, true);

    pte_write(pde, pa | flags | PTE_PS);
    return pde;
}

uint64_t *tagged_page(uint64_t tag)
{
    uint64_t *p = page_alloc();

    stosq(pa_of(p), tag, 512);
    return p;
}

unsigned verify_range(uint64_t *root, uint64_t va, unsigned n)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < n; i++, va += PAGE) {
        const uint64_t *pte = pte_at(root, va, 1, false);
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
