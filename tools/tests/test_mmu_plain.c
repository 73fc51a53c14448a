/* SPDX-License-Identifier: BSD-2-Clause */
/* The plain fault beside the long way: every kind of entry under every kind of access, with what
 * may be there before, below links of all rights, in a table that is listed and in one that is not.
 * Both are to say and to leave behind the same. */
#include "tools/tests/mmu_rig.h"

#define VA(t, i) ((uint64_t)(t) << 21 | (uint64_t)(i) << 12)
#define AD (PTE_A | PTE_D)
#define FIRST 2u /* entry 1 is for the way to the table */

static const struct {
    uint64_t bits;
    uint64_t frame; /* 0: one of its own */
    const char *what;
} entries[] = {{0, 0, "not there"},
               {PTE_A | PTE_W, 0, "not there, other bits set"},
               {ALL, 0, "never used"},
               {ALL | PTE_A, 0, "read before"},
               {ALL | AD, 0, "written before"},
               {PTE_P | PTE_U | AD, 0, "not to be written"},
               {PTE_P | PTE_U, 0, "not to be written, never used"},
               {PTE_P | PTE_W | AD, 0, "the supervisor's"},
               {ALL | AD | PTE_NX, 0, "no code"},
               {ALL | AD | BIT(45), 0, "a reserved bit"},
               {ALL | AD, 1ull << 24, "no RAM"},
               {ALL | AD, PD, "a table"},
               {ALL | PTE_A, PD, "a table, clean"}};
static const uint32_t accesses[] = {0,      PFEC_W,          PFEC_U, PFEC_U | PFEC_W,
                                    PFEC_I, PFEC_U | PFEC_I, PFEC_P, PFEC_P | PFEC_U | PFEC_W};
/* Of the entry, when something is made before it changes: nothing, a read, a store; another frame.
 */
enum before { NOTHING, READ, STORE, ELSEWHERE, BEFORES };
#define CASES (ARRAY_SIZE(entries) * ARRAY_SIZE(accesses) * BEFORES)

static const struct config {
    uint64_t link; /* the entry above */
    uint64_t cr4;
    bool ac, listed, nonxe;
    const char *what;
    bool direct; /* directpf=on */
} configs[] = {{ALL, 0, false, false, false, "all rights", false},
               {ALL, 0, false, true, false, "listed", false},
               {PTE_P | PTE_U, 0, false, false, false, "links without W", false},
               {PTE_P | PTE_W, 0, false, false, false, "links without U", false},
               {ALL | PTE_NX, 0, false, true, false, "links with NX, listed", false},
               {ALL, 0, false, true, true, "without EFER.NXE", false},
               {ALL, CR4_SMEP | CR4_SMAP, false, false, false, "SMEP and SMAP", false},
               {ALL, CR4_SMEP | CR4_SMAP, true, true, false, "SMEP, SMAP and AC, listed", false},
               {ALL, 0, false, false, false, "faults without an exit", true},
               {ALL, 0, false, true, false, "faults without an exit, listed at first", true},
               {ALL, 0, false, false, true, "they cannot be: without EFER.NXE", true}};

struct result {
    enum mmu_verdict verdict;
    uint32_t pfec;
    uint64_t cr2, gpa, entry, leaf, word, events, forwarded, hidden;
    bool lost;
};
static struct result found[2][CASES];
static unsigned unwalked;

static uint64_t frame_of(unsigned k, unsigned idx)
{
    return entries[k].frame ? entries[k].frame : 512ull + idx;
}

static void start(const struct config *c)
{
    rig_up(c->direct ? "batch=off dying=off directpf=on" : "batch=off dying=off upper=off", 128);
    if (c->nonxe)
        regs[0].efer &= ~EFER_NXE;
    mmu_reset(&mmu[0], &regs[0]);
    *entry(PD, 0) = PT << 12 | c->link;
    fake_set_cpu(0);
    (void)fault(0, VA(0, 1), c->link & PTE_U ? PFEC_U : 0);
    if (c->listed)
        give_up(0, PT);
    regs[0].cr4 |= c->cr4;
    mmu_event_mode(&mmu[0], &regs[0]);
}

/* As a store of the guest's: seen by its trace, or of no interest to it. */
static void set_entry(unsigned idx, uint64_t v)
{
    if (trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC)
        *entry(PT, idx) = v;
    else
        put(0, PT, idx, v);
    mmu_drain(&mmu[0]);
}

static void make_before(const struct config *c, enum before b, unsigned idx)
{
    uint32_t user = c->link & PTE_U ? PFEC_U : 0;

    set_entry(idx, (512ull + idx + (b == ELSEWHERE ? 200 : 0)) << 12 | ALL);
    if (b != NOTHING)
        (void)fault(0, VA(0, idx), user | (b == STORE || b == ELSEWHERE ? PFEC_W : 0));
}

