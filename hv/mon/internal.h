/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls between the files of hv/mon. Tested by tools/tests/test_mon.c. */
#pragma once
#include "hv/base/stats.h"
#include "hv/mon/mon.h"
#include "hv/subvmm/life.h"

#define MON_LINE 200

/* One line of the monitor's own to the consoles. */
void mon_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mon_emit(const char *line);

/* --- stats_line.c --- */
/* A high-water mark: CPUs are combined by the largest, not by the sum. */
bool mon_is_mark(enum stat s);

/* --- dump.c --- */
const char *mon_mode_name(uint32_t mode);
/* Public words of one CPU, its open requests, channels in use, newest events. */
void mon_dump_cpu(const struct vm *vm, uint32_t c, unsigned events, void (*emit)(const char *line));

/* --- ask.c: what only the owner of private state can tell --- */
enum ask_kind {
    ASK_STATE, /* VCPU state in one line */
    ASK_REGS,  /* registers, control block, shadow pool */
    ASK_WALK,  /* arg: gva */
    ASK_AUDIT, /* every spte; findings are logged */
    ASK_PAUSE, /* pauses or resumes the VCPU: changes state */
};
/* Asks each VCPU of `to` of that VM, waits for the answers no longer than a bound, serving requests
 * meanwhile, and prints them in the order of CPUs. For one that does not answer: what is public.
 * Returns those that answered. Context: as mon_key. */
cpuset_t mon_ask(struct subvmm *s, const struct vm *vm, cpuset_t to, enum ask_kind kind,
                 uint64_t arg);

/* --- show.c: what is public --- */
void mon_show_matrix(const struct vm *vm);
void mon_show_frame(const struct vm *vm, gfn_t f);
/* Totals since boot and since the last call. */
void mon_show_stats(const struct vm *vm);
void mon_show_events(const struct vm *vm, uint32_t cpu, unsigned n);
