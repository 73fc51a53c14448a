/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys from the console to a guest that halts between interrupts: whatever its handler is like and
 * whichever CPU it runs on, none is lost and the guest never sleeps over one; a guest that takes
 * none. */
#include "tools/tests/exits_rig.h"
#include "hv/mon/mon.h"
#include "hv/port/cpu.h"

#define KEYS 3000u
#define VECTOR 0x41u
#define COM1 0x3f8u
enum { RBR, IER, FCR, LCR, MCR, LSR };

static unsigned handler_cpu;

/* An access by a VCPU; the CPU that reads the console comes round its loop with each exit. */
static uint64_t access(uint32_t cpu, bool mem, uint64_t at, bool write, uint64_t value)
{
    struct vio io = {.cpu = cpu, .addr = at, .size = mem ? 4 : 1, .write = write, .value = value};

    fake_set_cpu(cpu);
    if (mem)
        (void)vbus_mmio(vpc_bus(vm.pc), &io);
    else
        (void)vbus_pio(vpc_bus(vm.pc), &io);
    fake_set_cpu(0);
    if (cpu == 0)
        subvmm_round(bsp());
    return io.value;
}

static void uart_w(unsigned reg, uint64_t value)
{
    (void)access(handler_cpu, false, COM1 + reg, true, value);
}

static uint64_t uart_r(unsigned reg)
{
    return access(handler_cpu, false, COM1 + reg, false, 0);
}

static void guest_start(unsigned cpu, uint8_t fcr)
{
    rig_new(2, true);
    rig_code("\xf4", 1);
    options_parse(&opt, "escape=off", NULL);
    subvmm_key_hook = mon_key;
    fake_set_tsc(1000000, 100);
    handler_cpu = cpu;
    sub[0].vcpu.state = VCPU_HALTED;
    sub[0].vcpu.regs.rflags = 2;
    for (uint32_t c = 0; c < 2; c++)
        (void)access(c, true, VPC_LAPIC_BASE + 0xf0, true, 0x1ff);
    static const uint32_t rte[2] = {0x18, 0x19};
    for (unsigned i = 0; i < 2; i++) { /* I/O APIC pin 4: edge, fixed */
        (void)access(cpu, true, VPC_IOAPIC_BASE, true, rte[1 - i]);
        (void)access(cpu, true, VPC_IOAPIC_BASE + 0x10, true, i ? VECTOR : cpu << 24);
    }
    uart_w(FCR, fcr);
    uart_w(MCR, 0x0b);
    uart_w(IER, 1);
    fake_console_clear();
}

/* --- handlers as systems have them --- */

static unsigned handle_all(uint8_t *to) /* until no data is ready */
{
    unsigned n = 0;
    while (uart_r(LSR) & 1)
        to[n++] = (uint8_t)uart_r(RBR);
    return n;
}

static unsigned handle_reasons(uint8_t *to) /* until IIR gives none */
{
    unsigned n = 0;
    while (!(uart_r(FCR) & 1))
        to[n++] = (uint8_t)uart_r(RBR);
    return n;
}

static unsigned handle_level(uint8_t *to) /* as many as each reason promises, no more */
{
    uint64_t iir;
    unsigned n = 0;
    while ((iir = uart_r(FCR) & 0x0f) == 0x04)
        for (unsigned i = 0; i < 8; i++)
            to[n++] = (uint8_t)uart_r(RBR);
    if (iir == 0x0c)
        to[n++] = (uint8_t)uart_r(RBR);
    return n;
}

static const struct handler {
    const char *name;
    uint8_t fcr;
    unsigned (*run)(uint8_t *to);
} handlers[] = {
    {"no FIFO, all there is", 0x00, handle_all},
    {"trigger level 1, all there is", 0x01, handle_all},
    {"trigger level 14, all there is", 0xc1, handle_all},
    {"trigger level 8, all reasons", 0x81, handle_reasons},
    {"trigger level 8, what it promises", 0x81, handle_level},
};

