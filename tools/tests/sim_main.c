/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulator's command line: `sim steps=N seed=S` runs N steps spread over all configurations,
 * `sim seconds=N` goes on with new seeds for so long, `sim config=NAME seed=S` replays one program.
 * A failure prints the seed, what was wrong, and a minimised program. Tested by make check. */
#include "tools/tests/sim.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include <time.h>

#define PROGRAM 500
#define TINY MMU_POOL_FLOOR
#define ROOMY 128

static const struct sim_config configs[] = {
    {"default", "", 4, ROOMY, 0, MODE_LONG, true, 1},
    {"events-only", "", 4, ROOMY, 0, MODE_LONG, false, 1},
    {"tiny-pool", "", 4, TINY, 0, MODE_LONG, false, 1},
    {"audit", "audit=3", 4, ROOMY, 4, MODE_LONG, true, 1},
    {"audit-tiny", "audit=3 interest=off", 3, TINY, 4, MODE_LONG, false, 1},
    {"one-cpu", "", 1, TINY, 8, MODE_LONG, false, 1},
    {"two-cpus", "", 2, ROOMY, 0, MODE_LONG, false, 1},
    {"no-unsync", "unsync=off", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"no-upper", "upper=off", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"no-shortcuts", "shortcuts=off", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"locked", "coherency=locked", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"shootdown", "coherency=shootdown", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"overflow-shootdown", "overflow=shootdown", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"all-derived", "consumers=all derived=on", 4, ROOMY, 0, MODE_LONG, false, 1},
    {"no-interest", "interest=off derived=on", 4, TINY, 0, MODE_LONG, false, 1},
    {"no-postpone", "postpone=off", 4, ROOMY, 0, MODE_LONG, false, 1},
    {"no-large", "large=off batch=off", 4, TINY, 0, MODE_LONG, false, 1},
    {"one-cpu-plain", "unsync=off large=off", 1, ROOMY, 0, MODE_LONG, true, 1},
    {"modes", "", 4, ROOMY, 0, MODE_MIXED, true, 1},
    {"modes-events", "audit=3", 3, TINY, 8, MODE_MIXED, false, 1},
    {"modes-reference", "mmu=ref", 3, TINY, 0, MODE_MIXED, false, 1},
    {"modes-one-cpu", "", 1, TINY, 8, MODE_MIXED, false, 1},
    {"pae", "audit=3", 3, ROOMY, 8, MODE_PAE, false, 1},
    {"two-level", "audit=3", 3, ROOMY, 8, MODE_TWO, false, 1},
    {"reference", "mmu=ref", 4, TINY, 0, MODE_LONG, false, 1},
    {"two-vms", "", 4, ROOMY, 0, MODE_LONG, true, 2},
    {"two-vms-events", "audit=3", 4, TINY, 8, MODE_LONG, false, 2},
    {"two-vms-modes", "", 4, TINY, 0, MODE_MIXED, false, 2},
    {"two-vms-locked", "coherency=locked", 4, ROOMY, 8, MODE_LONG, false, 2},
    {"direct", "directpf=on", 4, ROOMY, 0, MODE_LONG, false, 1},
    {"direct-audit", "directpf=on audit=3", 3, ROOMY, 4, MODE_LONG, true, 1},
    {"direct-tiny", "directpf=on", 3, TINY, 8, MODE_LONG, false, 1},
    {"direct-traced", "directpf=on unsync=off", 4, ROOMY, 8, MODE_LONG, false, 1},
    {"direct-modes", "directpf=on audit=3", 3, ROOMY, 8, MODE_MIXED, false, 1},
    {"direct-locked", "directpf=on coherency=locked", 3, ROOMY, 8, MODE_LONG, false, 1},
    {"direct-two-vms", "directpf=on", 4, ROOMY, 0, MODE_LONG, false, 2},
};
static struct sim_step program[PROGRAM];

static uint64_t seed_of(uint64_t seed, unsigned config, unsigned round)
{
    uint64_t s = seed * 1000003 + config * 10007 + round;
    return sim_random(&s, 1ull << 40);
}

static void print_line(const char *line)
{
    printf("#   %s%s", line, strchr(line, '\n') ? "" : "\n");
}

