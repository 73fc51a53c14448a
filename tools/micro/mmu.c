/* SPDX-License-Identifier: BSD-2-Clause */
/* Microbenchmarks of hv/mmu on the host's own CPUs: faults that fill, walks, the emulator's
 * translation, coherency events with and without something to do, traced writes; accesses to more
 * page tables than the pool holds, over the size of the pool; and the memory that shadow pools,
 * matrix and trace words take for 4, 16 and 31 CPUs.
 * Usage: mmu [REPETITIONS]. Tested by the step unit/micro of tools/check.py. */
#include "tools/micro/micro.h"
#include <x86intrin.h>
#include "hv/main.h"
#include "tools/tests/mmu_rig.h"

#define PAGES 512u
#define TABLES 448u /* page tables of the reclaim test, in frames 32..479 */
#define TABLE0 32ull
#define USER_READ PFEC_U

static double clock_cost;

uint64_t __wrap_port_tsc(void);
uint64_t __wrap_port_tsc(void)
{
    return __rdtsc();
}

static uint64_t va_of(unsigned table, unsigned i)
{
    return table * 0x200000ull + i * 4096ull;
}

/* PT maps 512 pages, one to one with frames 512..1023. */
static void up(const char *options)
{
    rig_up(options, 1024);
    for (unsigned i = 0; i < PAGES; i++)
        *entry(PT, i) = (512ull + i) << 12 | ALL | PTE_A | PTE_D;
    (void)fault(0, va_of(0, 0), USER_READ);
}

static void fills(const char *variant, const char *options, unsigned step)
{
    struct micro_best b = {0};
    up(options);
    for (unsigned r = 0; r < micro_reps; r++) {
        struct mmu_root root;
        sp_zap_all(&mmu[0]);
        if (fault(0, va_of(0, PAGES - 1), USER_READ) != MMU_RESUME) /* the upper levels */
            abort();
        mmu_enter(&mmu[0], &root);
        micro_begin(&b);
        for (unsigned i = 0; i < PAGES - step; i += step)
            if (mmu_fault(&mmu[0], gva(va_of(0, i)), USER_READ, false, &out) != MMU_RESUME)
                abort();
        micro_end(&b);
    }
    micro_say("fill", variant, step, micro_per(&b, clock_cost, PAGES / step - 1), "ns");
}

static void walks(void)
{
    struct micro_best walk = {0}, translate = {0}, again = {0};
    up("");
    for (unsigned r = 0; r < micro_reps; r++) {
        struct walk w;
        struct guest_fault f;
        gpa_t at;
        micro_begin(&walk);
        for (unsigned i = 0; i < PAGES; i++)
            if (walk_guest(&mmu[0], gva(va_of(0, i)), USER_READ, &w) != HV_OK)
                abort();
        micro_end(&walk);
        micro_begin(&translate);
        for (unsigned i = 0; i < PAGES; i++)
            if (mmu_translate(&mmu[0], gva(va_of(0, i)), USER_READ, &at, &f) != HV_OK)
                abort();
        micro_end(&translate);
        micro_begin(&again);
        for (unsigned i = 0; i < PAGES; i++)
            if (mmu_translate(&mmu[0], gva(va_of(0, 7)), USER_READ, &at, &f) != HV_OK)
                abort();
        micro_end(&again);
    }
    micro_say("walk", "matrix", 4, micro_per(&walk, clock_cost, PAGES), "ns");
    micro_say("translate", "matrix", 4, micro_per(&translate, clock_cost, PAGES), "ns");
    micro_say("translate-cached", "matrix", 4, micro_per(&again, clock_cost, PAGES), "ns");
}

/* Events with nothing pending; then a traced write, which posts to this CPU, and the INVLPG that
 * applies it. */
