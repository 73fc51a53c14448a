/* SPDX-License-Identifier: BSD-2-Clause */
/* Directed tests of faults that reach the guest without an exit: which sptes say so, and that they
 * go before what they stand for changes. The simulator searches for what is forgotten here. */
#include "tools/tests/mmu_kernel.h"

#define NEW(i) (VA(0, 100 + (i))) /* addresses of which nothing is present, below PT */
#define PAGE(i) ((600ull + (i)) << 12 | ALL | PTE_A | PTE_D)

/* The raw spte of CPU c for va, ~0 if the links do not lead to level 1. */
static uint64_t raw(unsigned c, uint64_t va)
{
    struct mmu_root r;
    fake_set_cpu(c);
    mmu_enter(&mmu[c], &r);
    mmu_entered(&mmu[c], &r);
    uint32_t page = mmu[c].roots[mmu[c].root].sp;
    for (unsigned l = 4; l > 1; l--) {
        uint64_t e = spte_get(&mmu[c], page, va_index(gva(va), l));
        if (!(e & PTE_P))
            return ~0ull;
        page = spte_child(&mmu[c], e);
    }
    return *sp_spte(&mmu[c], page, va_index(gva(va), 1));
}

static unsigned holders_of(uint64_t f)
{
    return (direct_mine(&coh[0], gfn(f)) ? 1 : 0) | (direct_mine(&coh[1], gfn(f)) ? 2 : 0);
}

static bool none_left(void)
{
    return !mmu[0].ndirect && raw(0, NEW(0)) == MMU_ABSENT && !holders_of(PT);
}

static void touch(unsigned c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)fault(c, NEW(i), PFEC_U | PFEC_W);
}

/* As a process of CPU 0 that uses new memory, whose faults in PT then do not exit any more. */
static void direct_up(const char *options)
{
    kernel_up(options);
    (void)fault(0, VA(0, 1), PFEC_U);
    touch(0, 4);
}

static void test_begins(void)
{
    kernel_up("directpf=on");
    (void)fault(0, VA(0, 1), PFEC_U);
    touch(0, 3);
    tap_ok(!mmu[0].ndirect && raw(0, NEW(0)) == MMU_ABSENT, "what is not present exits at first");
    tap_ok(*sp_spte(&mmu[0], mmu[0].roots[mmu[0].root].sp, 7) == MMU_ABSENT, "... at each level");
    touch(0, 1);
    tap_ok(mmu[0].ndirect == 1 && raw(0, NEW(0)) == 0 && raw(0, NEW(300)) == 0,
           "after some faults, not-present entries of the table are left to the guest");
    tap_ok((raw(0, VA(0, 1)) & PTE_P) && stat_of(0, STAT_direct_tables) == 1, "... no others");
    tap_ok(holders_of(PT) == 1 && holders_of(PD) == 1 && holders_of(PDPT) == 1 &&
               holders_of(ROOT) == 1,
           "... and it is announced at each level that leads there");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "... as the audit sees it, too");
    direct_up("");
    tap_ok(!mmu[0].absent && raw(0, NEW(0)) == 0 && !holders_of(PT),
           "directpf=off: nothing of that");
    direct_up("directpf=on mmu=ref");
    tap_ok(!mmu[0].absent, "not with the reference pager");
}

static void test_when_not(void)
{
    kernel_up("directpf=on");
    (void)fault(0, VA(0, 1), PFEC_U);
    for (unsigned i = 0; i < 8; i++)
        (void)fault(0, NEW(i), PFEC_W);
    tap_ok(!mmu[0].ndirect, "not for the kernel's faults");
    kernel_up("directpf=on");
    (void)fault(1, VA(0, 1), PFEC_U);
    (void)fault(0, VA(0, 1), PFEC_U);
    touch(0, 8);
    tap_ok(!mmu[0].ndirect, "not where another CPU reads the table");
    kernel_up("directpf=on");
    (void)fault(0, VA(0, 1), PFEC_U);
    for (unsigned i = 0; i < 8; i++) {
        (void)fault(0, NEW(8 * i), PFEC_U | PFEC_W);
        for (unsigned k = 0; k < 4; k++)
            put(0, PT, 100 + 8 * i + k, PAGE(k));
        (void)fault(0, NEW(8 * i), PFEC_U | PFEC_W);
    }
    tap_ok(!mmu[0].ndirect, "not where the guest fills neighbours");
    kernel_up("directpf=on");
    (void)fault(0, VA(0, 1), PFEC_U);
    atomic_store(&co.cpu[1].storing, gfn_gpa(gfn(PD)).v | STORING_BUSY);
    touch(0, 8);
    tap_ok(!mmu[0].ndirect && !holders_of(PD), "not while another CPU stores above");
    fake_set_cpu(0); /* nor if that began behind the fault's own look */
    tap_ok(!direct_claim(&coh[0], gfn(PD)) && !holders_of(PD), "... which refuses the claim");
    atomic_store(&co.cpu[1].storing, 0);
    touch(0, 4);
    tap_ok(mmu[0].ndirect == 1, "... but then");
}

