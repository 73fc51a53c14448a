/* SPDX-License-Identifier: BSD-2-Clause */
/* Group trans: what one CPU must see after another changed a translation, with and without a flush.
 * The trap numbers are those of the project's list of what goes wrong in SMP shadow paging:
 * promotion (1), not present to present (2), unmap and reuse (3), paging-structure caches (4, 5),
 * half-written entries (7), accessed and dirty bits (12, 13), large pages (26). Tested by running
 * it bare. */
#include "guest/guest.h"

static bool count_pf(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector != VEC_PF)
        return false;
    if (++*(unsigned *)this_cpu()->hook_arg > 100000)
        return false; /* never resolved: let it be reported */
    return true;      /* again */
}

/* A and B in step: CPU 0 changes, every other CPU looks. */
struct pair {
    struct barrier b;
    pte_t *pte;
    uint64_t *frame;
    unsigned rounds;
    _Atomic bool stop; /* set by CPU 0, pairs with the other CPUs' loops */
};

static void promote_job(void *arg)
{
    struct pair *p = arg;
    unsigned me = this_cpu()->index;

    for (unsigned r = 0; r < p->rounds; r++) {
        unsigned faults = 0;
        if (me == 0) {
            pte_write(p->pte, pa_of(p->frame) | PTE_P | PTE_A);
            tlb_shootdown(TEST_VA);
        }
        barrier_wait(&p->b, ncpus);
        (void)load64(TEST_VA);
        if (r % 4 == 0)
            CHECK(!try_write64(TEST_VA, 1) && faulted_at(3, TEST_VA), "store to a read-only page");
        barrier_wait(&p->b, ncpus);
        if (me == 0)
            pte_write(p->pte, pa_of(p->frame) | PTE_RW | PTE_A);
        barrier_wait(&p->b, ncpus);
        this_cpu()->hook_arg = &faults;
        this_cpu()->hook = count_pf;
        store64(TEST_VA + 8 * me, r + 1);
        this_cpu()->hook = NULL;
        CHECK(faults <= 1, "round %u cpu %u: %u faults after the page became writable", r, me,
              faults);
        CHECK_EQ(load64(pa_of(p->frame) + 8 * me), r + 1, "stored");
        barrier_wait(&p->b, ncpus);
    }
}

/* Trap 1. */
static void test_promote(void)
{
    struct pair p = {.frame = tagged_page(0), .rounds = ops(60)};

    p.pte = map(TEST_VA, pa_of(p.frame), PTE_P);
    run_on(ncpus, promote_job, &p);
}

/* Trap 1, free running: the others store in a loop, and fault at most once with the page already
 * writable. */
struct promote_loop {
    pte_t *pte;
    _Atomic uint32_t epoch; /* odd: the page is writable, or about to be; pairs with the stores */
    _Atomic bool stop;
    unsigned spurious[MAX_CPUS];
};
static struct promote_loop promote_loop;

static bool promote_loop_pf(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector != VEC_PF)
        return false;
    if ((pte_read(promote_loop.pte) & PTE_W) != 0)
        promote_loop.spurious[this_cpu()->index]++;
    pause();
    return !test_abandoned() &&
           rdtsc() < atomic_load_explicit(&test_deadline, memory_order_relaxed);
}

static void promote_loop_job(void *arg)
{
    unsigned me = this_cpu()->index;
    uint64_t n = 0;

    (void)arg;
    this_cpu()->hook = promote_loop_pf;
    while (!atomic_load_explicit(&promote_loop.stop, memory_order_acquire)) {
        store64(TEST_VA + 8 * me, ++n);
        if (test_abandoned())
            job_abort();
    }
    this_cpu()->hook = NULL;
}

