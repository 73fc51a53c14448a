/* SPDX-License-Identifier: BSD-2-Clause */
/* Random guest programs for the simulator, and the page tables they begin with. Tested with the
 * simulator, whose coverage of the pager is measured by `make cov`. */
#include "tools/tests/sim.h"

static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
    return sim_random(&rng, n);
}

static unsigned level_meant(unsigned t)
{
    return t < 2 ? 4 : t < 4 ? 3 : t < 8 ? 2 : 1;
}

static uint64_t gfn_tracked(unsigned t)
{
    return t < SIM_TABLES ? SIM_TABLE_GFN + t : SIM_DATA_GFN + t - SIM_TABLES;
}

static uint64_t entry(uint64_t f, uint64_t rights)
{
    return (f << 12) | rights;
}

/* A plausible entry for a table of this level; seldom one that is wrong there. */
static uint64_t random_entry(unsigned level)
{
    uint64_t r = PTE_P | (rnd(4) ? PTE_W : 0) | (rnd(4) ? PTE_U : 0) | (rnd(12) ? 0 : PTE_NX) |
                 (rnd(6) ? 0 : PTE_G);
    if (rnd(5) == 0)
        return rnd(3) ? 0 : rnd(1ull << 30) << 1; /* not present, with bits */
    if (rnd(3))
        r |= PTE_A | (rnd(2) ? PTE_D : 0);
    if (rnd(40) == 0)
        return entry(rnd(8) ? 0x3000 + rnd(4) : 1ull << 30, r); /* no RAM; reserved bits */
    if (rnd(12) == 0)
        level = 1 + (unsigned)rnd(4);
    switch (level) {
    case 1:
        return entry(
            gfn_tracked(rnd(4) ? SIM_TABLES + (unsigned)rnd(SIM_DATA) : (unsigned)rnd(SIM_MAPPED)),
            r);
    case 2:
        if (rnd(4) == 0)
            return entry(rnd(8) ? (1 + rnd(3)) << 9 : 0, r | PTE_PS);
        return entry(gfn_tracked(8 + (unsigned)rnd(8)), r | PTE_W | PTE_U);
    case 3:
        if (rnd(16) == 0)
            return entry(0, r | PTE_PS);
        return entry(gfn_tracked(4 + (unsigned)rnd(4)), r | PTE_W | PTE_U);
    default:
        if (rnd(6) == 0)
            return entry(gfn_tracked((unsigned)rnd(SIM_ROOTS)), r | PTE_W); /* self-map */
        return entry(gfn_tracked(2 + (unsigned)rnd(2)), r | PTE_W | PTE_U);
    }
}

static uint64_t random_va(void)
{
    uint64_t i4 = rnd(8) ? rnd(2) : 2, i3 = rnd(8) ? rnd(2) : 2, i2 = rnd(8) ? rnd(2) : rnd(3);
    if (i4 == 2) { /* the self-map: the lower indices choose a table */
        i3 = rnd(3);
        i2 = rnd(3);
    }
    return i4 << 39 | i3 << 30 | i2 << 21 | (rnd(16) ? rnd(8) : rnd(16)) << 12 |
           (rnd(8) ? 0 : SIM_MIDDLE * 8) | rnd(SIM_GROUP) * 8;
}

static uint64_t window_va(unsigned t, unsigned i)
{
    return 3ull << 39 | 0ull << 30 | (uint64_t)t << 12 | i * 8ull;
}

static void table_store(struct sim_step *s)
{
    unsigned t = rnd(4) ? 8 + (unsigned)rnd(8) : (unsigned)rnd(SIM_TABLES);
    unsigned i = (unsigned)rnd(t < 2 ? 3 : t < 8 ? 3 : SIM_GROUP);
    static const uint8_t ops[] = {OP_STORE,  OP_STORE,   OP_STORE,   OP_STORE,
                                  OP_HALVES, OP_CMPXCHG, OP_CLEAR_AD};
    s->op = ops[rnd(sizeof(ops))];
    s->width = rnd(8) ? 8 : rnd(2) ? 4 : 1;
    s->va = window_va(t, i + (rnd(6) ? 0 : SIM_MIDDLE));
    s->value = random_entry(level_meant(t));
    s->user = false;
    if (rnd(24) == 0)
        s->op = OP_ZERO;
}

