/* SPDX-License-Identifier: BSD-2-Clause */
/* Who reads the console. CPU 0 of the machine, until it hangs in the hypervisor: then CPU 1, which
 * looks at it once a second, says so and takes over, so that the monitor stays within reach. Tested
 * by tools/tests/test_mon.c and the gdb group of `make check`. */
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vm/vm.h"

#define DEPUTY (first + 1) /* takes over */
#define LOOK_US 1000000u
#define LOOKS 5u  /* in the hypervisor all the time, and not one event: more than any exit takes */
#define KEY_S 60u /* a dump by the monitor over a slow line may take that long */
#define POLL_US 20000u

/* Reads at first: CPU 0 of the machine, or the first one that has a VM. Set at boot. */
static uint32_t first;
static _Atomic uint32_t reader;
/* first comes round its loop: in HLT, with keys to pass on, it leaves no events for long. */
static _Atomic uint32_t beats;
static _Atomic bool inside; /* first is at the keys, perhaps in a long command of the monitor */

static struct { /* the deputy's own */
    uint64_t head, tsc;
    uint32_t beats;
    unsigned looks, refused;
} seen;

void watch_reader(uint32_t pcpu)
{
    first = pcpu;
}

void watch_start(struct subvmm *s)
{
    guestwatch_start(s);
    if (s->pcpu == first) {
        if (first) /* the ports' interrupts go to CPU 0 */
            port_console_poll(POLL_US);
        atomic_store_explicit(&reader, first, memory_order_relaxed);
        atomic_store_explicit(&inside, false, memory_order_relaxed);
    } else if (s->pcpu == DEPUTY) {
        seen.looks = seen.refused = 0;
        port_console_poll(LOOK_US);
    }
}

bool watch_read_begin(const struct subvmm *s)
{
    if (s->pcpu != first)
        return atomic_load_explicit(&reader, memory_order_relaxed) == s->pcpu;
    /* Store, then load: pairs with take_over, which stores and loads the other way round. seq_cst,
     * so that not both go on. */
    atomic_store_explicit(&inside, true, memory_order_seq_cst);
    if (atomic_load_explicit(&reader, memory_order_seq_cst) == first)
        return true;
    atomic_store_explicit(&inside, false, memory_order_release);
    return false;
}

void watch_read_end(const struct subvmm *s)
{
    if (s->pcpu == first)
        atomic_store_explicit(&inside, false, memory_order_release);
}

void watch_beat(const struct subvmm *s)
{
    if (s->pcpu == first) /* it alone writes; pairs with silent */
        atomic_store_explicit(&beats, atomic_load_explicit(&beats, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

/* Nothing new of first since the last look. */
static bool silent(void)
{
    return ring_head(first) == seen.head &&
           atomic_load_explicit(&beats, memory_order_relaxed) == seen.beats;
}

static void say(unsigned seconds, const char *where, const char *what)
{
    log_err("watch", "cpu%u has been in the hypervisor for %u s; an NMI finds it in %s; %s", first,
            seconds, where, what);
}

static void take_over(const struct subvmm *s)
{
    char where[160];

    if (!port_where(first, where, sizeof(where)))
        hv_snprintf(where, sizeof(where), "nothing: it does not answer one");
    if (!silent()) /* it only had no time */
        return;
    atomic_store_explicit(&reader, s->pcpu, memory_order_seq_cst); /* pairs with watch_read_begin */
    if (atomic_load_explicit(&inside, memory_order_seq_cst)) {
        atomic_store_explicit(&reader, first, memory_order_seq_cst);
        /* it may have found itself replaced meanwhile, with a key in the console */
        action_manage(&s->coh, first, ACTION_INPUT);
        if (++seen.refused == KEY_S / LOOKS)
            say(KEY_S, where, "it is at a key of the console");
        return;
    }
    say(LOOKS, where, "cpu1 reads the consoles from now on");
    port_console_poll(POLL_US);
}

static uint32_t mode_of_first(void)
{
    uint32_t vcpu;
    const struct coherency *co = coherency_of(first, &vcpu);

    return co ? atomic_load_explicit(&co->cpu[vcpu].mode, memory_order_relaxed) : MODE_OFFLINE;
}

void watch_look(const struct subvmm *s)
{
    uint32_t mode = mode_of_first();
    uint64_t now = port_tsc();

    if (s->pcpu != DEPUTY || atomic_load_explicit(&reader, memory_order_relaxed) != first ||
        now - seen.tsc < LOOK_US * (port_tsc_hz() / 1000000) / 2)
        return;
    seen.tsc = now;
    if (mode != MODE_HOST || !silent()) {
        seen.head = ring_head(first);
        seen.beats = atomic_load_explicit(&beats, memory_order_relaxed);
        seen.looks = seen.refused = 0;
    } else if (++seen.looks >= LOOKS) {
        seen.looks = 0;
        take_over(s);
    }
}
