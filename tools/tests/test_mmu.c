/* SPDX-License-Identifier: BSD-2-Clause */
/* The pager on a simulated machine: several CPUs, each with a TLB that never forgets unless told
 * to, random guest page-table programs, and the set of translations x86 allows as the oracle (SDM
 * vol. 3 4.10 "Caching Translation Information"). One thread; the scheduler picks a CPU per step,
 * so a seed replays. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include "arch-x86/defs/x86.h"
#include "hv/coherency/actions.h"
#include "hv/mmu/gmem.h"
#include "hv/mmu/internal.h"

#define NCPU 4
#define GRANULES 8
#define NTABLES 24 /* table pages, gfn 16.. */
#define NVA 24     /* addresses the guest program uses */
#define NROOT 2
#define SETMAX 48
#define WINDOW (3ull << 21) /* the tables are mapped here */
#define POOL_HPA 0x40000000ull

struct tr {
    uint64_t pfn;
    bool w, u;
};
struct trset {
    unsigned n;
    bool wild; /* overflowed: anything goes */
    struct tr t[SETMAX];
};
struct tlb {
    bool valid;
    uint64_t pfn;
    bool w, u, global;
};
static struct hv_options opt;
static struct coherency co;
static struct channel matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct p2m p2m;
static uint32_t granule[GRANULES];
static struct coh_cpu coh[NCPU];
static struct mmu mmu[NCPU];
static struct mmu_regs regs[NCPU];
static void *pool[NCPU];
static void *words;
static struct tlb tlb[NCPU][MMU_ROOTS + 1][NVA + NTABLES];
static struct trset allowed[NCPU][NVA];
static uint64_t hist[NCPU][NTABLES][512 / 64]; /* entries changed since the last PSC flush */
static uint64_t hval[NCPU][NTABLES][4][6];     /* values of the non-leaf entries used, since then */
static unsigned hn[NCPU][NTABLES][4];
static uint64_t rng;
static unsigned ncpu;
static bool bad;
static char badtext[256];

static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

static uint64_t *table(unsigned t)
{
    return p2m_ptr(&p2m, gpa((16ull + t) << 12));
}

/* Tables: 0,1 roots; 2,3 PDPTs; 4..7 PDs; 8..15 PTs; 16 the window's PT. */
static gva_t va_of(unsigned i)
{
    /* two PDPT slots... all under PML4 0, PDPT 0..1, PD 0..1, four pages each and one beyond */
    return gva(((uint64_t)(i & 1) << 30) | ((uint64_t)((i >> 1) & 1) << 21) |
               ((uint64_t)(i >> 2) << 12));
}

static uint64_t table_pte(unsigned t)
{
    return ((16ull + t) << 12) | PTE_P | PTE_W | PTE_U | PTE_A;
}

static void fail(const char *fmt, ...)
{
    va_list ap;
    if (bad)
        return;
    bad = true;
    va_start(ap, fmt);
    vsnprintf(badtext, sizeof(badtext), fmt, ap);
    va_end(ap);
}

/* --- oracle --- */

static void add(struct trset *s, struct tr t)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->t[i].pfn == t.pfn && s->t[i].w == t.w && s->t[i].u == t.u)
            return;
    if (s->n == SETMAX)
        s->wild = true;
    else
        s->t[s->n++] = t;
}

static unsigned is_table(uint64_t gpte)
{
    uint64_t g = (gpte & PTE_ADDR) >> 12;
    return g >= 16 && g < 16 + NTABLES ? (unsigned)(g - 16) : NTABLES;
}

/* All complete translations of va a walk may produce now, with any cached value of upper entries.
 */
static void explore(unsigned c, unsigned t, unsigned level, gva_t va, struct tr acc,
                    struct trset *out)
{
    unsigned idx = va_index(va, level);
    uint64_t cand[7];
    unsigned n = 0;

