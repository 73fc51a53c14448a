/* SPDX-License-Identifier: BSD-2-Clause */
/* COM1's receiver against the 16550's manual: what interrupts and when the line goes low, so that
 * an edge-triggered controller sees each reason; BREAK; and who is told that there is room again.
 */
#include "tools/tests/test_vdev_rig.h"

enum { RBR = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR };
enum { VECTOR = 0x34, CHAR_NS = 86806, FOUR_NS = 4 * CHAR_NS }; /* ten bits at 115200 */

static unsigned irqs(void)
{
    unsigned n = 0;
    while (vlapic_accept(&pc, 0) == VECTOR) {
        apic_w(0, 0xb0, 0);
        n++;
    }
    return n;
}

static void rig(uint8_t fcr, uint8_t ier)
{
    rig_init(4);
    apics_on();
    ioapic_pin(4, VECTOR);
    outb(LCR, 0x03);
    outb(IIR, fcr);
    outb(MCR, 0x0b);
    outb(IER, ier);
    for (uint32_t c = 0; c < 4; c++)
        (void)actions(c);
}

static void come(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        tap_ok(vpc_uart_input(&pc, 'a' + i), "character %u", i);
}

/* "Received Data Available", "Character Time-out Indication". */
static void test_left_behind(void)
{
    rig(0x81, 1); /* trigger level 8 */
    come(10);
    tap_eq(irqs(), 1, "the trigger level is an edge");
    for (unsigned i = 0; i < 8; i++)
        (void)inb(RBR);
    tap_eq(inb(IIR), 0xc1, "below it: no reason");
    tap_eq(irqs(), 0, "and no interrupt");
    after_ns(FOUR_NS - CHAR_NS);
    tap_eq(irqs(), 0, "not before the time of four characters");
    after_ns(2 * CHAR_NS);
    tap_eq(irqs(), 1, "the two left behind: an edge of their own");
    tap_eq(inb(IIR), 0xcc, "time-out");
    tap_eq(inb(IIR), 0xcc, "reading IIR does not end it");
    (void)inb(RBR);
    tap_eq(inb(IIR), 0xc1, "reading a character does");
    after_ns(5 * CHAR_NS);
    tap_eq(irqs(), 1, "again for the last one");
    tap_eq(inb(RBR), 'j', "which it is");
    tap_eq(vuart_deadline(&pc), NO_DEADLINE, "nothing to wait for");
    after_ns(1000000000);
    tap_eq(irqs(), 0, "none for an empty FIFO");
}

static void test_time_starts_again(void)
{
    rig(0xc1, 1); /* 14 */
    come(1);
    after_ns(3 * CHAR_NS);
    come(1);
    after_ns(3 * CHAR_NS);
    tap_eq(irqs(), 0, "each character starts the time again");
    after_ns(2 * CHAR_NS);
    tap_eq(irqs(), 1, "time-out");
    come(1);
    tap_eq(inb(IIR), 0xcc, "a character does not end it");
    rig(0x81, 0);
    come(3);
    after_ns(1000000000);
    tap_eq(vuart_deadline(&pc), NO_DEADLINE, "no clock for a driver that polls");
    outb(IER, 1);
    at(now + 1);
    tap_eq(irqs(), 1, "enabled over characters that wait");
    outb(IIR, 0x83);
    tap_eq(inb(IIR), 0xc1, "clearing the FIFO clears the time-out");
    rig(0x81, 1);
    outb(LCR, 0x83), outb(RBR, 0), outb(IER, 9), outb(LCR, 0x03); /* 50 baud */
    come(1);
    after_ns(4100000);
    tap_eq(irqs(), 1, "a slow line: characters do not really take that long");
}

/* The 8259 and the I/O APIC take edges: every way to a reason makes one. */
static void test_edges(void)
{
    rig(0, 1);
    for (unsigned i = 0; i < 3; i++) {
        come(1);
        tap_eq(irqs(), 1, "without FIFO each character is an edge");
        (void)inb(RBR);
    }
    come(1);
    (void)irqs();
    (void)inb(RBR);
    come(1); /* while the handler of the one before has not yet ended */
    tap_eq(irqs(), 1, "one that comes as soon as there is room");
    (void)inb(RBR);
    outb(IER, 0);
    come(1);
    tap_eq(irqs(), 0, "disabled");
    outb(IER, 1);
    tap_eq(irqs(), 1, "enabled while data is ready");
    outb(MCR, 0x03);
    outb(MCR, 0x0b);
    tap_eq(irqs(), 1, "OUT2 set while data is ready");
    (void)inb(RBR);
    ioapic_pin(4, 0x10000 | VECTOR);
    come(1);
    ioapic_pin(4, VECTOR);
    tap_eq(irqs(), 0, "an edge under the I/O APIC's mask is lost, as on the chip");
    (void)inb(RBR);
    come(1);
    tap_eq(irqs(), 1, "the next one is seen");
    (void)inb(RBR);
    come(1);
    (void)inb(RBR);
    come(1);
    tap_eq(irqs(), 1, "two before the first was taken are one");
    (void)inb(RBR);
    come(1);
    int in_service = vlapic_accept(&pc, 0);
    (void)inb(RBR);
    come(1);
    tap_ok(in_service == VECTOR && vlapic_pending(&pc, 0) < 0, "while it is in service it waits");
    apic_w(0, 0xb0, 0);
    tap_eq(irqs(), 1, "and comes after its EOI");
}

