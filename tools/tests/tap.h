/* SPDX-License-Identifier: BSD-2-Clause */
/* A small TAP harness for the host tests: tap_ok(), tap_eq(), a plan at the end and a non-zero exit
 * status on any failure. Include it in the one .c file of a test program.
 * Tested by tools/tests/test_base.c, which checks that a false condition is counted. */
#pragma once
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned tap_count, tap_failed;
static pthread_mutex_t tap_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Prints one "ok N - text" or "not ok N - text" line and returns `cond`. Context: any thread. */
__attribute__((format(printf, 2, 3), unused)) static bool tap_ok(bool cond, const char *fmt, ...)
{
    va_list ap;
    pthread_mutex_lock(&tap_mutex);
    if (tap_count == 0)
        printf("TAP version 13\n");
    tap_count++;
    if (!cond)
        tap_failed++;
    printf("%sok %u - ", cond ? "" : "not ", tap_count);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    pthread_mutex_unlock(&tap_mutex);
    return cond;
}

/* A "# text" line. */
__attribute__((format(printf, 1, 2), unused)) static void tap_note(const char *fmt, ...)
{
    va_list ap;
    pthread_mutex_lock(&tap_mutex);
    printf("# ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    pthread_mutex_unlock(&tap_mutex);
}

/* Equality of two numbers; both are printed when they differ. */
__attribute__((unused)) static bool tap_eq_at(uint64_t got, uint64_t want, const char *what,
                                              const char *file, int line)
{
    bool same = tap_ok(got == want, "%s", what);
    if (!same)
        tap_note("%s:%d: got 0x%" PRIx64 ", expected 0x%" PRIx64, file, line, got, want);
    return same;
}
#define tap_eq(got, want, what)                                                                    \
    tap_eq_at((uint64_t)(got), (uint64_t)(want), (what), __FILE__, __LINE__)

/* Equality of two strings. */
__attribute__((unused)) static bool tap_str_at(const char *got, const char *want, const char *what,
                                               const char *file, int line)
{
    bool same = tap_ok(strcmp(got, want) == 0, "%s", what);
    if (!same)
        tap_note("%s:%d: got '%s', expected '%s'", file, line, got, want);
    return same;
}
#define tap_str(got, want, what) tap_str_at((got), (want), (what), __FILE__, __LINE__)

/* The plan; `return tap_done();` ends main. A test that ran nothing fails. */
__attribute__((unused)) static int tap_done(void)
{
    pthread_mutex_lock(&tap_mutex);
    printf("1..%u\n", tap_count);
    if (tap_failed)
        printf("# %u of %u failed\n", tap_failed, tap_count);
    fflush(stdout);
    pthread_mutex_unlock(&tap_mutex);
    return tap_count == 0 || tap_failed ? 1 : 0;
}