    cand[n++] = table(t)[idx];
    if (level > 1 && idx < 4)
        for (unsigned k = 0; k < hn[c][t][idx]; k++)
            cand[n++] = hval[c][t][idx][k];
    for (unsigned k = 0; k < n; k++) {
        uint64_t g = cand[k];
        struct tr a = acc;
        if (!(g & PTE_P))
            continue;
        a.w &= (g & PTE_W) != 0;
        a.u &= (g & PTE_U) != 0;
        if (gpte_is_leaf(g, level)) {
            uint64_t fr = level_frames(level);
            a.pfn = (((g & PTE_ADDR) >> 12) & ~(fr - 1)) | ((va.v >> 12) & (fr - 1));
            add(out, a);
        } else if (is_table(g) < NTABLES) {
            explore(c, is_table(g), level - 1, va, a, out);
        }
    }
}

static void explore_va(unsigned c, unsigned i)
{
    struct tr acc = {.w = true, .u = true};
    explore(c, (unsigned)((regs[c].cr3 >> 12) - 16), 4, va_of(i), acc, &allowed[c][i]);
}

static void psc_flush(unsigned c)
{
    memset(hn[c], 0, sizeof(hn[c]));
}

static void forget_va(unsigned c, unsigned i)
{
    allowed[c][i].n = 0;
    allowed[c][i].wild = false;
    explore_va(c, i);
}

static void forget_all(unsigned c)
{
    psc_flush(c);
    for (unsigned i = 0; i < NVA; i++)
        forget_va(c, i);
}

/* Before an entry changes: its old value may be cached as an upper entry by any CPU. */
static void note_change(unsigned t, unsigned idx, uint64_t old)
{
    for (unsigned c = 0; c < ncpu; c++) {
        if (idx >= 4 || !(old & PTE_P))
            continue;
        if (hn[c][t][idx] < 6)
            hval[c][t][idx][hn[c][t][idx]++] = old;
        else
            for (unsigned i = 0; i < NVA; i++)
                allowed[c][i].wild = true;
    }
}

static void note_changed(void)
{
    for (unsigned c = 0; c < ncpu; c++)
        for (unsigned i = 0; i < NVA; i++)
            explore_va(c, i);
}

/* --- the machine --- */

static bool serve_all(void *ctx)
{
    struct mmu *m = ctx;
    bool r = false;
    for (unsigned c = 0; c < ncpu; c++) {
        bool x;
        fake_set_cpu(c);
        x = mmu_serve(&mmu[c]);
        if (&mmu[c] == m)
            r = x;
    }
    fake_set_cpu(m->cpu);
    return r;
}

static struct tlb *tlb_at(unsigned c, uint32_t asid, gva_t va)
{
    unsigned i =
        va.v >= WINDOW && va.v < WINDOW + (NTABLES << 12)
            ? NVA + (unsigned)((va.v - WINDOW) >> 12)
            : (unsigned)(((va.v >> 30) & 1) | ((va.v >> 21) & 1) << 1 | ((va.v >> 12) & 511) << 2);
    return &tlb[c][asid][i];
}

static uint32_t enter(unsigned c)
{
    struct mmu_root r;
    mmu_enter(&mmu[c], &r);
    if (r.flush)
        memset(tlb[c][r.asid], 0, sizeof(tlb[c][r.asid]));
    mmu_entered(&mmu[c], &r);
    return r.asid;
}

/* The hardware: TLB, else a walk of the shadow tables. true: *out. */
static bool hw_access(unsigned c, uint32_t asid, gva_t va, bool write, bool user, struct tlb *out)
{
    struct tlb *e = tlb_at(c, asid, va);
    if (e->valid && (!write || e->w) && (!user || e->u)) {
        *out = *e;
        return true;
    }
    e->valid = false; /* a fault or a better walk replaces it */
    struct tlb t = {.valid = true, .w = true, .u = true};
    uint32_t p = mmu[c].roots[mmu[c].root].sp;
    for (unsigned level = 4;; level--) {
        uint64_t s = *sp_spte(&mmu[c], p, va_index(va, level));
        if (!(s & PTE_P))
            return false;
        t.w &= (s & PTE_W) != 0;
        t.u &= (s & PTE_U) != 0;
        if (spte_is_leaf(level, s)) {
            t.pfn = ((s & PTE_ADDR) >> 12) + (level == 2 ? (va.v >> 12) & 511 : 0);
            break;
        }
        p = spte_child(&mmu[c], s);
    }
    if ((write && !t.w) || (user && !t.u))
        return false;
    *e = t;
    *out = t;
    return true;
}

