/* SPDX-License-Identifier: BSD-2-Clause */
/* The slot protocol of one patch channel: one producer, one consumer, no lock (Figs. 9, 11, 12;
 * [0120]; README "Slots and channels"). A slot word is 0 or names an entry. Only the producer makes
 * it non-zero, only the consumer makes it zero, and both do so by read-modify-writes except where
 * the word is known to be 0. Tested by tools/tests/test_channel.c, test_channel_tsan.c,
 * tools/model/slot.pml. */
#include "hv/coherency/channel.h"

/* A small set-associative hash: neighbouring entries, which a fork writes in a row, fall into
 * neighbouring sets; the frame number spreads different tables. */
static unsigned slot_first(uint64_t key)
{
    uint64_t a = key & SLOT_GPA;
    return (unsigned)(((a >> 3) + (a >> PAGE_SHIFT) * 7) % CHANNEL_SETS) * CHANNEL_WAYS;
}

static void payload_write(struct patch_slot_payload *p, const struct patch_payload *dv)
{
    /* relaxed: ordered by the release store of the word, pairs with channel_free */
    atomic_store_explicit(&p->gpte, dv->gpte, memory_order_relaxed);
    atomic_store_explicit(&p->spte, dv->spte, memory_order_relaxed);
    atomic_store_explicit(&p->counter, dv->counter, memory_order_relaxed);
}

enum post_result channel_post(struct channel *ch, uint64_t key, const struct patch_payload *dv)
{
    unsigned first = slot_first(key), free_slot = CHANNEL_SLOTS;
    for (unsigned i = first; i < first + CHANNEL_WAYS; i++) { /* 836 */
        /* acquire: pairs with the exchange of channel_free, so that our payload stores stay behind
         * the consumer's payload loads when it freed the slot */
        uint64_t w = atomic_load_explicit(&ch->slot[i], memory_order_acquire);
        if (w && (w & SLOT_KEY) == key) {
            /* 837: the derived value is outdated. The test alone proves nothing: the consumer may
             * be freeing the slot. Success puts our entry store before its exchange and so before
             * its re-read; failure means that it freed it, and the patch is published anew. */
            if (atomic_compare_exchange_strong_explicit(&ch->slot[i], &w, key | SLOT_USED,
                                                        memory_order_seq_cst, memory_order_acquire))
                return POST_COALESCED;
            w = 0; /* nobody else changes it to anything but 0 */
        }
        if (!w && free_slot == CHANNEL_SLOTS)
            free_slot = i;
    }
    if (free_slot == CHANNEL_SLOTS) { /* 838: none */
        /* Unconditionally: "already set, so leave it" races with the consumer clearing it.
         * Release, pairs with channel_take_overflow. */
        atomic_store_explicit(&ch->overflow, 1, memory_order_release);
        return POST_OVERFLOW; /* 844 is the caller's */
    }
    if (dv)
        payload_write(&ch->payload[free_slot], dv);
    /* 840 and 842 in one store; release: entry store and payload before it, pairs with channel_free
     */
    atomic_store_explicit(&ch->slot[free_slot], key | SLOT_USED | (dv ? SLOT_DV : 0),
                          memory_order_release);
    return POST_PUBLISHED;
}

uint64_t channel_free(struct channel *ch, unsigned i, struct patch_payload *dv)
{
    const struct patch_slot_payload *p = &ch->payload[i];
    dv->gpte = atomic_load_explicit(&p->gpte, memory_order_relaxed);
    dv->spte = atomic_load_explicit(&p->spte, memory_order_relaxed);
    dv->counter = atomic_load_explicit(&p->counter, memory_order_relaxed);
    /* 878, before 872: a store that finds the slot used is seen by the re-read that follows, one
     * that comes later finds it free. A full RMW: the re-read must not pass it. Pairs with both the
     * compare-exchange and the publishing store of channel_post. The word may have lost SLOT_DV
     * since it was first seen: only the value exchanged out tells. */
    return atomic_exchange_explicit(&ch->slot[i], 0, memory_order_seq_cst);
}

bool channel_take_overflow(struct channel *ch)
{
    /* The plain test misses nothing: the pending bit is set after the flag, and we took it. */
    if (!atomic_load_explicit(&ch->overflow, memory_order_acquire))
        return false;
    /* Cleared before the recovery re-reads anything; a full RMW for the same reason as above. */
    return atomic_exchange_explicit(&ch->overflow, 0, memory_order_seq_cst) != 0;
}

bool channel_has(const struct channel *ch, uint64_t key)
{
    unsigned first = slot_first(key);
    for (unsigned i = first; i < first + CHANNEL_WAYS; i++) {
        uint64_t w = atomic_load_explicit(&ch->slot[i], memory_order_acquire);
        if (w && (w & SLOT_KEY) == key)
            return true;
    }
    return false;
}
