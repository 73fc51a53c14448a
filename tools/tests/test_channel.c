/* SPDX-License-Identifier: BSD-2-Clause */
/* Channels, producer and consumer in one thread: hv/coherency/channel.c, locked.c, producer.c,
 * consumer.c, coherency.c, in each mode. The geometry is 2 sets of 2 ways: even entries share a
 * set. */
#include "tools/tests/coh_rig.h"

#define PA (BIT(0) | BIT(5)) /* present and accessed */

struct record {
    unsigned repairs, wholes, overflows, derived;
    uint64_t last, last_whole, refuse; /* refuse: entry address not covered */
    struct patch_payload dv;
    unsigned reenter;
};
static struct record rec;

static void on_repair(void *ctx, gpa_t at, const struct patch_payload *dv)
{
    (void)ctx;
    rec.repairs++;
    rec.last = at.v;
    if (dv) {
        rec.derived++;
        rec.dv = *dv;
    }
}
static void on_whole(void *ctx, gfn_t f)
{
    (void)ctx;
    rec.wholes++;
    rec.last_whole = f.v;
}
static void on_overflow(void *ctx)
{
    (void)ctx;
    rec.overflows++;
}
static bool on_covers(void *ctx, gpa_t at, bool whole)
{
    (void)ctx;
    return whole || at.v != rec.refuse;
}
static const struct patch_sink sink = {
    .repair = on_repair, .whole = on_whole, .overflow = on_overflow};
static const struct patch_sink picky = {
    .covers = on_covers, .repair = on_repair, .whole = on_whole, .overflow = on_overflow};

static unsigned drain(uint32_t c, const struct patch_sink *s)
{
    rec = (struct record){.refuse = rec.refuse};
    return consumer_drain(&cpu[c], s);
}

static void test_basic(const struct hv_options *opt, const char *mode)
{
    rig_init(opt);
    page[1][5] = PA;
    rig_consume(0, 1);
    rig_consume(2, 1);
    tap_ok(!consumer_pending(&cpu[0]), "%s: nothing pending at first", mode);
    tap_eq(drain(0, &sink), 0, "an empty drain");
    tap_eq(set_entry(1, 1, 5, PA | 0x7000), PA, "the exchange returns the old entry");
    tap_eq(page[1][5], PA | 0x7000, "the entry is stored");
    tap_eq(atomic_load(&co.cpu[1].storing), 0, "storing is cleared");
    tap_ok(consumer_pending(&cpu[0]) && consumer_pending(&cpu[2]), "both consumers have a patch");
    tap_ok(!consumer_pending(&cpu[1]) && !consumer_pending(&cpu[3]), "nobody else");
    tap_ok(consumer_explains(&cpu[0], entry_at(1, 5)), "the audit finds the patch");
    tap_ok(!consumer_explains(&cpu[0], entry_at(1, 7)),
           "... and none for another entry of its set");
    tap_ok(!consumer_explains(&cpu[3], entry_at(1, 5)), "... nor for another CPU");
    (void)set_entry(1, 1, 5, PA | 0x8000);
    tap_eq(drain(0, &sink), 1, "two stores to an entry coalesce into one patch");
    tap_eq(rec.last, entry_at(1, 5).v, "... that names it");
    tap_ok(!consumer_pending(&cpu[0]) && !consumer_explains(&cpu[0], entry_at(1, 5)),
           "then it is gone");
    tap_eq(drain(2, &sink), 1, "the other consumer has its own");
    (void)set_entry(2, 1, 5, PA);
    (void)set_entry(0, 1, 5, PA | 0x9000);
    tap_eq(drain(2, &sink), co.mode == COHERENCY_LOCKED ? 1 : 2,
           "a patch per producer, own included");
    (void)set_entry(1, 2, 5, PA);
    tap_eq(drain(0, &sink), co.mode == COHERENCY_LOCKED ? 1 : 2, "only what was posted before");
    tap_eq(drain(0, &sink), 0, "a store to an untraced frame posts nothing");
}

static void test_overflow(const struct hv_options *opt, const char *mode)
{
    rig_init(opt);
    rig_consume(0, 1);
    for (unsigned i = 0; i < 6; i++)
        page[1][2 * i] = PA;
    for (unsigned i = 0; i < 5; i++)
        (void)set_entry(1, 1, 2 * i, PA | 0x1000);
    tap_ok(consumer_explains(&cpu[0], entry_at(1, 400)), "%s: a full channel explains everything",
           mode);
    tap_eq(drain(0, &sink), 3, "two ways and an overflow");
    tap_ok(rec.overflows == 1 && rec.repairs == 2, "one recovery, two repairs");
    (void)set_entry(1, 1, 8, PA | 0x2000);
    tap_eq(drain(0, &sink), 1, "the channel works again");
    tap_eq(rec.overflows, 0, "without an overflow");
    producer_post_whole(&cpu[1], gfn(1), BIT(0) | BIT(1));
    (void)set_entry(1, 1, 0, PA);
    tap_eq(drain(0, &sink), 2, "WHOLE and entry 0 of the same page are two patches");
    tap_ok(rec.wholes == 1 && rec.last_whole == 1 && rec.repairs == 1, "one of each");
    tap_eq(drain(1, &sink), 1, "WHOLE to the own channel");
}

