/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that gets nowhere must not be silence. Two cases are told, each once, with where the
 * guest is: all its VCPUs are in HLT with interrupts off, and nobody is left to wake them; or the
 * boot processor has been at the same few instructions for half a minute and the guest has said
 * nothing yet. Looks are timers: entries and exits do nothing for them. Tested by
 * tools/tests/test_guestwatch.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/subvmm/life.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

#define LOOKS 30u /* seconds */
#define PLACES 4u
#define PLACE_BYTES 64u /* a loop of a few instructions */
#define LINE 400

/* VCPUs in HLT with interrupts off, and where; wakes counts those that left. A CPU changes its own
 * bit only; whoever makes the set complete looks again a second later. */
static _Atomic cpuset_t dead;
static _Atomic uint32_t wakes;
static _Atomic uint64_t dead_rip[HV_MAX_CPUS];
static _Atomic bool dead_said;
static struct {  /* of the CPU that found the set complete */
    uint64_t at; /* TSC of the second look, 0 none */
    uint32_t wakes;
} deadlock[HV_MAX_CPUS];

static struct { /* the boot processor's own */
    unsigned looks, places;
    uint64_t place[PLACES];
    bool over;
} still;

const char *vcpu_mode_name(struct subvmm *s)
{
    unsigned size = vcpu_code_size(s);

    if (!(s->vcpu.ctl.cr0 & CR0_PE))
        return "real";
    if (s->vcpu.regs.rflags & RFLAGS_VM)
        return "virtual-8086";
    if (s->vcpu.ctl.efer & EFER_LMA)
        return size == 8 ? "64-bit" : "compatibility";
    return size == 4 ? "32-bit" : "16-bit";
}

/* "; ^T ^T opens the monitor" */
static void monitor_hint(const struct subvmm *s, char *buf, size_t size)
{
    static const char keys[] = OPT_ESCAPE_KEYS;
    const char *key = keys, *end;

    for (uint32_t i = 0; i < s->vm->opt->escape && key; i++) {
        key = strchr(key, '|');
        key = key ? key + 1 : NULL;
    }
    buf[0] = 0;
    if (!key || key[0] != '^')
        return;
    end = strchr(key, '|');
    int n = end ? (int)(end - key) : (int)strlen(key);
    hv_snprintf(buf, size, "; Ctrl-%.*s Ctrl-%.*s opens the monitor", n - 1, key + 1, n - 1,
                key + 1);
}

static uint64_t in_a_second(void)
{
    return port_tsc() + port_tsc_hz();
}

void guestwatch_start(struct subvmm *s)
{
    s->dead = false;
    deadlock[s->cpu].at = 0;
    if (!s->vcpu.is_bsp)
        return;
    atomic_store_explicit(&dead, 0, memory_order_relaxed);
    atomic_store_explicit(&dead_said, false, memory_order_relaxed);
    still.looks = still.places = 0;
    still.over = false;
    s->watch_at = in_a_second();
}

/* --- all in HLT with interrupts off --- */

static bool all_dead(void)
{
    cpuset_t active = vm_active_set();

    return active && !(active & ~atomic_load_explicit(&dead, memory_order_acquire));
}

void guestwatch_dead(struct subvmm *s)
{
    s->dead = true;
    atomic_store_explicit(&dead_rip[s->cpu], s->vcpu.regs.rip, memory_order_relaxed);
    /* acq_rel: the last one to set its bit sees all others, and their places */
    atomic_fetch_or_explicit(&dead, 1u << s->cpu, memory_order_acq_rel);
    if (!all_dead() || atomic_load_explicit(&dead_said, memory_order_relaxed))
        return;
    deadlock[s->cpu].wakes = atomic_load_explicit(&wakes, memory_order_relaxed);
    uint64_t at = deadlock[s->cpu].at = in_a_second();
    if (at < s->watch_at)
        s->watch_at = at;
    if (at < s->timer_armed) { /* this round has armed it already */
        s->timer_armed = at;
        port_timer_arm(at);
    }
}

void guestwatch_alive(struct subvmm *s)
{
    s->dead = false;
    atomic_fetch_and_explicit(&dead, ~(1u << s->cpu), memory_order_relaxed);
    atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed);
}

static void say_dead(struct subvmm *s)
{
    char where[LINE], hint[64];
    size_t n = 0;

    where[0] = 0;
    monitor_hint(s, hint, sizeof(hint));
    for (uint32_t c = 0; c < s->vm->ncpus && n < sizeof(where); c++)
        if (atomic_load_explicit(&dead, memory_order_acquire) & 1u << c)
            n += (size_t)hv_snprintf(
                where + n, sizeof(where) - n, " cpu%u 0x%llx", c,
                (unsigned long long)atomic_load_explicit(&dead_rip[c], memory_order_relaxed));
    log_warn("watch",
             "the guest stands: every VCPU is in HLT with interrupts off; RIP%s; cpu%u %s%s", where,
             s->cpu, vcpu_mode_name(s), hint);
}

static void look_dead(struct subvmm *s)
{
    deadlock[s->cpu].at = 0;
    if (!s->dead || !all_dead() ||
        atomic_load_explicit(&wakes, memory_order_relaxed) != deadlock[s->cpu].wakes)
        return;
    if (!atomic_exchange_explicit(&dead_said, true, memory_order_relaxed))
        say_dead(s);
}

/* --- at the same few instructions --- */

/* true: rip is at one of the places where this guest was seen. */
static bool at_place(uint64_t rip)
{
    for (unsigned i = 0; i < still.places; i++)
        if (rip - still.place[i] + PLACE_BYTES / 2 < PLACE_BYTES)
            return true;
    if (still.places == PLACES)
        return false;
    still.place[still.places++] = rip;
    return true;
}

static void look_still(struct subvmm *s)
{
    const struct vcpu *v = &s->vcpu;
    char hint[64];

    if (vpc_output_seen(s->vm->pc)) {
        still.over = true;
        return;
    }
    if (!at_place(v->regs.rip)) { /* it moves: begin anew */
        still.places = still.looks = 0;
        (void)at_place(v->regs.rip);
    }
    if (s->paused || ++still.looks < LOOKS)
        return;
    still.over = true;
    monitor_hint(s, hint, sizeof(hint));
    log_warn("watch",
             "the guest has said nothing on its serial line, and for %u s cpu%u has been at the "
             "same few instructions: RIP 0x%llx, %s, %s, interrupts %s%s",
             LOOKS, s->cpu, (unsigned long long)v->regs.rip, vcpu_mode_name(s),
             v->state == VCPU_HALTED ? "in HLT" : "running",
             v->regs.rflags & RFLAGS_IF ? "on" : "off", hint);
}

void guestwatch_look(struct subvmm *s)
{
    bool boot = s->vcpu.is_bsp;

    if (deadlock[s->cpu].at && port_tsc() >= deadlock[s->cpu].at)
        look_dead(s);
    s->watch_at = deadlock[s->cpu].at ? deadlock[s->cpu].at : UINT64_MAX;
    if (boot && !still.over && s->vcpu.state <= VCPU_HALTED)
        look_still(s);
    if (boot && !still.over && s->watch_at == UINT64_MAX)
        s->watch_at = in_a_second();
}
