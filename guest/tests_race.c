/* SPDX-License-Identifier: BSD-2-Clause */
/* Group race: several CPUs write the same page tables at once (traps 10 and 11), and loads as an
 * operating system makes them: copy on write, migration of pages, tables born under readers. Tested
 * by running it bare. */
#include "guest/platform.h"

/* Trap 10: each CPU toggles its own software bit of one live entry with locked instructions; one
 * that has none only looks. */
static void bits_job(void *arg)
{
    static const uint8_t bit_of[] = {9, 10, 11, 52, 53, 54, 55, 56};
    pte_t *pte = arg;
    uintptr_t bit = bit_of[this_cpu()->index];
    bool expect = false, mine = this_cpu()->index < 3 || SOFT_SHIFT > 11;
    uint64_t v;

    for (unsigned i = 0; i < ops(500); i++) {
        bool old = expect;
        if (!mine)
            pause();
        else if ((i & 1) == 0)
            asm volatile("lock btc %2, %0"
                         : "+m"(*(uintptr_t *)pte), "=@ccc"(old)
                         : "r"(bit)
                         : "memory");
        else if (expect)
            asm volatile("lock btr %2, %0"
                         : "+m"(*(uintptr_t *)pte), "=@ccc"(old)
                         : "r"(bit)
                         : "memory");
        else
            asm volatile("lock bts %2, %0"
                         : "+m"(*(uintptr_t *)pte), "=@ccc"(old)
                         : "r"(bit)
                         : "memory");
        if (old != expect) {
            test_fail(__FILE__, __LINE__, "cpu %u, operation %u: an update was lost",
                      this_cpu()->index, i);
            return;
        }
        expect = expect != mine;
        if (i % 16 == 0) {
            invlpg(TEST_VA);
            CHECK(try_read64(TEST_VA, &v) && v == 0x1000, "the page: %lx", v);
        }
    }
}

static void test_locked_bits(void)
{
    uint64_t frame = pa_of(tagged_page(0x1000));
    pte_t *pte = map(TEST_VA, frame, PTE_RW);

    run_on(ncpus, bits_job, pte);
    CHECK_EQ(pte_read(pte) & ~(PTE_A | PTE_D), frame | PTE_RW, "the entry in the end");
}

static void add_job(void *arg)
{
    const pte_t one = (pte_t)1 << SOFT_SHIFT;
    pte_t *pte = arg;

    for (unsigned i = 0; i < ops(400); i++) {
        __atomic_fetch_add(pte, one, __ATOMIC_SEQ_CST);
        for (pte_t old = (pte_t)pte_read(pte);;) {
            if (__atomic_compare_exchange_n(pte, &old, old - one, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_SEQ_CST))
                break;
            if (test_abandoned())
                job_abort();
        }
        if (i % 32 == 0)
            (void)load64(TEST_VA);
    }
}

static void test_locked_sum(void)
{
    uint64_t frame = pa_of(tagged_page(0x1000));
    pte_t *pte = map(TEST_VA, frame, PTE_RW);

    run_on(ncpus, add_job, pte);
    CHECK_EQ(pte_read(pte) & ~(PTE_A | PTE_D), frame | PTE_RW, "the entry in the end");
}

/* Trap 10: tokens change hands by XCHG, mostly through one entry, now and then through three
 * others. Each must be found once in the end: in an entry or in a hand. */
#define TOKENS ((1ull << (SOFT_BITS < 4 ? SOFT_BITS : 4)) - 1) /* numbers there are, less one */
struct tokens {
    pte_t *slots[4];
    uint64_t base;
    uint64_t hand[MAX_CPUS];
};

static void token_job(void *arg)
{
    struct tokens *t = arg;
    unsigned me = this_cpu()->index;
    uint64_t v;

    for (unsigned i = 0; i < ops(400); i++) {
        t->hand[me] =
            pte_xchg(t->slots[i % 8 == 0 ? i / 8 % 4 : 0], t->hand[me]) & ~(PTE_A | PTE_D);
        if (i % 16 == 0)
            CHECK(try_read64(TEST_VA, &v), "one of the entries that are always present");
    }
}

static void test_tokens(void)
{
    struct tokens t = {.base = pa_of(tagged_page(0)) | PTE_RW};
    unsigned seen = 0;

    if (4 + ncpus > TOKENS + 1) {
        test_skip("too few software bits for so many CPUs");
        return;
    }
    for (unsigned k = 0; k < 4; k++) {
        t.slots[k] = pte_at(kernel_root, TEST_VA + (k & 1) * LARGE_PAGE + (k >> 1) * PAGE, 1, true);
        pte_write(t.slots[k], t.base | (uint64_t)k << SOFT_SHIFT);
    }
    for (unsigned c = 0; c < ncpus; c++)
        t.hand[c] = t.base | (uint64_t)(4 + c) << SOFT_SHIFT;
    run_on(ncpus, token_job, &t);
    for (unsigned k = 0; k < 4 + ncpus; k++) {
        uint64_t token = k < 4 ? pte_read(t.slots[k]) & ~(PTE_A | PTE_D) : t.hand[k - 4];
        CHECK((token & ~(TOKENS << SOFT_SHIFT)) == t.base, "no token: %lx", token);
        seen |= 1u << (token >> SOFT_SHIFT & TOKENS);
    }
    CHECK_EQ(seen, (1u << (4 + ncpus)) - 1, "tokens found");
}

