/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels other than Linux and multiboot 1: multiboot2, PVH and raw images, what they are told, and
 * files that are none of these. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/base/options.h"
#include "hv/mem/phys.h"
#include "hv/vm/load/loader.h"

#define MIB 0x100000ull
#define KERNEL_HPA (400 * MIB)
#define MODULE_HPA (420 * MIB)

/* Stands in for the ACPI builder, which has its own test. */
enum hv_err vm_acpi_build(struct vm *v, gpa_t *rsdp)
{
    *rsdp = gpa(0xe0000);
    return vm_copy_in(v, *rsdp, "RSD PTR ", 8);
}

static struct vm vm;
static struct hv_options opt;
static uint8_t *image;
static uint64_t image_len = 20000;

static void put(unsigned at, uint64_t v, unsigned bytes)
{
    memcpy(image + at, &v, bytes);
}
static uint64_t get(uint64_t at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p2m_ptr(&vm.p2m, gpa(at)), bytes);
    return v;
}
static const char *text(uint64_t at)
{
    return p2m_ptr(&vm.p2m, gpa(at));
}

static void blank(void)
{
    image = port_ptr(hpa(KERNEL_HPA));
    image_len = 20000;
    for (unsigned i = 0; i < image_len; i++)
        image[i] = (uint8_t)(i * 7 + 1);
}

/* One segment of 4096 bytes at 2 MiB with as much bss, entry at its beginning; room for a note. */
static void elf(void)
{
    blank();
    memset(image, 0, 4096);
    memcpy(image, "\177ELF", 4);
    put(4, 2, 1);
    put(5, 1, 1);
    put(16, 2, 2);
    put(18, 62, 2);
    put(24, 0xffffffff80200000ull, 8);
    put(32, 64, 8);
    put(54, 56, 2);
    put(56, 2, 2);
    put(64, 1, 4);
    put(64 + 8, 4096, 8);
    put(64 + 16, 0xffffffff80200000ull, 8);
    put(64 + 24, 0x200000, 8);
    put(64 + 32, 4096, 8);
    put(64 + 40, 8192, 8);
    put(120, 4, 4); /* PT_NOTE */
    put(120 + 8, 512, 8);
    put(120 + 32, 64, 8);
}

static enum hv_err load(const char *kernel, const char *module)
{
    const struct vm_module m[2] = {
        {hpa(KERNEL_HPA), image_len, kernel},
        {hpa(MODULE_HPA), 5000, module},
    };
    fake_console_clear();
    return vm_load(&vm, m, module ? 2 : 1);
}
static void refused(const char *kernel, const char *module, const char *words, const char *what)
{
    enum hv_err err = load(kernel, module);
    tap_ok(err != HV_OK && strstr(fake_console(), words), "%s: '%s'", what, words);
    if (err == HV_OK || !strstr(fake_console(), words))
        tap_note("err %d, %s", err, fake_console());
}

/* --- multiboot2 --- */
static unsigned mb2_at;
static void mb2_begin(unsigned at)
{
    put(at, 0xe85250d6, 4);
    put(at + 4, 0, 4);
    mb2_at = at + 16;
}
static void mb2_tag(unsigned type, unsigned flags, unsigned size)
{
    put(mb2_at, type, 2);
    put(mb2_at + 2, flags, 2);
    put(mb2_at + 4, size, 4);
    mb2_at += (size + 7) & ~7u;
}
static void mb2_end(unsigned at)
{
    mb2_tag(0, 0, 8);
    put(at + 8, mb2_at - at, 4);
    put(at + 12, 0u - 0xe85250d6u - (mb2_at - at), 4);
}
static uint64_t mb2_find(uint64_t type)
{
    uint64_t at = vm.entry_rbx + 8, end = vm.entry_rbx + get(vm.entry_rbx, 4);
    for (; at + 8 <= end; at += (get(at + 4, 4) + 7) & ~7ull)
        if (get(at, 4) == type)
            return at;
    return 0;
}

