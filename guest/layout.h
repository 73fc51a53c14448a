/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the test image keeps things in physical memory; shared by C and assembly.
 * Tested by every run of the image. */
#pragma once
#define MAX_CPUS 8
#define STACK_BYTES 16384
#define AP_TRAMPOLINE_PA 0x8000
#define REAL_MODE_PA 0x9000        /* code of the real-mode test */
#define REAL_MODE_REPORT_PA 0x9800 /* what it found */
#define POOL_BASE_PA 0x400000      /* pages for tables and data of a test */
#define POOL_END_PA 0x1000000
#define LARGE_BASE_PA 0x1000000 /* 2 MiB frames for large-page tests, to 32 MiB */
#define LARGE_FRAMES 8