static void test_promote_loop(void)
{
    uint64_t frame = pa_of(tagged_page(0));
    unsigned rounds = ops(30);

    memset(&promote_loop, 0, sizeof(promote_loop));
    promote_loop.pte = map(TEST_VA, frame, PTE_RWAD);
    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, promote_loop_job, NULL);
    for (unsigned r = 0; r < rounds; r++) {
        uint64_t before[MAX_CPUS];
        pte_write(promote_loop.pte, frame | PTE_P | PTE_A);
        tlb_shootdown(TEST_VA);
        for (unsigned c = 1; c < ncpus; c++)
            before[c] = load64(frame + 8 * c);
        for (unsigned k = 0; k < 2000; k++)
            pause();
        for (unsigned c = 1; c < ncpus; c++)
            CHECK_EQ(load64(frame + 8 * c), before[c], "stores through a read-only page");
        pte_write(promote_loop.pte, frame | PTE_RWAD);
        for (unsigned c = 1; c < ncpus; c++) { /* each gets on without any flush */
            while (load64(frame + 8 * c) == before[c])
                wait_pause();
        }
    }
    atomic_store_explicit(&promote_loop.stop, true, memory_order_release);
    for (unsigned c = 1; c < ncpus; c++) {
        cpu_join(c);
        CHECK(promote_loop.spurious[c] <= rounds, "cpu %u: %u faults with W set, in %u rounds", c,
              promote_loop.spurious[c], rounds);
    }
}

/* Trap 2: not present to present needs no flush; once the store is visible nobody may fault. */
static void appear_job(void *arg)
{
    struct pair *p = arg;
    unsigned me = this_cpu()->index;

    for (unsigned r = 0; r < p->rounds; r++) {
        uint64_t va = TEST_VA + r * PAGE, v = 0;
        if (me != 0) {
            CHECK(!try_read64(va, &v) && faulted_at(0, va), "round %u: nothing is mapped", r);
            CHECK(!try_read64(va, &v), "round %u: still nothing", r);
        }
        barrier_wait(&p->b, ncpus);
        if (me == 0)
            map(va, pa_of(p->frame), PTE_RW);
        barrier_wait(&p->b, ncpus);
        CHECK(try_read64(va, &v) && v == 0x2222, "round %u cpu %u: not there, or %lx", r, me, v);
    }
}

static void test_appear(void)
{
    struct pair p = {.frame = tagged_page(0x2222), .rounds = ops(100)};

    run_on(ncpus, appear_job, &p);
}

static void appear_poll_job(void *arg)
{
    uint64_t v = 0;

    (void)arg;
    while (!try_read64(TEST_VA, &v))
        wait_pause();
    CHECK_EQ(v, 0x2223, "polled page");
}

static void test_appear_poll(void)
{
    for (unsigned r = 0; r < ops(10); r++) {
        for (unsigned c = 1; c < ncpus; c++)
            cpu_start(c, appear_poll_job, NULL);
        for (unsigned k = 0; k < 2000; k++)
            pause();
        map(TEST_VA, pa_of(tagged_page(0x2223)), PTE_RW);
        for (unsigned c = 1; c < ncpus; c++)
            cpu_join(c);
        map(TEST_VA, 0, 0);
        tlb_shootdown(TEST_VA);
    }
}

/* Trap 3: after the shootdown nobody reads, or writes, the frame through the old mapping. */
#define GOOD 0x600d600d600d0000
#define POISON 0xdeaddeaddeaddead
static void reuse_job(void *arg)
{
    struct pair *p = arg;
    uint64_t v;

    while (!atomic_load_explicit(&p->stop, memory_order_acquire)) {
        if (try_read64(TEST_VA, &v))
            CHECK((v & ~0xffffull) == GOOD, "cpu %u read %lx", this_cpu()->index, v);
        else if (!faulted_at(0, TEST_VA))
            test_fail(__FILE__, __LINE__, "wrong trap");
        if (try_write64(TEST_VA + 64 + 8 * this_cpu()->index, GOOD) && test_abandoned())
            job_abort();
    }
}

static void test_reuse(void)
{
    struct pair p = {.frame = tagged_page(GOOD)};
    pte_t *pte = map(TEST_VA, pa_of(p.frame), PTE_RW);

    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, reuse_job, &p);
    for (unsigned r = 0; r < ops(60); r++) {
        pte_write(pte, 0);
        tlb_shootdown(TEST_VA);
        stosq(pa_of(p.frame), POISON, 512);
        for (unsigned k = 0; k < 500; k++)
            pause();
        for (unsigned i = 0; i < 512; i++)
            CHECK(p.frame[i] == POISON, "round %u: word %u of the reused frame is %lx", r, i,
                  p.frame[i]);
        stosq(pa_of(p.frame), GOOD + (r & 0xff), 512);
        pte_write(pte, pa_of(p.frame) | PTE_RW);
        for (unsigned k = 0; k < 500; k++)
            pause();
    }
    atomic_store_explicit(&p.stop, true, memory_order_release);
    cpu_join_all();
}

