/* SPDX-License-Identifier: BSD-2-Clause */
/* US keyboard, scan code set 1, as a serial terminal's bytes. Tested by tools/tests/test_keymap.c.
 */
#include "arch-x86/dev/keymap.h"
#include "hv/base/string.h"

#define RELEASE 0x80
#define KEY_LCTRL 0x1d
#define KEY_LSHIFT 0x2a
#define KEY_RSHIFT 0x36
#define KEY_ALT 0x38
#define KEY_CAPS 0x3a
#define KEYPAD_FIRST 0x47
#define KEYPAD_LAST 0x53

/* By scan code from 0x01; 0: none of ours. Escape 033, Backspace 0177, Enter CR, as a VT220 sends.
 */
static const char plain[] =
    "\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] =
    "\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
_Static_assert(sizeof(plain) == 0x39 + 1 && sizeof(shifted) == sizeof(plain), "codes 01 to 39");
static const char keypad[] = "789-456+1230.";
_Static_assert(sizeof(keypad) == KEYPAD_LAST - KEYPAD_FIRST + 2, "codes 47 to 53");

struct sequence {
    uint8_t code; /* behind E0 */
    const char *text;
};
static const struct sequence sequences[] = {{0x48, "\033[A"},  {0x50, "\033[B"},  {0x4d, "\033[C"},
                                            {0x4b, "\033[D"},  {0x47, "\033[1~"}, {0x52, "\033[2~"},
                                            {0x53, "\033[3~"}, {0x4f, "\033[4~"}, {0x49, "\033[5~"},
                                            {0x51, "\033[6~"}, {0x1c, "\r"},      {0x35, "/"}};

static unsigned extended_key(uint8_t code, char out[KEYMAP_OUT])
{
    for (size_t i = 0; i < ARRAY_SIZE(sequences); i++)
        if (sequences[i].code == code) {
            unsigned n = (unsigned)strlen(sequences[i].text);
            memcpy(out, sequences[i].text, n);
            return n;
        }
    return 0;
}

static bool modifier(struct keymap *k, uint8_t code, bool down, bool extended)
{
    switch (code) {
    case KEY_LCTRL:
        *(extended ? &k->right_ctrl : &k->left_ctrl) = down;
        return true;
    case KEY_LSHIFT: /* behind E0 it is a fake one around cursor keys */
        k->left_shift = extended ? k->left_shift : down;
        return true;
    case KEY_RSHIFT:
        k->right_shift = extended ? k->right_shift : down;
        return true;
    case KEY_ALT:
        k->alt = down;
        return true;
    case KEY_CAPS:
        k->caps ^= down;
        return true;
    default:
        return false;
    }
}

static char letter(const struct keymap *k, uint8_t code)
{
    bool shift = k->left_shift || k->right_shift;
    char c;

    if (code >= KEYPAD_FIRST && code <= KEYPAD_LAST)
        return keypad[code - KEYPAD_FIRST];
    if (code == 0 || code >= sizeof(plain))
        return 0;
    c = plain[code - 1];
    if (c >= 'a' && c <= 'z')
        shift ^= k->caps;
    c = shift ? shifted[code - 1] : c;
    if (!k->left_ctrl && !k->right_ctrl)
        return c;
    if (c >= '@' && c <= '~')
        return (char)(c & 0x1f);
    return c == ' ' || c == '\r' || c == '\033' ? c : 0;
}

unsigned keymap_feed(struct keymap *k, uint8_t code, char out[KEYMAP_OUT])
{
    bool extended = k->extended, down = !(code & RELEASE);
    unsigned n = 0;
    char c;

    if (k->skip) {
        k->skip--;
        return 0;
    }
    k->extended = code == 0xe0;
    if (code == 0xe1) /* Pause: E1 and two codes for each of press and release */
        k->skip = 2;
    if (code >= 0xe0 && code <= 0xe1)
        return 0;
    code &= (uint8_t)~RELEASE;
    if (modifier(k, code, down, extended) || !down)
        return 0;
    if (extended)
        return extended_key(code, out);
    c = letter(k, code);
    if (c && k->alt)
        out[n++] = '\033';
    if (c)
        out[n++] = c;
    return n;
}
