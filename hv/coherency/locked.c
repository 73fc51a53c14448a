/* SPDX-License-Identifier: BSD-2-Clause */
/* coherency=locked: one channel for all producers and consumers under a mutex ([0127], [0120]), to
 * compare with the matrix. A slot carries the set of consumers that have not taken it yet. The lock
 * orders everything: an entry is stored before its post, and re-read after its slot was taken.
 * Tested by tools/tests/test_channel.c. */
#include "hv/coherency/channel.h"
#include "hv/coherency/consumer.h"

static unsigned shared_first(uint64_t key)
{
    uint64_t a = key & SLOT_GPA;
    return (unsigned)(((a >> 3) + (a >> PAGE_SHIFT) * 7) % CHANNEL_SETS) * CHANNEL_WAYS;
}

enum post_result shared_post(struct shared_channel *s, uint64_t key, cpuset_t to,
                             const struct patch_payload *dv)
{
    unsigned first = shared_first(key), free_slot = CHANNEL_SLOTS;
    enum post_result result = POST_PUBLISHED;
    lock_take(&s->lock);
    for (unsigned i = first; i < first + CHANNEL_WAYS; i++) {
        if (s->slot[i].consumers && (s->slot[i].word & SLOT_KEY) == key) {
            if (!(to & ~s->slot[i].consumers))
                result = POST_COALESCED;
            s->slot[i].word = key | SLOT_USED; /* 837: without the derived value */
            s->slot[i].consumers |= to;
            lock_drop(&s->lock);
            return result;
        }
        if (!s->slot[i].consumers && free_slot == CHANNEL_SLOTS)
            free_slot = i;
    }
    if (free_slot == CHANNEL_SLOTS) {
        s->overflow |= to;
        result = POST_OVERFLOW;
    } else {
        s->slot[free_slot].word = key | SLOT_USED | (dv ? SLOT_DV : 0);
        s->slot[free_slot].consumers = to;
        if (dv)
            s->slot[free_slot].payload = *dv;
    }
    lock_drop(&s->lock);
    return result;
}

bool shared_take_overflow(struct shared_channel *s, uint32_t cpu)
{
    bool full;
    lock_take(&s->lock);
    full = (s->overflow & (cpuset_t)BIT(cpu)) != 0;
    s->overflow &= ~(cpuset_t)BIT(cpu);
    lock_drop(&s->lock);
    return full;
}

unsigned shared_take(struct shared_channel *s, uint32_t cpu, unsigned *cursor,
                     const struct patch_sink *sink, struct shared_patch *out, unsigned *postponed)
{
    cpuset_t me = (cpuset_t)BIT(cpu);
    unsigned n = 0;
    lock_take(&s->lock);
    for (; *cursor < CHANNEL_SLOTS && n < SHARED_BATCH; ++*cursor) {
        unsigned i = *cursor;
        uint64_t word = s->slot[i].word;
        if (!(s->slot[i].consumers & me))
            continue;
        if (sink->covers && !sink->covers(sink->ctx, gpa(word & SLOT_GPA), word & SLOT_WHOLE)) {
            ++*postponed;
            continue;
        }
        out[n].word = word;
        out[n++].dv = s->slot[i].payload;
        s->slot[i].consumers &= ~me;
    }
    lock_drop(&s->lock);
    return n;
}

bool shared_explains(struct shared_channel *s, uint32_t cpu, uint64_t entry, uint64_t whole)
{
    cpuset_t me = (cpuset_t)BIT(cpu);
    bool found;
    lock_take(&s->lock);
    found = (s->overflow & me) != 0;
    for (unsigned i = 0; i < CHANNEL_SLOTS && !found; i++) {
        uint64_t key = s->slot[i].word & SLOT_KEY;
        found = (s->slot[i].consumers & me) && (key == entry || key == whole);
    }
    lock_drop(&s->lock);
    return found;
}
