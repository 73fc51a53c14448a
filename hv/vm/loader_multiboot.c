/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot 1 guests: header, ELF or address-field image, modules, and the information structure
 * they are started with ("Multiboot Specification version 0.6.96", sections 3.1 to 3.3). Tested by
 * tools/tests/test_loader_multiboot.c . */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/bootparams.h"
#include "hv/vm/loader.h"

#define MB_MAGIC 0x1badb002u
#define MB_BOOTED 0x2badb002u
#define MB_SEARCH 8192u /* the header lies in the first so many bytes */
#define MB_ADDRESSES BIT(16)
#define MB_REQUIRED_UNKNOWN MASK(15, 3)
#define INFO_GPA 0x9d000ull /* information structure, below the EBDA */
#define INFO_ROOM 0x2000u
#define LOW_END 0x9d000ull /* images keep below this, or above 1 MiB */

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
    *why = "its multiboot address fields make no sense: the file is damaged";
    if (at + 32 > len)
        return HV_INVALID;
    uint64_t header = get32(h + 12), load = get32(h + 16), load_end = get32(h + 20);
    uint64_t bss_end = get32(h + 24);
    if (load > header || header - load > at)
        return HV_INVALID;
    uint64_t offset = at - (header - load);
    uint64_t bytes = load_end ? load_end - load : len - offset;
    if ((load_end && load_end < load) || bytes > len - offset ||
        (bss_end && bss_end < load + bytes))
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
    *why = "its multiboot header requires a feature that does not exist in version 1";
    if (get32(h + 4) & MB_REQUIRED_UNKNOWN)
        return HV_UNSUPPORTED;
    if (get32(h + 4) & MB_ADDRESSES)
        return addresses_parse(image, len, h, out, why);
    *why = "it is neither ELF nor has address fields in its multiboot header";
    return elf_is(image, len) ? elf_parse(image, len, out, why) : HV_UNSUPPORTED;
}

static bool part_fits(const struct vm *vm, const struct guest_part *g)
{
    uint64_t end = g->gpa + g->file_bytes + g->zero_bytes;
    return (end <= LOW_END && g->gpa >= 0x1000) || (g->gpa >= 0x100000 && end <= vm->ram_low_end);
}

static enum hv_err zero(struct vm *vm, uint64_t at, uint64_t n)
{
    static const uint8_t zeros[PAGE_SIZE];
    while (n) {
        uint64_t step = n < sizeof(zeros) ? n : sizeof(zeros);
        TRY(vm_copy_in(vm, gpa(at), zeros, (size_t)step));
        at += step;
        n -= step;
    }
    return HV_OK;
}

/* Copies the image; *end: first page above it and above 1 MiB. */
static enum hv_err image_load(struct vm *vm, const struct guest_image *g, const uint8_t *image,
                              uint64_t *end)
{
    *end = 0x100000;
    for (unsigned i = 0; i < g->nparts; i++) {
        const struct guest_part *s = &g->part[i];
        if (!part_fits(vm, s)) {
            log_err("vm",
                    "kernel module: it wants 0x%lx bytes at 0x%lx, where the guest has no free "
                    "RAM: give it "
                    "more with mem=, or link it elsewhere",
                    s->file_bytes + s->zero_bytes, s->gpa);
            return HV_NOMEM;
        }
        TRY(vm_copy_in(vm, gpa(s->gpa), image + s->offset, (size_t)s->file_bytes));
        TRY(zero(vm, s->gpa + s->file_bytes, s->zero_bytes));
        uint64_t e = (s->gpa + s->file_bytes + s->zero_bytes + PAGE_MASK) & ~PAGE_MASK;
        *end = e > *end ? e : *end;
    }
    return HV_OK;
}

/* The information structure under construction. */
struct info {
    uint8_t page[INFO_ROOM];
    uint32_t used;
};
static struct info info;

static void info_put(uint32_t at, uint64_t v, unsigned bytes)
{
    memcpy(info.page + at, &v, bytes);
}

/* Room for n bytes, 8-aligned; 0 if there is none. */
static uint32_t info_take(uint32_t n)
{
    uint32_t at = (info.used + 7) & ~7u;
    if (n > INFO_ROOM - at)
        return 0;
    info.used = at + n;
    return at;
}

/* "/kernel words" or "words" as a string in the structure; its guest address, 0 if it does not fit.
 */