/* Trap 11: all CPUs store different values into one entry, then each flushes: all must agree with
 * it. */
struct alternate {
    struct barrier b;
    pte_t *pte;
    uint64_t frames[MAX_CPUS];
};

static void alternate_job(void *arg)
{
    struct alternate *a = arg;
    unsigned me = this_cpu()->index;
    uint64_t v;

    for (unsigned r = 0; r < ops(30); r++) {
        for (unsigned k = 0; k < 10; k++) {
            pte_write(a->pte, a->frames[me] | PTE_RW | (k & 1 ? PTE_A : 0));
            if (k % 3 == me % 3)
                (void)load64(TEST_VA);
        }
        barrier_wait(&a->b, ncpus);
        if ((r & 1) != 0)
            write_cr3(read_cr3());
        else
            invlpg(TEST_VA);
        CHECK(try_read64(TEST_VA, &v) && v == load64(pte_read(a->pte) & PTE_ADDR),
              "round %u cpu %u: read %lx, the entry is %lx", r, me, v, pte_read(a->pte));
        barrier_wait(&a->b, ncpus);
    }
}

static void test_alternate(void)
{
    struct alternate a = {0};

    for (unsigned c = 0; c < ncpus; c++)
        a.frames[c] = pa_of(tagged_page(0x1100 + c));
    a.pte = map(TEST_VA, a.frames[0], PTE_RW);
    run_on(ncpus, alternate_job, &a);
}

/* Each CPU owns every ncpus-th page of four shared tables, and changes and checks its own at
 * random. */
struct storm {
    pte_t *tables[4];
};

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void storm_check(uint64_t va, uint64_t e, uint64_t tag)
{
    uint64_t v;
    bool ok = try_read64(va, &v);

    CHECK(ok == ((e & PTE_P) != 0), "va %lx entry %lx: %s", va, e, ok ? "readable" : "faults");
    CHECK(!ok || v == tag, "va %lx entry %lx: read %lx, want %lx", va, e, v, tag);
    ok = try_write64(va + 8, tag);
    CHECK(ok == ((e & PTE_W) != 0 && (e & PTE_P) != 0), "va %lx entry %lx: %s", va, e,
          ok ? "writable" : "store faults");
}

static void storm_job(void *arg)
{
    struct storm *s = arg;
    unsigned me = this_cpu()->index;
    uint32_t seed = 12345 + me;
    uint64_t mine[3];

    for (unsigned k = 0; k < 3; k++)
        mine[k] = pa_of(tagged_page(me << 8 | k));
    for (unsigned i = 0; i < ops(300); i++) {
        unsigned t = next_random(&seed) % 4,
                 slot = (next_random(&seed) % (PTES / ncpus)) * ncpus + me;
        unsigned k = next_random(&seed) % 3, kind = next_random(&seed) % 8;
        uint64_t va = TEST_VA + t * LARGE_PAGE + slot * PAGE;
        uint64_t e =
            kind == 0 ? 0 : mine[k] | PTE_P | (kind & 1 ? PTE_W : 0) | (kind & 2 ? PTE_A : 0);
        if (kind == 7)
            (void)pte_xchg(&s->tables[t][slot], e);
        else
            pte_write(&s->tables[t][slot], e);
        if (i % 16 == 0)
            write_cr3(read_cr3());
        else
            invlpg(va);
        storm_check(va, e, me << 8 | k);
    }
}

static void test_storm(void)
{
    struct storm s;

    for (unsigned t = 0; t < 4; t++) {
        s.tables[t] = page_alloc();
        pte_write(pte_at(kernel_root, TEST_VA + t * LARGE_PAGE, 2, true),
                  pa_of(s.tables[t]) | PTE_TABLE);
    }
    run_on(ncpus, storm_job, &s);
}

/* Copy on write: CPU 0 write-protects all pages as a fork does, then all CPUs store; the first to
 * fault copies. The old frame is overwritten at once: who still uses it is found out. */
#define COW_PAGES 16
struct cow {
    struct barrier b;
    struct spinlock lock;
};
static struct cow cow;

