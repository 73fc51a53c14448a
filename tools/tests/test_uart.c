/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550 driver on a chip that works, one that is not there, one that takes nothing; the tables
 * that say where one is. */
#include "tools/tests/tap.h"
/* Pure: compiled here, since the machine's folder is not in the host library. */
#include "arch-x86/dev/uart.c"
#include "arch-x86/plat/spcr.c"

static struct chip {
    bool absent, blocked, lcr_dlab, brk;
    uint8_t lcr, mcr, ier;
    uint32_t divisor;
    int rx; /* byte that waits, -1 none */
    unsigned fifo;
    char sent[512];
    size_t nsent, lost;
    uint64_t accesses;
} chip;

static uint8_t chip_read(const struct uart *u, unsigned reg)
{
    (void)u;
    chip.accesses++;
    if (chip.absent)
        return 0xff;
    if (reg == UART_LSR) {
        if (!chip.blocked)
            chip.fifo = 0;
        uint8_t lsr = (uint8_t)((chip.rx >= 0 ? LSR_DR : 0) | (chip.fifo ? 0 : LSR_THRE) |
                                (chip.brk ? LSR_BI : 0));
        chip.brk = false;
        return lsr;
    }
    if (reg == UART_RBR) {
        int byte = chip.rx;
        chip.rx = -1;
        return (uint8_t)byte;
    }
    return 0;
}

static void chip_write(const struct uart *u, unsigned reg, uint8_t v)
{
    (void)u;
    chip.accesses++;
    if (chip.absent)
        return;
    if ((chip.lcr & LCR_DLAB) && reg < 2) {
        chip.divisor = reg ? (chip.divisor & 0xff) | (uint32_t)v << 8 : (chip.divisor & 0xff00) | v;
    } else if (reg == UART_RBR && (chip.mcr & 0x10)) {
        chip.rx = v;
    } else if (reg == UART_RBR) {
        if (chip.fifo == FIFO)
            chip.lost++;
        else {
            chip.fifo++;
            chip.sent[chip.nsent++] = (char)v;
        }
    } else if (reg == UART_IER) {
        chip.ier = v;
    } else if (reg == UART_LCR) {
        chip.lcr = v;
    } else if (reg == UART_MCR) {
        chip.mcr = v;
    }
}
static const struct uart_io io = {chip_read, chip_write};

static bool open_at(struct uart *u, uint32_t baud, uint32_t clock)
{
    memset(&chip, 0, sizeof(chip));
    chip.rx = -1;
    chip.divisor = 0x1234;
    *u = (struct uart){.where = {.baud = baud, .clock_hz = clock}, .io = &io};
    return uart_setup(u);
}

static void test_rates(void)
{
    struct uart u;
    tap_ok(open_at(&u, 115200, 0) && chip.divisor == 1, "115200 baud on a PC");
    tap_ok(open_at(&u, 9600, 0) && chip.divisor == 12, "9600");
    tap_ok(open_at(&u, 115200, 48000000) && chip.divisor == 26, "48 MHz is rounded to the nearest");
    tap_ok(open_at(&u, 4000000, 0) && chip.divisor == 1, "no divisor 0");
    tap_ok(open_at(&u, 0, 0) && chip.divisor == 0x1234, "rate 0 leaves the firmware's");
    tap_ok(chip.lcr == LCR_8N1 && chip.mcr == MCR_DTR_RTS_OUT2 && chip.ier == 0,
           "8N1, OUT2, no interrupts yet");
    uart_listen(&u);
    tap_eq(chip.ier, IER_RX | IER_LINE, "listening, to a BREAK as well");
}

static void test_send(void)
{
    struct uart u;
    (void)open_at(&u, 115200, 0);
    uart_send(&u, "a\nb\r\n", 5, false);
    tap_ok(chip.nsent == 6 && !memcmp(chip.sent, "a\r\nb\r\n", 6), "LF becomes CR LF once");
    uart_send(&u, "0123456789012345678901234567890123456789", 40, false);
    tap_ok(chip.nsent == 46 && chip.lost == 0, "40 bytes through a FIFO of 16");
    chip.rx = 'x';
    tap_ok(uart_receive(&u) == 'x' && uart_receive(&u) == -1, "receiving");
}

/* What a guest sends and gets is binary. */
static void test_raw(void)
{
    struct uart u;
    char all[256];
    bool same = true;
    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    (void)open_at(&u, 115200, 0);
    uart_send(&u, all, sizeof(all), true);
    tap_ok(chip.nsent == sizeof(all) && !memcmp(chip.sent, all, sizeof(all)),
           "raw: all 256 values as they are");
    uart_send(&u, "\r", 1, true);
    chip.nsent = 0;
    uart_send(&u, "\n", 1, false);
    tap_eq(chip.nsent, 1, "our own LF behind a guest's CR");
    for (unsigned i = 0; i < sizeof(all); i++) {
        chip.rx = (int)i;
        same = uart_receive(&u) == (int)i && same;
    }
    tap_ok(same, "received: all 256 values as they are");
}

