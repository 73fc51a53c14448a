/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of what a loader hands over (boot/multiboot*.c, arch-x86/plat/memmap.c): version 1 with
 * addresses inside or outside of the input, version 2 as one block behind which nothing may be
 * read. Afterwards every string is ended, every module is a range, and the memory map is usable. */
#include "boot/multiboot.c"
#include "arch-x86/cpu/features.h"
#include "hv/mem/phys.h"
#include "tools/tests/fake/fake.h"
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

#define MACHINE (1ull << 32)
#define INFO_AT 0x00300000ull
#define INFO_BYTES 0x4000ull

struct cpu_features cpu_features = {.phys_bits = 40};
char image_start[PAGE_SIZE], image_end[1];
static char *machine;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_multiboot: %s\n", what);
    abort();
}

/* An address in the input, so that most of it is reached; the top bit leaves it as it is. */
static uint32_t inside(uint32_t where, size_t size)
{
    return where & BIT(31) ? where : (uint32_t)INFO_AT + where % (uint32_t)size;
}

static void fix_version1(size_t size)
{
    struct mb1_info i;
    char *at = machine + INFO_AT;
    if (size < sizeof(i))
        return;
    memcpy(&i, at, sizeof(i));
    i.cmdline = inside(i.cmdline, size);
    i.mods_addr = inside(i.mods_addr, size);
    i.mmap_addr = inside(i.mmap_addr, size);
    i.loader_name = inside(i.loader_name, size);
    memcpy(at, &i, sizeof(i));
}

static void fix_version2(size_t size)
{
    uint32_t total = (uint32_t)size;
    memcpy(machine + INFO_AT, &total, sizeof(total));
    ASAN_POISON_MEMORY_REGION(machine + INFO_AT + size, INFO_BYTES - size);
}

static void check_string(const char *s, size_t max)
{
    check(s && strlen(s) <= max, "a string without its end");
}

static void check_result(void)
{
    hpa_t base;
    uint64_t len;
    check_string(boot_info.loader, 63);
    check_string(boot_info.cmdline, 4095);
    check(boot_info.nmodules <= HV_MAX_MODULES, "too many modules");
    for (unsigned i = 0; i < boot_info.nmodules; i++) {
        const struct vm_module *m = &boot_info.module[i];
        check_string(m->string, 2559);
        check(m->len > 0 && m->base.v > 0 && m->base.v + m->len > m->base.v, "no module");
        check(m->base.v + m->len <= MACHINE, "a module above 4 GiB");
    }
    for (unsigned i = 0; phys_range(i, &base, &len); i++)
        check(len > 0 && base.v + len <= 1ull << cpu_features.phys_bits, "RAM out of reach");
    check(phys_top() <= 1ull << cpu_features.phys_bits, "the top out of reach");
    hpa_t page;
    if (phys_alloc(PAGE_SIZE, PAGE_SIZE, 0, &page) == HV_OK)
        for (unsigned i = 0; i < boot_info.nmodules; i++)
            check(page.v + PAGE_SIZE <= boot_info.module[i].base.v ||
                      page.v >= boot_info.module[i].base.v + boot_info.module[i].len,
                  "memory of a module handed out");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INFO_BYTES)
        return 0;
    if (!machine) {
        fake_reset();
        machine = fake_arena(0, MACHINE);
        log_set_level(LOG_ERR);
    }
    uint8_t kind = *data++;
    size--;
    phys_reset();
    memset(&boot_info, 0, sizeof(boot_info));
    strings_used = kind & 2 ? STRINGS_BYTES - 100 : 0;
    memcpy(machine + INFO_AT, data, size);
    if (kind & 1)
        fix_version1(size);
    else if (size >= 8)
        fix_version2(size);
    if (multiboot_parse(kind & 1 ? MB1_LOADER_MAGIC : MB2_LOADER_MAGIC, INFO_AT + (kind >> 7)))
        check_result();
    ASAN_UNPOISON_MEMORY_REGION(machine + INFO_AT, INFO_BYTES);
    memset(machine + INFO_AT, 0, INFO_BYTES);
    fake_console_clear();
    return 0;
}
