/* SPDX-License-Identifier: BSD-2-Clause */
/* Flushes of other CPUs' translations on behalf of a guest that asks for them by a hypercall
 * (README "Remote flushes"). Tested by tools/tests/test_flush.c, tools/model/flush.pml. */
#pragma once
#include "hv/coherency/coherency.h"

/* What is to be forgotten: everything, or `more` + 1 pages from a linear page number on. */
#define FLUSH_MORE_MAX 15u
struct flush_what {
    bool everything;
    uint64_t page; /* linear address >> 12, 36 bits */
    uint32_t more; /* 0..FLUSH_MORE_MAX */
};

/* Asks each CPU of `to` (never self) and waits until all have left the guest between two
 * instructions and owe themselves the flush. A halted one is not woken: it finds it by flush_take.
 * Serves inbound requests meanwhile. Context: exit handler, nothing of the guest's held. */
void flush_request(struct coh_cpu *self, cpuset_t to, const struct flush_what *what);
/* Target side of a request of kind REQUEST_FLUSH: what it asks for. */
struct flush_what flush_read(gfn_t f);
/* After MODE_HALTED was left, before anything of the guest is looked at: was a flush of everything
 * asked for meanwhile? */
bool flush_take(struct coh_cpu *self);
