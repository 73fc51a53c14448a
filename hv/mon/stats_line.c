/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine-readable statistics line: "patchbay-stats: {json}".
 * Tested by tools/tests/test_stats.c, which parses it. */
#include "hv/base/log.h"
#include "hv/base/stats.h"
#include "hv/base/string.h"
#include "hv/coherency/coherency.h"
#include "hv/mon/internal.h"
#include "hv/vcpu/vmexit.h"

_Static_assert((unsigned)STATS_MAX_EXITS >= (unsigned)EXIT_KIND_COUNT, "an exit counter a kind");

/* Pieces are collected here and go to the consoles when the buffer is full; the line is held
 * together by log_hold. One user at a time for that reason. */
struct line {
    char buf[512];
    size_t len;
};

static void line_flush(struct line *l)
{
    log_raw(l->buf, l->len);
    l->len = 0;
}

__attribute__((format(printf, 2, 3))) static void line_add(struct line *l, const char *fmt, ...)
{
    char piece[160];
    va_list ap;
    va_start(ap, fmt);
    size_t n = (size_t)hv_vsnprintf(piece, sizeof(piece), fmt, ap);
    va_end(ap);
    if (n > sizeof(piece) - 1)
        n = sizeof(piece) - 1;
    if (l->len + n > sizeof(l->buf))
        line_flush(l);
    memcpy(l->buf + l->len, piece, n);
    l->len += n;
}

/* High-water marks are combined by the largest, everything else by the sum. */
bool mon_is_mark(enum stat s)
{
    return s == STAT_shadow_pages_high || s == STAT_rmap_high || s == STAT_unserved_high;
}

static uint64_t stat_get(uint32_t cpu, enum stat s)
{
    return atomic_load_explicit(&hv_stats[cpu].n[s], memory_order_relaxed);
}

static uint64_t exit_get(uint32_t cpu, unsigned kind)
{
    return atomic_load_explicit(&hv_stats[cpu].exits[kind], memory_order_relaxed);
}

/* VCPUs first..last-1 as one object. */
static void counters_add(struct line *l, const struct vm *vm, uint32_t first, uint32_t last)
{
    const char *comma = "";
    line_add(l, "{");
    for (unsigned s = 0; s < STAT_COUNT; s++) {
        uint64_t v = 0;
        for (uint32_t c = first; c < last; c++) {
            uint64_t n = stat_get(vm_pcpu(vm, c), (enum stat)s);
            v = !mon_is_mark((enum stat)s) ? v + n : n > v ? n : v;
        }
        line_add(l, "%s\"%s\":%lu", comma, stat_name[s], v);
        comma = ",";
    }
    line_add(l, ",\"exits\":{");
    comma = "";
    for (unsigned k = 0; k < EXIT_KIND_COUNT; k++) {
        uint64_t v = 0;
        for (uint32_t c = first; c < last; c++)
            v += exit_get(vm_pcpu(vm, c), k);
        if (v == 0)
            continue;
        line_add(l, "%s\"%s\":%lu", comma, vmexit_name[k], v);
        comma = ",";
    }
    line_add(l, "}}");
}

static const char *flag(bool on)
{
    return on ? "true" : "false";
}

static void modes_add(struct line *l, const struct vm *vm)
{
    static const char *const coherency[] = {
        [COHERENCY_MATRIX] = "matrix",
        [COHERENCY_LOCKED] = "locked",
        [COHERENCY_SHOOTDOWN] = "shootdown",
    };
    const struct hv_options *o = vm->opt;
    line_add(l, "\"coherency\":\"%s\",\"overflow\":\"%s\",\"consumers\":\"%s\",",
             coherency[o->coherency], o->overflow == OVERFLOW_LAZY ? "lazy" : "shootdown",
             o->consumers_traced ? "traced" : "all");
    line_add(l, "\"interest\":%s,\"derived\":%s,\"unsync\":%s,\"postpone\":%s,", flag(o->interest),
             flag(o->derived), flag(o->unsync), flag(o->postpone));
    line_add(l, "\"batch\":%s,\"large\":%s,\"mmu\":\"%s\",\"audit\":%u", flag(o->batch),
             flag(o->large), o->mmu == MMU_SHADOW ? "shadow" : "ref", o->audit);
}

static void channels_add(struct line *l, const struct vm *vm)
{
    const char *comma = "";
    for (uint32_t p = 0; p < vm->ncpus; p++) {
        for (uint32_t c = 0; c < vm->ncpus; c++) {
            const struct channel *ch = &vm->co->matrix[p][c];
            uint64_t posts = atomic_load_explicit(&ch->posts, memory_order_relaxed);
            uint64_t coalesces = atomic_load_explicit(&ch->coalesces, memory_order_relaxed);
            uint64_t overflows = atomic_load_explicit(&ch->overflows, memory_order_relaxed);
            uint64_t drained = atomic_load_explicit(&ch->drained, memory_order_relaxed);
            if (!posts && !coalesces && !overflows && !drained)
                continue;
            line_add(l, "%s{\"producer\":%u,\"consumer\":%u,\"posts\":%lu,\"coalesces\":%lu,",
                     comma, p, c, posts, coalesces);
            line_add(l, "\"overflows\":%lu,\"drained\":%lu}", overflows, drained);
            comma = ",";
        }
    }
}

void mon_stats_line(const struct vm *vm)
{
    struct line l = {.len = 0};
    bool held = log_hold();
    line_add(&l, "patchbay-stats: {\"ncpus\":%u,\"ram_mib\":%lu,\"mode\":{", vm->ncpus,
             vm->ram_bytes >> 20);
    modes_add(&l, vm);
    line_add(&l, "},\"total\":");
    counters_add(&l, vm, 0, vm->ncpus);
    line_add(&l, ",\"cpus\":[");
    for (uint32_t c = 0; c < vm->ncpus; c++) {
        line_add(&l, "%s", c ? "," : "");
        counters_add(&l, vm, c, c + 1);
    }
    line_add(&l, "],\"channels\":[");
    if (vm->co)
        channels_add(&l, vm);
    line_add(&l, "]}\n");
    line_flush(&l);
    log_release(held);
}
