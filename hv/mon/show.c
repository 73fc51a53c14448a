/* SPDX-License-Identifier: BSD-2-Clause */
/* What the monitor shows without anybody's help: channels, trace words, counters, events.
 * Tested by tools/tests/test_mon.c. */
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/coherency/trace.h"
#include "hv/mon/internal.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/vmexit.h"

#define COLUMNS 6u /* consumers beside each other */

void mon_emit(const char *line)
{
    mon_say("%s", line);
}

void mon_say(const char *fmt, ...)
{
    char line[MON_LINE + 1];
    va_list ap;

    va_start(ap, fmt);
    size_t n = (size_t)hv_vsnprintf(line, MON_LINE, fmt, ap);
    va_end(ap);
    if (n > MON_LINE - 1)
        n = MON_LINE - 1;
    line[n++] = '\n';
    log_raw(line, n);
}

/* --- the matrix --- */

static unsigned used_slots(const struct channel *ch)
{
    unsigned used = 0;

    for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
        used += atomic_load_explicit(&ch->slot[i], memory_order_relaxed) != 0;
    return used;
}

/* "used/posts", '!' behind it: full once and not yet drained; '.' if never used. */
static void cell_text(const struct channel *ch, char *buf, size_t size)
{
    unsigned used = used_slots(ch);
    uint64_t posts = atomic_load_explicit(&ch->posts, memory_order_relaxed);
    bool over = atomic_load_explicit(&ch->overflow, memory_order_relaxed) != 0;

    if (!used && !posts && !over)
        hv_snprintf(buf, size, ".");
    else
        hv_snprintf(buf, size, "%u/%lu%s", used, posts, over ? "!" : "");
}

static void matrix_columns(const struct vm *vm, uint32_t first, uint32_t last)
{
    char line[MON_LINE], cell[32];
    int n = hv_snprintf(line, sizeof(line), "producer  ");

    for (uint32_t c = first; c < last; c++)
        n += hv_snprintf(line + n, sizeof(line) - (size_t)n, " %11s%2u", "consumer", c);
    mon_emit(line);
    for (uint32_t p = 0; p < vm->ncpus; p++) {
        n = hv_snprintf(line, sizeof(line), "cpu%-2u     ", p);
        for (uint32_t c = first; c < last; c++) {
            cell_text(&vm->co->matrix[p][c], cell, sizeof(cell));
            n += hv_snprintf(line + n, sizeof(line) - (size_t)n, " %13s", cell);
        }
        mon_emit(line);
    }
}

void mon_show_matrix(const struct vm *vm)
{
    if (vm->co->mode == COHERENCY_LOCKED) {
        mon_say("coherency=locked: one channel for all CPUs, the matrix is not used");
        return;
    }
    mon_say("patch channels: used slots (of %u) / posts since boot; '!': overflow flag set",
            (unsigned)CHANNEL_SLOTS);
    for (uint32_t first = 0; first < vm->ncpus; first += COLUMNS)
        matrix_columns(vm, first, first + COLUMNS < vm->ncpus ? first + COLUMNS : vm->ncpus);
    for (uint32_t c = 0; c < vm->ncpus; c++) {
        uint64_t pending = atomic_load_explicit(&vm->co->cpu[c].pending, memory_order_relaxed);
        if (pending)
            mon_say("cpu%u has patches pending from CPUs 0x%lx", c, pending);
    }
}

/* --- a frame's trace word --- */

static const char *set_text(cpuset_t set, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = '-';
    buf[1] = 0;
    for (unsigned c = 0; c < HV_MAX_CPUS; c++)
        if ((set & (cpuset_t)BIT(c)) && n + 4 < size)
            n += (size_t)hv_snprintf(buf + n, size - n, "%s%u", n ? "," : "", c);
    return buf;
}

