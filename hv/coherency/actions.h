/* SPDX-License-Identifier: BSD-2-Clause */
/* Actions, requests and the doorbell ([0049], [0055]; README "Waiting and waking"). Few things
 * wait, and whoever waits serves its own inbound requests. Tested by tools/tests/test_actions.c. */
#pragma once
#include "hv/coherency/coherency.h"

/* RMW on the target's action word, then load its mode, doorbell if it is in the guest or halted and
 * the word was zero before. Context: loop and interrupt handlers, any target incl. self (self: no
 * doorbell). from: a VCPU of this VM, or ACTION_OUTSIDE, the CPU of another VM that manages this
 * one. Takes the coherency directly so that devices and handlers can use it. */
#define ACTION_OUTSIDE UINT32_MAX
void action_post(struct coherency *co, uint32_t from, uint32_t to, uint64_t bits);
/* The same to whatever VCPU a CPU of the machine hosts, of this VM or another: for the console and
 * the monitor only, which serve all VMs. */
void action_manage(const struct coh_cpu *self, uint32_t pcpu, uint64_t bits);
/* Takes and clears `mask` of the own action word (exchange-and). */
uint64_t action_take(struct coh_cpu *self, uint64_t mask);
uint64_t action_peek(const struct coh_cpu *self);
/* Sets the mode by exchange; true if the action word (re-read after) is zero, so that the caller
 * may enter or halt; false: mode is back at MODE_HOST and there is work. Interrupts off for
 * MODE_GUEST and MODE_HALTED. */
bool mode_enter(struct coh_cpu *self, enum cpu_mode mode);
void mode_leave(struct coh_cpu *self); /* back to MODE_HOST */

/* Sends one request to each CPU of `to` (online, never self), then waits for all acknowledgements,
 * serving inbound requests through self->serve. A watchdog names who waits for whom after 10 s (log
 * line) and goes on waiting. Returns true if serving changed anything (walks restart). No lock
 * held. */
bool action_request(struct coh_cpu *self, cpuset_t to, enum request_kind kind, gfn_t f);
/* Target side: next inbound request of the set bits taken by action_take(ACTION_REQUESTS). */
void action_request_read(struct coh_cpu *self, uint32_t from, enum request_kind *kind, gfn_t *f);
/* After drop, flush scheduled and writer bit cleared. */
void action_request_ack(struct coh_cpu *self, uint32_t from);
/* Online: running its loop, whatever its VCPU does. Called once when the loop starts. */
void action_online(struct coh_cpu *self);
/* The loop ends for good: nobody waits for this CPU any more. Before it runs a guest again all its
 * shadow state must have been discarded. */
void action_offline(struct coh_cpu *self);
cpuset_t action_online_set(const struct coherency *co);
