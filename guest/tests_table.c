/* SPDX-License-Identifier: BSD-2-Clause */
/* Group table: unusual ways to write to, and to use, a live page table: wide and repeated stores
 * (trap 8), self-maps (14), one table in two roles (15), a table as stack (17), as code (18), as
 * its own target (19), recycling (20), and stores by the machine's string I/O (21). Tested by
 * running it bare. */
#include "guest/guest.h"

#define COM1_SCRATCH 0x3ff

/* A table of 512 entries over TEST_VA: entry i maps frame i of `frames`, of which there are
 * NFRAMES. */
#define NFRAMES 16
static uint64_t frames[NFRAMES];

static uint64_t *live_table(unsigned n)
{
    uint64_t *table, v;

    for (unsigned k = 0; k < NFRAMES; k++)
        frames[k] = pa_of(tagged_page(0x8000 + k));
    table = (uint64_t *)(pa_of(pte_at(boot_pml4, TEST_VA, 1, true)) & ~(PAGE - 1));
    for (unsigned i = 0; i < n; i++)
        table[i] = frames[i % NFRAMES] | PTE_RW;
    for (unsigned i = 0; i < n; i++)
        CHECK(try_read64(TEST_VA + i * PAGE, &v) && v == 0x8000 + i % NFRAMES, "page %u: %lx", i,
              v);
    return table;
}

static void expect_match(unsigned n, const char *what)
{
    tlb_shootdown_all();
    CHECK(verify_range(boot_pml4, TEST_VA, n) == 0, "%s: translations differ from the table", what);
}

static void store128(uint64_t at, const uint64_t *pair, bool aligned)
{
    if (aligned)
        asm volatile("movdqu (%1), %%xmm0; movdqa %%xmm0, (%0)" : : "r"(at), "r"(pair) : "memory");
    else
        asm volatile("movdqu (%1), %%xmm0; movdqu %%xmm0, (%0)" : : "r"(at), "r"(pair) : "memory");
}

/* Trap 8. */
static void test_wide(void)
{
    uint64_t *table = live_table(64), pair[2], *shadow = page_alloc();

    for (unsigned r = 0; r < ops(6); r++) {
        pair[0] = frames[(r + 1) % NFRAMES] | PTE_RW;
        pair[1] = r & 1 ? 0 : frames[(r + 2) % NFRAMES] | PTE_P;
        store128(pa_of(table + 2 * r % 32), pair, true);
        CHECK(table[2 * r % 32] == pair[0] && table[2 * r % 32 + 1] == pair[1], "MOVDQA");
        expect_match(64, "MOVDQA");
        store128(pa_of(table + 33), pair, false);
        expect_match(64, "MOVDQU at a multiple of 8");
        /* at a multiple of 4: half of one entry, one entry, half of the next */
        memcpy(shadow, table, 64 * 8);
        memcpy((uint8_t *)shadow + 40 * 8 + 4, (uint8_t *)shadow + 8 * 8 + 4, 16);
        store128(pa_of(table + 40) + 4, (uint64_t *)((uint64_t)shadow + 8 * 8 + 4), false);
        CHECK(memcmp(shadow, table, 64 * 8) == 0, "MOVDQU at a multiple of 4");
        expect_match(64, "MOVDQU at a multiple of 4");
        /* 8 bytes at a multiple of 4: the halves of two neighbours are exchanged for equal ones */
        memcpy(shadow, table, 64 * 8);
        store64(pa_of(table + 50) + 4, load64(pa_of(table + 20) + 4));
        memcpy((uint8_t *)shadow + 50 * 8 + 4, (uint8_t *)shadow + 20 * 8 + 4, 8);
        CHECK(memcmp(shadow, table, 64 * 8) == 0, "misaligned MOV");
        expect_match(64, "misaligned MOV");
    }
}

