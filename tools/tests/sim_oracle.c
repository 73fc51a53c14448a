/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulator's oracle: which translations a CPU may use at a moment (SDM vol. 3 4.10 "Caching
 * Translation Information", APM vol. 2 5.5 "Translation-Lookaside Buffer"). Every value a paging
 * entry ever had is kept with the time it was written and the time the store that replaced it
 * retired. A translation is allowed if some walk could have made it: upper entries read at times
 * after the last flush of the paging-structure caches, the leaf after the last invalidation of its
 * page, in the order of the walk. Nothing is cached from an entry without A, nothing is writable
 * without D. Tested with the simulator. */
#include "tools/tests/sim.h"

#define VERSIONS 96
#define NEVER UINT32_MAX
#define PENDING 32
#define EPOCHS                                                                                     \
    32 /* flushes of the structure caches remembered; of two merged ones all is allowed */

struct version {
    uint64_t value;
    uint32_t from, to; /* to: NEVER while current, or until the replacing store retires */
    uint8_t writer;    /* CPU + 1 whose store replaces it and has not retired */
};
struct history {
    unsigned n; /* the last one is current */
    bool lost;  /* too many: anything goes */
    struct version v[VERSIONS];
};
struct times {
    uint32_t psc[EPOCHS], npsc;   /* flushes of the structure caches since the one of everything */
    uint32_t all;                 /* last flush of everything */
    uint32_t page[SIM_SLOTS];     /* last invalidation of one 4 KiB page ... */
    uint32_t page_psc[SIM_SLOTS]; /* ... and of what was used to translate it */
    uint32_t region[64], huge[16];
};
static struct history hist[SIM_TRACKED][SIM_ENTRIES];
static struct times times[SIM_CPUS][SIM_PCIDS];
static struct {
    unsigned n;
    struct history *h[PENDING];
} pending[SIM_CPUS];
static uint32_t now;
static bool retired_cpu[SIM_CPUS];

struct query {
    unsigned c;
    uint64_t va, gfn;
    uint32_t access, psc, end, fresh; /* the walk's entries were read within [psc, end) */
    const struct times *t;            /* NULL: everything must be as new as `fresh` */
    bool cached;                      /* A, and D for writes, must have been set */
    bool want_fault;
    uint32_t pfec;
};
struct rights {
    bool w, u, nx;
};

uint32_t oracle_now(void)
{
    return ++now;
}

static int tracked_of(uint64_t gfn)
{
    if (gfn - SIM_TABLE_GFN < SIM_TABLES)
        return (int)(gfn - SIM_TABLE_GFN);
    if (gfn - SIM_DATA_GFN < SIM_DATA)
        return (int)(gfn - SIM_DATA_GFN + SIM_TABLES);
    if (gfn - SIM_WINDOW_GFN < 3)
        return (int)(gfn - SIM_WINDOW_GFN + SIM_MAPPED);
    return -1;
}

static unsigned pcid_of(uint64_t cr3)
{
    int t = tracked_of((cr3 & PTE_ADDR) >> 12);
    return t < 0 ? 0 : (unsigned)t;
}

static uint64_t memory_at(uint64_t gpa_v)
{
    const uint64_t *p = p2m_ptr(&sim.p2m, gpa(gpa_v));
    return p ? *p : ~0ull;
}

void oracle_reset(void)
{
    now = 1;
    memset(times, 0, sizeof(times));
    memset(pending, 0, sizeof(pending));
    memset(retired_cpu, 0, sizeof(retired_cpu));
    for (unsigned t = 0; t < SIM_TRACKED; t++)
        for (unsigned i = 0; i < SIM_ENTRIES; i++) {
            uint64_t f = t < SIM_TABLES   ? SIM_TABLE_GFN + t
                         : t < SIM_MAPPED ? SIM_DATA_GFN + t - SIM_TABLES
                                          : SIM_WINDOW_GFN + t - SIM_MAPPED;
            hist[t][i].n = 1;
            hist[t][i].lost = false;
            hist[t][i].v[0] =
                (struct version){.value = memory_at((f << 12) + i * 8), .from = 1, .to = NEVER};
        }
}

void oracle_done(unsigned c)
{
    retired_cpu[c] = true;
}

/* Versions that ended before every CPU's last full flush can be seen by nobody. */
static void prune(struct history *h)
{
    uint32_t oldest = NEVER;
    unsigned k = 0;
    for (unsigned c = 0; c < sim.ncpus; c++)
        for (unsigned p = 0; p < SIM_PCIDS && !retired_cpu[c]; p++)
            if (times[c][p].all < oldest)
                oldest = times[c][p].all;
    for (unsigned i = 0; i < h->n; i++)
        if (h->v[i].to >= oldest)
            h->v[k++] = h->v[i];
    h->n = k;
    if (k == VERSIONS) {
        h->lost = true;
        h->v[0] = h->v[k - 1];
        h->n = 1;
    }
}