static void events(void)
{
    struct micro_best invlpg = {0}, cr3 = {0}, change = {0};
    up("unsync=off");
    for (unsigned r = 0; r < micro_reps; r++) {
        micro_begin(&invlpg);
        for (unsigned i = 0; i < 64; i++)
            mmu_event_invlpg(&mmu[0], gva(va_of(0, i)));
        micro_end(&invlpg);
        micro_begin(&cr3);
        for (unsigned i = 0; i < 64; i++)
            mmu_event_cr3(&mmu[0], ROOT << 12, false);
        micro_end(&cr3);
        micro_begin(&change);
        for (unsigned i = 0; i < 64; i++) {
            put(0, PT, i, (512ull + i) << 12 | ALL | PTE_A | PTE_D);
            mmu_event_invlpg(&mmu[0], gva(va_of(0, i)));
        }
        micro_end(&change);
    }
    micro_say("invlpg-idle", "matrix", 0, micro_per(&invlpg, clock_cost, 64), "ns");
    micro_say("cr3-idle", "matrix", 0, micro_per(&cr3, clock_cost, 64), "ns");
    micro_say("write-and-invlpg", "matrix", 0, micro_per(&change, clock_cost, 64), "ns");
}

/* Random accesses to one page of each of TABLES page tables. An access whose translation is in the
 * shadow tables costs nothing but the look; any other is a fault. */
static void reclaim(unsigned pages)
{
    uint64_t rng = 1, faults = 0, reclaims;
    unsigned accesses = micro_reps * 20;
    rig_up("batch=off", pages);
    for (unsigned t = 0; t < TABLES; t++) {
        *entry(PD, t) = (TABLE0 + t) << 12 | ALL | PTE_A;
        *entry(TABLE0 + t, 0) = (512ull + t) << 12 | ALL | PTE_A | PTE_D;
    }
    for (unsigned t = 0; t < TABLES; t++) /* warm */
        (void)fault(0, va_of(t, 0), USER_READ);
    reclaims = stat_of(0, STAT_reclaims);
    uint64_t begin = micro_ns();
    for (unsigned i = 0; i < accesses; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        uint64_t va = va_of((unsigned)(rng >> 33) % TABLES, 0);
        while (!(leaf(0, va) & PTE_P)) {
            faults++;
            if (fault(0, va, USER_READ) != MMU_RESUME)
                abort();
        }
    }
    uint64_t ns = micro_ns() - begin;
    micro_say("reclaim-access", "pool", pages, (double)ns / accesses, "ns");
    micro_say("reclaim-faults", "pool", pages, (double)faults / accesses, "per-access");
    micro_say("reclaim-pages", "pool", pages,
              (double)(stat_of(0, STAT_reclaims) - reclaims) / accesses, "per-access");
}

static void memory(unsigned ncpus)
{
    const double mib = 1024 * 1024;
    uint64_t ram = 4ull << 30, nframes = ram >> PAGE_SHIFT;
    options_parse(&hv_opt, "", NULL);
    micro_say("memory-matrix", "used", ncpus, sizeof(struct channel) * ncpus * ncpus / mib, "MiB");
    micro_say("memory-matrix", "static", ncpus, sizeof(matrix) / mib, "MiB");
    micro_say("memory-trace-words", "4GiB", ncpus, (double)coherency_bytes(nframes) / mib, "MiB");
    micro_say("memory-pools", "4GiB", ncpus, (double)hv_private_bytes(ram) * ncpus / mib, "MiB");
}

int main(int argc, char **argv)
{
    static const unsigned pools[] = {1024, 512, 448, 384, 320, 256, 192, 128, 96, 64};
    if (argc > 1)
        micro_reps = (unsigned)strtoul(argv[1], NULL, 10);
    if (!micro_reps)
        return 2;
    clock_cost = micro_clock();
    fills("single", "batch=off", 1);
    fills("batch", "", 16);
    fills("reference", "mmu=ref", 1);
    walks();
    events();
    for (unsigned i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
        reclaim(pools[i]);
    memory(4);
    memory(16);
    memory(31);
    rig_down();
    return 0;
}