/* Another CPU has made it unsync, and its WHOLE is not posted yet. */
static void test_unsync_untold(void)
{
    kernel_up("directpf=on");
    (void)fault(0, VA(0, 1), PFEC_U);
    touch(0, 3);
    (void)trace_enter_unsync(&coh[1], gfn(PT));
    touch(0, 1);
    tap_ok(!mmu[0].ndirect && !holders_of(PT), "not where another CPU stores without exits");
}

static unsigned looks;

/* CPU 0 is in the middle of long work, and looks at requests for drops; after long, at all. */
static bool serve_in_work(void *ctx)
{
    (void)ctx;
    fake_set_cpu(0);
    mmu_serve_drops(&mmu[0]);
    if (++looks > 100)
        (void)mmu_serve(&mmu[0]);
    fake_set_cpu(1);
    return false;
}

static void test_answered_in_work(void)
{
    direct_up("directpf=on");
    coh[1].serve = serve_in_work;
    looks = 0;
    fake_set_cpu(1);
    put(1, PT, 100, PAGE(0));
    tap_ok(!mmu[0].ndirect && looks < 100, "who asks is answered in the middle of long work");
}

static void test_own_store(void)
{
    direct_up("directpf=on");
    put(0, PT, 100, PAGE(0));
    tap_ok(consumer_pending(&coh[0]), "the own store is posted although nothing was present");
    uint64_t e = raw(0, NEW(0));
    tap_ok((e & PTE_P) && (e & PTE_ADDR) == host_of(600) && !(e & PTE_A),
           "before the guest runs the page is mapped, not yet used");
    tap_ok(raw(0, NEW(1)) == 0 && stat_of(0, STAT_direct_asked) == 0, "... the others stay");
    put(0, PT, 101, 0xabcd0000ull);
    tap_ok(raw(0, NEW(1)) == 0, "not present either: it stays the guest's");
    put(0, PT, 102, (600ull << 12) | ALL);
    tap_ok(raw(0, NEW(2)) == MMU_ABSENT, "present without A: nothing is mapped, and it exits");
    put(0, PT, 103, PAGE(0) | 1ull << 45);
    tap_ok(raw(0, NEW(3)) == MMU_ABSENT, "a reserved bit: it exits");
    put(0, PT, 100, 0);
    tap_ok(raw(0, NEW(0)) == MMU_ABSENT, "not present again: it exits");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "the audit agrees");
}

static void test_others_store(void)
{
    static const uint64_t above[] = {PD, PDPT, ROOT};

    direct_up("directpf=on");
    fake_set_cpu(1);
    put(1, PT, 100, PAGE(0));
    tap_ok(stat_of(1, STAT_direct_asked) == 1 && !mmu[0].ndirect && !holders_of(PT),
           "another CPU asks before it stores to the table");
    tap_ok(raw(0, NEW(0)) == MMU_ABSENT, "... and then it exits");
    for (unsigned i = 0; i < ARRAY_SIZE(above); i++) {
        direct_up("directpf=on");
        fake_set_cpu(1);
        put(1, above[i], 77, 0);
        tap_ok(none_left() || (!mmu[0].ndirect && !holders_of(above[i])),
               "... and to one above, level %u", i + 2);
    }
    direct_up("directpf=on");
    fake_set_cpu(1);
    producer_store(&coh[1], gpa(PT << 12), entry(PT, 0), &above, 4);
    tap_ok(!mmu[0].ndirect && !holders_of(PT), "... and in bulk");
}

