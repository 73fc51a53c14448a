/* SPDX-License-Identifier: BSD-2-Clause */
/* The time-stamp counter: its frequency, delays, and whether all CPUs agree. Tested by every boot.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

extern uint64_t tsc_hz; /* 0 until calibrated */

/* One reading of a reference counter between two of the TSC. */
struct tsc_sample {
    uint64_t tsc, width; /* middle, and distance of the two readings */
    uint32_t ref;
};
/* Measures against the PM timer at I/O port pm_port (0: none) and PIT channel 2; keeps the minimum
 * of several windows. A descheduled emulator can only make a window look too fast. Context: BSP. */
void tsc_calibrate(uint16_t pm_port);
void tsc_delay_us(uint64_t us);
/* value * mul / div without overflow of the product; the quotient must fit. */
uint64_t tsc_mul_div(uint64_t value, uint64_t mul, uint64_t div);
/* Before the AP starts. */
void tsc_sync_prepare(void);
/* Both sides of the comparison of one AP with the BSP; logs a difference. */
void tsc_sync_bsp(uint32_t cpu);
void tsc_sync_ap(void);
/* true if no AP's counter was seen outside the BSP's readings around it. */
bool tsc_synced(void);
