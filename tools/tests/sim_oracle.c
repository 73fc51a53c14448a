/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulator's oracle: which translations a CPU may use at a moment (SDM vol. 3 4.10 "Caching
 * Translation Information", APM vol. 2 5.5 "Translation-Lookaside Buffer"). Every value a paging
 * entry ever had is kept with the time it was written and the time at which the store that replaced
 * it was in memory, for others to see. A translation is allowed if some walk could have made it:
 * upper entries read at times after the last flush of the paging-structure caches, the leaf after
 * the last invalidation of its page, in the order of the walk. Nothing is cached from an entry
 * without A, nothing is writable without D. Tested with the simulator. */
#include "tools/tests/sim.h"

#define VERSIONS 128
#define NEVER UINT32_MAX
/* flushes of the structure caches remembered; of two merged ones all is allowed */
#define EPOCHS 32

struct version {
    uint64_t value;
    uint32_t from[2]; /* as an 8-byte entry or the lower 4-byte one; as the upper one */
    uint32_t to;      /* NEVER while current */
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
    uint32_t region[SIM_REGIONS], huge[SIM_HUGE];
};
static struct history hist[SIM_VMS][SIM_TRACKED][SIM_ENTRIES];
/* Frames without a history that were stored to; a paging entry may lead there by accident. */
static bool written[SIM_VMS][SIM_GRANULES << (REGION_SHIFT - PAGE_SHIFT)];
static struct times times[SIM_CPUS][SIM_PCIDS];
static struct { /* of global translations: INVLPG under any PCID */
    uint32_t page[SIM_SLOTS], region[SIM_REGIONS], huge[SIM_HUGE];
} global[SIM_CPUS];
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
    if (gfn - SIM_WINDOW_GFN < SIM_TRACKED - SIM_MAPPED)
        return (int)(gfn - SIM_WINDOW_GFN + SIM_MAPPED);
    return -1;
}

static int index_of(uint64_t word)
{
    if (word < SIM_GROUP)
        return (int)word;
    return word - SIM_MIDDLE < SIM_GROUP ? (int)(word - SIM_MIDDLE + SIM_GROUP) : -1;
}

static uint64_t memory_at(const struct sim_vm *vm, uint64_t gpa_v)
{
    const uint64_t *p = p2m_ptr(&vm->p2m, gpa(gpa_v));
    return p ? *p : ~0ull;
}

void oracle_reset_vm(unsigned vm)
{
    now++;
    memset(written[vm], 0, sizeof(written[vm]));
    for (unsigned c = 0; c < sim.ncpus; c++) {
        if (sim_vm_number(c) != vm)
            continue;
        memset(times[c], 0, sizeof(times[c]));
        memset(&global[c], 0, sizeof(global[c]));
    }
    for (unsigned t = 0; t < SIM_TRACKED; t++)
        for (unsigned i = 0; i < SIM_ENTRIES; i++) {
            uint64_t f = t < SIM_TABLES   ? SIM_TABLE_GFN + t
                         : t < SIM_MAPPED ? SIM_DATA_GFN + t - SIM_TABLES
                                          : SIM_WINDOW_GFN + t - SIM_MAPPED;
            struct history *h = &hist[vm][t][i];
            uint64_t word = i < SIM_GROUP ? i : SIM_MIDDLE + i - SIM_GROUP;
            h->n = 1;
            h->lost = false;
            h->v[0] = (struct version){.value = memory_at(&sim.vm[vm], (f << 12) + word * 8),
                                       .from = {now, now},
                                       .to = NEVER};
        }
}

void oracle_reset(void)
{
    now = 0;
    memset(retired_cpu, 0, sizeof(retired_cpu));
    for (unsigned vm = 0; vm < sim.nvms; vm++)
        oracle_reset_vm(vm);
}

void oracle_done(unsigned c)
{
    retired_cpu[c] = true;
}

