/* SPDX-License-Identifier: BSD-2-Clause */
/* General and segment registers by the numbers that encodings give them (APM volume 3 1.2.7 "ModRM
 * and SIB Bytes"), with the two that no encoding reaches. Tested by tools/tests/test_decode.c. */
#pragma once

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };
