/* SPDX-License-Identifier: BSD-2-Clause */
/* Work that grows with the guest, by the worst guests that could be thought of: what one exit does
 * is linear in what the guest made, and requests of other CPUs are answered all the while. Steps
 * are counted, not time. */
#define RIG_GRANULES 40
#include "tools/tests/mmu_rig.h"

#define POOL 1200u
#define TABLES 2048ull /* frames of the page tables of a test: region 4 and on */
#define USER (ALL | PTE_A | PTE_D)
/* Between two looks at the requests: a batch, and what cannot be interrupted (a patch, a walk). */
#define STRETCH (MMU_BATCH + 2048)

static uint64_t work_from;

/* CPU 1 asks CPU 0 to drop writable sptes of frame f, and does not wait: action_request in parts.
 */
static void ask_for(enum request_kind kind, uint64_t f)
{
    struct mailbox *box = &co.cpu[0].mailbox[1];
    box->request = kind | f << 8;
    box->seq++;
    action_post(&co, 1, 0, BIT(1));
}

static void ask(uint64_t f)
{
    ask_for(REQUEST_DROP, f);
}

static bool answered(void)
{
    return co.cpu[0].mailbox[1].ack == co.cpu[0].mailbox[1].seq;
}

static void begin(void)
{
    fake_set_cpu(0);
    (void)mmu_serve(&mmu[0]);
    hv_stats[0].n[STAT_unserved_high] = 0;
    work_from = mmu[0].work;
    ask(5);
}

/* Steps since begin(); checks the longest stretch and that CPU 1 was answered in between. */
static uint64_t end(const char *what)
{
    bool meanwhile = answered();
    uint64_t steps = mmu[0].work - work_from;
    (void)mmu_serve(&mmu[0]);
    tap_ok(stat_of(0, STAT_unserved_high) <= STRETCH && (meanwhile || steps < MMU_BATCH),
           "%s: %llu steps, at most %llu without a look at requests", what,
           (unsigned long long)steps, (unsigned long long)stat_of(0, STAT_unserved_high));
    return steps;
}

static void linear(uint64_t one, uint64_t two, const char *what)
{
    tap_ok(one && two <= 3 * one + MMU_BATCH, "%s: twice as many cost %llu steps instead of %llu",
           what, (unsigned long long)two, (unsigned long long)one);
}

static uint64_t address(unsigned t, unsigned i)
{
    return (uint64_t)t << 21 | (uint64_t)i << 12;
}

/* n page tables below PD, PD + 1 ..., entry i of each as `value` says. */
static void tables(unsigned n, uint64_t (*value)(unsigned t, unsigned i))
{
    for (unsigned t = 0; t < n; t++) {
        *entry(PDPT, t / 512) = (PD + t / 512) << 12 | USER;
        *entry(PD + t / 512, t % 512) = (TABLES + t) << 12 | USER;
        for (unsigned i = 0; i < 512; i++)
            *entry(TABLES + t, i) = value(t, i);
    }
}

static void touch(unsigned n, unsigned step)
{
    unsigned refused = 0;
    for (unsigned t = 0; t < n; t++)
        for (unsigned i = 0; i < 512; i += step)
            for (unsigned k = 0; k < 3 && !(leaf(0, address(t, i)) & PTE_P); k++) {
                refused += fault(0, address(t, i), PFEC_U | PFEC_W) != MMU_RESUME;
                (void)mmu_serve(&mmu[0]); /* each is an exit */
            }
    if (refused)
        tap_ok(false, "%u accesses were refused", refused);
}

static uint64_t same_frame(unsigned t, unsigned i)
{
    (void)t, (void)i;
    return 600ull << 12 | USER;
}
static uint64_t frame_each(unsigned t, unsigned i)
{
    return (1024ull + (t * 512 + i) % 1024) << 12 | USER;
}

static void flush(void)
{
    fake_set_cpu(0);
    mmu_event_flush(&mmu[0]);
}

/* A process maps one page many times, and exits. */
static uint64_t aliases(unsigned n)
{
    unsigned writable = 0;

    rig_up("", POOL);
    tables(n, same_frame);
    touch(n, 16);
    for (unsigned t = 0; t < n; t++)
        for (unsigned i = 0; i < 512; i++)
            writable += !!(leaf(0, address(t, i)) & PTE_W);
    tap_ok(writable && writable <= MMU_ALIASES, "a frame has %u writable sptes", writable);
    for (unsigned t = 0; t < n; t++)
        put(0, PD, t, 0);
    begin();
    flush();
    return end("a page mapped many times, and its tables unlinked");
}

