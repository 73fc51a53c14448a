/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware's memory map: what does not fit the tables is never taken for free RAM. */
#include "arch-x86/plat/memmap.c"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"

struct cpu_features cpu_features = {.phys_bits = 40};

static void again(void)
{
    phys_reset();
    fake_console_clear();
    lost = logged = false;
}

static void keep_out_pages(unsigned n)
{
    memmap_ram(0, 1ull << 30);
    for (unsigned i = 0; i < n; i++)
        memmap_keep_out((uint64_t)i * 3 * PAGE_SIZE, PAGE_SIZE);
}

static void log_it(void *arg)
{
    (void)arg;
    memmap_log();
}

static void keep_one_more(void *arg)
{
    (void)arg;
    memmap_keep_out(0x30000000, PAGE_SIZE);
}

static void ram_ranges(void)
{
    again();
    for (unsigned i = 0; i < 200; i++)
        memmap_ram((uint64_t)i * 3 * PAGE_SIZE, PAGE_SIZE);
    tap_eq(fake_run(log_it, NULL), FAKE_RETURNED, "200 pieces of RAM: some are left out");
    tap_eq(phys_free_bytes(), 128 * PAGE_SIZE, "... and not used");
    again();
    memmap_ram(0, 1ull << 52);
    memmap_ram(1ull << 51, 1ull << 30);
    tap_eq(phys_top(), 1ull << 40, "RAM beyond what the CPU addresses is cut");
}

int main(void)
{
    fake_reset();
    again();
    keep_out_pages(512);
    tap_eq(fake_run(log_it, NULL), FAKE_RETURNED, "512 pieces are kept out");
    tap_eq(fake_run(keep_one_more, NULL), FAKE_STOP, "one more, and the machine stops");
    again();
    keep_out_pages(600);
    tap_eq(fake_run(log_it, NULL), FAKE_STOP, "600 pieces: it stops where a console says so");
    tap_ok(strstr(fake_panic_text(), "UEFI or BIOS") != NULL, "... with a remedy");
    ram_ranges();
    return tap_done();
}