static void rare(struct sim_step *s)
{
    static const uint8_t ops[] = {OP_WP,      OP_WP,      OP_SMEP, OP_NXE,   OP_PAGING,
                                  OP_IDLE,    OP_IDLE,    OP_PARK, OP_RESET, OP_BULK,
                                  OP_INVPCID, OP_INVPCID, OP_PGE,  OP_MODE,  OP_MODE,
                                  OP_EXIT,    OP_EXIT,    OP_BULK, OP_AGE,   OP_AGE};
    s->op = ops[rnd(sizeof(ops))];
    s->value = random_entry(1 + (unsigned)rnd(4));
    if (s->op == OP_BULK)
        s->value = (s->value & ~(0xffffull << 12)) | gfn_tracked((unsigned)rnd(SIM_MAPPED)) << 12;
    if (s->op == OP_PAGING)
        s->va &= 4095;
}

static void other_step(struct sim_step *s)
{
    unsigned k = (unsigned)rnd(20);
    if (k < 9) {
        s->op = rnd(12) ? rnd(10) ? OP_LOAD : OP_FETCH : OP_PEEK;
        s->user = rnd(2);
    } else if (k < 12) {
        s->op = OP_STORE;
        s->width = rnd(4) ? 8 : 4;
        s->user = rnd(2);
        s->value = random_entry(1 + (unsigned)rnd(4));
    } else if (k < 15) {
        s->op = OP_INVLPG;
    } else if (k < 17) {
        s->op = rnd(3) ? OP_CR3 : OP_CR3_KEEP;
        s->value = gfn_tracked(rnd(16) ? (unsigned)rnd(SIM_ROOTS) : (unsigned)rnd(SIM_MAPPED))
                       << 12 |
                   rnd(SIM_PCIDS);
    } else if (k < 18) {
        s->op = OP_FLUSH;
    } else {
        rare(s);
    }
}

/* Bursts of one kind on one CPU, as real programs have them, between single steps. */
void program_generate(struct sim_step *s, unsigned n, unsigned ncpus, uint64_t seed)
{
    unsigned burst = 0, cpu = 0;
    bool tables = false;
    rng = seed;
    for (unsigned i = 0; i < n; i++) {
        if (burst == 0) {
            burst = rnd(3) ? 1 : 1 + (unsigned)rnd(10);
            cpu = (unsigned)rnd(ncpus);
            tables = rnd(5) < 2;
        }
        burst--;
        s[i] = (struct sim_step){.cpu = (uint8_t)cpu, .width = 8, .dice = (uint32_t)rnd(1u << 31)};
        s[i].va = random_va();
        if (tables)
            table_store(&s[i]);
        else
            other_step(&s[i]);
        if (s[i].op == OP_ZERO || s[i].op == OP_HALVES)
            s[i].va &= ~7ull;
    }
}

static uint64_t *frame(const struct sim_vm *vm, uint64_t f)
{
    return p2m_ptr(&vm->p2m, gpa(f << 12));
}

/* Two entries of a two-level table. */
static uint64_t pair(unsigned low, unsigned high, uint64_t rights)
{
    return entry(gfn_tracked(low), rights) | entry(gfn_tracked(high), rights) << 32;
}

