/* SPDX-License-Identifier: BSD-2-Clause */
/* Consoles: which are active, the output lock, and the panic path around it. Tested by every boot.
 */
#include "arch-x86/dev/console.h"
#include <stdatomic.h>
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/plat/machine.h"
#include "arch-x86/plat/spcr.h"
#include "hv/base/console_spec.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/main.h"
#include "hv/port/machine.h"

#define OWN_CONSOLES 4 /* com1 to com4 */
#define CONSOLES                                                                                   \
    (OPT_MAX_CONSOLES * 3 + 1 + OWN_CONSOLES) /* each option may bring three, and the keyboard */
#define POLL_US 20000 /* a 16-byte FIFO fills in 1.4 ms at 115200 baud; people type slower */
#define DEFAULT_BAUD 115200
#define LOCK_SPINS 20000000u /* then the holder is taken for dead */
#define PANIC_SPINS 1000000u
#define FB_TYPE_TEXT 2

static struct console consoles[CONSOLES];
static unsigned nconsoles;
static char names[CONSOLES * 12];
static _Atomic uint32_t writer;    /* 0 free, else CPU + 1 */
static _Atomic uint32_t panicking; /* 0, or CPU + 1: only its output counts */
static _Atomic bool reading;

static _Atomic bool yielded; /* the screen is the guest's */

static struct console *_Atomic writing_to; /* for a panic inside a driver */

static void write_all(const char *text, size_t len, bool raw)
{
    for (unsigned i = 0; i < nconsoles; i++) {
        if (consoles[i].broken || !consoles[i].write || consoles[i].own ||
            (consoles[i].screen && atomic_load_explicit(&yielded, memory_order_relaxed)))
            continue;
        atomic_store_explicit(&writing_to, &consoles[i], memory_order_relaxed);
        consoles[i].write(&consoles[i], text, len, raw);
    }
    atomic_store_explicit(&writing_to, NULL, memory_order_relaxed);
}

/* own: a VM's own; NULL: all that are shared. */
static void locked_write(struct console *own, const char *text, size_t len, bool raw)
{
    uint32_t self = percpu_self()->cpu + 1, seen = 0;

    for (uint32_t spins = 0; spins < LOCK_SPINS; spins++) {
        uint32_t only = atomic_load_explicit(&panicking, memory_order_relaxed);
        if (only && only != self)
            return;
        if (only)
            break;
        seen = 0;
        if (atomic_compare_exchange_weak_explicit(&writer, &seen, self, memory_order_acquire,
                                                  memory_order_relaxed) ||
            seen == self)
            break;
        cpu_pause();
    }
    if (own)
        own->write(own, text, len, raw);
    else
        write_all(text, len, raw);
    if (seen != self) { /* not nested in an own write */
        seen = self;
        (void)atomic_compare_exchange_strong_explicit(&writer, &seen, 0, memory_order_release,
                                                      memory_order_relaxed);
    }
}

void port_console_write(const char *text, size_t len)
{
    locked_write(NULL, text, len, false);
}

void port_console_raw(const char *text, size_t len)
{
    locked_write(NULL, text, len, true);
}

int port_console_read(void)
{
    int byte = -1;
    /* Two readers at once would both take one byte; the other one sees -1 and comes again. */
    if (atomic_exchange_explicit(&reading, true, memory_order_acquire))
        return -1;
    for (unsigned i = 0; i < nconsoles && byte < 0; i++)
        if (consoles[i].read && !consoles[i].own)
            byte = consoles[i].read(&consoles[i]);
    atomic_store_explicit(&reading, false, memory_order_release);
    return byte;
}

void port_screen_yield(void)
{
    atomic_store_explicit(&yielded, true, memory_order_relaxed);
}

/* A panic is worth more than what the guest shows. */
static void screen_retake(void)
{
    if (atomic_exchange_explicit(&yielded, false, memory_order_relaxed))
        for (unsigned i = 0; i < nconsoles; i++)
            if (consoles[i].screen && strcmp(consoles[i].name, "fb") == 0)
                fb_retake();
}

void console_panic_begin(void)
{
    uint32_t self = percpu_self()->cpu + 1;
    atomic_store_explicit(&panicking, self, memory_order_seq_cst);
    for (uint32_t spins = 0; spins < PANIC_SPINS; spins++) { /* lets the others finish their line */
        uint32_t seen = atomic_load_explicit(&writer, memory_order_acquire);
        if (seen == 0 || seen == self)
            break;
        cpu_pause();
    }
    screen_retake();
    const struct uart_where com1 = {.base = COM1_PORT, .stride = 1, .baud = DEFAULT_BAUD};
    if (nconsoles == 0 && serial_open(&consoles[0], &com1)) {
        nconsoles = 1;
        log_replay(console_panic_write);
    }
}

