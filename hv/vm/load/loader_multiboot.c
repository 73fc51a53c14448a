/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot 1 guests: header, ELF or address-field image, and the information structure they are
 * started with ("Multiboot Specification version 0.6.96", sections 3.1 to 3.3). Tested by
 * tools/tests/test_loader_multiboot.c and tools/tests/fuzz_kernel.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

#define MB_MAGIC 0x1badb002u
#define MB_BOOTED 0x2badb002u
#define MB_SEARCH 8192u /* the header lies in the first so many bytes */
#define MB_VIDEO BIT(2)
#define MB_ADDRESSES BIT(16)
#define MB_REQUIRED_UNKNOWN MASK(15, 3)
#define INFO_FIXED 120u     /* the fixed part, framebuffer fields included */
#define INFO_FRAMEBUFFER 88 /* 3.3: address, pitch, width, height, bpp, type */
#define FRAMEBUFFER_RGB 1
#define FRAMEBUFFER_TEXT 2

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static const uint8_t *header_find(const uint8_t *p, uint64_t len)
{
    uint64_t n = len < MB_SEARCH ? len : MB_SEARCH;
    for (uint64_t i = 0; i + 12 <= n; i += 4)
        if (get32(p + i) == MB_MAGIC && get32(p + i) + get32(p + i + 4) + get32(p + i + 8) == 0)
            return p + i;
    return NULL;
}

bool guest_multiboot_is(const void *image, uint64_t len)
{
    return header_find(image, len) != NULL;
}

/* Flags bit 16: the header itself says where everything goes (section 3.1.3). */
static enum hv_err addresses_parse(const uint8_t *image, uint64_t len, const uint8_t *h,
                                   struct guest_image *out, const char **why)
{
    uint64_t at = (uint64_t)(h - image);
    *why = "its multiboot address fields make no sense: the file is damaged or truncated";
    if (at + 32 > len)
        return HV_INVALID;
    uint64_t header = get32(h + 12), load = get32(h + 16), load_end = get32(h + 20);
    uint64_t bss_end = get32(h + 24);
    if (load > header || header - load > at)
        return HV_INVALID;
    uint64_t offset = at - (header - load);
    uint64_t bytes = load_end ? load_end - load : len - offset;
    if ((load_end && load_end < load) || bytes > len - offset ||
        (bss_end && bss_end < load + bytes) || load + bytes > BIT(32))
        return HV_INVALID;
    out->part[0] = (struct guest_part){load, offset, bytes, bss_end ? bss_end - load - bytes : 0};
    out->nparts = 1;
    out->entry = get32(h + 28);
    return HV_OK;
}

enum hv_err guest_multiboot_parse(const void *image, uint64_t len, struct guest_image *out,
                                  const char **why)
{
    const uint8_t *h = header_find(image, len);

    memset(out, 0, sizeof(*out));
    *why = "it has no multiboot header in its first 8 KiB";
    if (!h)
        return HV_INVALID;
    *why = "its multiboot header requires a feature that does not exist in version 1: clear the "
           "unknown flags";
    if (get32(h + 4) & MB_REQUIRED_UNKNOWN)
        return HV_UNSUPPORTED;
    if (get32(h + 4) & MB_ADDRESSES) {
        TRY(addresses_parse(image, len, h, out, why));
        return guest_image_check(out, why);
    }
    *why = "it is neither ELF nor has address fields in its multiboot header: set flag bit 16 or "
           "give the ELF file";
    if (!elf_is(image, len))
        return HV_UNSUPPORTED;
    TRY(elf_parse(image, len, out, why));
    return guest_image_check(out, why);
}

static void mmap_build(const struct vm *vm)
{
    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(vm, INFO_GPA, r);
    uint32_t at = info_take(24 * n);

    for (unsigned i = 0; at && i < n; i++) {
        uint32_t e = at + 24 * i;
        info_put(e, 20, 4); /* size of the rest */
        info_put(e + 4, r[i].base, 8);
        info_put(e + 12, r[i].end - r[i].base, 8);
        info_put(e + 20, r[i].type, 4);
    }
    info_put(44, at ? 24 * n : 0, 4);
    info_put(48, at ? INFO_GPA + at : 0, 4);
}

