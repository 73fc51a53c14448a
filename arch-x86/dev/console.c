/* SPDX-License-Identifier: BSD-2-Clause */
/* Consoles: which are active, the output lock, and the panic path around it. Tested by every boot.
 */
#include "arch-x86/dev/console.h"
#include <stdatomic.h>
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/plat/machine.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/main.h"
#include "hv/port/machine.h"

#define COM1 0x3f8
#define DEFAULT_BAUD 115200
#define LOCK_SPINS 20000000u /* then the holder is taken for dead */
#define PANIC_SPINS 1000000u
#define FB_TYPE_TEXT 2

static struct console consoles[OPT_MAX_CONSOLES];
static unsigned nconsoles;
static char names[OPT_MAX_CONSOLES * 12];
static _Atomic uint32_t writer;    /* 0 free, else CPU + 1 */
static _Atomic uint32_t panicking; /* 0, or CPU + 1: only its output counts */
static _Atomic bool reading;

static struct console *_Atomic writing_to; /* for a panic inside a driver */

static void write_all(const char *text, size_t len)
{
    for (unsigned i = 0; i < nconsoles; i++) {
        if (consoles[i].broken)
            continue;
        atomic_store_explicit(&writing_to, &consoles[i], memory_order_relaxed);
        consoles[i].write(&consoles[i], text, len);
    }
    atomic_store_explicit(&writing_to, NULL, memory_order_relaxed);
}

void port_console_write(const char *text, size_t len)
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
    write_all(text, len);
    if (seen != self) { /* not nested in an own write */
        seen = self;
        (void)atomic_compare_exchange_strong_explicit(&writer, &seen, 0, memory_order_release,
                                                      memory_order_relaxed);
    }
}

int port_console_read(void)
{
    int byte = -1;
    /* Two readers at once would both take one byte; the other one sees -1 and comes again. */
    if (atomic_exchange_explicit(&reading, true, memory_order_acquire))
        return -1;
    for (unsigned i = 0; i < nconsoles && byte < 0; i++)
        if (consoles[i].read)
            byte = consoles[i].read(&consoles[i]);
    atomic_store_explicit(&reading, false, memory_order_release);
    return byte;
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
    if (nconsoles == 0 && uart_open(&consoles[0], COM1, DEFAULT_BAUD, true)) {
        nconsoles = 1;
        log_replay(write_all);
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
    write_all(text, len);
}

static struct console *fresh; /* the one that a replay goes to */

static void write_fresh(const char *text, size_t len)
{
    fresh->write(fresh, text, len);
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

/* Decimal or 0x number; *end behind it. */
static uint32_t number(const char *s, const char **end)
{
    uint32_t v = 0, base = 10;
    if (s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
    }
    for (;; s++) {
        char low = (char)(*s | 0x20);
        uint32_t d = *s >= '0' && *s <= '9'     ? (uint32_t)(*s - '0')
                     : low >= 'a' && low <= 'f' ? (uint32_t)(low - 'a' + 10)
                                                : 16;
        if (d >= base || v > 0x0fffffff)
            break;
        v = v * base + d;
    }
    *end = s;
    return v;
}

static void open_uart(struct console *c, uint16_t port, const char *rest, const char *name,
                      uint8_t irq, bool asked)
{
    uint32_t baud = DEFAULT_BAUD;
    const char *end;

    if (*rest == ',')
        baud = number(rest + 1, &end);
    if (!uart_open(c, port, baud, true)) {
        if (asked)
            log_warn("console", "%s: no 16550 answers the loopback test at port 0x%x", name, port);
        return;
    }
    c->irq = irq;
    activate(c, name);
}

struct com {
    const char *name;
    uint16_t port;
    uint8_t irq;
};
static const struct com coms[] = {
    {"com1", 0x3f8, 4}, {"com2", 0x2f8, 3}, {"com3", 0x3e8, 4}, {"com4", 0x2e8, 3}};

/* Text memory shows nothing under UEFI or once the loader has set a graphics mode. */
static void open_vga(struct console *c, bool asked)
{
    bool graphics = boot_info.uefi || (boot_info.fb_addr && boot_info.fb_type != FB_TYPE_TEXT);
    if (graphics && !asked)
        return;
    vga_open(c);
    activate(c, "vga");
}

static void open_fb(struct console *c, bool asked)
{
    if (boot_info.fb_addr && boot_info.fb_type != FB_TYPE_TEXT && fb_open(c))
        activate(c, "fb");
    else if (asked)
        log_warn("console", "fb: the loader gave no usable framebuffer below 4 GiB");
}

static void open_spec(struct console *c, const char *spec)
{
    const char *rest;

    for (size_t i = 0; i < ARRAY_SIZE(coms); i++)
        if (strncmp(spec, coms[i].name, 4) == 0) {
            open_uart(c, coms[i].port, spec + 4, coms[i].name, coms[i].irq, true);
            return;
        }
    if (strncmp(spec, "pio:", 4) == 0) {
        uint32_t port = number(spec + 4, &rest);
        if (port && port < 0xfff8)
            open_uart(c, (uint16_t)port, rest, "pio", 0, true);
        else
            log_warn("console", "%s: no such port", spec);
    } else if (strcmp(spec, "debugcon") == 0) {
        if (debugcon_open(c))
            activate(c, "debugcon");
        else
            log_warn("console", "debugcon: nothing answers at port 0xe9");
    } else if (strcmp(spec, "vga") == 0) {
        open_vga(c, true);
    } else if (strcmp(spec, "fb") == 0) {
        open_fb(c, true);
    } else if (strcmp(spec, "none") != 0) {
        log_warn("console",
                 "%s: unknown; com1..com4[,baud], pio:PORT[,baud], debugcon, vga, fb, none, auto",
                 spec);
    }
}

void console_init(void)
{
    bool automatic = hv_opt.nconsoles == 0;

    for (unsigned i = 0; i < hv_opt.nconsoles && nconsoles < OPT_MAX_CONSOLES; i++) {
        if (strcmp(hv_opt.console[i], "auto") == 0)
            automatic = true;
        else
            open_spec(&consoles[nconsoles], hv_opt.console[i]);
    }
    if (automatic && nconsoles < OPT_MAX_CONSOLES)
        open_uart(&consoles[nconsoles], COM1, "", "com1", 4, false);
    if (automatic && nconsoles < OPT_MAX_CONSOLES)
        open_vga(&consoles[nconsoles], false);
    if (automatic && nconsoles < OPT_MAX_CONSOLES)
        open_fb(&consoles[nconsoles], false);
}

void console_remap(void)
{
    for (unsigned i = 0; i < nconsoles; i++)
        if (strcmp(consoles[i].name, "vga") == 0)
            vga_remap();
        else if (strcmp(consoles[i].name, "fb") == 0)
            fb_remap();
}

void console_enable_input(uint32_t apic_id)
{
    for (unsigned i = 0; i < nconsoles; i++)
        if (consoles[i].irq && ioapic_route_isa(consoles[i].irq, VECTOR_UART, apic_id))
            uart_enable_input(&consoles[i]);
}

const char *console_names(void)
{
    return nconsoles ? names : "none";
}
