/* SPDX-License-Identifier: BSD-2-Clause */
/* Group devices: the PC's interrupt controllers, timers, clock, keyboard controller, text adapter
 * and fw_cfg. Tested by running it bare; what bare QEMU or Bochs lacks is skipped there. */
#include "guest/guest.h"

#define IOAPIC_PA 0xfec00000ull
#define PIC_BASE 0x90 /* vectors 90..9F */
#define VEC_PIN 0xa0
#define RTE_NMI 0x400ull
#define RTE_EXTINT 0x700ull
#define RTE_REMOTE_IRR 0x4000ull
#define RTE_LEVEL 0x8000ull
#define RTE_MASKED 0x10000ull
#define PIN_PIT 2
#define PIN_RTC 8
#define RTC_C 12

static uint64_t irqs(uint8_t vector)
{
    /* pairs with trap_entry */
    return atomic_load_explicit(&cpus[0].irqs[vector], memory_order_acquire);
}

static void wait_irqs(uint8_t vector, uint64_t n)
{
    while (irqs(vector) < n)
        wait_pause();
}

static void spin(unsigned n)
{
    while (n-- != 0)
        pause();
}

/* --- 8254 --- */

static void pit_program(unsigned channel, unsigned mode, unsigned count)
{
    outb(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
    outb((uint16_t)(0x40 + channel), (uint8_t)count);
    outb((uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static void pit_quiet(void)
{
    outb(0x43, 0x30); /* mode 0, no count */
}

static unsigned pit_count(unsigned channel)
{
    outb(0x43, (uint8_t)(channel << 6));
    unsigned low = inb((uint16_t)(0x40 + channel));
    return low | (unsigned)inb((uint16_t)(0x40 + channel)) << 8;
}

static unsigned pit_status(unsigned channel)
{
    outb(0x43, (uint8_t)(0xe0 | 2u << channel));
    return inb((uint16_t)(0x40 + channel));
}

static bool speaker_out(void)
{
    return (inb(0x61) & 0x20) != 0;
}

static void test_pit_speaker(void)
{
    uint8_t port61 = inb(0x61);
    bool high = false, low = false;

    outb(0x61, (port61 & 0xfc) | 1);
    pit_program(2, 0, 60000);
    CHECK(!speaker_out(), "mode 0: OUT is low while it counts");
    CHECK_EQ(pit_status(2) & 0x3f, 0x30, "both bytes, mode 0");
    unsigned first = pit_count(2), second = pit_count(2);
    CHECK(first <= 60000 && second <= first, "count %u, then %u", first, second);
    while (!speaker_out())
        wait_pause();
    CHECK((pit_status(2) & 0x80) != 0, "the status byte says so too");
    pit_program(2, 3, 2000);
    while (!high || !low) {
        *(speaker_out() ? &high : &low) = true;
        wait_pause();
    }
    CHECK_EQ(pit_status(2) & 0x3f, 0x36, "mode 3");
    outb(0x43, 0x94); /* low byte only, mode 2 */
    outb(0x42, 100);
    CHECK_EQ(pit_status(2) & 0x3f, 0x14, "low byte, mode 2");
    for (unsigned i = 0; i < 50; i++) {
        outb(0x43, 0x80);
        unsigned n = inb(0x42);
        CHECK(n >= 1 && n <= 100, "mode 2 counts from 100 to 1: %u", n);
    }
    if (on_patchbay()) { /* bare QEMU does not stop for the gate */
        pit_program(2, 0, 0xffff);
        outb(0x61, port61 & 0xfc);
        first = pit_count(2);
        spin(10000);
        CHECK_EQ(pit_count(2), first, "the gate stops mode 0");
        outb(0x61, (port61 & 0xfc) | 1);
        while (pit_count(2) == first)
            wait_pause();
    }
    outb(0x61, port61);
}

/* --- 8259 --- */

static bool pic_eoi;
static bool pic_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector < PIC_BASE || f->vector > PIC_BASE + 15)
        return false;
    if (!pic_eoi)
        return true;
    if (f->vector >= PIC_BASE + 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
    return true;
}

static void pic_program(uint8_t icw4, uint8_t master, uint8_t slave)
{
    static const uint8_t words[2][3] = {{0x11, PIC_BASE, 4}, {0x11, PIC_BASE + 8, 2}};

    for (unsigned i = 0; i < 2; i++) {
        uint16_t port = i == 0 ? 0x20 : 0xa0;
        outb(port, words[i][0]);
        outb(port + 1, words[i][1]);
        outb(port + 1, words[i][2]);
        outb(port + 1, icw4);
    }
    outb(0x21, master);
    outb(0xa1, slave);
}

static void pic_start(uint8_t icw4)
{
    cli();
    pit_quiet();
    pic_program(icw4, 0xfe, 0xff);
    this_cpu()->hook = pic_hook;
    pic_eoi = (icw4 & 2) == 0;
    apic_write(APIC_LVT_LINT0, 0x700); /* virtual wire */
    sti();
}

static void pic_stop(void)
{
    cli();
    pit_quiet();
    apic_write(APIC_LVT_LINT0, 0x10000);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    this_cpu()->hook = NULL;
    sti();
}

static uint8_t pic_read(uint8_t ocw3) /* 0x0b: what is in service; 0x0c: poll */
{
    outb(0x20, ocw3);
    uint8_t value = inb(0x20);
    outb(0x20, 0x0a);
    return value;
}

static void test_pic(void)
{
    uint64_t n = irqs(PIC_BASE);

    pic_start(1);
    for (unsigned i = 0; i < 5; i++) { /* the timer's interrupts, by ExtINT */
        pit_program(0, 0, 500);
        wait_irqs(PIC_BASE, ++n);
    }
    spin(20000);
    CHECK_EQ(irqs(PIC_BASE), n, "one for each count");
    pic_eoi = false;
    pit_program(0, 0, 500);
    wait_irqs(PIC_BASE, ++n);
    CHECK_EQ(pic_read(0x0b), 1, "in service without EOI");
    pit_quiet();
    pit_program(0, 0, 500);
    spin(20000);
    CHECK_EQ(irqs(PIC_BASE), n, "nothing more of its level");
    outb(0x20, 0x60); /* specific EOI of input 0 */
    wait_irqs(PIC_BASE, ++n);
    outb(0x20, 0x20);
    CHECK_EQ(pic_read(0x0b), 0, "nothing in service");
    pic_start(3); /* automatic EOI */
    pit_program(0, 0, 500);
    wait_irqs(PIC_BASE, ++n);
    CHECK_EQ(pic_read(0x0b), 0, "automatic EOI");
    pit_program(0, 2, 2000); /* periodic */
    wait_irqs(PIC_BASE, n + 5);
    pic_stop();
    n = irqs(PIC_BASE);
    outb(0x21, 0xfe);
    pic_program(1, 0xff, 0xff);
    outb(0x21, 0x5a);
    CHECK_EQ(inb(0x21), 0x5a, "mask reads back");
    outb(0x21, 0xff);
    CHECK_EQ(irqs(PIC_BASE), n, "all is quiet");
}

static void test_pic_poll(void)
{
    if (options.bochs) {
        test_skip("its 8259 loses the request");
        return;
    }
    cli();
    pit_quiet();
    pic_program(1, 0xfe, 0xff); /* nobody takes INTR: LINT0 is masked */
    if (!on_patchbay() && (pic_read(0x0c) & 0x80))
        outb(0x20, 0x20); /* bare QEMU's PIT may fire after its mode is set */
    CHECK_EQ(pic_read(0x0c) & 0x80, 0, "poll: nothing");
    pit_program(0, 0, 500);
    for (unsigned i = 0; (inb(0x20) & 1) == 0 && i < 1000000; i++)
        pause();
    CHECK_EQ(pic_read(0x0c) & 0x87, 0x80, "poll: input 0");
    CHECK_EQ(pic_read(0x0b), 1, "it is in service now");
    outb(0x20, 0x20);
    CHECK_EQ(pic_read(0x0b), 0, "EOI");
    pic_stop();
}

/* --- I/O APIC --- */

static uint32_t ioapic_read(uint32_t reg)
{
    *(volatile uint32_t *)IOAPIC_PA = reg;
    return *(volatile uint32_t *)(IOAPIC_PA + 0x10);
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)IOAPIC_PA = reg;
    *(volatile uint32_t *)(IOAPIC_PA + 0x10) = value;
}

static void pin_set(unsigned pin, unsigned dest, uint64_t rte)
{
    ioapic_write(0x10 + 2 * pin, (uint32_t)RTE_MASKED);
    ioapic_write(0x11 + 2 * pin, dest << 24);
    ioapic_write(0x10 + 2 * pin, (uint32_t)rte);
}

static void test_ioapic_edge(void)
{
    CHECK((ioapic_read(1) >> 16 & 0xff) >= 23, "pins");
    pit_quiet();
    for (unsigned c = 0; c < ncpus; c++) {
        _Atomic uint64_t *seen = &cpus[c].irqs[VEC_PIN];
        uint64_t n = atomic_load_explicit(seen, memory_order_acquire);
        pin_set(PIN_PIT, cpus[c].apic_id, VEC_PIN);
        for (unsigned i = 1; i <= 3; i++) {
            pit_program(0, 0, 500);
            while (atomic_load_explicit(seen, memory_order_acquire) < n + i)
                wait_pause();
        }
    }
    uint64_t n = irqs(VEC_PIN);
    pin_set(PIN_PIT, cpus[0].apic_id, RTE_MASKED | VEC_PIN);
    pit_program(0, 0, 100);
    spin(20000);
    CHECK_EQ(irqs(VEC_PIN), n, "masked");
    pit_quiet();
}

static bool nmi_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    return f->vector == VEC_NMI;
}

static void test_ioapic_nmi(void)
{
    uint64_t n = irqs(VEC_NMI);

    this_cpu()->hook = nmi_hook;
    pin_set(PIN_PIT, cpus[0].apic_id, RTE_NMI);
    for (unsigned i = 1; i <= 3; i++) {
        pit_program(0, 0, 500);
        wait_irqs(VEC_NMI, n + i);
    }
    pin_set(PIN_PIT, 0, RTE_MASKED);
    this_cpu()->hook = NULL;
    pit_quiet();
}

/* --- interrupt lines by the test device --- */

#define TEST_LINE(n) (uint16_t)(0x2000 + (n))
static bool line_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    return f->vector == VEC_PIN;
}