static uint64_t gfn_of_host(uint64_t pfn)
{
    return ((uint64_t)mmu[0].m2p[pfn >> 9] << 9) | (pfn & 511);
}

/* Current walk by the book: does this access fault? */
static bool must_fault(unsigned c, gva_t va, bool write, bool user)
{
    unsigned t = (unsigned)((regs[c].cr3 >> 12) - 16);
    bool w = true, u = true;
    for (unsigned level = 4;; level--) {
        uint64_t g = table(t)[va_index(va, level)];
        if (!(g & PTE_P))
            return true;
        w &= (g & PTE_W) != 0;
        u &= (g & PTE_U) != 0;
        if (gpte_is_leaf(g, level))
            break;
        t = is_table(g);
        if (t == NTABLES)
            return true;
    }
    return (write && !w) || (user && !u);
}

/* One guest access; *host gets the frame's memory, NULL after a guest fault. Emulated stores are
 * done here: *emulated. */
static uint64_t *guest_access(unsigned c, gva_t va, bool write, bool user, uint64_t value,
                              bool *emulated)
{
    uint32_t access = (write ? PFEC_W : 0) | (user ? PFEC_U : 0);
    *emulated = false;
    for (unsigned tries = 0; tries < 50; tries++) {
        uint32_t asid = enter(c);
        struct tlb t;
        if (hw_access(c, asid, va, write, user, &t)) {
            uint64_t f = gfn_of_host(t.pfn);
            if (va.v < WINDOW || va.v >= WINDOW + (NTABLES << 12)) {
                unsigned i = (unsigned)(tlb_at(c, asid, va) - &tlb[c][asid][0]);
                struct trset *s = &allowed[c][i];
                bool found = s->wild;
                for (unsigned k = 0; k < s->n; k++)
                    found |= s->t[k].pfn == f && (!write || s->t[k].w) && (!user || s->t[k].u);
                if (!found)
                    fail("cpu %u va %llx: frame %llx write %d user %d is not allowed", c,
                         (unsigned long long)va.v, (unsigned long long)f, write, user);
            }
            return p2m_ptr(&p2m, gpa((f << 12) | (va.v & 4095)));
        }
        struct mmu_fault_out out;
        struct guest_fault gf;
        uint64_t old;
        gpa_t at;
        switch (mmu_fault(&mmu[c], va, access, false, &out)) {
        case MMU_RESUME:
            continue;
        case MMU_FORWARD:
            if (!must_fault(c, va, write, user))
                fail("cpu %u va %llx: fault forwarded that the tables do not ask for", c,
                     (unsigned long long)va.v);
            for (unsigned i = 0; i < NVA; i++)
                if (va_of(i).v == va.v)
                    forget_va(c, i);
            return NULL;
        case MMU_EMULATE:
            if (gmem_xchg(&mmu[c], va, 8, value, access & PFEC_U, &old, &gf, &at) == HV_OK) {
                *emulated = true;
                return p2m_ptr(&p2m, out.gpa);
            }
            continue;
        default:
            fail("cpu %u va %llx: unexpected verdict", c, (unsigned long long)va.v);
            return NULL;
        }
    }
    fail("cpu %u va %llx: no progress", c, (unsigned long long)va.v);
    return NULL;
}

static void guest_store_pte(unsigned c, unsigned t, unsigned idx, uint64_t value)
{
    bool emulated;
    note_change(t, idx, table(t)[idx]);
    uint64_t *p = guest_access(c, gva(WINDOW + (t << 12) + idx * 8), true, false, value, &emulated);
    if (p && !emulated)
        *p = value;
    if (!p)
        fail("the window itself faulted");
    note_changed();
}

