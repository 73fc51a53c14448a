/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot-time page allocator: a set of RAM ranges and a set of taken ranges, both sorted and
 * merged; free is the difference. Tested by tools/tests/test_phys.c. */
#include "hv/base/assert.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"

#define RAM_RANGES 128u
#define TAKEN_RANGES 512u
#define PTE_END (1ull << 52) /* end of what a page-table entry can address */

struct range {
    uint64_t base, end;
};
struct set {
    struct range *r;
    unsigned n, max;
};
static struct range ram_range[RAM_RANGES], taken_range[TAKEN_RANGES];
static struct set ram = {ram_range, 0, RAM_RANGES};
static struct set taken = {taken_range, 0, TAKEN_RANGES};
static bool sealed;

/* Union with [base, end); merges what overlaps or touches. */
static enum hv_err set_add(struct set *s, uint64_t base, uint64_t end)
{
    unsigned first = 0, last;
    while (first < s->n && s->r[first].end < base)
        first++;
    for (last = first; last < s->n && s->r[last].base <= end; last++) {
        if (s->r[last].base < base)
            base = s->r[last].base;
        if (s->r[last].end > end)
            end = s->r[last].end;
    }
    if (first == last && s->n == s->max)
        return HV_NOMEM;
    memmove(&s->r[first + 1], &s->r[last], (s->n - last) * sizeof(s->r[0]));
    s->n = s->n + 1 - (last - first);
    s->r[first] = (struct range){base, end};
    return HV_OK;
}

/* true if some byte of [base, end) is in the set. */
static bool set_touches(const struct set *s, uint64_t base, uint64_t end)
{
    for (unsigned i = 0; i < s->n && s->r[i].base < end; i++)
        if (s->r[i].end > base)
            return true;
    return false;
}

/* true if all of [base, end) is in the set. */
static bool set_covers(const struct set *s, uint64_t base, uint64_t end)
{
    for (unsigned i = 0; i < s->n && s->r[i].base <= base; i++)
        if (s->r[i].end >= end)
            return true;
    return false;
}

enum hv_err phys_add(hpa_t base, uint64_t len)
{
    uint64_t end;
    ASSERT(!sealed);
    if (__builtin_add_overflow(base.v, len, &end) || end > PTE_END)
        return HV_RANGE;
    /* inwards: a frame that is RAM only in part is none */
    uint64_t first = (base.v + PAGE_MASK) & ~PAGE_MASK;
    end &= ~PAGE_MASK;
    return first < end ? set_add(&ram, first, end) : HV_OK;
}

enum hv_err phys_reserve(hpa_t base, uint64_t len)
{
    uint64_t end;
    ASSERT(!sealed);
    if (__builtin_add_overflow(base.v, len, &end) || end > PTE_END)
        return HV_RANGE;
    if (len == 0)
        return HV_OK;
    return set_add(&taken, base.v & ~PAGE_MASK, (end + PAGE_MASK) & ~PAGE_MASK);
}

/* The highest place for len bytes in [lo, hi) that is not taken; false: none. */
static bool gap_find(uint64_t lo, uint64_t hi, uint64_t len, uint64_t align, uint64_t *at)
{
    unsigned i = taken.n;
    for (;;) {
        uint64_t floor = lo;
        while (i > 0 && taken.r[i - 1].base >= hi)
            i--;
        if (i > 0 && taken.r[i - 1].end > lo)
            floor = taken.r[i - 1].end;
        if (hi >= len && ((hi - len) & ~(align - 1)) >= floor) {
            *at = (hi - len) & ~(align - 1);
            return true;
        }
        if (i == 0 || taken.r[i - 1].base <= lo)
            return false;
        hi = taken.r[i - 1].base;
    }
}

enum hv_err phys_alloc(uint64_t len, uint64_t align, uint64_t limit, hpa_t *out)
{
    ASSERT(!sealed);
    ASSERT(align >= PAGE_SIZE && (align & (align - 1)) == 0);
    if (len == 0 || len > PTE_END)
        return HV_RANGE;
    len = (len + PAGE_MASK) & ~PAGE_MASK;
    for (unsigned i = ram.n; i > 0; i--) {
        uint64_t lo = ram.r[i - 1].base, hi = ram.r[i - 1].end, at;
        if (lo == 0)
            lo = PAGE_SIZE; /* frame 0 stays unmapped: null pointers */
        if (limit && hi > limit)
            hi = limit & ~PAGE_MASK;
        if (lo >= hi || !gap_find(lo, hi, len, align, &at))
            continue;
        TRY(set_add(&taken, at, at + len));
        *out = hpa(at);
        return HV_OK;
    }
    return HV_NOMEM;
}

bool phys_granule_free(hpa_t base)
{
    uint64_t end;
    if ((base.v & REGION_MASK) || __builtin_add_overflow(base.v, REGION_SIZE, &end))
        return false;
    return set_covers(&ram, base.v, end) && !set_touches(&taken, base.v, end);
}

static bool page_is_zero(const uint64_t *w)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < PAGE_SIZE / 8 && !any; i += 8)
        any = w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7];
    return !any;
}

void phys_clear(void *at, uint64_t n)
{
    uint8_t *p = at;
    for (; n >= PAGE_SIZE; p += PAGE_SIZE, n -= PAGE_SIZE)
        if (!page_is_zero((const uint64_t *)(const void *)p))
            memset(p, 0, PAGE_SIZE);
    memset(p, 0, n);
}

uint64_t phys_free_bytes(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < ram.n; i++) {
        sum += ram.r[i].end - ram.r[i].base;
        for (unsigned j = 0; j < taken.n; j++) {
            uint64_t base = taken.r[j].base > ram.r[i].base ? taken.r[j].base : ram.r[i].base;
            uint64_t end = taken.r[j].end < ram.r[i].end ? taken.r[j].end : ram.r[i].end;
            if (base < end)
                sum -= end - base;
        }
    }
    return sum;
}

uint64_t phys_top(void)
{
    return ram.n ? ram.r[ram.n - 1].end : 0;
}

bool phys_range(unsigned i, hpa_t *base, uint64_t *len)
{
    if (i >= ram.n)
        return false;
    *base = hpa(ram.r[i].base);
    *len = ram.r[i].end - ram.r[i].base;
    return true;
}

void phys_seal(void)
{
    sealed = true;
}

bool phys_sealed(void)
{
    return sealed;
}

void phys_reset(void)
{
    ram.n = taken.n = 0;
    sealed = false;
}