/* Trap 4: INVLPG of any address drops the cached non-leaf entries as well. */
struct pde_test {
    struct barrier b;
    pte_t *pde;
    pte_t *tables[2];
    unsigned rounds;
};

static void pde_job(void *arg)
{
    struct pde_test *t = arg;
    unsigned me = this_cpu()->index;

    for (unsigned r = 0; r < t->rounds; r++) {
        unsigned which = r & 1, i = r % 255;
        uint64_t v;
        CHECK(try_read64(TEST_VA + (2 * i) * PAGE, &v) && v == 0x400 + which,
              "round %u cpu %u: %lx", r, me, v);
        barrier_wait(&t->b, ncpus);
        if (me == 0)
            pte_write(t->pde, pa_of(t->tables[!which]) | PTE_TABLE);
        barrier_wait(&t->b, ncpus);
        invlpg(TEST_VA + SLOT_BYTES + r * PAGE); /* unrelated */
        /* a page never touched since the table was hung in */
        CHECK(try_read64(TEST_VA + (2 * i + 1) * PAGE, &v) && v == 0x400 + !which,
              "round %u cpu %u: read %lx through the old PDE", r, me, v);
        flush_all_local();
        barrier_wait(&t->b, ncpus);
    }
}

static void test_pde_invlpg(void)
{
    struct pde_test t = {.rounds = ops(60)};

    for (unsigned k = 0; k < 2; k++) {
        uint64_t tag = pa_of(tagged_page(0x400 + k));
        t.tables[k] = page_alloc();
        for (unsigned i = 0; i < PTES; i++)
            t.tables[k][i] = (pte_t)(tag | PTE_RW);
    }
    t.pde = pte_at(kernel_root, TEST_VA, 2, true);
    pte_write(t.pde, pa_of(t.tables[0]) | PTE_TABLE);
    run_on(ncpus, pde_job, &t);
}

/* Trap 5: an upper-level entry changes, CR3 is reloaded with the same value. */
struct upper_test {
    struct barrier b;
    pte_t *entry;
    uint64_t value[2];
    unsigned rounds;
};

static void upper_job(void *arg)
{
    struct upper_test *t = arg;
    uint64_t v;

    for (unsigned r = 0; r < t->rounds; r++) {
        if (this_cpu()->index == 0)
            pte_write(t->entry, t->value[r & 1]);
        barrier_wait(&t->b, ncpus);
        write_cr3(read_cr3());
        CHECK(try_read64(TEST_VA, &v) && v == 0x500 + (r & 1), "round %u cpu %u: %lx", r,
              this_cpu()->index, v);
        barrier_wait(&t->b, ncpus);
    }
}

static void upper_level(int level)
{
    struct upper_test t = {.rounds = ops(40)};

    for (unsigned k = 0; k < 2; k++) {
        t.entry = pte_at(kernel_root, TEST_VA, level, true);
        pte_write(t.entry, 0);
        map(TEST_VA, pa_of(tagged_page(0x500 + k)), PTE_RW);
        t.value[k] = pte_read(t.entry);
    }
    run_on(ncpus, upper_job, &t);
}

static void test_root_entry(void)
{
    upper_level(ROOT_LEVEL);
}

static void test_upper_entry(void)
{
    upper_level(ROOT_LEVEL > 2 ? ROOT_LEVEL - 1 : 2);
}

/* Trap 7: an entry written in two halves, high first to map and low first to unmap. */
static void halves_job(void *arg)
{
    struct pair *p = arg;
    uint64_t v;

    while (!atomic_load_explicit(&p->stop, memory_order_acquire)) {
        if (try_read64(TEST_VA, &v))
            CHECK(v == 0x700 || v == 0x701, "cpu %u read %lx", this_cpu()->index, v);
        if (!try_exec(TEST_VA + 2048) && this_cpu()->trap.vector != VEC_PF)
            test_fail(__FILE__, __LINE__, "trap %lu", this_cpu()->trap.vector);
        if (test_abandoned())
            job_abort();
    }
}