/* Stores that cross from one table page into the next, both live. */
static void test_crossing(void)
{
    uint64_t *first = page_alloc(), *second = page_alloc(), v, pair[2];
    uint64_t *pde = pte_at(boot_pml4, TEST_VA, 2, true);

    CHECK_EQ(pa_of(second), pa_of(first) + PAGE, "neighbours");
    for (unsigned k = 0; k < NFRAMES; k++)
        frames[k] = pa_of(tagged_page(0x8100 + k));
    for (unsigned i = 0; i < 512; i++) {
        first[i] = frames[i % NFRAMES] | PTE_RW;
        second[i] = frames[(i + 1) % NFRAMES] | PTE_RW;
    }
    pte_write(pde, pa_of(first) | PTE_TABLE);
    pte_write(pde + 1, pa_of(second) | PTE_TABLE);
    for (unsigned r = 0; r < ops(8); r++) {
        uint64_t at = pa_of(second) - 8;
        CHECK(verify_range(boot_pml4, TEST_VA + 508 * PAGE, 8) == 0, "before");
        pair[0] = frames[r % NFRAMES] | PTE_RW;
        pair[1] = frames[(r + 5) % NFRAMES] | (r & 1 ? PTE_P : 0);
        store128(at, pair, false);
        CHECK(first[511] == pair[0] && second[0] == pair[1], "crossing MOVDQU: %lx %lx", first[511],
              second[0]);
        tlb_shootdown_all();
        CHECK(verify_range(boot_pml4, TEST_VA + 508 * PAGE, 8) == 0, "crossing MOVDQU");
        /* the high half of one and the low half of the other */
        v = (uint64_t)(uint32_t)(frames[(r + 7) % NFRAMES] | PTE_RW) << 32;
        store64(pa_of(second) - 4, v);
        CHECK(((first[511] ^ pair[0]) & ~(PTE_A | PTE_D)) == 0 && second[0] == v >> 32,
              "crossing MOV: %lx %lx", first[511], second[0]);
        tlb_shootdown_all();
        CHECK(verify_range(boot_pml4, TEST_VA + 508 * PAGE, 8) == 0, "crossing MOV");
    }
}

static void test_repeated(void)
{
    uint64_t *table = live_table(512), *copy = page_alloc(), n, v;

    for (unsigned r = 0; r < ops(3); r++) {
        for (unsigned i = 0; i < 512; i++)
            copy[i] = frames[(i + r + 1) % NFRAMES] | (i % 5 == r % 5 ? 0 : PTE_RW);
        memcpy(table, copy, PAGE); /* REP MOVSB */
        CHECK(memcmp(table, copy, PAGE) == 0, "REP MOVSB");
        expect_match(512, "REP MOVSB");
        v = frames[r % NFRAMES] | PTE_RW;
        stosq(pa_of(table), v, 512);
        CHECK(table[0] == v && table[511] == v, "REP STOSQ");
        expect_match(512, "REP STOSQ");
        {
            uint64_t si = pa_of(copy) + PAGE - 8, di = pa_of(table) + PAGE - 8;
            n = 512;
            asm volatile("std; rep movsq; cld" : "+S"(si), "+D"(di), "+c"(n) : : "memory");
            CHECK(n == 0 && di == pa_of(table) - 8, "backward: RDI %lx RCX %lu", di, n);
        }
        CHECK(memcmp(table, copy, PAGE) == 0, "REP MOVSQ backward");
        expect_match(512, "REP MOVSQ backward");
        {
            uint64_t di = pa_of(table);
            n = 1024;
            asm volatile("rep stosl" : "+D"(di), "+c"(n) : "a"(0) : "memory");
        }
        expect_match(512, "REP STOSL of zero");
    }
}

/* Trap 14: PML4 slot 0x1ed maps the root itself; entries of every level are edited through it. */
#define SELF 0x1edull
#define SELF_BASE (0xffff000000000000 | SELF << 39)
static uint64_t self_va(uint64_t va, int level)
{
    va &= 0x0000ffffffffffff;
    for (int l = 0; l < level; l++)
        va = (va >> 9 & 0x7ffffffff8) | SELF << 39;
    return (va & ~7ull) | 0xffff000000000000;
}

