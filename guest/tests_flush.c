/* SPDX-License-Identifier: BSD-2-Clause */
/* Group flush: which instruction ends the life of a cached translation (global pages: trap 28), on
 * this CPU and, done by another CPU's interrupt, there. Tested by running it bare. */
#include "guest/guest.h"

static uint64_t tags[2]; /* frames holding 0x280 and 0x281 */

static pte_t *flush_setup(uint64_t flags)
{
    uint64_t v;

    for (unsigned k = 0; k < 2; k++)
        tags[k] = pa_of(tagged_page(0x280 + k));
    map(TEST_VA, tags[0], flags);
    CHECK(try_read64(TEST_VA, &v) && v == 0x280, "first read %lx", v);
    return pte_at(kernel_root, TEST_VA, 1, false);
}

static void by_invlpg(void *arg)
{
    (void)arg;
    invlpg(TEST_VA + 8);
}
static void by_cr3(void *arg)
{
    (void)arg;
    write_cr3(read_cr3());
}
static void by_pge(void *arg)
{
    (void)arg;
    flush_all_local();
}
static void by_pge_off(void *arg)
{
    (void)arg;
    /* the first time a flush; from then on G means nothing to CR3 */
    write_cr4(read_cr4() & ~CR4_PGE);
    write_cr3(read_cr3());
}
static void by_paging_cr0(void *arg)
{
    (void)arg;
    write_cr0(read_cr0() & ~CR0_WP); /* not a flush by the manuals: followed by one */
    write_cr3(read_cr3());
    write_cr0(read_cr0() | CR0_WP);
}

/* Changes the entry back and forth; after each flush the new frame must be read. */
static void flush_works(uint64_t flags, void (*flush)(void *))
{
    pte_t *pte = flush_setup(flags);
    uint64_t v;

    for (unsigned r = 1; r < ops(30); r++) {
        pte_write(pte, tags[r & 1] | flags);
        flush(NULL);
        CHECK(try_read64(TEST_VA, &v) && v == 0x280 + (r & 1), "round %u: %lx", r, v);
    }
    pte_write(pte, 0);
    flush(NULL);
    CHECK(!try_read64(TEST_VA, &v) && faulted_at(0, TEST_VA), "unmapped");
}

static void test_invlpg(void)
{
    flush_works(PTE_RW, by_invlpg);
}
static void test_invlpg_global(void)
{
    flush_works(PTE_RW | PTE_G, by_invlpg);
}
static void test_cr3(void)
{
    flush_works(PTE_RW, by_cr3);
}
static void test_pge(void)
{
    flush_works(PTE_RW | PTE_G, by_pge);
}
static void test_pge_off(void)
{
    flush_works(PTE_RW | PTE_G, by_pge_off);
    write_cr4(read_cr4() | CR4_PGE);
    flush_works(PTE_RW | PTE_G, by_pge);
}
static void test_wp_and_cr3(void)
{
    flush_works(PTE_RW, by_paging_cr0);
}

/* Trap 28: a global translation may survive CR3, and a change made meanwhile must not get lost: the
 * next PGE toggle or INVLPG shows it. */
static void test_global_deferred(void)
{
    pte_t *pte = flush_setup(PTE_RW | PTE_G);
    uint64_t v;

    for (unsigned r = 1; r < ops(20); r++) {
        pte_write(pte, tags[r & 1] | PTE_RW | PTE_G);
        for (unsigned k = 0; k < r % 4; k++)
            write_cr3(read_cr3());
        CHECK(try_read64(TEST_VA, &v) && (v & ~1ull) == 0x280, "round %u, after CR3: %lx", r, v);
        if ((r & 4) != 0)
            by_pge(NULL);
        else
            by_invlpg(NULL);
        CHECK(try_read64(TEST_VA, &v) && v == 0x280 + (r & 1), "round %u: %lx", r, v);
    }
}

/* The same through other CPUs: CPU 0 changes, all flush in turn by each means. */
struct flush_smp {
    struct barrier b;
    pte_t *pte;
    unsigned rounds;
};

