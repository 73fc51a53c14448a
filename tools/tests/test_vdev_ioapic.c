/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O APIC: registers, edge and level pins with remote IRR, destinations and delivery modes. */
#include "tools/tests/test_vdev_rig.h"

#define DEST(n) ((uint64_t)(n) << 56)
#define LEVEL 0x8000
#define MASKED 0x10000

static void take(uint32_t cpu, int vector, const char *what)
{
    tap_eq(vlapic_accept(&pc, cpu), vector, what);
}
static void eoi(uint32_t cpu)
{
    apic_w(cpu, 0xb0, 0);
}

static void test_registers(void)
{
    rig_init(4);
    tap_eq(ioapic_r(0), 4u << 24, "ID is the one behind the CPUs'");
    tap_eq(ioapic_r(1), 0x170020, "24 pins, version 20h");
    tap_eq(ioapic_r(0x10), MASKED, "pins start masked");
    ioapic_w(0, 0x0f000000);
    tap_eq(ioapic_r(0), 0x0f000000, "ID can be written");
    ioapic_w(0, 0xf5ffffff);
    tap_eq(ioapic_r(0), 0x05000000, "it has four bits, the others read 0");
    tap_eq(ioapic_r(2), 0x05000000, "so has the arbitration ID");
    tap_eq(vpc_ioapic_id(15) << 4 | vpc_ioapic_id(31), 0xff, "with any number of CPUs");
    ioapic_w(0x10 + 2 * 23, 0xffffffff);
    tap_eq(ioapic_r(0x10 + 2 * 23), 0x1afff, "status and remote IRR are read-only");
    ioapic_w(0x40, 0x1234);
    tap_eq(ioapic_r(0x40), 0, "behind the last entry is nothing");
    ioapic_w(0xff, 0x1234);
    tap_eq(ioapic_r(0xff), 0, "nor at the end");
}

static void test_edge(void)
{
    rig_init(2);
    apics_on();
    ioapic_pin(4, DEST(1) | 0x34);
    line(4, true);
    take(1, 0x34, "edge to CPU 1");
    line(4, true);
    tap_eq(vlapic_pending(&pc, 1), -1, "no edge, no interrupt");
    line(4, false);
    line(4, true);
    tap_eq(vlapic_pending(&pc, 1), -1, "same vector in service");
    eoi(1);
    take(1, 0x34, "kept in IRR until EOI");
    eoi(1);
    ioapic_pin(4, DEST(1) | 0x34 | MASKED);
    line(4, false);
    line(4, true);
    ioapic_pin(4, DEST(1) | 0x34);
    tap_eq(vlapic_pending(&pc, 1), -1, "an edge while masked is lost");
    ioapic_pin(2, DEST(0) | 0x30);
    line(0, true);
    take(0, 0x30, "IRQ 0 is on pin 2");
}

