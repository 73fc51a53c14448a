/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables of the 32-bit images: the kernel's own part, and tables of every mode for the tests
 * that change modes. Tested by every run of the images. */
#include "guest/guest.h"
#include "guest/modes32.h"

#define GIB (1ull << 30)
#define DEVICE (PTE_PCD | PTE_PWT)

bool paging_has_long(void)
{
    return (cpuid(0x80000001, 0).edx & 1u << 29) != 0;
}

#ifdef GUEST_PAE
extern pte_t boot_pd[4][512];

pte_t *root_new(void)
{
    pte_t *root = page_alloc();

    for (unsigned i = 0; i < 4; i += 3)
        root[i] = pa_of(boot_pd[i]) | PTE_P;
    return root;
}

void test_space_clear(void)
{
    for (unsigned i = 1; i < 3; i++) {
        pte_write(&boot_root[i], pa_of(boot_pd[i]) | PTE_P);
        for (unsigned k = 0; k < 512; k++)
            if (pte_read(&boot_pd[i][k]) != 0)
                pte_write(&boot_pd[i][k], 0);
    }
}
#else
pte_t *root_new(void)
{
    pte_t *root = page_alloc();

    for (unsigned i = 0; i < PTES; i++)
        if (i < 256 || i >= 768)
            root[i] = (pte_t)pte_read(&boot_root[i]);
    return root;
}

void test_space_clear(void)
{
    for (unsigned i = 256; i < 768; i++)
        if (pte_read(&boot_root[i]) != 0)
            pte_write(&boot_root[i], 0);
}
#endif

/* --- tables of any mode --- */
static void root_two_level(uint32_t *root)
{
    for (uint32_t i = 0; i < 1024; i++)
        if (i < 256 || i >= 768)
            root[i] = i << 22 | PTE_RW | PTE_PS | (i < 768 ? 0 : (uint32_t)DEVICE);
}

/* PAE's four page directories, or the four that a PDPT of long mode has for the first 4 GiB. */
static void root_pdpt(uint64_t *pdpt, uint64_t link)
{
    for (uint64_t g = 0; g < 4; g++) {
        uint64_t *pd = page_alloc();
        pdpt[g] = pa_of(pd) | link;
        for (uint64_t i = 0; i < 512 && (g == 0 || g == 3); i++)
            pd[i] = g * GIB | i * PAGE_2M | PTE_RW | PTE_PS | (g == 3 ? DEVICE : 0);
    }
}

uint64_t paging_root(enum paging_mode mode)
{
    void *root = page_alloc();

    if (mode == PAGING_TWO_LEVEL) {
        root_two_level(root);
    } else if (mode == PAGING_PAE) {
        root_pdpt(root, PTE_P);
    } else {
        uint64_t *pdpt = page_alloc();
        *(uint64_t *)root = pa_of(pdpt) | PTE_TABLE;
        root_pdpt(pdpt, PTE_TABLE);
    }
    return pa_of(root);
}

void paging_hang(enum paging_mode mode, uint64_t root, uint64_t va, const void *table)
{
    uint32_t a = (uint32_t)va;
    uint64_t *t = (uint64_t *)(uintptr_t)root;

    if (mode == PAGING_TWO_LEVEL) {
        ((uint32_t *)t)[a >> 22] = (uint32_t)(pa_of(table) | PTE_TABLE);
        return;
    }
    if (mode == PAGING_LONG)
        t = (uint64_t *)(uintptr_t)(t[0] & PTE_ADDR);
    t = (uint64_t *)(uintptr_t)(t[a >> 30] & PTE_ADDR);
    t[a >> 21 & 511] = pa_of(table) | PTE_TABLE;
}

/* --- switching --- */
static void efer_set(uint64_t bits)
{
    uint64_t now, most = EFER_LME | EFER_NXE | EFER_SCE;

    if (cpuid(0x80000000, 0).eax < 0x80000001)
        return;
    if ((cpuid(0x80000001, 0).edx & 1u << 20) == 0) /* without NX there is nothing to set */
        return;
    now = rdmsr(MSR_EFER);
    if ((now & most) != bits)
        wrmsr(MSR_EFER, (now & ~most & ~EFER_LMA) | bits);
}

void paging_set(const struct paging *p)
{
    static const uint64_t mode_cr4[] = {0, CR4_PSE, CR4_PAE, CR4_PAE};
    const uint64_t base4 = CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_DE;
    uint64_t cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP, cr4, efer, root = p->root;
    bool kernel = p->mode == PAGING_KERNEL;

    if (kernel)
        root = pa_of(boot_root);
    cr4 = base4 | (kernel ? BOOT_CR4 : mode_cr4[p->mode]);
    efer = p->mode == PAGING_LONG ? EFER_LME | EFER_NXE : cr4 & CR4_PAE ? EFER_NXE : 0;
    if (kernel && (read_cr0() & CR0_PG) && !((read_cr4() ^ cr4) & (CR4_PAE | CR4_PSE)) &&
        !(rdmsr(MSR_EFER) & EFER_LME)) { /* the usual case: paging stays on */
        efer_set(efer);
        if (read_cr0() != (cr0 | CR0_PG))
            write_cr0(cr0 | CR0_PG);
        if (read_cr4() != cr4)
            write_cr4(cr4);
        write_cr3(root);
        return;
    }
    uint64_t flags = save_flags();
    cli();
    write_cr0(cr0);
    write_cr4(cr4 & ~CR4_PGE);
    efer_set(efer);
    if (p->mode != PAGING_OFF) {
        write_cr3(root);
        write_cr0(cr0 | CR0_PG);
        write_cr4(cr4);
    }
    load_flags(flags);
}
