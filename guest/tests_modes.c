/* SPDX-License-Identifier: BSD-2-Clause */
/* Group modes, 32-bit images: unpaged, two-level, PAE and 4-level paging in turn on each CPU and
 * side by side on the same tables; PDPTEs, which are loaded at certain moments only (trap 6);
 * CR4.PSE; the exceptions of protected mode. Tested by running it bare. */
#include "guest/guest.h"
#include "guest/modes32.h"

static unsigned modes(void)
{
    return paging_has_long() ? PAGING_MODES : PAGING_MODES - 1;
}

/* Entry i of a table as mode m sees it: two entries of 4 bytes are one of 8 with its upper half 0.
 */
static uint64_t va_of(enum paging_mode m, unsigned i)
{
    return TEST_VA + (m == PAGING_TWO_LEVEL ? 2 * i : i) * PAGE;
}

static void switch_job(void *arg)
{
    unsigned me = this_cpu()->index, n = modes();
    struct paging p[PAGING_MODES] = {{PAGING_OFF, 0}};
    const struct paging kernel = {PAGING_KERNEL, 0};
    uint64_t *table[PAGING_MODES], frame[2], v;

    (void)arg;
    for (unsigned k = 0; k < 2; k++)
        frame[k] = pa_of(tagged_page(0x3200 + 16 * me + k));
    for (unsigned m = PAGING_TWO_LEVEL; m < n; m++) {
        table[m] = page_alloc();
        p[m] = (struct paging){m, paging_root(m)};
        paging_hang(m, p[m].root, TEST_VA, table[m]);
    }
    for (unsigned r = 0; r < ops(40); r++) {
        enum paging_mode m = (r + r / n + me) % n;
        uint64_t va = m == PAGING_OFF ? frame[r & 1] : va_of(m, r % 8), missing = va_of(m, 9);
        if (m != PAGING_OFF)
            table[m][r % 8] = frame[r & 1] | PTE_RW;
        cli();
        paging_set(&p[m]);
        v = load64(va);
        store64(va + 8, r);
        if (m == PAGING_TWO_LEVEL || m == PAGING_PAE)
            CHECK(!try_write64(missing, 1) && faulted_at(2, missing), "mode %u: nothing is mapped",
                  m);
        paging_set(&kernel);
        sti();
        CHECK(v == 0x3200 + 16 * me + (r & 1), "round %u cpu %u mode %u: %lx", r, me, m, v);
        CHECK_EQ(load64(frame[r & 1] + 8), r, "what was stored");
        if (m != PAGING_OFF)
            CHECK_EQ(table[m][r % 8], frame[r & 1] | PTE_RWAD, "the entry");
    }
}

static void test_switch(void)
{
    run_on(ncpus, switch_job, NULL);
}

/* One page is a table of every mode at once; each CPU runs in another mode. */
struct shared {
    struct barrier b;
    uint64_t *table;
    uint64_t frame[4];
    unsigned rounds;
};

static void shared_store(struct shared *s, unsigned i, uint64_t e, unsigned how)
{
    if (how & 1)
        store64(pa_of(&s->table[i]), e);
    else if (how & 2)
        __atomic_store_n((uint32_t *)&s->table[i], (uint32_t)e, __ATOMIC_SEQ_CST);
    else
        (void)__atomic_exchange_n((uint32_t *)&s->table[i], (uint32_t)e, __ATOMIC_SEQ_CST);
}

static void shared_round(struct shared *s, enum paging_mode m, unsigned r)
{
    unsigned me = this_cpu()->index, i = r / 3 % 16;
    uint64_t want = 0x3300 + r % 4, v;

    if (me == r % ncpus)
        shared_store(s, i, s->frame[r % 4] | PTE_RW, r / ncpus);
    barrier_wait(&s->b, ncpus);
    if (m == PAGING_OFF) {
        v = load64(load64(pa_of(&s->table[i])) & PTE_ADDR);
    } else {
        if (r & 1)
            invlpg(va_of(m, i));
        else
            write_cr3(read_cr3());
        v = load64(va_of(m, i));
    }
    CHECK(v == want, "round %u cpu %u mode %u: %lx", r, me, m, v);
    barrier_wait(&s->b, ncpus);
    if (me == 0)
        CHECK_EQ(load64(pa_of(&s->table[i])) & ~PTE_D, s->frame[r % 4] | PTE_RW | PTE_A,
                 "the entry");
    barrier_wait(&s->b, ncpus);
}