static void test_multiboot2(void)
{
    elf();
    mb2_begin(1024);
    put(mb2_at + 8, 6, 4);
    put(mb2_at + 12, 14, 4);
    mb2_tag(1, 1, 16); /* optional request for something not given */
    mb2_tag(6, 0, 8);
    mb2_end(1024);
    tap_eq(load("role=kernel -- one two", "-- mod args"), HV_OK, "multiboot2 ELF64");
    tap_ok(vm.entry_rax == 0x36d76289 && vm.entry_rip == 0x200000 && !vm.entry_long,
           "... magic and entry");
    tap_ok(!memcmp(text(0x200000), image + 4096, 4096) && get(0x201000, 8) == 0, "... its bytes");
    tap_str(text(mb2_find(1) + 8), "one two", "... command line");
    tap_str(text(mb2_find(2) + 8), "Patchbay", "... loader");
    uint64_t m = mb2_find(3);
    tap_ok(get(m + 8, 4) == 0x202000 && get(m + 12, 4) == 0x202000 + 5000, "... module");
    tap_str(text(m + 16), "mod args", "... its string");
    tap_ok(!memcmp(text(0x202000), port_ptr(hpa(MODULE_HPA)), 5000), "... its bytes");
    tap_eq(get(mb2_find(4) + 12, 4), (vm.ram_low_end - MIB) / 1024, "... memory");
    uint64_t map = mb2_find(6), ram = 0;
    for (uint64_t e = map + 16; e < map + get(map + 4, 4); e += get(map + 8, 4))
        ram += get(e + 16, 4) == 1 ? get(e + 8, 8) : 0;
    tap_eq(ram, 0x9d000 + vm.ram_low_end - MIB, "... the map adds up");
    tap_ok(!memcmp(text(mb2_find(15) + 8), "RSD PTR ", 8), "... the RSDP");
    tap_eq(get(mb2_find(21) + 8, 4), 0x200000, "... where it lies");
    tap_ok(mb2_find(0) != 0, "... the end");
    put(1024 + 16 + 2, 0, 2);
    refused("", NULL, "requires something", "a demand for what is not given");
}

static void test_multiboot2_address(void)
{
    blank();
    mb2_begin(512);
    put(mb2_at + 8, 0x300200, 4); /* header_addr: the file from 0 on goes to 3 MiB */
    put(mb2_at + 12, UINT32_MAX, 4);
    put(mb2_at + 16, 0x300000 + 6000, 4);
    put(mb2_at + 20, 0x300000 + 9000, 4);
    mb2_tag(2, 0, 24);
    put(mb2_at + 8, 0x300040, 4);
    mb2_tag(3, 0, 12);
    mb2_end(512);
    tap_eq(load("", NULL), HV_OK, "multiboot2 address tag");
    tap_ok(vm.entry_rip == 0x300040 && !memcmp(text(0x300000), image, 6000) &&
               get(0x300000 + 6000, 8) == 0,
           "... entry, bytes and bss");
    put(512 + 16 + 16, 0x300000 + 90000, 4);
    refused("", NULL, "makes no sense", "more bytes than the file has");
    blank();
    mb2_begin(512);
    mb2_tag(77, 0, 8);
    mb2_end(512);
    refused("", NULL, "requires something", "an unknown tag");
    blank();
    mb2_begin(512);
    mb2_tag(6, 0, 8);
    put(mb2_at - 4, 4000, 4);
    mb2_end(512);
    refused("", NULL, "make no sense", "a tag longer than the header");
    blank();
    mb2_begin(512);
    mb2_end(512);
    refused("", NULL, "neither ELF", "a header alone");
}

/* --- PVH --- */
static void note(unsigned at, uint64_t entry, unsigned bytes)
{
    put(at, 4, 4);
    put(at + 4, bytes, 4);
    put(at + 8, 18, 4);
    memcpy(image + at + 12, "Xen", 4);
    put(at + 16, entry, bytes);
}

static void test_pvh(void)
{
    elf();
    put(512, 5, 4); /* another note before it, its name padded to 8 bytes */
    put(516, 6, 4);
    put(520, 1, 4);
    note(540, 0x200020, 8);
    tap_eq(load("-- quiet", "role=initrd"), HV_OK, "PVH");
    uint64_t s = vm.entry_rbx;
    tap_ok(vm.entry_rip == 0x200020 && !vm.entry_long && get(s, 4) == 0x336ec578 &&
               get(s + 4, 4) == 1,
           "... entry, magic and version");
    tap_str(text(get(s + 24, 8)), "quiet", "... command line");
    tap_eq(get(s + 32, 8), 0xe0000, "... RSDP");
    tap_ok(get(s + 12, 4) == 1 && get(get(s + 16, 8), 8) == 0x202000 &&
               get(get(s + 16, 8) + 8, 8) == 5000,
           "... module");
    uint64_t ram = 0, map = get(s + 40, 8);
    for (uint64_t i = 0; i < get(s + 48, 4); i++)
        ram += get(map + 24 * i + 16, 4) == 1 ? get(map + 24 * i + 8, 8) : 0;
    tap_eq(ram, 0x9d000 + vm.ram_low_end - MIB, "... the map adds up");
    tap_eq(load("", NULL), HV_OK, "... without a module");
    note(540, 0x300000, 4);
    refused("", NULL, "entry point", "an entry outside");
    put(540, 1000000, 4);
    refused("", NULL, "without a multiboot header or a PVH note", "a damaged note is none");
}