static void test_self_map(void)
{
    uint64_t f[2] = {pa_of(tagged_page(0x1400)), pa_of(tagged_page(0x1401))}, v;
    uint64_t *pte = map(TEST_VA, f[0], PTE_RW), *other;

    pte_write(&boot_pml4[SELF], pa_of(boot_pml4) | PTE_RW);
    CHECK_EQ(load64(self_va(TEST_VA, 1)) & PTE_ADDR, f[0], "the PTE, through the self-map");
    for (unsigned r = 1; r < ops(20); r++) {
        store64(self_va(TEST_VA, 1), f[r & 1] | PTE_RW);
        invlpg(TEST_VA);
        CHECK(try_read64(TEST_VA, &v) && v == 0x1400 + (r & 1), "round %u: %lx", r, v);
        CHECK_EQ(pte_read(pte) & PTE_ADDR, f[r & 1], "the PTE, by its address");
    }
    /* a new table hung in and filled through the self-map alone */
    other = page_alloc();
    for (unsigned r = 0; r < ops(6); r++) {
        uint64_t va = TEST_VA + PAGE_2M * (1 + r % 3);
        store64(self_va(va, 2), pa_of(other) | PTE_TABLE);
        invlpg(self_va(va, 1));
        store64(self_va(va, 1), f[r & 1] | PTE_RW);
        invlpg(va);
        CHECK(try_read64(va, &v) && v == 0x1400 + (r & 1), "round %u, new table: %lx", r, v);
        store64(self_va(va, 2), 0);
        invlpg(va);
        invlpg(self_va(va, 1));
        CHECK(!try_read64(va, &v) && faulted_at(0, va), "round %u: table taken away", r);
        CHECK(!try_read64(self_va(va, 1), &v), "round %u: its page in the self-map", r);
    }
    /* the root entry through its own image */
    CHECK_EQ(load64(self_va(TEST_VA, 4)) & PTE_ADDR, pte_read(&boot_pml4[1]) & PTE_ADDR, "PML4E");
    v = pte_read(&boot_pml4[1]);
    store64(self_va(TEST_VA, 4), 0);
    tlb_shootdown_all();
    CHECK(!try_read64(TEST_VA, &v) && faulted_at(0, TEST_VA), "PML4E removed through the self-map");
    pte_write(&boot_pml4[SELF], 0);
    tlb_shootdown_all();
    CHECK(!try_read64(self_va(TEST_VA, 1), &v), "the self-map is gone");
}

/* Trap 15: one page is a PDPT of this root and the root of another address space. */
static void test_two_roles(void)
{
    uint64_t *x = page_alloc(), *pd, *pt, tag[2], v;

    tag[0] = pa_of(tagged_page(0x1500));
    tag[1] = pa_of(tagged_page(0x1501));
    x[0] = pte_read(&boot_pml4[0]); /* as a root: the kernel's map */
    pd = page_alloc();
    pt = page_alloc();
    x[1] = pa_of(pd) | PTE_TABLE; /* as PDPT: a PD; as root: a PDPT */
    pd[0] = pa_of(pt) | PTE_TABLE;
    pt[0] = tag[0] | PTE_RW; /* as PDPT: a page at TEST_VA + 1 GiB */
    /* as root: slot 1, PDPT pd, PD pt, then pt again as its own table */
    pt[1] = pa_of(pt) | PTE_TABLE;
    pte_write(&boot_pml4[1], pa_of(x) | PTE_TABLE);
    for (unsigned r = 0; r < ops(10); r++) {
        pte_write(&pt[0], tag[r & 1] | PTE_RW);
        tlb_shootdown_all();
        CHECK(try_read64(TEST_VA + (1ull << 30), &v) && v == 0x1500 + (r & 1),
              "round %u as PDPT: %lx", r, v);
        write_cr3(pa_of(x));
        CHECK(try_read64(SLOT_BYTES + PAGE_2M, &v) && v == 0x1500 + (r & 1),
              "round %u as root: %lx", r, v);
        pte_write(&pt[0], tag[!(r & 1)] | PTE_RW);
        invlpg(SLOT_BYTES + PAGE_2M);
        CHECK(try_read64(SLOT_BYTES + PAGE_2M, &v) && v == 0x1500 + !(r & 1),
              "round %u edited: %lx", r, v);
        write_cr3(pa_of(boot_pml4));
        CHECK(try_read64(TEST_VA + (1ull << 30), &v) && v == 0x1500 + !(r & 1),
              "round %u back: %lx", r, v);
    }
    pte_write(&boot_pml4[1], 0);
    tlb_shootdown_all();
    stosq(pa_of(x), 0x5a5a5a5a5a5a5a5a, 512); /* freed in both roles */
    CHECK(!try_read64(TEST_VA + (1ull << 30), &v) && faulted_at(0, TEST_VA + (1ull << 30)),
          "freed");
    CHECK_EQ(load64(pa_of(x) + 8), 0x5a5a5a5a5a5a5a5a, "reused as data");
}