void mon_show_frame(const struct vm *vm, gfn_t f)
{
    char writers[100], consumers[100];
    const struct coh_cpu any = {.co = vm->co};
    uint64_t w = trace_word(&any, f), r = region_word(&any, f);
    hpa_t h;

    if (!p2m_lookup(&vm->p2m, gfn_gpa(f), &h)) {
        mon_say("gfn 0x%lx: not RAM of the guest", f.v);
        return;
    }
    mon_say("gfn 0x%lx (gpa 0x%lx, hpa 0x%lx): word 0x%016lx", f.v, gfn_gpa(f).v, h.v, w);
    mon_say("  %s%s, writers %s, consumers %s", w & TRACE_TRACED ? "traced" : "not traced",
            w & TRACE_UNSYNC ? ", unsync" : "",
            set_text(trace_writers(w), writers, sizeof(writers)),
            set_text(trace_consumers(w), consumers, sizeof(consumers)));
    mon_say("  2 MiB region: %lu registrations inside, writers of 2 MiB sptes %s", r >> 32,
            set_text((cpuset_t)(r & TRACE_CONSUMERS), writers, sizeof(writers)));
}

/* --- counters --- */

#define COUNTERS ((unsigned)STAT_COUNT + (unsigned)EXIT_KIND_COUNT)

static uint64_t before[VM_MAX][COUNTERS], before_tsc[VM_MAX]; /* the last look */

static uint64_t counter_total(const struct vm *vm, unsigned i)
{
    uint64_t v = 0;

    for (uint32_t c = 0; c < vm->ncpus; c++) {
        const struct stats *st = &hv_stats[vm_pcpu(vm, c)];
        uint64_t n = atomic_load_explicit(i < STAT_COUNT ? &st->n[i] : &st->exits[i - STAT_COUNT],
                                          memory_order_relaxed);
        if (i >= STAT_COUNT || !mon_is_mark((enum stat)i))
            v += n;
        else if (n > v)
            v = n;
    }
    return v;
}

void mon_show_stats(const struct vm *vm)
{
    uint64_t now = port_tsc(), hz = port_tsc_hz() ? port_tsc_hz() : 1;
    uint64_t ms = (now - before_tsc[vm->id]) / (hz / 1000 ? hz / 1000 : 1);

    mon_say("%-22s %14s %14s   (all CPUs; %lu.%03lu s since the last look)", "counter",
            "since boot", "since look", ms / 1000, ms % 1000);
    for (unsigned i = 0; i < COUNTERS; i++) {
        bool is_stat = i < STAT_COUNT;
        uint64_t v = counter_total(vm, i);
        char name[32], since[32];
        /* Some count what is in use now, and go down. */
        hv_snprintf(since, sizeof(since), v < before[vm->id][i] ? "-%lu" : "%lu",
                    v < before[vm->id][i] ? before[vm->id][i] - v : v - before[vm->id][i]);
        hv_snprintf(name, sizeof(name), "%s%s", is_stat ? "" : "exit ",
                    is_stat ? stat_name[i] : vmexit_name[i - STAT_COUNT]);
        if (v || before[vm->id][i])
            mon_say("%-22s %14lu %14s", name, v, since);
        before[vm->id][i] = v;
    }
    before_tsc[vm->id] = now;
}

/* --- events --- */

static void event_say(uint32_t cpu, const struct ring_event *e, uint64_t now)
{
    uint64_t us_hz = port_tsc_hz() / 1000000 ? port_tsc_hz() / 1000000 : 1;
    uint64_t ago = (now - e->tsc) / us_hz;

    uint64_t in_guest = ((e->tsc << 8) - (e->a & ~0xffull)) >> 8;

    if (e->kind == RING_EXIT && RING_EXIT_KIND(e->a) < EXIT_KIND_COUNT)
        mon_say("  cpu%-2u %9lu us ago  exit   %-10s rip 0x%lx, %lu us in the guest", cpu, ago,
                vmexit_name[RING_EXIT_KIND(e->a)], e->b, in_guest / us_hz);
    else
        mon_say("  cpu%-2u %9lu us ago  %-6s 0x%lx 0x%lx", cpu, ago, ring_kind_name(e->kind), e->a,
                e->b);
}

void mon_show_events(const struct vm *vm, uint32_t cpu, unsigned n)
{
    uint32_t pcpu = vm_pcpu(vm, cpu);
    uint64_t head = ring_head(pcpu), now = port_tsc();
    uint64_t first = head < n ? 0 : head - n;

    for (uint64_t i = first; i < head; i++) {
        struct ring_event e;
        if (ring_get(pcpu, i, &e))
            event_say(cpu, &e, now);
    }
}