static uint64_t aliases_cleared(unsigned n)
{
    rig_up("unsync=off", POOL);
    tables(n, same_frame);
    touch(n, 16);
    for (unsigned t = 0; t < n; t++)
        memset(entry(TABLES + t, 0), 0, PAGE_SIZE);
    for (unsigned t = 0; t < n; t++)
        producer_store(&coh[1], gpa((TABLES + t) << 12), entry(TABLES + t, 0), entry(5, 0), 8);
    begin();
    flush();
    return end("a page mapped many times, and its entries cleared");
}

static uint64_t aliases_asked(unsigned n)
{
    rig_up("", POOL);
    tables(n, same_frame);
    touch(n, 16);
    begin();
    ask(600);
    (void)mmu_serve(&mmu[0]);
    tap_ok(!(leaf(0, address(n - 1, 500)) & PTE_W) &&
               !(trace_word(&coh[0], gfn(600)) & TRACE_WRITER(0)),
           "... none of them is writable when another CPU has asked for that");
    return end("a page mapped many times becomes a table");
}

/* One table is linked everywhere, and its parents go. */
static uint64_t parents(unsigned n)
{
    rig_up("", POOL);
    for (unsigned i = 0; i < 16; i++)
        *entry(TABLES, i) = frame_each(0, i);
    for (unsigned d = 0; d < n; d++) {
        *entry(PDPT, d) = (TABLES + 1 + d) << 12 | USER;
        for (unsigned i = 0; i < 512; i++)
            *entry(TABLES + 1 + d, i) = TABLES << 12 | USER;
    }
    for (unsigned t = 0; t < n * 512; t++)
        (void)fault(0, address(t, 0), PFEC_U);
    for (unsigned d = 0; d < n; d++)
        put(0, PDPT, d, 0);
    begin();
    flush();
    return end("a table with many parents, all unlinked");
}

/* Many 2 MiB pages over one region; another CPU makes a frame in it a table. */
static void many_large(void)
{
    rig_up("", POOL);
    for (unsigned d = 0; d < 8; d++) {
        *entry(PDPT, d) = (TABLES + d) << 12 | USER;
        for (unsigned i = 0; i < 512; i++)
            *entry(TABLES + d, i) = 1024ull << 12 | USER | PTE_PS;
    }
    for (unsigned t = 0; t < 8 * 512; t++)
        (void)fault(0, address(t, 0), PFEC_U | PFEC_W);
    tap_ok(region_word(&coh[0], gfn(1024)) & BIT(0), "4096 large pages over one region");
    begin();
    ask(1030);
    (void)mmu_serve(&mmu[0]);
    tap_ok(!(region_word(&coh[0], gfn(1024)) & BIT(0)), "... are split when they have to be");
    (void)end("a region mapped many times is split");
}

static uint64_t big_tree(unsigned n, const char *what)
{
    rig_up("", POOL);
    tables(n, frame_each);
    touch(n, 16);
    begin();
    if (*what == 'r') { /* through more roots than are retained: the first one goes */
        for (unsigned r = 0; r < 8; r++) {
            mmu_event_cr3(&mmu[0], (ROOT + 500 + r) << 12, false);
            struct mmu_root root;
            mmu_enter(&mmu[0], &root);
            mmu_entered(&mmu[0], &root);
        }
    } else if (*what == 'p') {
        mmu_idle(&mmu[0], true);
    } else if (*what == 'o') {
        atomic_store(&matrix[1][0].overflow, 1);
        atomic_fetch_or(&co.cpu[0].pending, BIT(1));
        mmu_drain(&mmu[0]);
    } else if (*what == 'I') {
        mmu_reset(&mmu[0], &regs[0]);
    }
    return end(what);
}

/* CPU 1 stores to each table by other means than an instruction: WHOLE, and not overflow. Then it
 * writes them without exits. */
static void other_stores(unsigned n)
{
    for (unsigned t = 0; t < n; t++) {
        producer_store(&coh[1], gpa((TABLES + t) << 12), entry(TABLES + t, 0), entry(TABLES + t, 0),
                       8);
        if (t % 4 == 3)
            mmu_drain(&mmu[0]);
        (void)trace_enter_unsync(&coh[1], gfn(TABLES + t)); /* it stays listed */
    }
}