static void note(struct history *h, unsigned c, uint64_t value)
{
    struct version *last = &h->v[h->n - 1];
    bool in_store = sim_cpu[c].storing && pending[c].n < PENDING;
    if (last->value == value)
        return;
    now++;
    if (in_store) {
        last->writer = (uint8_t)(c + 1);
        pending[c].h[pending[c].n++] = h;
    } else {
        last->to = now;
    }
    /* A processor may set A and D for a walk made on speculation at any time since the entry got
     * its value, so what they allow began then. */
    uint32_t from = value == (last->value | (value & (PTE_A | PTE_D))) ? last->from : now;
    if (h->n == VERSIONS)
        prune(h);
    h->v[h->n++] = (struct version){.value = value, .from = from, .to = NEVER};
}

void oracle_wrote(unsigned c, uint64_t gpa_v)
{
    int t = tracked_of(gpa_v >> 12);
    unsigned i = (unsigned)(gpa_v & 4095) / 8;
    if (t >= 0 && i < SIM_ENTRIES)
        note(&hist[t][i], c, memory_at(gpa_v & ~7ull));
}

void oracle_retire(unsigned c)
{
    now++;
    for (unsigned k = 0; k < pending[c].n; k++) {
        struct history *h = pending[c].h[k];
        for (unsigned i = 0; i < h->n; i++)
            if (h->v[i].writer == c + 1) {
                h->v[i].writer = 0;
                h->v[i].to = now;
            }
    }
    pending[c].n = 0;
}

/* --- invalidations --- */

static struct times *current(unsigned c)
{
    return &times[c][pcid_of(sim_cpu[c].regs.cr3)];
}

void oracle_invlpg(unsigned c, uint64_t va)
{
    struct times *t = current(c);
    if (t->npsc == EPOCHS)
        memmove(t->psc + EPOCHS / 2, t->psc + EPOCHS / 2 + 1, (--t->npsc - EPOCHS / 2) * 4);
    t->psc[t->npsc++] = ++now;
    t->page[sim_slot(va)] = now;
    t->region[sim_slot(va) / 32] = now;
    t->huge[sim_slot(va) / 128] = now;
}

void oracle_page_fault(unsigned c, uint64_t va, uint32_t since)
{
    struct times *t = current(c);
    t->page[sim_slot(va)] = since;
    t->page_psc[sim_slot(va)] = since;
}

void oracle_flush_pcid(unsigned c, uint64_t cr3)
{
    struct times *t = &times[c][pcid_of(cr3)];
    t->all = ++now;
    t->npsc = 0;
}

void oracle_flush(unsigned c)
{
    now++;
    for (unsigned p = 0; p < SIM_PCIDS; p++) {
        times[c][p].all = now;
        times[c][p].npsc = 0;
    }
}

/* --- the walk over all histories --- */

static bool permitted(const struct query *q, struct rights r)
{
    const struct mmu_regs *g = &sim_cpu[q->c].regs;
    bool user = q->access & PFEC_U;
    if ((q->access & PFEC_I) && r.nx)
        return false;
    if (user && !r.u)
        return false;
    if ((q->access & PFEC_W) && !r.w && (user || (g->cr0 & CR0_WP)))
        return false;
    return !((q->access & PFEC_I) && !user && r.u && (g->cr4 & CR4_SMEP));
}

static bool fault_is(const struct query *q, uint32_t why)
{
    const struct mmu_regs *g = &sim_cpu[q->c].regs;
    bool fetch = (q->access & PFEC_I) && ((g->efer & EFER_NXE) || (g->cr4 & CR4_SMEP));
    return q->want_fault &&
           q->pfec == (why | (q->access & (PFEC_W | PFEC_U)) | (fetch ? PFEC_I : 0));
}

static uint32_t leaf_since(const struct query *q, unsigned level)
{
    unsigned slot = sim_slot(q->va);
    if (!q->t)
        return q->fresh;
    uint32_t s = q->t->all, p = q->t->page[slot];
    s = s > p ? s : p;
    if (level >= 2 && q->t->region[slot / 32] > s)
        s = q->t->region[slot / 32];
    if (level >= 3 && q->t->huge[slot / 128] > s)
        s = q->t->huge[slot / 128];
    return s;
}

static bool reserved(const struct query *q, uint64_t v, unsigned level)
{
    uint64_t bad = MASK(51, 40);
    if (!(sim_cpu[q->c].regs.efer & EFER_NXE))
        bad |= PTE_NX;
    if (level == 4)
        bad |= PTE_PS;
    if (level == 3 && (v & PTE_PS))
        bad |= MASK(29, 13);
    if (level == 2 && (v & PTE_PS))
        bad |= MASK(20, 13);
    return v & bad;
}

static bool search(const struct query *q, uint64_t table, unsigned level, uint32_t t,
                   struct rights r);

