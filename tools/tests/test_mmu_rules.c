/* SPDX-License-Identifier: BSD-2-Clause */
/* Single rules of the pager that random programs meet too rarely: an entry that changes between its
 * read and the setting of A, what a drop request takes away, large pages that change under their
 * fragments, what INVLPG must apply. Two CPUs, one thread. hv/mmu/gpte.c and walk.c are compiled
 * into this test with a look at their loads of entries. */
#include <stdbool.h>
#include <stdint.h>

static uint64_t after_load(uint64_t value, const void *at);
#define __atomic_load_n(p, order) after_load(__atomic_load_n(p, order), p)
#include "hv/mmu/gpte.c"
#include "hv/mmu/walk.c"
#undef __atomic_load_n

#include "hv/mmu/gmem.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

#define NCPU 2
#define GRANULES 6
#define POOL_HPA 0x40000000ull
#define POOL_BYTES (2u << 20)
#define ROOT 16u /* table frames: root, PDPT, PD, PT, the window's PT, PDPT and PD of root 1 */
#define PDPT 17u
#define PD 18u
#define PT 19u
#define WINDOW_PT 20u
#define VA(i) gva((uint64_t)(i) << 12) /* by PT */
#define LARGE gva(1ull << 21)          /* by entry 1 of PD */
#define REGION(n) ((uint64_t)(n) << 9) /* first frame of region n */
#define USER (PTE_P | PTE_W | PTE_U | PTE_A)

static struct hv_options opt;
static struct coherency co;
static struct channel matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct p2m p2m;
static uint32_t granule[GRANULES];
static struct coh_cpu coh[NCPU];
static struct mmu mmu[NCPU];
static struct mmu_regs regs[NCPU];
static void *pool[NCPU], *words;

/* Another CPU's store right after our read of an entry: from `watch_from` to `watch_to`. */
static uint64_t *watch;
static uint64_t watch_to;
static unsigned watch_hits;

static uint64_t after_load(uint64_t value, const void *at)
{
    if (at == watch) {
        *watch = watch_to;
        watch = NULL;
        watch_hits++;
    }
    return value;
}

static uint64_t *entry(uint64_t frame, unsigned i)
{
    return (uint64_t *)p2m_ptr(&p2m, gfn_gpa(gfn(frame))) + i;
}

static bool serve_all(void *ctx)
{
    struct mmu *m = ctx;
    bool mine = false;
    for (unsigned c = 0; c < NCPU; c++) {
        fake_set_cpu(c);
        bool changed = mmu_serve(&mmu[c]);
        mine |= &mmu[c] == m && changed;
    }
    fake_set_cpu(m->cpu);
    return mine;
}

static void build_tables(void)
{
    for (unsigned f = ROOT; f < ROOT + 16; f++)
        memset(entry(f, 0), 0, PAGE_SIZE);
    *entry(ROOT, 0) = PDPT << 12 | USER;
    *entry(PDPT, 0) = PD << 12 | USER;
    *entry(PD, 0) = PT << 12 | USER;
    *entry(PD, 3) = WINDOW_PT << 12 | USER;
    for (unsigned i = 0; i < 16; i++)
        *entry(WINDOW_PT, i) = (uint64_t)(ROOT + i) << 12 | USER | PTE_D;
    for (unsigned i = 0; i < 16; i++)
        *entry(PT, i) = (64ull + i) << 12 | USER | PTE_D;
}

static void machine_new(const char *options)
{
    options_parse(&opt, options, NULL);
    free(words);
    words = calloc(1, coherency_bytes(GRANULES * 512ull));
    memset(&co, 0, sizeof(co));
    memset(matrix, 0, sizeof(matrix));
    coherency_init(&co, NCPU, GRANULES * 512ull, words, matrix, &opt);
    build_tables();
    for (unsigned c = 0; c < NCPU; c++) {
        fake_set_cpu(c);
        coh_cpu_init(&coh[c], &co, c, NULL, NULL);
        if (!pool[c])
            pool[c] = aligned_alloc(PAGE_SIZE, POOL_BYTES);
        struct mmu_config cfg = {.coh = &coh[c],
                                 .p2m = &p2m,
                                 .opt = &opt,
                                 .cpu = c,
                                 .pool = pool[c],
                                 .pool_hpa = hpa(POOL_HPA + c * 0x400000ull),
                                 .pool_bytes = POOL_BYTES,
                                 .nasids = 6,
                                 .phys_bits = 40};
        if (mmu_init(&mmu[c], &cfg) != HV_OK)
            exit(2);
        coh[c].serve = serve_all;
        coh[c].ctx = &mmu[c];
        action_online(&coh[c]);
        regs[c] = (struct mmu_regs){.cr0 = CR0_PE | CR0_PG | CR0_WP,
                                    .cr3 = ROOT << 12,
                                    .cr4 = CR4_PAE | CR4_PGE,
                                    .efer = EFER_LME | EFER_LMA | EFER_NXE};
        mmu_reset(&mmu[c], &regs[c]);
    }
}

