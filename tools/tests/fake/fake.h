/* SPDX-License-Identifier: BSD-2-Clause */
/* Controls of the fake machine that stands behind hv/port on the host: memory arena, virtual clock,
 * per-thread CPU number, recorded doorbells, timers and consoles, and panics turned into results.
 * Tested by tools/tests/test_base.c. */
#pragma once
#include <stdatomic.h>
#include "hv/base/types.h"
#include "hv/port/cpu.h"

/* Everything below back to its initial state (the arena is freed). */
void fake_reset(void);

/* Host-physical memory [base, base + bytes): zeroed, lazily backed, guard pages on both sides, 2
 * MiB aligned when base is; port_ptr() reaches it. Replaces the arena there was. Several GiB are
 * fine as long as few pages are touched. */
void *fake_arena(uint64_t base, uint64_t bytes);

/* The calling thread is CPU `cpu` from now on (0 at first); port_ncpus() gives `n` (1 at first). */
void fake_set_cpu(uint32_t cpu);
void fake_set_ncpus(uint32_t n);

/* Virtual clock: port_tsc() gives `tsc`, plus `step` more at each call. Before the first call it is
 * the host's monotonic clock in nanoseconds (port_tsc_hz() 1 GHz). */
void fake_set_tsc(uint64_t tsc, uint64_t step);
void fake_set_tsc_hz(uint64_t hz);
/* What port_tsc_constant() gives; true at first. */
void fake_set_tsc_constant(bool constant);
void fake_set_boot_time(uint64_t seconds);
/* The clock was read at that TSC; without it, when it is asked for. */
void fake_set_boot_time_tsc(uint64_t tsc);

/* Recorded behaviour, per CPU where it says so. */
struct fake_cpu {
    _Atomic uint64_t doorbells; /* received */
    _Atomic uint64_t timer;     /* last port_timer_arm, UINT64_MAX at first */
    _Atomic uint64_t timer_arms, halts, relaxes;
    _Atomic uint64_t guest_cr4;          /* last port_host_cr4_follow */
    _Atomic uint64_t xcr0, xstate_reset; /* of port_xcr0; last port_xstate_reset */
    _Atomic bool irq_off;
    _Atomic uint64_t poll_us; /* last port_console_poll */
};
extern struct fake_cpu fake_cpu[HV_MACHINE_CPUS];

/* The x87 environment of every CPU; port_x87_clear drops the error from its status word. */
extern uint32_t fake_x87[X87_ENV_WORDS];
/* What port_machine_check returns. */
extern enum port_mc fake_mc;
/* Has the processor random numbers? false at first. */
extern bool fake_has_random;
/* What port_lfence_serialise returns; false at first. */
extern bool fake_lfence;
/* What port_where returns; its text is "fake". */
extern bool fake_answers_nmi;
/* Called in addition, if set: on port_doorbell (target), port_halt and port_relax (own number). */
extern void (*fake_on_doorbell)(uint32_t cpu);
extern void (*fake_on_halt)(uint32_t cpu);
extern void (*fake_on_relax)(uint32_t cpu);

/* Console output so far, NUL-terminated; at most 1 MiB is kept. Echo: also to stderr. */
const char *fake_console(void);
size_t fake_console_len(void);
void fake_console_clear(void);
void fake_console_echo(bool on);
/* Number of port_console_write calls so far. */
uint64_t fake_console_writes(void);
/* Bytes of it that came by port_console_raw. */
uint64_t fake_console_raw_bytes(void);
/* Bytes port_console_read returns, in order, and how many are left; a BREAK before the next one. */
void fake_console_input(const char *text);
void fake_console_input_bytes(const char *bytes, size_t n);
size_t fake_console_input_left(void);
void fake_console_break(void);
/* What went to com2, the one port that a VM can have alone. */
const char *fake_console_own(void);
/* Bytes of port_debugcon so far, and the last port_debug_exit value (UINT64_MAX: none). */
const char *fake_debugcon(void);
extern bool fake_no_debugcon; /* the machine has no port E9 */
uint64_t fake_debug_exit(void);

/* Runs fn(arg) and returns how it ended. Only on the calling thread; without it a panic prints its
 * text and aborts, and power-off, reset and stop end the process with status 70, 71, 72. */
enum fake_end { FAKE_RETURNED, FAKE_PANIC, FAKE_POWEROFF, FAKE_RESET, FAKE_STOP };
enum fake_end fake_run(void (*fn)(void *arg), void *arg);
/* Text of the last panic caught by fake_run, "" if none. */
const char *fake_panic_text(void);
