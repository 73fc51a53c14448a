/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot-time page allocator, by cases and against a page-by-page model. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/mem/phys.h"

#define MIB 0x100000ull

static void test_cases(void)
{
    hpa_t a, b;
    uint64_t len;
    phys_reset();
    tap_eq(phys_alloc(4096, 4096, 0, &a), HV_NOMEM, "nothing to give at first");
    tap_eq(phys_add(hpa(0), 0x9fc00), HV_OK, "low memory");
    tap_eq(phys_add(hpa(MIB), 63 * MIB), HV_OK, "RAM");
    tap_eq(phys_add(hpa(0x100000000), 16 * MIB), HV_OK, "RAM above 4 GiB");
    tap_eq(phys_add(hpa(32 * MIB), 48 * MIB), HV_OK, "an overlapping range");
    tap_eq(phys_free_bytes(), 0x9f000 + 79 * MIB + 16 * MIB,
           "free bytes, parts of frames not counted");
    tap_eq(phys_top(), 0x101000000, "top");
    tap_ok(phys_range(1, &a, &len) && a.v == MIB && len == 79 * MIB, "overlaps are merged");
    tap_ok(!phys_range(3, &a, &len), "three ranges");
    tap_eq(phys_alloc(1, 4096, 0, &a), HV_OK, "one byte");
    tap_eq(a.v, 0x100fff000, "... is the topmost frame");
    tap_eq(phys_alloc(0x200000, 0x200000, 0, &a), HV_OK, "aligned");
    tap_eq(a.v, 0x100c00000, "... below it");
    tap_eq(phys_alloc(4096, 4096, 0, &a), HV_OK, "a frame");
    tap_eq(a.v, 0x100ffe000, "... from the gap that the alignment left");
    tap_eq(phys_alloc(4096, 4096, MIB, &a), HV_OK, "below 1 MiB");
    tap_eq(a.v, 0x9e000, "... is there");
    tap_eq(phys_alloc(8 * MIB, 4096, 80 * MIB, &b), HV_OK, "below a limit");
    tap_eq(b.v, 72 * MIB, "... just below it");
    tap_eq(phys_alloc(1ull << 40, 4096, 0, &a), HV_NOMEM, "too much");
    tap_eq(phys_alloc(0, 4096, 0, &a), HV_RANGE, "nothing");
    tap_eq(phys_add(hpa(UINT64_MAX - 4096), 8192), HV_RANGE, "a range that wraps");
    tap_eq(phys_reserve(hpa(1), UINT64_MAX), HV_RANGE, "a reservation that wraps");
    tap_ok(phys_granule_free(hpa(2 * MIB)), "a free granule");
    tap_ok(!phys_granule_free(hpa(0)), "granule 0 has the legacy hole");
    tap_ok(!phys_granule_free(hpa(3 * MIB)), "no granule starts there");
    tap_ok(!phys_granule_free(hpa(72 * MIB)), "an allocated one");
    tap_eq(phys_reserve(hpa(4 * MIB + 5), 1), HV_OK, "one byte reserved");
    tap_ok(!phys_granule_free(hpa(4 * MIB)), "... takes its granule");
    tap_ok(!phys_granule_free(hpa(~REGION_MASK)), "the last granule of the address space");
    /* reserve first, add later */
    phys_reset();
    tap_ok(phys_reserve(hpa(2 * MIB), MIB) == HV_OK && phys_add(hpa(0), 4 * MIB) == HV_OK &&
               phys_free_bytes() == 3 * MIB,
           "reserving first works too");
    /* frame 0 is never given out */
    phys_reset();
    tap_ok(phys_add(hpa(0), 8192) == HV_OK && phys_alloc(4096, 4096, 0, &a) == HV_OK &&
               a.v == 4096 && phys_alloc(4096, 4096, 0, &a) == HV_NOMEM,
           "frame 0 is never given out");
    phys_reset();
    enum hv_err err = HV_OK;
    unsigned n = 0;
    for (; err == HV_OK && n < 1000; n++)
        err = phys_add(hpa(n * 0x10000ull), 4096);
    tap_ok(err == HV_NOMEM && n == 129, "the 129th range is refused");
}

static void alloc_sealed(void *arg)
{
    hpa_t a;
    (void)arg;
    if (phys_alloc(4096, 4096, 0, &a) == HV_OK)
        printf("# allocated\n");
}
static void test_seal(void)
{
    phys_reset();
    tap_eq(phys_add(hpa(MIB), MIB), HV_OK, "RAM");
    phys_seal();
    tap_eq(fake_run(alloc_sealed, NULL), FAKE_PANIC, "allocating after the seal is our bug");
    phys_reset();
}

/* A page-by-page model of 1024 pages. */
enum { PAGES = 1024 };
static uint8_t model[PAGES]; /* 1 RAM, 2 taken */
static uint32_t seed = 7;
static unsigned rnd(unsigned n)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 12) % n;
}
/* What the allocator must answer: the highest fit. */
static uint64_t model_alloc(unsigned len, unsigned align, unsigned limit)
{
    for (unsigned at = limit - len + 1; len <= limit && at-- > 1;) {
        bool fits = at % align == 0;
        for (unsigned i = at; fits && i < at + len; i++)
            fits = model[i] == 1;
        if (fits)
            return at;
    }
    return 0;
}
static void test_model(void)
{
    unsigned wrong = 0, allocs = 0;
    for (unsigned round = 0; round < 60; round++) {
        phys_reset();
        memset(model, 0, sizeof(model));
        for (unsigned step = 0; step < 40; step++) {
            unsigned at = rnd(PAGES), len = 1 + rnd(60), kind = rnd(4);
            if (at + len > PAGES)
                len = PAGES - at;
            if (kind == 0) {
                if (phys_add(hpa(at * 4096ull), len * 4096ull) != HV_OK)
                    continue;
                for (unsigned i = at; i < at + len; i++)
                    model[i] |= 1;
            } else if (kind == 1) {
                if (phys_reserve(hpa(at * 4096ull), len * 4096ull) != HV_OK)
                    continue;
                for (unsigned i = at; i < at + len; i++)
                    model[i] |= 2;
            } else {
                unsigned align = 1u << rnd(5), limit = rnd(2) ? PAGES : 1 + rnd(PAGES);
                hpa_t got = hpa(0);
                len = 1 + rnd(12);
                uint64_t want = model_alloc(len, align, limit);
                enum hv_err err = phys_alloc(len * 4096ull, align * 4096ull, limit * 4096ull, &got);
                wrong += (err == HV_OK) != (want != 0) || (want && got.v != want * 4096);
                allocs += err == HV_OK;
                for (unsigned i = 0; err == HV_OK && i < len; i++)
                    model[got.v / 4096 + i] |= 2;
            }
            uint64_t free_pages = 0;
            for (unsigned i = 0; i < PAGES; i++)
                free_pages += model[i] == 1;
            wrong += phys_free_bytes() != free_pages * 4096;
            for (unsigned g = 0; g < PAGES; g += 512) {
                bool all = true;
                for (unsigned i = g; i < g + 512; i++)
                    all = all && model[i] == 1;
                wrong += phys_granule_free(hpa(g * 4096ull)) != all;
            }
        }
    }
    tap_eq(wrong, 0, "60 random histories agree with the model");
    tap_ok(allocs > 100, "... with %u allocations in them", allocs);
}

int main(void)
{
    test_cases();
    test_seal();
    test_model();
    return tap_done();
}