static void one(const struct config *c, bool plain, unsigned n)
{
    struct mmu *m = &mmu[0];
    unsigned idx = FIRST + n, k = n % ARRAY_SIZE(entries), rest = n / ARRAY_SIZE(entries);
    uint32_t access = accesses[rest % ARRAY_SIZE(accesses)];
    struct result *r = &found[plain][n];
    struct mmu_root root;

    make_before(c, (enum before)(rest / ARRAY_SIZE(accesses)), idx);
    set_entry(idx, frame_of(k, idx) << 12 | entries[k].bits);
    mmu_enter(m, &root);
    mmu_entered(m, &root);
    for (unsigned i = 0; !plain && i < MMU_PATHS; i++)
        m->path[i].table = NULL;
    uint64_t walks = stat_of(0, STAT_walks), epoch = m->epoch, lost = m->downgrades;
    uint64_t f = stat_of(0, STAT_faults_forwarded), h = stat_of(0, STAT_faults_hidden);
    memset(&out, 0, sizeof(out));
    r->verdict = mmu_fault(m, gva(VA(0, idx)), access, c->ac, &out);
    unwalked += stat_of(0, STAT_walks) == walks;
    r->pfec = out.fault.pfec;
    r->cr2 = out.fault.cr2.v;
    r->gpa = r->verdict == MMU_EMULATE || r->verdict == MMU_MMIO ? out.gpa.v : 0;
    r->events = m->epoch - epoch;
    r->lost = m->downgrades != lost;
    r->forwarded = stat_of(0, STAT_faults_forwarded) - f;
    r->hidden = stat_of(0, STAT_faults_hidden) - h;
    r->entry = *entry(PT, idx);
    r->leaf = leaf(0, VA(0, idx));
    r->word = trace_word(m->coh, gfn(frame_of(k, idx)));
}

static bool same(const struct result *a, const struct result *b)
{
    return a->verdict == b->verdict && a->pfec == b->pfec && a->cr2 == b->cr2 && a->gpa == b->gpa &&
           a->entry == b->entry && a->leaf == b->leaf && a->word == b->word &&
           a->events == b->events && a->forwarded == b->forwarded && a->hidden == b->hidden &&
           a->lost == b->lost;
}

static void test_both(void)
{
    _Static_assert(FIRST + CASES <= 512, "an entry each");
    for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
        unsigned bad = 0, without[2] = {0};
        for (unsigned plain = 0; plain < 2; plain++) {
            start(&configs[i]);
            unwalked = 0;
            for (unsigned n = 0; n < CASES; n++)
                one(&configs[i], plain, n);
            without[plain] = unwalked;
            tap_eq(mmu_audit(&mmu[0], 3), 0, "... nothing for the audit to find");
        }
        for (unsigned n = 0; n < CASES; n++) {
            unsigned k = n % ARRAY_SIZE(entries), rest = n / ARRAY_SIZE(entries);
            if (same(&found[0][n], &found[1][n]))
                continue;
            bad++;
            printf("# %s: %s, access 0x%x, before %u: leaf 0x%llx and 0x%llx\n", configs[i].what,
                   entries[k].what, accesses[rest % ARRAY_SIZE(accesses)],
                   (unsigned)(rest / ARRAY_SIZE(accesses)), (unsigned long long)found[0][n].leaf,
                   (unsigned long long)found[1][n].leaf);
        }
        tap_eq(bad, 0, configs[i].what);
        tap_eq(without[0], 0, "... the long way walks");
        tap_ok(without[1] > CASES / 4, "... the other does not, and is taken");
    }
}

/* Way known: the fault after the first one below a new table is the one that remembers it. */
static void used_twice(void)
{
    (void)fault(0, VA(0, 1), PFEC_U | PFEC_W);
    (void)fault(0, VA(0, 2), PFEC_U | PFEC_W);
}

static void set_nxe(bool on)
{
    regs[0].efer = on ? regs[0].efer | EFER_NXE : regs[0].efer & ~EFER_NXE;
    mmu_event_mode(&mmu[0], &regs[0]);
}

/* A second page of the same table, of another mode: what the event must repair is not in one page
 * alone. */
