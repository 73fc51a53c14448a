/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics line and monitor. Tested by tools/tests/test_stats.c. */
#pragma once
#include "hv/vm/vm.h"

/* "patchbay-stats: {json}" to the consoles: per CPU and total counters, exits by kind, channels
 * (producer, consumer, posts, coalesces, overflows, drained) that are not zero, mode names. One
 * line. Any CPU. */
void mon_stats_line(const struct vm *vm);
/* Everything about every CPU that can be had without its owner: modes, action words, pending,
 * storing, rings. */
void mon_dump_all(const struct vm *vm, void (*emit)(const char *line));
