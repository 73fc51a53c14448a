/* SPDX-License-Identifier: BSD-2-Clause */
/* Action words, the doorbell rule and acknowledged requests (README "Waiting and waking"). Two
 * pairs of words carry it: action/mode (who posts does RMW then load, who sleeps does exchange then
 * load: one of them sees the other), and seq/ack of a mailbox. Tested by tools/tests/test_actions.c
 * and tools/model/doorbell.pml. */
/* Rules.
 * 1. Who posts does a RMW of the action word, then loads the mode. Who sleeps exchanges the mode,
 *    then loads the action word.
 * 2. A mailbox is written in the order request, number, action bit; it holds one request, and its
 *    number does not change until it is answered.
 * 3. Requests go to all before the first answer is awaited, and only to CPUs that are online; one
 *    that goes offline is not awaited.
 * 4. Who waits serves. Serving never waits.
 * 5. An answer comes after what was asked for: drop, flush generation, writer bit. */
#include "hv/coherency/actions.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/port/cpu.h"

#define WATCHDOG_S 10

/* The doorbell is the only thing that could reach another VM: its CPU must be this VM's. */
static void ring(const struct coherency *co, uint32_t from, uint32_t to, uint64_t bits)
{
    uint32_t pcpu = port_cpu(), vcpu;

    if (from != ACTION_OUTSIDE && from < co->ncpus)
        pcpu = co->pcpu[from];
    ASSERT(!co->placed || (coherency_of(co->pcpu[to], &vcpu) == co && vcpu == to));
    stat_inc(pcpu, STAT_doorbells);
    ring_add(pcpu, RING_IPI, to, bits);
    port_doorbell(co->pcpu[to]);
}

void action_post(struct coherency *co, uint32_t from, uint32_t to, uint64_t bits)
{
    ASSERT(to < co->ncpus);
    struct cpu_shared *t = &co->cpu[to];
    /* seq_cst RMW, then seq_cst load: pairs with the exchange and load of mode_enter */
    uint64_t old = atomic_fetch_or_explicit(&t->action, bits, memory_order_seq_cst);
    uint32_t mode;
    if (from == to || old)
        return; /* non-zero before: whoever made it so rings, or the target has yet to look */
    mode = atomic_load_explicit(&t->mode, memory_order_seq_cst);
    if (mode == MODE_GUEST || mode == MODE_HALTED)
        ring(co, from, to, bits);
}

void action_manage(const struct coh_cpu *self, uint32_t pcpu, uint64_t bits)
{
    uint32_t vcpu;
    struct coherency *co = coherency_of(pcpu, &vcpu);

    if (!co)
        return;
    action_post(co, co == self->co ? self->cpu : ACTION_OUTSIDE, vcpu, bits);
    uint32_t mode = atomic_load_explicit(&co->cpu[vcpu].mode, memory_order_seq_cst);
    if (pcpu != self->pcpu && mode != MODE_GUEST && mode != MODE_HALTED)
        ring(co, ACTION_OUTSIDE, vcpu, bits); /* the VM may be off: asleep in no mode */
}

uint64_t action_take(struct coh_cpu *self, uint64_t mask)
{
    /* acq_rel: what the poster wrote before its RMW is visible to the one who takes the bit */
    return mask &
           atomic_fetch_and_explicit(&self->co->cpu[self->cpu].action, ~mask, memory_order_acq_rel);
}

uint64_t action_peek(const struct coh_cpu *self)
{
    return atomic_load_explicit(&self->own->action, memory_order_acquire);
}

bool mode_enter(struct coh_cpu *self, enum cpu_mode mode)
{
    struct cpu_shared *c = self->own;
    /* An exchange, then the re-read: a plain store could still sit in the store buffer while the
     * poster reads the old mode and rings nobody. Pairs with action_post. */
    atomic_exchange_explicit(&c->mode, mode, memory_order_seq_cst);
    if (!atomic_load_explicit(&c->action, memory_order_seq_cst))
        return true;
    mode_leave(self);
    return false;
}

void mode_leave(struct coh_cpu *self)
{
    /* Late visibility costs a superfluous doorbell only. */
    atomic_store_explicit(&self->own->mode, MODE_HOST, memory_order_release);
}

void action_online(struct coh_cpu *self)
{
    /* seq_cst: before this CPU's first fill or registration in the order of all of them */
    atomic_exchange_explicit(&self->co->cpu[self->cpu].mode, MODE_HOST, memory_order_seq_cst);
}