void console_panic_again(void)
{
    struct console *c = atomic_load_explicit(&writing_to, memory_order_relaxed);
    if (c)
        c->broken = true;
}

void console_panic_write(const char *text, size_t len)
{
    write_all(text, len, false);
}

static struct console *fresh; /* the one that a replay goes to */

static void write_fresh(const char *text, size_t len)
{
    fresh->write(fresh, text, len, false);
}

static void activate(struct console *c, const char *name)
{
    size_t used = strlen(names);

    c->name = name;
    (void)hv_snprintf(names + used, sizeof(names) - used, "%s%s", used ? " " : "", name);
    fresh = c;
    log_replay(write_fresh);
    nconsoles++;
}

static struct console *next_console(void)
{
    struct console *c = &consoles[nconsoles];
    memset(c, 0, sizeof(*c));
    return c;
}

/* A port that two options mean, such as com1 and auto, is one console, as the first of them says.
 */
static bool is_open(const struct uart_where *w)
{
    for (unsigned i = 0; i < nconsoles; i++)
        if (consoles[i].uart.where.stride && consoles[i].uart.where.mmio == w->mmio &&
            consoles[i].uart.where.base == w->base)
            return true;
    return false;
}

/* why: the option that asked for it, NULL if it is only tried. */
static bool open_uart(struct uart_where *w, const char *name, const char *why)
{
    struct console *c = next_console();

    if (is_open(w))
        return true;
    if (w->mmio && w->base + 8ull * w->stride > paging_identity_end()) {
        log_warn("console", "%s: at 0x%llx, beyond what is reached before paging", name,
                 (unsigned long long)w->base);
        return false;
    }
    if (serial_open(c, w)) {
        activate(c, name);
        return true;
    }
    if (why)
        log_warn("console", "console=%s: no 16550 answers the loopback test at %s 0x%llx", why,
                 w->mmio ? "address" : "port", (unsigned long long)w->base);
    return false;
}

struct com {
    const char *name;
    uint16_t port;
    uint8_t irq;
};
static const struct com coms[] = {
    {"com1", COM1_PORT, 4}, {"com2", COM2_PORT, 3}, {"com3", COM3_PORT, 4}, {"com4", COM4_PORT, 3}};

static bool open_com(unsigned number, uint32_t baud, const char *why)
{
    const struct com *m = &coms[number - 1];
    struct uart_where w = {.base = m->port, .stride = 1, .irq = m->irq, .baud = baud};
    return open_uart(&w, m->name, why);
}

static bool open_spcr(const char *why)
{
    uint32_t len;
    struct uart_where w;
    const void *t = acpi_find(boot_info.rsdp, boot_info.uefi, "SPCR", &len);

    if (!t || !spcr_parse(t, len, &w)) {
        if (why)
            log_warn("console", "console=spcr: the firmware's tables name no 16550");
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(coms); i++)
        if (!w.mmio && w.base == coms[i].port)
            w.irq = coms[i].irq;
    return open_uart(&w, "spcr", why);
}

static bool open_pci(const struct console_spec *s, const char *why)
{
    struct uart_where w = {.base = 0};
    bool found = why ? pci_uart_at(s->bus, s->dev, s->fn, &w) : pci_uart_find(&w);

    if (!found) {
        if (why)
            log_warn("console", "console=%s: no function with a serial port's registers there",
                     why);
        return false;
    }
    w.baud = s->baud ? s->baud : DEFAULT_BAUD;
    w.clock_hz = s->clock_hz;
    return open_uart(&w, "pci", why);
}

/* Text memory shows nothing under UEFI or once the loader has set a graphics mode. */
static bool open_vga(bool asked)
{
    bool graphics = boot_info.uefi || (boot_info.fb_addr && boot_info.fb_type != FB_TYPE_TEXT);
    struct console *c = next_console();

    if (graphics && !asked)
        return false;
    vga_open(c);
    c->screen = true;
    activate(c, "vga");
    return true;
}

static bool open_fb(bool asked)
{
    struct console *c = next_console();

    if (boot_info.fb_addr && boot_info.fb_type != FB_TYPE_TEXT && fb_open(c)) {
        c->screen = true;
        activate(c, "fb");
        return true;
    }
    if (asked)
        log_warn("console", "console=fb: the loader set no graphics mode that can be used: boot by "
                            "UEFI, or put 'insmod vbe' before multiboot2 in GRUB's menu");
    return false;
}

/* What is there: one serial port, and the screen. */
static bool open_auto(void)
{
    const struct console_spec any = {.kind = CONSOLE_PCI};
    bool serial = open_spcr(NULL) || open_com(1, DEFAULT_BAUD, NULL) || open_pci(&any, NULL);
    bool vga = open_vga(false), fb = open_fb(false);
    (void)serial;
    return vga || fb;
}