static void test_postpone(const struct hv_options *opt, const char *mode)
{
    rig_init(opt);
    rig_consume(0, 1);
    page[1][4] = page[1][5] = PA;
    (void)set_entry(1, 1, 4, PA | 0x1000);
    (void)set_entry(1, 1, 5, PA | 0x1000);
    rec.refuse = entry_at(1, 4).v;
    tap_eq(drain(0, &picky), 1, "the event covers one patch");
    tap_ok(consumer_pending(&cpu[0]), "%s: a postponed patch stays pending", mode);
    tap_ok(consumer_explains(&cpu[0], entry_at(1, 4)), "... and explains its entry");
    (void)set_entry(1, 1, 4, PA | 0x2000);
    tap_eq(drain(0, &picky), 0, "postponed again, coalesced");
    rec.refuse = 0;
    tap_eq(drain(0, &picky), 1, "applied when covered");
    tap_eq(rec.last, entry_at(1, 4).v, "the right one");
    tap_ok(!consumer_pending(&cpu[0]), "nothing left");
}

static void test_interest(struct hv_options opt)
{
    uint64_t skips;
    rig_init(&opt);
    rig_consume(0, 1);
    skips = stat_of(1, STAT_skips);
    page[1][8] = BIT(0);
    (void)set_entry(1, 1, 8, PA);
    tap_eq(drain(0, &sink), 0, "an entry that had A=0 is posted to nobody");
    tap_eq(set_entry(1, 1, 9, PA), 0, "nor one that had P=0");
    tap_eq(drain(0, &sink), 0, "... skipped");
    tap_eq(stat_of(1, STAT_skips), skips + 2, "skips are counted");
    page[1][8] = BIT(0);
    atomic_store(&co.cpu[3].storing, entry_at(1, 8).v | STORING_BUSY);
    (void)set_entry(1, 1, 9, BIT(0));
    tap_ok(consumer_explains(&cpu[0], entry_at(1, 8)), "a store in flight explains its granule");
    tap_eq(drain(0, &sink), 1, "posted: A was set");
    (void)set_entry(1, 1, 9, PA);
    tap_eq(drain(0, &sink), 1, "another CPU stores into the granule: posted although A=0");
    (void)set_entry(1, 1, 10, PA);
    tap_eq(drain(0, &sink), 0, "... the next granule is not concerned");
    atomic_store(&co.cpu[3].storing, entry_at(1, 0).v | STORING_BUSY | STORING_FRAME);
    (void)set_entry(1, 1, 300, PA);
    tap_eq(drain(0, &sink), 1, "a frame-wide store concerns every entry");
    (void)set_entry(1, 2, 300, PA);
    tap_eq(drain(0, &sink), 0, "... of its frame");
    atomic_store(&co.cpu[3].storing, 0);
    opt.interest = false;
    rig_init(&opt);
    rig_consume(0, 1);
    (void)set_entry(1, 1, 9, PA);
    tap_eq(drain(0, &sink), 1, "interest=off posts always");
}

static void test_consumers_all(struct hv_options opt)
{
    opt.consumers_traced = false;
    rig_init(&opt);
    action_offline(&cpu[3]);
    rig_consume(0, 1);
    page[1][1] = PA;
    (void)set_entry(1, 1, 1, PA | 0x1000);
    tap_eq(co.cpu[2].pending, 2, "consumers=all posts to every CPU online");
    tap_eq(co.cpu[1].pending, 2, "... self included");
    tap_eq(co.cpu[3].pending, 0, "... but to none that is offline");
    page[2][1] = PA;
    (void)set_entry(2, 2, 1, 0);
    tap_eq(co.cpu[0].pending, 2, "an untraced frame concerns nobody even so");
}

