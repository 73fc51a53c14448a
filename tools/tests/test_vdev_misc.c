/* SPDX-License-Identifier: BSD-2-Clause */
/* Bus rules, the small ports, PCI configuration, every way to reset, and random accesses to
 * everything. */
#include "tools/tests/test_vdev_rig.h"

static unsigned lines;

static void count_line(const char *text)
{
    lines += text[0] != 0;
}

static void test_bus(void)
{
    rig_init(2);
    struct vio io = {.addr = 0x2f8, .size = 2};
    tap_ok(!vbus_pio(vpc_bus(&pc), &io), "no COM2");
    tap_eq(io.value, 0xffff, "all ones of the size");
    io = (struct vio){.addr = 0xfed00000, .size = 8};
    tap_ok(!vbus_mmio(vpc_bus(&pc), &io), "no HPET");
    tap_eq(io.value, ~0ull, "all ones");
    io = (struct vio){.addr = 0x80, .size = 1, .write = true, .value = 0x142};
    tap_ok(vbus_pio(vpc_bus(&pc), &io), "POST code");
    tap_eq(inb(0x80), 0x42, "reads back");
    tap_eq(inb(0x8900), 0xff, "Bochs's port");
    vpc_dump(&pc, count_line);
    tap_ok(lines >= 7, "dump has lines (%u)", lines);
    tap_eq(vpc_sizeof(), sizeof(struct vpc), "size");
}

static void test_debug_ports(void)
{
    rig_init(1);
    tap_eq(inb(0xe9), 0xe9, "debug console is there");
    outb(0xe9, 'K');
    tap_str(fake_debugcon(), "K", "and forwards");
    struct vpc_config cfg = pc.cfg;
    fake_no_debugcon = true;
    vpc_init(&pc, &cfg);
    tap_eq(inb(0xe9), 0xff, "a machine without one: the guest has none");
    outb(0xe9, 'L');
    tap_str(fake_debugcon(), "K", "and the machine's port is left alone");
    fake_no_debugcon = false;
    vpc_init(&pc, &cfg);
    outb(0x3f8, 'x');
    (void)rig_io(0, false, 0xf4, 4, true, 0x10);
    tap_eq(fake_debug_exit(), 0x10, "debug exit with test=1");
    tap_str(fake_console(), "x", "after the console text");
    pc.cfg.test = false;
    outb(0xf4, 0x22);
    tap_eq(fake_debug_exit(), 0x10, "ignored without");
}

static void test_pci(void)
{
    rig_init(1);
    tap_eq(rig_io(0, false, 0xcfc, 4, false, 0), 0xffffffff, "disabled at first");
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80000000);
    tap_eq(rig_io(0, false, 0xcf8, 4, false, 0), 0x80000000, "address reads back");
    tap_eq(rig_io(0, false, 0xcfc, 4, false, 0), 0x00081b36, "host bridge");
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80000008);
    tap_eq(rig_io(0, false, 0xcfe, 2, false, 0), 0x0600, "class by a word access");
    tap_eq(rig_io(0, false, 0xcff, 1, false, 0), 0x06, "and by a byte");
    (void)rig_io(0, false, 0xcfc, 4, true, 0xffffffff);
    tap_eq(rig_io(0, false, 0xcfc, 4, false, 0), 0x06000000, "read-only");
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80000800);
    tap_eq(rig_io(0, false, 0xcfc, 4, false, 0), 0xffffffff, "no device 1");
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80010000);
    tap_eq(rig_io(0, false, 0xcfc, 4, false, 0), 0xffffffff, "no bus 1");
    outb(0xcfb, 0);
    tap_eq(rig_io(0, false, 0xcf8, 4, false, 0), 0x80010000, "the address takes dwords only");
}

static void test_resets(void)
{
    rig_init(1);
    outb(0xcf9, 0x02);
    tap_eq(rig_resets, 0, "CF9: choosing the kind");
    tap_eq(inb(0xcf9), 0x02, "reads back");
    outb(0xcf9, 0x06);
    tap_eq(rig_resets, 1, "CF9: reset");
    outb(0x64, 0xfe);
    tap_eq(rig_resets, 2, "8042: pulse of line 0");
    outb(0x64, 0xff);
    tap_eq(rig_resets, 2, "8042: pulse of nothing");
    outb(0x64, 0xd1), outb(0x60, 0xdf);
    tap_eq(rig_resets, 2, "8042: output port with reset high");
    outb(0x64, 0xd1), outb(0x60, 0xde);
    tap_eq(rig_resets, 3, "8042: output port with reset low");
    outb(0x92, 0x02);
    tap_eq(rig_resets, 3, "port 92: A20");
    outb(0x92, 0x03);
    tap_eq(rig_resets, 4, "port 92: fast reset");
    outb(0xcf9, 0x00), outb(0xcf9, 0x04);
    tap_eq(rig_resets, 5, "CF9: INIT, which is a reset without a warm-start vector");
    rig_init(2);
    outb(0x70, 0x0f), outb(0x71, 0x0a);
    outb(0x64, 0xfe);
    tap_eq(rig_resets, 0, "with one it is INIT");
    tap_eq(actions(0), ACTION_INIT, "of the boot processor");
    tap_eq(actions(1), ACTION_INIT, "and of the other");
    outb(0xcf9, 0x00), outb(0xcf9, 0x04);
    tap_eq(actions(0), ACTION_INIT, "by CF9");
    outb(0x92, 0x03);
    tap_eq(actions(1), ACTION_INIT, "by port 92");
    tap_eq(vpc_warm_start(&pc), VPC_WARM_JUMP, "the boot processor asks");
    tap_eq(vpc_warm_start(&pc), VPC_WARM_NONE, "once");
    outb(0x70, 0x0f), outb(0x71, 0x0a);
    outb(0xcf9, 0x02), outb(0xcf9, 0x06);
    tap_eq(rig_resets, 1, "a reset of the system is one");
}

/* Nothing a guest does to the ports and pages may reach an assertion or the sanitizers. */
static void test_random(void)
{
    static const uint8_t sizes[4] = {1, 2, 4, 8};
    rig_init(4);
    uint64_t x = 0x9e3779b97f4a7c15ull;
    for (unsigned i = 0; i < 400000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t cpu = x & 3;
        bool write = x & 4;
        uint8_t size = sizes[(x >> 3) & ((x & 0x20) ? 3 : 1) & 3];
        uint64_t v = x >> 20;
        switch ((x >> 6) & 3) {
        case 0: {
            const struct vbus_range *r = &pc.bus.pio[(x >> 8) % pc.bus.npio];
            (void)rig_io(cpu, false, r->base + (x >> 16) % r->len, size > 4 ? 4 : size, write, v);
            break;
        }
        case 1:
            (void)rig_io(cpu, true, VPC_LAPIC_BASE + ((x >> 8) & 0x3ff), size, write, v);
            break;
        case 2:
            (void)rig_io(cpu, true, VPC_IOAPIC_BASE + ((x >> 8) & 0x50), size, write, v);
            break;
        default:
            if (write)
                (void)!vlapic_wrmsr(&pc, cpu, 0x800 + ((x >> 8) & 0x3f), v);
            (void)vlapic_accept(&pc, cpu);
            (void)vpc_uart_input(&pc, (uint8_t)v);
            at(now + (x >> 40));
            break;
        }
    }
    tap_ok(true, "400000 random accesses");
    tap_ok(rig_resets > 0, "some of which reset the machine (%u)", rig_resets);
}

int main(void)
{
    test_bus();
    test_debug_ports();
    test_pci();
    test_resets();
    test_random();
    return tap_done();
}