/* The shadow leaf of va, 0: none; *level where it is. */
static uint64_t shadow(unsigned c, gva_t va, unsigned *level)
{
    struct mmu_root r;
    mmu_enter(&mmu[c], &r);
    mmu_entered(&mmu[c], &r);
    uint32_t p = mmu[c].roots[mmu[c].root].sp;
    for (*level = 4;; --*level) {
        uint64_t s = *sp_spte(&mmu[c], p, va_index(va, *level));
        if (!(s & PTE_P))
            return 0;
        if (spte_is_leaf(*level, s))
            return s;
        p = spte_child(&mmu[c], s);
    }
}

/* The frame a guest access reaches, UINT64_MAX: the guest gets a fault. */
static uint64_t reach(unsigned c, gva_t va, bool write)
{
    fake_set_cpu(c);
    for (unsigned tries = 0; tries < 40; tries++) {
        struct mmu_fault_out out;
        unsigned level;
        uint64_t s = shadow(c, va, &level);
        if (s && (!write || (s & PTE_W))) {
            uint64_t f = (s & PTE_ADDR) >> PAGE_SHIFT;
            f += level == 2 ? (va.v >> PAGE_SHIFT) & 511 : 0;
            return ((uint64_t)mmu[c].m2p[f >> 9] << 9) | (f & 511);
        }
        if (mmu_fault(&mmu[c], va, (write ? PFEC_W : 0) | PFEC_U, false, &out) == MMU_FORWARD)
            return UINT64_MAX;
    }
    tap_ok(false, "no progress at 0x%" PRIx64, va.v);
    return UINT64_MAX;
}

/* A store of CPU c to a traced entry, as the emulator makes it. */
static void store(unsigned c, uint64_t frame, unsigned i, uint64_t value)
{
    fake_set_cpu(c);
    (void)producer_exchange(&coh[c], gpa((frame << PAGE_SHIFT) + i * 8ull), entry(frame, i), 8,
                            value);
}

/* hv/mmu/README "Accessed and dirty bits": by compare-exchange against the walked value. */
static void test_mark(void)
{
    static const struct {
        uint64_t frame;
        unsigned i;
        const char *what;
    } t[] = {{PT, 1, "leaf"}, {PD, 0, "non-leaf"}};
    for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
        machine_new("");
        uint64_t *e = entry(t[k].frame, t[k].i);
        *e &= ~(PTE_A | PTE_D);
        watch = e;
        watch_to = 0; /* the other CPU unmaps it right after our read */
        watch_hits = 0;
        tap_eq(reach(0, VA(1), true), UINT64_MAX, t[k].what);
        tap_ok(watch_hits == 1 && *e == 0, "... entry unmapped behind the walk stays unmapped");
        machine_new("");
        *e &= ~(PTE_A | PTE_D);
        watch = e;
        watch_to = (*e & ~PTE_ADDR) | 90ull << 12;
        (void)reach(0, VA(1), true);
        tap_ok((*e & PTE_ADDR) == 90ull << 12, "... one that moved keeps its new frame");
        unsigned level;
        uint64_t s = shadow(0, VA(1), &level);
        tap_ok(k == 1 || (s & PTE_ADDR) >> 12 == (uint64_t)granule[0] * 512 + 90,
               "... and is what is shadowed");
    }
}

