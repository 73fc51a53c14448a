/* SPDX-License-Identifier: BSD-2-Clause */
/* The slot protocol of one patch channel (Fig. 9, README "Slots and channels"), and the one shared
 * channel of coherency=locked with the same three operations. Private to hv/coherency; the producer
 * and the consumer are the only users. Tested by tools/tests/test_channel.c and
 * test_channel_tsan.c. */
#pragma once
#include "hv/coherency/coherency.h"

/* What identifies a patch; the rest of a slot word are marks. */
#define SLOT_KEY (SLOT_GPA | SLOT_WHOLE)

static inline uint64_t patch_key_entry(gpa_t at)
{
    return at.v & SLOT_GPA;
}
static inline uint64_t patch_key_whole(gfn_t f)
{
    return (gfn_gpa(f).v & SLOT_GPA) | SLOT_WHOLE;
}

enum post_result {
    POST_PUBLISHED, /* a new slot: the consumer's pending bit must be set now */
    POST_COALESCED, /* an unconsumed patch names the same entry: nothing else to do */
    POST_OVERFLOW,  /* no slot: the overflow flag is set, the pending bit must be set now */
};

/* Producer of this channel only. dv NULL: no derived value. */
enum post_result channel_post(struct channel *ch, uint64_t key, const struct patch_payload *dv);
/* Consumer only: frees a slot whose word was seen as `word` (the payload is read first). Returns
 * the word that was freed, whose SLOT_DV tells whether *dv is valid. */
uint64_t channel_free(struct channel *ch, unsigned i, struct patch_payload *dv);
/* Consumer only: was the channel full? Clears the flag. */
bool channel_take_overflow(struct channel *ch);
/* Is there a used slot for `key`? For the audit; consumer only. */
bool channel_has(const struct channel *ch, uint64_t key);

/* Any producer: publishes to the consumers `to`, whose pending bits must be set afterwards in every
 * case. POST_COALESCED: all of them had this patch already. */
enum post_result shared_post(struct shared_channel *s, uint64_t key, cpuset_t to,
                             const struct patch_payload *dv);
bool shared_take_overflow(struct shared_channel *s, uint32_t cpu);

struct shared_patch {
    uint64_t word;
    struct patch_payload dv;
};
#define SHARED_BATCH 16
/* Takes up to SHARED_BATCH patches for `cpu` from slot *cursor on, skipping those that covers()
 * refuses (counted in *postponed; called under the lock: a pure predicate). Returns how many;
 * *cursor == CHANNEL_SLOTS at the end. */
struct patch_sink;
unsigned shared_take(struct shared_channel *s, uint32_t cpu, unsigned *cursor,
                     const struct patch_sink *sink, struct shared_patch *out, unsigned *postponed);
bool shared_explains(struct shared_channel *s, uint32_t cpu, uint64_t entry, uint64_t whole);

/* Patch counters of a pair: written by one side only, read by anyone. */
static inline void channel_count(_Atomic uint64_t *n)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}
