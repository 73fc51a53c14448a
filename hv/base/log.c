/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines: formatting, the ring that keeps everything since entry, and the bounded lock that
 * keeps lines of different CPUs apart. Tested by tools/tests/test_base.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include <stdatomic.h>

#define LINE_MAX 512
#define RING_BYTES 65536u
#define RATE_BURST 5u
/* PAUSEs without a byte of progress after which a waiter takes the lock away from its holder: a CPU
 * stopped by a panic, or one that was interrupted for ever, costs one such wait and never a
 * deadlock. */
#define WAIT_SPINS 4000000u

static _Atomic uint32_t threshold = LOG_INFO;
static char ring[RING_BYTES];
static _Atomic uint64_t ring_total; /* bytes ever added; written under the owner word */
/* 0 free, else CPU + 1. Guards the ring and the order of lines (LOCK_LOG: nothing is taken inside).
 */
static _Atomic uint32_t owner;

static uint64_t ring_bytes(void)
{
    return atomic_load_explicit(&ring_total, memory_order_relaxed);
}

/* true: to be released; false: this CPU holds it already (an interrupt or a panic in between). */
static bool hold(uint32_t me)
{
    uint64_t total = ring_bytes();
    for (uint32_t spins = 0;; spins++) {
        uint32_t seen = 0;
        if (total != ring_bytes()) {
            total = ring_bytes();
            spins = 0;
        }
        /* pairs with the release in log_release */
        if (atomic_compare_exchange_weak_explicit(&owner, &seen, me, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
        if (seen == me)
            return false;
        if (seen != 0 && spins >= WAIT_SPINS &&
            atomic_compare_exchange_strong_explicit(&owner, &seen, me, memory_order_acquire,
                                                    memory_order_relaxed))
            return true;
        port_relax();
    }
}

bool log_hold(void)
{
    return hold(port_cpu() + 1);
}

void log_release(bool held)
{
    uint32_t me = port_cpu() + 1;
    /* Fails harmlessly if a waiter lost its patience; release pairs with the acquire in hold. */
    if (held)
        atomic_compare_exchange_strong_explicit(&owner, &me, 0, memory_order_release,
                                                memory_order_relaxed);
}

static void ring_append(const char *text, size_t len)
{
    if (len > RING_BYTES) {
        text += len - RING_BYTES;
        len = RING_BYTES;
    }
    size_t at = (size_t)(ring_bytes() % RING_BYTES);
    size_t first = RING_BYTES - at < len ? RING_BYTES - at : len;
    memcpy(ring + at, text, first);
    memcpy(ring, text + first, len - first);
    atomic_store_explicit(&ring_total, ring_bytes() + len, memory_order_relaxed);
}

void log_raw(const char *text, size_t len)
{
    bool held = log_hold();
    ring_append(text, len);
    port_console_write(text, len);
    log_release(held);
}

void log_guest(const char *text, size_t len)
{
    bool held = log_hold();
    ring_append(text, len);
    port_console_raw(text, len);
    log_release(held);
}

void log_replay(void (*write)(const char *text, size_t len))
{
    bool held = log_hold();
    uint64_t total = ring_bytes();
    if (total <= RING_BYTES) {
        write(ring, (size_t)total);
    } else {
        size_t at = (size_t)(total % RING_BYTES), skip = 0;
        /* begin with a whole line */
        while (skip < RING_BYTES - 1 && ring[(at + skip) % RING_BYTES] != '\n')
            skip++;
        skip++;
        if (at + skip < RING_BYTES) {
            write(ring + at + skip, RING_BYTES - at - skip);
            write(ring, at);
        } else {
            size_t from = (at + skip) % RING_BYTES;
            if (from < at)
                write(ring + from, at - from);
        }
    }
    log_release(held);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (uint32_t)level, memory_order_relaxed);
}

void log_msg(enum log_level level, const char *subsys, const char *fmt, ...)
{
    char line[LINE_MAX];
    va_list ap;
    if ((uint32_t)level > atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    size_t n = (size_t)hv_snprintf(line, sizeof(line), "[%u] %s: ", port_cpu(), subsys);
    if (n > sizeof(line) / 2)
        n = sizeof(line) / 2;
    va_start(ap, fmt);
    n += (size_t)hv_vsnprintf(line + n, sizeof(line) - n, fmt, ap);
    va_end(ap);
    if (n > sizeof(line) - 1)
        n = sizeof(line) - 1;
    while (n && line[n - 1] == '\n')
        n--;
    if (n == sizeof(line) - 1)
        n--; /* room for the newline */
    line[n++] = '\n';
    log_raw(line, n);
}

bool log_ratelimit(uint64_t *state)
{
    /* state: second since power-on << 8 | lines in it. CPUs may share it, hence the exchange; a
     * lost race only drops a line. */
    _Atomic uint64_t *s = (_Atomic uint64_t *)state;
    uint64_t hz = port_tsc_hz();
    uint64_t second = hz ? port_tsc() / hz : 0;
    uint64_t old = atomic_load_explicit(s, memory_order_relaxed);
    uint64_t lines = (old >> 8) == second ? old & 0xff : 0;
    if (lines >= RATE_BURST)
        return false;
    return atomic_compare_exchange_strong_explicit(s, &old, second << 8 | (lines + 1),
                                                   memory_order_relaxed, memory_order_relaxed);
}
