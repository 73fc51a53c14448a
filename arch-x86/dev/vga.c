/* SPDX-License-Identifier: BSD-2-Clause */
/* VGA text, 80 x 25, as the BIOS leaves it. Tested by looking at the screen of a BIOS boot. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/dev/console.h"

#define VGA_BASE 0xb8000
#define VGA_BYTES 4000
#define COLUMNS 80u
#define ROWS 25u
#define ATTRIBUTE 0x0700u /* light grey on black */
#define CRTC_INDEX 0x3d4
#define CRTC_DATA 0x3d5
#define CRTC_CURSOR_HIGH 0x0e
#define CRTC_CURSOR_LOW 0x0f

static volatile uint16_t *cell; /* device memory */
static unsigned row, column;
static bool escape; /* inside ESC [ ... letter, which is swallowed */

static void scroll(void)
{
    for (unsigned i = 0; i < COLUMNS * (ROWS - 1); i++)
        cell[i] = cell[i + COLUMNS];
    for (unsigned i = COLUMNS * (ROWS - 1); i < COLUMNS * ROWS; i++)
        cell[i] = ATTRIBUTE | ' ';
}

static void newline(void)
{
    column = 0;
    if (row + 1 == ROWS)
        scroll();
    else
        row++;
}

static void put(char ch)
{
    if (escape) {
        escape = !((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z'));
        return;
    }
    switch (ch) {
    case '\n':
        newline();
        break;
    case '\r':
        column = 0;
        break;
    case '\b':
        column -= column > 0;
        break;
    case 27:
        escape = true;
        break;
    default:
        if ((uint8_t)ch < ' ')
            break;
        /* wraps with the next letter, so that a full line costs no empty one */
        if (column == COLUMNS)
            newline();
        cell[row * COLUMNS + column] = (uint16_t)(ATTRIBUTE | (uint8_t)ch);
        column++;
        break;
    }
}

static void vga_write(struct console *c, const char *text, size_t len, bool raw)
{
    (void)c, (void)raw; /* LF begins a line in any case: nobody gives a screen CR */
    for (size_t i = 0; i < len; i++)
        put(text[i]);
    unsigned at = row * COLUMNS + (column < COLUMNS ? column : COLUMNS - 1);
    out8(CRTC_INDEX, CRTC_CURSOR_HIGH);
    out8(CRTC_DATA, (uint8_t)(at >> 8));
    out8(CRTC_INDEX, CRTC_CURSOR_LOW);
    out8(CRTC_DATA, (uint8_t)at);
}

void vga_remap(void)
{
    cell = paging_map_mmio(hpa(VGA_BASE), VGA_BYTES);
}

void vga_open(struct console *c)
{
    vga_remap();
    for (unsigned i = 0; i < COLUMNS * ROWS; i++)
        cell[i] = ATTRIBUTE | ' ';
    row = column = 0;
    c->write = vga_write;
}