static void cow_copy(uint64_t va)
{
    pte_t *pte = pte_at(kernel_root, va, 1, false);
    uint64_t old = pte_read(pte), *copy;

    if ((old & PTE_W) != 0)
        return;
    copy = page_alloc();
    memcpy(copy, (void *)(uintptr_t)(old & PTE_ADDR), PAGE);
    pte_write(pte, pa_of(copy) | PTE_RWAD);
    tlb_shootdown(va);
    stosq(old & PTE_ADDR, 0xbadbadbadbadbad0, 512);
    page_free((void *)(uintptr_t)(old & PTE_ADDR));
}

static bool cow_hook(struct trapframe *f, uint64_t cr2)
{
    if (f->vector != VEC_PF || (f->error & 3) != 3)
        return false;
    sti(); /* other CPUs' shootdowns must get through while this one waits */
    spin_lock(&cow.lock);
    cow_copy(cr2 & ~(PAGE - 1));
    spin_unlock(&cow.lock);
    return true;
}

static void cow_job(void *arg)
{
    unsigned me = this_cpu()->index;

    (void)arg;
    this_cpu()->hook = cow_hook;
    for (unsigned r = 1; r <= ops(12); r++) {
        barrier_wait(&cow.b, ncpus);
        if (me == 0) {
            for (unsigned i = 0; i < COW_PAGES; i++)
                pte_clear(pte_at(kernel_root, TEST_VA + i * PAGE, 1, false), PTE_W);
            tlb_shootdown_all();
        }
        barrier_wait(&cow.b, ncpus);
        for (unsigned k = 0; k < COW_PAGES; k++) {
            uint64_t va = TEST_VA + ((k + me * 5) % COW_PAGES) * PAGE + 8 * me;
            CHECK_EQ(load64(va), r - 1, "before the store");
            store64(va, r);
            CHECK_EQ(load64(va), r, "after the store");
        }
        barrier_wait(&cow.b, ncpus);
        for (unsigned k = 0; k < COW_PAGES * ncpus; k++)
            CHECK_EQ(load64(TEST_VA + k / ncpus * PAGE + k % ncpus * 8), r, "another CPU's word");
    }
    this_cpu()->hook = NULL;
}

static void test_copy_on_write(void)
{
    memset(&cow, 0, sizeof(cow));
    for (unsigned i = 0; i < COW_PAGES; i++)
        map(TEST_VA + i * PAGE, pa_of(page_alloc()), PTE_RWAD);
    run_on(ncpus, cow_job, NULL);
}

/* Migration: pages move to other frames while all CPUs count in them. No count may get lost. */
#define MOVING 4
static _Atomic bool migrate_stop; /* pairs with migrate_job */

static bool retry_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector != VEC_PF || test_abandoned() ||
        rdtsc() > atomic_load_explicit(&test_deadline, memory_order_relaxed))
        return false;
    sti();
    pause();
    return true;
}

static void migrate_job(void *arg)
{
    uint64_t *done = arg;

    this_cpu()->hook = retry_hook;
    while (!atomic_load_explicit(&migrate_stop, memory_order_acquire)) {
        for (unsigned i = 0; i < MOVING; i++)
            __atomic_fetch_add((uintptr_t *)(uintptr_t)(TEST_VA + i * PAGE), 1, __ATOMIC_SEQ_CST);
        done[this_cpu()->index]++;
        if (test_abandoned())
            job_abort();
    }
    this_cpu()->hook = NULL;
}

static void test_migrate(void)
{
    uint64_t *done = page_alloc(), total = 0, frame[MOVING], spare = pa_of(page_alloc());
    pte_t *pte[MOVING];

    for (unsigned i = 0; i < MOVING; i++) {
        frame[i] = pa_of(page_alloc());
        pte[i] = map(TEST_VA + i * PAGE, frame[i], PTE_RW);
    }
    atomic_store_explicit(&migrate_stop, false, memory_order_relaxed);
    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, migrate_job, done);
    for (unsigned r = 0; r < ops(80); r++) {
        unsigned i = r % MOVING;
        uint64_t old = frame[i];
        pte_write(pte[i], 0);
        tlb_shootdown(TEST_VA + i * PAGE);
        memcpy((void *)(uintptr_t)spare, (void *)(uintptr_t)old, PAGE);
        stosq(old, 0xbadbadbadbadbad0, 512);
        pte_write(pte[i], spare | PTE_RW);
        frame[i] = spare;
        spare = old;
        for (unsigned k = 0; k < 300; k++)
            pause();
        CHECK_EQ(load64(old), 0xbadbadbadbadbad0, "the abandoned frame");
    }
    atomic_store_explicit(&migrate_stop, true, memory_order_release);
    for (unsigned c = 1; c < ncpus; c++)
        cpu_join(c);
    for (unsigned c = 1; c < ncpus; c++)
        total += done[c];
    for (unsigned i = 0; i < MOVING; i++)
        CHECK_EQ(load64(frame[i]), total, "counts in a page that moved");
    CHECK(total != 0, "nobody counted");
}

