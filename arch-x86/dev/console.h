/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of output devices behind port_console_write. Tested by every boot. */
#pragma once
#include "hv/base/types.h"

struct console {
    const char *name;
    /* Bounded waits: hardware that does not answer costs time once, never a hang. */
    void (*write)(struct console *c, const char *text, size_t len);
    int (*read)(struct console *c); /* byte or -1; NULL: no input */
    uint16_t port;                  /* serial, debugcon */
    uint8_t irq;                    /* serial ISA interrupt, 0 none */
    bool stuck, cr;                 /* serial: transmitter does not empty; last byte was CR */
    bool broken;                    /* writing to it panicked */
};

/* Brings up what hv_opt.console names, or COM1 and the screen (VGA text under a BIOS,
 * the loader's framebuffer otherwise), and replays the log to each. Context: BSP, boot. */
void console_init(void);
/* After paging: device memory has moved. */
void console_remap(void);
/* Receive interrupts to the CPU with that APIC id. */
void console_enable_input(uint32_t apic_id);
/* Names of the active ones, for the banner. */
const char *console_names(void);

/* Panic path: no lock from here on; COM1 is tried if nothing is active. */
void console_panic_begin(void);
/* A panic while panicking: the device that was being written to is not used again. */
void console_panic_again(void);
void console_panic_write(const char *text, size_t len);

/* --- drivers: NULL or false if the device is not there --- */
/* must_answer: only if the loopback test works. */
bool uart_open(struct console *c, uint16_t port, uint32_t baud, bool must_answer);
void uart_enable_input(struct console *c);
bool debugcon_open(struct console *c);
void vga_open(struct console *c);
void vga_remap(void);
/* The loader's framebuffer, if it is true-colour and below 4 GiB. */
bool fb_open(struct console *c);
void fb_remap(void);
