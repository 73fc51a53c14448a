/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of devices behind port_console_write and port_console_read. Tested by every boot and by
 * the console group of `make check`. */
#pragma once
#include "arch-x86/dev/uart.h"
#include "hv/base/types.h"

struct console {
    const char *name;
    /* Bounded waits: hardware that does not answer costs time once, never a hang. NULL: no output
     */
    void (*write)(struct console *c, const char *text, size_t len, bool raw);
    int (*read)(struct console *c);    /* byte, PORT_CONSOLE_BREAK or -1; NULL: no input */
    void (*listen)(struct console *c); /* switches receive interrupts on */
    struct uart uart;                  /* serial */
    uint16_t port;                     /* debugcon */
    uint8_t irq;                       /* ISA interrupt of the input, 0: it has to be polled */
    bool broken;                       /* writing to it panicked */
    bool screen;                       /* the guest may be given what it shows on */
    bool own;                          /* one VM's alone (port_console_own) */
};

/* Brings up what hv_opt.console names, by default what is found, and replays the log to each. With
 * a screen comes the PS/2 keyboard. Context: BSP, boot's identity map. */
void console_init(void);
/* After paging: device memory has moved. */
void console_remap(void);
/* Receive interrupts to the CPU with that APIC id; input without one is polled from its timer. */
void console_enable_input(uint32_t apic_id);
/* Names of the active ones; the same of those with input: for the banner. */
const char *console_names(void);
void console_input_names(char *buf, size_t size);

/* Panic path: no lock from here on; COM1 is tried if nothing is active. */
void console_panic_begin(void);
/* A panic while panicking: the device that was being written to is not used again. */
void console_panic_again(void);
void console_panic_write(const char *text, size_t len);

/* --- drivers: false if the device is not there --- */
/* Only a port that answers the loopback test is opened. */
bool serial_open(struct console *c, const struct uart_where *where);
bool debugcon_open(struct console *c);
void vga_open(struct console *c);
void vga_remap(void);
/* The loader's framebuffer, if it is true-colour and can be reached. */
bool fb_open(struct console *c);
void fb_remap(void);
/* Somebody else has drawn: everything is drawn again, from an empty screen on. No memory is read.
 */
void fb_retake(void);
/* i8042 and a keyboard behind it. */
bool kbd_open(struct console *c);
