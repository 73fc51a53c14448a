/* SPDX-License-Identifier: BSD-2-Clause */
/* Action word, mode, doorbell and requests on the machine of tso.h: a CPU that sleeps wakes up only
 * by a doorbell, so a lost wake-up is a CPU that never comes to its end; requests that cross each
 * other are all served, and what the target did before its answer is visible to the requester. */
#include "tools/tests/tso.h"
/* The machine's macros first. */
#include "tools/tests/coh_rig.h"

#define NCPU 3
#define ROUNDS 4000

static _Atomic uint64_t mail[NCPU];             /* number of the token sent to a CPU */
static _Atomic uint64_t dropped[NCPU][NCPU];    /* [target][requester]: frame served last */
static unsigned slept, served, requests, wrong; /* one thread runs at a time */

static bool serve(void *ctx)
{
    uint32_t me = (uint32_t)(uintptr_t)ctx;
    uint64_t bits = action_take(&cpu[me], ACTION_REQUESTS);
    for (uint32_t from = 0; from < NCPU; from++) {
        enum request_kind kind;
        gfn_t f;
        if (!(bits & BIT(from)))
            continue;
        action_request_read(&cpu[me], from, &kind, &f);
        wrong += kind != REQUEST_DROP;
        atomic_store_explicit(&dropped[me][from], f.v, memory_order_relaxed);
        served++;
        action_request_ack(&cpu[me], from);
    }
    return bits != 0;
}

/* Interrupts are off from before the mode is set: a doorbell of then ends the sleep at once. */
static void sleep_if_idle(uint32_t me)
{
    uint64_t bells = atomic_load(&fake_cpu[me].doorbells);
    if (!mode_enter(&cpu[me], tso_rnd(2) ? MODE_HALTED : MODE_GUEST))
        return;
    slept++;
    while (atomic_load(&fake_cpu[me].doorbells) == bells)
        sched_yield();
    mode_leave(&cpu[me]);
}

static void token_wait(uint32_t me, uint64_t n)
{
    while (!(action_take(&cpu[me], ACTION_IRQ) & ACTION_IRQ)) {
        (void)serve((void *)(uintptr_t)me);
        sleep_if_idle(me);
    }
    wrong += atomic_load(&mail[me]) != n; /* written before the bit was set */
}

static void token_send(uint32_t me, uint32_t to, uint64_t n)
{
    atomic_store_explicit(&mail[to], n, memory_order_relaxed);
    action_post(&co, me, to, ACTION_IRQ);
}

static void ask_all(uint32_t me, uint64_t n)
{
    cpuset_t to = 7 & ~(cpuset_t)BIT(me), was = action_online_set(&co) & to;
    uint64_t f = n * NCPU + me;
    (void)action_request(&cpu[me], to, REQUEST_DROP, gfn(f));
    requests++;
    for (uint32_t c = 0; c < NCPU; c++)
        if ((was & BIT(c)) && (action_online_set(&co) & BIT(c)))
            wrong += atomic_load(&dropped[c][me]) != f;
}

/* A token goes round; whoever has it not sleeps. */
static void *run(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg, to = (me + 1) % NCPU;
    if (me == 0)
        token_send(me, to, 1);
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        token_wait(me, n);
        if (tso_rnd(3) == 0)
            ask_all(me, n);
        if (me != 0)
            token_send(me, to, n);
        else if (n < ROUNDS)
            token_send(me, to, n + 1);
        if (tso_rnd(8) == 0)
            ask_all(me, n);
    }
    action_offline(&cpu[me]);
    return NULL;
}

int main(void)
{
    struct hv_options opt = rig_options();
    pthread_t t[NCPU];
    rig_init(&opt);
    action_offline(&cpu[3]);
    tso.limit = 20000000;
    fake_set_tsc(0, 0); /* no watchdog: a CPU may stand still for long here */
    for (uint32_t c = 0; c < NCPU; c++) {
        cpu[c].serve = serve;
        cpu[c].ctx = (void *)(uintptr_t)c;
        pthread_create(&t[c], NULL, run, (void *)(uintptr_t)c);
    }
    for (uint32_t c = 0; c < NCPU; c++)
        pthread_join(t[c], NULL);
    tap_eq(wrong, 0, "what was written before a bit or an answer is seen after it");
    tap_ok(slept > 1000 && requests > 1000 && served > 1000,
           "slept %u times, %u requests made, %u served", slept, requests, served);
    return tap_done();
}