/* A page becomes a table on one CPU while others still write entries into it by plain stores. */
struct birth {
    struct barrier b;
    pte_t *pde;
    pte_t *table;
    uint64_t frames[2];
    unsigned rounds;
};

static void birth_job(void *arg)
{
    struct birth *t = arg;
    unsigned me = this_cpu()->index;
    uint64_t v;

    for (unsigned r = 0; r < t->rounds; r++) {
        if (me == 0) {
            t->table = page_alloc();
            (void)load64(pa_of(t->table));
        }
        barrier_wait(&t->b, ncpus);
        if (me == r % ncpus) {
            pte_write(t->pde, pa_of(t->table) | PTE_TABLE);
            for (unsigned i = 0; i < 16; i++)
                (void)try_read64(TEST_VA + i * PAGE, &v);
        } else {
            for (unsigned i = 0; i < 16; i++) {
                pte_write(&t->table[(i + me) % 16], t->frames[(i + me + r) & 1] | PTE_RW);
                if (i % 5 == me)
                    (void)try_read64(TEST_VA + i * PAGE, &v);
            }
        }
        barrier_wait(&t->b, ncpus);
        flush_all_local();
        CHECK(verify_range(kernel_root, TEST_VA, 16) == 0, "round %u cpu %u", r, me);
        barrier_wait(&t->b, ncpus);
        if (me == 0) { /* the table dies: data again, while nobody uses it */
            pte_write(t->pde, 0);
            tlb_shootdown_all();
            stosq(pa_of(t->table), 0x1111111111111111, 512);
            CHECK(!try_read64(TEST_VA, &v) && faulted_at(0, TEST_VA), "round %u: table removed", r);
            page_free(t->table);
        }
        barrier_wait(&t->b, ncpus);
    }
}

static void test_birth(void)
{
    struct birth t = {.rounds = ops(30)};

    t.frames[0] = pa_of(tagged_page(0xb0));
    t.frames[1] = pa_of(tagged_page(0xb1));
    t.pde = pte_at(kernel_root, TEST_VA, 2, true);
    run_on(ncpus, birth_job, &t);
}

/* A system that looks which pages are in use clears A without a flush, by whatever CPU, and comes
 * back later. A TLB forgets by and by; here a page that is touched all the time has A again behind
 * one of the next timer interrupts (no more often than every 2 ms is looked, and interrupts that
 * waited come close together). */
#define AGE_IRQS 500
struct age {
    pte_t *pte[8];
    unsigned looker;
    struct barrier b;
};

static void age_job(void *arg)
{
    struct age *t = arg;
    unsigned me = this_cpu()->index;

    for (unsigned r = 0; r < 24; r++) {
        if (me == t->looker)
            pte_clear(t->pte[r % 8], PTE_A);
        barrier_wait(&t->b, ncpus);
        uint64_t n = irqs(0, VEC_TEST);
        while (me == 0 && !(pte_read(t->pte[r % 8]) & PTE_A) && irqs(0, VEC_TEST) < n + AGE_IRQS)
            (void)load64(TEST_VA + r % 8 * PAGE);
        if (me == 0)
            CHECK(pte_read(t->pte[r % 8]) & PTE_A, "round %u: not seen to be in use", r);
        barrier_wait(&t->b, ncpus);
    }
}

static void test_aging(void)
{
    struct age t = {.looker = ncpus - 1};

    if (!on_patchbay()) {
        test_skip("a TLB may keep what nobody flushes");
        return;
    }
    for (unsigned i = 0; i < 8; i++) {
        t.pte[i] = map(TEST_VA + i * PAGE, pa_of(tagged_page(0x2900 + i)), PTE_RWAD);
        (void)load64(TEST_VA + i * PAGE);
    }
    apic_write(APIC_LVT_TIMER, 0x20000 | VEC_TEST);
    apic_write(APIC_TIMER_ICT, 80000);
    run_on(ncpus, age_job, &t);
    t.looker = 0;
    run_on(ncpus, age_job, &t);
    timer_periodic();
}

static const struct test tests[] = {
    {"race.locked_bits", test_locked_bits, 1},
    {"race.locked_sum", test_locked_sum, 1},
    {"race.tokens", test_tokens, 1},
    {"race.alternate", test_alternate, 1},
    {"race.storm", test_storm, 1},
    {"race.copy_on_write", test_copy_on_write, 1},
    {"race.migrate", test_migrate, 2},
    {"race.birth", test_birth, 2},
    {"race.aging", test_aging, 1},
};
const struct test_group tests_race = GROUP(tests);
