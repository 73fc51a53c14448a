/* SPDX-License-Identifier: BSD-2-Clause */
/* Placing a Linux kernel, its initrd and its boot data in guest RAM, and the state it starts in.
 * Tested by tools/tests/test_loader.c.
 *
 * Low memory when the guest starts (all of it free for the guest once it has read its boot data):
 *   00400 BIOS data area words   10000 boot_params   20000 command line   30000 page tables
 *   48000 top of the first stack   9fc00 extended BIOS data area   e0000 ACPI tables */
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

#define BOOT_PARAMS_GPA 0x10000ull
#define CMDLINE_GPA 0x20000ull
#define CMDLINE_ROOM 0x10000ull
#define TABLES_GPA 0x30000ull
#define STACK_GPA 0x48000ull
#define HIGH_GPA 0x100000ull /* the first byte above the legacy areas */
#define FOUR_GIB 0x100000000ull
#define MIB ((uint64_t)1 << 20)

struct plan {
    struct bzimage bz;
    uint64_t load, load_end; /* kernel, with the memory it needs */
    uint64_t initrd, initrd_bytes;
};

static enum hv_err put(struct vm *vm, uint64_t at, uint64_t value, size_t bytes)
{
    return vm_copy_in(vm, gpa(at), &value, bytes);
}

/* Where the kernel goes: its preferred address, else the lowest it can be relocated to. */
static enum hv_err kernel_place(const struct vm *vm, struct plan *p)
{
    const struct bzimage *b = &p->bz;
    uint64_t low = (HIGH_GPA + b->align - 1) & ~(b->align - 1);
    uint64_t at = b->pref_address;
    if (b->relocatable)
        at = at < HIGH_GPA ? low : (at + b->align - 1) & ~(b->align - 1);
    if (at < HIGH_GPA) {
        log_err("vm", "the kernel wants to lie at 0x%lx, below 1 MiB: give a relocatable one", at);
        return HV_UNSUPPORTED;
    }
    if (at + b->init_size > vm->ram_low_end && b->relocatable)
        at = low;
    while (b->relocatable && at + b->init_size <= vm->ram_low_end &&
           !vm_ram_shown(vm, at, at + b->init_size)) /* over what is not RAM */
        at += b->align;
    if (at + b->init_size > vm->ram_low_end || !vm_ram_shown(vm, at, at + b->init_size)) {
        log_err("vm",
                "the kernel needs %lu MiB from %lu MiB on, the guest has %lu MiB: give mem= more",
                (b->init_size + MIB - 1) / MIB, at / MIB, vm->ram_low_end / MIB);
        return HV_NOMEM;
    }
    p->load = at;
    p->load_end = at + b->init_size;
    return HV_OK;
}

/* The initrd goes as high as the kernel allows, below the PCI hole. */
static enum hv_err initrd_place(const struct vm *vm, struct plan *p, uint64_t bytes)
{
    uint64_t end = vm->ram_low_end;
    if (bytes == 0)
        return HV_OK;
    if (end > p->bz.initrd_max + 1)
        end = p->bz.initrd_max + 1;
    end &= ~PAGE_MASK;
    uint64_t room = end > p->load_end ? end - p->load_end : 0;
    if (bytes > room || ((end - bytes) & ~PAGE_MASK) < p->load_end) {
        log_err("vm",
                "the initrd has %lu KiB, behind the kernel there are %lu KiB: give mem= more or a "
                "smaller initrd",
                (bytes + 1023) / 1024, room / 1024);
        return HV_NOMEM;
    }
    while (end >= bytes + p->load_end && !vm_ram_shown(vm, (end - bytes) & ~PAGE_MASK, end))
        end = (end - 1) & ~REGION_MASK;
    if (end < bytes + p->load_end) {
        log_err("vm", "no %lu KiB of RAM in one piece for the initrd: give the machine more",
                (bytes + 1023) / 1024);
        return HV_NOMEM;
    }
    p->initrd = (end - bytes) & ~PAGE_MASK;
    p->initrd_bytes = bytes;
    return HV_OK;
}

static void e820_fill(const struct vm *vm, uint8_t *page)
{
    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(vm, EBDA_GPA, r);

    page[BP_E820_ENTRIES] = (uint8_t)n;
    for (unsigned i = 0; i < n; i++) {
        uint8_t *at = page + BP_E820_TABLE + i * BP_E820_BYTES;
        uint64_t len = r[i].end - r[i].base;
        memcpy(at, &r[i].base, 8);
        memcpy(at + 8, &len, 8);
        memcpy(at + 16, &r[i].type, 4);
    }
}

/* The screen, if it is the guest's ("struct screen_info" of the zero page); without it all is zero:
 * text mode, no video. */
void linux_screen_fill(const struct vm_screen *s, uint8_t *page)
{
    bool high = s->base >> 32 != 0;
    uint32_t bytes = s->pitch * s->height;
    uint32_t size = high ? bytes : (bytes + 0xffff) >> 16;
    uint32_t capabilities = high ? BP_SCREEN_64BIT_BASE : 0;

    if (!s->base)
        return;
    page[BP_SCREEN_KIND] = high ? BP_SCREEN_EFI : BP_SCREEN_VLFB;
    memcpy(page + BP_SCREEN_WIDTH, &s->width, 2);
    memcpy(page + BP_SCREEN_HEIGHT, &s->height, 2);
    page[BP_SCREEN_DEPTH] = s->bpp;
    memcpy(page + BP_SCREEN_BASE, &s->base, 4);
    memcpy(page + BP_SCREEN_BASE_HIGH, (const uint8_t *)&s->base + 4, 4);
    memcpy(page + BP_SCREEN_BYTES, &size, 4);
    memcpy(page + BP_SCREEN_PITCH, &s->pitch, 2);
    for (unsigned i = 0; i < 3; i++) {
        page[BP_SCREEN_COLOUR + 2 * i] = s->colour[2 * i + 1];
        page[BP_SCREEN_COLOUR + 2 * i + 1] = s->colour[2 * i];
    }
    memcpy(page + BP_SCREEN_CAPABILITIES, &capabilities, 4);
}