/* A drop request: every writable alias, 4 KiB and 2 MiB, W and D together. */
static void test_drop(void)
{
    unsigned level;
    machine_new("");
    tap_eq(reach(1, VA(2), true), 66, "CPU 1 writes frame 66");
    *entry(PD, 2) = 66ull << 12 | USER;
    memset(entry(66, 0), 0, PAGE_SIZE);
    tap_ok(shadow(1, VA(2), &level) & PTE_W, "... by a writable spte");
    (void)reach(0, gva(2ull << 21), false);
    tap_ok(trace_word(&coh[0], gfn(66)) & TRACE_CONSUMER(0), "CPU 0 uses it as a table");
    uint64_t s = shadow(1, VA(2), &level);
    tap_ok(s && !(s & (PTE_W | PTE_D)), "then it is neither writable nor dirty for CPU 1");
    tap_ok(!(trace_word(&coh[0], gfn(66)) & TRACE_WRITER(1)), "... which is no writer any more");

    machine_new("");
    *entry(PD, 1) = REGION(3) << 12 | USER | PTE_D | PTE_PS;
    tap_eq(reach(1, LARGE, true), REGION(3), "CPU 1 writes a 2 MiB page");
    s = shadow(1, LARGE, &level);
    tap_ok(level == 2 && (s & PTE_W), "... by one writable spte");
    *entry(PD, 2) = (REGION(3) + 5) << 12 | USER;
    memset(entry(REGION(3) + 5, 0), 0, PAGE_SIZE);
    (void)reach(0, gva(2ull << 21), false);
    tap_ok(trace_word(&coh[0], gfn(REGION(3) + 5)) & TRACE_CONSUMER(0),
           "CPU 0 uses a frame of it as a table");
    s = shadow(1, LARGE, &level);
    tap_ok(!s || level != 2 || !(s & PTE_W), "then CPU 1 has no writable 2 MiB spte over it");
    tap_eq(region_word(&coh[0], gfn(REGION(3))) & TRACE_CONSUMERS, 0, "... nor the region's bit");
}

/* Trap 26: a large page that changes loses every fragment. */
static void test_large(void)
{
    static const char *const mode[] = {"large=off", ""};
    for (unsigned k = 0; k < 2; k++) {
        machine_new(mode[k]);
        *entry(PD, 1) = REGION(3) << 12 | USER | PTE_D | PTE_PS;
        tap_eq(reach(0, gva(LARGE.v + 0x7000), true), REGION(3) + 7, "a part of a large page");
        store(1, PD, 1, REGION(4) << 12 | USER | PTE_D | PTE_PS);
        mmu_event_invlpg(&mmu[0], LARGE);
        tap_eq(reach(0, gva(LARGE.v + 0x7000), true), REGION(4) + 7,
               "... after the page moved and one INVLPG of it");
        store(1, PD, 1, PT << 12 | USER);
        mmu_event_invlpg(&mmu[0], LARGE);
        tap_eq(reach(0, gva(LARGE.v + 0x7000), true), 64 + 7, "... and after it became a table");
    }
}

/* Step 868: INVLPG covers its address and every non-leaf patch. */
static void test_invlpg(void)
{
    machine_new("");
    tap_eq(reach(0, VA(1), true), 65, "before");
    tap_eq(reach(0, VA(2), true), 66, "... its neighbour");
    store(1, PT, 1, 80ull << 12 | USER | PTE_D);
    store(1, PT, 2, 81ull << 12 | USER | PTE_D);
    fake_set_cpu(0);
    mmu_event_invlpg(&mmu[0], VA(1));
    tap_eq(reach(0, VA(1), true), 80, "INVLPG applies the patch of its address");
    tap_ok(consumer_pending(&coh[0]), "... and may leave the other");
    mmu_event_invlpg(&mmu[0], VA(2));
    tap_eq(reach(0, VA(2), true), 81, "until it is its turn");
    tap_ok(!consumer_pending(&coh[0]), "... and nothing is left");
}

/* The emulator's own translations end with the entry they come from. */
static void test_translate(void)
{
    struct guest_fault f;
    gpa_t at;
    machine_new("");
    tap_ok(mmu_translate(&mmu[0], VA(3), PFEC_U, &at, &f) == HV_OK && at.v >> 12 == 67, "before");
    store(1, PT, 3, 82ull << 12 | USER | PTE_D);
    fake_set_cpu(0);
    mmu_event_invlpg(&mmu[0], VA(3));
    tap_ok(mmu_translate(&mmu[0], VA(3), PFEC_U, &at, &f) == HV_OK && at.v >> 12 == 82,
           "after INVLPG the emulator sees the new frame");
    store(1, PT, 3, 0);
    mmu_event_invlpg(&mmu[0], VA(3));
    tap_ok(mmu_translate(&mmu[0], VA(3), PFEC_U, &at, &f) == HV_FAULT, "... or none");
}