/* Every table is written by the other CPU without exits, and so listed here. */
static uint64_t listed(unsigned n, unsigned uppers)
{
    rig_up("", POOL);
    tables(n, frame_each);
    touch(n, 16);
    other_stores(n);
    for (unsigned d = 0; d < uppers; d++) {
        uint32_t p = sp_first(&mmu[0], gfn(PD + d));
        if (p != SP_NONE)
            unsync_list(&mmu[0], p);
    }
    tap_ok(mmu[0].unsync_count >= n, "%u pages are listed", mmu[0].unsync_count);
    begin();
    mmu_event_invpcid(&mmu[0], 2, 0, gva(0));
    return end("INVPCID of everything with all tables listed");
}

/* Listed tables that nobody came to for long are dropped, all in one event. */
static uint64_t listed_long(unsigned n)
{
    rig_up("", POOL);
    tables(n, frame_each);
    touch(n, 16);
    other_stores(n);
    mmu_event_cr3(&mmu[0], (ROOT + 500) << 12, false);
    (void)leaf(0, 0);
    mmu[0].epoch += 1000;
    begin();
    flush();
    return end("listed tables of another root, dropped for their age");
}

/* All tables are listed and below a root that is not in use: a look for entries that lost A finds
 * none to look at. */
static uint64_t aged(unsigned n)
{
    rig_up("", POOL);
    tables(n, frame_each);
    touch(n, 64);
    other_stores(n);
    mmu_event_cr3(&mmu[0], (ROOT + 500) << 12, false);
    (void)leaf(0, 0);
    begin();
    mmu_age(&mmu[0]);
    return end("listed tables of another root, looked at for their age");
}

/* A drain frees pages: asked for in the middle of work, it is done behind it. */
static void drain_waits(void)
{
    rig_up("coherency=shootdown", POOL);
    tables(64, frame_each);
    touch(64, 16);
    begin();
    ask_for(REQUEST_DRAIN, 5);
    mmu_idle(&mmu[0], true);
    bool early = answered();
    (void)mmu_serve(&mmu[0]);
    tap_ok(!early && answered(), "a drain that is asked for in the middle of work comes after it");
}

static void few_pages(void)
{
    rig_up("", MMU_POOL_FLOOR);
    tables(256, frame_each);
    begin();
    touch(256, 64);
    tap_ok(stat_of(0, STAT_reclaims) > 100, "%llu pages reclaimed",
           (unsigned long long)stat_of(0, STAT_reclaims));
    (void)end("reclaim all the time");
}

static void rest(void)
{
    rig_up("", POOL);
    tables(512, frame_each);
    touch(512, 16);
    for (unsigned i = 0; i < 512; i++)
        *entry(PDPT, i) = i == 0 ? *entry(PDPT, 0) : 0;
    begin();
    (void)fault(0, 0x123ull << 39, 0);
    for (unsigned i = 0; i < 8; i++)
        put(0, PD, i, 0);
    (void)mmu_audit(&mmu[0], 3);
    (void)end("audit of everything");
    rig_up("mmu=ref", POOL);
    tables(512, frame_each);
    touch(512, 16);
    begin();
    flush();
    (void)end("the reference pager forgets everything");
}

static uint64_t root_recycled(unsigned n)
{
    return big_tree(n, "root recycled");
}
static uint64_t parked(unsigned n)
{
    return big_tree(n, "parked");
}
static uint64_t overflow(unsigned n)
{
    return big_tree(n, "overflow");
}
static uint64_t init(unsigned n)
{
    return big_tree(n, "INIT");
}
static uint64_t listed_uppers(unsigned n)
{
    return listed(n, 1);
}
static uint64_t listed_leaves(unsigned n)
{
    return listed(n, 0);
}

int main(void)
{
    static const struct {
        const char *what;
        uint64_t (*test)(unsigned n);
        unsigned n;
    } all[] = {
        {"aliases", aliases, 32},
        {"aliases cleared", aliases_cleared, 32},
        {"aliases asked for", aliases_asked, 32},
        {"parents", parents, 8},
        {"root recycled", root_recycled, 256},
        {"parked", parked, 256},
        {"overflow", overflow, 256},
        {"INIT", init, 256},
        {"listed", listed_leaves, 256},
        {"listed, with tables above", listed_uppers, 256},
        {"listed for long", listed_long, 256},
        {"aged", aged, 500},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        uint64_t one = all[i].test(all[i].n);
        linear(one, all[i].test(2 * all[i].n), all[i].what);
    }
    many_large();
    drain_waits();
    few_pages();
    rest();
    return tap_done();
}
