/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot 0.6.96 information (qemu -kernel). Tested by tools/tests/fuzz_multiboot.c and every
 * quick run. */
#include "arch-x86/defs/multiboot.h"
#include "arch-x86/plat/memmap.h"
#include "boot/multiboot.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/machine.h"

#define CMDLINE_MAX 4095
#define MODULE_STRING_MAX 2559
#define MMAP_MAX 65536u
#define LIMIT 0xffffffffull /* everything lies in the first 4 GiB */

static const void *at(uint64_t where)
{
    return port_ptr(hpa(where));
}

/* QEMU puts the file's name before the words the user gave; GRUB does not. */
static const char *skip_name(const char *s)
{
    if (strcmp(boot_info.loader, "qemu") != 0)
        return s;
    while (*s && *s != ' ')
        s++;
    while (*s == ' ')
        s++;
    return s;
}

static bool parse_mmap(const struct mb1_info *mbi)
{
    uint32_t off = 0, len = mbi->mmap_length;

    if (len > MMAP_MAX || (uint64_t)mbi->mmap_addr + len > LIMIT)
        return false;
    while (len - off >= sizeof(struct mb1_mmap)) {
        struct mb1_mmap e;
        memcpy(&e, at((uint64_t)mbi->mmap_addr + off), sizeof(e));
        uint64_t base = (uint64_t)e.base_high << 32 | e.base_low;
        uint64_t bytes = (uint64_t)e.len_high << 32 | e.len_low;
        if (e.size < sizeof(e) - sizeof(e.size) || e.size > len - off - sizeof(e.size))
            return false;
        if (e.type == MB_MEMORY_AVAILABLE)
            memmap_ram(base, bytes);
        else
            memmap_keep_out(base, bytes);
        off += e.size + (uint32_t)sizeof(e.size);
    }
    return true;
}

bool multiboot1_parse(uint64_t info)
{
    struct mb1_info mbi;

    if (info == 0 || info + sizeof(mbi) > LIMIT)
        return false;
    memcpy(&mbi, at(info), sizeof(mbi));
    if ((mbi.flags & MB1_INFO_LOADER) && mbi.loader_name)
        boot_info.loader = multiboot_string(at(mbi.loader_name), 63);
    if ((mbi.flags & MB1_INFO_CMDLINE) && mbi.cmdline)
        boot_info.cmdline = skip_name(multiboot_string(at(mbi.cmdline), CMDLINE_MAX));
    if (!(mbi.flags & MB1_INFO_MMAP) || !parse_mmap(&mbi)) {
        log_err("boot", "the loader gave no usable memory map");
        return false;
    }
    for (uint32_t i = 0; (mbi.flags & MB1_INFO_MODS) && i < mbi.mods_count; i++) {
        struct mb1_module m;
        uint64_t where = (uint64_t)mbi.mods_addr + (uint64_t)i * sizeof(m);
        if (i >= 2 * HV_MAX_MODULES || where + sizeof(m) > LIMIT)
            break;
        memcpy(&m, at(where), sizeof(m));
        unsigned before = boot_info.nmodules;
        multiboot_module(m.start, m.end, m.string ? at(m.string) : "", MODULE_STRING_MAX);
        if (boot_info.nmodules > before)
            boot_info.module[before].string = skip_name(boot_info.module[before].string);
    }
    return true;
}
