/* SPDX-License-Identifier: BSD-2-Clause */
/* Group pcid: process-context identifiers and INVPCID (trap 29): MOV CR3 that flushes nothing, each
 * invalidation seen by the PCID it names, on this CPU and on all at once. Skipped where the
 * processor has none, as the emulators do; Patchbay shows them always. Tested by running it hosted.
 */
#include "guest/guest.h"

#define CR3_NOFLUSH (1ull << 63)
#define VALUE(frame) (0x9c1d00ull + (frame))
#define PCIDS 3 /* 0 is the kernel's root; 1 and 2 share its page table below TEST_VA */

static struct {
    uint64_t cr3[PCIDS]; /* with the PCID */
} space[MAX_CPUS];
static pte_t *shared; /* the one entry behind TEST_VA of all roots */
static uint64_t frame[2];
static struct barrier meet;

struct invpcid {
    uint64_t type, pcid, va;
};
static void do_invpcid(void *arg)
{
    const struct invpcid *i = arg;
    asm volatile("invpcid %1, %0" : : "r"(i->type), "m"(i->pcid) : "memory");
}
static void invpcid(uint64_t type, uint64_t pcid, uint64_t va)
{
    struct invpcid i = {type, pcid, va};
    do_invpcid(&i);
}
static bool refused(uint64_t type, uint64_t pcid, uint64_t va)
{
    struct invpcid i = {type, pcid, va};
    return caught(do_invpcid, &i) && trapped(VEC_GP, 0);
}
struct cr_value {
    unsigned cr;
    uint64_t value;
};
static void do_cr(void *arg)
{
    const struct cr_value *w = arg;
    if (w->cr == 4)
        write_cr4(w->value);
    else
        write_cr3(w->value);
}
static bool cr_refused(unsigned cr, uint64_t value)
{
    struct cr_value w = {cr, value};
    return caught(do_cr, &w) && trapped(VEC_GP, 0);
}

static bool possible(void)
{
    bool pcid = cpuid(1, 0).ecx & 1u << 17, invpcid_there = cpuid(7, 0).ebx & 1u << 10;
    CHECK(!on_patchbay() || (pcid && invpcid_there), "Patchbay shows both");
    if (!pcid || !invpcid_there)
        test_skip("no PCID or no INVPCID");
    return pcid && invpcid_there;
}

static void go(unsigned pcid, uint64_t noflush)
{
    write_cr3(space[this_cpu()->index].cr3[pcid] | noflush);
}

/* Roots of this CPU, every PCID having used the page. */
static void spaces_up(void)
{
    unsigned me = this_cpu()->index;
    pte_t *kernel = pte_at(kernel_root, TEST_VA, ROOT_LEVEL, false);

    space[me].cr3[0] = read_cr3();
    write_cr4(read_cr4() | CR4_PCIDE);
    for (unsigned p = 1; p < PCIDS; p++) {
        pte_t *root = root_new();
        *pte_at(root, TEST_VA, ROOT_LEVEL, true) = *kernel;
        space[me].cr3[p] = pa_of(root) | p;
    }
    for (unsigned p = 0; p < PCIDS; p++) {
        go(p, 0);
        CHECK_EQ(load64(TEST_VA), VALUE(0), "the page, in every PCID");
    }
}

static void spaces_down(void)
{
    go(0, 0);
    cpu_baseline();
}

static void shared_up(void)
{
    for (unsigned k = 0; k < 2; k++)
        frame[k] = pa_of(tagged_page(VALUE(k)));
    shared = map(TEST_VA, frame[0], PTE_RW);
}

/* --- the rules --- */

