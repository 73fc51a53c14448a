/* SPDX-License-Identifier: BSD-2-Clause */
/* What hv/ needs of the machine: memory access, consoles, power. Defined by arch-x86, or a fake. */
#pragma once
#include "hv/base/types.h"

/* Pointer to host-physical memory through the direct map. Covers guest RAM and public memory, not
 * private pools of other CPUs. Inline and constant-time on the machine. */
extern uintptr_t port_direct_base;
static inline void *port_ptr(hpa_t a)
{
    return (void *)(port_direct_base + (uintptr_t)a.v);
}
/* PORT_LOW_BYTES of this CPU's own, zeroed, aligned to their size and below 4 GiB: for what the
 * processor finds by an address of 32 bits, CR3 outside long mode. *at: where it finds them. */
#define PORT_LOW_BYTES 1024
#define PORT_LOW_ROOTS 0    /* the pager's */
#define PORT_LOW_NATIVE 512 /* the emulator's, where the processor performs an instruction */
void *port_low_memory(uint32_t cpu, hpa_t *at);
/* Output to every active console, where LF begins a new line at its start; raw: serial lines carry
 * these very bytes. Input: a byte, PORT_CONSOLE_BREAK for a line that was held low, or -1. Context:
 * any CPU; output serialises itself and tolerates a panic in between. */
#define PORT_CONSOLE_BREAK 0x100
void port_console_write(const char *text, size_t len);
void port_console_raw(const char *text, size_t len);
int port_console_read(void);
/* A serial port for one VM alone: "com1".."com4", a rate behind a comma. Its number, negative: it
 * is not there, or a console already. Boot, the CPU that reads the consoles. Output and input as
 * above; ACTION_INPUT tells of its keys too. */
int port_console_own(const char *spec);
void port_console_own_write(unsigned port, const char *text, size_t len);
int port_console_own_read(unsigned port);
/* From now on this CPU is told by ACTION_INPUT, at least every `us` microseconds, to look at the
 * consoles. Context: its loop. */
void port_console_poll(uint64_t us);
/* Guest debug port 0xE9 and isa-debug-exit 0xF4 are forwarded here (the latter with test=1). */
void port_debugcon(uint8_t byte);
/* Is there such a port (it reads as its own number)? On a real machine it may be anything. */
bool port_debugcon_found(void);
void port_debug_exit(uint32_t value);
/* Ends the machine: ACPI S5; reset by FADT, CF9, 8042, triple fault in turn. */
_Noreturn void port_poweroff(void);
_Noreturn void port_reset(void);
_Noreturn void port_stop(void); /* halt this CPU for ever (noreboot, panic) */
/* Wall clock of the RTC read once at boot, seconds since 1970, and the TSC at that moment. */
uint64_t port_boot_time_s(uint64_t *tsc);