void action_offline(struct coh_cpu *self)
{
    atomic_exchange_explicit(&self->co->cpu[self->cpu].mode, MODE_OFFLINE, memory_order_seq_cst);
}

static bool online(const struct coherency *co, uint32_t c)
{
    return atomic_load_explicit(&co->cpu[c].mode, memory_order_seq_cst) != MODE_OFFLINE;
}

cpuset_t action_online_set(const struct coherency *co)
{
    cpuset_t set = 0;
    for (uint32_t c = 0; c < co->ncpus; c++)
        if (online(co, c))
            set |= (cpuset_t)BIT(c);
    return set;
}

static cpuset_t requests_send(struct coh_cpu *self, cpuset_t to, enum request_kind kind, gfn_t f)
{
    struct coherency *co = self->co;
    cpuset_t sent = 0;
    self->seq++;
    for (uint32_t c = 0; c < co->ncpus; c++) {
        struct mailbox *m = &co->cpu[c].mailbox[self->cpu];
        if (!(to & (cpuset_t)BIT(c)) || c == self->cpu || !online(co, c))
            continue;
        atomic_store_explicit(&m->request, (uint64_t)kind | f.v << 8, memory_order_relaxed);
        /* release: the request before its number, pairs with action_request_read */
        atomic_store_explicit(&m->seq, self->seq, memory_order_release);
        action_post(co, self->cpu, c, BIT(self->cpu));
        sent |= (cpuset_t)BIT(c);
    }
    return sent;
}

/* Those of `waiting` that have not answered yet; one that went offline runs no guest any more. */
static cpuset_t requests_open(const struct coh_cpu *self, cpuset_t waiting)
{
    for (uint32_t c = 0; c < self->co->ncpus; c++) {
        const struct mailbox *m = &self->co->cpu[c].mailbox[self->cpu];
        if (!(waiting & (cpuset_t)BIT(c)))
            continue;
        /* acquire: pairs with action_request_ack; the target's drop, flush and cleared writer bit
         * lie before what we do next */
        if (atomic_load_explicit(&m->ack, memory_order_acquire) == self->seq ||
            !online(self->co, c))
            waiting &= ~(cpuset_t)BIT(c);
    }
    return waiting;
}

bool action_request(struct coh_cpu *self, cpuset_t to, enum request_kind kind, gfn_t f)
{
    bool changed = false, told = false;
    uint64_t start;
    cpuset_t waiting;
    ASSERT(!self->waiting); /* serving must not wait: the mailboxes hold one request each */
    waiting = requests_send(self, to, kind, f);
    if (!waiting)
        return false;
    stat_inc(self->pcpu, STAT_waits);
    stat_add(self->pcpu, STAT_acks_waited, cpuset_count(waiting));
    self->waiting = true;
    start = port_tsc();
    while ((waiting = requests_open(self, waiting)) != 0) {
        /* Two CPUs that wait for each other must answer each other. */
        if (self->serve && self->serve(self->ctx))
            changed = true;
        if (!told && port_tsc() - start > WATCHDOG_S * port_tsc_hz()) {
            told = true;
            log_err("coherency", "cpu %u waits for cpus 0x%x, request %u, frame 0x%llx", self->cpu,
                    waiting, (unsigned)kind, (unsigned long long)f.v);
        }
        port_relax();
    }
    self->waiting = false;
    return changed;
}

void action_request_read(struct coh_cpu *self, uint32_t from, enum request_kind *kind, gfn_t *f)
{
    const struct mailbox *m = &self->co->cpu[self->cpu].mailbox[from];
    uint64_t r;
    (void)atomic_load_explicit(&m->seq, memory_order_acquire); /* pairs with requests_send */
    r = atomic_load_explicit(&m->request, memory_order_relaxed);
    *kind = (enum request_kind)(r & 0xff);
    *f = gfn(r >> 8);
}

void action_request_ack(struct coh_cpu *self, uint32_t from)
{
    struct mailbox *m = &self->co->cpu[self->cpu].mailbox[from];
    /* The number cannot have changed since the request was read: the requester still waits. */
    uint64_t seq = atomic_load_explicit(&m->seq, memory_order_relaxed);
    stat_inc(self->pcpu, STAT_requests_served);
    /* release: pairs with requests_open */
    atomic_store_explicit(&m->ack, seq, memory_order_release);
}