static void test_8259(void)
{
    rig(0, 1);
    ioapic_pin(4, 0x10000);
    apic_w(0, 0x350, 0x700);
    pic_setup(1, 0xff, 0xff);
    come(1);
    tap_eq(vlapic_pending(&pc, 0), -1, "masked");
    outb(0x21, 0xef);
    tap_eq(vlapic_accept(&pc, 0), 0x34, "the 8259 keeps an edge under its mask");
    (void)inb(RBR);
    come(1);
    outb(0x20, 0x20);
    tap_eq(vlapic_accept(&pc, 0), 0x34, "an edge before the EOI");
    (void)inb(RBR);
    outb(0x20, 0x20);
    tap_eq(vlapic_pending(&pc, 0), -1, "no more");
}

/* Characters that found no room wait elsewhere: that CPU may sleep, and another one reads. */
static void test_room(void)
{
    static const uint8_t fcr[] = {0x00, 0x81};
    for (unsigned k = 0; k < ARRAY_SIZE(fcr); k++) {
        unsigned places = fcr[k] ? VUART_FIFO : 1;
        rig(fcr[k], 1);
        come(places);
        tap_ok(!vpc_uart_input(&pc, 'X'), "full");
        for (unsigned i = 0; i < places; i++) {
            tap_eq(actions(0) & ACTION_INPUT, 0, "no room yet");
            (void)rig_io(3, false, RBR, 1, false, 0);
        }
        tap_eq(actions(0) & ACTION_INPUT, ACTION_INPUT, "the one who waits is told");
        tap_ok(vpc_uart_input(&pc, 'X'), "there is room");
        (void)rig_io(3, false, RBR, 1, false, 0);
        tap_eq(actions(0) & ACTION_INPUT, 0, "nobody waits, nobody is told");
    }
    rig(0x81, 1);
    come(VUART_FIFO);
    fake_set_cpu(1);
    tap_ok(!vpc_uart_input(&pc, 'X'), "CPU 1 reads the console");
    fake_set_cpu(0);
    (void)rig_io(2, false, IIR, 1, true, 0x83);
    tap_eq(actions(1) & ACTION_INPUT, ACTION_INPUT, "clearing the FIFO makes room");
    (void)rig_io(2, false, MCR, 1, true, 0x1b);
    tap_ok(!vpc_uart_input(&pc, 'X'), "no line in loopback");
    (void)rig_io(2, false, MCR, 1, true, 0x0b);
    tap_eq(actions(0) & ACTION_INPUT, ACTION_INPUT, "the end of loopback makes room");
}

/* Break Interrupt: with its character at the top of the FIFO. */
static void test_break(void)
{
    rig(0x81, 5);
    tap_ok(vpc_uart_input(&pc, VPC_UART_BREAK), "BREAK");
    tap_eq(irqs(), 1, "interrupt at once");
    tap_eq(inb(IIR), 0xc6, "receiver line status");
    tap_eq(inb(LSR), 0xf1, "BI, a character, and an error in the FIFO");
    tap_eq(inb(LSR), 0x61, "told once");
    tap_eq(inb(RBR), 0, "the character is NUL");
    tap_eq(inb(LSR), 0x60, "empty");
    come(2);
    (void)vpc_uart_input(&pc, VPC_UART_BREAK);
    (void)vpc_uart_input(&pc, 'q');
    tap_eq(inb(LSR), 0xe1, "behind two others: an error somewhere in the FIFO");
    tap_eq(inb(RBR), 'a', "first");
    tap_eq(inb(LSR) & 0x10, 0, "not yet");
    (void)inb(RBR);
    tap_eq(inb(IIR), 0xc6, "now it is at the top");
    tap_eq(inb(LSR), 0xf1, "BI");
    tap_eq(inb(RBR), 0, "NUL");
    tap_eq(inb(LSR), 0x61, "no more errors");
    tap_eq(inb(RBR), 'q', "what came behind it");
    rig(0, 0);
    (void)vpc_uart_input(&pc, VPC_UART_BREAK);
    tap_eq(inb(LSR), 0x71, "without FIFO");
    (void)inb(RBR);
    (void)vpc_uart_input(&pc, 0);
    tap_eq(inb(LSR), 0x61, "a NUL is no BREAK");
}

static void test_binary(void)
{
    bool in = true;
    rig(0x81, 0);
    for (unsigned i = 0; i < 256; i++)
        in = vpc_uart_input(&pc, i) && inb(RBR) == i && in;
    tap_ok(in, "all 256 values come in");
    fake_console_clear();
    for (unsigned i = 0; i < 256; i++)
        outb(RBR, (uint8_t)i);
    vpc_flush(&pc);
    bool out = fake_console_len() == 256;
    for (unsigned i = 0; i < 256 && out; i++)
        out = (uint8_t)fake_console()[i] == i;
    tap_ok(out, "all 256 values go out");
    tap_eq(fake_console_raw_bytes(), 256, "raw");
}

int main(void)
{
    test_left_behind();
    test_time_starts_again();
    test_edges();
    test_8259();
    test_room();
    test_break();
    test_binary();
    return tap_done();
}