/* A level comes again after each EOI while it lasts; an edge comes once, and not while masked. */
static void test_ioapic_lines(void)
{
    const unsigned pin = 10;

    outb(0xe0, 0x5a);
    outb(0xe1, 0xa5);
    if (inb(0xe0) != 0x5a || inb(0xe1) != 0xa5) {
        test_skip("no test device");
        return;
    }
    this_cpu()->hook = line_hook;
    uint64_t n = irqs(VEC_PIN);
    outb(TEST_LINE(pin), 0);
    pin_set(pin, cpus[0].apic_id, VEC_PIN);
    for (unsigned i = 0; i < 3; i++) {
        outb(TEST_LINE(pin), 1);
        outb(TEST_LINE(pin), 1);
        outb(TEST_LINE(pin), 0);
        wait_irqs(VEC_PIN, ++n);
    }
    CHECK_EQ(irqs(VEC_PIN), n, "edges");
    pin_set(pin, cpus[0].apic_id, RTE_MASKED | VEC_PIN);
    outb(TEST_LINE(pin), 1);
    pin_set(pin, cpus[0].apic_id, VEC_PIN);
    spin(20000);
    outb(TEST_LINE(pin), 0);
    CHECK_EQ(irqs(VEC_PIN), n, "an edge under the mask is lost");
    pin_set(pin, cpus[0].apic_id, RTE_LEVEL | RTE_MASKED | VEC_PIN);
    outb(TEST_LINE(pin), 1);
    spin(20000);
    CHECK_EQ(irqs(VEC_PIN), n, "a level under the mask waits");
    pin_set(pin, cpus[0].apic_id, RTE_LEVEL | VEC_PIN);
    wait_irqs(VEC_PIN, n + 5); /* again and again */
    outb(TEST_LINE(pin), 0);
    spin(20000);
    n = irqs(VEC_PIN);
    CHECK_EQ(ioapic_read(0x10 + 2 * pin) & RTE_REMOTE_IRR, 0, "remote IRR at the end");
    spin(20000);
    CHECK_EQ(irqs(VEC_PIN), n, "quiet");
    cli();
    outb(TEST_LINE(pin), 1);
    for (unsigned i = 0; (ioapic_read(0x10 + 2 * pin) & RTE_REMOTE_IRR) == 0 && i < 1000000; i++)
        pause();
    CHECK_EQ(ioapic_read(0x10 + 2 * pin) & RTE_REMOTE_IRR, RTE_REMOTE_IRR, "remote IRR, waiting");
    outb(TEST_LINE(pin), 0);
    sti();
    wait_irqs(VEC_PIN, n + 1);
    spin(20000);
    CHECK_EQ(irqs(VEC_PIN), n + 1, "what was sent is taken, once");
    pin_set(pin, 0, RTE_MASKED);
    this_cpu()->hook = NULL;
}

