/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting processors that answer, stay silent, are unlike the first, or cannot be addressed. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
/* Pure: compiled here, since the machine's folder is not in the host library. */
#include "arch-x86/cpu/smp_order.c"

#define IDS 8
static enum smp_outcome outcome[IDS]; /* by APIC id */
static uint32_t number[IDS];          /* CPU number it was last tried for */
static unsigned tries;

static bool can_address(uint32_t id)
{
    return id < 255;
}

static enum smp_outcome start(uint32_t cpu, uint32_t id)
{
    number[id] = cpu;
    tries++;
    return outcome[id];
}

static uint32_t go(const uint32_t *ids, unsigned n, uint32_t self, uint32_t want)
{
    static const struct smp_ops ops = {can_address, start};
    tries = 0;
    memset(number, 0, sizeof(number));
    fake_console_clear();
    return smp_order(ids, n, self, want, &ops);
}

int main(void)
{
    static const uint32_t four[] = {2, 0, 1, 3}, high[] = {0, 300, 1};

    tap_eq(go(four, 4, 0, 4), 4, "all answer: four run");
    tap_ok(number[2] == 1 && number[1] == 2 && number[3] == 3, "numbered in the table's order");
    tap_eq(tries, 3, "the boot processor is not started");
    tap_eq(go(four, 4, 0, 2), 2, "no more than wanted");
    tap_eq(tries, 1, "... nor tried");

    outcome[1] = SMP_SILENT;
    tap_eq(go(four, 4, 0, 4), 3, "a silent one: three run");
    tap_ok(number[2] == 1 && number[3] == 2, "... its number goes to the next");
    tap_ok(strstr(fake_console(), "CPU with APIC id 1 did not start: left out"), "... it is named");
    tap_ok(strstr(fake_console(), "4 CPUs wanted, 3 run"), "... and the sum is told");
    tap_eq(go(four, 4, 0, 3), 3, "another one takes the place of a silent one");
    tap_ok(!strstr(fake_console(), "wanted"), "... then nobody is missing");

    outcome[1] = SMP_UNLIKE;
    tap_eq(go(four, 4, 0, 4), 3, "an unlike one: three run");
    tap_ok(number[3] == 2, "... its number goes to the next");
    outcome[1] = SMP_RUNS;
    tap_eq(go(high, 3, 0, 3), 2, "an id that cannot be addressed");
    tap_ok(strstr(fake_console(), "CPU with APIC id 300 is left out: only x2APIC") && tries == 1,
           "... is named and not tried");
    return tap_done();
}
