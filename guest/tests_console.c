/* SPDX-License-Identifier: BSD-2-Clause */
/* Group console: somebody types on COM1 (tools/pblib/typist.py), and each key comes back by an
 * interrupt handler while every CPU halts and no timer runs: one key that is not reported is
 * silence for ever. Tested by the typing steps of `make check`; without keys=N skipped. */
#include "guest/guest.h"

#define COM1 0x3f8
#define IOAPIC_PA 0xfec00000ull
#define PIN 4
#define VEC_COM1 0xa4
enum { RBR, IER, IIR, LCR, MCR, LSR };

static const struct style { /* what systems do */
    const char *name;
    uint8_t fcr;
    bool reasons; /* until IIR has none; else until no data is ready */
} styles[] = {
    {"no-fifo", 0x00, false},
    {"level-1", 0x01, false},
    {"level-14", 0xc1, false},
    {"level-8-reasons", 0x81, true},
};
#define NSTYLES (sizeof(styles) / sizeof(styles[0]))

static const struct style *style;
static _Atomic unsigned typed; /* counted by the CPU that has the interrupt, read by CPU 0 */
static unsigned wanted;

static uint8_t uart_read(unsigned reg)
{
    return inb((uint16_t)(COM1 + reg));
}

static void uart_write(unsigned reg, uint8_t value)
{
    outb((uint16_t)(COM1 + reg), value);
}

static void say(const char *s)
{
    while (*s != '\0') {
        while ((uart_read(LSR) & 0x20) == 0)
            pause();
        uart_write(RBR, (uint8_t)*s++);
    }
}

static void say_number(unsigned v)
{
    char digits[12] = "", *p = &digits[10];

    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    say(p);
}

static void route(unsigned apic_id, uint32_t low)
{
    static const uint32_t mask = 0x10000;
    volatile uint32_t *sel = (volatile uint32_t *)IOAPIC_PA, *window = sel + 4;

    *sel = 0x10 + 2 * PIN;
    *window = mask;
    *sel = 0x11 + 2 * PIN;
    *window = apic_id << 24;
    *sel = 0x10 + 2 * PIN;
    *window = low;
}

static bool key_hook(struct trapframe *f, uint64_t cr2)
{
    unsigned n = 0;
    (void)cr2;

    if (f->vector != VEC_COM1)
        return false;
    while (style->reasons ? (uart_read(IIR) & 1) == 0 : (uart_read(LSR) & 1) != 0) {
        if (style->reasons && (uart_read(LSR) & 1) == 0)
            continue;
        uart_write(RBR, uart_read(RBR));
        n++;
    }
    n += atomic_load_explicit(&typed, memory_order_relaxed);
    atomic_store_explicit(&typed, n, memory_order_release); /* pairs with take_keys */
    if (n >= wanted && this_cpu()->index != 0)
        ipi_send(0, VEC_WAKE);
    return true;
}

static void timer_off(void *arg)
{
    (void)arg;
    apic_write(APIC_LVT_TIMER, 0x10000);
}

/* From outside: a job's end would take it back. */
static void hook_on(unsigned cpu, trap_hook hook)
{
    __atomic_store_n(&cpus[cpu].hook, hook, __ATOMIC_RELEASE); /* pairs with its interrupt */
}

static void nothing(void *arg)
{
    (void)arg;
}

/* An edge that came while the handler ran is delivered after it: until that one too is through, the
 * CPU may read the port beside the next one. Its job comes after both. */
static void settle(unsigned cpu)
{
    if (cpu == 0)
        return;
    cpu_start(cpu, nothing, NULL);
    /* acquire: pairs with cpu_idle; not cpu_join, whose patience is the test's */
    while (atomic_load_explicit(&cpus[cpu].state, memory_order_acquire) != CPU_IDLE)
        pause();
}

static void take_keys(unsigned cpu)
{
    atomic_store_explicit(&typed, 0, memory_order_relaxed);
    hook_on(cpu, key_hook);
    uart_write(IER, 0);
    uart_write(LCR, 0x03);
    uart_write(IIR, style->fcr);
    uart_write(MCR, 0x0b);
    route(cpus[cpu].apic_id, VEC_COM1);
    uart_write(IER, 1);
    say("type ");
    say_number(wanted);
    say(" on cpu");
    say_number(cpu);
    say(" ");
    say(style->name);
    say("\n");
    cli();
    /* acquire: pairs with key_hook */
    while (atomic_load_explicit(&typed, memory_order_acquire) < wanted) {
        sti_hlt();
        cli();
    }
    sti();
    uart_write(IER, 0);
    route(0, 0x10000);
    settle(cpu);
    hook_on(cpu, NULL);
}

static void test_echo(void)
{
    if (options.keys == 0) {
        test_skip("nobody types: keys=N");
        return;
    }
    run_on(ncpus, timer_off, NULL);
    wanted = options.keys;
    for (unsigned i = 0; i < NSTYLES; i++) {
        style = &styles[i];
        take_keys(0);
        if (ncpus > 1)
            take_keys(ncpus - 1);
        CHECK_EQ(atomic_load_explicit(&typed, memory_order_acquire), wanted, style->name);
    }
    say("typed all\n");
    timer_periodic();
}

static const struct test tests[] = {
    {"console.echo", test_echo, 1},
};
const struct test_group tests_console = GROUP(tests);