/* --- clock --- */

static uint8_t cmos_read(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void cmos_write(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static uint8_t rtc_flags; /* of register C, gathered by the hook */
static unsigned rtc_ack_at;
static bool rtc_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector != VEC_PIN)
        return false;
    /* the count includes this one; not acknowledged, a level comes again */
    if (irqs(VEC_PIN) >= rtc_ack_at)
        rtc_flags |= cmos_read(RTC_C);
    return true;
}

static void rtc_start(uint64_t rte, uint8_t b)
{
    cli();
    cmos_write(11, 2);
    (void)cmos_read(RTC_C);
    rtc_flags = 0;
    rtc_ack_at = 0;
    this_cpu()->hook = rtc_hook;
    pin_set(PIN_RTC, cpus[0].apic_id, rte);
    cmos_write(11, (uint8_t)(2 | b));
    sti();
}

static void rtc_stop(void)
{
    cli();
    cmos_write(11, 2);
    (void)cmos_read(RTC_C);
    pin_set(PIN_RTC, 0, RTE_MASKED);
    this_cpu()->hook = NULL;
    sti();
}

static void test_rtc(void)
{
    uint64_t n = irqs(VEC_PIN);
    uint8_t second, old_alarm[3];
    CHECK((cmos_read(13) & 0x80) != 0, "battery");
    cmos_write(10, 0x26);
    rtc_start(VEC_PIN, 0x40); /* periodic, 1024 Hz */
    wait_irqs(VEC_PIN, n + 20);
    CHECK_EQ(rtc_flags & 0xc0, 0xc0, "IRQF and PF");
    rtc_stop(); /* the handler moves the index of port 70 under what follows */
    for (unsigned i = 0; i < 3; i++) {
        old_alarm[i] = cmos_read((uint8_t)(1 + 2 * i));
        cmos_write((uint8_t)(1 + 2 * i), 0xff); /* any */
    }
    while ((cmos_read(10) & 0x80) != 0)
        wait_pause();
    second = cmos_read(0);
    n = irqs(VEC_PIN);
    rtc_start(VEC_PIN, 0x30); /* each second: update ended, alarm */
    while ((rtc_flags & 0x30) != 0x30)
        wait_irqs(VEC_PIN, ++n);
    CHECK(cmos_read(0) != second, "the second %x changed", second);
    for (unsigned i = 0; i < 3; i++)
        cmos_write((uint8_t)(1 + 2 * i), old_alarm[i]);
    rtc_stop();
}