static void test_halves(void)
{
    if (sizeof(pte_t) != 8) {
        test_skip("entries are written whole");
        return;
    }
    struct pair p = {0};
    uint64_t frame[2], v;
    uint32_t *half = (uint32_t *)map(TEST_VA, 0, 0);

    for (unsigned k = 0; k < 2; k++) {
        frame[k] = pa_of(tagged_page(0x700 + k));
        *(uint8_t *)(uintptr_t)(frame[k] + 2048) = 0xc3; /* ret */
    }
    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, halves_job, &p);
    for (unsigned r = 0; r < ops(60); r++) {
        uint64_t e = frame[r & 1] | PTE_RW | (r & 2 ? PTE_NX : 0);
        __atomic_store_n(&half[1], (uint32_t)(e >> 32), __ATOMIC_SEQ_CST);
        __atomic_store_n(&half[0], (uint32_t)e, __ATOMIC_SEQ_CST);
        CHECK(try_read64(TEST_VA, &v) && v == 0x700 + (r & 1), "round %u: %lx", r, v);
        CHECK(try_exec(TEST_VA + 2048) == !(r & 2), "round %u: execution", r);
        __atomic_store_n(&half[0], 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&half[1], 0, __ATOMIC_SEQ_CST);
        tlb_shootdown(TEST_VA);
        CHECK(!try_read64(TEST_VA, &v) && faulted_at(0, TEST_VA), "round %u: unmapped", r);
    }
    atomic_store_explicit(&p.stop, true, memory_order_release);
    cpu_join_all();
}

/* Trap 12: an entry is taken away under CPUs that use it: it stays away, keeps no A or D, and the
 * old value tells whether the frame was written. */
static void resurrect_job(void *arg)
{
    struct pair *p = arg;
    uint64_t n = 0, v;

    while (!atomic_load_explicit(&p->stop, memory_order_acquire)) {
        (void)try_read64(TEST_VA, &v);
        (void)try_write64(TEST_VA + 8 * this_cpu()->index, ++n);
        if (test_abandoned())
            job_abort();
    }
}

static void test_resurrect(void)
{
    struct pair p = {.frame = tagged_page(0)};
    uint64_t marker = (pte_t)0x00123456789ab000 | PTE_W | PTE_U;
    pte_t *pte = map(TEST_VA, 0, 0);

    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, resurrect_job, &p);
    for (unsigned r = 0; r < ops(100); r++) {
        uint64_t old, sum = 0, after = 0;
        for (unsigned c = 1; c < ncpus; c++)
            sum += load64(pa_of(p.frame) + 8 * c);
        pte_write(pte, pa_of(p.frame) | PTE_RW);
        for (unsigned k = 0; k < 200 * (r % 4); k++)
            pause();
        old = pte_xchg(pte, marker);
        tlb_shootdown(TEST_VA);
        for (unsigned c = 1; c < ncpus; c++)
            after += load64(pa_of(p.frame) + 8 * c);
        CHECK((old & ~(PTE_A | PTE_D)) == (pa_of(p.frame) | PTE_RW), "round %u: the entry was %lx",
              r, old);
        CHECK(after == sum || (old & PTE_D) != 0, "round %u: written, but D is clear in %lx", r,
              old);
        CHECK((old & PTE_D) == 0 || (old & PTE_A) != 0, "round %u: D without A in %lx", r, old);
        for (unsigned k = 0; k < 200; k++)
            pause();
        CHECK_EQ(pte_read(pte), marker, "an entry that is not present");
        sum = 0;
        for (unsigned c = 1; c < ncpus; c++)
            sum += load64(pa_of(p.frame) + 8 * c);
        CHECK_EQ(sum, after, "stores after the shootdown");
    }
    atomic_store_explicit(&p.stop, true, memory_order_release);
    cpu_join_all();
}

