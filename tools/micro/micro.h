/* SPDX-License-Identifier: BSD-2-Clause */
/* What the microbenchmarks share: a clock and the lines they print, "micro NAME VARIANT PARAMETER
 * VALUE UNIT", which tools/benchmicro.py reads. The best of several repetitions is the value: what
 * the code costs when nothing comes in between. Tested by the step unit/micro of tools/check.py. */
#pragma once
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned micro_reps = 200;

/* CPU time of the calling thread: another process on the same CPU does not count. */
static inline uint64_t micro_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void micro_say(const char *name, const char *variant, unsigned parameter,
                             double value, const char *unit)
{
    printf("micro %s %s %u %.3f %s\n", name, variant, parameter, value, unit);
    fflush(stdout);
}

struct micro_best {
    uint64_t begin, best;
};

static inline void micro_begin(struct micro_best *b)
{
    b->begin = micro_ns();
}

static inline void micro_end(struct micro_best *b)
{
    uint64_t ns = micro_ns() - b->begin;
    if (!b->best || ns < b->best)
        b->best = ns;
}

/* The price of the two readings of the clock themselves. */
static inline double micro_clock(void)
{
    struct micro_best b = {0};
    for (unsigned i = 0; i < 1000; i++) {
        micro_begin(&b);
        micro_end(&b);
    }
    return (double)b.best;
}

static inline double micro_per(const struct micro_best *b, double clock, unsigned operations)
{
    double ns = (double)b->best - clock;
    return ns > 0 ? ns / operations : 0;
}
