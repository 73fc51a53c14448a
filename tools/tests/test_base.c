/* SPDX-License-Identifier: BSD-2-Clause */
/* hv/base (strings, printf, locks, log, event ring) and the fake machine itself. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/base/assert.h"
#include "hv/base/lock.h"
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

void *hv_test_memcpy(void *restrict dst, const void *restrict src, size_t n);
void *hv_test_memmove(void *dst, const void *src, size_t n);
void *hv_test_memset(void *dst, int c, size_t n);
int hv_test_memcmp(const void *a, const void *b, size_t n);
size_t hv_test_strlen(const char *s);
int hv_test_strcmp(const char *a, const char *b);
int hv_test_strncmp(const char *a, const char *b, size_t n);
char *hv_test_strchr(const char *s, int c);
char *hv_test_strstr(const char *hay, const char *needle);

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void test_mem(void)
{
    bool copy = true, move = true, set = true, cmp = true;
    for (unsigned n = 0; n < 150; n++) {
        for (unsigned off = 0; off < 9; off++) {
            uint8_t a[320], b[320], c[320];
            for (unsigned i = 0; i < sizeof(a); i++)
                a[i] = b[i] = c[i] = (uint8_t)(i * 7 + n);
            memcpy(b + off, a + 160, n);
            copy = copy && hv_test_memcpy(c + off, a + 160, n) == c + off && !memcmp(b, c, 320);
            memmove(b + off, b + 4, n);
            move = move && hv_test_memmove(c + off, c + 4, n) == c + off && !memcmp(b, c, 320);
            memset(b + off, 0x1a5, n);
            set = set && hv_test_memset(c + off, 0x1a5, n) == c + off && !memcmp(b, c, 320);
            memcpy(c, b, 320);
            if (n)
                c[off + n / 2] ^= 0x80;
            cmp = cmp &&
                  sign(hv_test_memcmp(b + off, c + off, n)) == sign(memcmp(b + off, c + off, n));
        }
    }
    tap_ok(copy, "memcpy as the C library's");
    tap_ok(move, "memmove as the C library's");
    tap_ok(set, "memset as the C library's");
    tap_ok(cmp, "memcmp as the C library's");
}

static void test_str(void)
{
    static const char *const s[] = {"", "a", "ab", "abc", "abd", "\xff", "role=linux", "linux"};
    bool len = true, eq = true, neq = true, chr = true, str = true;
    for (unsigned i = 0; i < 8; i++) {
        len = len && hv_test_strlen(s[i]) == strlen(s[i]);
        for (int c = 0; c < 128; c++)
            chr = chr && hv_test_strchr(s[i], c) == strchr(s[i], c);
        for (unsigned j = 0; j < 8; j++) {
            eq = eq && sign(hv_test_strcmp(s[i], s[j])) == sign(strcmp(s[i], s[j]));
            str = str && hv_test_strstr(s[i], s[j]) == strstr(s[i], s[j]);
            for (size_t n = 0; n < 6; n++)
                neq = neq && sign(hv_test_strncmp(s[i], s[j], n)) == sign(strncmp(s[i], s[j], n));
        }
    }
    tap_ok(len && chr && str, "strlen, strchr, strstr as the C library's");
    tap_ok(eq && neq, "strcmp, strncmp as the C library's");
}

/* Formats with both and compares text and length; the buffer is shorter than the text for small
 * sizes. */
