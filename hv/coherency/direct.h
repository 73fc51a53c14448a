/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has sptes that give a not-present fault to the guest without an exit (README "Faults without
 * an exit"): per guest frame a set of CPUs, the holders. Where there are none of these words
 * (directpf=off, or a processor that cannot) nobody holds anything. Tested by
 * tools/tests/test_mmu_direct.c, the simulator and tools/model/direct.pml. */
#pragma once
#include "hv/coherency/coherency.h"

/* Bytes of holder words for `nframes` guest frames. */
size_t direct_bytes(uint64_t nframes);
/* After coherency_init, each time: mem is direct_bytes(nframes) of public memory, which nobody uses
 * any more from before; NULL: none. Context: one CPU, as there. */
void direct_init(struct coherency *co, void *mem);

/* This CPU becomes a holder of f, a table that it has registered: until direct_unclaim, whoever
 * stores to f asks it first. false: f may be stored to without that just now, and nothing is
 * changed. Not while this CPU is one. The table is read after this, not before. Context: loop,
 * nothing served until what was claimed for is in place. */
bool direct_claim(struct coh_cpu *self, gfn_t f) HV_MUST_CHECK;
/* After the last spte that stands for an entry of f, or of a table below it, is none any more. */
void direct_unclaim(struct coh_cpu *self, gfn_t f);
/* Is this CPU a holder of f? */
bool direct_mine(const struct coh_cpu *self, gfn_t f);
/* Are others? Behind `storing`, and before the store (README "Producer"). */
bool direct_others(const struct coh_cpu *self, gfn_t f);
/* The others give up what they hold of f; returns when they have. Serves meanwhile. */
void direct_revoke(struct coh_cpu *self, gfn_t f);
