/* SPDX-License-Identifier: BSD-2-Clause */
/* Scan codes to what a terminal sends. Tested by tools/tests/test_keymap.c. */
#pragma once
#include "hv/base/types.h"

#define KEYMAP_OUT 8
struct keymap {
    bool left_shift, right_shift, left_ctrl, right_ctrl, alt, caps;
    bool extended; /* after E0 */
    uint8_t skip;  /* codes of the Pause key still to come */
};
/* One scan code of set 1 (as the i8042 translates), US layout. Returns how many bytes it gives in
 * out: none for a release or a modifier, several for cursor keys (ANSI) and Alt (ESC before). */
unsigned keymap_feed(struct keymap *k, uint8_t code, char out[KEYMAP_OUT]);