/* One value of one entry, read not before t. */
static bool search_value(const struct query *q, uint64_t v, unsigned level, uint32_t t,
                         struct rights r)
{
    bool leaf = level == 1 || (level < 4 && (v & PTE_PS));
    if (!(v & PTE_P))
        return fault_is(q, 0);
    if (reserved(q, v, level))
        return fault_is(q, PFEC_P | PFEC_RSVD);
    if (q->cached && !(v & PTE_A))
        return false;
    r.w = r.w && (v & PTE_W);
    r.u = r.u && (v & PTE_U);
    r.nx = r.nx || ((v & PTE_NX) && (sim_cpu[q->c].regs.efer & EFER_NXE));
    if (!leaf) {
        if (!p2m_ptr(&sim.p2m, gpa(v & PTE_ADDR)))
            return fault_is(q, PFEC_P | PFEC_RSVD);
        return search(q, (v & PTE_ADDR) >> 12, level - 1, t, r);
    }
    if (!permitted(q, r))
        return fault_is(q, PFEC_P);
    uint64_t frames = 1ull << (9 * (level - 1));
    uint64_t f = (((v & PTE_ADDR) >> 12) & ~(frames - 1)) | ((q->va >> 12) & (frames - 1));
    if (q->want_fault || f != q->gfn)
        return false;
    return !q->cached || !(q->access & PFEC_W) || (v & PTE_D);
}

static bool search(const struct query *q, uint64_t table, unsigned level, uint32_t t,
                   struct rights r)
{
    unsigned idx = (unsigned)(q->va >> (12 + 9 * (level - 1))) & 511;
    int k = tracked_of(table);
    if (k < 0 || idx >= SIM_ENTRIES) /* never changes */
        return search_value(q, memory_at((table << 12) + idx * 8ull), level, t, r);
    const struct history *h = &hist[k][idx];
    if (h->lost)
        return true;
    for (unsigned i = h->n; i-- > 0;) {
        const struct version *v = &h->v[i];
        bool leaf = level == 1 || (level < 4 && (v->value & PTE_PS));
        uint32_t at = leaf ? leaf_since(q, level) : q->psc;
        at = at > t ? at : t;
        at = at > v->from ? at : v->from;
        if (at <= v->to && at < q->end && search_value(q, v->value, level, at, r))
            return true;
    }
    return false;
}

static bool start(const struct query *q)
{
    if (!(sim_cpu[q->c].regs.cr0 & CR0_PG))
        return !q->want_fault && q->gfn == (q->va & 0xffffffff) >> 12;
    return search(q, (sim_cpu[q->c].regs.cr3 & PTE_ADDR) >> 12, 4, 0,
                  (struct rights){.w = true, .u = true});
}

/* What INVLPG does to the structure caches does not touch translations made before, so a walk may
 * have happened between any two such flushes. */
bool oracle_allows(unsigned c, uint64_t va, uint32_t access, uint64_t gfn)
{
    const struct times *t = current(c);
    struct query q = {.c = c, .va = va, .gfn = gfn, .access = access, .t = t, .cached = true};
    sim.checks++;
    q.end = NEVER;
    for (unsigned k = t->npsc + 1; k-- > 0;) {
        uint32_t p = t->page_psc[sim_slot(va)];
        q.psc = k ? t->psc[k - 1] : t->all;
        q.psc = q.psc > p ? q.psc : p;
        if (q.psc < q.end && start(&q))
            return true;
        q.end = q.psc;
    }
    return false;
}

bool oracle_faults(unsigned c, uint64_t va, uint32_t access, uint32_t since, uint32_t pfec)
{
    struct query q = {.c = c,
                      .va = va,
                      .access = access,
                      .psc = since,
                      .end = NEVER,
                      .fresh = since,
                      .want_fault = true,
                      .pfec = pfec};
    sim.faults++;
    return start(&q);
}

bool oracle_reaches(unsigned c, uint64_t va, uint32_t access, uint32_t since, uint64_t gfn)
{
    struct query q = {
        .c = c, .va = va, .access = access, .psc = since, .end = NEVER, .fresh = since, .gfn = gfn};
    return start(&q);
}

/* What a reader of a failure wants: the present walk, with each entry's older values. */
void oracle_print(uint64_t va, unsigned c)
{
    const struct times *ti = current(c);
    uint64_t table = (sim_cpu[c].regs.cr3 & PTE_ADDR) >> 12;
    if (sim_quiet)
        return;
    printf("# cpu %u va 0x%llx: structure caches since %u, all since %u, page since %u, now %u\n",
           c, (unsigned long long)va, ti->npsc ? ti->psc[ti->npsc - 1] : ti->all, ti->all,
           ti->page[sim_slot(va)], now);
    for (unsigned level = 4; level >= 1; level--) {
        unsigned idx = (unsigned)(va >> (12 + 9 * (level - 1))) & 511;
        int k = tracked_of(table);
        uint64_t v = memory_at((table << 12) + idx * 8ull);
        printf("#  level %u table 0x%llx [%u] = 0x%llx", level, (unsigned long long)table, idx,
               (unsigned long long)v);
        for (unsigned i = 0; k >= 0 && idx < SIM_ENTRIES && i + 1 < hist[k][idx].n; i++)
            printf(" (0x%llx %u..%u)", (unsigned long long)hist[k][idx].v[i].value,
                   hist[k][idx].v[i].from, hist[k][idx].v[i].to);
        printf("\n");
        if (!(v & PTE_P) || (level < 4 && (v & PTE_PS)))
            break;
        table = (v & PTE_ADDR) >> 12;
    }
}