/* Versions that ended before every CPU's last full flush can be seen by nobody. */
static void prune(struct history *h, unsigned vm)
{
    uint32_t oldest = NEVER;
    unsigned k = 0;
    for (unsigned c = 0; c < sim.ncpus; c++)
        for (unsigned p = 0; p < SIM_PCIDS && !retired_cpu[c] && sim_vm_number(c) == vm; p++)
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
    if (last->value == value)
        return;
    last->to = ++now;
    /* A processor may set A and D for a walk made on speculation at any time since the entry got
     * its value, so what they allow began then. */
    const uint64_t ad = PTE_A | PTE_D;
    bool same = value == (last->value | (value & ad));
    bool same_high = value >> 32 == (last->value >> 32 | (value >> 32 & ad));
    uint32_t from[2] = {same ? last->from[0] : now, same_high ? last->from[1] : now};
    if (h->n == VERSIONS)
        prune(h, sim_vm_number(c));
    h->v[h->n++] = (struct version){.value = value, .from = {from[0], from[1]}, .to = NEVER};
}

void oracle_wrote(unsigned c, uint64_t gpa_v)
{
    int t = tracked_of(gpa_v >> 12);
    int i = index_of((gpa_v & 4095) / 8);
    unsigned vm = sim_vm_number(c);
    if (t < 0 && gpa_v >> 12 < ARRAY_SIZE(written[vm]))
        written[vm][gpa_v >> 12] = true;
    if (t >= 0 && i >= 0)
        note(&hist[vm][t][i], c, memory_at(&sim.vm[vm], gpa_v & ~7ull));
}

/* --- invalidations --- */

static struct times *current(unsigned c)
{
    return &times[c][sim_pcid(&sim_cpu[c].regs)];
}

void oracle_invlpg(unsigned c, uint64_t va)
{
    struct times *t = current(c);
    if (t->npsc == EPOCHS)
        memmove(t->psc + EPOCHS / 2, t->psc + EPOCHS / 2 + 1, (--t->npsc - EPOCHS / 2) * 4);
    t->psc[t->npsc++] = ++now;
    t->page[sim_slot(va)] = now;
    t->region[sim_slot(va) / 32] = now;
    t->huge[sim_slot(va) / 256] = now;
    global[c].page[sim_slot(va)] = now;
    global[c].region[sim_slot(va) / 32] = now;
    global[c].huge[sim_slot(va) / 256] = now;
}

/* Like INVLPG, but of any PCID, not of global translations, and of no other address's caches. */
void oracle_invpcid_address(unsigned c, unsigned pcid, uint64_t va)
{
    struct times *t = &times[c][pcid];
    unsigned slot = sim_slot(va);
    now++;
    t->page[slot] = t->page_psc[slot] = now;
    t->region[slot / 32] = now;
    t->huge[slot / 256] = now;
}

void oracle_page_fault(unsigned c, uint64_t va, uint32_t since)
{
    struct times *t = current(c);
    t->page[sim_slot(va)] = since;
    t->page_psc[sim_slot(va)] = since;
}

void oracle_flush_pcid(unsigned c, unsigned pcid)
{
    struct times *t = &times[c][pcid];
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
    bool nx = (g->efer & EFER_NXE) && sim_mode(g) != MODE_TWO;
    bool fetch = (q->access & PFEC_I) && (nx || (g->cr4 & CR4_SMEP));
    return q->want_fault &&
           q->pfec == (why | (q->access & (PFEC_W | PFEC_U)) | (fetch ? PFEC_I : 0));
}