/* The clock holds its line until register C is read: as a level it comes again after each EOI, and
 * remote IRR is set in between. */
static void test_ioapic_level(void)
{
    uint64_t n = irqs(VEC_PIN);
    uint32_t low = 0x10 + 2 * PIN_RTC;

    if (options.bochs) {
        test_skip("the clock's line is a pulse there");
        return;
    }
    cmos_write(10, 0x2f); /* 2 Hz: what comes more often comes of the level */
    rtc_start(RTE_LEVEL | VEC_PIN, 0x40);
    cli();
    rtc_ack_at = (unsigned)n + 10;
    sti();
    wait_irqs(VEC_PIN, n + 10);
    CHECK_EQ(ioapic_read(low) & RTE_REMOTE_IRR, 0, "remote IRR when all is over");
    cli();
    while ((cmos_read(RTC_C) & 0x40) == 0) /* its line goes up and down unseen here */
        pause();
    cmos_write(11, 2);
    (void)cmos_read(RTC_C);
    rtc_ack_at = 0;
    cmos_write(10, 0x26);
    cmos_write(11, 0x42);
    spin(20000);
    for (unsigned i = 0; (ioapic_read(low) & RTE_REMOTE_IRR) == 0 && i < 1000000; i++)
        pause();
    CHECK_EQ(ioapic_read(low) & RTE_REMOTE_IRR, RTE_REMOTE_IRR, "remote IRR while it waits");
    sti();
    rtc_stop();
    CHECK_EQ(ioapic_read(low) & RTE_REMOTE_IRR, 0, "remote IRR afterwards");
}

/* --- keyboard controller --- */

static void kbc_send(uint16_t port, uint8_t byte)
{
    while ((inb(0x64) & 2) != 0)
        wait_pause();
    outb(port, byte);
}

static uint8_t kbc_get(void)
{
    while ((inb(0x64) & 1) == 0)
        wait_pause();
    return inb(0x60);
}

