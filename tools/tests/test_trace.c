/* SPDX-License-Identifier: BSD-2-Clause */
/* Transitions of trace words one by one (hv/coherency/trace.c). */
#include "tools/tests/coh_rig.h"

static cpuset_t ask;
static bool self_drop;

static uint64_t install(uint32_t c, uint64_t f)
{
    return trace_install(&cpu[c], gfn(f), &ask, &self_drop);
}
static uint64_t word(uint64_t f)
{
    return trace_word(&cpu[0], gfn(f));
}
static uint64_t count(uint64_t f)
{
    return region_word(&cpu[0], gfn(f)) >> 32;
}

static void test_fill(const struct hv_options *opt)
{
    uint64_t old;
    rig_init(opt);
    tap_eq(trace_fill_writable(&cpu[1], gfn(7), &old), TRACE_FILL_RW,
           "untraced frame fills writable");
    tap_eq(old, 0, "... from a zero word");
    tap_eq(word(7), TRACE_WRITER(1), "... and names its writer");
    tap_eq(trace_fill_writable(&cpu[2], gfn(7), &old), TRACE_FILL_RW, "a second writer");
    tap_eq(trace_writers(word(7)), 6, "both writers named");
    tap_eq(install(0, 7), TRACE_WRITER(1) | TRACE_WRITER(2), "install returns the old word");
    tap_eq(ask, 6, "install asks exactly the writers");
    tap_ok(!self_drop, "the installer had no writable alias");
    tap_eq(trace_fill_writable(&cpu[3], gfn(7), &old), TRACE_FILL_RO,
           "traced frame fills read-only");
    tap_eq(word(7), TRACE_TRACED | TRACE_CONSUMER(0) | TRACE_WRITER(1) | TRACE_WRITER(2),
           "a read-only fill leaves the word alone");
    tap_eq(old, word(7), "and returns it");
    (void)trace_clear_writer(&cpu[1], gfn(7));
    (void)trace_clear_writer(&cpu[2], gfn(7));
    tap_eq(word(7), TRACE_TRACED | TRACE_CONSUMER(0), "writers leave");
    tap_eq(count(7), 1, "one registration in the region");
    trace_drop(&cpu[0], gfn(7));
    tap_eq(word(7), 0, "the last consumer takes the trace with it");
    tap_eq(count(7), 0, "no registration left");
}

/* A frame that only the registering CPU can write becomes a table without a drop. */
static void test_fresh(const struct hv_options *opt)
{
    const uint64_t unsync = TRACE_TRACED | TRACE_UNSYNC;
    uint64_t old, counter;

    rig_init(opt);
    tap_ok(!trace_install_fresh(&cpu[0], gfn(7)), "fresh: not a frame that nobody writes");
    (void)!trace_fill_writable(&cpu[0], gfn(7), &old);
    counter = atomic_load(&co.trace_counter);
    tap_ok(trace_install_fresh(&cpu[0], gfn(7)), "but one of this CPU");
    tap_eq(word(7), unsync | TRACE_CONSUMER(0) | TRACE_WRITER(0), "... unsync, with its writer");
    tap_ok(count(7) == 1 && atomic_load(&co.trace_counter) == counter + 1, "... counted");
    tap_eq(trace_fill_writable(&cpu[1], gfn(7), &old), TRACE_FILL_UNSYNC, "others post WHOLE");
    (void)trace_clear_writer(&cpu[0], gfn(7));
    tap_ok(word(7) & TRACE_UNSYNC, "unsync while the other writes");
    (void)trace_clear_writer(&cpu[1], gfn(7));
    trace_drop(&cpu[0], gfn(7));
    tap_ok(word(7) == 0 && count(7) == 0, "and nothing is left at the end");
    (void)!trace_fill_writable(&cpu[0], gfn(8), &old);
    (void)!trace_fill_writable(&cpu[1], gfn(8), &old);
    tap_ok(!trace_install_fresh(&cpu[0], gfn(8)) && count(8) == 0, "not with another writer");
    (void)!trace_fill_writable(&cpu[0], gfn(9), &old);
    (void)install(1, 9);
    tap_ok(!trace_install_fresh(&cpu[0], gfn(9)) && count(9) == 1, "nor with a consumer");
    rig_init(opt);
    (void)!trace_fill_region(&cpu[1], gfn(7));
    (void)!trace_fill_writable(&cpu[0], gfn(7), &old);
    tap_ok(!trace_install_fresh(&cpu[0], gfn(7)) && count(7) == 0 && word(7) == TRACE_WRITER(0),
           "nor with a writer of the whole region");
}

static void test_install(const struct hv_options *opt)
{
    uint64_t old, counter;
    rig_init(opt);
    (void)!trace_fill_writable(&cpu[2], gfn(600), &old);
    counter = atomic_load(&co.trace_counter);
    (void)install(2, 600);
    tap_ok(self_drop && ask == 0, "an installer that is the only writer drops by itself");
    tap_eq(atomic_load(&co.trace_counter), counter + 1, "an install bumps the trace counter");
    (void)install(1, 600);
    tap_eq(ask, 4, "until the writer bit is cleared every installer asks");
    tap_eq(count(600), 2, "registrations are counted per CPU and frame");
    (void)install(1, 601);
    tap_eq(count(600), 3, "... and per frame");
    trace_drop(&cpu[2], gfn(600));
    tap_eq(word(600), TRACE_TRACED | TRACE_CONSUMER(1) | TRACE_WRITER(2),
           "a drop with consumers left keeps the trace and foreign bits");
    trace_drop(&cpu[1], gfn(600));
    tap_eq(word(600), TRACE_WRITER(2), "the last one clears traced, writers stay");
    trace_drop(&cpu[1], gfn(601));
    tap_eq(count(600), 0, "count back to 0");
}