static uint32_t later(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* From when on a leaf may have been read. A 4 MiB page is two regions of addresses. */
static uint32_t leaf_since(const struct query *q, uint64_t v, unsigned level)
{
    const struct mmu_regs *g = &sim_cpu[q->c].regs;
    unsigned slot = sim_slot(q->va), region = slot / 32;
    bool glob = (v & PTE_G) && (g->cr4 & CR4_PGE), pair = sim_mode(g) == MODE_TWO;
    if (!q->t)
        return q->fresh;
    uint32_t s = later(q->t->all, q->t->page[slot]);
    s = later(s, glob ? global[q->c].page[slot] : 0);
    for (unsigned r = region & ~(unsigned)pair; level >= 2 && r <= (region | pair); r++) {
        s = later(s, q->t->region[r]);
        s = later(s, glob ? global[q->c].region[r] : 0);
    }
    if (level >= 3) {
        s = later(s, q->t->huge[slot / 256]);
        s = later(s, glob ? global[q->c].huge[slot / 256] : 0);
    }
    return s;
}

static bool is_leaf(const struct query *q, uint64_t v, unsigned level)
{
    const struct mmu_regs *g = &sim_cpu[q->c].regs;
    if (sim_mode(g) == MODE_TWO && !(g->cr4 & CR4_PSE))
        return level == 1;
    return level == 1 || (level < 4 && (v & PTE_PS));
}

static bool reserved(const struct query *q, uint64_t v, unsigned level)
{
    const struct mmu_regs *g = &sim_cpu[q->c].regs;
    enum sim_mode mode = sim_mode(g);
    uint64_t bad = MASK(51, 40);
    if (mode == MODE_TWO) /* MAXPHYADDR is 40: bits 20..13 are address bits 39..32 */
        return level == 2 && is_leaf(q, v, level) && (v & BIT(21));
    if (mode == MODE_PAE)
        bad |= MASK(62, 52);
    if (!(g->efer & EFER_NXE))
        bad |= PTE_NX;
    if (level == 4)
        bad |= PTE_PS;
    if (level == 3 && (v & PTE_PS))
        bad |= MASK(29, 13);
    if (level == 2 && (v & PTE_PS))
        bad |= MASK(20, 13);
    return v & bad;
}

/* The frame that a leaf maps q->va to. */
static uint64_t target(const struct query *q, uint64_t v, unsigned level)
{
    uint64_t frames = 1ull << (9 * (level - 1)), base = v & PTE_ADDR;
    if (level == 2 && sim_mode(&sim_cpu[q->c].regs) == MODE_TWO) {
        frames = 1024;
        base = (v & 0xffc00000u) | (v >> 13 & 0xff) << 32;
    }
    return (base >> 12 & ~(frames - 1)) | (q->va >> 12 & (frames - 1));
}

static bool search(const struct query *q, uint64_t table, unsigned level, uint32_t t,
                   struct rights r);

/* One value of one entry, read not before t. */
static bool search_value(const struct query *q, uint64_t v, unsigned level, uint32_t t,
                         struct rights r)
{
    bool leaf = is_leaf(q, v, level);
    if (!(v & PTE_P))
        return fault_is(q, 0);
    if (reserved(q, v, level))
        return fault_is(q, PFEC_P | PFEC_RSVD);
    if (q->cached && !(v & PTE_A))
        return false;
    r.w = r.w && (v & PTE_W);
    r.u = r.u && (v & PTE_U);
    r.nx = r.nx || ((v & PTE_NX) && (sim_cpu[q->c].regs.efer & EFER_NXE)); /* none in 4 bytes */
    if (!leaf) {
        if (!p2m_ptr(&sim_vm(q->c)->p2m, gpa(v & PTE_ADDR)))
            return fault_is(q, PFEC_P | PFEC_RSVD);
        return search(q, (v & PTE_ADDR) >> 12, level - 1, t, r);
    }
    if (!permitted(q, r))
        return fault_is(q, PFEC_P);
    if (q->want_fault || target(q, v, level) != q->gfn)
        return false;
    return !q->cached || !(q->access & PFEC_W) || (v & PTE_D);
}

/* Which word of a table the entry for q->va is in, and which half of it (two-level tables only). */
static unsigned word_of(const struct query *q, unsigned level, unsigned *half)
{
    unsigned idx;
    *half = 0;
    if (sim_mode(&sim_cpu[q->c].regs) != MODE_TWO)
        return (unsigned)(q->va >> (12 + 9 * (level - 1))) & 511;
    idx = (unsigned)(q->va >> (level == 2 ? 22 : 12)) & 1023;
    *half = idx & 1;
    return idx / 2;
}

static uint64_t value_of(const struct query *q, uint64_t word, unsigned half)
{
    return sim_mode(&sim_cpu[q->c].regs) == MODE_TWO ? (uint32_t)(word >> (32 * half)) : word;
}

static bool search(const struct query *q, uint64_t table, unsigned level, uint32_t t,
                   struct rights r)
{
    unsigned half, word = word_of(q, level, &half);
    int k = tracked_of(table), i = index_of(word);
    unsigned vm = sim_vm_number(q->c);
    if (table < SIM_WINDOW_GFN || (table < ARRAY_SIZE(written[vm]) && written[vm][table]))
        return true;    /* changed, through large pages, and not followed */
    if (k < 0 || i < 0) /* never changes */
        return search_value(
            q, value_of(q, memory_at(&sim.vm[vm], (table << 12) + word * 8ull), half), level, t, r);
    const struct history *h = &hist[vm][k][i];
    if (h->lost)
        return true;
    for (unsigned n = h->n; n-- > 0;) {
        const struct version *v = &h->v[n];
        uint64_t value = value_of(q, v->value, half);
        uint32_t at = is_leaf(q, value, level) ? leaf_since(q, value, level) : q->psc;
        at = later(later(at, t), v->from[half]);
        if (at <= v->to && at < q->end && search_value(q, value, level, at, r))
            return true;
    }
    return false;
}

static bool start(const struct query *q)
{
    const struct sim_cpu *s = &sim_cpu[q->c];
    uint64_t table = s->regs.cr3 & PTE_ADDR;
    unsigned level = 4;
    if (!(s->regs.cr0 & CR0_PG))
        return !q->want_fault && q->gfn == (q->va & 0xffffffff) >> 12;
    if (sim_mode(&s->regs) == MODE_TWO)
        level = 2;
    if (sim_mode(&s->regs) == MODE_PAE) {
        table = s->pdpte[q->va >> 30 & 3];
        level = 2;
        if (!(table & PTE_P))
            return fault_is(q, 0);
        if (!p2m_ptr(&sim_vm(q->c)->p2m, gpa(table & PTE_ADDR)))
            return fault_is(q, PFEC_P | PFEC_RSVD);
    }
    return search(q, (table & PTE_ADDR) >> 12, level, 0, (struct rights){.w = true, .u = true});
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
    const struct sim_vm *vm = sim_vm(c);
    struct query q = {.c = c, .va = va};
    unsigned level = sim_mode(&sim_cpu[c].regs) == MODE_LONG ? 4 : 2, half;
    if (sim_mode(&sim_cpu[c].regs) == MODE_PAE)
        table = (sim_cpu[c].pdpte[va >> 30 & 3] & PTE_ADDR) >> 12;
    for (; level >= 1; level--) {
        unsigned word = word_of(&q, level, &half);
        int k = tracked_of(table), i = index_of(word);
        uint64_t v = value_of(&q, memory_at(vm, (table << 12) + word * 8ull), half);
        printf("#  level %u table 0x%llx [%u.%u] = 0x%llx", level, (unsigned long long)table, word,
               half, (unsigned long long)v);
        const struct history *h = k >= 0 && i >= 0 ? &hist[sim_vm_number(c)][k][i] : NULL;
        for (unsigned n = 0; h && n + 1 < h->n; n++)
            printf(" (0x%llx %u..%u)", (unsigned long long)value_of(&q, h->v[n].value, half),
                   h->v[n].from[half], h->v[n].to);
        printf("\n");
        if (!(v & PTE_P) || is_leaf(&q, v, level))
            break;
        table = (v & PTE_ADDR) >> 12;
    }
}
