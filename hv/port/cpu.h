/* SPDX-License-Identifier: BSD-2-Clause */
/* What hv/ needs of the processor it runs on. Defined by arch-x86/cpu/port.c on the machine and by
 * tools/tests/fake/ on the host. */
#pragma once
#include "hv/base/types.h"

/* Dense number of this CPU, 0..ncpus-1. Context: any. */
uint32_t port_cpu(void);
uint32_t port_ncpus(void);
/* PAUSE. */
void port_relax(void);
/* RDTSC: monotonic on one CPU, equal on all (checked at boot); the guest reads the same counter. */
uint64_t port_tsc(void);
uint64_t port_tsc_hz(void);
/* true if it counts at one rate for ever and all CPUs agreed at boot: what guests are told. */
bool port_tsc_constant(void);
/* Sends the doorbell IPI to `cpu` (not self). Fences as x2APIC needs. Context: any but NMI. */
void port_doorbell(uint32_t cpu);
/* Where in the hypervisor `cpu` (not self) is, asked by an NMI: innermost function first, as text.
 * For a CPU that runs its guest: the code around the entry. false: not even an NMI is answered. */
bool port_where(uint32_t cpu, char *buf, size_t size);
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