/* One program of one configuration. */
static bool run(const struct sim_config *cfg, uint64_t seed)
{
    uint64_t sched = seed ^ 0x5bd1e995;
    unsigned n = PROGRAM;
    program_generate(program, n, cfg->ncpus, seed);
    if (sim_execute(cfg, program, n, sched))
        return true;
    printf("# FAILED: config=%s seed=%llu: %s\n", cfg->name, (unsigned long long)seed, sim.why);
    fflush(stdout);
    n = program_minimise(cfg, program, n, &sched);
    (void)sim_execute(cfg, program, n, sched);
    printf("# minimised to %u steps, schedule %llu: %s\n", n, (unsigned long long)sched, sim.why);
    program_print(program, n);
    printf("# last events; note: step, 0x100 + its CPU\n");
    for (uint32_t c = 0; c < cfg->ncpus; c++) {
        bool acts = false;
        for (unsigned i = 0; i < n; i++)
            acts |= program[i].cpu == c;
        if (acts)
            ring_dump(c, 24, print_line);
    }
    return false;
}

static uint64_t total(enum stat s)
{
    uint64_t n = 0;
    for (unsigned c = 0; c < SIM_CPUS; c++)
        n += hv_stats[c].n[s];
    return n;
}

static bool run_config(unsigned k, unsigned rounds, uint64_t seed)
{
    const struct sim_config *cfg = &configs[k];
    unsigned before = sim.executed, i;
    uint64_t direct = sim.direct;
    bool good = true;
    memset(hv_stats, 0, sizeof(hv_stats));
    for (i = 0; i < rounds && good; i++)
        good = run(cfg, seed_of(seed, k, i));
    return tap_ok(
        good,
        "%s: %u steps; posts %llu coalesced %llu overflows %llu drains %llu unsync %llu "
        "reclaims %llu waits %llu forwarded %llu direct %llu asked %llu",
        cfg->name, sim.executed - before, (unsigned long long)total(STAT_posts),
        (unsigned long long)total(STAT_coalesces), (unsigned long long)total(STAT_overflows),
        (unsigned long long)total(STAT_drains), (unsigned long long)total(STAT_unsync_in),
        (unsigned long long)total(STAT_reclaims), (unsigned long long)total(STAT_waits),
        (unsigned long long)total(STAT_faults_forwarded), (unsigned long long)(sim.direct - direct),
        (unsigned long long)total(STAT_direct_asked));
}

static int replay(const char *name, uint64_t seed)
{
    for (unsigned k = 0; k < ARRAY_SIZE(configs); k++)
        if (!strcmp(configs[k].name, name))
            return run(&configs[k], seed) ? 0 : 1;
    fprintf(stderr, "sim: no configuration is called %s\n", name);
    return 2;
}

static uint64_t argument(int argc, char **argv, const char *key, uint64_t otherwise)
{
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], key, strlen(key)))
            return strtoull(argv[i] + strlen(key), NULL, 0);
    return otherwise;
}

int main(int argc, char **argv)
{
    uint64_t seed = argument(argc, argv, "seed=", 1), steps = argument(argc, argv, "steps=", 50000);
    uint64_t seconds = argument(argc, argv, "seconds=", 0);
    unsigned rounds = (unsigned)(steps / PROGRAM / ARRAY_SIZE(configs)) + 1;
    time_t end = time(NULL) + (time_t)seconds;
    fake_reset();
    fake_set_tsc(1, 1);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "config=", 7))
            return replay(argv[i] + 7, seed);
    do {
        bool good = true;
        for (unsigned k = 0; k < ARRAY_SIZE(configs); k++)
            good &= run_config(k, rounds, seed);
        if (!good)
            break;
        tap_note("seed %llu done", (unsigned long long)seed++);
    } while (time(NULL) < end);
    tap_ok(sim.resets > 5, "%llu resets of one of two VMs", (unsigned long long)sim.resets);
    tap_ok(sim.switches > 100 && sim.checks > 1000,
           "%u steps, %llu points, %llu switches, %llu translations and %llu faults checked",
           sim.executed, (unsigned long long)sim.points, (unsigned long long)sim.switches,
           (unsigned long long)sim.checks, (unsigned long long)sim.faults);
    return tap_done();
}