static void test_keyboard(void)
{
    while ((inb(0x64) & 1) != 0)
        (void)inb(0x60);
    kbc_send(0x64, 0xaa);
    CHECK_EQ(kbc_get(), 0x55, "self test");
    kbc_send(0x64, 0x60);
    kbc_send(0x60, 0x04); /* no interrupts, no translation */
    kbc_send(0x64, 0x20);
    CHECK_EQ(kbc_get(), 0x04, "command byte");
    kbc_send(0x64, 0xab);
    CHECK_EQ(kbc_get(), 0x00, "interface test");
    kbc_send(0x64, 0xd0);
    CHECK_EQ(kbc_get() & 3, 3, "output port: A20 on, no reset");
    kbc_send(0x60, 0xff);
    CHECK_EQ(kbc_get(), 0xfa, "keyboard reset");
    CHECK_EQ(kbc_get(), 0xaa, "... passed");
    kbc_send(0x60, 0xee);
    CHECK_EQ(kbc_get(), 0xee, "echo");
    kbc_send(0x60, 0xed);
    CHECK_EQ(kbc_get(), 0xfa, "lights");
    kbc_send(0x60, 0x02);
    CHECK_EQ(kbc_get(), 0xfa, "... set");
    kbc_send(0x60, 0xf4);
    CHECK_EQ(kbc_get(), 0xfa, "enable");
    CHECK_EQ(inb(0x64) & 1, 0, "nothing more");
    outb(0x92, inb(0x92) | 2);
    CHECK_EQ(inb(0x92) & 3, 2, "port 92");
}

/* --- text adapter --- */

static void test_text(void)
{
    volatile uint16_t *text = (volatile uint16_t *)0xb8000;
    unsigned seen = 0;

    for (unsigned i = 0; i < 80 * 25; i++)
        text[i] = (uint16_t)(0x0700 | (i & 0xff));
    for (unsigned i = 0; i < 80 * 25; i++)
        CHECK_EQ(text[i], 0x0700 | (i & 0xff), "text memory");
    for (unsigned i = 0; i < 80 * 25; i++)
        text[i] = 0x0720;
    for (unsigned pos = 0; pos < 2000; pos += 667) {
        outb(0x3d4, 14);
        outb(0x3d5, (uint8_t)(pos >> 8));
        outw(0x3d4, (uint16_t)(15 | pos << 8));
        outb(0x3d4, 14);
        unsigned back = (unsigned)inb(0x3d5) << 8;
        outb(0x3d4, 15);
        CHECK_EQ(back | inb(0x3d5), pos, "cursor");
    }
    while (seen != 15) { /* retrace and display enable, both ways */
        uint8_t status = inb(0x3da);
        seen |= 1u << (status & 1) | (status & 8 ? 4u : 8u);
        wait_pause();
    }
}

/* --- fw_cfg --- */

static uint64_t fw_get(uint16_t key, unsigned n)
{
    uint64_t v = 0;

    outw(0x510, key);
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)inb(0x511) << 8 * i;
    return v;
}

static void test_fw_cfg(void)
{
    char name[9] = "";

    if (!on_patchbay() && fw_get(0, 4) != 0x554d4551) {
        test_skip("no fw_cfg");
        return;
    }
    CHECK_EQ(fw_get(0, 4), 0x554d4551, "QEMU");
    CHECK_EQ(fw_get(1, 4) & 1, 1, "interface");
    CHECK_EQ(fw_get(5, 2), ncpus, "CPUs");
    CHECK(fw_get(3, 8) >= 64ull << 20, "RAM");
    uint64_t count = __builtin_bswap32((uint32_t)fw_get(0x19, 4));
    bool found = false;
    for (uint64_t i = 0; i < count && i < 100; i++) {
        for (unsigned k = 0; k < 64; k++) {
            char c = (char)inb(0x511);
            if (k >= 8 && k < 16)
                name[k - 8] = c;
        }
        found |= memcmp(name, "etc/e820", 8) == 0;
    }
    CHECK(found, "etc/e820 among %lu files", count);
}

static const struct test tests[] = {
    {"devices.pit_speaker", test_pit_speaker, 1},
    {"devices.pic", test_pic, 1},
    {"devices.pic_poll", test_pic_poll, 1},
    {"devices.ioapic_edge", test_ioapic_edge, 1},
    {"devices.ioapic_nmi", test_ioapic_nmi, 1},
    {"devices.ioapic_level", test_ioapic_level, 1},
    {"devices.ioapic_lines", test_ioapic_lines, 1},
    {"devices.rtc", test_rtc, 1},
    {"devices.keyboard", test_keyboard, 1},
    {"devices.text", test_text, 1},
    {"devices.fw_cfg", test_fw_cfg, 1},
};
const struct test_group tests_devices = GROUP(tests);