static void test_level(void)
{
    rig_init(2);
    apics_on();
    ioapic_pin(9, DEST(0) | LEVEL | 0x49);
    line(9, true);
    tap_eq(ioapic_r(0x10 + 18) & 0x4000, 0x4000, "remote IRR is set");
    take(0, 0x49, "level");
    tap_eq(apic_r(0, 0x1a0), 1u << 9, "TMR says level");
    line(9, false);
    line(9, true);
    tap_eq(vlapic_pending(&pc, 0), -1, "nothing more before EOI");
    eoi(0);
    take(0, 0x49, "still asserted: again after EOI");
    line(9, false);
    eoi(0);
    tap_eq(vlapic_pending(&pc, 0), -1, "deasserted: no more");
    tap_eq(ioapic_r(0x10 + 18) & 0x4000, 0, "remote IRR is clear");
    ioapic_pin(9, DEST(0) | LEVEL | MASKED | 0x49);
    line(9, true);
    tap_eq(vlapic_pending(&pc, 0), -1, "masked");
    ioapic_pin(9, DEST(0) | LEVEL | 0x49);
    take(0, 0x49, "asserted while masked: delivered on unmask");
    ioapic_pin(9, DEST(0) | 0x49 | MASKED);
    ioapic_pin(9, DEST(0) | LEVEL | 0x49 | MASKED);
    tap_eq(ioapic_r(0x10 + 18) & 0x4000, 0, "edge and back clears remote IRR");
    ioapic_pin(9, DEST(0) | LEVEL | 0x49);
    eoi(0);
    take(0, 0x49, "delivered again");
    (void)rig_io(0, true, VPC_IOAPIC_BASE + 0x40, 4, true, 0x49);
    tap_eq(vlapic_pending(&pc, 0), -1, "EOI register: behind the one in service");
    tap_eq(apic_r(0, 0x220), 1u << 9, "delivered again by the EOI register");
    line(9, false);
    eoi(0);
    take(0, 0x49, "which the CPU then gets");
    eoi(0);
    apic_w(1, 0xf0, 0xff);
    ioapic_pin(9, DEST(1) | LEVEL | 0x49);
    line(9, true);
    tap_eq(ioapic_r(0x10 + 18) & 0x4000, 0, "nobody took it: no remote IRR");
    ioapic_pin(9, DEST(0) | LEVEL | 0x49);
    take(0, 0x49, "and the next destination gets it");
    line(9, false);
    eoi(0);
    ioapic_pin(4, DEST(0) | 0x49);
    line(4, true);
    take(0, 0x49, "the vector as an edge");
    tap_eq(apic_r(0, 0x1a0), 0, "TMR says edge again");
}

static void test_modes(void)
{
    rig_init(4);
    apics_on();
    for (uint32_t c = 0; c < 4; c++) {
        apic_w(c, 0xd0, 1u << (24 + c));
        (void)actions(c);
    }
    ioapic_pin(5, DEST(0x0c) | 0x800 | 0x55);
    line(5, true);
    take(2, 0x55, "logical: CPU 2");
    take(3, 0x55, "and CPU 3");
    tap_eq(vlapic_pending(&pc, 0), -1, "not CPU 0");
    ioapic_pin(6, DEST(0xff) | 0x900 | 0x56);
    line(6, true);
    unsigned n = 0;
    for (uint32_t c = 0; c < 4; c++)
        n += vlapic_accept(&pc, c) == 0x56;
    tap_eq(n, 1, "lowest priority: one CPU");
    for (uint32_t c = 0; c < 4; c++)
        (void)actions(c);
    ioapic_pin(7, DEST(3) | 0x400);
    line(7, true);
    tap_eq(actions(3), ACTION_NMI, "NMI");
    ioapic_pin(8, DEST(2) | 0x500);
    line(8, true);
    tap_eq(actions(2), ACTION_INIT, "INIT");
    ioapic_pin(10, DEST(1) | 5);
    line(10, true);
    tap_eq(vlapic_pending(&pc, 1), -1, "illegal vector");
}

static void test_extint(void)
{
    rig_init(2);
    apics_on();
    pic_setup(1, 0xfe, 0xff);
    ioapic_pin(0, DEST(1) | 0x700);
    (void)actions(1);
    line(IRQ_PIT, true);
    tap_eq(actions(1), ACTION_IRQ, "ExtINT on pin 0: CPU 1 is told");
    tap_eq(vlapic_pending(&pc, 0), -1, "not CPU 0, whose LINT0 is masked");
    take(1, 0x30, "INTA from CPU 1");
    ioapic_pin(0, DEST(0) | 0x77);
    outb(0x20, 0x20);
    line(IRQ_PIT, false);
    line(IRQ_PIT, true);
    take(0, 0x77, "8259 output as an ordinary edge on pin 0");
    eoi(0);
}

int main(void)
{
    test_registers();
    test_edge();
    test_level();
    test_modes();
    test_extint();
    return tap_done();
}