/* Trap 13. */
static void test_accessed_dirty(void)
{
    uint64_t frame = pa_of(tagged_page(13));
    pte_t *pte = map(TEST_VA, frame, PTE_RW);

    CHECK_EQ(pte_read(pte), frame | PTE_RW, "before any access");
    for (unsigned r = 0; r < ops(20); r++) {
        pte_write(pte, frame | PTE_RW);
        invlpg(TEST_VA);
        (void)load64(TEST_VA);
        CHECK_EQ(pte_read(pte), frame | PTE_RW | PTE_A, "after a load");
        store64(TEST_VA, r);
        CHECK_EQ(pte_read(pte), frame | PTE_RWAD, "after a store");
        pte_write(pte, frame | PTE_RW | PTE_A);
        invlpg(TEST_VA);
        (void)load64(TEST_VA);
        CHECK_EQ(pte_read(pte), frame | PTE_RW | PTE_A, "D cleared, after a load");
        store64(TEST_VA, r);
        CHECK_EQ(pte_read(pte), frame | PTE_RWAD, "D cleared, after a store");
        pte_write(pte, frame | PTE_RW | PTE_D);
        invlpg(TEST_VA);
        (void)load64(TEST_VA);
        CHECK_EQ(pte_read(pte), frame | PTE_RWAD, "A cleared, after a load");
        pte_clear(pte, PTE_A | PTE_D);
        invlpg(TEST_VA);
        store64(TEST_VA, r);
        CHECK_EQ(pte_read(pte), frame | PTE_RWAD, "both cleared, after a store");
        pte_write(pte, frame | PTE_P);
        invlpg(TEST_VA);
        CHECK(!try_write64(TEST_VA, 1) && faulted_at(3, TEST_VA), "read-only");
        CHECK((pte_read(pte) & PTE_D) == 0, "a store that faults sets no D");
    }
}

static void test_accessed_upper(void)
{
    pte_t *pte = map(TEST_VA, pa_of(tagged_page(1)), PTE_RW), *up[3];

    (void)pte;
    for (int l = 2; l <= TOP_FLAGS_LEVEL; l++) {
        up[l - 2] = pte_at(kernel_root, TEST_VA, l, false);
        CHECK((pte_read(up[l - 2]) & PTE_A) == 0, "level %d before: %lx", l, pte_read(up[l - 2]));
    }
    store64(TEST_VA, 1);
    for (int l = 2; l <= TOP_FLAGS_LEVEL; l++)
        CHECK((pte_read(up[l - 2]) & (PTE_A | PTE_D)) == PTE_A, "level %d: %lx", l,
              pte_read(up[l - 2]));
    for (int l = 2; l <= TOP_FLAGS_LEVEL; l++)
        pte_clear(up[l - 2], PTE_A);
    write_cr3(read_cr3());
    (void)load64(TEST_VA);
    for (int l = 2; l <= TOP_FLAGS_LEVEL; l++)
        CHECK((pte_read(up[l - 2]) & PTE_A) != 0, "level %d cleared, after a load: %lx", l,
              pte_read(up[l - 2]));
}

/* Trap 13 with CPUs that clear A and D of entries while others use them: D must be there for every
 * store that was made after the last clearing and flush. */
struct ad_race {
    struct barrier b;
    pte_t *pte;
    uint64_t frame;
    unsigned rounds;
};

static void ad_race_job(void *arg)
{
    struct ad_race *t = arg;
    unsigned me = this_cpu()->index;

    for (unsigned r = 0; r < t->rounds; r++) {
        unsigned writer = r % ncpus;
        if (me == (r + 1) % ncpus) {
            pte_clear(t->pte, PTE_A | PTE_D);
            tlb_shootdown(TEST_VA);
        }
        barrier_wait(&t->b, ncpus);
        if (me == writer)
            store64(TEST_VA + 8 * me, r);
        else if (r % 3 == 0)
            (void)load64(TEST_VA);
        barrier_wait(&t->b, ncpus);
        CHECK_EQ(pte_read(t->pte), t->frame | PTE_RWAD, "after a store by another CPU");
        barrier_wait(&t->b, ncpus);
    }
}

static void test_accessed_dirty_smp(void)
{
    struct ad_race t = {.rounds = ops(60), .frame = pa_of(tagged_page(0))};

    t.pte = map(TEST_VA, t.frame, PTE_RW);
    run_on(ncpus, ad_race_job, &t);
}