/* true: it is a screen. */
static bool open_spec(const char *text)
{
    struct console_spec s;
    uint32_t baud;

    if (!console_spec_parse(text, &s)) /* options.c has said so */
        return false;
    baud = s.baud ? s.baud : DEFAULT_BAUD;
    struct uart_where w = {.base = s.base, .stride = 1, .baud = baud, .clock_hz = s.clock_hz};
    switch (s.kind) {
    case CONSOLE_AUTO:
        return open_auto();
    case CONSOLE_COM:
        (void)open_com(s.com, baud, text);
        break;
    case CONSOLE_PIO:
        (void)open_uart(&w, "pio", text);
        break;
    case CONSOLE_MMIO32:
        w.mmio = true;
        w.stride = 4;
        (void)open_uart(&w, "mmio32", text);
        break;
    case CONSOLE_PCI:
        (void)open_pci(&s, text);
        break;
    case CONSOLE_SPCR:
        (void)open_spcr(text);
        break;
    case CONSOLE_FB:
        return open_fb(true);
    case CONSOLE_VGA:
        return open_vga(true);
    case CONSOLE_DEBUGCON:
        if (debugcon_open(next_console()))
            activate(&consoles[nconsoles], "debugcon");
        else
            log_warn("console", "console=debugcon: nothing answers at port 0xe9");
        break;
    case CONSOLE_NONE:
        break;
    }
    return false;
}

static bool asked_for_none(void)
{
    for (unsigned i = 0; i < hv_opt.nconsoles; i++)
        if (strcmp(hv_opt.console[i], "none") == 0)
            return true;
    return false;
}

void console_init(void)
{
    bool screen = false;

    for (unsigned i = 0; i < hv_opt.nconsoles; i++)
        screen = open_spec(hv_opt.console[i]) || screen;
    if (nconsoles == 0 && !asked_for_none()) /* nothing named, or it is not there: not mute */
        screen = open_auto();
    if (screen && kbd_open(next_console())) { /* no replay: it shows nothing */
        consoles[nconsoles].name = "kbd";
        nconsoles++;
    }
}

void console_remap(void)
{
    for (unsigned i = 0; i < nconsoles; i++) {
        struct uart *u = &consoles[i].uart;
        if (strcmp(consoles[i].name, "vga") == 0)
            vga_remap();
        else if (strcmp(consoles[i].name, "fb") == 0)
            fb_remap();
        else if (u->where.mmio)
            u->regs = paging_map_mmio(hpa(u->where.base), 8ull * u->where.stride);
    }
}

void console_enable_input(uint32_t apic_id)
{
    bool serial = false, keys = false, poll = false;

    for (unsigned i = 0; i < nconsoles; i++) {
        struct console *c = &consoles[i];
        if (!c->read)
            continue;
        serial = serial || c->write;
        keys = keys || !c->write;
        if (c->irq && ioapic_route_isa(c->irq, VECTOR_UART, apic_id))
            c->listen(c);
        else
            poll = true;
    }
    /* A keyboard that is the only input may be a firmware's imitation, which need not interrupt. */
    if (poll || (keys && !serial))
        apic_timer_tick(POLL_US);
}

int port_console_own(const char *text)
{
    struct console_spec s;
    struct console *c = next_console();

    if (!console_spec_parse(text, &s) || s.kind != CONSOLE_COM || nconsoles == CONSOLES)
        return -1;
    const struct com *m = &coms[s.com - 1];
    for (unsigned i = 0; i < nconsoles; i++)
        if (consoles[i].write && !consoles[i].uart.where.mmio &&
            consoles[i].uart.where.base == m->port)
            return -1;
    const struct uart_where w = {
        .base = m->port, .stride = 1, .irq = m->irq, .baud = s.baud ? s.baud : DEFAULT_BAUD};
    if (!serial_open(c, &w))
        return -1;
    c->own = true;
    c->name = m->name;
    nconsoles++;
    if (c->irq && ioapic_route_isa(c->irq, VECTOR_UART, percpus[0].apic_id))
        c->listen(c);
    else
        apic_timer_tick(POLL_US);
    return (int)nconsoles - 1;
}

void port_console_own_write(unsigned port, const char *text, size_t len)
{
    locked_write(&consoles[port], text, len, true);
}

int port_console_own_read(unsigned port)
{
    return consoles[port].read(&consoles[port]);
}

void port_console_poll(uint64_t us)
{
    apic_timer_tick(us);
}

const char *console_names(void)
{
    return names[0] ? names : "none";
}

void console_input_names(char *buf, size_t size)
{
    size_t n = 0;
    (void)hv_snprintf(buf, size, "none");
    for (unsigned i = 0; i < nconsoles && n < size; i++)
        if (consoles[i].read)
            n += (size_t)hv_snprintf(buf + n, size - n, "%s%s", n ? " " : "", consoles[i].name);
}
