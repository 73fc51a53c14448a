/* SPDX-License-Identifier: BSD-2-Clause */
/* What hv/ needs of the processor it runs on. Defined by arch-x86/cpu/port.c on the machine and by
 * tools/tests/fake/ on the host. */
#pragma once
#include "hv/base/types.h"

/* Dense number of this CPU, 0..ncpus-1. Context: any. */
uint32_t port_cpu(void);
uint32_t port_ncpus(void);
/* 64 bits of the processor's random number generator. false: it has none, or it gave nothing for a
 * while. Context: any. */
bool port_random(uint64_t *out);
/* PAUSE. */
void port_relax(void);
/* RDTSC: monotonic on one CPU, equal on all (checked at boot); the guest reads the same counter. */
uint64_t port_tsc(void);
uint64_t port_tsc_hz(void);
/* true if it counts at one rate for ever and all CPUs agreed at boot: what guests are told. */
bool port_tsc_constant(void);
/* Sends the doorbell IPI to `cpu`. Fences as x2APIC needs. Context: any but NMI. To itself with
 * interrupts off before an entry: the guest exits as soon as what is injected was delivered. */
void port_doorbell(uint32_t cpu);
/* Where in the hypervisor `cpu` (not self) is, asked by an NMI: innermost function first, as text.
 * For a CPU that runs its guest: the code around the entry. false: not even an NMI is answered. */
bool port_where(uint32_t cpu, char *buf, size_t size);
/* A machine check ended the guest's run: reads and logs this processor's banks, clears them and the
 * mark that one is in progress. How bad it is: corrected, nothing is lost; recoverable, what ran is
 * hit and nothing else; fatal. Owner CPU, its loop. */
enum port_mc { PORT_MC_CORRECTED, PORT_MC_RECOVERABLE, PORT_MC_FATAL };
enum port_mc port_machine_check(void);
/* The x87 state is the guest's all the time. Its environment in the 32-bit protected-mode format
 * (control, status, tag word, then where and what the last instruction was); left as it is. And: no
 * error stands any more. Owner CPU. */
#define X87_ENV_WORDS 7
void port_x87_env(uint32_t env[X87_ENV_WORDS]);
void port_x87_clear(void);
/* Interrupts off / on (RFLAGS.IF). The loop runs with interrupts on except around entry and halt.
 */
void port_irq_off(void);
void port_irq_on(void);
/* STI; HLT: returns after any interrupt or NMI, interrupts on. To be called with interrupts off,
 * after the mode word was exchanged and the action word re-read (README "Waiting and waking"). */
void port_halt(void);
/* Arms this CPU's one physical one-shot timer for `tsc` (absolute; UINT64_MAX disarms). The
 * interrupt handler sets ACTION_TIMER in this CPU's action word. May fire late, and early for long
 * deadlines: the owner compares and re-arms. */
void port_timer_arm(uint64_t tsc);
/* Host CR4 bits that follow the guest's (SMEP, SMAP, PGE; arch-x86/README "Control bits"). Owner
 * CPU. */
void port_host_cr4_follow(uint64_t guest_cr4);
/* Makes LFENCE serialising on this CPU where a register decides that (DE_CFG[1]; APM volume
 * 2, 3.2.8 "DE_CFG"). true: the register is there and holds it. Owner CPU. */
bool port_lfence_serialise(void);
/* XCR0 of this CPU, which is its guest's. Only where the processor has XSAVE. Owner CPU. */
uint64_t port_xcr0(void);
void port_xcr0_set(uint64_t value); /* legal, or #GP */
/* Initial values in the registers of these components of XCR0, XCR0 = 1, IA32_XSS = 0. */
void port_xstate_reset(uint64_t components);
