/* SPDX-License-Identifier: BSD-2-Clause */
/* Consumer 399, Fig. 12: taking patches out of the channels. Not re-entrant, owner CPU only.
 * Tested by tools/tests/test_channel.c. */
#pragma once
#include "hv/coherency/coherency.h"

/* What a drain does with a patch; all called on the owner CPU after the slot was freed. */
struct patch_sink {
    void *ctx;
    /* Step 868: must the present event process this patch? false leaves the slot used and re-arms
     * the pending bit (870). NULL: everything is processed. */
    bool (*covers)(void *ctx, gpa_t entry, bool whole);
    /* Steps 872..876: re-read the entry, repair every spte keyed by it. dv: derived value that may
     * be used if the entry still equals dv->gpte and the counter is current; else NULL. */
    void (*repair)(void *ctx, gpa_t entry, const struct patch_payload *dv);
    /* Any entry of the page may have changed. */
    void (*whole)(void *ctx, gfn_t f);
    /* Patches were lost, possibly a WHOLE: deregister everything or list every shadow page. */
    void (*overflow)(void *ctx);
};
/* Plain load: is there anything in a channel to this CPU? Includes postponed patches. */
bool consumer_pending(const struct coh_cpu *self);
/* Takes the pending word by exchange, then per producer: overflow first, then each used word: read
 * payload, exchange(word, 0), sink. Returns how many patches and overflows were handed to the sink.
 */
unsigned consumer_drain(struct coh_cpu *self, const struct patch_sink *sink);
/* What other CPUs are storing to at this moment. This CPU's guest may have seen such a store in
 * memory already, while no slot names it yet: an event must not miss it. Hands the entries named by
 * their `storing` words to the sink, which re-reads them; the posts follow as ever. Before
 * consumer_pending and the drain of the same event. Returns how many stores that were. */
unsigned consumer_stores(struct coh_cpu *self, const struct patch_sink *sink);
/* Would that, or a drain after it, find anything? */
bool consumer_news(const struct coh_cpu *self);
/* After the re-read found `gpte`: may dv->spte stand for the frame it maps to? (equal entry and
 * current trace counter, 394E.) Counts derived_used. */
bool consumer_derived_usable(const struct coh_cpu *self, const struct patch_payload *dv,
                             uint64_t gpte);
/* For the audit (README "The property"), after the guest entry was read: does a storing word name
 * the entry, or a used slot to this CPU name it or (WHOLE) its page, or is an overflow flag to this
 * CPU set? Reads all storing words first (acquire), then slots, then overflow. */
bool consumer_explains(const struct coh_cpu *self, gpa_t entry);
