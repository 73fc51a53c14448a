/* SPDX-License-Identifier: BSD-2-Clause */
/* What real-mode code finds of a BIOS: the interrupt vectors, the data area at 40:00, and handlers
 * at F000:E000. They answer what trampolines and boot sectors ask (memory map, base memory, video
 * mode, teletype output to COM1, no key, no disk), fail everything else by the carry flag, and
 * acknowledge the interrupt controllers. Tested by tools/tests/test_bios.c. */
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/tables/tables.h"

#define BIOS_SEGMENT 0xf000u
#define BIOS_GPA 0xf0000ull
#define CODE 0xe000u
#define RESET 0xfff0u
#define BDA_GPA 0x400ull

/* The memory map of INT 15h: the number of entries, then 20 bytes each. */
#define MAP 0xf000u
#define MAP_ENTRY 20u

enum handler { /* offsets in code[] */
               IGNORE = 0x00,
               FAIL = 0x01,
               IRQ_LOW = 0x0c,
               IRQ_HIGH = 0x13,
               TIMER = 0x1c,
               INT10 = 0x2e,
               INT11 = 0x50,
               INT12 = 0x54,
               INT15 = 0x58,
               INT16 = 0xa2,
               INT1A = 0xad,
               REBOOT = 0xc2,
};

/* 16-bit code. The flags a handler returns lie at 6(%bp) once bp is pushed. */
static const uint8_t code[] = {
    /* 00: IGNORE */
    0xcf, /* iret */
    /* 01: FAIL: carry, AH = "no such function" */
    0x55,                   /* push %bp */
    0x89, 0xe5,             /* mov %sp, %bp */
    0x80, 0x4e, 0x06, 0x01, /* orb $1, 6(%bp) */
    0x5d,                   /* pop %bp */
    0xb4, 0x86,             /* mov $0x86, %ah */
    0xcf,                   /* iret */
    /* 0c: IRQ_LOW */
    0x50,       /* push %ax */
    0xb0, 0x20, /* mov $0x20, %al: end of interrupt */
    0xe6, 0x20, /* out %al, $0x20 */
    0x58,       /* pop %ax */
    0xcf,       /* iret */
    /* 13: IRQ_HIGH */
    0x50,       /* push %ax */
    0xb0, 0x20, /* mov $0x20, %al */
    0xe6, 0xa0, /* out %al, $0xa0 */
    0xe6, 0x20, /* out %al, $0x20 */
    0x58,       /* pop %ax */
    0xcf,       /* iret */
    /* 1c: TIMER: counts in 40:6C */
    0x1e,                         /* push %ds */
    0x50,                         /* push %ax */
    0x31, 0xc0,                   /* xor %ax, %ax */
    0x8e, 0xd8,                   /* mov %ax, %ds */
    0x66, 0xff, 0x06, 0x6c, 0x04, /* incl 0x46c */
    0xb0, 0x20,                   /* mov $0x20, %al */
    0xe6, 0x20,                   /* out %al, $0x20 */
    0x58,                         /* pop %ax */
    0x1f,                         /* pop %ds */
    0xcf,                         /* iret */
    /* 2e: INT10 */
    0x80, 0xfc, 0x0e, /* cmp $0x0e, %ah */
    0x74, 0x10,       /* je 43: teletype */
    0x80, 0xfc, 0x0f, /* cmp $0x0f, %ah */
    0x74, 0x12,       /* je 4a: mode */
    0x80, 0xfc, 0x03, /* cmp $3, %ah */
    0x75, 0xc3,       /* jne IGNORE */
    0xb9, 0x07, 0x06, /* mov $0x0607, %cx: cursor lines; */
    0x31, 0xd2,       /* xor %dx, %dx: at the upper left */
    0xcf,             /* iret */
    0x52,             /* 43: push %dx */
    0xba, 0xf8, 0x03, /* mov $0x3f8, %dx */
    0xee,             /* out %al, (%dx) */
    0x5a,             /* pop %dx */
    0xcf,             /* iret */
    0xb8, 0x03, 0x50, /* 4a: mov $0x5003, %ax: 80 columns, mode 3 */
    0xb7, 0x00,       /* mov $0, %bh: page */
    0xcf,             /* iret */
    /* 50: INT11: FPU, 80x25 in colour, one serial port */
    0xb8, 0x22, 0x02, /* mov $0x222, %ax */
    0xcf,             /* iret */
    /* 54: INT12: base memory in KiB, to the EBDA */
    0xb8, 0x7f, 0x02, /* mov $639, %ax */
    0xcf,             /* iret */
    /* 58: INT15: AX=E820, EDX="SMAP", EBX: index, ES:DI: buffer of 20 bytes */
    0x3d, 0x20, 0xe8,                         /* cmp $0xe820, %ax */
    0x75, 0xa4,                               /* jne FAIL */
    0x66, 0x81, 0xfa, 0x50, 0x41, 0x4d, 0x53, /* cmp $0x534d4150, %edx */
    0x75, 0x9b,                               /* jne FAIL */
    0x2e, 0x3b, 0x1e, 0x00, 0xf0,             /* cmp %cs:MAP, %bx */
    0x73, 0x94,                               /* jae FAIL */
    0x1e,                                     /* push %ds */
    0x56,                                     /* push %si */
    0x57,                                     /* push %di */
    0x0e,                                     /* push %cs */
    0x1f,                                     /* pop %ds */
    0x6b, 0xf3, 0x14,                         /* imul $20, %bx, %si */
    0x81, 0xc6, 0x04, 0xf0,                   /* add $MAP + 4, %si */
    0xb9, 0x0a, 0x00,                         /* mov $10, %cx */
    0xfc,                                     /* cld */
    0xf3, 0xa5,                               /* rep movsw */
    0x5f,                                     /* pop %di */
    0x5e,                                     /* pop %si */
    0x1f,                                     /* pop %ds */
    0x43,                                     /* inc %bx */
    0x2e, 0x3b, 0x1e, 0x00, 0xf0,             /* cmp %cs:MAP, %bx */
    0x72, 0x02,                               /* jb 8c */
    0x31, 0xdb,                               /* xor %bx, %bx: that was the last */
    0x66, 0x0f, 0xb7, 0xdb,                   /* 8c: movzwl %bx, %ebx */
    0x66, 0x89, 0xd0,                         /* mov %edx, %eax */
    0x66, 0xb9, 0x14, 0x00, 0x00, 0x00,       /* mov $20, %ecx */
    0x55,                                     /* push %bp */
    0x89, 0xe5,                               /* mov %sp, %bp */
    0x80, 0x66, 0x06, 0xfe,                   /* andb $0xfe, 6(%bp) */
    0x5d,                                     /* pop %bp */
    0xcf,                                     /* iret */
    /* a2: INT16: no key, by the zero flag */
    0x31, 0xc0,             /* xor %ax, %ax */
    0x55,                   /* push %bp */
    0x89, 0xe5,             /* mov %sp, %bp */
    0x80, 0x4e, 0x06, 0x40, /* orb $0x40, 6(%bp) */
    0x5d,                   /* pop %bp */
    0xcf,                   /* iret */
    /* ad: INT1A: AH=0, the ticks so far */
    0x08, 0xe4,             /* or %ah, %ah */
    0x0f, 0x85, 0x4e, 0xff, /* jne FAIL */
    0x31, 0xc0,             /* xor %ax, %ax: not past midnight */
    0x1e,                   /* push %ds */
    0x8e, 0xd8,             /* mov %ax, %ds */
    0x8b, 0x16, 0x6c, 0x04, /* mov 0x46c, %dx */
    0x8b, 0x0e, 0x6e, 0x04, /* mov 0x46e, %cx */
    0x1f,                   /* pop %ds */
    0xcf,                   /* iret */
    /* c2: REBOOT */
    0xba, 0xf9, 0x0c, /* mov $0xcf9, %dx */
    0xb0, 0x06,       /* mov $6, %al */
    0xee,             /* out %al, (%dx) */
    0xf4,             /* hlt */
    0xeb, 0xfd,       /* jmp to hlt */
};
_Static_assert(sizeof(code) == REBOOT + 9, "the handlers lie where the table says");

