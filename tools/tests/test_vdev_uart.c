/* SPDX-License-Identifier: BSD-2-Clause */
/* 16550A: probing as drivers do it, FIFOs, interrupts and their priorities, loopback, bursts of
 * output. */
#include "tools/tests/test_vdev_rig.h"

enum { RBR = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static bool irq4(void)
{
    bool got = vlapic_accept(&pc, 0) == 0x34;
    if (got)
        apic_w(0, 0xb0, 0);
    return got;
}
static void rig(void)
{
    rig_init(2);
    apics_on();
    ioapic_pin(4, 0x34);
    outb(MCR, 0x0b);
}

static void test_probe(void)
{
    rig();
    outb(SCR, 0xa5);
    tap_eq(inb(SCR), 0xa5, "scratch");
    outb(IER, 0xff);
    tap_eq(inb(IER), 0x0f, "IER has four bits");
    outb(IER, 0);
    outb(LCR, 0x83);
    outb(RBR, 0x0c), outb(IER, 0x01);
    tap_eq(inb(RBR) | inb(IER) << 8, 0x10c, "divisor latch");
    outb(LCR, 0x03);
    tap_eq(inb(IER), 0, "apart from IER");
    outb(IIR, 0x01);
    tap_eq(inb(IIR), 0xc1, "FIFOs");
    outb(IIR, 0x00);
    tap_eq(inb(IIR), 0x01, "none");
    tap_eq(inb(LSR), 0x60, "transmitter empty");
    tap_eq(inb(MSR), 0xb0, "the other end is ready");
    outb(MCR, 0x1a);
    tap_eq(inb(MSR) & 0xf0, 0x90, "loopback: OUT2 is DCD, RTS is CTS");
    outb(RBR, 'L');
    tap_eq(inb(LSR), 0x61, "looped back");
    tap_eq(inb(RBR), 'L', "to the receiver");
    vpc_flush(&pc);
    tap_eq(fake_console_len(), 0, "not to the console");
    outb(MCR, 0x0b);
    tap_eq(inb(0x2f8 + 5), 0xff, "no COM2");
}

static void test_transmit_interrupt(void)
{
    rig();
    outb(IIR, 0x01);
    outb(IER, 0x02);
    tap_ok(irq4(), "enabling THRI reports an empty transmitter");
    tap_eq(inb(IIR), 0xc2, "IIR says so");
    tap_eq(inb(IIR), 0xc1, "once");
    tap_ok(!irq4(), "no more");
    for (unsigned i = 0; i < 16; i++)
        outb(RBR, 'a');
    tap_ok(irq4(), "empty again after a burst");
    tap_ok(!irq4(), "one interrupt");
    outb(RBR, 'b');
    tap_ok(irq4(), "each write while the line is up is an edge of its own");
    tap_eq(inb(IIR), 0xc2, "THRE");
    outb(IER, 0x00);
    outb(IER, 0x02);
    tap_ok(irq4(), "enabled again");
    outb(MCR, 0x03);
    outb(RBR, 'c');
    tap_ok(!irq4(), "OUT2 gates the interrupt");
}

static void test_receive(void)
{
    rig();
    outb(IER, 0x05);
    tap_ok(vpc_uart_input(&pc, 'a'), "without FIFO one byte");
    tap_ok(!vpc_uart_input(&pc, 'b'), "and no more");
    tap_ok(irq4(), "interrupt");
    tap_eq(inb(IIR), 0x04, "received data");
    tap_eq(inb(RBR), 'a', "the byte");
    tap_eq(inb(IIR), 0x01, "gone");
    outb(IIR, 0x81); /* FIFO, trigger at 8 */
    tap_ok(vpc_uart_input(&pc, '0'), "into the FIFO");
    tap_ok(!irq4(), "below the trigger level: nothing yet");
    tap_eq(inb(IIR), 0xc1, "... says IIR");
    after_ns(400000);
    tap_ok(irq4(), "interrupt when nothing more came");
    tap_eq(inb(IIR), 0xcc, "time-out");
    for (unsigned i = 1; i < 16; i++)
        (void)vpc_uart_input(&pc, (uint8_t)('0' + i));
    tap_ok(!vpc_uart_input(&pc, 'X'), "full at 16");
    tap_eq(inb(IIR), 0xc4, "at the trigger level: data");
    bool order = true;
    for (unsigned i = 0; i < 16; i++)
        order = inb(RBR) == '0' + i && order;
    tap_ok(order, "in order");
    tap_eq(inb(LSR), 0x60, "empty");
    (void)vpc_uart_input(&pc, 'y');
    outb(IIR, 0x83);
    tap_eq(inb(LSR) & 1, 0, "FIFO reset");
    outb(MCR, 0x1b);
    for (unsigned i = 0; i < 17; i++)
        outb(RBR, 'z');
    tap_eq(inb(LSR) & 3, 3, "overrun in loopback");
    tap_eq(inb(LSR) & 3, 1, "cleared by reading");
    tap_ok(!vpc_uart_input(&pc, 'w'), "the line is cut off in loopback");
}

static void test_modem(void)
{
    rig();
    (void)inb(MSR);
    outb(MCR, 0x1b); /* loop: RI and DSR, CTS as they were; DCD from OUT2 */
    outb(MCR, 0x1f);
    (void)inb(MSR);
    outb(MCR, 0x1b);
    tap_eq(inb(MSR) & 0x0f, 4, "trailing edge of RI");
    outb(MCR, 0x19);
    tap_eq(inb(MSR) & 0x0f, 1, "delta CTS");
    tap_eq(inb(MSR) & 0x0f, 0, "cleared by reading");
}

static void puts_uart(const char *s)
{
    while (*s) {
        (void)inb(LSR);
        outb(RBR, (uint8_t)*s++);
    }
}

static void test_bursts(void)
{
    rig();
    puts_uart("hello");
    tap_eq(fake_console_len(), 0, "collected");
    puts_uart(" world\n");
    tap_str(fake_console(), "hello world\n", "out at the newline");
    tap_eq(fake_console_raw_bytes(), fake_console_len(), "raw");
    tap_eq(fake_console_writes(), 1, "in one burst");
    puts_uart("login: ");
    tap_eq(vpc_timers(&pc, 0, now), now + RIG_HZ / 100, "a prompt waits 10 ms");
    after_ns(9000000);
    tap_eq(fake_console_writes(), 1, "not before");
    after_ns(1000001);
    tap_str(fake_console(), "hello world\nlogin: ", "then it is out");
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "nothing left");
    (void)rig_io(1, false, RBR, 1, true, 'x');
    tap_eq(vpc_timers(&pc, 0, now), NO_DEADLINE, "the writer's CPU sees to it");
    tap_ok(vpc_timers(&pc, 1, now) != NO_DEADLINE, "which is CPU 1");
    outb(IER, 0x02);
    tap_eq(fake_console_writes(), 3, "out when the driver moves its interrupts");
    for (unsigned i = 0; i < VUART_TX - 1; i++)
        outb(RBR, 'f');
    tap_eq(fake_console_writes(), 3, "almost full");
    outb(RBR, 'f');
    tap_eq(fake_console_writes(), 4, "out when full");
    puts_uart("end");
    vpc_flush(&pc);
    const char *text = fake_console();
    tap_str(text + strlen(text) - 4, "fend", "flushed");
}

int main(void)
{
    test_probe();
    test_transmit_interrupt();
    test_receive();
    test_modem();
    test_bursts();
    return tap_done();
}