/* The module list; false: the strings do not fit. */
static bool modules_build(const struct vm_files *f, const uint64_t *at)
{
    uint32_t list = info_take(16 * f->nmods);

    info_put(20, f->nmods, 4);
    info_put(24, list ? INFO_GPA + list : 0, 4);
    for (unsigned i = 0; i < f->nmods; i++) {
        uint32_t s = info_string("", f->mod_words[i].cmdline, f->mod_words[i].cmdline_len);
        if (!list || !s)
            return false;
        info_put(list + 16 * i, at[i], 4);
        info_put(list + 16 * i + 4, at[i] + f->mod[i]->len, 4);
        info_put(list + 16 * i + 8, INFO_GPA + s, 4);
    }
    return true;
}

void guest_framebuffer(const struct vm_screen *s, uint32_t at, uint32_t colours)
{
    const struct vm_screen text = {
        .base = 0xb8000, .pitch = 160, .width = 80, .height = 25, .bpp = 16};
    bool graphics = s->base != 0;

    s = graphics ? s : &text;
    info_put(at, s->base, 8);
    info_put(at + 8, s->pitch, 4);
    info_put(at + 12, s->width, 4);
    info_put(at + 16, s->height, 4);
    info_put(at + 20, s->bpp, 1);
    info_put(at + 21, graphics ? FRAMEBUFFER_RGB : FRAMEBUFFER_TEXT, 1);
    for (uint32_t i = 0; graphics && i < sizeof(s->colour); i++)
        info_put(colours + i, s->colour[i], 1);
}

static enum hv_err info_build(struct vm *vm, const struct vm_files *f, const uint64_t *at,
                              bool video)
{
    uint32_t line, name;
    /* memory, command line, modules, map, name; framebuffer */
    uint64_t flags = BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9) | (video ? BIT(12) : 0);

    info_start(INFO_FIXED);
    mmap_build(vm);
    name = info_string("", "Patchbay", 8);
    line = info_string("/kernel", f->kernel_words.cmdline, f->kernel_words.cmdline_len);
    if (!line || !name || !modules_build(f, at)) {
        log_err("vm", "the command lines of the guest's kernel and modules are too long together: "
                      "shorten them");
        return HV_INVALID;
    }
    if (video)
        guest_framebuffer(&vm->screen, INFO_FRAMEBUFFER, INFO_FRAMEBUFFER + 22);
    info_put(0, flags, 4);
    info_put(4, 639, 4);
    info_put(8, (vm->ram_low_end - 0x100000) / 1024, 4);
    info_put(16, INFO_GPA + line, 4);
    info_put(64, INFO_GPA + name, 4);
    return info_commit(vm);
}

enum hv_err guest_multiboot_load(struct vm *vm, const struct vm_files *f)
{
    const uint8_t *image = port_ptr(f->kernel->base);
    uint64_t at[VM_MAX_MODULES];
    struct guest_image g;
    const char *why;
    enum hv_err err = guest_multiboot_parse(image, f->kernel->len, &g, &why);

    if (err != HV_OK) {
        log_err("vm", "kernel module (%lu bytes): %s", f->kernel->len, why);
        return err;
    }
    TRY(guest_image_load(vm, &g, image));
    TRY(guest_modules_load(vm, &g, f, at));
    TRY(info_build(vm, f, at, get32(header_find(image, f->kernel->len) + 4) & MB_VIDEO));
    TRY(guest_finish(vm, g.entry, MB_BOOTED, INFO_GPA));
    log_info("vm", "multiboot kernel, %u parts, entry 0x%lx, %u modules", g.nparts, g.entry,
             f->nmods);
    return HV_OK;
}