static uint64_t pushed[3];
static bool pushed_hook(struct trapframe *f, uint64_t cr2)
{
    const uint64_t *table = this_cpu()->hook_arg;

    (void)cr2;
    if (f->vector == VEC_USER_RETURN) {
        pushed[0] = table[511];
        pushed[1] = table[510];
        pushed[2] = table[508];
    }
    return false;
}

/* Trap 17: the stack for interrupts from ring 3 is the upper half of a live table. */
static void test_stack_in_table(void)
{
    static const uint8_t user[] = {0xcd, 0x80}; /* int 0x80 */
    uint64_t *table = live_table(16), *code = page_alloc(), saved = this_cpu()->tss.rsp0;

    memcpy(code, user, sizeof(user));
    map(TEST_VA + SLOT_BYTES, pa_of(code), PTE_P | PTE_U);
    this_cpu()->tss.rsp0 = pa_of(table) + PAGE;
    for (unsigned r = 0; r < ops(10); r++) {
        this_cpu()->hook_arg = table;
        this_cpu()->hook = pushed_hook;
        user_run(TEST_VA + SLOT_BYTES, 0x7000, r);
        this_cpu()->hook = NULL;
        CHECK(trapped(VEC_USER_RETURN, 0), "interrupt onto a table");
        CHECK_EQ(pushed[0], SEL_UDATA, "SS on the stack");
        CHECK_EQ(pushed[1], 0x7000, "RSP on the stack");
        CHECK_EQ(pushed[2], SEL_UCODE, "CS on the stack");
        table[r % 16] = frames[(r + 3) % NFRAMES] | PTE_RW;
        invlpg(TEST_VA + (r % 16) * PAGE);
        CHECK(verify_range(boot_pml4, TEST_VA, 16) == 0, "translations beside the stack");
    }
    this_cpu()->tss.rsp0 = saved;
    stosq(pa_of(table + 16), 0, 496);
    expect_match(16, "after the stack");
}

/* Trap 18: code in the upper half of the table that maps it, storing into that table. RDI = where,
 * RSI = what, RDX = INVLPG. */
static const uint8_t self_edit[] = {0x48, 0x89, 0x37,        /* mov [rdi], rsi */
                                    0x0f, 0x01, 0x3a,        /* invlpg [rdx] */
                                    0x48, 0x8b, 0x07, 0xc3}; /* mov rax, [rdi]; ret */
struct edit_call {
    uint64_t code, where, what, flush, result;
};

static void do_edit(void *arg)
{
    struct edit_call *e = arg;

    asm volatile("call *%4"
                 : "=a"(e->result)
                 : "D"(e->where), "S"(e->what), "d"(e->flush), "r"(e->code)
                 : "memory");
}