static void test_unsync(const struct hv_options *opt)
{
    uint64_t old;
    rig_init(opt);
    (void)install(0, 3);
    (void)install(1, 3);
    old = trace_enter_unsync(&cpu[1], gfn(3));
    tap_eq(trace_consumers(old), 3, "WHOLE goes to both consumers, the writer included");
    tap_eq(word(3), TRACE_TRACED | TRACE_UNSYNC | TRACE_WRITER(1) | 3, "unsync with its writer");
    old = install(2, 3);
    tap_ok(old & TRACE_UNSYNC, "a registration learns of unsync");
    tap_ok(ask == 0 && !self_drop, "... and asks nobody");
    tap_eq(trace_fill_writable(&cpu[3], gfn(3), &old), TRACE_FILL_UNSYNC, "a fill joins unsync");
    tap_eq(trace_consumers(old), 7, "... and learns who needs WHOLE");
    old = trace_enter_unsync(&cpu[0], gfn(3));
    tap_ok((old & TRACE_UNSYNC) && trace_consumers(old) == 7,
           "entering again returns consumers again");
    (void)trace_clear_writer(&cpu[1], gfn(3));
    tap_ok(word(3) & TRACE_UNSYNC, "unsync stays while writers are left");
    (void)trace_clear_writer(&cpu[3], gfn(3));
    old = trace_clear_writer(&cpu[0], gfn(3));
    tap_ok(old & TRACE_UNSYNC, "the last writer finds unsync");
    tap_eq(word(3), TRACE_TRACED | 7, "... and ends it in the same step");
    (void)trace_enter_unsync(&cpu[1], gfn(3));
    trace_drop(&cpu[0], gfn(3));
    trace_drop(&cpu[1], gfn(3));
    tap_ok(word(3) & TRACE_UNSYNC, "a consumer leaving keeps unsync for the rest");
    trace_drop(&cpu[2], gfn(3));
    tap_eq(word(3), TRACE_WRITER(1), "no consumer: neither traced nor unsync, the writer stays");
    (void)trace_enter_unsync(&cpu[2], gfn(3));
    tap_eq(word(3), TRACE_WRITER(1) | TRACE_WRITER(2), "no unsync on an untraced frame");
}

static void test_region(const struct hv_options *opt)
{
    rig_init(opt);
    tap_ok(trace_fill_region(&cpu[1], gfn(512)), "2 MiB writable fill");
    tap_eq(region_word(&cpu[0], gfn(1023)), 2, "... names its writer");
    tap_eq(region_word(&cpu[0], gfn(1024)), 0, "... in its region only");
    (void)install(0, 700);
    tap_eq(ask, 2, "an installer inside asks the region writer");
    (void)trace_enter_unsync(&cpu[3], gfn(700));
    (void)install(2, 700);
    tap_eq(ask, 2, "... even if the frame is unsync");
    tap_ok(!trace_fill_region(&cpu[3], gfn(512)), "no 2 MiB writable fill over a registration");
    tap_eq(region_word(&cpu[0], gfn(512)), 2ull << 32 | 2, "... and nothing done");
    trace_clear_region_writer(&cpu[1], gfn(700));
    tap_eq(region_word(&cpu[0], gfn(512)), 2ull << 32, "the region writer leaves");
    trace_drop(&cpu[0], gfn(700));
    trace_drop(&cpu[2], gfn(700));
    tap_ok(trace_fill_region(&cpu[3], gfn(512)), "count 0: large mappings come back");
    (void)install(3, 701);
    tap_ok(self_drop && !ask, "own region writer: drop by itself");
}

static void test_bounds(const struct hv_options *opt)
{
    uint64_t old = 1;
    rig_init(opt);
    tap_eq(coherency_bytes(RIG_FRAMES), (RIG_FRAMES + 3) * 8, "words for frames and regions");
    tap_eq(install(0, RIG_FRAMES), 0, "a frame without a word cannot be traced");
    tap_ok(!ask && !self_drop, "... asks nobody");
    tap_eq(trace_fill_writable(&cpu[0], gfn(RIG_FRAMES), &old), TRACE_FILL_RW,
           "... fills writable");
    tap_eq(trace_enter_unsync(&cpu[0], gfn(1ull << 50)), 0, "... never goes unsync");
    tap_eq(trace_clear_writer(&cpu[0], gfn(1ull << 50)), 0, "... has no writers");
    tap_ok(trace_fill_region(&cpu[0], gfn(1ull << 40)), "... nor region writers");
    trace_drop(&cpu[0], gfn(RIG_FRAMES));
    trace_clear_region_writer(&cpu[0], gfn(RIG_FRAMES));
    for (unsigned i = 0; i < ARRAY_SIZE(rig_words); i++)
        old += rig_words[i];
    tap_eq(old, 0, "and no word was written");
    (void)install(0, RIG_FRAMES - 1);
    tap_eq(rig_words[RIG_FRAMES + 2], 1ull << 32, "the last frame's region is the last word");
}

static void drop_unregistered(void *arg)
{
    (void)arg;
    trace_drop(&cpu[3], gfn(9));
}

int main(void)
{
    struct hv_options opt = rig_options();
    test_fill(&opt);
    test_fresh(&opt);
    test_install(&opt);
    test_unsync(&opt);
    test_region(&opt);
    test_bounds(&opt);
    tap_eq(fake_run(drop_unregistered, NULL), FAKE_PANIC, "dropping what is not registered panics");
    return tap_done();
}
