/* SPDX-License-Identifier: BSD-2-Clause */
/* XSAVEC, tried before it is shown. Tested by the bochs group of tools/check.py. */
#pragma once
#include "hv/base/types.h"

/* Tries it. Context: boot CPU, no guest has run. */
void xsavec_detect(void);
/* Takes it from an answer of CPUID (EAX EBX ECX EDX) if it does not work. Context: any. */
void xsavec_filter(uint32_t leaf, uint32_t subleaf, uint32_t r[4]);
