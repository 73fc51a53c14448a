/* SPDX-License-Identifier: BSD-2-Clause */
/* What the directed tests of hv/mmu share: a VM of a few CPUs with 8 MiB of RAM that is not placed
 * one to one, 4-level tables to begin with, and accesses as a guest makes them.
 * Tested by the tests that use it: test_mmu.c, test_mmu_modes.c. */
#pragma once
#include "arch-x86/defs/x86.h"
#include "hv/coherency/actions.h"
#include "hv/coherency/direct.h"
#include "hv/mmu/gmem.h"
#include "hv/mmu/internal.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

#define RIG_CPUS 2
#ifndef RIG_GRANULES
#define RIG_GRANULES 4
#endif
#define ROOT 16ull /* table frames: root, PDPT, PD, then page tables */
#define PDPT 17ull
#define PD 18ull
#define PT 20ull
#define ALL (PTE_P | PTE_W | PTE_U)

static struct hv_options opt;
static struct coherency co;
static struct channel matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct p2m p2m;
static uint32_t granule[RIG_GRANULES];
static struct coh_cpu coh[RIG_CPUS];
static struct mmu mmu[RIG_CPUS];
static struct mmu_regs regs[RIG_CPUS];
static void *pool[RIG_CPUS], *words, *holders;
static struct mmu_fault_out out;

static bool serve_both(void *ctx)
{
    struct mmu *m = ctx;
    bool mine = mmu_serve(m);
    fake_set_cpu(1 - m->cpu);
    (void)mmu_serve(&mmu[1 - m->cpu]);
    fake_set_cpu(m->cpu);
    return mine;
}

static uint64_t *entry(uint64_t f, unsigned i)
{
    return (uint64_t *)p2m_ptr(&p2m, gpa(f << 12)) + i;
}

/* A store by CPU c as its emulator makes it. */
__attribute__((unused)) static void put(unsigned c, uint64_t f, unsigned i, uint64_t v)
{
    (void)producer_exchange(&coh[c], gpa((f << 12) + i * 8ull), entry(f, i), 8, v);
}

static void rig_down(void)
{
    for (unsigned c = 0; c < RIG_CPUS; c++) {
        free(pool[c]);
        pool[c] = NULL;
    }
    free(words);
    free(holders);
    words = holders = NULL;
}

static struct mmu_config rig_config(unsigned c, uint32_t npages)
{
    struct mmu_config cfg = {.coh = &coh[c],
                             .p2m = &p2m,
                             .opt = &opt,
                             .cpu = c,
                             .pool = pool[c],
                             .pool_hpa = hpa(0x40000000ull + c * 0x1000000ull),
                             .pool_bytes = (npages + 4ull) * 6800,
                             .nasids = 6,
                             .phys_bits = 40,
                             .absent = opt.directpf ? MMU_ABSENT : 0};
    return cfg;
}

static void rig_cpu(unsigned c, uint32_t npages)
{
    fake_set_cpu(c);
    coh_cpu_init(&coh[c], &co, c, NULL, NULL);
    pool[c] = aligned_alloc(4096, ((npages + 8ull) * 6800 + 4095) & ~4095ull);
    struct mmu_config cfg = rig_config(c, npages);
    if (mmu_init(&mmu[c], &cfg) != HV_OK)
        tap_ok(false, "mmu_init");
    coh[c].serve = serve_both;
    coh[c].ctx = &mmu[c];
    action_online(&coh[c]);
    regs[c] = (struct mmu_regs){.cr0 = CR0_PE | CR0_PG | CR0_WP,
                                .cr3 = ROOT << 12,
                                .cr4 = CR4_PAE | CR4_PGE,
                                .efer = EFER_LME | EFER_LMA | EFER_NXE};
    mmu_reset(&mmu[c], &regs[c]);
}