static uint64_t info_string(const char *first, const char *s, size_t n)
{
    size_t head = strlen(first);
    uint32_t at = info_take((uint32_t)(head + n + 2 < INFO_ROOM ? head + n + 2 : INFO_ROOM));
    if (!at)
        return 0;
    memcpy(info.page + at, first, head);
    if (head && n)
        info.page[at + head++] = ' ';
    memcpy(info.page + at + head, s, n);
    return INFO_GPA + at;
}

static void mmap_entry(uint64_t base, uint64_t end, uint32_t type)
{
    uint32_t at = base < end ? info.used : 0;
    if (!at || INFO_ROOM - at < 24)
        return;
    info.used += 24;
    info_put(at, 20, 4); /* size of the rest */
    info_put(at + 4, base, 8);
    info_put(at + 12, end - base, 8);
    info_put(at + 20, type, 4);
}

static void mmap_build(const struct vm *vm)
{
    uint32_t at = info_take(0);
    mmap_entry(0, 0x9d000, E820_RAM);
    mmap_entry(0x9d000, 0xa0000, E820_RESERVED);
    mmap_entry(0xe0000, 0x100000, E820_RESERVED);
    mmap_entry(0x100000, vm->ram_low_end, E820_RAM);
    mmap_entry(0xfec00000, 0x100000000, E820_RESERVED);
    mmap_entry(0x100000000, vm->ram_high_end, E820_RAM);
    info_put(44, info.used - at, 4);
    info_put(48, INFO_GPA + at, 4);
}

static enum hv_err modules_build(struct vm *vm, const struct vm_module *mods, unsigned n,
                                 const struct module_words *words, uint64_t at)
{
    uint32_t list = info_take(16 * n);
    info_put(20, n, 4);
    info_put(24, list ? INFO_GPA + list : 0, 4);
    for (unsigned i = 0; i < n; i++) {
        uint64_t s = info_string("", words[i].cmdline, words[i].cmdline_len);
        if (!list || !s || at + mods[i].len > vm->ram_low_end) {
            log_err("vm",
                    "module %u (%lu KiB) does not fit: give the guest more RAM with mem=, or "
                    "shorten the modules' strings",
                    i, mods[i].len / 1024);
            return HV_NOMEM;
        }
        TRY(vm_copy_in(vm, gpa(at), port_ptr(mods[i].base), (size_t)mods[i].len));
        info_put(list + 16 * i, at, 4);
        info_put(list + 16 * i + 4, at + mods[i].len, 4);
        info_put(list + 16 * i + 8, s, 4);
        at = (at + mods[i].len + PAGE_MASK) & ~PAGE_MASK;
    }
    return HV_OK;
}

enum hv_err guest_multiboot_load(struct vm *vm, const struct vm_module *kernel,
                                 const struct module_words *words, const struct vm_module *mods,
                                 const struct module_words *mod_words, unsigned nmods)
{
    const uint8_t *image = port_ptr(kernel->base);
    struct guest_image g;
    const char *why;
    uint64_t end, line;
    gpa_t rsdp;
    enum hv_err err = guest_multiboot_parse(image, kernel->len, &g, &why);

    if (err != HV_OK) {
        log_err("vm", "kernel module (%lu bytes): %s", kernel->len, why);
        return err;
    }
    TRY(image_load(vm, &g, image, &end));
    memset(&info, 0, sizeof(info));
    info.used = 88; /* the fixed part */
    line = info_string("/kernel", words->cmdline, words->cmdline_len);
    if (!line) {
        log_err("vm", "the guest's command line is too long: shorten it");
        return HV_INVALID;
    }
    info_put(0, BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9),
             4); /* memory, line, modules, map, name */
    info_put(4, 639, 4);
    info_put(8, (vm->ram_low_end - 0x100000) / 1024, 4);
    info_put(16, line, 4);
    info_put(64, info_string("", "Patchbay", 8), 4);
    TRY(modules_build(vm, mods, nmods, mod_words, end));
    mmap_build(vm);
    TRY(vm_copy_in(vm, gpa(INFO_GPA), info.page, sizeof(info.page)));
    TRY(bda_build(vm));
    TRY(vm_acpi_build(vm, &rsdp));
    TRY(vm_mptable_build(vm));
    vm->entry_long = false;
    vm->entry_rip = g.entry;
    vm->entry_rsi = 0;
    vm->entry_rsp = 0;
    vm->entry_rax = MB_BOOTED;
    vm->entry_rbx = INFO_GPA;
    log_info("vm", "multiboot kernel, %u parts, entry 0x%lx, %u modules", g.nparts, g.entry, nmods);
    return HV_OK;
}
