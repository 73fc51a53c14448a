/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware's word on where its serial console is. Tested by tools/tests/test_uart.c. */
#pragma once
#include "arch-x86/dev/uart.h"

/* Reads the Serial Port Console Redirection table, `len` bytes at t. false: no 16550 there. */
bool spcr_parse(const void *t, uint32_t len, struct uart_where *out) HV_MUST_CHECK;
