/* SPDX-License-Identifier: BSD-2-Clause */
/* Action words, doorbell rule, requests with acknowledgement, shootdown modes
 * (hv/coherency/actions.c), the waiting parts with real threads. */
#include "tools/tests/coh_rig.h"
#include <sched.h>

#define PA (BIT(0) | BIT(5))

static uint64_t bells(uint32_t c)
{
    return atomic_load(&fake_cpu[c].doorbells);
}

static void test_doorbell(const struct hv_options *opt)
{
    fake_reset();
    rig_init(opt);
    action_post(&co, 0, 1, ACTION_IRQ);
    tap_eq(bells(1), 0, "no doorbell for a CPU in the hypervisor");
    tap_eq(action_peek(&cpu[1]), ACTION_IRQ, "the bit is there");
    tap_ok(!mode_enter(&cpu[1], MODE_GUEST), "it cannot enter the guest now");
    tap_eq(co.cpu[1].mode, MODE_HOST, "... and is back in the hypervisor");
    tap_eq(action_take(&cpu[1], ACTION_REQUESTS), 0, "taking other bits takes nothing");
    tap_eq(action_take(&cpu[1], ACTION_IRQ | ACTION_NMI), ACTION_IRQ, "taking it takes it");
    tap_eq(action_peek(&cpu[1]), 0, "once");
    tap_ok(mode_enter(&cpu[1], MODE_GUEST), "now it enters");
    action_post(&co, 0, 1, ACTION_IRQ);
    tap_eq(bells(1), 1, "a doorbell for a CPU in the guest");
    action_post(&co, 0, 1, ACTION_NMI);
    tap_eq(bells(1), 1, "not a second one before it has looked");
    mode_leave(&cpu[1]);
    tap_eq(action_take(&cpu[1], ~0ull), ACTION_IRQ | ACTION_NMI, "both arrive");
    tap_ok(mode_enter(&cpu[1], MODE_HALTED), "it halts");
    action_post(&co, 1, 1, ACTION_TIMER);
    tap_eq(bells(1), 1, "no doorbell to itself");
    (void)action_take(&cpu[1], ~0ull);
    action_post(&co, 2, 1, ACTION_IRQ);
    tap_eq(bells(1), 2, "a doorbell for a halted CPU");
    tap_eq(action_online_set(&co), 15, "all online");
    action_offline(&cpu[2]);
    tap_eq(action_online_set(&co), 11, "one less");
}

/* One sub-VMM for the threads below: serves requests until stop. */
struct server {
    uint32_t cpu;
    unsigned drops, drains;
    uint64_t frame;
    bool answers; /* false: does not serve before `release` */
};
static struct server srv[RIG_CPUS];
static _Atomic bool stop, release;

static void sink_repair(void *ctx, gpa_t at, const struct patch_payload *dv)
{
    (void)ctx, (void)at, (void)dv;
}
static void sink_whole(void *ctx, gfn_t f)
{
    (void)ctx, (void)f;
}
static void sink_over(void *ctx)
{
    (void)ctx;
}

static bool serve(void *ctx)
{
    static const struct patch_sink sink = {
        .repair = sink_repair, .whole = sink_whole, .overflow = sink_over};
    struct server *s = ctx;
    uint64_t bits = action_take(&cpu[s->cpu], ACTION_REQUESTS);
    bool changed = false;
    for (uint32_t from = 0; from < RIG_CPUS; from++) {
        enum request_kind kind;
        gfn_t f;
        if (!(bits & BIT(from)))
            continue;
        action_request_read(&cpu[s->cpu], from, &kind, &f);
        switch (kind) {
        case REQUEST_DROP:
            s->drops++;
            s->frame = f.v;
            (void)trace_clear_writer(&cpu[s->cpu], f);
            changed = true;
            break;
        case REQUEST_DRAIN:
            s->drains++;
            changed |= consumer_drain(&cpu[s->cpu], &sink) != 0;
            break;
        case REQUEST_FLUSH:  /* test_flush */
        case REQUEST_REVOKE: /* test_mmu_direct */
            break;
        }
        action_request_ack(&cpu[s->cpu], from);
    }
    return changed;
}

static void *server_loop(void *arg)
{
    struct server *s = arg;
    fake_set_cpu(s->cpu);
    while (!atomic_load(&stop)) {
        if (s->answers || atomic_load(&release))
            (void)serve(s);
        sched_yield();
    }
    return NULL;
}

static pthread_t thread[RIG_CPUS];
static void servers_start(const struct hv_options *opt, uint32_t first)
{
    rig_init(opt);
    memset(srv, 0, sizeof(srv));
    atomic_store(&stop, false);
    atomic_store(&release, false);
    for (uint32_t c = 0; c < RIG_CPUS; c++) {
        srv[c].cpu = c;
        srv[c].answers = true;
        cpu[c].serve = serve;
        cpu[c].ctx = &srv[c];
    }
    for (uint32_t c = first; c < RIG_CPUS; c++)
        pthread_create(&thread[c], NULL, server_loop, &srv[c]);
    fake_set_cpu(0);
}
static void servers_stop(uint32_t first)
{
    atomic_store(&stop, true);
    for (uint32_t c = first; c < RIG_CPUS; c++)
        pthread_join(thread[c], NULL);
}