void program_memory(struct sim_vm *vm)
{
    const uint64_t all = PTE_P | PTE_W | PTE_U | PTE_A, dirty = all | PTE_D;
    for (unsigned t = 0; t < SIM_MAPPED; t++)
        memset(frame(vm, gfn_tracked(t)), 0, PAGE_SIZE);
    for (unsigned w = 0; w < SIM_TRACKED - SIM_MAPPED; w++)
        memset(frame(vm, SIM_WINDOW_GFN + w), 0, PAGE_SIZE);
    for (unsigned r = 0; r < SIM_ROOTS; r++) {
        uint64_t *root = frame(vm, gfn_tracked(r));
        root[0] = entry(gfn_tracked(2), all);
        root[1] = entry(gfn_tracked(3), all);
        root[SIM_MIDDLE + 2] = entry(gfn_tracked(r), all);
        root[SIM_MIDDLE + 3] = entry(SIM_WINDOW_GFN, all);
    }
    for (unsigned t = 2; t < 4; t++)
        for (unsigned i = 0; i < 2; i++)
            frame(vm, gfn_tracked(t))[i] = entry(gfn_tracked(t * 2 + i), all);
    for (unsigned t = 4; t < 8; t++)
        for (unsigned i = 0; i < 2; i++)
            frame(vm, gfn_tracked(t))[i] = entry(gfn_tracked(t * 2 + i), all);
    for (unsigned t = 8; t < 16; t++)
        for (unsigned i = 0; i < SIM_GROUP; i++) {
            frame(vm, gfn_tracked(t))[i] =
                entry(gfn_tracked(SIM_TABLES + (t + i) % SIM_DATA), dirty);
            frame(vm, gfn_tracked(t))[SIM_MIDDLE + i] =
                pair(SIM_TABLES + (t + i) % SIM_DATA, SIM_TABLES + (t + i + 1) % SIM_DATA, dirty);
        }
    frame(vm, SIM_WINDOW_GFN)[0] = entry(SIM_WINDOW_GFN + 1, all);
    frame(vm, SIM_WINDOW_GFN + 1)[0] = entry(SIM_WINDOW_GFN + 2, all);
    for (unsigned t = 0; t < SIM_MAPPED; t++)
        frame(vm, SIM_WINDOW_GFN + 2)[t] = entry(gfn_tracked(t), dirty);
    /* The same for two-level tables, of which any frame may be the root. */
    for (unsigned t = 0; t < SIM_MAPPED; t += 2)
        frame(vm, SIM_WINDOW_GFN + 3)[t / 2] = pair(t, t + 1, dirty);
    for (unsigned t = 0; t < SIM_MAPPED; t++)
        frame(vm, gfn_tracked(t))[SIM_WINDOW_WORD] = entry(SIM_WINDOW_GFN + 3, all);
    for (unsigned t = 4; t < 8; t++)
        frame(vm, gfn_tracked(t))[SIM_MIDDLE] = pair(t + 4, t + 5, all);
}

void program_print(const struct sim_step *s, unsigned n)
{
    static const char *const names[OP_COUNT] = {
        "load",   "fetch",  "store",    "halves",  "cmpxchg", "clear-ad", "zero", "bulk", "peek",
        "invlpg", "cr3",    "cr3-keep", "invpcid", "flush",   "wp",       "smep", "nxe",  "pge",
        "mode",   "paging", "idle",     "park",    "reset",   "exit",     "age"};
    for (unsigned i = 0; i < n; i++) {
        unsigned long long va = (unsigned long long)s[i].va, v = (unsigned long long)s[i].value;
        printf("#  %3u: cpu %u %-8s", i, s[i].cpu, names[s[i].op]);
        if (s[i].op <= OP_ZERO || s[i].op == OP_PEEK || s[i].op == OP_INVLPG ||
            s[i].op == OP_INVPCID)
            printf(" va %llu:%llu:%llu:%llu+0x%llx%s", va >> 39, va >> 30 & 511, va >> 21 & 511,
                   va >> 12 & 511, va & 4095, s[i].user ? " user" : "");
        if (va >> 39 == 3 && s[i].op <= OP_ZERO)
            printf(" (table %llu [%llu])", va >> 12 & 511, (va & 4095) / 8);
        if ((s[i].op >= OP_STORE && s[i].op <= OP_CMPXCHG) || s[i].op == OP_CR3 ||
            s[i].op == OP_CR3_KEEP || s[i].op == OP_BULK || s[i].op == OP_PAGING)
            printf(" width %u value 0x%llx", s[i].width, v);
        printf("\n");
    }
}