static void shared_job(void *arg)
{
    struct shared *s = arg;
    enum paging_mode m = (this_cpu()->index + 1) % modes();
    struct paging p = {m, m == PAGING_OFF ? 0 : paging_root(m)};
    const struct paging kernel = {PAGING_KERNEL, 0};

    if (m != PAGING_OFF)
        paging_hang(m, p.root, TEST_VA, s->table);
    cli();
    paging_set(&p);
    for (unsigned r = 0; r < s->rounds; r++)
        shared_round(s, m, r);
    paging_set(&kernel);
    sti();
}

static void test_shared(void)
{
    struct shared s = {.table = page_alloc(), .rounds = ops(60)};

    for (unsigned k = 0; k < 4; k++)
        s.frame[k] = pa_of(tagged_page(0x3300 + k));
    for (unsigned i = 0; i < 16; i++)
        s.table[i] = s.frame[0] | PTE_RW;
    run_on(ncpus, shared_job, &s);
}

/* One page is the root of two-level tables and a page directory of PAE and 4-level ones. */
#define DIR_ENTRY 128 /* of 8 bytes: entries 256 and 257 of 4 */
struct shared_dir {
    struct barrier b;
    uint64_t *dir, *table[2];
    unsigned rounds;
};

static uint64_t dir_root(enum paging_mode m, const uint64_t *dir)
{
    uint64_t root = paging_root(m), *t = (uint64_t *)(uintptr_t)root;

    if (m == PAGING_TWO_LEVEL)
        return pa_of(dir);
    if (m == PAGING_LONG)
        t = (uint64_t *)(uintptr_t)(t[0] & PTE_ADDR);
    t[1] = pa_of(dir) | (m == PAGING_LONG ? PTE_TABLE : PTE_P);
    return root;
}

static void dir_round(struct shared_dir *s, enum paging_mode m, unsigned r)
{
    unsigned me = this_cpu()->index, i = r % 8;
    uint64_t e = pa_of(s->table[r & 1]) | PTE_TABLE, want = 0x3700 + 16 * (r & 1) + i, v;
    uint64_t va = va_of(m, i) + (m == PAGING_TWO_LEVEL ? 0 : DIR_ENTRY * PAGE_2M);

    if (me == r % ncpus) {
        if (r / ncpus & 1)
            store64(pa_of(&s->dir[DIR_ENTRY]), e);
        else
            __atomic_store_n((uint32_t *)&s->dir[DIR_ENTRY], (uint32_t)e, __ATOMIC_SEQ_CST);
    }
    barrier_wait(&s->b, ncpus);
    if (m == PAGING_OFF) {
        v = load64(load64(pa_of(&s->table[r & 1][i])) & PTE_ADDR);
    } else {
        if (r % 3 == 0)
            invlpg(va);
        else
            write_cr3(read_cr3());
        v = load64(va);
    }
    CHECK(v == want, "round %u cpu %u mode %u: %lx", r, me, m, v);
    barrier_wait(&s->b, ncpus);
}

static void dir_job(void *arg)
{
    struct shared_dir *s = arg;
    enum paging_mode m = (this_cpu()->index + 1) % modes();
    struct paging p = {m, m == PAGING_OFF ? 0 : dir_root(m, s->dir)};
    const struct paging kernel = {PAGING_KERNEL, 0};

    cli();
    paging_set(&p);
    for (unsigned r = 0; r < s->rounds; r++)
        dir_round(s, m, r);
    paging_set(&kernel);
    sti();
}

static void test_shared_dir(void)
{
    struct shared_dir s = {.dir = (uint64_t *)(uintptr_t)paging_root(PAGING_TWO_LEVEL),
                           .rounds = ops(60)};

    for (unsigned k = 0; k < 2; k++) {
        s.table[k] = page_alloc();
        for (unsigned i = 0; i < 8; i++)
            s.table[k][i] = pa_of(tagged_page(0x3700 + 16 * k + i)) | PTE_RW;
    }
    s.dir[DIR_ENTRY] = pa_of(s.table[1]) | PTE_TABLE;
    run_on(ncpus, dir_job, &s);
}

