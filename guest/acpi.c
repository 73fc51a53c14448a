/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests need of ACPI: how many CPUs, and how to switch the machine off.
 * Tested by every run of the image. */
#include "guest/guest.h"

#define BOOT_PARAMS_ACPI_RSDP 0x70 /* Linux boot protocol, valid from 2.14; zero otherwise */

static uint64_t pm1a_cnt = 0x604;

static uint64_t le(uint64_t at, unsigned n)
{
    uint64_t v = 0;

    memcpy(&v, (const void *)(uintptr_t)at, n);
    return v;
}

static bool signature(uint64_t at, const char *s, unsigned n)
{
    return memcmp((const void *)(uintptr_t)at, s, n) == 0;
}

static uint64_t scan(uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at < to; at += 16) {
        if (signature(at, "RSD PTR ", 8))
            return at;
    }
    return 0;
}

static uint64_t find_rsdp(const uint8_t *boot_params)
{
    uint64_t at;

    memcpy(&at, boot_params + BOOT_PARAMS_ACPI_RSDP, sizeof(at));
    if (at != 0 && at < 0x100000000 && signature(at, "RSD PTR ", 8))
        return at;
    at = scan(0xe0000, 0x100000);
    return at != 0 ? at : scan(0x80000, 0xa0000);
}

static unsigned count_cpus(uint64_t madt)
{
    uint64_t end = madt + le(madt + 4, 4);
    unsigned n = 0;

    for (uint64_t p = madt + 44; p + 2 <= end && le(p + 1, 1) >= 2; p += le(p + 1, 1)) {
        if (le(p, 1) == 0 && (le(p + 4, 4) & 1) != 0) /* processor local APIC, enabled */
            n++;
    }
    return n;
}

uint64_t high_end;

/* Linux boot protocol, "Zero Page": E820 entries of 20 bytes. */
uint64_t ram_high_end(const uint8_t *boot_params)
{
    uint64_t at = (uintptr_t)boot_params, end = 0;

    for (unsigned i = 0; i < le(at + 0x1e8, 1); i++) {
        uint64_t e = at + 0x2d0 + 20 * i, base = le(e, 8);
        if (le(e + 16, 4) == 1 && base >= 1ull << 32 && base + le(e + 8, 8) > end)
            end = base + le(e + 8, 8);
    }
    return end;
}

unsigned acpi_init(const uint8_t *boot_params)
{
    uint64_t rsdp = find_rsdp(boot_params), root, end;
    unsigned width, n = 0;

    if (rsdp == 0)
        return 0;
    width = le(rsdp + 15, 1) >= 2 && le(rsdp + 24, 8) != 0 ? 8 : 4;
    root = width == 8 ? le(rsdp + 24, 8) : le(rsdp + 16, 4);
    end = root + le(root + 4, 4);
    for (uint64_t p = root + 36; p + width <= end; p += width) {
        uint64_t table = le(p, width);
        if (table == 0 || table >= 0x100000000)
            continue;
        if (signature(table, "APIC", 4))
            n = count_cpus(table);
        if (signature(table, "FACP", 4) && le(table + 64, 4) != 0)
            pm1a_cnt = le(table + 64, 4);
    }
    return n;
}

void machine_exit(bool passed)
{
    outb(0xf4, passed ? 0x10 : 0x11);
    /* QEMU's PIIX4 wants SLP_TYP 0, Patchbay and Q35 the value 5 or 0; the wrong one does nothing
     */
    outw((uint16_t)pm1a_cnt, 1 << 13);
    outw((uint16_t)pm1a_cnt, 5 << 10 | 1 << 13);
    for (const char *p = "Shutdown"; *p != '\0'; p++)
        outb(0x8900, (uint8_t)*p); /* Bochs; nothing elsewhere */
    for (;;) {
        cli();
        halt();
    }
}
