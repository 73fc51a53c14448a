/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot2 guests: the tags of the header, ELF or address-tag image, and the tags they are
 * started with ("Multiboot2 Specification version 2.0", sections 3.1 and 3.6). Tested by
 * tools/tests/test_loader_kinds.c and tools/tests/fuzz_kernel.c. */
#include "arch-x86/defs/multiboot.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

#define MB2_SEARCH 32768u
#define MB2_HEADER_ADDRESS 2
#define MB2_HEADER_ENTRY 3
#define MB2_HEADER_CONSOLE 4
#define MB2_HEADER_EFI_BS 7
#define MB2_HEADER_ENTRY_EFI32 8
#define MB2_HEADER_ENTRY_EFI64 9
#define MB2_HEADER_RELOCATABLE 10
#define MB2_TAG_BASIC_MEMORY 4
#define MB2_TAG_LOAD_BASE 21

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

/* 3.1.1: 8-aligned, architecture 0 (32-bit protected mode of i386). *bytes: the header's length. */
static const uint8_t *header_find(const uint8_t *p, uint64_t len, uint64_t *bytes)
{
    uint64_t n = len < MB2_SEARCH ? len : MB2_SEARCH;
    for (uint64_t i = 0; i + 16 <= n; i += 8) {
        uint64_t sum = get(p + i, 4) + get(p + i + 4, 4) + get(p + i + 8, 4) + get(p + i + 12, 4);
        *bytes = get(p + i + 8, 4);
        if (get(p + i, 4) == MB2_HEADER_MAGIC && (uint32_t)sum == 0 && get(p + i + 4, 4) == 0 &&
            *bytes >= 16 && *bytes <= n - i)
            return p + i;
    }
    return NULL;
}

bool guest_multiboot2_is(const void *image, uint64_t len)
{
    uint64_t bytes;
    return header_find(image, len, &bytes) != NULL;
}

struct wishes { /* what the header's tags say */
    const uint8_t *address;
    uint64_t entry;
    bool has_entry;
};

/* The information tags that we give; 3.1.3 lets a kernel demand some. */
static bool tag_given(uint64_t type)
{
    return type == MB2_TAG_END || type == MB2_TAG_CMDLINE || type == MB2_TAG_LOADER ||
           type == MB2_TAG_MODULE || type == MB2_TAG_BASIC_MEMORY || type == MB2_TAG_MMAP ||
           type == MB2_TAG_FRAMEBUFFER || type == MB2_TAG_ACPI_NEW || type == MB2_TAG_LOAD_BASE;
}

static bool wish_take(const uint8_t *t, uint64_t size, struct wishes *w)
{
    bool optional = get(t + 2, 2) & MB2_HEADER_OPTIONAL;

    switch (get(t, 2)) {
    case MB2_HEADER_INFO_REQUEST:
        for (uint64_t i = 8; i + 4 <= size; i += 4)
            if (!optional && !tag_given(get(t + i, 4)))
                return false;
        return true;
    case MB2_HEADER_ADDRESS:
        if (size < 24)
            return false;
        w->address = t;
        return true;
    case MB2_HEADER_ENTRY:
        if (size < 12)
            return false;
        w->entry = get(t + 8, 4);
        w->has_entry = true;
        return true;
    case MB2_HEADER_CONSOLE:
    case MB2_HEADER_FRAMEBUFFER:
    case MB2_HEADER_MODULE_ALIGN:
    case MB2_HEADER_RELOCATABLE: /* it may be moved, it need not */
    case MB2_HEADER_ENTRY_EFI32: /* for EFI loaders; others use the ordinary entry */
    case MB2_HEADER_ENTRY_EFI64:
        return true;
    case MB2_HEADER_EFI_BS:
    default:
        return optional;
    }
}

static enum hv_err wishes_get(const uint8_t *h, uint64_t bytes, struct wishes *w, const char **why)
{
    memset(w, 0, sizeof(*w));
    for (uint64_t at = 16; at + 8 <= bytes;) {
        uint64_t size = get(h + at + 4, 4);
        *why = "the tags of its multiboot2 header make no sense: the file is damaged";
        if (size < 8 || size > bytes - at)
            return HV_INVALID;
        if (get(h + at, 2) == MB2_HEADER_END)
            return HV_OK;
        *why = "its multiboot2 header requires something that does not exist here: mark the tag as "
               "optional";
        if (!wish_take(h + at, size, w))
            return HV_UNSUPPORTED;
        at += (size + 7) & ~7ull;
    }
    return HV_OK;
}

/* 3.1.5: header_addr, load_addr (-1: from the file's beginning), load_end_addr, bss_end_addr. */
static enum hv_err address_parse(const struct wishes *w, uint64_t at, uint64_t len,
                                 struct guest_image *out, const char **why)
{
    uint64_t header = get(w->address + 8, 4), load = get(w->address + 12, 4);
    uint64_t load_end = get(w->address + 16, 4), bss_end = get(w->address + 20, 4), offset, bytes;

    *why = "its multiboot2 address tag makes no sense: the file is damaged or truncated";
    if (load == UINT32_MAX) {
        if (header < at)
            return HV_INVALID;
        load = header - at;
    }
    if (load > header || header - load > at)
        return HV_INVALID;
    offset = at - (header - load);
    bytes = load_end ? load_end - load : len - offset;
    if ((load_end && load_end < load) || bytes > len - offset ||
        (bss_end && bss_end < load + bytes) || load + bytes > BIT(32))
        return HV_INVALID;
    out->part[0] = (struct guest_part){load, offset, bytes, bss_end ? bss_end - load - bytes : 0};
    out->nparts = 1;
    return HV_OK;
}