#define SAME(...)                                                                                  \
    do {                                                                                           \
        char want[128], got[128];                                                                  \
        bool same = true;                                                                          \
        for (size_t size = 1; size <= sizeof(want); size = size * 2 + 1) {                         \
            size_t z = size > sizeof(want) ? sizeof(want) : size;                                  \
            memset(got, '!', sizeof(got));                                                         \
            int a = snprintf(want, z, __VA_ARGS__), b = hv_snprintf(got, z, __VA_ARGS__);          \
            same = same && a == b && !strcmp(want, got);                                           \
        }                                                                                          \
        snprintf(want, sizeof(want), __VA_ARGS__);                                                 \
        hv_snprintf(got, sizeof(got), __VA_ARGS__);                                                \
        if (!tap_ok(same, "printf %s", #__VA_ARGS__))                                              \
            tap_note("got '%s', expected '%s'", got, want);                                        \
    } while (0)

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-truncation"
static void test_printf(void)
{
    SAME("plain 100%%");
    SAME("%d %i %u", -5, INT32_MIN, UINT32_MAX);
    SAME("%5d|%-5d|%05d|%5d", 42, 42, -42, -42);
    SAME("%x %X %#x %#X %#x", 0xbeefu, 0xbeefu, 0xbeefu, 0xbeefu, 0u);
    SAME("%#010x|%-#10x|%#10x|%016lx", 0xabu, 0xabu, 0xabu, 0x123456789abcdeful);
    SAME("%ld %lu %llx %zu", INT64_MIN, UINT64_MAX, 0xffffffffffffffffull, (size_t)7);
    SAME("%hx %hhx %hd %hhd", 0x12345678, 0x12345678, 0x1ffff, 0x1ff);
    SAME("%s|%10s|%-10s|%.2s|%.0s", "text", "text", "text", "text", "text");
    SAME("%.*s|%*d|%-*d|%*d", 3, "abcdef", 6, 1, 6, 2, -6, 3);
    SAME("%c%c|%3c|%-3c", 'a', 'b', 'c', 'd');
    SAME("%.5d|%8.5d|%-8.5x|%.0d", 42, 42, 42, 0);
    SAME("%p", (void *)0x1234);
    char buf[8] = "xxxxxxx";
    tap_eq(hv_snprintf(buf, 0, "abc"), 3, "size 0 writes nothing");
    tap_eq(buf[0], 'x', "... really nothing");
    const char *volatile none = NULL;
    hv_snprintf(buf, sizeof(buf), "%s", none);
    tap_str(buf, "(null)", "a null string is shown");
    hv_snprintf(buf, sizeof(buf), "%y|%");
    tap_str(buf, "%y|", "unknown conversions are shown, a lone %% ends");
}

static struct lock la = {.level = LOCK_VDEV}, lb = {.level = LOCK_COHERENCY};
static void take_twice(void *arg)
{
    (void)arg;
    lock_take(&la);
    lock_take(&la);
}
static void take_downwards(void *arg)
{
    (void)arg;
    lock_take(&lb);
    lock_take(&la);
}
static uint64_t shared;
static void *adder(void *arg)
{
    fake_set_cpu((uint32_t)(uintptr_t)arg);
    for (unsigned i = 0; i < 20000; i++) {
        lock_take(&lb);
        shared++;
        lock_drop(&lb);
    }
    return NULL;
}
static void test_lock(void)
{
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, adder, (void *)(i + 1));
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    tap_eq(shared, 80000, "four CPUs count without losing one");
    lock_take(&la);
    lock_take(&lb);
    lock_drop(&la);
    lock_drop(&lb);
    tap_ok(true, "rising levels, dropped in any order");
    fake_set_cpu(10);
    tap_eq(fake_run(take_twice, NULL), FAKE_PANIC, "the same level twice panics");
    tap_ok(strstr(fake_panic_text(), "lock.c") != NULL, "... and names the file");
    fake_set_cpu(11);
    tap_eq(fake_run(take_downwards, NULL), FAKE_PANIC, "a falling level panics");
    fake_set_cpu(0);
}

static char replayed[70000];
static size_t replayed_len;
static void replay_to(const char *text, size_t len)
{
    memcpy(replayed + replayed_len, text, len);
    replayed_len += len;
    replayed[replayed_len] = 0;
}
static void *logger(void *arg)
{
    fake_set_cpu((uint32_t)(uintptr_t)arg);
    for (unsigned i = 0; i < 200; i++)
        log_info("test", "line of cpu %u number %u", port_cpu(), i);
    return NULL;
}
static void test_log(void)
{
    fake_console_clear();
    fake_set_cpu(3);
    log_info("mmu", "fill %d", 5);
    log_debug("mmu", "not shown");
    log_err("mmu", "with newline\n");
    tap_str(fake_console(), "[3] mmu: fill 5\n[3] mmu: with newline\n", "line format and level");
    tap_eq(fake_console_writes(), 2, "one console write a line");
    log_set_level(LOG_DEBUG);
    log_debug("a", "b");
    log_set_level(LOG_INFO);
    replayed_len = 0;
    log_replay(replay_to);
    tap_str(replayed, "[3] mmu: fill 5\n[3] mmu: with newline\n[3] a: b\n", "replay gives all");
    char longer[2000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    fake_console_clear();
    log_info("long", "%s", longer);
    tap_ok(fake_console_len() < 600 && fake_console()[fake_console_len() - 1] == '\n',
           "a long line is cut and ends");
    log_info(longer, "x");
    tap_ok(true, "an absurd subsystem name does no harm");
    fake_set_cpu(0);
}
static void test_log_smp(void)
{
    pthread_t t[4];
    fake_console_clear();
    bool held = log_hold();
    log_raw("one ", 4);
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, logger, (void *)(i + 1));
    for (unsigned i = 0; i < 50; i++)
        sched_yield();
    log_raw("line\n", 5);
    log_release(held);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    tap_ok(!strncmp(fake_console(), "one line\n", 9), "a held line is not interleaved");
    unsigned lines = 0, broken = 0;
    for (const char *p = fake_console() + 9; *p; p = strchr(p, '\n') + 1, lines++) {
        unsigned a, b, n;
        broken += sscanf(p, "[%u] test: line of cpu %u number %u\n", &a, &b, &n) != 3 || a != b;
    }
    tap_eq(lines, 800, "every line of four CPUs is there");
    tap_eq(broken, 0, "... in one piece");
    for (unsigned i = 0; i < 4000; i++)
        log_info("fill", "some text to wrap the ring, line %u", i);
    replayed_len = 0;
    log_replay(replay_to);
    tap_ok(replayed_len > 60000 && replayed_len <= 65536, "the ring keeps 64 KiB");
    tap_ok(!strncmp(replayed, "[0] fill: ", 10), "... from a whole line on");
    tap_ok(strstr(replayed, "line 3999\n") == replayed + replayed_len - 10, "... to the last");
}
static void *dead_holder(void *arg)
{
    (void)arg;
    fake_set_cpu(7);
    (void)log_hold();
    return NULL;
}
static void test_log_rate(void)
{
    uint64_t state = 0;
    unsigned n = 0;
    fake_set_tsc_hz(1000);
    fake_set_tsc(5000, 0);
    for (unsigned i = 0; i < 100; i++)
        n += log_ratelimit(&state);
    tap_eq(n, 5, "five lines in one second");
    fake_set_tsc(6000, 0);
    tap_ok(log_ratelimit(&state), "the next second gives more");
    fake_set_tsc_hz(0);
    tap_ok(log_ratelimit(&state), "no frequency known yet: no division by it");
    fake_reset();
    bool outer = log_hold(), inner = log_hold();
    tap_ok(outer && !inner, "the holder may log again");
    log_info("x", "nested");
    log_release(inner);
    log_release(outer);
    pthread_t t;
    pthread_create(&t, NULL, dead_holder, NULL);
    pthread_join(t, NULL);
    fake_console_clear();
    log_info("x", "after a dead holder");
    tap_str(fake_console(), "[0] x: after a dead holder\n",
            "a dead holder costs a wait, not a hang");
}

static unsigned ring_lines;
static char ring_last[160];
static void ring_line(const char *line)
{
    ring_lines++;
    snprintf(ring_last, sizeof(ring_last), "%s", line);
}
static void test_ring(void)
{
    char newest[80];
    fake_set_tsc(1000, 1);
    ring_dump(2, 100, ring_line);
    tap_eq(ring_lines, 0, "an empty ring dumps nothing");
    for (unsigned i = 0; i < RING_EVENTS + 10; i++)
        ring_add(2, RING_PF, i, 2);
    ring_dump(2, 4 * RING_EVENTS, ring_line);
    /* The oldest slot is the one that the owner may be writing. */
    tap_eq(ring_lines, RING_EVENTS - 1, "a full ring dumps what it holds");
    snprintf(newest, sizeof(newest), "  %u cpu2 pf     0x%x 0x2", 1000 + RING_EVENTS + 9,
             RING_EVENTS + 9);
    tap_str(ring_last, newest, "the newest comes last");
    struct ring_event e;
    tap_eq(ring_head(2), RING_EVENTS + 10, "events ever added");
    tap_ok(!ring_get(2, 9, &e) && !ring_get(2, RING_EVENTS + 10, &e),
           "neither overwritten ones nor the next");
    tap_ok(ring_get(2, RING_EVENTS + 5, &e) && e.a == RING_EVENTS + 5 && e.kind == RING_PF,
           "one event by its number");
    ring_add(2, RING_EXIT, 7 | 0x123456ull << 8, 0x1000);
    ring_dump(2, 1, ring_line);
    tap_ok(strstr(ring_last, "exit   0x7 0x1000") != NULL, "an exit without its entry time");
    ring_add(HV_MACHINE_CPUS, RING_PF, 0, 0);
    ring_lines = 0;
    ring_add(2, (enum ring_kind)99, 0, 0);
    ring_dump(2, 1, ring_line);
    tap_eq(ring_lines, 1, "n limits the lines");
    fake_reset();
}

static void poweroff(void *arg)
{
    (void)arg;
    port_poweroff();
}
static void halt_with_irq_on(void *arg)
{
    (void)arg;
    port_halt();
}
static void nothing(void *arg)
{
    (void)arg;
}
static void test_fake(void)
{
    uint8_t *p = fake_arena(0x200000, 0x400000);
    tap_ok(port_ptr(hpa(0x200000)) == p && ((uintptr_t)p & REGION_MASK) == 0,
           "the arena starts at its base, aligned");
    p[0x3fffff] = 1;
    tap_eq(((uint8_t *)port_ptr(hpa(0x5fffff)))[0], 1, "... and reaches its end");
    tap_eq(fake_run(nothing, NULL), FAKE_RETURNED, "fake_run: returned");
    tap_eq(fake_run(poweroff, NULL), FAKE_POWEROFF, "fake_run: power-off");
    tap_eq(fake_run(halt_with_irq_on, NULL), FAKE_PANIC, "halting with interrupts on is caught");
    port_irq_off();
    port_halt();
    tap_ok(fake_cpu[0].halts == 1 && !fake_cpu[0].irq_off, "halt turns interrupts on");
    port_doorbell(4);
    tap_eq(fake_cpu[4].doorbells, 1, "doorbells are counted");
    fake_console_input("x");
    tap_ok(port_console_read() == 'x' && port_console_read() == -1, "console input");
    fake_set_tsc(10, 3);
    tap_ok(port_tsc() == 10 && port_tsc() == 13, "virtual clock");
    fake_reset();
}

/* The harness itself: what main of a test with these results would return. */
static int harness_result(bool with_test, bool result)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(99);
        tap_count = tap_failed = 0;
        if (with_test)
            tap_ok(result, "x");
        _exit(tap_done());
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static void test_harness(void)
{
    tap_eq(harness_result(true, true), 0, "a passing test exits with 0");
    tap_eq(harness_result(true, false), 1, "a failing test exits with 1");
    tap_eq(harness_result(false, false), 1, "a test that ran nothing exits with 1");
}

int main(void)
{
    test_harness();
    test_mem();
    test_str();
    test_printf();
    test_lock();
    test_log();
    test_log_smp();
    test_log_rate();
    test_ring();
    test_fake();
    return tap_done();
}
