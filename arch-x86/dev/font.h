/* SPDX-License-Identifier: BSD-2-Clause */
/* Letters for the framebuffer console, ASCII 0x20 to 0x7e: 8 x 16 dots, a row a byte, leftmost dot
 * in bit 7. tools/font.py makes them. Tested by the framebuffer step of `make check`. */
#pragma once
#include <stdint.h>

#define FONT_FIRST 0x20
#define FONT_GLYPHS 95
#define FONT_ROWS 16
#define FONT_COLUMNS 8
extern const uint8_t font_rows[FONT_GLYPHS][FONT_ROWS];
