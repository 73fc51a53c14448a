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

#define LOOKS 30u       /* seconds */
#define PLACE_BYTES 64u /* a loop of a few instructions */
#define LINE 400

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
    s->look.dead_at = 0;
    if (!s->vcpu.is_bsp)
        return;
    atomic_store_explicit(&s->vm->watch.dead, 0, memory_order_relaxed);
    atomic_store_explicit(&s->vm->watch.dead_said, false, memory_order_relaxed);
    s->look.looks = s->look.places = 0;
    s->look.over = false;
    s->watch_at = in_a_second();
}

/* --- all in HLT with interrupts off --- */

static bool all_dead(const struct subvmm *s)
{
    cpuset_t active = vm_active_set(s->vm);

    return active && !(active & ~atomic_load_explicit(&s->vm->watch.dead, memory_order_acquire));
}

void guestwatch_dead(struct subvmm *s)
{
    s->dead = true;
    atomic_store_explicit(&s->vm->watch.dead_rip[s->cpu], s->vcpu.regs.rip, memory_order_relaxed);
    /* acq_rel: the last one to set its bit sees all others, and their places */
    atomic_fetch_or_explicit(&s->vm->watch.dead, 1u << s->cpu, memory_order_acq_rel);
    if (!all_dead(s) || atomic_load_explicit(&s->vm->watch.dead_said, memory_order_relaxed))
        return;
    s->look.wakes = atomic_load_explicit(&s->vm->watch.wakes, memory_order_relaxed);
    uint64_t at = s->look.dead_at = in_a_second();
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
    atomic_fetch_and_explicit(&s->vm->watch.dead, ~(1u << s->cpu), memory_order_relaxed);
    atomic_fetch_add_explicit(&s->vm->watch.wakes, 1, memory_order_relaxed);
}

static void say_dead(struct subvmm *s)
{
    char where[LINE], hint[64];
    size_t n = 0;

    where[0] = 0;
    monitor_hint(s, hint, sizeof(hint));
    for (uint32_t c = 0; c < s->vm->ncpus && n < sizeof(where); c++)
        if (atomic_load_explicit(&s->vm->watch.dead, memory_order_acquire) & 1u << c)
            n += (size_t)hv_snprintf(where + n, sizeof(where) - n, " cpu%u 0x%llx", c,
                                     (unsigned long long)atomic_load_explicit(
                                         &s->vm->watch.dead_rip[c], memory_order_relaxed));
    log_warn("watch",
             "the guest stands: every VCPU is in HLT with interrupts off; RIP%s; cpu%u %s%s", where,
             s->cpu, vcpu_mode_name(s), hint);
}

static void look_dead(struct subvmm *s)
{
    s->look.dead_at = 0;
    if (!s->dead || !all_dead(s) ||
        atomic_load_explicit(&s->vm->watch.wakes, memory_order_relaxed) != s->look.wakes)
        return;
    if (!atomic_exchange_explicit(&s->vm->watch.dead_said, true, memory_order_relaxed))
        say_dead(s);
}

/* --- at the same few instructions --- */

/* true: rip is at one of the places where this guest was seen. */
static bool at_place(struct subvmm *s, uint64_t rip)
{
    for (unsigned i = 0; i < s->look.places; i++)
        if (rip - s->look.place[i] + PLACE_BYTES / 2 < PLACE_BYTES)
            return true;
    if (s->look.places == LOOK_PLACES)
        return false;
    s->look.place[s->look.places++] = rip;
    return true;
}

static void look_still(struct subvmm *s)
{
    const struct vcpu *v = &s->vcpu;
    char hint[64];

    if (vpc_output_seen(s->vm->pc)) {
        s->look.over = true;
        return;
    }
    if (!at_place(s, v->regs.rip)) { /* it moves: begin anew */
        s->look.places = s->look.looks = 0;
        (void)at_place(s, v->regs.rip);
    }
    if (s->paused || ++s->look.looks < LOOKS)
        return;
    s->look.over = true;
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

    if (s->look.dead_at && port_tsc() >= s->look.dead_at)
        look_dead(s);
    s->watch_at = s->look.dead_at ? s->look.dead_at : UINT64_MAX;
    if (boot && !s->look.over && s->vcpu.state <= VCPU_HALTED)
        look_still(s);
    if (boot && !s->look.over && s->watch_at == UINT64_MAX)
        s->watch_at = in_a_second();
}