static uint32_t seed;
static uint32_t random_below(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

/* Something that makes CPU 0 leave HLT: an action, or its timer. */
static bool cpu0_wakes(void)
{
    uint64_t timer = atomic_load(&fake_cpu[0].timer);

    if (!atomic_load(&co.cpu[0].action)) {
        if (timer == UINT64_MAX)
            return false;
        fake_set_tsc(timer > port_tsc() ? timer : port_tsc(), 100);
        atomic_store(&fake_cpu[0].timer, UINT64_MAX);
        action_post(&co, 0, 0, ACTION_TIMER);
    }
    subvmm_round(bsp());
    return true;
}

static unsigned interrupt(const struct handler *h, uint8_t *to)
{
    int vector = vlapic_accept(vm.pc, handler_cpu);
    if (vector < 0)
        return 0;
    unsigned n = h->run(to);
    (void)access(handler_cpu, true, VPC_LAPIC_BASE + 0xb0, true, 0);
    return n;
}

/* Types bursts, now while the guest sleeps, now while it works. */
static void typing(const struct handler *h, unsigned cpu)
{
    static uint8_t typed[KEYS], got[KEYS + 64];
    unsigned n = 0, ngot = 0;

    guest_start(cpu, h->fcr);
    seed = 1 + cpu;
    for (unsigned i = 0; i < KEYS; i++)
        typed[i] = (uint8_t)random_below(256);
    bool asleep = false;
    while (ngot < KEYS && !(asleep && n == KEYS)) {
        if (n < KEYS && !fake_console_input_left() && (asleep || random_below(4) == 0)) {
            unsigned burst = 1 + random_below(random_below(8) ? 4 : 300);
            burst = burst < KEYS - n ? burst : KEYS - n;
            fake_console_input_bytes((char *)typed + n, burst);
            n += burst;
            action_post(&co, 0, 0, ACTION_INPUT);
        }
        asleep = !cpu0_wakes() && vlapic_pending(vm.pc, handler_cpu) < 0;
        if (random_below(2) || asleep)
            ngot += interrupt(h, got + ngot);
    }
    tap_ok(ngot == KEYS && !memcmp(typed, got, KEYS), "%s, on CPU %u: %u of %u keys", h->name, cpu,
           ngot, KEYS);
}

/* --- a guest that takes none --- */

static void test_deaf(void)
{
    static char many[INPUT_QUEUE + 100];
    static uint8_t got[INPUT_QUEUE + 200];
    guest_start(1, 0x01);
    memset(many, 'm', sizeof(many));
    fake_console_input_bytes(many, sizeof(many));
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    tap_ok(fake_console_input_left() > 0, "a full queue leaves the rest in the console");
    fake_set_tsc(port_tsc() + 9000000000ull, 100);
    subvmm_round(bsp());
    tap_ok(fake_console_input_left() > 0 && !fake_console_len(), "... for seconds");
    size_t left = fake_console_input_left();
    fake_set_tsc(port_tsc() + 2000000000ull, 100);
    subvmm_round(bsp());
    tap_eq(fake_console_input_left(), 0, "then looks through it");
    tap_ok(strstr(fake_console(), "has taken no key for 10 s and 511 wait: more are lost") ||
               strstr(fake_console(), "has taken no key for 10 s and 512 wait: more are lost"),
           "and says so");
    fake_console_input("more");
    action_post(&co, 0, 0, ACTION_INPUT);
    fake_console_clear();
    subvmm_round(bsp());
    tap_eq(fake_console_len(), 0, "once");
    unsigned n = 0;
    do
        n += handle_all(got + n);
    while (cpu0_wakes());
    n += handle_all(got + n);
    tap_eq(n, sizeof(many) - left, "what waited is still there");
    char want[80];
    snprintf(want, sizeof(want), "takes keys again; %zu were lost", left + 4);
    tap_ok(strstr(fake_console(), want) != NULL, "%s", want);
    fake_console_clear();
    fake_console_input("x");
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    tap_ok(handle_all(got) == 1 && got[0] == 'x' && !fake_console_len(), "all is well again");
}

static void test_break(void)
{
    guest_start(1, 0x01);
    fake_console_input("abcdefghijklmnop12");
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    fake_console_break();
    fake_console_input("h");
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    for (unsigned i = 0; i < 16; i++)
        (void)uart_r(RBR);
    (void)cpu0_wakes();
    tap_ok(uart_r(RBR) == '1' && uart_r(RBR) == '2', "in order, through the queue");
    tap_eq(uart_r(LSR) & 0x11, 0x11, "a BREAK");
    tap_ok(uart_r(RBR) == 0 && uart_r(LSR) == 0x61 && uart_r(RBR) == 'h', "and what came after it");
    options_parse(&opt, "escape=^T", NULL);
    fake_console_input("\x14");
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    fake_console_break();
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    tap_ok(uart_r(RBR) == 0x14 && (uart_r(LSR) & 0x10), "one escape, BREAK: both are the guest's");
    (void)uart_r(RBR);
    fake_console_input("\x14\x14");
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    fake_console_break();
    fake_console_input("q");
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    tap_ok(!(uart_r(LSR) & 0x11) && strstr(fake_console(), "monitor left"),
           "in the monitor it is nobody's");
}

int main(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
        for (unsigned cpu = 0; cpu < 2; cpu++)
            typing(&handlers[i], cpu);
    test_deaf();
    test_break();
    return tap_done();
}