static uint64_t random_pte(unsigned level)
{
    uint64_t rights = PTE_P | (rnd(4) ? PTE_W : 0) | (rnd(3) ? PTE_U : 0);
    if (rnd(4) == 0)
        return 0;
    if (rnd(2))
        rights |= PTE_A | (rnd(2) ? PTE_D : 0);
    if (level == 1)
        return ((64 + rnd(12)) << 12) | rights;
    if (level == 2 && rnd(4) == 0)
        return ((2 + rnd(3)) << 21) | PTE_PS | rights;
    if (level == 2)
        return ((16 + 8 + rnd(8)) << 12) | rights | PTE_W | PTE_U;
    return ((16 + 4 + rnd(4)) << 12) | rights | PTE_W | PTE_U;
}

static void build_tables(void)
{
    for (unsigned t = 0; t < NTABLES; t++)
        memset(table(t), 0, 4096);
    for (unsigned r = 0; r < NROOT; r++)
        table(r)[0] = table_pte(2 + r);
    for (unsigned r = 0; r < NROOT; r++) {
        table(2 + r)[0] = table_pte(4 + 2 * r);
        table(2 + r)[1] = table_pte(5 + 2 * r);
        table(4 + 2 * r)[3] = table_pte(16); /* the window */
    }
    for (unsigned d = 4; d < 8; d++)
        for (unsigned i = 0; i < 2; i++)
            table(d)[i] = table_pte(8 + (d - 4) * 2 + i);
    for (unsigned t = 8; t < 16; t++)
        for (unsigned i = 0; i < 6; i++)
            table(t)[i] = ((64 + rnd(12)) << 12) | PTE_P | PTE_W | PTE_U;
    for (unsigned t = 0; t < NTABLES; t++)
        table(16)[t] = table_pte(t) | PTE_D;
}

static void machine_up(unsigned n)
{
    ncpu = n;
    fake_set_ncpus(n);
    memset(tlb, 0, sizeof(tlb));
    memset(allowed, 0, sizeof(allowed));
    memset(hn, 0, sizeof(hn));
    (void)hist;
    words = calloc(1, coherency_bytes(GRANULES * 512));
    memset(matrix, 0, sizeof(matrix));
    coherency_init(&co, n, GRANULES * 512, words, matrix, &opt);
    build_tables();
    for (unsigned c = 0; c < n; c++) {
        fake_set_cpu(c);
        coh_cpu_init(&coh[c], &co, c, NULL, NULL);
        pool[c] = aligned_alloc(4096, 2 << 20);
        struct mmu_config cfg = {.coh = &coh[c],
                                 .p2m = &p2m,
                                 .opt = &opt,
                                 .cpu = c,
                                 .pool = pool[c],
                                 .pool_hpa = hpa(POOL_HPA + c * 0x400000ull),
                                 .pool_bytes = 2 << 20,
                                 .nasids = 6,
                                 .phys_bits = 40,
                                 .nx_host = true};
        if (mmu_init(&mmu[c], &cfg) != HV_OK)
            fail("mmu_init");
        coh[c].serve = serve_all;
        coh[c].ctx = &mmu[c];
        action_online(&coh[c]);
        regs[c] = (struct mmu_regs){.cr0 = CR0_PE | CR0_PG | CR0_WP,
                                    .cr3 = 16 << 12,
                                    .cr4 = CR4_PAE | CR4_PGE,
                                    .efer = EFER_LME | EFER_LMA | EFER_NXE};
        mmu_reset(&mmu[c], &regs[c]);
    }
    for (unsigned c = 0; c < n; c++)
        forget_all(c);
}

static void machine_down(void)
{
    for (unsigned c = 0; c < ncpu; c++)
        free(pool[c]);
    free(words);
}