enum hv_err guest_multiboot2_parse(const void *image, uint64_t len, struct guest_image *out,
                                   const char **why)
{
    uint64_t bytes;
    const uint8_t *h = header_find(image, len, &bytes);
    struct wishes w;

    memset(out, 0, sizeof(*out));
    *why = "it has no multiboot2 header in its first 32 KiB";
    if (!h)
        return HV_INVALID;
    TRY(wishes_get(h, bytes, &w, why));
    if (w.address) {
        TRY(address_parse(&w, (uint64_t)(h - (const uint8_t *)image), len, out, why));
        *why = "its multiboot2 header has an address tag but no entry address tag";
        if (!w.has_entry)
            return HV_INVALID;
    } else {
        *why = "it is neither ELF nor has an address tag in its multiboot2 header";
        if (!elf_is(image, len))
            return HV_UNSUPPORTED;
        TRY(elf_parse(image, len, out, why));
    }
    if (w.has_entry)
        out->entry = w.entry;
    return guest_image_check(out, why);
}

/* A tag with room for `bytes` behind its head; 0 if there is none. */
static uint32_t tag_start(uint32_t type, uint32_t bytes)
{
    uint32_t at = info_take(8 + bytes);
    if (!at)
        return 0;
    info_put(at, type, 4);
    info_put(at + 4, 8 + bytes, 4);
    return at;
}

/* A tag that ends in a string: head bytes, then the string's; 0 if it does not fit. */
static uint32_t tag_string(uint32_t type, uint32_t head, const char *s, size_t n)
{
    uint32_t at = n < INFO_ROOM ? tag_start(type, head + (uint32_t)n + 1) : 0;
    for (size_t i = 0; at && i < n; i++)
        info_put(at + 8 + head + (uint32_t)i, (uint8_t)s[i], 1);
    return at;
}

static bool map_tag(const struct vm *vm)
{
    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(vm, INFO_GPA, r);
    uint32_t at = tag_start(MB2_TAG_MMAP, 8 + 24 * n);

    if (!at)
        return false;
    info_put(at + 8, 24, 4);
    for (unsigned i = 0; i < n; i++) {
        uint32_t e = at + 16 + 24 * i;
        info_put(e, r[i].base, 8);
        info_put(e + 8, r[i].end - r[i].base, 8);
        info_put(e + 16, r[i].type, 4);
    }
    return true;
}

/* The screen, the memory below and above 1 MiB, where the image lies, the RSDP. */
static bool machine_tags(const struct vm *vm, uint64_t base)
{
    uint32_t fb = tag_start(MB2_TAG_FRAMEBUFFER, 30), mem = tag_start(MB2_TAG_BASIC_MEMORY, 8);
    uint32_t load = tag_start(MB2_TAG_LOAD_BASE, 4), acpi = tag_start(MB2_TAG_ACPI_NEW, 36);
    const uint8_t *rsdp = p2m_ptr(&vm->p2m, gpa(ACPI_GPA));

    if (!fb || !mem || !load || !acpi || !rsdp)
        return false;
    guest_framebuffer(&vm->screen, fb + 8, fb + 32);
    info_put(mem + 8, 639, 4);
    info_put(mem + 12, (vm->ram_low_end - 0x100000) / 1024, 4);
    info_put(load + 8, base, 4);
    for (uint32_t i = 0; i < 36; i++)
        info_put(acpi + 8 + i, rsdp[i], 1);
    return true;
}

static bool module_tags(const struct vm_files *f, const uint64_t *at)
{
    for (unsigned i = 0; i < f->nmods; i++) {
        uint32_t t =
            tag_string(MB2_TAG_MODULE, 8, f->mod_words[i].cmdline, f->mod_words[i].cmdline_len);
        if (!t)
            return false;
        info_put(t + 8, at[i], 4);
        info_put(t + 12, at[i] + f->mod[i]->len, 4);
    }
    return true;
}

/* Needs the ACPI tables to be there already. */
static enum hv_err info_build(struct vm *vm, const struct vm_files *f, const uint64_t *at,
                              uint64_t base)
{
    info_start(8);
    if (!tag_string(MB2_TAG_CMDLINE, 0, f->kernel_words.cmdline, f->kernel_words.cmdline_len) ||
        !tag_string(MB2_TAG_LOADER, 0, "Patchbay", 8) || !module_tags(f, at) || !map_tag(vm) ||
        !machine_tags(vm, base) || !tag_start(MB2_TAG_END, 0)) {
        log_err("vm", "the command lines of the guest's kernel and modules are too long together: "
                      "shorten them");
        return HV_INVALID;
    }
    info_put(0, info_used(), 4);
    return info_commit(vm);
}

enum hv_err guest_multiboot2_load(struct vm *vm, const struct vm_files *f)
{
    const uint8_t *image = port_ptr(f->kernel->base);
    uint64_t at[VM_MAX_MODULES], base = UINT64_MAX;
    struct guest_image g;
    const char *why;
    enum hv_err err = guest_multiboot2_parse(image, f->kernel->len, &g, &why);

    if (err != HV_OK) {
        log_err("vm", "kernel module (%lu bytes): %s", f->kernel->len, why);
        return err;
    }
    TRY(guest_image_load(vm, &g, image));
    TRY(guest_modules_load(vm, &g, f, at));
    TRY(guest_finish(vm, g.entry, MB2_LOADER_MAGIC, INFO_GPA));
    for (unsigned i = 0; i < g.nparts; i++)
        base = g.part[i].gpa < base ? g.part[i].gpa : base;
    TRY(info_build(vm, f, at, base));
    log_info("vm", "multiboot2 kernel, %u parts, entry 0x%lx, %u modules", g.nparts, g.entry,
             f->nmods);
    return HV_OK;
}
