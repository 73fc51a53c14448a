/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines with levels and subsystems: "[cpu] subsys: text". Kept in a ring from entry on and
 * replayed to each console when it comes up. Tested by tools/tests/test_base.c. */
#pragma once
#include <stdarg.h>
#include "hv/base/types.h"

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* One line, no trailing newline needed. Context: any CPU, not from the exit path above debug level,
 * never while waiting for another CPU. */
void log_msg(enum log_level level, const char *subsys, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void log_set_level(enum log_level level);
/* true at most `burst` times a second for each *state; for lines a guest can cause. */
bool log_ratelimit(uint64_t *state);
/* Text of ours to all consoles and the ring, without a head (machine-readable lines). */
void log_raw(const char *text, size_t len);
/* The same for what a guest sent: serial consoles get these very bytes, where our own lines get CR
 * LF. */
void log_guest(const char *text, size_t len);
/* Keeps other CPUs' output out until log_release(what log_hold returned): for one long line made of
 * many log_raw calls. A waiter takes over after a bounded time. Context: loop and boot, nothing
 * that waits. */
bool log_hold(void);
void log_release(bool held);
/* Everything still in the ring, oldest first, in whole lines: for a console that comes up later. */
void log_replay(void (*write)(const char *text, size_t len));

#define log_err(subsys, ...) log_msg(LOG_ERR, subsys, __VA_ARGS__)
#define log_warn(subsys, ...) log_msg(LOG_WARN, subsys, __VA_ARGS__)
#define log_info(subsys, ...) log_msg(LOG_INFO, subsys, __VA_ARGS__)
#define log_debug(subsys, ...) log_msg(LOG_DEBUG, subsys, __VA_ARGS__)

/* printf subset: %s %c %d %i %u %x %X %p %%, flags 0 - #, width, precision for %s, l ll z h.
 * Always terminates; returns the length it would have had. */
int hv_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
int hv_snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
