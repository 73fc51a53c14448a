/* SPDX-License-Identifier: BSD-2-Clause */
/* Group x87: errors of a processor with CR0.NE=0, which a PC reports by interrupt 13 and port F0,
 * and with CR0.NE=1, where they are #MF. Tested by running it bare. */
#include "guest/guest.h"

#define PIC_BASE 0x60
#define IRQ_FERR 13
#define CR0_EM_TS 0xcull

static volatile unsigned interrupts, errors;
static volatile uint16_t status;

static void fpu_clear(void)
{
    asm volatile("fnclex" : : : "memory");
}

static bool hook(struct trapframe *f, uint64_t cr2)
{
    uint16_t fsw;

    (void)cr2;
    if (f->vector != PIC_BASE + IRQ_FERR && f->vector != 16)
        return false;
    asm volatile("fnstsw %0" : "=m"(fsw));
    status = fsw;
    if (f->vector == 16) {
        errors++;
    } else {
        interrupts++;
        outb(0xf0, 0);
        outb(0xa0, 0x20);
        outb(0x20, 0x20);
    }
    fpu_clear();
    return true;
}

/* 1 / 0 with the exception unmasked; the error stands until the FWAIT. */
static void divide(void)
{
    static const uint16_t unmasked = 0x37b;

    asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait; fninit"
                 :
                 : "m"(unmasked)
                 : "memory");
}

static void pics(void)
{
    static const uint8_t words[][2] = {{0x20, 0x11}, {0x21, PIC_BASE},     {0x21, 4}, {0x21, 1},
                                       {0xa0, 0x11}, {0xa1, PIC_BASE + 8}, {0xa1, 2}, {0xa1, 1},
                                       {0x21, 0xfb}, {0xa1, 0xdf}};
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        outb(words[i][0], words[i][1]);
}

static void test_ferr(void)
{
    uint64_t cr0 = read_cr0();

    if (!on_patchbay() && !options.bochs) {
        test_skip("bare QEMU ends itself (7.2) or keeps IGNNE# for ever (10)");
        return;
    }
    cli();
    interrupts = errors = 0;
    pics();
    this_cpu()->hook = hook;
    apic_write(APIC_LVT_LINT0, 0x700); /* virtual wire */
    write_cr0(cr0 & ~(CR0_NE | CR0_EM_TS));
    CHECK_EQ(read_cr0() & CR0_NE, 0, "NE reads back");
    sti();
    divide();
    CHECK_EQ(interrupts, 1, "interrupt 13");
    CHECK(status & 0x80, "the error stands in its handler: %x", status);
    divide();
    CHECK_EQ(interrupts, 2, "another one");
    CHECK_EQ(errors, 0, "no #MF");
    write_cr0((cr0 | CR0_NE) & ~CR0_EM_TS);
    divide();
    CHECK_EQ(errors, 1, "with NE it is #MF");
    CHECK_EQ(interrupts, 2, "... and no interrupt");
    cli();
    apic_write(APIC_LVT_LINT0, 0x10000);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    this_cpu()->hook = NULL;
    write_cr0(cr0);
    sti();
}

static const struct test tests[] = {
    {"x87.ferr", test_ferr, 1},
};
const struct test_group tests_x87 = GROUP(tests);
