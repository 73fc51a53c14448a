/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of one CPU: its loop, the console's keys, who watches whom, the end.
 * Tested by tools/tests/test_exits.c and test_input.c. */
#pragma once
#include "hv/vcpu/subvmm.h"

/* The VM ended, how as in struct vm.ended; on the finisher, outside every device lock. Set by
 * hv/main.c before any loop starts: prints what is to be printed, ends the machine or makes the VM
 * anew or leaves it off. The other: the monitor starts one that is off; on its VCPU 0. */
extern void (*subvmm_end_hook)(struct vm *vm, uint32_t how);
extern void (*subvmm_start_hook)(struct vm *vm);
/* Set by hv/main.c before any loop starts. Each console key, a byte or PORT_CONSOLE_BREAK, on the
 * CPU that reads the console: returns how many of `pass` the guest gets for it, 0..2. NULL: every
 * key is the guest's. */
extern unsigned (*subvmm_key_hook)(struct subvmm *s, unsigned key, unsigned pass[2]);
/* This CPU took ACTION_MONITOR. NULL: nobody asks. */
extern void (*subvmm_monitor_hook)(struct subvmm *s);
/* Builds the sub-VMM of this CPU (private memory at s, shadow pool at pool) and never returns: the
 * loop drain, serve, inject, enter, handle. Context: owner CPU, interrupts on, after
 * vcpu_ops->enable. */
_Noreturn void subvmm_run(struct subvmm *s, struct vm *vm, void *pool, hpa_t pool_hpa,
                          uint64_t pool_bytes);

/* loop.c, for tests: one round, and what precedes the first. */
void subvmm_round(struct subvmm *s);
enum hv_err subvmm_init(struct subvmm *s, struct vm *vm, void *pool, hpa_t pool_hpa,
                        uint64_t pool_bytes) HV_MUST_CHECK;
/* watch.c: the CPU of the machine that reads the consoles, at boot; 0 without. */
void watch_reader(uint32_t pcpu);
/* Who reads the console, and a guest that gets nowhere. Once before the loop. */
void watch_start(struct subvmm *s);
/* A look at the CPU that does, by the one that would take over. */
void watch_look(const struct subvmm *s);
/* true: this CPU may read keys until watch_read_end. */
bool watch_read_begin(const struct subvmm *s);
void watch_read_end(const struct subvmm *s);
/* This CPU comes round its loop, whether or not events show it. */
void watch_beat(const struct subvmm *s);
/* devices.c: virtual devices do what waits for them, within bounds. In each round of the loop. */
/* ACTION_MSI: interrupts of the machine's devices go to the guest, what an IOMMU blocked to the log. */
void devices_arrived(struct subvmm *s);
void devices_run(struct subvmm *s);
/* guestwatch.c: a guest that gets nowhere is said to, once. When watch_at has come, by its timer.
 */
void guestwatch_start(struct subvmm *s);
void guestwatch_look(struct subvmm *s);
/* This VCPU is in HLT with interrupts off; it left it (or was reset). */
void guestwatch_dead(struct subvmm *s);
void guestwatch_alive(struct subvmm *s);
/* For people: real, 16-bit, 64-bit ... */
const char *vcpu_mode_name(struct subvmm *s);
/* input.c: console keys to the monitor and to the guest's UART, while something waits. */
void input_pump(struct subvmm *s);
void input_start(void); /* nothing is typed yet */
/* For people; the numbers may be torn. */
void input_counts(const struct vm *vm, uint32_t *waiting, uint64_t *lost);
static inline bool input_waits(const struct subvmm *s)
{
    return s->input.ready || s->input.waits;
}
/* end.c. What the finisher does last: waits for the others, then subvmm_end_hook. */
void subvmm_finish(struct subvmm *s);
/* This CPU has nothing more to do for this life of its VM. */
bool subvmm_over(const struct subvmm *s);
/* Until the VM begins anew: asleep, but for keys and the monitor's questions. It takes part in no
 * protocol of the VM, so that everything of it can be made anew meanwhile. */
void subvmm_off(struct subvmm *s);
