/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw local APIC register access, for apic.c and timer.c only. Tested by every boot. */
#pragma once
#include <stdint.h>

uint32_t apic_reg_read(uint32_t reg);
void apic_reg_write(uint32_t reg, uint32_t v);