static void test_break(void)
{
    struct uart u;
    (void)open_at(&u, 115200, 0);
    chip.rx = 0;
    chip.brk = true;
    tap_ok(uart_receive(&u) == UART_BREAK && uart_receive(&u) == -1, "a BREAK is no character");
    chip.rx = 0;
    tap_eq(uart_receive(&u), 0, "a NUL is one");
    chip.rx = 'a';
    chip.brk = true;
    tap_eq(uart_receive(&u), 'a', "a BREAK that is shown early");
    chip.rx = 0;
    tap_eq(uart_receive(&u), UART_BREAK, "... comes with its NUL");
}

static void test_dead(void)
{
    struct uart u;
    memset(&chip, 0, sizeof(chip));
    chip.absent = true;
    u = (struct uart){.io = &io};
    tap_ok(!uart_setup(&u), "no chip: the loopback test fails");
    tap_ok(uart_receive(&u) == -1, "... and it has no input");

    (void)open_at(&u, 115200, 0);
    uart_send(&u, "first", 5, false);
    chip.blocked = true;
    chip.accesses = 0;
    uart_send(&u, "second", 6, false);
    uint64_t once = chip.accesses;
    tap_ok(once <= SEND_SPINS + 2 && u.stuck, "a blocked port is waited for, once");
    chip.accesses = 0;
    for (unsigned i = 0; i < 100; i++)
        uart_send(&u, "more\n", 5, false);
    tap_ok(chip.accesses <= 200 && chip.lost == 0, "... then text is dropped, not pushed");
    chip.blocked = false;
    chip.nsent = 0;
    uart_send(&u, "!", 1, false);
    tap_ok(!u.stuck && chip.sent[chip.nsent - 1] == '!', "... until it takes text again");
    chip.sent[chip.nsent] = '\0';
    tap_ok(strstr(chip.sent, "text was lost here") && chip.lost == 0,
           "... and says that some is missing");
    chip.nsent = 0;
    uart_send(&u, "!", 1, false);
    tap_eq(chip.nsent, 1, "... once");
    chip.absent = true;
    uart_send(&u, "gone", 4, false);
    tap_ok(u.stuck, "a chip that vanishes is stuck");
}

static void test_spcr(void)
{
    uint8_t t[SPCR_MIN] = {0};
    struct uart_where w;
    struct acpi_gas g = {ACPI_SPACE_IO, 8, 0, 1, 0x2f8};
    t[8] = 2;
    memcpy(t + SPCR_GAS, &g, sizeof(g));
    t[SPCR_INTERRUPT_TYPE] = 3;
    t[SPCR_IRQ] = 3;
    t[SPCR_BAUD] = 7;
    memset(t + SPCR_CLOCK, 0x77, 4);
    tap_ok(spcr_parse(t, sizeof(t), &w) && !w.mmio && w.base == 0x2f8 && w.baud == 115200 &&
               w.irq == 3 && w.clock_hz == 0,
           "SPCR: COM2; a clock counts from revision 3 on");
    tap_ok(!spcr_parse(t, SPCR_MIN - 1, &w), "SPCR: short");
    t[SPCR_TYPE] = 3;
    tap_ok(!spcr_parse(t, sizeof(t), &w), "SPCR: no 16550");
    t[SPCR_TYPE] = TYPE_16550_GAS;
    g = (struct acpi_gas){ACPI_SPACE_MEMORY, 32, 0, 3, 0xfe032000};
    memcpy(t + SPCR_GAS, &g, sizeof(g));
    t[8] = 4;
    t[SPCR_BAUD] = 0;
    uint32_t clock = 48000000;
    memcpy(t + SPCR_CLOCK, &clock, 4);
    tap_ok(spcr_parse(t, sizeof(t), &w) && w.mmio && w.stride == 4 && w.base == 0xfe032000 &&
               w.baud == 0 && w.clock_hz == 48000000,
           "SPCR: 32-bit registers in memory, rate as it is");
    g = (struct acpi_gas){ACPI_SPACE_MEMORY, 8, 0, 1, 0x4000000000};
    memcpy(t + SPCR_GAS, &g, sizeof(g));
    tap_ok(spcr_parse(t, sizeof(t), &w) && w.stride == 1 && w.base == 0x4000000000,
           "SPCR: byte registers above 4 GiB");
    g = (struct acpi_gas){2, 8, 0, 1, 0x3f8};
    memcpy(t + SPCR_GAS, &g, sizeof(g));
    tap_ok(!spcr_parse(t, sizeof(t), &w), "SPCR: another address space");
    g = (struct acpi_gas){ACPI_SPACE_IO, 8, 0, 1, 0};
    memcpy(t + SPCR_GAS, &g, sizeof(g));
    tap_ok(!spcr_parse(t, sizeof(t), &w), "SPCR: switched off");
}

int main(void)
{
    test_rates();
    test_send();
    test_raw();
    test_break();
    test_dead();
    test_spcr();
    return tap_done();
}