static void test_given_up(void)
{
    uint64_t old;

    direct_up("directpf=on");
    fake_set_cpu(1);
    tap_ok(!unsync_enter(&mmu[1], gfn(PT), &old) && mmu[0].ndirect,
           "another CPU cannot make it unsync unasked");
    mmu_write_fallback(&mmu[1], WINDOW(PT - ROOT), gpa((PT << 12) + 8));
    tap_ok(!mmu[0].ndirect && !holders_of(PT) && (trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC),
           "... but having asked");
    direct_up("directpf=on");
    fake_set_cpu(0);
    give_up(0, PT);
    tap_ok(none_left(), "given up to itself: nothing is left to the guest");
    direct_up("directpf=on");
    fake_set_cpu(0);
    give_up(0, PD);
    tap_ok(!mmu[0].ndirect && !holders_of(PD), "the same of a table above");
    direct_up("directpf=on");
    sp_zap_all(&mmu[0]);
    tap_ok(!mmu[0].ndirect && !holders_of(PT) && !holders_of(ROOT), "dropped: nobody is asked");
}

static enum mmu_verdict store_at(unsigned i)
{
    return fault(0, WINDOW(PT - ROOT).v + i * 8ull, PFEC_W);
}

static void test_policy(void)
{
    direct_up("directpf=on");
    for (unsigned i = 0; i < 4; i++) {
        tap_eq(store_at(100 + i), MMU_EMULATE, "a store after a fault is emulated");
        put(0, PT, 100 + i, PAGE(i));
        uint32_t page = sp_first(&mmu[0], gfn(PT));
        (void)raw(0, NEW(i));
        *sp_spte(&mmu[0], page, 100 + i) |= PTE_A; /* the processor, at the use that follows */
    }
    tap_eq(store_at(100), MMU_RESUME, "what was present changes: the table is given up");
    tap_ok(!mmu[0].ndirect, "... with what was left to the guest");
    direct_up("directpf=on");
    for (unsigned i = 0; i < 2; i++) {
        tap_eq(store_at(100 + i), MMU_EMULATE, "entries stored to,");
        put(0, PT, 100 + i, PAGE(i));
        (void)raw(0, NEW(i));
    }
    tap_eq(store_at(102), MMU_RESUME, "... and their pages not used: given up, too");
    touch(0, 8);
    tap_ok(!mmu[0].ndirect, "... for good");
}

/* Ways in which sptes are read and dropped for many faults at once. */
static void test_many_at_once(void)
{
    direct_up("directpf=on batch=off");
    put(0, PT, 100, PAGE(0) & ~(uint64_t)PTE_W);
    put(0, PT, 200, PAGE(2));
    *entry(PT, 101) = PAGE(1); /* as if read just before the store: nothing is posted */
    uint64_t fills = stat_of(0, STAT_fill_single);
    tap_eq(fault(0, NEW(1), PFEC_U | PFEC_W), MMU_RESUME, "a fault that is filled without a walk,");
    tap_ok((raw(0, NEW(1)) & PTE_W) && stat_of(0, STAT_fill_single) == fills + 1 &&
               raw(0, NEW(2)) == 0,
           "... where the guest was to have it: it is one less");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "... as the audit counts");
    uint32_t page = sp_first(&mmu[0], gfn(PT));
    (void)raw(0, NEW(0));
    for (unsigned w = 0; w < 8; w++)
        spte_drop_word(&mmu[0], page, w);
    tap_ok(raw(0, NEW(0)) == MMU_ABSENT && (raw(0, NEW(1)) & PTE_W) && raw(0, NEW(2)) == 0,
           "what is dropped by the word exits; what is writable, or the guest's, stays");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "... as the audit agrees");
}