static void test_alias(void)
{
    rig_up("batch=off fresh=off", 128);
    used_twice();
    uint32_t page = sp_find(&mmu[0], gfn(PT), 1, ROLE_NXE);
    tap_ok(page != SP_NONE && !mmu[0].sps[page].alias, "one page of a table");
    set_nxe(false);
    (void)fault(0, VA(0, 3), PFEC_U);
    uint32_t other = sp_find(&mmu[0], gfn(PT), 1, 0);
    set_nxe(true);
    tap_ok(other != SP_NONE && mmu[0].sps[page].alias && mmu[0].sps[other].alias,
           "... another beside it, and each knows");
    (void)fault(0, VA(0, 4), PFEC_U);
    give_up(0, PT);
    tap_ok(*sp_spte(&mmu[0], other, 3) & PTE_P, "the other has a spte that the one has not");
    *entry(PT, 3) = 0;
    tap_ok(forwarded(0, VA(0, 3), PFEC_U, PFEC_U), "a fault of the guest's");
    tap_eq(*sp_spte(&mmu[0], other, 3), 0, "... is an event for both");
}

/* What was translated before the guest got a fault is translated anew. */
static void test_event(void)
{
    struct guest_fault f;
    gpa_t at = gpa(0);

    rig_up("batch=off", 128);
    used_twice();
    tap_eq(mmu_translate(&mmu[0], gva(VA(0, 2)), PFEC_U, &at, &f), HV_OK, "a translation");
    *entry(PT, 3) = 0;
    uint64_t walks = stat_of(0, STAT_walks), epoch = mmu[0].epoch;
    tap_ok(forwarded(0, VA(0, 3), PFEC_U, PFEC_U), "a fault of the guest's, of another page");
    tap_ok(stat_of(0, STAT_walks) == walks && mmu[0].epoch == epoch + 1, "... plain, and an event");
    *entry(PT, 2) = 700ull << 12 | ALL | AD;
    tap_ok(mmu_translate(&mmu[0], gva(VA(0, 2)), PFEC_U, &at, &f) == HV_OK && at.v == 700ull << 12,
           "... after which the page is where it is now");
}

/* What is left at the next event of any kind is left at a plain fault too. */
static void test_soon(void)
{
    rig_up("batch=off fresh=off", 128);
    used_twice();
    give_up(0, PT);
    unsync_leave_soon(&mmu[0], gfn(PT));
    *entry(PT, 3) = 0;
    tap_ok(forwarded(0, VA(0, 3), PFEC_U, PFEC_U), "a fault of the guest's");
    tap_ok(!mmu[0].leave_soon && !(trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC),
           "... and the table is left");
}

/* What another CPU posted comes first. */
static void test_pending(void)
{
    rig_up("batch=off fresh=off", 128);
    used_twice();
    (void)fault(1, VA(0, 1), PFEC_U | PFEC_W);
    put(1, PD, 0, (PT + 1) << 12 | ALL);
    tap_eq(fault(0, VA(0, 4), PFEC_U), MMU_RESUME, "a patch for a link is pending");
    tap_eq(leaf(0, VA(0, 4)) & PTE_ADDR, host_of(512 + 16 + 4), "... it is drained first");
}

/* The writer bit of a frame goes with its last writable spte, and with no other. */
static void test_last(void)
{
    rig_up("batch=off", 128);
    *entry(PT, 2) = *entry(PT, 1);
    used_twice();
    tap_ok(leaf(0, VA(0, 1)) & leaf(0, VA(0, 2)) & PTE_W, "a frame written by two addresses");
    put(0, PT, 1, 0);
    mmu_drain(&mmu[0]);
    tap_ok(!leaf(0, VA(0, 1)) && (trace_word(&coh[0], gfn(513)) & TRACE_WRITER(0)),
           "one goes: the CPU is its writer still");
    put(0, PT, 2, 0);
    mmu_drain(&mmu[0]);
    tap_ok(!leaf(0, VA(0, 2)) && !(trace_word(&coh[0], gfn(513)) & TRACE_WRITER(0)),
           "the other goes: it is no more");
}

/* Entry UPPER of the root, the kernel's half, leads to the first 2 MiB by one entry. */
#define UPPER 300u
#define FRAME(f) (0xffff000000000000ull | (uint64_t)UPPER << 39 | (uint64_t)(f) << 12)
#define PDPT_K 40ull
#define PD_K 41ull

static void window(void)
{
    rig_up("", 128);
    *entry(ROOT, UPPER) = PDPT_K << 12 | PTE_P | PTE_W | PTE_A;
    *entry(PDPT_K, 0) = PD_K << 12 | PTE_P | PTE_W | PTE_A;
    *entry(PD_K, 0) = PTE_P | PTE_W | PTE_PS | AD;
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, FRAME(PD), 0);
    (void)fault(0, FRAME(100), 0);
    (void)path_of(&mmu[0], gva(FRAME(PD))); /* what its links lead to is known */
}

/* A store to a traced table through a fragment of the kernel's large page: told without a walk, and
 * told the same by one. */
