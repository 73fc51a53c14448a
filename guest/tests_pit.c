/* SPDX-License-Identifier: BSD-2-Clause */
/* Group pit: what of the 8254 the emulators lack. Tested by running it bare. */
#include "guest/guest.h"

#define READS 100

static bool decimal(unsigned n)
{
    for (; n; n >>= 4)
        if ((n & 15) > 9)
            return false;
    return true;
}

static unsigned count(void)
{
    outb(0x43, 0x80); /* latches channel 2 */
    unsigned low = inb(0x42);
    return low | (unsigned)inb(0x42) << 8;
}

/* 8254 data sheet, "Control Word Format": BCD. It wraps from 0 to 9999. A binary counter shows a
 * digit above 9 sooner or later. */
static void test_decimal(void)
{
    uint8_t port61 = inb(0x61);
    unsigned n = 0;

    outb(0x61, (port61 & 0xfc) | 1);
    outb(0x43, 0xb1); /* both bytes, mode 0, decimal */
    outb(0x42, 0x00);
    outb(0x42, 0x50);
    for (unsigned i = 0; i < READS && decimal(n); i++) {
        for (unsigned j = 0; j < 500; j++)
            pause();
        n = count();
    }
    CHECK_DEVICE(decimal(n), "8254: a count of %x in decimal mode", n);
    outb(0x61, port61);
}

static const struct test tests[] = {
    {"pit.decimal", test_decimal, 1},
};
const struct test_group tests_pit = GROUP(tests);
