/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace words (README "Trace words"): per guest frame {traced, unsync, writers, consumers}, per 2
 * MiB region {registrations, writers}. Each transition is one read-modify-write of one word.
 * All: owner CPU of the bits, sub-VMM loop, seq_cst RMW. Tested by tools/tests/test_trace.c. */
#pragma once
#include "hv/coherency/coherency.h"

/* consumers 30..0, writers 61..31, unsync 62, traced 63 */
#define TRACE_CONSUMERS MASK(30, 0)
#define TRACE_UNSYNC BIT(62)
#define TRACE_TRACED BIT(63)
#define TRACE_WRITER(c) BIT(31 + (c))
#define TRACE_CONSUMER(c) BIT(c)
static inline cpuset_t trace_consumers(uint64_t w)
{
    return (cpuset_t)(w & TRACE_CONSUMERS);
}
static inline cpuset_t trace_writers(uint64_t w)
{
    return (cpuset_t)((w >> 31) & TRACE_CONSUMERS);
}
uint64_t trace_word(const struct coh_cpu *self, gfn_t f); /* seq_cst load; 0 beyond nframes */
/* The same behind plain stores to the frame: a read-modify-write that changes nothing, so that
 * either a registration that follows reads those stores or this load sees the registration. */
uint64_t trace_word_after_stores(const struct coh_cpu *self, gfn_t f);
uint64_t region_word(const struct coh_cpu *self, gfn_t f); /* count 63..32, writers 30..0 */

enum trace_fill {
    TRACE_FILL_RO,     /* traced and synced: word untouched, map read-only */
    TRACE_FILL_RW,     /* not traced: writer bit set, map writable */
    TRACE_FILL_UNSYNC, /* traced and unsync: writer bit set; WHOLE must be posted to every consumer
                          in *old before the guest runs, then map writable */
};
/* Writable 4 KiB fill by this CPU: one conditional RMW. *old: the word before. The caller writes
 * the spte next and serves nothing inbound in between. */
enum trace_fill trace_fill_writable(struct coh_cpu *self, gfn_t f, uint64_t *old) HV_MUST_CHECK;
/* Writable 2 MiB fill of f's region: sets the region writer if the registration count is 0 (one
 * conditional RMW), else false and nothing done. */
bool trace_fill_region(struct coh_cpu *self, gfn_t f) HV_MUST_CHECK;

/* Registers this CPU as consumer of f before it derives anything from it. first: this CPU has no
 * shadow page of f yet, so the region count goes up (do not call otherwise). Region count up, then
 * frame fetch_or(traced | consumer); bumps the trace counter. *ask: the CPUs to send REQUEST_DROP
 * to and wait for (never self; empty if the old word was unsync for frame writers, region writers
 * are always asked); *self_drop: this CPU must drop its own writable sptes too. Returns the old
 * word; with TRACE_UNSYNC in it the page goes on the private unsync list. */
uint64_t trace_install(struct coh_cpu *self, gfn_t f, cpuset_t *ask, bool *self_drop);
/* The same for a leaf table that nobody traces and that only this CPU has mapped writable, frame by
 * frame: one RMW sets traced, unsync and consumer, so the mapping stays; the caller lists the page
 * and counts as its writer. false: not so, and nothing done; then trace_install. */
bool trace_install_fresh(struct coh_cpu *self, gfn_t f) HV_MUST_CHECK;
/* Deregisters with this CPU's last shadow page of f, after sptes are gone and the flush is
 * scheduled: one CAS clears the consumer bit and, with the last consumer, traced and unsync; then
 * the region count goes down. */
void trace_drop(struct coh_cpu *self, gfn_t f);

/* The writer makes f unsync for itself: one RMW sets unsync | writer (only writer if f is no longer
 * traced). Returns the old word: WHOLE goes to every consumer in it, even if unsync was set. */
uint64_t trace_enter_unsync(struct coh_cpu *self, gfn_t f);
/* After the last writable spte of f is gone and the flush scheduled: one RMW clears writer_c and,
 * with the last writer, unsync. Serves leaving unsync, drop requests and unmapping alike.
 * Returns the old word. */
uint64_t trace_clear_writer(struct coh_cpu *self, gfn_t f);
void trace_clear_region_writer(struct coh_cpu *self, gfn_t f);