static void do_cr3(void *arg)
{
    write_cr3((uintptr_t)arg);
}

static void do_flush_all(void *arg)
{
    (void)arg;
    flush_all_local();
}

/* Makes PDPTE 1 of a PAE root lead to the page directory d. */
static void pdpte_set(uint64_t root, const uint64_t *d, uint64_t flags)
{
    ((uint64_t *)(uintptr_t)root)[1] = pa_of(d) | flags;
}

static bool pae_sees(uint64_t tag, const char *when)
{
    uint64_t v = 0;
    bool ok = try_read64(TEST_VA, &v) && v == tag;

    CHECK(ok, "%s: %lx, want %lx", when, v, tag);
    return ok;
}

static void pdpte_directories(uint64_t *d[2])
{
    for (unsigned k = 0; k < 2; k++) {
        uint64_t *table = page_alloc();
        d[k] = page_alloc();
        d[k][0] = pa_of(table) | PTE_TABLE;
        table[0] = pa_of(tagged_page(0x3400 + k)) | PTE_RW;
    }
}

static void load_by_cr3(void)
{
    write_cr3(read_cr3());
}
static void load_by_cd(void)
{
    write_cr0(read_cr0() ^ CR0_CD);
    if (options.bochs) /* which does not */
        write_cr3(read_cr3());
}
static void load_by_pse(void)
{
    write_cr4(read_cr4() ^ CR4_PSE);
}
static const struct {
    void (*load)(void);
    const char *what;
} pdpte_loads[] = {{load_by_cr3, "after CR3"},
                   {flush_all_local, "after CR4.PGE"},
                   {load_by_cd, "after CR0.CD"},
                   {load_by_pse, "after CR4.PSE"}};

/* Trap 6. SDM vol. 3, 4.4.1 "PDPTE Registers": loaded by MOV to CR3, and by writes that change
 * CR0.CD, NW, PG or CR4.PAE, PGE, PSE, SMEP. QEMU reads them from memory all the time. */
static void test_pdpte_loads(void)
{
    struct paging p = {PAGING_PAE, paging_root(PAGING_PAE)};
    const struct paging kernel = {PAGING_KERNEL, 0};
    uint64_t *d[2];

    pdpte_directories(d);
    pdpte_set(p.root, d[0], PTE_P);
    paging_set(&p);
    for (unsigned r = 0; r < ops(8); r++) {
        pae_sees(0x3400, "after a load");
        pdpte_set(p.root, d[1], PTE_P);
        invlpg(TEST_VA);
        if (options.hosted)
            pae_sees(0x3400, "PDPTE changed in memory, INVLPG");
        pdpte_loads[r % 4].load();
        pae_sees(0x3401, pdpte_loads[r % 4].what);
        pdpte_set(p.root, d[0], PTE_P);
        write_cr3(read_cr3());
    }
    paging_set(&kernel);
}

/* A present PDPTE with a reserved bit: #GP by MOV to CR3, and the old ones stay in force. */
static void test_pdpte_reserved(void)
{
    struct paging p = {PAGING_PAE, paging_root(PAGING_PAE)};
    const struct paging kernel = {PAGING_KERNEL, 0};
    static const uint8_t bits[] = {1, 2, 5, 6, 7, 8, 51, 63};
    uint64_t *d[2], *root = (uint64_t *)(uintptr_t)p.root;

    if (!options.hosted) {
        test_skip("bare QEMU does not check PDPTEs");
        return;
    }
    pdpte_directories(d);
    pdpte_set(p.root, d[0], PTE_P);
    root[2] = 0x1e6; /* not present: anything goes */
    paging_set(&p);
    for (unsigned i = 0; i < sizeof(bits); i++) {
        pdpte_set(p.root, d[1], PTE_P | 1ull << bits[i]);
        CHECK(caught(do_cr3, (void *)(uintptr_t)p.root) && trapped(VEC_GP, 0), "bit %u: no #GP",
              bits[i]);
        pae_sees(0x3400, "after #GP");
    }
    pdpte_set(p.root, d[1], PTE_P);
    CHECK(!caught(do_cr3, (void *)(uintptr_t)p.root), "a good one");
    pae_sees(0x3401, "the good one");
    pdpte_set(p.root, d[0], PTE_P | 2);
    CHECK(caught(do_flush_all, NULL) && trapped(VEC_GP, 0), "CR4.PGE with a bad PDPTE: no #GP");
    pae_sees(0x3401, "after #GP by CR4");
    paging_set(&kernel);
}