static void flush_smp_job(void *arg)
{
    static void (*const how[])(void *) = {by_invlpg, by_pge};
    struct flush_smp *t = arg;
    uint64_t v;

    for (unsigned r = 1; r < t->rounds; r++) {
        barrier_wait(&t->b, ncpus);
        if (this_cpu()->index == r % ncpus)
            pte_write(t->pte, tags[r & 1] | PTE_RW | (r & 8 ? PTE_G : 0));
        barrier_wait(&t->b, ncpus);
        how[(r >> 1) & 1](NULL);
        CHECK(try_read64(TEST_VA, &v) && v == 0x280 + (r & 1), "round %u cpu %u: %lx", r,
              this_cpu()->index, v);
    }
}

static void test_flush_smp(void)
{
    struct flush_smp t = {.rounds = ops(80), .pte = flush_setup(PTE_RW)};

    run_on(ncpus, flush_smp_job, &t);
}

/* A second root shares the kernel half and differs in the rest: switching selects the right one,
 * and a change made to the root that is not loaded is seen when it is. */
static void test_two_roots(void)
{
    pte_t *roots[2], *ptes[2];
    uint64_t v;

    for (unsigned k = 0; k < 2; k++) {
        roots[k] = root_new();
        ptes[k] = pte_at(roots[k], TEST_VA, 1, true);
        tags[k] = pa_of(tagged_page(0x290 + k));
        pte_write(ptes[k], tags[k] | PTE_RW);
    }
    for (unsigned r = 0; r < ops(40); r++) {
        unsigned k = r & 1;
        bool swapped = (r / 4) & 1;
        write_cr3(pa_of(roots[k]));
        CHECK(try_read64(TEST_VA, &v) && v == 0x290 + (k ^ swapped), "round %u: %lx", r, v);
        if (r % 4 == 3) { /* both change, neither is flushed but by the next load */
            pte_write(ptes[0], tags[!swapped] | PTE_RW);
            pte_write(ptes[1], tags[swapped] | PTE_RW);
        }
    }
    write_cr3(pa_of(kernel_root));
    CHECK(!try_read64(TEST_VA, &v), "the first root has nothing there");
}

/* Many roots, each used again long after: whatever is kept of them must still be kept up to date.
 */
#define MANY 24
static void test_many_roots(void)
{
    pte_t *roots[MANY];
    uint64_t v;

    for (unsigned k = 0; k < MANY; k++) {
        roots[k] = root_new();
        pte_write(pte_at(roots[k], TEST_VA, 1, true), pa_of(tagged_page(0x1000 * k)) | PTE_RW);
    }
    for (unsigned r = 0; r < ops(4); r++) {
        for (unsigned k = 0; k < MANY; k++) {
            unsigned other = (k * 7 + 3) % MANY;
            pte_t *pte = pte_at(roots[other], TEST_VA, 1, false);
            write_cr3(pa_of(roots[k]));
            CHECK(try_read64(TEST_VA, &v) && v >> 12 == k && (v & 0xfff) <= r, "root %u: %lx", k,
                  v);
            pte_write(pte, pa_of(tagged_page(0x1000 * other + r)) | PTE_RW);
        }
        for (unsigned k = 0; k < MANY; k++) {
            write_cr3(pa_of(roots[k]));
            CHECK(try_read64(TEST_VA, &v) && v == 0x1000 * k + r, "round %u root %u: %lx", r, k, v);
        }
    }
    write_cr3(pa_of(kernel_root));
}

static const struct test tests[] = {
    {"flush.invlpg", test_invlpg, 1},
    {"flush.invlpg_global", test_invlpg_global, 1},
    {"flush.cr3", test_cr3, 1},
    {"flush.pge", test_pge, 1},
    {"flush.pge_off", test_pge_off, 1},
    {"flush.wp_and_cr3", test_wp_and_cr3, 1},
    {"flush.global_deferred", test_global_deferred, 1},
    {"flush.smp", test_flush_smp, 2},
    {"flush.two_roots", test_two_roots, 1},
    {"flush.many_roots", test_many_roots, 1},
};
const struct test_group tests_flush = GROUP(tests);
