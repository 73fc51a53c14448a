/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics line, trace dump and monitor. Tested by tools/tests/test_stats.c and test_mon.c. */
#pragma once
#include "hv/vm/vm.h"

struct subvmm;

/* "patchbay-stats: {json}" to the consoles: per CPU and total counters, exits by kind, channels
 * (producer, consumer, posts, coalesces, overflows, drained) that are not zero, mode names. One
 * line. Any CPU. */
void mon_stats_line(const struct vm *vm);
/* Everything about every CPU that can be had without its owner: modes, action words, pending,
 * storing, rings. */
void mon_dump_all(const struct vm *vm, void (*emit)(const char *line));
/* The event rings of all CPUs as text for tools/trace.py: "patchbay-trace: begin ...", one line
 * "pbt CPU TSC KIND A B" an event, "patchbay-trace: end". Numbers are hexadecimal. Any CPU. */
void mon_trace_block(const struct vm *vm);
/* subvmm_key_hook: finds the escape among the console's keys and, while the monitor is open, keeps
 * them all, a BREAK too. Context: loop of the CPU that reads the console, no lock held; may wait
 * for other CPUs a bounded time, serving requests meanwhile. */
unsigned mon_key(struct subvmm *s, unsigned key, unsigned pass[2]);
/* Where CPUs answer the monitor: mon_bytes for the machine's CPUs, page-aligned, placed before the
 * hooks below are. */
size_t mon_bytes(uint32_t ncpus);
void mon_place(void *zeroed);
/* subvmm_monitor_hook: this CPU answers what the monitor asked it. Context: its loop. */
void mon_answer(struct subvmm *s);
