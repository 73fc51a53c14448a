/* SPDX-License-Identifier: BSD-2-Clause */
/* What this PC has not: every register of an absent device reads all ones at every width, before
 * and after it was written, as a bus on which nobody answers. */
#include "tools/tests/test_vdev_rig.h"

static const struct absent {
    const char *name;
    bool mem;
    uint64_t base, len;
} absent[] = {
    {"HPET", true, 0xfed00000, 0x400},
    {"a second HPET", true, 0xfed01000, 0x400},
    {"TPM", true, 0xfed40000, 0x5000},
    {"AMD's ACPI MMIO", true, 0xfed80000, 0x1000},
    {"DMA remapping", true, 0xfed90000, 0x1000},
    {"a second I/O APIC", true, 0xfec01000, 0x1000},
    {"a local APIC where none was moved to", true, 0xfee01000, 0x1000},
    {"PCI Express configuration", true, 0xe0000000, 0x1000},
    {"the firmware's flash", true, 0xfffff000, 0x1000},
    {"COM2", false, 0x2f8, 8},
    {"COM3", false, 0x3e8, 8},
    {"LPT1", false, 0x378, 3},
    {"disks", false, 0x1f0, 8},
    {"disks", false, 0x170, 8},
    {"floppy", false, 0x3f0, 6},
    {"SuperIO", false, 0x2e, 2},
    {"SuperIO", false, 0x4e, 2},
    {"SMI command", false, 0xb2, 2},
    {"the test device, without test=1", false, 0xe0, 4},
    {"game port", false, 0x201, 1},
    {"VESA's port of Bochs", false, 0x1ce, 2},
};

static unsigned wrong(const struct absent *a)
{
    unsigned bad = 0;

    for (uint8_t size = 1; size <= (a->mem ? 8 : 4); size = (uint8_t)(2 * size)) {
        uint64_t ones = size == 8 ? ~0ull : BIT(8 * size) - 1;
        for (uint64_t at = a->base; at + size <= a->base + a->len; at += size) {
            bad += rig_io(1, a->mem, at, size, false, 0) != ones;
            (void)rig_io(0, a->mem, at, size, true, 0x123456789abcdef0);
            bad += rig_io(0, a->mem, at, size, false, 0) != ones;
        }
    }
    return bad;
}

int main(void)
{
    rig_init(2);
    struct vpc_config cfg = pc.cfg;
    cfg.test = false;
    vpc_init(&pc, &cfg);
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
        tap_eq(wrong(&absent[i]), 0, absent[i].name);
    tap_eq(fake_console_len() + rig_resets + rig_poweroffs, 0, "and nothing came of it");
    return tap_done();
}