static void test_rules(void)
{
    uint64_t cr3 = read_cr3(), cr4 = read_cr4();

    if (!possible())
        return;
    CHECK(refused(0, 1, TEST_VA) && refused(1, 1, 0), "INVPCID of a PCID without PCIDE");
    CHECK(cr_refused(3, cr3 | CR3_NOFLUSH), "bit 63 without PCIDE");
    write_cr3(cr3 | 0x18);
    CHECK(cr_refused(4, cr4 | CR4_PCIDE), "PCIDE while CR3 has bits 11:0");
    write_cr3(cr3);
    write_cr4(cr4 | CR4_PCIDE);
    CHECK_EQ(read_cr4(), cr4 | CR4_PCIDE, "CR4 reads back");
    write_cr3(cr3 | 0x5a5 | CR3_NOFLUSH);
    CHECK_EQ(read_cr3(), cr3 | 0x5a5, "CR3 reads without bit 63, with the PCID");
    CHECK(cr_refused(3, cr3 | 1ull << 62), "bit 62 of CR3");
    CHECK(refused(4, 0, 0) && refused(~0ull, 0, 0), "INVPCID of no type");
    CHECK(refused(1, 0x1000, 0) && refused(3, 1ull << 63, 0), "reserved bits of the descriptor");
    CHECK(refused(0, 1, 1ull << 47), "a non-canonical address");
    invpcid(1, 0xfff, 1ull << 47);
    write_cr4(cr4);
    CHECK_EQ(read_cr3(), cr3 | 0x5a5, "clearing PCIDE leaves CR3");
    write_cr3(cr3);
}

/* --- this CPU --- */

/* In PCID 1: changes the entry, invalidates in the given way, and asks PCID 2. */
static void other_sees(unsigned round, uint64_t type)
{
    pte_write(shared, frame[~round & 1] | PTE_RW);
    if (type == 4)
        invlpg(TEST_VA); /* this PCID's */
    else
        invpcid(type, 2, TEST_VA);
    uint64_t flush = type == 4 ? 0 : CR3_NOFLUSH;
    go(2, flush);
    CHECK_EQ(load64(TEST_VA), VALUE(~round & 1), "after INVPCID, or in a PCID flushed by MOV CR3");
    go(1, 0);
    CHECK_EQ(load64(TEST_VA), VALUE(~round & 1), "after MOV CR3");
}

static void local_job(void *arg)
{
    (void)arg;
    spaces_up();
    go(1, 0);
    for (unsigned r = 0; r < ops(60); r++)
        other_sees(r, r % 5);
    spaces_down();
}

static void test_local(void)
{
    if (!possible())
        return;
    shared_up();
    local_job(NULL);
}

/* --- all CPUs --- */

/* CPU 0 changes the entry; each CPU invalidates PCID 1 while it runs PCID 2, in a way of its own.
 */
static void all_job(void *arg)
{
    unsigned me = this_cpu()->index, n = ops(30);

    (void)arg;
    spaces_up();
    for (unsigned r = 0; r < n; r++) {
        go(2, CR3_NOFLUSH);
        barrier_wait(&meet, ncpus);
        if (me == r % ncpus)
            pte_write(shared, frame[~r & 1] | PTE_RW);
        barrier_wait(&meet, ncpus);
        invpcid((r + me) % 4, 1, TEST_VA);
        go(1, CR3_NOFLUSH);
        CHECK_EQ(load64(TEST_VA), VALUE(~r & 1), "after this CPU's INVPCID");
        go(2, 0);
        CHECK_EQ(load64(TEST_VA), VALUE(~r & 1), "after this CPU's MOV CR3");
    }
    spaces_down();
}

static void test_all(void)
{
    if (!possible())
        return;
    shared_up();
    memset(&meet, 0, sizeof(meet));
    run_on(ncpus, all_job, NULL);
}

/* A global page is every PCID's, and INVLPG under any of them invalidates it (trap 28). */
static void test_global(void)
{
    if (!possible())
        return;
    shared_up();
    pte_write(shared, frame[0] | PTE_RW | PTE_G);
    spaces_up();
    for (unsigned r = 0; r < ops(20); r++) {
        go(1, CR3_NOFLUSH);
        pte_write(shared, frame[~r & 1] | PTE_RW | PTE_G);
        invlpg(TEST_VA);
        go(2, CR3_NOFLUSH);
        CHECK_EQ(load64(TEST_VA), VALUE(~r & 1), "after INVLPG under another PCID");
    }
    spaces_down();
}

static const struct test tests[] = {
    {"pcid.rules", test_rules, 1},
    {"pcid.local", test_local, 1},
    {"pcid.all", test_all, 2},
    {"pcid.global", test_global, 1},
};
const struct test_group tests_pcid = GROUP(tests);