/* The zero page. Written field by field into guest RAM, which is all zero. */
static enum hv_err boot_params_build(struct vm *vm, const struct plan *p, const void *image,
                                     gpa_t rsdp)
{
    uint64_t bp = BOOT_PARAMS_GPA;
    uint8_t *page = p2m_ptr(&vm->p2m, gpa(bp));
    if (!page)
        return HV_RANGE;
    memset(page, 0, BP_BYTES);
    memcpy(page + HDR_START, (const uint8_t *)image + HDR_START, p->bz.header_end - HDR_START);
    e820_fill(vm, page);
    linux_screen_fill(&vm->screen, page);
    page[HDR_TYPE_OF_LOADER] = 0xff;
    page[HDR_LOADFLAGS] = HDR_LOADED_HIGH; /* no heap, not quiet, segments reloaded */
    TRY(put(vm, bp + HDR_VID_MODE, 0xffff, 2));
    TRY(put(vm, bp + HDR_CODE32_START, p->load, 4));
    TRY(put(vm, bp + HDR_RAMDISK_IMAGE, p->initrd, 4));
    TRY(put(vm, bp + HDR_RAMDISK_SIZE, p->initrd_bytes, 4));
    TRY(put(vm, bp + HDR_CMD_LINE_PTR, CMDLINE_GPA, 4));
    return put(vm, bp + BP_ACPI_RSDP, rsdp.v, 8);
}

/* Identity map of the first 4 GiB in 2 MiB pages: PML4, PDPT and four page directories. A and D are
 * set so that the first walks have nothing to write. */
enum hv_err tables_build(struct vm *vm)
{
    uint64_t link = PTE_P | PTE_W | PTE_A, at = TABLES_GPA;
    TRY(put(vm, at, (at + PAGE_SIZE) | link, 8));
    for (uint64_t i = 0; i < 4; i++)
        TRY(put(vm, at + PAGE_SIZE + i * 8, (at + (2 + i) * PAGE_SIZE) | link, 8));
    for (uint64_t i = 0; i < FOUR_GIB / REGION_SIZE; i++)
        TRY(put(vm, at + 2 * PAGE_SIZE + i * 8, i * REGION_SIZE | link | PTE_D | PTE_PS, 8));
    vm->entry_cr3 = TABLES_GPA;
    return HV_OK;
}

static enum hv_err cmdline_check(const struct plan *p, const struct module_words *words)
{
    uint64_t most = p->bz.cmdline_max ? p->bz.cmdline_max : 255;
    if (most > CMDLINE_ROOM - 1)
        most = CMDLINE_ROOM - 1;
    if (words->cmdline_len <= most)
        return HV_OK;
    log_err("vm", "the guest's command line has %lu characters, its kernel takes %lu: shorten it",
            words->cmdline_len, most);
    return HV_INVALID;
}

enum hv_err linux_load(struct vm *vm, const struct vm_module *kernel,
                       const struct module_words *words, const struct vm_module *initrd)
{
    struct plan p = {.load = 0};
    const uint8_t *image = port_ptr(kernel->base);
    const char *why;
    gpa_t rsdp;
    enum hv_err err = bzimage_parse(image, kernel->len, &p.bz, &why);
    if (err != HV_OK) {
        log_err("vm", "kernel module (%lu bytes): %s", kernel->len, why);
        return err;
    }
    TRY(cmdline_check(&p, words));
    TRY(kernel_place(vm, &p));
    TRY(initrd_place(vm, &p, initrd ? initrd->len : 0));
    TRY(vm_copy_in(vm, gpa(p.load), image + p.bz.setup_bytes, (size_t)p.bz.kernel_bytes));
    if (initrd)
        TRY(vm_copy_in(vm, gpa(p.initrd), port_ptr(initrd->base), (size_t)p.initrd_bytes));
    TRY(vm_copy_in(vm, gpa(CMDLINE_GPA), words->cmdline, words->cmdline_len));
    TRY(put(vm, CMDLINE_GPA + words->cmdline_len, 0, 1));
    TRY(vm_bios_build(vm));
    TRY(vm_acpi_build(vm, &rsdp));
    TRY(vm_mptable_build(vm));
    TRY(boot_params_build(vm, &p, image, rsdp));
    TRY(tables_build(vm));
    vm->entry_long = p.bz.entry_long;
    vm->entry_rip = p.load + (p.bz.entry_long ? ENTRY64_OFFSET : 0);
    vm->entry_rsi = BOOT_PARAMS_GPA;
    vm->entry_rsp = STACK_GPA;
    vm->entry_real = false;
    log_info("vm", "kernel at 0x%lx (%lu KiB, protocol %u.%02u), %s entry", p.load,
             p.bz.kernel_bytes / 1024, p.bz.version >> 8, p.bz.version & 0xffu,
             p.bz.entry_long ? "64-bit" : "32-bit");
    if (p.initrd_bytes)
        log_info("vm", "initrd at 0x%lx (%lu KiB)", p.initrd, p.initrd_bytes / 1024);
    return HV_OK;
}