static void test_widths(const struct hv_options *opt, const char *mode)
{
    unsigned char *b = (unsigned char *)&page[1][3];
    uint64_t old;
    rig_init(opt);
    rig_consume(0, 1);
    page[1][3] = 0x1122334455667700 | PA;
    tap_eq(producer_exchange(&cpu[1], gpa(entry_at(1, 3).v + 4), b + 4, 4, ~0ull), 0x11223344,
           "four bytes in the high half");
    tap_eq(page[1][3], 0xffffffff55667700 | PA, "only they change");
    tap_eq(drain(0, &sink), 1, "posted by P and A of the same exchange");
    tap_eq(rec.last, entry_at(1, 3).v, "... under the entry's address");
    tap_eq(producer_exchange(&cpu[1], gpa(entry_at(1, 3).v + 7), b + 7, 1, 0x80), 0xff, "one byte");
    tap_eq(producer_exchange(&cpu[1], gpa(entry_at(1, 3).v + 1), b + 1, 2, 0xabcd), 0x6677,
           "two, odd");
    tap_eq(page[1][3], 0x80ffffff55abcd00 | PA, "both in place");
    tap_eq(drain(0, &sink), 1, "coalesced");
    tap_ok(producer_cmpxchg(&cpu[1], gpa(entry_at(1, 3).v + 1), b + 1, 2, 0xffffabcd, 0x1234, &old),
           "%s: a compare of two bytes succeeds", mode);
    tap_ok(old == 0xabcd && page[1][3] == (0x80ffffff55123400 | PA), "old and new value");
    tap_eq(drain(0, &sink), 1, "... posted");
    tap_ok(!producer_cmpxchg(&cpu[1], entry_at(1, 3), b, 8, 5, 6, &old), "a compare fails");
    tap_eq(old, 0x80ffffff55123400 | PA, "... returns what it found");
    tap_ok(drain(0, &sink) == 0 && !atomic_load(&co.cpu[1].storing),
           "... posts nothing, storing ends");
    tap_ok(producer_cmpxchg(&cpu[1], entry_at(1, 3), b, 8, old, 0, &old), "8 bytes compare");
    tap_eq(drain(0, &sink), 1, "... posted");
    tap_ok(producer_cmpxchg(&cpu[1], entry_at(1, 3), b, 8, 0, PA, &old) && !drain(0, &sink),
           "the interest rule applies to it too");
}

static void test_store(const struct hv_options *opt, const char *mode)
{
    unsigned char src[100];
    unsigned char *b = (unsigned char *)&page[1][0];
    rig_init(opt);
    rig_consume(0, 1);
    for (unsigned i = 0; i < sizeof(src); i++)
        src[i] = (unsigned char)(i + 1);
    producer_store(&cpu[0], gpa(0x1003), b + 3, src, sizeof(src));
    tap_ok(!memcmp(b + 3, src, sizeof(src)) && !b[2] && !b[103], "%s: bulk bytes land", mode);
    tap_eq(drain(0, &sink), 1, "one WHOLE to the storing CPU itself");
    tap_ok(rec.wholes == 1 && rec.last_whole == 1, "... for the frame");
    producer_store(&cpu[0], gpa(0x2000), (void *)&page[2][0], src, 8);
    producer_store(&cpu[0], gpa(0x1000), b, src, 0);
    tap_eq(drain(0, &sink), 0, "untraced frame, or nothing stored: nothing posted");
    producer_store(&cpu[0], gpa(0x1ffc), b + 4092, src, 4);
    tap_eq(drain(0, &sink), 1, "up to the end of the frame");
}

static uint64_t derive_frame(void *ctx, uint64_t gpte)
{
    ++*(unsigned *)ctx;
    return gpte & BIT(0) ? (gpte & MASK(51, 12)) + 0x100000 : 0;
}

static void test_derived(struct hv_options opt, const char *mode)
{
    unsigned calls = 0;
    opt.derived = true;
    rig_init(&opt);
    cpu[1].ctx = &calls;
    rig_consume(0, 1);
    page[1][2] = page[1][4] = PA;
    (void)set_entry(1, 1, 2, PA | 0x5000);
    tap_eq(calls, 0, "no callback, no derived value");
    (void)drain(0, &sink);
    cpu[1].derive = derive_frame;
    (void)set_entry(1, 1, 2, PA | 0x6000);
    (void)drain(0, &sink);
    tap_ok(rec.derived == 1 && rec.dv.spte == 0x106000 && rec.dv.gpte == (PA | 0x6000),
           "%s: the derived value arrives", mode);
    tap_ok(consumer_derived_usable(&cpu[0], &rec.dv, PA | 0x6000), "usable for the same entry");
    tap_ok(!consumer_derived_usable(&cpu[0], &rec.dv, PA | 0x7000), "not for another");
    tap_ok(!consumer_derived_usable(&cpu[0], NULL, 0), "nor if there is none");
    rig_consume(2, 3);
    tap_ok(!consumer_derived_usable(&cpu[0], &rec.dv, PA | 0x6000), "nor after a trace was placed");
    (void)set_entry(1, 1, 2, PA | 0x7000);
    (void)set_entry(1, 1, 2, PA | 0x8000);
    tap_ok(drain(0, &sink) == 1 && rec.derived == 0, "coalescing drops it (837)");
    (void)set_entry(1, 1, 2, 0);
    tap_ok(drain(0, &sink) == 1 && rec.derived == 0, "an entry that maps nothing derives none");
}

