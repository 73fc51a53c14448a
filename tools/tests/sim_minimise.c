/* SPDX-License-Identifier: BSD-2-Clause */
/* Delta debugging of a failing program: pieces of halving size are left out as long as one of a few
 * schedules still fails. Tested with the simulator on broken copies of the code. */
#include "tools/tests/sim.h"

#define SCHEDULES 6
#define EXECUTIONS 12000 /* a bound on the work */

bool sim_quiet;
static unsigned budget;
static char why[sizeof(sim.why)];

/* The same kind of failure: the text without numbers, but a panic's place as it is. */
static bool same_kind(const char *a, const char *b)
{
    const char *pa = strstr(a, "panic"), *pb = strstr(b, "panic");
    if (pa || pb)
        return pa && pb && !strcmp(pa, pb);
    for (; *a && *b; a++, b++) {
        while (strchr("0123456789abcdefx", *a) && *a)
            a++;
        while (strchr("0123456789abcdefx", *b) && *b)
            b++;
        if (*a != *b)
            return false;
    }
    return *a == *b;
}

static bool fails(const struct sim_config *cfg, const struct sim_step *s, unsigned n,
                  uint64_t *seed)
{
    for (unsigned k = 0; k < SCHEDULES && budget; k++, budget--) {
        uint64_t other = *seed + k * 7919;
        if (!sim_execute(cfg, s, n, other) && same_kind(sim.why, why)) {
            *seed = other;
            return true;
        }
    }
    return false;
}

unsigned program_minimise(const struct sim_config *cfg, struct sim_step *s, unsigned n,
                          uint64_t *sched_seed)
{
    struct sim_step *t = malloc(n * sizeof(*t));
    budget = EXECUTIONS;
    memcpy(why, sim.why, sizeof(why));
    sim_quiet = true;
    for (unsigned piece = n / 2; piece; piece /= 2) {
        for (unsigned at = 0; at < n;) {
            unsigned len = piece < n - at ? piece : n - at;
            memcpy(t, s, at * sizeof(*t));
            memcpy(t + at, s + at + len, (n - at - len) * sizeof(*t));
            if (fails(cfg, t, n - len, sched_seed)) {
                n -= len;
                memcpy(s, t, n * sizeof(*t));
            } else {
                at += len;
            }
        }
    }
    free(t);
    sim_quiet = false;
    return n;
}
