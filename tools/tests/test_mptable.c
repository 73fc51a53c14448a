/* SPDX-License-Identifier: BSD-2-Clause */
/* The MP table as a guest that reads it finds it: signature search, checksums, one entry a CPU. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/vm/tables/tables.h"

static struct vm vm;
static uint32_t granule[2] = {1, 0};

static uint8_t *at(uint64_t g)
{
    return p2m_ptr(&vm.p2m, gpa(g));
}

static bool sums_to_zero(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    while (n--)
        sum = (uint8_t)(sum + *p++);
    return sum == 0;
}

static void check(uint32_t ncpus)
{
    static const unsigned size[] = {20, 8, 8, 8, 8};
    unsigned count[5] = {0}, boot = 0, n = 0, enabled = 0;
    const uint8_t *f = NULL, *t, *e;
    uint32_t table;
    uint16_t len, entries;

    vm.ncpus = ncpus;
    tap_eq(vm_mptable_build(&vm), HV_OK, "built");
    for (uint64_t g = 0xf0000; g < 0x100000 && !f; g += 16)
        if (!memcmp(at(g), "_MP_", 4))
            f = at(g);
    if (!tap_ok(f && sums_to_zero(f, 16), "%u CPUs: the floating structure is found", ncpus))
        return;
    memcpy(&table, f + 4, 4);
    t = at(table);
    memcpy(&len, t + 4, 2);
    memcpy(&entries, t + 34, 2);
    tap_ok(!memcmp(t, "PCMP", 4) && sums_to_zero(t, len), "... and the table it points to");
    for (e = t + 44; e < t + len && *e < 5; e += size[*e], n++) {
        count[*e]++;
        if (*e == 0) {
            boot += (e[3] & 2) != 0;
            enabled += e[3] & 1;
        }
    }
    tap_ok(e == t + len && n == entries, "... whose entries fill it");
    tap_ok(count[0] == ncpus && enabled == ncpus && boot == 1, "... one processor entry a CPU");
    tap_ok(count[1] == 1 && count[2] == 1 && count[3] == 15 && count[4] == 2,
           "... one bus, one I/O APIC, lines");
}

int main(void)
{
    fake_reset();
    fake_arena(0, 2 * REGION_SIZE);
    vm.p2m = (struct p2m){.granule = granule, .ngranules = 2};
    check(1);
    check(4);
    check(31);
    return tap_done();
}
