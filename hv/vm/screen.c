/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot framebuffer as the guest's screen (display=guest): device memory at its own address.
 * Tested by tools/tests/test_screen.c and the display steps of `make check`. */
#include "hv/vm/screen.h"
#include "hv/mem/phys.h"

#define MIB ((uint64_t)1 << 20)
#define FOUR_GIB 0x100000000ull
#define PLATFORM_BASE 0xfec00000ull /* I/O APIC, HPET, local APICs, firmware, up to 4 GiB */
#define BYTES_MAX (512 * MIB)

static bool overlaps(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end;
}

/* Does it lie in what is RAM, ours or the guest's to be? */
static bool in_ram(uint64_t base, uint64_t end)
{
    hpa_t at;
    uint64_t len;

    for (unsigned i = 0; phys_range(i, &at, &len); i++)
        if (overlaps(base, end, at.v, at.v + len))
            return true;
    return false;
}

const char *vm_screen_give(struct vm *vm, const struct vm_screen *s)
{
    uint64_t bytes = (uint64_t)s->pitch * s->height, end;

    if (s->base == 0 || bytes == 0)
        return "the boot loader has set no graphics mode: boot by UEFI, or put 'insmod all_video' "
               "before multiboot2 in GRUB's menu";
    if (s->bpp < 15 || s->bpp > 32 || s->width > s->pitch / ((s->bpp + 7u) / 8))
        return "the boot loader's graphics mode has no pixels of 15 to 32 bits: set another "
               "gfxpayload in GRUB's menu";
    bytes = (bytes + PAGE_MASK) & ~PAGE_MASK;
    if (s->base & PAGE_MASK || bytes > BYTES_MAX || __builtin_add_overflow(s->base, bytes, &end) ||
        s->base < MIB || overlaps(s->base, end, PLATFORM_BASE, FOUR_GIB) || in_ram(s->base, end))
        return "the boot loader's framebuffer lies where no screen's memory can be: leave "
               "display=guest out";
    vm->screen = *s;
    vm->p2m.screen =
        (struct p2m_device){gpa_gfn(gpa(s->base)), hpa_pfn(hpa(s->base)), bytes >> PAGE_SHIFT};
    return NULL;
}