static void test_code_in_table(void)
{
    uint64_t *table = live_table(16), own;
    struct edit_call e = {.code = TEST_VA + 16 * PAGE + 2048};

    memcpy((uint8_t *)table + 2048, self_edit, sizeof(self_edit));
    own = pa_of(table) | PTE_P | PTE_W;
    pte_write(&table[16], own);
    for (unsigned r = 0; r < ops(10); r++) {
        e.where = pa_of(table) + 16 * 8; /* its own entry: a software bit */
        e.what = own | (uint64_t)(r & 7) << 9;
        e.flush = TEST_VA + 16 * PAGE;
        CHECK(!caught(do_edit, &e), "trap while editing its own entry");
        CHECK_EQ(e.result & ~(PTE_A | PTE_D), e.what, "its own entry");
        e.where = pa_of(table) + (r % 16) * 8; /* another entry */
        e.what = frames[(r + 9) % NFRAMES] | PTE_RW;
        e.flush = TEST_VA + (r % 16) * PAGE;
        CHECK(!caught(do_edit, &e), "trap while editing another entry");
        CHECK(verify_range(boot_pml4, TEST_VA, 16) == 0, "translations");
        e.where = TEST_VA + 16 * PAGE + (r % 16) * 8; /* the same through the mapping it runs in */
        e.what = frames[(r + 2) % NFRAMES] | PTE_RW;
        CHECK(!caught(do_edit, &e), "trap while editing through its own mapping");
        CHECK(verify_range(boot_pml4, TEST_VA, 16) == 0, "translations, own mapping");
    }
    e.where = pa_of(table) + 16 * 8; /* takes the page it runs in away: a later fetch faults */
    e.what = 0;
    e.flush = TEST_VA + 16 * PAGE;
    CHECK(caught(do_edit, &e), "no trap with the page gone");
    CHECK(this_cpu()->trap.vector == VEC_PF && (this_cpu()->trap.error & ~0x10ull) == 0 &&
              (this_cpu()->trap.cr2 == e.code + 3 || this_cpu()->trap.cr2 == e.code + 6),
          "vector %lu error %lx cr2 %lx", this_cpu()->trap.vector, this_cpu()->trap.error,
          this_cpu()->trap.cr2);
}

/* Trap 19: a store through the very mapping whose entry it changes. */
static void test_own_target(void)
{
    uint64_t *table = live_table(16), va = TEST_VA + 20 * PAGE, slot = va + 20 * 8, v;

    for (unsigned r = 0; r < ops(10); r++) {
        pte_write(&table[20], pa_of(table) | PTE_RW);
        invlpg(va);
        CHECK_EQ(load64(slot) & PTE_ADDR, pa_of(table), "the table maps itself");
        CHECK(try_write64(slot, 0), "the store that removes its own mapping");
        invlpg(va);
        CHECK(!try_read64(slot, &v) && faulted_at(0, slot), "after it");
        CHECK_EQ(pte_read(&table[20]), 0, "the entry");
        pte_write(&table[20], pa_of(table) | PTE_RW);
        v = r & 1 ? pte_xchg((uint64_t *)slot, pa_of(table) | PTE_P)
                  : __atomic_fetch_and((uint64_t *)slot, ~PTE_W, __ATOMIC_SEQ_CST);
        invlpg(va);
        CHECK((v & (PTE_P | PTE_W)) == (PTE_P | PTE_W), "old value %lx", v);
        CHECK(try_read64(slot, &v), "read-only now");
        CHECK(!try_write64(slot, 0) && faulted_at(3, slot), "store with W gone");
        pte_write(&table[20], frames[r % NFRAMES] | PTE_RW);
        invlpg(va);
        CHECK(try_read64(slot, &v) && v == 0x8000 + r % NFRAMES, "mapped elsewhere: %lx", v);
    }
    expect_match(16, "the neighbours");
}

