/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot2 information (GRUB, BIOS and UEFI). Tested by tools/tests/fuzz_multiboot.c and by
 * booting the ISO on both firmwares. */
#include "arch-x86/defs/multiboot.h"
#include "arch-x86/plat/memmap.h"
#include "boot/multiboot.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/machine.h"

#define INFO_MAX (1u << 20)
#define CMDLINE_MAX 4095u
#define MODULE_STRING_MAX 2559u
#define LIMIT 0xffffffffull
#define RSDP_BYTES 64u

/* GRUB's copy of the RSDP, kept: the original is not told. */
static _Alignas(16) char rsdp_copy[RSDP_BYTES];
static bool rsdp_new;

static void parse_mmap(const char *tag, uint32_t size)
{
    struct mb2_mmap head;
    struct mb2_mmap_entry e;

    if (size < sizeof(head))
        return;
    memcpy(&head, tag, sizeof(head));
    if (head.entry_size < sizeof(e))
        return;
    for (uint32_t off = sizeof(head); size - off >= head.entry_size; off += head.entry_size) {
        memcpy(&e, tag + off, sizeof(e));
        if (e.type == MB_MEMORY_AVAILABLE)
            memmap_ram(e.base, e.len);
        else
            memmap_keep_out(e.base, e.len);
    }
}

/* The multiboot map may call runtime services' memory available; the firmware's own map decides. */
static void parse_efi_mmap(const char *tag, uint32_t size)
{
    struct mb2_efi_mmap head;
    struct efi_memory_desc d;

    if (size < sizeof(head))
        return;
    memcpy(&head, tag, sizeof(head));
    if (head.desc_size < sizeof(d))
        return;
    for (uint32_t off = sizeof(head); size - off >= head.desc_size; off += head.desc_size) {
        memcpy(&d, tag + off, sizeof(d));
        bool ours =
            (d.type >= EFI_LOADER_CODE && d.type <= EFI_BS_DATA) || d.type == EFI_CONVENTIONAL;
        if (!ours && d.npages <= UINT64_MAX >> PAGE_SHIFT)
            memmap_keep_out(d.base, d.npages << PAGE_SHIFT);
    }
    boot_info.uefi = true;
}

static void parse_framebuffer(const char *tag, uint32_t size)
{
    struct mb2_framebuffer f;
    if (size < 31)
        return;
    memcpy(&f, tag, 31 < sizeof(f) ? 31 : sizeof(f));
    boot_info.fb_addr = f.addr;
    boot_info.fb_pitch = f.pitch;
    boot_info.fb_width = f.width;
    boot_info.fb_height = f.height;
    boot_info.fb_bpp = f.bpp;
    boot_info.fb_type = f.type;
    if (size >= MB2_FRAMEBUFFER_COLOUR + sizeof(boot_info.fb_colour))
        memcpy(boot_info.fb_colour, tag + MB2_FRAMEBUFFER_COLOUR, sizeof(boot_info.fb_colour));
}

static void parse_rsdp(const char *tag, uint32_t size, bool is_new)
{
    uint32_t n = size - (uint32_t)sizeof(struct mb2_tag);
    if (rsdp_new && !is_new)
        return;
    rsdp_new = is_new;
    memset(rsdp_copy, 0, sizeof(rsdp_copy));
    memcpy(rsdp_copy, tag + sizeof(struct mb2_tag), n < RSDP_BYTES ? n : RSDP_BYTES);
    boot_info.rsdp = hpa((uint64_t)(uintptr_t)rsdp_copy);
}

static void parse_tag(const char *tag, const struct mb2_tag *t)
{
    const char *body = tag + sizeof(*t);
    size_t n = t->size - sizeof(*t);
    struct mb2_module m;

    switch (t->type) {
    case MB2_TAG_CMDLINE:
        boot_info.cmdline = multiboot_string(body, n < CMDLINE_MAX ? n : CMDLINE_MAX);
        break;
    case MB2_TAG_LOADER:
        boot_info.loader = multiboot_string(body, n < 63 ? n : 63);
        break;
    case MB2_TAG_MODULE:
        if (t->size < sizeof(m))
            break;
        memcpy(&m, tag, sizeof(m));
        n = t->size - sizeof(m);
        multiboot_module(m.start, m.end, tag + sizeof(m),
                         n < MODULE_STRING_MAX ? n : MODULE_STRING_MAX);
        break;
    case MB2_TAG_MMAP:
        parse_mmap(tag, t->size);
        break;
    case MB2_TAG_EFI_MMAP:
        parse_efi_mmap(tag, t->size);
        break;
    case MB2_TAG_FRAMEBUFFER:
        parse_framebuffer(tag, t->size);
        break;
    case MB2_TAG_ACPI_OLD:
    case MB2_TAG_ACPI_NEW:
        parse_rsdp(tag, t->size, t->type == MB2_TAG_ACPI_NEW);
        break;
    case MB2_TAG_EFI32:
    case MB2_TAG_EFI64:
        boot_info.uefi = true;
        break;
    default: /* not needed */
        break;
    }
}

bool multiboot2_parse(uint64_t info)
{
    const char *base = port_ptr(hpa(info));
    struct mb2_info head;
    struct mb2_tag t;

    if (info == 0 || (info & 7) || info + sizeof(head) > LIMIT)
        return false;
    memcpy(&head, base, sizeof(head));
    if (head.total_size < sizeof(head) || head.total_size > INFO_MAX ||
        info + head.total_size > LIMIT) {
        log_err("boot", "multiboot2 information of %u bytes: damaged", head.total_size);
        return false;
    }
    for (uint32_t off = sizeof(head); head.total_size - off >= sizeof(t);) {
        memcpy(&t, base + off, sizeof(t));
        if (t.type == MB2_TAG_END)
            return true;
        if (t.size < sizeof(t) || t.size > head.total_size - off) {
            log_err("boot", "multiboot2 tag %u of %u bytes: damaged", t.type, t.size);
            return false;
        }
        parse_tag(base + off, &t);
        uint32_t step = (t.size + 7) & ~7u;
        off = step > head.total_size - off ? head.total_size : off + step;
    }
    return true; /* no end tag: what there was has been read */
}
