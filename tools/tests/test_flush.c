/* SPDX-License-Identifier: BSD-2-Clause */
/* Remote flushes: a halted CPU is left alone and flushes when it wakes, any other answers between
 * two instructions and flushes before it enters, and who asks waits for that. */
#include "tools/tests/exits_rig.h"
#include "hv/base/stats.h"
#include "hv/coherency/flush.h"

static const struct flush_what all = {.everything = true}, two = {.page = 0x12345, .more = 1};
static bool in_between; /* the other CPU is between two instructions, else in the midst of one */
static unsigned relaxes, answered_at;

static uint64_t stat_of(uint32_t c, enum stat s)
{
    return hv_stats[c].n[s];
}

/* CPU 1 while CPU 0 waits: from its second round on in between. */
static void other_runs(uint32_t cpu)
{
    if (cpu != 0)
        return;
    fake_set_cpu(1);
    relaxes++;
    if (in_between || relaxes > 3) {
        mmu_between(&sub[1].mmu);
        answered_at = answered_at ? answered_at : relaxes;
    } else {
        (void)mmu_serve(&sub[1].mmu);
    }
    fake_set_cpu(0);
}

static void fresh(void)
{
    rig_new(3, false);
    fake_on_relax = other_runs;
    relaxes = answered_at = 0;
    in_between = true;
}

static void test_packing(void)
{
    fresh();
    mmu_flush_others(&sub[0].mmu, 2, &two);
    tap_eq(stat_of(1, STAT_flush_page), 2, "two pages: two events of a page on the other CPU");
    tap_eq(stat_of(1, STAT_flushes_owed), 1, "... by one request");
    uint64_t epoch = sub[1].mmu.epoch;
    const struct flush_what high = {.page = 0xffff80005};
    mmu_flush_others(&sub[0].mmu, 2, &high);
    tap_eq(sub[1].mmu.epoch - epoch, 1, "a kernel's page is one event");
    tap_eq(sub[1].mmu.event_va.v, 0xffffffff80005000ull, "... of its sign-extended address");
}

static void test_awake(void)
{
    fresh();
    uint64_t epoch = sub[1].mmu.epoch;
    mmu_flush_others(&sub[0].mmu, 2, &all);
    tap_eq(answered_at, 1, "a CPU in the loop answers at once");
    tap_ok(sub[1].mmu.epoch > epoch && !sub[1].mmu.owed_all,
           "... and has flushed before it goes on");
    fresh();
    in_between = false;
    mmu_flush_others(&sub[0].mmu, 2, &all);
    tap_ok(answered_at > 3, "one in the midst of an instruction answers behind it (%u)",
           answered_at);
    tap_eq(stat_of(2, STAT_flushes_owed), 0, "a CPU that was not named does nothing");
}

static void test_both(void)
{
    fresh();
    /* CPU 1 asks CPU 0 while that waits for CPU 1 */
    struct mailbox *m = &co.cpu[0].mailbox[1];
    atomic_store(&m->request, REQUEST_FLUSH | BIT(40) << 8);
    atomic_store(&m->seq, 77);
    action_post(&co, 1, 0, BIT(1));
    mmu_flush_others(&sub[0].mmu, 2, &all);
    tap_eq(atomic_load(&m->ack), 77, "who waits for an answer answers");
    tap_ok(sub[0].mmu.owed_all, "... and owes itself the flush");
    mmu_between(&sub[0].mmu);
    tap_ok(!sub[0].mmu.owed_all && stat_of(0, STAT_flushes_owed) == 1, "... which the loop does");
}

static uint32_t halted_mode;
static void on_halt(uint32_t cpu)
{
    halted_mode = atomic_load(&co.cpu[cpu].mode);
    fake_set_cpu(0);
    mmu_flush_others(&sub[0].mmu, BIT(1), &two);
    fake_set_cpu(1);
}

static void test_halted(void)
{
    fresh();
    fake_on_halt = on_halt;
    fake_set_cpu(1);
    subvmm_round(&sub[1]); /* it waits for SIPI */
    fake_on_halt = NULL;
    tap_eq(halted_mode, MODE_HALTED, "CPU 1 halts");
    tap_ok(!relaxes && !atomic_load(&fake_cpu[1].doorbells), "nobody wakes it or waits for it");
    tap_eq(stat_of(0, STAT_flushes_left), 1, "the flush is left to it");
    tap_ok(sub[1].mmu.owed_all, "it owes itself one as soon as it is awake");
    uint64_t epoch = sub[1].mmu.epoch;
    mmu_between(&sub[1].mmu);
    tap_ok(sub[1].mmu.epoch > epoch, "... and has done it before anything else");
    tap_ok(!flush_take(&sub[1].coh), "once");
    fake_set_cpu(0);
}

/* The mode is MODE_HALTED for a moment also where an action keeps it from halting. */
static void test_moment(void)
{
    fresh();
    atomic_store(&co.cpu[1].flush_owed, 1);
    fake_set_cpu(1);
    sub[1].paused = true;
    action_post(&co, 0, 1, BIT(0)); /* nothing is in the mailbox that the loop would take: */
    atomic_store(&co.cpu[1].mailbox[0].request, 0);
    sub[1].vcpu.state = VCPU_PARKED;
    subvmm_round(&sub[1]);
    tap_ok(sub[1].mmu.owed_all, "what was left in such a moment is found");
    fake_set_cpu(0);
}

static void test_self(void)
{
    fresh();
    uint64_t epoch = sub[0].mmu.epoch;
    mmu_flush_self(&sub[0].mmu, &two);
    tap_eq(sub[0].mmu.epoch - epoch, 2, "its own two pages");
    mmu_flush_self(&sub[0].mmu, &all);
    tap_ok(sub[0].mmu.epoch - epoch == 3 && !relaxes, "and all: nobody else is asked");
}

int main(void)
{
    test_packing();
    test_awake();
    test_both();
    test_halted();
    test_moment();
    test_self();
    return tap_done();
}
