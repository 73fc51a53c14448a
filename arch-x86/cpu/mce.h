/* SPDX-License-Identifier: BSD-2-Clause */
/* Machine checks: the banks of a processor, what they say and how bad it is (APM volume 2, chapter
 * 9 "Machine Check Architecture"). Tested by tools/tests/test_mce.c. */
#pragma once
#include "arch-x86/cpu/features.h"
#include "hv/port/cpu.h"

/* Reads every bank that holds an error and MCG_STATUS, gives `line` one text for each, then clears
 * them and MCIP, so that the next machine check does not shut the processor down. Returns how bad
 * the worst is; without any error, whether the processor says that it can go on. Context: any, the
 * processor that is asked; takes no lock itself. */
enum port_mc mce_collect(const struct cpu_probe *p, void (*line)(const char *text));
/* Lets every bank report, and says what a bank still holds from before: the last run may have ended
 * by it. Context: the processor that is asked, any. */
void mce_init(const struct cpu_probe *p, void (*line)(const char *text));
/* The same for the processor that executes it, if it has machine checks; logged. */
void mce_cpu_init(void);
