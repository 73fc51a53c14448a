/* SPDX-License-Identifier: BSD-2-Clause */
/* Text on the loader's linear framebuffer, for UEFI machines. Keeps the characters, so that
 * scrolling redraws only the cells that change and never reads device memory. Tested by the
 * framebuffer steps of `make check`, which read the screen back. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/dev/console.h"
#include "arch-x86/dev/font.h"
#include "hv/base/string.h"
#include "hv/main.h"

#define MAX_COLUMNS 240u
#define MAX_ROWS 100u
#define READABLE_COLUMNS 100u /* dots are doubled, trebled ... while so many letters still fit */
#define READABLE_ROWS 30u
#define FB_TYPE_RGB 1
#define INK 0xc8c8c8u /* the same in every order of colours */

static volatile char *pixels; /* device memory */
static char cell[MAX_ROWS][MAX_COLUMNS];
static unsigned columns, rows, row, column, bytes;
static unsigned scale; /* pixels a dot, each way */
static bool escape;    /* inside ESC [ ... letter, which is swallowed */

static void pixel(unsigned x, unsigned y, uint32_t colour)
{
    volatile char *p = pixels + (size_t)y * boot_info.fb_pitch + (size_t)x * bytes;
    if (bytes == 4) {
        *(volatile uint32_t *)(uintptr_t)p = colour;
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (char)(colour >> 8 * i);
}

static void draw(unsigned r, unsigned c, char ch)
{
    uint8_t index = (uint8_t)ch - FONT_FIRST;
    const uint8_t *glyph = font_rows[index < FONT_GLYPHS ? index : 0x3f - FONT_FIRST];

    if (cell[r][c] == ch)
        return;
    cell[r][c] = ch;
    for (unsigned y = 0; y < FONT_ROWS * scale; y++) {
        for (unsigned x = 0; x < FONT_COLUMNS * scale; x++) {
            bool ink = glyph[y / scale] >> (FONT_COLUMNS - 1 - x / scale) & 1;
            pixel(c * FONT_COLUMNS * scale + x, r * FONT_ROWS * scale + y, ink ? INK : 0);
        }
    }
}

static void newline(void)
{
    column = 0;
    if (row + 1 < rows) {
        row++;
        return;
    }
    for (unsigned r = 0; r < rows; r++)
        for (unsigned c = 0; c < columns; c++)
            draw(r, c, r + 1 < rows ? cell[r + 1][c] : ' ');
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
        if ((uint8_t)ch < FONT_FIRST)
            break;
        /* wraps with the next letter, so that a full line costs no empty one */
        if (column == columns)
            newline();
        draw(row, column, ch);
        column++;
        break;
    }
}

static void fb_write(struct console *c, const char *text, size_t len, bool raw)
{
    (void)c, (void)raw; /* as vga_write */
    for (size_t i = 0; i < len; i++)
        put(text[i]);
    fence_sfence();
}

void fb_remap(void)
{
    pixels = paging_map_screen(hpa(boot_info.fb_addr),
                               (uint64_t)boot_info.fb_pitch * boot_info.fb_height);
}

static void clear(void)
{
    row = column = 0;
    memset(cell, 0, sizeof(cell)); /* no letter: each is drawn */
    for (unsigned r = 0; r < rows; r++)
        for (unsigned k = 0; k < columns; k++)
            draw(r, k, ' ');
}

void fb_retake(void)
{
    escape = false;
    clear();
}

bool fb_open(struct console *c)
{
    const struct boot_info *b = &boot_info;
    uint64_t size = (uint64_t)b->fb_pitch * b->fb_height;

    bytes = (b->fb_bpp + 7) / 8;
    /* Before our own tables not everything is mapped; an odd mode is left alone. */
    if (b->fb_type != FB_TYPE_RGB || (bytes != 3 && bytes != 4) || b->fb_addr == 0 ||
        b->fb_addr + size > paging_identity_end() || (uint64_t)b->fb_width * bytes > b->fb_pitch)
        return false;
    scale = 1;
    while (b->fb_width / (FONT_COLUMNS * (scale + 1)) >= READABLE_COLUMNS &&
           b->fb_height / (FONT_ROWS * (scale + 1)) >= READABLE_ROWS)
        scale++;
    columns = b->fb_width / (FONT_COLUMNS * scale);
    columns = columns < MAX_COLUMNS ? columns : MAX_COLUMNS;
    rows = b->fb_height / (FONT_ROWS * scale);
    rows = rows < MAX_ROWS ? rows : MAX_ROWS;
    if (columns < 40 || rows < 10)
        return false;
    fb_remap();
    clear();
    c->write = fb_write;
    return true;
}