/* Which handler an interrupt vector leads to. 08 to 0F and 70 to 77 are the interrupt controllers'
 * lines; 1D to 1F and what is not named are no services. */
static enum handler handler_of(unsigned vector)
{
    if (vector == 0x08)
        return TIMER;
    if (vector > 0x08 && vector <= 0x0f)
        return IRQ_LOW;
    if (vector >= 0x70 && vector <= 0x77)
        return IRQ_HIGH;
    switch (vector) {
    case 0x10:
        return INT10;
    case 0x11:
        return INT11;
    case 0x12:
        return INT12;
    case 0x13: /* disks */
    case 0x14: /* serial ports */
    case 0x17: /* printers */
        return FAIL;
    case 0x15:
        return INT15;
    case 0x16:
        return INT16;
    case 0x18: /* no boot device */
    case 0x19: /* boot again */
        return REBOOT;
    case 0x1a:
        return INT1A;
    default:
        return IGNORE;
    }
}

static enum hv_err put(struct vm *vm, uint64_t at, uint64_t v, size_t n)
{
    return vm_copy_in(vm, gpa(at), &v, n);
}

static enum hv_err map_build(struct vm *vm)
{
    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(vm, EBDA_GPA, r);

    TRY(put(vm, BIOS_GPA + MAP, n, 4));
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = BIOS_GPA + MAP + 4 + i * MAP_ENTRY;
        TRY(put(vm, at, r[i].base, 8));
        TRY(put(vm, at + 8, r[i].end - r[i].base, 8));
        TRY(put(vm, at + 16, r[i].type, 4));
    }
    return HV_OK;
}

enum hv_err vm_bios_build(struct vm *vm)
{
    static const uint8_t reset[16] = {
        0xea,
        (CODE + REBOOT) & 0xff,
        (CODE + REBOOT) >> 8,
        0x00,
        0xf0, /* ljmp F000:REBOOT */
        '0',
        '1',
        '/',
        '0',
        '1',
        '/',
        '2',
        '6',
        0,
        0xfc, /* an AT */
    };
    for (unsigned v = 0; v < 256; v++)
        TRY(put(vm, v * 4, (uint64_t)BIOS_SEGMENT << 16 | (CODE + handler_of(v)), 4));
    TRY(put(vm, BDA_GPA, 0x3f8, 2));                /* COM1 */
    TRY(put(vm, BDA_GPA + 0x0e, EBDA_GPA >> 4, 2)); /* its segment */
    TRY(put(vm, BDA_GPA + 0x10, 0x222, 2));         /* equipment, as INT 11h */
    TRY(put(vm, BDA_GPA + 0x13, EBDA_GPA / 1024, 2));
    TRY(put(vm, BDA_GPA + 0x49, 3, 1));     /* video mode */
    TRY(put(vm, BDA_GPA + 0x4a, 80, 2));    /* columns */
    TRY(put(vm, BDA_GPA + 0x63, 0x3d4, 2)); /* CRTC */
    TRY(put(vm, BDA_GPA + 0x84, 24, 1));    /* rows less one */
    TRY(vm_copy_in(vm, gpa(BIOS_GPA + CODE), code, sizeof(code)));
    TRY(map_build(vm));
    return vm_copy_in(vm, gpa(BIOS_GPA + RESET), reset, sizeof(reset));
}