/* With CR4.PSE clear, bit 7 of a PDE means nothing: the same entry is a 4 MiB page or a table. */
static void test_pse_off(void)
{
    uint32_t *root = page_alloc(), *table = (uint32_t *)LARGE_BASE_PA;
    struct paging p = {PAGING_TWO_LEVEL, pa_of(root)};
    const struct paging kernel = {PAGING_KERNEL, 0};
    uint64_t v;

    for (uint32_t i = 0; i < 8 || i == 1019; i = i == 7 ? 1019 : i + 1) {
        uint32_t *t = page_alloc(); /* RAM to 32 MiB, and the APIC */
        for (uint32_t k = 0; k < 1024; k++)
            t[k] = i << 22 | k << 12 | PTE_RW;
        root[i] = (uint32_t)pa_of(t) | PTE_RW;
    }
    root[TEST_VA >> 22] = (uint32_t)LARGE_BASE_PA | PTE_TABLE | PTE_PS;
    table[0] = (uint32_t)pa_of(tagged_page(0x3500)) | PTE_RW;
    table[1] = 0x3600;
    paging_set(&p);
    for (unsigned r = 0; r < ops(6); r++) {
        CHECK(try_read64(TEST_VA, &v) && v >> 32 == 0x3600, "round %u: 4 MiB page: %lx", r, v);
        write_cr4(read_cr4() & ~CR4_PSE);
        CHECK(try_read64(TEST_VA, &v) && v == 0x3500, "round %u: table: %lx", r, v);
        CHECK(!try_read64(TEST_VA + PAGE, &v) && faulted_at(0, TEST_VA + PAGE),
              "round %u: not present", r);
        write_cr4(read_cr4() | CR4_PSE);
    }
    paging_set(&kernel);
}

static void do_div(void *arg)
{
    uint32_t lo = 1, hi = 0;
    asm volatile("divl %2" : "+a"(lo), "+d"(hi) : "r"(0) : "cc");
    (void)arg;
}
static void do_ud2(void *arg)
{
    (void)arg;
    asm volatile("ud2");
}
static void do_into(void *arg)
{
    (void)arg;
    asm volatile("movb $0x7f, %%al; addb $1, %%al; into" : : : "eax", "cc");
}
static void do_bound(void *arg)
{
    static const int32_t limits[2] = {1, 5};
    (void)arg;
    asm volatile("boundl %0, %1" : : "r"(9), "m"(limits));
}
static void do_selector(void *arg)
{
    asm volatile("mov %0, %%fs" : : "r"((uint16_t)(uintptr_t)arg));
}

/* Those that segments and 32-bit instructions bring. */
static void test_exceptions(void)
{
    CHECK(caught(do_div, NULL) && trapped(VEC_DE, 0), "#DE");
    CHECK(caught(do_ud2, NULL) && trapped(VEC_UD, 0), "#UD");
    CHECK(caught(do_into, NULL) && trapped(4, 0), "#OF");
    CHECK(caught(do_bound, NULL) && trapped(5, 0), "#BR");
    CHECK(caught(do_selector, (void *)0x1230) && trapped(VEC_GP, 0x1230), "beyond the GDT");
    this_cpu()->gdt[8] = 0x00cf13000000ffff; /* data, not present */
    CHECK(caught(do_selector, (void *)SEL_SPARE) && trapped(VEC_NP, SEL_SPARE), "#NP");
    asm volatile("mov %0, %%fs" : : "r"(0));
}

static const struct test tests[] = {
    {"modes.switch", test_switch, 1},
    {"modes.shared", test_shared, 2},
    {"modes.shared_dir", test_shared_dir, 2},
    {"modes.pdpte_loads", test_pdpte_loads, 1},
    {"modes.pdpte_reserved", test_pdpte_reserved, 1},
    {"modes.pse_off", test_pse_off, 1},
    {"modes.exceptions", test_exceptions, 1},
};
const struct test_group tests_modes = GROUP(tests);