/* Code bytes come from where the processor took them: the shadow tables, large pages included. */
static void test_code(void)
{
    struct mmu_where where;
    hpa_t h;

    machine_new("");
    tap_ok(!mmu_code(&mmu[0], VA(3), &where), "no shadow of it: no code");
    tap_eq(reach(0, VA(3), false), 67, "used once");
    tap_ok(p2m_lookup(&p2m, gpa(67 << 12 | 0x123), &h) &&
               mmu_code(&mmu[0], gva(VA(3).v + 0x123), &where) == port_ptr(h),
           "a 4 KiB page");
    *entry(PD, 1) = REGION(3) << 12 | USER | PTE_D | PTE_PS;
    tap_eq(reach(0, gva(LARGE.v + 0x7000), true), REGION(3) + 7, "a part of a large page used");
    tap_ok(p2m_lookup(&p2m, gpa((REGION(3) + 7) << 12 | 0xff0), &h) &&
               mmu_code(&mmu[0], gva(LARGE.v + 0x7ff0), &where) == port_ptr(h),
           "... its code");
    store(1, PT, 3, 0);
    fake_set_cpu(0);
    mmu_event_invlpg(&mmu[0], VA(3));
    tap_ok(!mmu_code(&mmu[0], VA(3), &where), "gone with the entry");
    tap_ok(!where.loc1 && !mmu_code_there(&mmu[0], &where), "... and nowhere");
    store(1, PT, 3, 67ull << 12 | USER);
    fake_set_cpu(0);
    (void)reach(0, VA(3), false);
    (void)reach(0, VA(4), false);
    tap_ok(mmu_code(&mmu[0], VA(3), &where) && mmu_code_there(&mmu[0], &where), "there again");
    struct mmu_where other = where;
    other.root++;
    tap_ok(!mmu_code_there(&mmu[0], &other), "... not below another root");
    store(1, PT, 4, 0);
    fake_set_cpu(0);
    uint64_t losses = mmu_code_losses(&mmu[0]);
    mmu_event_invlpg(&mmu[0], VA(4));
    tap_ok(mmu_code_losses(&mmu[0]) != losses && mmu_code_there(&mmu[0], &where),
           "still there when a neighbour was lost");
    store(1, PT, 3, 68ull << 12 | USER);
    fake_set_cpu(0);
    mmu_event_invlpg(&mmu[0], VA(3));
    tap_ok(!mmu_code_there(&mmu[0], &where), "not when the entry maps another frame");
    (void)reach(0, VA(3), false);
    (void)mmu_code(&mmu[0], VA(3), &where);
    tap_ok(mmu_code_there(&mmu[0], &where), "found anew");
    *entry(PD, 2) = PT << 12 | USER; /* so that the table stays */
    (void)reach(0, gva(2ull << 21 | 3 << 12), false);
    tap_ok(mmu_code_there(&mmu[0], &where), "... a new link hides nothing");
    store(1, PD, 0, 0);
    fake_set_cpu(0);
    mmu_event_invlpg(&mmu[0], VA(3));
    tap_ok(!mmu_code_there(&mmu[0], &where), "not when a link above went");
}

/* What a TLB may not go on using moves the flush generation; what only adds rights does not. */
static void test_generation(void)
{
    static const struct {
        uint64_t from, to;
        bool flush;
        const char *what;
    } t[] = {
        {USER | PTE_D, (USER | PTE_D) & ~PTE_W, true, "W lost: flush"},
        {USER | PTE_D, (USER | PTE_D) & ~PTE_U, true, "U lost: flush"},
        {(USER | PTE_D) & ~PTE_U, USER | PTE_D, true, "U gained: flush, for SMEP and SMAP"},
        {USER | PTE_D, USER | PTE_D | PTE_NX, true, "NX gained: flush"},
        {USER | PTE_D | PTE_NX, USER | PTE_D, false, "NX lost: no flush"},
        {(USER | PTE_D) & ~PTE_W, USER | PTE_D, false, "W gained: no flush"},
    };
    for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
        machine_new("");
        unsigned level;
        *entry(PT, 4) = 68ull << 12 | t[k].from;
        fake_set_cpu(0);
        struct mmu_fault_out out;
        (void)!mmu_fault(&mmu[0], VA(4), t[k].from & PTE_U ? PFEC_U : 0, false, &out);
        tap_ok(shadow(0, VA(4), &level) != 0, "mapped");
        uint64_t before = mmu[0].downgrades;
        store(1, PT, 4, 68ull << 12 | t[k].to);
        fake_set_cpu(0);
        mmu_event_invlpg(&mmu[0], VA(4));
        tap_eq(mmu[0].downgrades != before, t[k].flush, t[k].what);
    }
}

int main(void)
{
    fake_reset();
    fake_arena(0x10000000, (GRANULES + 2) * 0x200000ull);
    for (unsigned g = 0; g < GRANULES; g++)
        granule[g] = 128 + (g + 1) % GRANULES; /* not the identity */
    p2m = (struct p2m){.granule = granule, .ngranules = GRANULES};
    test_mark();
    test_generation();
    test_drop();
    test_large();
    test_invlpg();
    test_translate();
    test_code();
    return tap_done();
}
