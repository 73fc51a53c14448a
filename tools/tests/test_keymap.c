/* SPDX-License-Identifier: BSD-2-Clause */
/* Scan codes as bytes of a terminal: letters, shift, Caps Lock, Ctrl, Alt, cursor keys, Pause. */
#include "tools/tests/tap.h"
/* Pure: compiled here, since the machine's folder is not in the host library. */
#include "arch-x86/dev/keymap.c"

static struct keymap map;
static char text[64];

static const char *type(const uint8_t *codes, size_t n)
{
    size_t len = 0;
    char out[KEYMAP_OUT];
    for (size_t i = 0; i < n; i++) {
        unsigned got = keymap_feed(&map, codes[i], out);
        memcpy(text + len, out, got);
        len += got;
    }
    text[len] = 0;
    return text;
}
#define TYPE(...) type((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

int main(void)
{
    tap_str(TYPE(0x23, 0xa3, 0x12, 0x92, 0x26, 0xa6, 0x26, 0xa6, 0x18, 0x98), "hello", "letters");
    tap_str(TYPE(0x2a, 0x23, 0xa3, 0x02, 0xaa, 0x23), "H!h", "left shift, and its release");
    tap_str(TYPE(0x36, 0x34, 0xb6, 0x34), ">.", "right shift");
    tap_str(TYPE(0x3a, 0xba, 0x1e, 0x02, 0x2a, 0x1e, 0xaa, 0x3a, 0x1e), "A1aa",
            "Caps Lock turns letters only");
    tap_str(TYPE(0x1d, 0x2e, 0x9d, 0x2e), "\003c", "Ctrl-C");
    tap_str(TYPE(0xe0, 0x1d, 0x14, 0xe0, 0x9d, 0x14), "\024t", "right Ctrl-T");
    tap_str(TYPE(0x1d, 0x1a, 0x02, 0x9d), "\033", "Ctrl-[ is Escape, Ctrl-1 nothing");
    tap_str(TYPE(0x38, 0x21, 0xb8), "\033f", "Alt-F");
    tap_str(TYPE(0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0x53), "\033[A\033[3~", "cursor up, Delete");
    tap_str(TYPE(0xe0, 0x2a, 0xe0, 0x4b, 0xe0, 0xcb, 0xe0, 0xaa, 0x1e), "\033[Da",
            "the fake shift around cursor keys is none");
    tap_str(TYPE(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x1e), "a", "Pause is nothing");
    tap_str(TYPE(0x1c, 0x0e, 0x0f, 0x01, 0x39), "\r\177\t\033 ",
            "Enter, Backspace, Tab, Esc, space");
    tap_str(TYPE(0xe0, 0x1c, 0xe0, 0x35, 0x4f, 0x53), "\r/1.", "the keypad");
    tap_str(TYPE(0x2b, 0x2a, 0x2b, 0x29, 0xaa, 0x28, 0x35), "\\|~'/", "the odd corners");
    for (unsigned i = 0; i < 100000; i++) {
        char out[KEYMAP_OUT];
        if (keymap_feed(&map, (uint8_t)(i * 2654435761u >> 16), out) > KEYMAP_OUT)
            tap_ok(false, "more bytes than there is room for");
    }
    tap_ok(true, "any sequence of codes stays in bounds");
    return tap_done();
}