static void step(unsigned c)
{
    bool emulated;
    fake_set_cpu(c);
    mmu_serve(&mmu[c]);
    switch (rnd(12)) {
    case 0:
    case 1:
    case 2: { /* change a leaf entry, sometimes in a burst */
        unsigned n = rnd(4) ? 1 : 4;
        while (n--)
            guest_store_pte(c, 8 + (unsigned)rnd(8), (unsigned)rnd(6), random_pte(1));
        break;
    }
    case 3: /* an upper entry */
        if (rnd(3))
            guest_store_pte(c, 4 + (unsigned)rnd(4), (unsigned)rnd(2), random_pte(2));
        else
            guest_store_pte(c, 2 + (unsigned)rnd(2), 1, random_pte(3));
        break;
    case 4:
    case 5: {
        unsigned i = (unsigned)rnd(NVA);
        mmu_event_invlpg(&mmu[c], va_of(i));
        psc_flush(c);
        forget_va(c, i);
        memset(tlb_at(c, 1, va_of(i)), 0, 0);
        break;
    }
    case 6: /* CR3 load, same or other root */
        regs[c].cr3 = (16 + rnd(NROOT)) << 12;
        mmu_event_cr3(&mmu[c], regs[c].cr3, false);
        forget_all(c);
        break;
    case 7:
        if (rnd(8) == 0)
            mmu_idle(&mmu[c], rnd(4) == 0);
        break;
    default:
        (void)guest_access(c, va_of((unsigned)rnd(NVA)), rnd(2), rnd(2), 0, &emulated);
        break;
    }
    for (unsigned k = 0; k < ncpu && opt.audit; k++) {
        fake_set_cpu(k);
        if (mmu_audit(&mmu[k], 3))
            fail("audit finding on cpu %u", k);
    }
}

static void run(const char *name, unsigned n, unsigned steps, uint64_t seed)
{
    uint64_t posts = 0, unsync = 0, drains = 0;
    rng = seed * 0x9e3779b97f4a7c15ull + 1;
    bad = false;
    memset(hv_stats, 0, sizeof(hv_stats));
    machine_up(n);
    unsigned i;
    for (i = 0; i < steps && !bad; i++)
        step((unsigned)rnd(n));
    for (unsigned c = 0; c < n; c++) {
        posts += hv_stats[c].n[STAT_posts];
        drains += hv_stats[c].n[STAT_drains];
        unsync += hv_stats[c].n[STAT_unsync_in];
    }
    machine_down();
    if (!tap_ok(!bad, "%s: %u CPUs, %u steps, seed %llu (posts %llu drains %llu unsync %llu)", name,
                n, i, (unsigned long long)seed, (unsigned long long)posts,
                (unsigned long long)drains, (unsigned long long)unsync))
        tap_note("%s", badtext);
}

int main(int argc, char **argv)
{
    unsigned steps = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 6000;
    uint64_t seed0 = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;

    fake_reset();
    fake_arena(0x10000000, (GRANULES + 2) * 0x200000ull);
    for (unsigned g = 0; g < GRANULES; g++)
        granule[g] = 128 + (g * 2 + 1) % (GRANULES + 1); /* not the identity */
    p2m = (struct p2m){.granule = granule, .ngranules = GRANULES};
    for (unsigned v = 0; v < 9; v++) {
        options_parse(&opt,
                      v == 1   ? "unsync=off"
                      : v == 2 ? "coherency=locked"
                      : v == 3 ? "coherency=shootdown"
                      : v == 4 ? "interest=off"
                      : v == 5 ? "consumers=all derived=on"
                      : v == 6 ? "postpone=on"
                      : v == 7 ? "large=off batch=off overflow=shootdown"
                      : v == 8 ? "mmu=ref"
                               : "",
                      NULL);
        static const char *const names[] = {"default",   "unsync=off",         "locked",
                                            "shootdown", "interest=off",       "all derived",
                                            "postpone",  "no large, no batch", "reference"};
        opt.audit = v < 2 ? 3 : 0;
        for (unsigned s = 0; s < (v ? 2 : 4) && !bad; s++) {
            run(names[v], s & 1 ? 1 : v ? 3 : NCPU, v < 2 ? steps / 3 : steps, seed0 + s);
            bad = false;
        }
    }
    return tap_done();
}
