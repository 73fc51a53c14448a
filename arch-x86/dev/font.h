/* SPDX-License-Identifier: BSD-2-Clause */
/* Letters for the framebuffer console. Tested by looking at the screen of a UEFI boot. */
#pragma once
#include <stdint.h>

#define FONT_FIRST 0x20
#define FONT_GLYPHS 95
#define FONT_ROWS 7
#define FONT_COLUMNS 5
extern const uint8_t font_rows[FONT_GLYPHS][FONT_ROWS];