/* Fresh machine: PML4[0] -> PDPT[0] -> PD[0..1] -> PT, PT+1 with sixteen pages each. */
static void rig_up(const char *options, uint32_t npages)
{
    static bool made;
    if (!made)
        fake_arena(0x10000000, (RIG_GRANULES + 1) * REGION_SIZE);
    made = true;
    rig_down();
    options_parse(&opt, options, NULL);
    opt.pool_pages = npages;
    for (unsigned g = 0; g < RIG_GRANULES; g++)
        granule[g] = 128 + (g * 2 + 1) % (RIG_GRANULES + 1);
    p2m = (struct p2m){.granule = granule, .ngranules = RIG_GRANULES};
    memset(p2m_ptr(&p2m, gpa(0)), 0, REGION_SIZE);
    memset(hv_stats, 0, sizeof(hv_stats));
    words = calloc(1, coherency_bytes(RIG_GRANULES * 512));
    fake_set_ncpus(RIG_CPUS);
    fake_console_clear();
    coherency_init(&co, RIG_CPUS, RIG_GRANULES * 512, words, matrix, &opt);
    if (opt.directpf)
        direct_init(&co, holders = calloc(1, direct_bytes(RIG_GRANULES * 512)));
    *entry(ROOT, 0) = PDPT << 12 | ALL;
    *entry(PDPT, 0) = PD << 12 | ALL;
    for (unsigned t = 0; t < 2; t++) {
        *entry(PD, t) = (PT + t) << 12 | ALL;
        for (unsigned i = 0; i < 16; i++)
            *entry(PT + t, i) = (512ull + t * 16 + i) << 12 | ALL;
    }
    for (unsigned c = 0; c < RIG_CPUS; c++)
        rig_cpu(c, npages);
    fake_set_cpu(0);
}

/* CPU c writes frame f without exits from now on. */
__attribute__((unused)) static void give_up(unsigned c, uint64_t f)
{
    uint64_t old = 0;
    if (!unsync_enter(&mmu[c], gfn(f), &old))
        tap_ok(false, "a frame that others hold");
    unsync_announce(&mmu[c], gfn(f), old);
}

__attribute__((unused)) static uint64_t stat_of(unsigned c, enum stat s)
{
    return hv_stats[c].n[s];
}

/* Enters and returns the leaf spte that the hardware would find for va, 0 if none; *level. */
static uint64_t spte_of(unsigned c, uint64_t va, unsigned *level)
{
    struct mmu_root r;
    fake_set_cpu(c);
    mmu_enter(&mmu[c], &r);
    mmu_entered(&mmu[c], &r);
    uint32_t page = mmu[c].roots[mmu[c].root].sp;
    for (unsigned l = mmu[c].paged && (regs[c].efer & EFER_LMA) ? 4 : 3;; l--) {
        uint64_t e = spte_get(&mmu[c], page, va_index(gva(va), l));
        *level = l;
        if (!(e & PTE_P) || spte_is_leaf(l, e))
            return e;
        page = spte_child(&mmu[c], e);
    }
}

/* Rights of the leaf only; the links above mirror the guest's. */
__attribute__((unused)) static uint64_t leaf(unsigned c, uint64_t va)
{
    unsigned level;
    return spte_of(c, va, &level);
}

/* A fault of CPU c and the pager's verdict. */
static enum mmu_verdict fault(unsigned c, uint64_t va, uint32_t access)
{
    struct mmu_root r;
    fake_set_cpu(c);
    memset(&out, 0, sizeof(out));
    mmu_enter(&mmu[c], &r);
    mmu_entered(&mmu[c], &r);
    return mmu_fault(&mmu[c], gva(va), access, false, &out);
}

__attribute__((unused)) static bool forwarded(unsigned c, uint64_t va, uint32_t access,
                                              uint32_t pfec)
{
    return fault(c, va, access) == MMU_FORWARD && out.fault.pfec == pfec && out.fault.cr2.v == va;
}

__attribute__((unused)) static uint64_t host_of(uint64_t f)
{
    hpa_t h = hpa(0);
    (void)p2m_lookup(&p2m, gpa(f << 12), &h);
    return h.v;
}