/* A table that is written without exits, while what is not present is not 0. */
static void test_listed(void)
{
    kernel_up("directpf=on batch=off fresh=off");
    put(0, PT, 100, PAGE(0));
    put(0, PT, 101, PAGE(1));
    (void)fault(0, NEW(0), PFEC_U);
    (void)fault(0, NEW(1), PFEC_U);
    give_up(0, PT);
    *entry(PT, 102) = PAGE(2);
    *entry(PT, 100) = 0;
    mmu_event_invlpg(&mmu[0], gva(NEW(2)));
    tap_ok(raw(0, NEW(2)) == MMU_ABSENT && (raw(0, NEW(0)) & PTE_P),
           "an address of which nothing is mapped is flushed: no other is looked at");
    mmu_event_invlpg(&mmu[0], gva(NEW(0)));
    tap_eq(raw(0, NEW(0)), MMU_ABSENT, "... one that is present no more exits");
    tap_eq(fault(0, NEW(0), PFEC_U), MMU_FORWARD, "... and its fault is the guest's");
    tap_eq(fault(0, NEW(2), PFEC_U), MMU_RESUME, "the other's is not");
    *entry(PT, 101) = 0;
    mmu_event_cr3(&mmu[0], ROOT << 12, false);
    tap_ok(raw(0, NEW(1)) == MMU_ABSENT && (raw(0, NEW(2)) & PTE_P), "all are read again");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "... as the audit agrees");
}

/* A second root that leads there, as a kernel with page-table isolation has it. */
static void test_second_root(void)
{
    direct_up("directpf=on");
    *entry(ROOT2, 0) = PDPT << 12 | ALL | PTE_A;
    fake_set_cpu(0);
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok(raw(0, NEW(0)) == 0 && holders_of(ROOT2) == 1,
           "another root that leads there is claimed");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "... says the audit");
    direct_up("directpf=on");
    *entry(ROOT2, 0) = PDPT << 12 | ALL | PTE_A;
    atomic_store(&co.cpu[1].storing, gfn_gpa(gfn(ROOT2)).v | STORING_BUSY);
    fake_set_cpu(0);
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    (void)fault(0, VA(0, 1), PFEC_U);
    tap_ok(raw(0, NEW(0)) == MMU_ABSENT && !mmu[0].ndirect,
           "one that cannot be ends it before the guest runs");
    atomic_store(&co.cpu[1].storing, 0);
    direct_up("directpf=on");
    put(0, PDPT, 1, (ROOT2 + 8) << 12 | ALL | PTE_A);
    *entry(ROOT2 + 8, 0) = PT << 12 | ALL | PTE_A;
    atomic_store(&co.cpu[1].storing, gfn_gpa(gfn(ROOT2 + 8)).v | STORING_BUSY);
    (void)fault(0, VA(512, 1), PFEC_U);
    tap_ok(mmu[0].direct_unfit && mmu[0].ndirect && !mmu_audit(&mmu[0], 3),
           "a directory that cannot be: until then the audit finds nothing");
    tap_ok(raw(0, NEW(0)) == MMU_ABSENT && !mmu[0].ndirect, "... and it ends");
    atomic_store(&co.cpu[1].storing, 0);
}

/* A VM's reset, with its CPUs stopped as they were. */
static void test_again(void)
{
    direct_up("directpf=on");
    coherency_init(&co, RIG_CPUS, RIG_GRANULES * 512, words, matrix, &opt);
    direct_init(&co, holders);
    tap_ok(!holders_of(PT) && !holders_of(PD) && !holders_of(ROOT),
           "who held a table before its VM's reset holds none after it");
}

static void test_audit(void)
{
    direct_up("directpf=on");
    *entry(PT, 100) = PAGE(0);
    tap_eq(mmu_audit(&mmu[0], 3), 1, "found: a present entry left to the guest");
    *entry(PT, 100) = 0;
    direct_unclaim(&coh[0], gfn(PD));
    tap_ok(mmu_audit(&mmu[0], 3) > 0, "found: a claim that nobody is told of");
    direct_up("directpf=on");
    uint32_t page = mmu[0].roots[mmu[0].root].sp;
    *sp_spte(&mmu[0], page, 9) = 0;
    tap_ok(mmu_audit(&mmu[0], 3) > 0, "found: an entry above that is left to the guest");
}

int main(void)
{
    fake_reset();
    test_begins();
    test_when_not();
    test_unsync_untold();
    test_answered_in_work();
    test_own_store();
    test_others_store();
    test_given_up();
    test_policy();
    test_many_at_once();
    test_listed();
    test_second_root();
    test_again();
    test_audit();
    rig_down();
    return tap_done();
}
