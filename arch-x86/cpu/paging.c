/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds the hypervisor's own page tables: W^X, guard pages, a direct map without private pools,
 * and one private window a CPU. Tested by every boot and the W^X check of `make check`. */
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/defs/layout.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/assert.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/machine.h"

/* APM volume 2, 7.8.2 "PAT Indexing": the power-on value, but for index 5, which is WC for sptes of
 * device memory (hv/mmu/device.c) and the screen. */
#define PAT_VALUE 0x0007010600070406ull
#define PTE_UC (PTE_PCD | PTE_PWT) /* index 3 */
#define PTE_WC (PTE_PS | PTE_PWT)  /* index 5: in the last level, bit 7 is PAT */
#define ENTRIES 512
#define TABLE_LIMIT 0x100000000ull /* tables are built through boot's identity map of 4 GiB */

uintptr_t port_direct_base; /* 0: boot's identity map */

extern char boot_pdpt[]; /* boot/header.S */
extern char image_start[], image_end[], image_text_start[], image_text_end[];
extern char image_rodata_start[], image_rodata_end[], image_data_start[], image_data_end[];

static struct {
    hpa_t base;
    uint64_t len;
} excluded[HV_MACHINE_CPUS + 2];
static unsigned nexcluded;
static hpa_t shared_root;
static uint64_t mmio_next = LAYOUT_MMIO_BASE;

static hpa_t table_new(void)
{
    hpa_t t;
    if (phys_alloc(PAGE_SIZE, PAGE_SIZE, TABLE_LIMIT, &t) != HV_OK)
        PANIC("no memory below 4 GiB left for the hypervisor's page tables");
    memset(port_ptr(t), 0, PAGE_SIZE);
    return t;
}

/* Table that `e` points to, made if there is none. Rights are decided in the last level only. */
static uint64_t *table_below(uint64_t *e)
{
    if (!(*e & PTE_P))
        *e = table_new().v | PTE_P | PTE_W;
    ASSERT(!(*e & PTE_PS));
    return port_ptr(hpa(*e & PTE_ADDR));
}

/* Maps one piece of at most `len` bytes at va with the largest page that fits; returns its size. */
static uint64_t map_piece(hpa_t root, uint64_t va, uint64_t pa, uint64_t len, uint64_t flags)
{
    uint64_t *t = port_ptr(root);
    for (unsigned shift = 39; shift > PAGE_SHIFT; shift -= 9) {
        uint64_t size = 1ull << shift;
        uint64_t *e = &t[va >> shift & (ENTRIES - 1)];
        bool may = shift == REGION_SHIFT || (shift == 30 && cpu_features.page1g);
        if (*e & PTE_P && *e & PTE_PS)
            return size - (va & (size - 1)); /* overlapping firmware ranges: already there */
        if (may && len >= size && !((va | pa) & (size - 1)) && !(*e & PTE_P)) {
            *e = pa | flags | PTE_PS | PTE_P | PTE_A | PTE_D;
            return size;
        }
        t = table_below(e);
    }
    t[va >> PAGE_SHIFT & (ENTRIES - 1)] = pa | flags | PTE_P | PTE_A | PTE_D;
    return PAGE_SIZE;
}

static void map(hpa_t root, uint64_t va, uint64_t pa, uint64_t len, uint64_t flags)
{
    while (len > 0) {
        uint64_t n = map_piece(root, va, pa, len, flags);
        n = n < len ? n : len;
        va += n;
        pa += n;
        len -= n;
    }
}

void paging_exclude(hpa_t base, uint64_t len)
{
    ASSERT(nexcluded < ARRAY_SIZE(excluded));
    excluded[nexcluded].base = base;
    excluded[nexcluded++].len = len;
}

/* [at, end) without what is excluded, into the direct map. */
static void map_direct(uint64_t at, uint64_t end)
{
    while (at < end) {
        uint64_t stop = end, next = end;
        for (unsigned i = 0; i < nexcluded; i++) {
            uint64_t b = excluded[i].base.v, e = b + excluded[i].len;
            if (e > at && b < stop) {
                stop = b > at ? b : at;
                next = e;
            }
        }
        map(shared_root, LAYOUT_DIRECT_BASE + at, at, stop - at, PTE_W | PTE_NX);
        at = next;
    }
}

static void map_image(const char *start, const char *end, uint64_t flags)
{
    uint64_t at = (uint64_t)(uintptr_t)start;
    map(shared_root, at, at, (uint64_t)(uintptr_t)end - at, flags);
}