/* --- raw --- */
static void test_raw(void)
{
    blank();
    tap_eq(load("role=raw addr=0x8000 entry=0x8010 mode=real", NULL), HV_OK, "raw, real mode");
    tap_ok(vm.entry_real && !vm.entry_long && vm.entry_rip == 0x8010 && vm.entry_rsp == 0x7000 &&
               !memcmp(text(0x8000), image, image_len),
           "... its bytes and entry");
    tap_eq(load("role=raw addr=0x200000", "role=raw addr=0x400000"), HV_OK, "raw, flat, with data");
    tap_ok(!vm.entry_real && !vm.entry_long && vm.entry_rip == 0x200000 &&
               !memcmp(text(0x400000), port_ptr(hpa(MODULE_HPA)), 5000),
           "... both there");
    tap_eq(load("role=raw addr=0x200000 mode=long", NULL), HV_OK, "raw, 64-bit");
    tap_ok(vm.entry_long && vm.entry_cr3 && get(vm.entry_cr3, 8) & 1, "... on page tables");
    refused("role=raw", NULL, "addr=ADDRESS", "no address");
    refused("role=raw addr=0x200000", "", "addr=ADDRESS", "no address of a module");
    refused("role=raw addr=0x200000 mode=real", NULL, "below 1 MiB", "real mode above 1 MiB");
    refused("role=raw addr=0x8000 entry=0x7fff", NULL, "outside", "entry before it");
    refused("role=raw addr=0x8000 entry=0x20000", NULL, "outside", "entry behind it");
    refused("role=raw addr=0xa0000", NULL, "no free RAM", "into the hole");
    refused("role=raw addr=0xfffffffffffffff0", NULL, "end of the address space", "wrapping");
    refused("role=raw addr=0x80000000", NULL, "no free RAM", "above RAM");
    refused("role=raw addr=0x200000", "role=raw addr=0x204e1f", "collide", "one over another");
    tap_eq(load("role=raw addr=0x200000", "role=raw addr=0x204e20"), HV_OK, "... side by side");
    refused("role=raw addr=0x47fff mode=long", NULL, "collide", "over the first stack");
    tap_eq(load("role=raw addr=0x48000 mode=long", NULL), HV_OK, "... behind it");
}

static void test_unknown(void)
{
    static const struct {
        const char *magic, *words;
    } files[] = {{"\x1f\x8b\x08", "gzip"},
                 {"\xfd"
                  "7zXZ",
                  "xz"},
                 {"\x28\xb5\x2f\xfd", "zstd"},
                 {"BZh9", "bzip2"},
                 {"MZ", "EFI program"},
                 {"text", "role=raw addr"}};

    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        blank();
        memcpy(image, files[i].magic, strlen(files[i].magic));
        refused("", NULL, files[i].words, "a file of another kind");
    }
    elf();
    refused("", NULL, "nothing says how to start it", "ELF alone");
    blank();
    image_len = 1;
    refused("", NULL, "no Linux bzImage", "one byte");
}

int main(void)
{
    fake_reset();
    fake_arena(0, 512 * MIB);
    options_parse(&opt, "mem=128M", NULL);
    if (phys_add(hpa(MIB), 390 * MIB) != HV_OK)
        return 1;
    vm.opt = &opt;
    tap_eq(vm_memory_init(&vm, &opt, 0), HV_OK, "guest RAM");
    memset(port_ptr(hpa(MODULE_HPA)), 0x5a, 5000);
    test_multiboot2();
    test_multiboot2_address();
    test_pvh();
    test_raw();
    test_unknown();
    return tap_done();
}
