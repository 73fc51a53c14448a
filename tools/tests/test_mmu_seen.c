/* SPDX-License-Identifier: BSD-2-Clause */
/* Another CPU's store that is in memory and not posted yet: the guest may have seen it there, and
 * what is an event afterwards leaves nothing older behind. CPU 1 is the one that stores; only its
 * `storing` word says so. The simulator's oracle counts stores from that moment, too. The files
 * that read entries are compiled into this test, with a look before their loads. */
#include <stdbool.h>
#include <stdint.h>

static void before_load(const void *at);
#define __atomic_load_n(p, order) (before_load(p), __atomic_load_n(p, order))
#include "hv/mmu/gpte.c"
#include "hv/mmu/plain.c"
#include "hv/mmu/walk.c"
#undef __atomic_load_n
#undef NEEDS
#include "tools/tests/mmu_rig.h"

#define VA(t, i) ((uint64_t)(t) << 21 | (uint64_t)(i) << 12)
#define AD (PTE_A | PTE_D)
#define OTHER 700ull

/* Three pages of a table that CPU 0 has read-only: clean, so that stores fault. */
static void used(void)
{
    rig_up("batch=off fresh=off", 128);
    for (unsigned i = 1; i < 4; i++)
        (void)fault(0, VA(0, i), PFEC_U);
}

/* CPU 1 is storing v, to the entry or somewhere in its frame. */
static void storing(uint64_t f, unsigned i, uint64_t v, bool frame)
{
    uint64_t at = frame ? f << 12 | STORING_FRAME : (f << 12 | i * 8) & ~STORING_GRANULE_MASK;

    atomic_store(&co.cpu[1].storing, at | STORING_BUSY);
    *entry(f, i) = v;
}

/* Taken away by CPU 1 right before this CPU's next but `late` load of it. */
static uint64_t *taken;
static unsigned late;

static void before_load(const void *at)
{
    if (at != taken || late--)
        return;
    taken = NULL;
    storing(PT, 2, 0, false);
}

static void test_invlpg(void)
{
    for (unsigned i = 2; i < 4; i++) { /* both entries of a granule */
        used();
        storing(PT, i, OTHER << 12 | ALL | AD, false);
        tap_eq(leaf(0, VA(0, i)) & PTE_ADDR, host_of(512 + i), "a store is on its way");
        mmu_event_invlpg(&mmu[0], gva(VA(0, i)));
        tap_eq(leaf(0, VA(0, i)) & PTE_ADDR, host_of(OTHER), "... INVLPG does not miss it");
        tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(513), "... and leaves the others");
        tap_eq(stat_of(0, STAT_stores_seen), 1, "... which is counted");
    }
    used();
    storing(PT, 2, OTHER << 12 | ALL | AD, true);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 2)));
    tap_eq(leaf(0, VA(0, 2)) & PTE_ADDR, host_of(OTHER), "nor one that names the frame alone");
    used();
    storing(PT, 2, OTHER << 12 | ALL | AD, false);
    mmu_event_flush(&mmu[0]);
    tap_eq(leaf(0, VA(0, 2)) & PTE_ADDR, host_of(OTHER), "nor does a flush of everything");
}

static void test_link(void)
{
    used();
    storing(PD, 0, (PT + 1) << 12 | ALL, false);
    mmu_event_invlpg(&mmu[0], gva(VA(1, 9)));
    tap_eq(leaf(0, VA(0, 2)), 0, "INVLPG of any address: a link that is being changed is none");
    used();
    storing(PD, 0, (PT + 1) << 12 | ALL, false);
    tap_eq(fault(0, VA(0, 2), PFEC_U | PFEC_W), MMU_RESUME, "a fault finds the other table");
    tap_eq(leaf(0, VA(0, 2)) & PTE_ADDR, host_of(512 + 16 + 2), "... and not the one before");
}

static void test_fault(void)
{
    used();
    storing(PT, 2, 0, false);
    tap_ok(forwarded(0, VA(0, 2), PFEC_U | PFEC_W, PFEC_U | PFEC_W),
           "a store to what is being taken away is the guest's fault");
    tap_eq(leaf(0, VA(0, 2)), 0, "... after which it cannot be read either");
}

/* It comes between the look and the read, of which the fault is the outcome. */
static void test_read(bool plain)
{
    rig_up("batch=off fresh=off", 128);
    *entry(PT, 2) &= ~PTE_W;
    for (unsigned i = 1; i < 4; i++)
        (void)fault(0, VA(0, i), PFEC_U);
    uint64_t walks = stat_of(0, STAT_walks);
    taken = entry(PT, 2);
    late = plain ? 0 : 1;
    mmu[0].leave_soon = !plain;
    tap_ok(forwarded(0, VA(0, 2), PFEC_U | PFEC_W, PFEC_U | PFEC_W), "taken away as it is read");
    tap_ok(!taken && stat_of(0, STAT_walks) == walks + 1, "... by the one way or the other");
    tap_eq(leaf(0, VA(0, 2)), 0, "... nothing is left of it");
}

static void test_emulator(void)
{
    struct guest_fault f;
    gpa_t at;

    used();
    tap_eq(mmu_translate(&mmu[0], gva(VA(0, 2)), PFEC_U, &at, &f), HV_OK, "the emulator reads");
    storing(PD, 0, (PT + 1) << 12 | ALL, false);
    tap_eq(mmu_translate(&mmu[0], gva(VA(0, 3)), PFEC_U, &at, &f), HV_OK, "... by what is stored");
    tap_eq(at.v >> 12, 512 + 16 + 3, "... in the other table");
}

/* Its own word is no news to a CPU, and a post that was made is found by its slot. */
static void test_others_only(void)
{
    used();
    atomic_store(&co.cpu[0].storing, (uint64_t)PT << 12 | STORING_BUSY);
    tap_ok(!consumer_news(&coh[0]) && consumer_news(&coh[1]), "news is what others store");
    mmu_event_invlpg(&mmu[0], gva(VA(0, 2)));
    tap_eq(stat_of(0, STAT_stores_seen), 0, "... only");
    atomic_store(&co.cpu[0].storing, 0);
    put(1, PT, 2, OTHER << 12 | ALL | AD);
    tap_ok(consumer_news(&coh[0]), "... or have posted");
    mmu_event_invlpg(&mmu[0], gva(VA(0, 2)));
    tap_eq(leaf(0, VA(0, 2)) & PTE_ADDR, host_of(OTHER), "... which the event applies");
}

int main(void)
{
    test_invlpg();
    test_link();
    test_fault();
    test_read(true);
    test_read(false);
    test_emulator();
    test_others_only();
    rig_down();
    return tap_done();
}