void paging_init(void)
{
    hpa_t base;
    uint64_t len;

    shared_root = table_new();
    paging_exclude(hpa((uint64_t)(uintptr_t)image_start), (uint64_t)(image_end - image_start));
    map_image(image_text_start, image_text_end, 0);
    map_image(image_rodata_start, image_rodata_end, PTE_NX);
    map_image(image_data_start, image_data_end, PTE_W | PTE_NX);
    for (unsigned i = 0; phys_range(i, &base, &len); i++) {
        uint64_t at = (base.v + PAGE_MASK) & ~PAGE_MASK, end = (base.v + len) & ~PAGE_MASK;
        if (at == 0)
            at = PAGE_SIZE; /* page 0 stays unmapped in every map */
        map_direct(at, end);
    }
    /* Roots that must exist before CPU roots copy the top level. */
    uint64_t *top = port_ptr(shared_root);
    (void)table_below(&top[LAYOUT_MMIO_BASE >> 39 & (ENTRIES - 1)]);
    (void)table_below(&top[LAYOUT_STACKS_BASE >> 39 & (ENTRIES - 1)]);
}

static void map_stack(uint64_t top, uint64_t len)
{
    hpa_t mem;
    if (phys_alloc(len, PAGE_SIZE, TABLE_LIMIT, &mem) != HV_OK)
        PANIC("no memory for a stack");
    memset(port_ptr(mem), 0, len);
    map(shared_root, top - len, mem.v, len, PTE_W | PTE_NX);
}

void paging_add_stacks(uint32_t cpu)
{
    map_stack(percpu_stack_main_top(cpu), LAYOUT_STACK_MAIN_BYTES);
    for (unsigned i = 0; i < LAYOUT_STACK_ISTS; i++)
        map_stack(percpu_stack_ist_top(cpu, i), LAYOUT_STACK_IST_BYTES);
}

hpa_t paging_cpu_root(hpa_t priv, uint64_t priv_bytes)
{
    hpa_t root = table_new();
    memcpy(port_ptr(root), port_ptr(shared_root), PAGE_SIZE);
    map(root, LAYOUT_PRIVATE_BASE, priv.v, priv_bytes, PTE_W | PTE_NX);
    return root;
}

void paging_cpu_enable(hpa_t root)
{
    struct percpu *p = percpu_self();

    if (cpu_features.pat)
        wrmsr(MSR_PAT, PAT_VALUE);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    write_cr0((read_cr0() | CR0_WP | CR0_NE | CR0_MP) & ~(CR0_EM | CR0_TS | CR0_CD | CR0_NW));
    /* PSE changes nothing in long mode; set because guests set it and equal bits make exits cheaper
     * under QEMU. */
    /* OSXSAVE: to look at the guest's XCR0 */
    p->cr4_fixed = CR4_PAE | CR4_PSE | CR4_OSFXSR | CR4_OSXMMEXCPT |
                   (cpu_features.mce ? CR4_MCE : 0) | (cpu_features.xsave ? CR4_OSXSAVE : 0);
    write_cr4(p->cr4_fixed);
    write_cr3(root.v);
    p->cr4 = p->cr4_fixed | (cpu_features.smep ? CR4_SMEP : 0) |
             (cpu_features.smap ? CR4_SMAP : 0) | (cpu_features.pge ? CR4_PGE : 0);
    write_cr4(p->cr4);
}

uint64_t paging_identity_end(void)
{
    uint64_t *e = (uint64_t *)(void *)boot_pdpt;

    for (uint64_t g = 4; cpu_features.page1g && g < ENTRIES && !e[g]; g++)
        e[g] = g << 30 | PTE_P | PTE_W | PTE_PS | PTE_A | PTE_D; /* not present before: no flush */
    return (uint64_t)(cpu_features.page1g ? ENTRIES : 4) << 30;
}

void paging_direct_enable(void)
{
    port_direct_base = LAYOUT_DIRECT_BASE;
}

static void *map_device(hpa_t base, uint64_t len, uint64_t type)
{
    uint64_t first = base.v & ~PAGE_MASK, off = base.v & PAGE_MASK;
    uint64_t bytes = (off + len + PAGE_MASK) & ~PAGE_MASK, va = mmio_next;

    if (port_direct_base == 0)
        return (void *)(uintptr_t)base.v;
    for (uint64_t i = 0; i < bytes; i += PAGE_SIZE) /* 4 KiB pages: neighbours may be RAM */
        (void)map_piece(shared_root, va + i, first + i, PAGE_SIZE, PTE_W | PTE_NX | type);
    mmio_next += bytes + PAGE_SIZE;
    return (void *)(uintptr_t)(va + off);
}

void *paging_map_mmio(hpa_t base, uint64_t len)
{
    return map_device(base, len, PTE_UC);
}

void *paging_map_screen(hpa_t base, uint64_t len)
{
    return map_device(base, len, cpu_features.pat ? PTE_WC : PTE_UC);
}