/* Trap 20: address spaces come and go on all CPUs; their tables are cleared and used as data. */
static void churn_job(void *arg)
{
    unsigned me = this_cpu()->index;

    for (unsigned r = 0; r < *(unsigned *)arg; r++) {
        uint64_t *pages[32], v;
        unsigned n = 0;
        uint64_t *root = pages[n++] = page_alloc();
        root[0] = pte_read(&boot_pml4[0]);
        for (unsigned i = 0; i < 12; i++) {
            uint64_t va = TEST_VA + i * PAGE + (i & 1) * PAGE_2M;
            pages[n++] = tagged_page(me << 16 | r << 8 | i);
            pte_write(pte_at(root, va, 1, true), pa_of(pages[n - 1]) | PTE_RW);
        }
        write_cr3(pa_of(root));
        for (unsigned i = 0; i < 12; i++) {
            uint64_t va = TEST_VA + i * PAGE + (i & 1) * PAGE_2M;
            CHECK(try_read64(va, &v) && v == (me << 16 | r << 8 | i),
                  "cpu %u round %u page %u: %lx", me, r, i, v);
            store64(va + 8, v);
        }
        for (int level = 2; level <= 3; level++)
            pages[n++] = (uint64_t *)(pte_read(pte_at(root, TEST_VA, level + 1, false)) & PTE_ADDR);
        pages[n++] = (uint64_t *)(pte_read(pte_at(root, TEST_VA, 2, false)) & PTE_ADDR);
        pages[n++] = (uint64_t *)(pte_read(pte_at(root, TEST_VA + PAGE_2M, 2, false)) & PTE_ADDR);
        write_cr3(pa_of(boot_pml4));
        for (unsigned i = 0; i < n; i++) { /* freed: cleared byte-wise or word-wise, data at once */
            if (((r + i) & 1) != 0)
                memset(pages[i], 1, PAGE);
            else
                stosq(pa_of(pages[i]), 0x0101010101010101, 512);
            CHECK(pages[i][0] == 0x0101010101010101 && pages[i][511] == 0x0101010101010101,
                  "cleared page");
            pages[i][7] = i;
            CHECK(pages[i][7] == i, "data page");
            page_free(pages[i]);
        }
    }
}

static void test_churn(void)
{
    unsigned rounds = ops(12);

    run_on(ncpus, churn_job, &rounds);
}

/* Trap 21: string input writes an entry. */
static void test_string_input(void)
{
    uint64_t *table = live_table(16), v;

    for (unsigned r = 0; r < ops(10); r++) {
        uint64_t di = pa_of(&table[3]) + 1, n = 1, e = frames[(r + 1) % NFRAMES] | PTE_RW;
        CHECK(try_read64(TEST_VA + 3 * PAGE, &v), "before");
        pte_write(&table[3], frames[r % NFRAMES] | PTE_RW);
        invlpg(TEST_VA + 3 * PAGE);
        CHECK(try_read64(TEST_VA + 3 * PAGE, &v) && v == 0x8000 + r % NFRAMES, "mapped: %lx", v);
        /* the frames lie within 64 KiB, so byte 1 tells them apart */
        outb(COM1_SCRATCH, (uint8_t)(e >> 8));
        asm volatile("rep insb" : "+D"(di), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
        CHECK_EQ((pte_read(&table[3]) >> 8) & 0xff, (e >> 8) & 0xff, "byte written");
        invlpg(TEST_VA + 3 * PAGE);
        CHECK(verify_range(boot_pml4, TEST_VA, 16) == 0, "translations after INSB");
    }
}

static const struct test tests[] = {
    {"table.wide", test_wide, 1},
    {"table.crossing", test_crossing, 1},
    {"table.repeated", test_repeated, 1},
    {"table.self_map", test_self_map, 1},
    {"table.two_roles", test_two_roles, 1},
    {"table.stack_in_table", test_stack_in_table, 1},
    {"table.code_in_table", test_code_in_table, 1},
    {"table.own_target", test_own_target, 1},
    {"table.churn", test_churn, 1},
    {"table.string_input", test_string_input, 1},
};
const struct test_group tests_table = GROUP(tests);
