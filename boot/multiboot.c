/* SPDX-License-Identifier: BSD-2-Clause */
/* What both versions of multiboot share: strings, modules, reservations. Tested by every boot. */
#include "boot/multiboot.h"
#include "arch-x86/defs/multiboot.h"
#include "arch-x86/plat/memmap.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

#define STRINGS_BYTES 16384 /* command line 4 KiB, kernels' command lines 2 KiB each, and spare */

struct boot_info boot_info;
static char strings[STRINGS_BYTES];
static size_t strings_used;
extern char image_start[], image_end[];

const char *multiboot_string(const char *s, size_t max)
{
    size_t n = 0, room = STRINGS_BYTES - strings_used;
    char *copy = strings + strings_used;

    while (n < max && s[n])
        n++;
    if (n + 1 > room) {
        log_warn("boot", "strings of the loader are too long: one dropped");
        return "";
    }
    memcpy(copy, s, n);
    copy[n] = 0;
    strings_used += n + 1;
    return copy;
}

void multiboot_module(uint64_t start, uint64_t end, const char *string, size_t max)
{
    uint64_t image = (uint64_t)(uintptr_t)image_start, image_stop = (uint64_t)(uintptr_t)image_end;

    if (end <= start || start == 0 || (start < image_stop && end > image)) {
        log_warn("boot", "module at 0x%llx-0x%llx makes no sense: ignored",
                 (unsigned long long)start, (unsigned long long)end);
        return;
    }
    if (boot_info.nmodules == HV_MAX_MODULES) {
        log_warn("boot", "more than %u modules: ignored", HV_MAX_MODULES);
        return;
    }
    memmap_keep_out(start, end - start);
    boot_info.module[boot_info.nmodules++] =
        (struct vm_module){hpa(start), end - start, multiboot_string(string, max)};
}

bool multiboot_parse(uint32_t magic, uint64_t info)
{
    uint64_t image = (uint64_t)(uintptr_t)image_start;
    bool good = false;

    boot_info.loader = boot_info.cmdline = "";
    memmap_keep_out(image, (uint64_t)(image_end - image_start));
    /* the real-mode vectors and BIOS data: firmware may look there */
    memmap_keep_out(0, PAGE_SIZE);
    if (magic == MB2_LOADER_MAGIC)
        good = multiboot2_parse(info);
    else if (magic == MB1_LOADER_MAGIC)
        good = multiboot1_parse(info);
    else
        log_err("boot",
                "started by something that is neither a multiboot nor a multiboot2 loader "
                "(magic 0x%x): use GRUB's 'multiboot2' command",
                magic);
    return good;
}
