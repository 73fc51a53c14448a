/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPUs of test_channel_tsan.c on the machine of tso.h: the same oracle, with store buffers and
 * every interleaving of atomic operations that the seed brings about. Here the order of an entry's
 * stores is known as they become visible, so that no CPU need wait to learn of another's. */
#define STEPS 60000
#define PLACES_SEEN
#include "tools/tests/tso.h"
/* The machine's macros first. */
#include "tools/tests/test_channel_tsan.c"

static uint32_t last;

static void place_note(volatile void *at, uint64_t value)
{
    uintptr_t offset = (uintptr_t)at - (uintptr_t)page;
    if (offset < sizeof(page) && id_of(value) < IDS && !place[id_of(value)])
        place[id_of(value)] = ++last;
}

static void places_see(void)
{
    tso.wrote = place_note;
}