static void test_request(const struct hv_options *opt)
{
    uint64_t old;
    servers_start(opt, 1);
    tap_ok(!action_request(&cpu[0], 1, REQUEST_DROP, gfn(5)),
           "a request to itself alone waits for none");
    for (uint32_t c = 1; c < 3; c++)
        tap_eq(trace_fill_writable(&cpu[c], gfn(5), &old), TRACE_FILL_RW, "a writer");
    tap_ok(!action_request(&cpu[0], 6, REQUEST_DROP, gfn(5)),
           "nothing changed on the requester's side");
    tap_eq(trace_word(&cpu[0], gfn(5)), 0, "answered: the writer bits are gone");
    tap_ok(srv[1].frame == 5 && srv[2].frame == 5 && srv[3].drops == 0,
           "only those asked answered");
    for (unsigned i = 0; i < 200; i++)
        (void)action_request(&cpu[0], 14, REQUEST_DROP, gfn(i));
    tap_ok(srv[3].drops == 200 && srv[3].frame == 199, "every request is served once, in order");
    servers_stop(1);
}

static void *requester(void *arg)
{
    uint32_t me = *(uint32_t *)arg;
    fake_set_cpu(me);
    for (unsigned i = 0; i < 300; i++)
        (void)action_request(&cpu[me], 15, REQUEST_DROP, gfn(me));
    atomic_fetch_add(&co.frame[10], 1);
    while (atomic_load(&co.frame[10]) < RIG_CPUS) {
        (void)serve(&srv[me]);
        sched_yield();
    }
    return NULL;
}

static void test_mutual(const struct hv_options *opt)
{
    uint32_t id[RIG_CPUS];
    unsigned total = 0;
    servers_start(opt, RIG_CPUS);
    for (uint32_t c = 0; c < RIG_CPUS; c++) {
        id[c] = c;
        pthread_create(&thread[c], NULL, requester, &id[c]);
    }
    for (uint32_t c = 0; c < RIG_CPUS; c++) {
        pthread_join(thread[c], NULL);
        total += srv[c].drops;
    }
    tap_eq(total, RIG_CPUS * 300 * (RIG_CPUS - 1),
           "CPUs that all wait for each other all get answers");
}

/* Lets CPU 1 answer only after the watchdog spoke. */
static void *wait_for_line(void *arg)
{
    (void)arg;
    while (fake_console_writes() == 0)
        sched_yield();
    atomic_store(&release, true);
    return NULL;
}

static void test_watchdog(const struct hv_options *opt)
{
    pthread_t t;
    fake_reset();
    servers_start(opt, RIG_CPUS);
    fake_set_tsc(0, 1000000000); /* a second at each look */
    fake_set_tsc_hz(1000000000);
    srv[1].answers = false;
    pthread_create(&thread[1], NULL, server_loop, &srv[1]);
    pthread_create(&t, NULL, wait_for_line, NULL);
    (void)action_request(&cpu[0], 2, REQUEST_DROP, gfn(0x77));
    pthread_join(t, NULL);
    atomic_store(&stop, true);
    pthread_join(thread[1], NULL);
    tap_ok(strstr(fake_console(), "cpu 0 waits for cpus 0x2, request 1, frame 0x77") != NULL,
           "the watchdog says who waits for whom");
    tap_eq(srv[1].drops, 1, "... and the wait goes on");
    fake_reset();
}

/* Offline targets do not hold anyone up. */
static void *go_offline(void *arg)
{
    (void)arg;
    while (!(action_peek(&cpu[2]) & BIT(0)))
        sched_yield();
    action_offline(&cpu[2]);
    return NULL;
}
static void test_offline(const struct hv_options *opt)
{
    pthread_t t;
    rig_init(opt);
    action_offline(&cpu[1]);
    pthread_create(&t, NULL, go_offline, NULL);
    (void)action_request(&cpu[0], 6, REQUEST_DROP, gfn(1));
    pthread_join(t, NULL);
    tap_eq(action_peek(&cpu[1]), 0, "an offline CPU is not asked");
    tap_eq(action_peek(&cpu[2]), BIT(0),
           "one that went offline without an answer is not waited for");
}

static void test_shootdown(struct hv_options opt)
{
    opt.coherency = COHERENCY_SHOOTDOWN;
    servers_start(&opt, 1);
    rig_consume(0, 1);
    rig_consume(1, 1);
    rig_consume(2, 1);
    page[1][4] = PA;
    (void)set_entry(0, 1, 4, 0);
    tap_ok(!consumer_pending(&cpu[1]) && !consumer_pending(&cpu[2]),
           "shootdown: drained on return");
    tap_ok(consumer_pending(&cpu[0]), "... but for the own channel");
    tap_ok(srv[1].drains == 1 && srv[3].drains == 0, "... of the consumers only");
    producer_post_whole(&cpu[0], gfn(1), 6);
    tap_ok(srv[1].drains == 2 && srv[2].drains == 2, "WHOLE too");
    servers_stop(1);
    opt.coherency = COHERENCY_MATRIX;
    opt.overflow = OVERFLOW_SHOOTDOWN;
    servers_start(&opt, 1);
    rig_consume(1, 1);
    for (unsigned i = 0; i < 3; i++)
        page[1][2 * i] = PA;
    (void)set_entry(0, 1, 0, 0);
    (void)set_entry(0, 1, 2, 0);
    tap_ok(srv[1].drains == 0 && consumer_pending(&cpu[1]), "no shootdown while slots are free");
    (void)set_entry(0, 1, 4, 0);
    tap_ok(srv[1].drains == 1 && !consumer_pending(&cpu[1]),
           "844: an overflow shoots its consumer down");
    servers_stop(1);
}

static void wait_inside(void *arg)
{
    (void)arg;
    cpu[0].waiting = true;
    (void)action_request(&cpu[0], 2, REQUEST_DROP, gfn(0));
}

int main(void)
{
    struct hv_options opt = rig_options();
    test_doorbell(&opt);
    test_request(&opt);
    test_mutual(&opt);
    test_offline(&opt);
    test_shootdown(opt);
    rig_init(&opt);
    tap_eq(fake_run(wait_inside, NULL), FAKE_PANIC, "a wait inside a wait panics");
    test_watchdog(&opt);
    return tap_done();
}