static void test_entry4(struct hv_options opt)
{
    rig_init(&opt);
    co.entry4 = true;
    rig_consume(0, 1);
    page[1][6] = PA | PA << 32;
    (void)set_entry(1, 1, 6, 0);
    tap_eq(drain(0, &sink), 2, "4-byte entries: both halves are posted");
    page[1][6] = PA << 32;
    (void)set_entry(1, 1, 6, 0);
    tap_ok(drain(0, &sink) == 1 && rec.last == entry_at(1, 6).v + 4, "each by its own P and A");
    page[1][6] = PA;
    (void)set_entry(1, 1, 6, 0);
    tap_ok(consumer_explains(&cpu[0], entry_at(1, 6)), "the low half is explained");
    tap_ok(!consumer_explains(&cpu[0], gpa(entry_at(1, 6).v + 4)), "the high half is not");
    (void)drain(0, &sink);
}

static void drain_inside(void *ctx, gpa_t at, const struct patch_payload *dv)
{
    (void)ctx, (void)at, (void)dv;
    (void)consumer_drain(&cpu[0], &sink);
}
static void drain_twice(void *arg)
{
    const struct patch_sink s = {
        .repair = drain_inside, .whole = on_whole, .overflow = on_overflow};
    (void)arg;
    (void)consumer_drain(&cpu[0], &s);
}
static void cross_granule(void *arg)
{
    (void)arg;
    (void)producer_exchange(&cpu[0], gpa(0x1006), (char *)&page[1][0] + 6, 4, 0);
}

/* The own patch is the caller's, and every other is posted as ever. */
static void test_own(const struct hv_options *opt, const char *mode)
{
    rig_init(opt);
    page[1][5] = PA;
    page[1][6] = BIT(0);
    page[1][7] = PA | (uint64_t)PA << 32;
    for (uint32_t c = 0; c < 3; c++)
        rig_consume(c, 1);
    tap_ok(producer_exchange_own(&cpu[1], entry_at(1, 5), (void *)&page[1][5], PA | 0x7000),
           "%s: the storing CPU has a patch to apply", mode);
    tap_eq(page[1][5], PA | 0x7000, "the entry is stored");
    tap_eq(atomic_load(&co.cpu[1].storing), 0, "storing is cleared");
    tap_ok(!consumer_pending(&cpu[1]) && !consumer_explains(&cpu[1], entry_at(1, 5)),
           "nothing is posted to itself");
    tap_ok(consumer_pending(&cpu[0]) && consumer_pending(&cpu[2]), "the others have theirs");
    tap_ok(!producer_exchange_own(&cpu[1], entry_at(1, 6), (void *)&page[1][6], 0),
           "nothing to apply for an entry that nobody can hold");
    tap_ok(!producer_exchange_own(&cpu[3], entry_at(1, 5), (void *)&page[1][5], 0),
           "nor for who is no consumer");
    tap_ok(!consumer_pending(&cpu[3]) && consumer_explains(&cpu[0], entry_at(1, 5)),
           "... who posts to those that are");
    coherency_entry4(&co);
    for (uint32_t c = 0; c < 3; c++)
        (void)drain(c, &sink);
    tap_ok(producer_exchange_own(&cpu[1], entry_at(1, 7), (void *)&page[1][7], 0),
           "with entries of 4 bytes: the first half");
    tap_eq(drain(1, &sink), 1, "... the second is posted");
    tap_eq(rec.last, entry_at(1, 7).v + 4, "... by its address");
}

int main(void)
{
    struct hv_options opt = rig_options();
    static const char *const name[] = {"matrix", "locked"};
    for (unsigned m = 0; m < 2; m++) {
        opt.coherency = m ? COHERENCY_LOCKED : COHERENCY_MATRIX;
        test_basic(&opt, name[m]);
        test_own(&opt, name[m]);
        test_overflow(&opt, name[m]);
        test_postpone(&opt, name[m]);
        test_widths(&opt, name[m]);
        test_store(&opt, name[m]);
        test_derived(opt, name[m]);
        test_interest(opt);
    }
    opt.coherency = COHERENCY_MATRIX;
    test_consumers_all(opt);
    test_entry4(opt);
    rig_init(&opt);
    rig_consume(0, 1);
    producer_post_whole(&cpu[1], gfn(1), 0);
    tap_eq(co.cpu[0].pending, 0, "WHOLE to nobody");
    page[1][0] = PA;
    (void)set_entry(1, 1, 0, 0);
    tap_eq(fake_run(drain_twice, NULL), FAKE_PANIC, "a drain inside a drain panics");
    tap_eq(fake_run(cross_granule, NULL), FAKE_PANIC, "a store across 8 bytes panics");
    return tap_done();
}
