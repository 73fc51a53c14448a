/* SPDX-License-Identifier: BSD-2-Clause */
/* fw_cfg: signature, numbers, directory and the memory map, read as firmware reads them. */
#include "tools/tests/test_vdev_rig.h"

static void choose(uint16_t key)
{
    (void)rig_io(0, false, 0x510, 2, true, key);
}
static uint64_t get(unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)inb(0x511) << 8 * i;
    return v;
}
static uint64_t get_be(unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | inb(0x511);
    return v;
}
static uint64_t item(uint16_t key, unsigned n)
{
    choose(key);
    return get(n);
}

static void test_items(void)
{
    rig_init(3);
    tap_eq(get(4), 0, "nothing chosen");
    tap_eq(item(0, 4), 0x554d4551, "QEMU");
    tap_eq(get(4), 0, "zeros behind the end");
    tap_eq(item(1, 4), 1, "traditional interface, no DMA");
    tap_eq(item(3, 8), 0x60000000, "RAM");
    tap_eq(item(5, 2), 3, "CPUs");
    tap_eq(item(15, 2), 3, "most CPUs");
    tap_eq(item(0x8002, 4), 1, "interrupt 0 is on pin 2");
    tap_eq(item(0x77, 8), 0, "no such item");
    tap_eq(item(0xffff, 8), 0, "nor that");
    choose(0);
    tap_eq(inb(0x511), 'Q', "first byte");
    choose(0);
    outb(0x511, 5), outb(0x510, 1);
    tap_eq(inb(0x511), 'Q', "byte writes choose nothing");
    tap_eq(inb(0x510), 0, "the selector reads as zero");
    (void)rig_io(1, false, 0x510, 2, true, 5);
    tap_eq(inb(0x511), 3, "the device is one for all CPUs");
}

static void test_files(void)
{
    char name[57] = {0};
    rig_init(1);
    choose(0x19);
    tap_eq(get_be(4), 1, "one file");
    tap_eq(get_be(4), 60, "of three entries");
    uint16_t key = (uint16_t)get_be(2);
    (void)get_be(2);
    for (unsigned i = 0; i < 56; i++)
        name[i] = (char)inb(0x511);
    tap_str(name, "etc/e820", "by its name");
    choose(key);
    tap_eq(get(8), 0, "RAM from 0");
    tap_eq(get(8), 0x20000000, "below the hole");
    tap_eq(get(4), 1, "is RAM");
    tap_eq(get(8), VPC_IOAPIC_BASE, "the APICs and the ROM");
    (void)get(8);
    tap_eq(get(4), 2, "are reserved");
    tap_eq(get(8), 0x100000000, "RAM from 4 GiB");
    tap_eq(get(8), 0x40000000, "bytes");
    tap_eq(get(4), 1, "is RAM");
    tap_eq(get(4), 0, "the end");
    struct vpc_config small = pc.cfg;
    small.ram_above_4g = 0;
    vpc_init(&pc, &small);
    choose(0x19);
    (void)get_be(4);
    tap_eq(get_be(4), 40, "two entries without RAM above 4 GiB");
    vpc_fw_file(&pc, "opt/it", "contents", 8);
    choose(0x19);
    tap_eq(get_be(4), 2, "one more file");
    choose(0x21);
    tap_eq(get(8), 0x73746e65746e6f63, "its contents");
    tap_eq(get(8), 0, "and its end");
}

int main(void)
{
    test_items();
    test_files();
    return tap_done();
}