/* Trap 26: one INVLPG anywhere in a large page covers all of it (of 4 MiB without PAE: trap 27). */
struct large_test {
    struct barrier b;
    pte_t *pde;
    unsigned rounds;
};
static const uint64_t large_spots[] = {0, 0x123000, LARGE_PAGE - 0x1000};

static void large_job(void *arg)
{
    struct large_test *t = arg;
    uint64_t v;

    for (unsigned r = 0; r < t->rounds; r++) {
        if (this_cpu()->index == 0)
            pte_write(t->pde, (LARGE_BASE_PA + (r % 3) * LARGE_PAGE) | PTE_RW | PTE_PS);
        barrier_wait(&t->b, ncpus);
        invlpg(TEST_VA + large_spots[r % 3] + 0x1000 * (r & 1) * (r % 3 != 2));
        for (unsigned i = 0; i < 3; i++)
            CHECK(try_read64(TEST_VA + large_spots[i], &v) && v == 0x2600 + 16 * (r % 3) + i,
                  "round %u cpu %u spot %u: %lx", r, this_cpu()->index, i, v);
        barrier_wait(&t->b, ncpus);
    }
}

static void test_large(void)
{
    struct large_test t = {.rounds = ops(40), .pde = map_2m(TEST_VA, LARGE_BASE_PA, PTE_RW)};

    for (unsigned k = 0; k < 3; k++) {
        for (unsigned i = 0; i < 3; i++)
            store64(LARGE_BASE_PA + k * LARGE_PAGE + large_spots[i], 0x2600 + 16 * k + i);
    }
    run_on(ncpus, large_job, &t);
}

/* A large page becomes a table of 4 KiB pages elsewhere, and back; D is kept for the whole page. */
static void test_large_split(void)
{
    pte_t *pde = map_2m(TEST_VA, LARGE_BASE_PA, PTE_RW), *table = page_alloc();
    uint64_t v;

    for (unsigned r = 0; r < ops(10); r++) {
        for (unsigned i = 0; i < 3; i++) {
            store64(LARGE_BASE_PA + large_spots[i], 0x2700 + i);
            store64(LARGE_BASE_PA + LARGE_PAGE + large_spots[i], 0x2800 + i);
        }
        pte_write(pde, LARGE_BASE_PA | PTE_RW | PTE_PS);
        tlb_shootdown(TEST_VA);
        (void)load64(TEST_VA + 0x5000);
        CHECK_EQ(pte_read(pde), LARGE_BASE_PA | PTE_RW | PTE_PS | PTE_A, "PDE after a load");
        store64(TEST_VA + 0x77000, r);
        CHECK_EQ(pte_read(pde), LARGE_BASE_PA | PTE_RWAD | PTE_PS, "PDE after a store");
        CHECK_EQ(load64(LARGE_BASE_PA + 0x77000), r, "stored");
        for (unsigned i = 0; i < PTES; i++)
            table[i] = (pte_t)((LARGE_BASE_PA + LARGE_PAGE + i * PAGE) | PTE_RW);
        pte_write(pde, pa_of(table) | PTE_TABLE);
        tlb_shootdown(TEST_VA + 0x100000);
        for (unsigned i = 0; i < 3; i++)
            CHECK(try_read64(TEST_VA + large_spots[i], &v) && v == 0x2800 + i,
                  "split, spot %u: %lx", i, v);
    }
}

static const struct test tests[] = {
    {"trans.promote", test_promote, 2},
    {"trans.promote_loop", test_promote_loop, 2},
    {"trans.appear", test_appear, 2},
    {"trans.appear_poll", test_appear_poll, 2},
    {"trans.reuse", test_reuse, 2},
    {"trans.pde_invlpg", test_pde_invlpg, 1},
    {"trans.root_entry", test_root_entry, 1},
    {"trans.upper_entry", test_upper_entry, 1},
    {"trans.halves", test_halves, 1},
    {"trans.resurrect", test_resurrect, 2},
    {"trans.accessed_dirty", test_accessed_dirty, 1},
    {"trans.accessed_upper", test_accessed_upper, 1},
    {"trans.accessed_dirty_smp", test_accessed_dirty_smp, 2},
    {"trans.large", test_large, 1},
    {"trans.large_split", test_large_split, 1},
};
const struct test_group tests_trans = GROUP(tests);
