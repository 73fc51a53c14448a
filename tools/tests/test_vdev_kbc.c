/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller: its own commands, the keyboard's answers, interrupts, A20. (Resets are
 * in test_vdev_misc.c.) */
#include "tools/tests/test_vdev_rig.h"

/* The bytes that wait, as one number, first byte highest. */
static uint64_t answers(void)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < 8 && (inb(0x64) & 1); i++)
        all = all << 8 | inb(0x60);
    return all;
}

static void test_controller(void)
{
    rig_init(1);
    tap_eq(inb(0x64) & 3, 0, "both buffers empty");
    outb(0x64, 0xaa);
    tap_eq(inb(0x64) & 0x2d, 0x0d, "answer to a command; self test passed");
    tap_eq(inb(0x60), 0x55, "it says so");
    tap_eq(inb(0x64) & 1, 0, "taken");
    tap_eq(inb(0x60), 0x55, "the last byte reads again");
    outb(0x64, 0x60), outb(0x60, 0x45);
    tap_eq(inb(0x64) & 8, 0, "last written was data");
    outb(0x64, 0x20);
    tap_eq(answers(), 0x45, "command byte");
    outb(0x64, 0xad), outb(0x64, 0xa7), outb(0x64, 0x20);
    tap_eq(answers(), 0x75, "interfaces off");
    outb(0x64, 0xae), outb(0x64, 0xa8), outb(0x64, 0x20);
    tap_eq(answers(), 0x45, "and on");
    outb(0x64, 0x65), outb(0x60, 0xa5), outb(0x64, 0x25);
    tap_eq(answers(), 0xa5, "controller memory");
    outb(0x64, 0xab);
    tap_eq(inb(0x64) & 1, 1, "interface test answers");
    tap_eq(inb(0x60), 0, "lines fine");
    outb(0x64, 0xc0);
    tap_eq(answers(), 0x80, "not locked");
    outb(0x64, 0xd2), outb(0x60, 0x1c);
    tap_eq(answers(), 0x1c, "echo into the output buffer");
    outb(0x64, 0xd3), outb(0x60, 0x1d);
    tap_eq(inb(0x64) & 0x21, 0x21, "as if from the mouse");
    tap_eq(answers(), 0x1d, "with its byte");
    outb(0x64, 0xd4), outb(0x60, 0xff);
    tap_eq(inb(0x64) & 0x61, 0x61, "no mouse: time-out");
    tap_eq(answers(), 0xfe, "with its code");
    tap_eq(inb(0x64) & 0x61, 0, "taken");
}

static void test_a20(void)
{
    rig_init(1);
    outb(0x64, 0xd0);
    tap_eq(inb(0x60) & 3, 3, "A20 on, not in reset");
    outb(0x64, 0xdd), outb(0x64, 0xd0);
    tap_eq(inb(0x60) & 3, 1, "A20 off by DD");
    tap_eq(inb(0x92), 0, "port 92 agrees");
    outb(0x64, 0xdf);
    tap_eq(inb(0x92), 2, "on by DF");
    outb(0x64, 0xd1), outb(0x60, 0xdd);
    tap_eq(inb(0x92), 0, "off by the output port");
    outb(0x92, 2);
    outb(0x64, 0xd0);
    tap_eq(inb(0x60) & 3, 3, "on by port 92");
}

static void test_keyboard(void)
{
    static const struct {
        uint8_t bytes[2];
        unsigned n;
        uint64_t answer;
        const char *what;
    } c[] = {
        {{0xff}, 1, 0xfaaa, "reset"},
        {{0xee}, 1, 0xee, "echo"},
        {{0xf2}, 1, 0xfaab83, "identify"},
        {{0xed, 0x07}, 2, 0xfafa, "lights"},
        {{0xf3, 0x20}, 2, 0xfafa, "repeat rate"},
        {{0xf4}, 1, 0xfa, "enable"},
        {{0xf5}, 1, 0xfa, "disable"},
        {{0xf6}, 1, 0xfa, "defaults"},
        {{0xf0, 0x00}, 2, 0xfafa02, "scan code set 2"},
        {{0xf0, 0x01}, 2, 0xfafa, "choose set 1"},
        {{0xf0, 0x00}, 2, 0xfafa01, "it is"},
        {{0xed, 0xf4}, 2, 0xfafa, "a command instead of the argument"},
        {{0xfe}, 1, 0xfe, "resend"},
        {{0x05}, 1, 0xfe, "no such command"},
    };
    rig_init(1);
    outb(0x64, 0x60), outb(0x60, 0x04);
    for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
        for (unsigned k = 0; k < c[i].n; k++)
            outb(0x60, c[i].bytes[k]);
        tap_eq(answers(), c[i].answer, c[i].what);
    }
    outb(0x64, 0x60), outb(0x60, 0x40);
    outb(0x60, 0xf2);
    tap_eq(answers(), 0xfaab41, "identify, translated");
    for (unsigned i = 0; i < 40; i++)
        outb(0x60, 0xee);
    for (unsigned i = 0; i < VKBC_FIFO; i++)
        (void)inb(0x60);
    tap_eq(inb(0x64) & 1, 0, "what does not fit is lost");
}

/* Interrupt 1 is an edge for every byte, if the command byte allows it. */
static void test_interrupt(void)
{
    rig_init(1);
    pic_setup(1, 0xfd, 0xff);
    outb(0x64, 0x20);
    tap_eq(answers(), 0x65, "command byte as firmware leaves it");
    tap_eq(vlapic_accept(&pc, 0), -1, "a byte that was taken asks no more");
    outb(0x64, 0x60), outb(0x60, 0x00);
    outb(0x60, 0xff);
    tap_ok(!atomic_load(&pc.pic.out), "off");
    tap_eq(answers(), 0xfaaa, "answer");
    outb(0x64, 0x60), outb(0x60, 0x01);
    outb(0x60, 0xff);
    tap_eq(vlapic_accept(&pc, 0), 0x31, "interrupt 1");
    tap_eq(inb(0x60), 0xfa, "first byte");
    outb(0x20, 0x20);
    tap_eq(vlapic_accept(&pc, 0), 0x31, "again for the second");
    tap_eq(inb(0x60), 0xaa, "second byte");
    outb(0x20, 0x20);
    tap_eq(vlapic_accept(&pc, 0), -1, "no more");
    outb(0x64, 0xd3), outb(0x60, 1);
    tap_eq(vlapic_accept(&pc, 0), -1, "the mouse has another line");
}

int main(void)
{
    test_controller();
    test_a20();
    test_keyboard();
    test_interrupt();
    return tap_done();
}