static void test_traced(void)
{
    for (unsigned way = 0; way < 2; way++) {
        window();
        uint64_t walks = stat_of(0, STAT_walks);
        if (way)
            memset(mmu[0].path, 0, sizeof(mmu[0].path));
        tap_eq(fault(0, FRAME(PD) + 16, PFEC_W), MMU_EMULATE, "a store to a traced table");
        tap_eq(out.gpa.v, PD << 12 | 16, "... goes there");
        tap_eq(stat_of(0, STAT_walks) - walks, way, way ? "... by a walk" : "... without one");
    }
    window();
    tap_eq(fault(0, FRAME(100), PFEC_W), MMU_RESUME, "a frame that is no table may be written");
    tap_ok(leaf(0, FRAME(100)) & PTE_W, "... without exits");
    tap_ok(forwarded(0, FRAME(PD), PFEC_W | PFEC_U, PFEC_P | PFEC_W | PFEC_U), "not by a user");
    put(0, PD_K, 0, PTE_P | PTE_PS | AD);
    mmu_event_invlpg(&mmu[0], gva(FRAME(0)));
    (void)fault(0, FRAME(PD), 0);
    (void)path_of(&mmu[0], gva(FRAME(PD)));
    tap_ok(forwarded(0, FRAME(PD), PFEC_W, PFEC_P | PFEC_W), "not where the entry has no W");
    window();
    put(0, PD_K, 0, PTE_P | PTE_W | PTE_PS | PTE_A);
    mmu_event_invlpg(&mmu[0], gva(FRAME(0)));
    (void)fault(0, FRAME(PD), 0);
    (void)path_of(&mmu[0], gva(FRAME(PD)));
    tap_eq(fault(0, FRAME(PD), PFEC_W), MMU_EMULATE, "an entry that was never written by");
    tap_ok(*entry(PD_K, 0) & PTE_D, "... has D then");
    window();
    for (unsigned i = 0; i < 8; i++)
        if (fault(0, FRAME(PD) + 8, PFEC_W) != MMU_EMULATE)
            break;
    tap_ok(trace_word(&coh[0], gfn(PD)) & TRACE_UNSYNC, "a table stored to often is given up");
    tap_ok(leaf(0, FRAME(PD)) & PTE_W, "... and writable");
    window();
    give_up(0, PT);
    (void)fault(0, FRAME(PT), 0);
    tap_eq(fault(0, FRAME(PT), PFEC_W), MMU_RESUME, "what is unsync is not emulated");
}

/* A plain store of 8 bytes: the own shadow follows at once, the other CPU's by its patch. */
static void test_own_store(void)
{
    rig_up("", 128);
    for (unsigned c = 0; c < 2; c++)
        (void)fault(c, VA(0, 1), PFEC_U);
    fake_set_cpu(0);
    uint64_t lost = mmu[0].downgrades;
    tap_ok(gmem_store_entry(&mmu[0], gpa(PT << 12 | 8), 600ull << 12 | ALL | PTE_A), "a store");
    tap_eq(*entry(PT, 1), 600ull << 12 | ALL | PTE_A, "... is made");
    tap_ok(!consumer_pending(&coh[0]) && mmu[0].downgrades != lost, "nothing waits for its CPU");
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(600), "... whose shadow has it");
    tap_eq(leaf(1, VA(0, 1)) & PTE_ADDR, host_of(513), "the other CPU's has not");
    tap_ok(consumer_pending(&coh[1]), "... and is told");
    fake_set_cpu(1);
    mmu_drain(&mmu[1]);
    tap_eq(leaf(1, VA(0, 1)) & PTE_ADDR, host_of(600), "... and has it then");
    fake_set_cpu(0);
    uint64_t xlate = mmu[0].xlate_gen;
    tap_ok(gmem_store_entry(&mmu[0], gpa(PD << 12), 0), "a table's entry above");
    tap_ok(sp_first(&mmu[0], gfn(PT)) == SP_NONE, "... takes the table's shadow with it");
    tap_ok(sp_first(&mmu[0], gfn(PDPT)) == SP_NONE, "... and those that are empty for it");
    tap_ok(mmu[0].xlate_gen != xlate, "... and what the emulator remembers");
    tap_ok(!gmem_store_entry(&mmu[0], gpa(PD << 12 | 4), 0), "not over two entries");
    tap_ok(!gmem_store_entry(&mmu[0], gpa(1ull << 36), 0), "not where no RAM is");
}

int main(void)
{
    test_both();
    test_traced();
    test_own_store();
    test_alias();
    test_event();
    test_soon();
    test_pending();
    test_last();
    rig_down();
    return tap_done();
}
