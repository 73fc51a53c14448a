/* SPDX-License-Identifier: BSD-2-Clause */
/* What the guest's halves of the benchmarks share: the console as a line of commands, and clocks.
 * Tested by the programs that use it: pbbench.c, pbio.c. */
#pragma once
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Says why, with errno, and ends the program. */
static inline void die(const char *what)
{
    printf("PBB error %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t tsc(void)
{
    uint32_t a, d;
    __asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
    return (uint64_t)d << 32 | a;
}

/* A line of standard input without its end, cut to size - 1 bytes. false: there is none. */
static inline bool read_line(char *line, size_t size)
{
    size_t len = 0;
    char c;
    while (read(0, &c, 1) == 1) {
        if (c == '\n' || c == '\r') {
            line[len] = 0;
            return true;
        }
        if (len + 1 < size)
            line[len++] = c;
    }
    return false;
}

/* Nothing is echoed or held back from here on. */
static inline void raw_console(void)
{
    struct termios t;

    if (tcgetattr(0, &t) == 0) {
        cfmakeraw(&t);
        (void)tcsetattr(0, TCSANOW, &t);
    }
}
