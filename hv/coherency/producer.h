/* SPDX-License-Identifier: BSD-2-Clause */
/* Producer 396, Fig. 11: stores to guest memory that may hold page tables, and posting patches.
 * Only the sub-VMM loop calls these: never an interrupt handler, never a drain. In
 * coherency=shootdown and overflow=shootdown they wait for the consumers, and always for other
 * holders of the frame (direct.h), and serve inbound requests meanwhile (self->serve). Tested by
 * tools/tests/test_channel.c. */
#pragma once
#include "hv/coherency/coherency.h"

/* Atomically replaces `width` bytes (1, 2, 4, 8) at `host`, which is the guest address `at`, by
 * `value`; posts the entry (or entries) it lies in to the frame's consumers, this CPU included,
 * by the interest rule (README "Interest"). Must not cross an 8-byte boundary. Performed as one
 * LOCKed 8-byte RMW, so the old entry's P and A come from the same RMW. Returns the old value
 * (width bytes). Source: Fig. 11 steps 831..848; [0096], [0106]..[0110]. */
uint64_t producer_exchange(struct coh_cpu *self, gpa_t at, void *host, unsigned width,
                           uint64_t value);
/* The same of 8 aligned bytes, but that this CPU's own patch for them is not posted. true: there is
 * one; the caller applies it, by a re-read of the entry, before its guest goes on and before its
 * next event (README "Producer"). */
bool producer_exchange_own(struct coh_cpu *self, gpa_t at, void *host,
                           uint64_t value) HV_MUST_CHECK;
/* Same, only if the current value equals `expected`; true if stored. A failed compare posts
 * nothing. *old: the value found. */
bool producer_cmpxchg(struct coh_cpu *self, gpa_t at, void *host, unsigned width, uint64_t expected,
                      uint64_t value, uint64_t *old);
/* Any other store of ours of n bytes inside one frame: `storing` names the frame, memcpy, full
 * fence, load the trace word, WHOLE to its consumers. */
void producer_store(struct coh_cpu *self, gpa_t at, void *host, const void *src, size_t n);
/* Before and after the RMW by which this CPU makes f unsync: false, and nothing is done, if others
 * hold it (direct.h) and must be asked first. Nothing is served and no store made in between. */
bool producer_give_up(struct coh_cpu *self, gfn_t f) HV_MUST_CHECK;
void producer_given_up(struct coh_cpu *self);
/* WHOLE for frame f to each CPU of `to` (self included goes through the own channel). */
void producer_post_whole(struct coh_cpu *self, gfn_t f, cpuset_t to);
