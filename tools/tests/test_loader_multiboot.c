/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot guests: ELF32, ELF64 and address-field images, modules and the information structure,
 * and what is damaged. With a file name as argument that image is parsed too. */
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
static const uint64_t image_len = 20000;

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

static void header(unsigned at, uint32_t flags)
{
    put(at, 0x1badb002, 4);
    put(at + 4, flags, 4);
    put(at + 8, 0u - 0x1badb002u - flags, 4);
}

static void blank(void)
{
    image = port_ptr(hpa(KERNEL_HPA));
    for (unsigned i = 0; i < image_len; i++)
        image[i] = (uint8_t)(i * 7 + 1);
}

/* Two segments: 4096 bytes at 2 MiB with 8192 of bss behind, and 100 bytes at 8000h. */
static void elf(bool wide)
{
    unsigned ph = 64, size = wide ? 56 : 32;
    blank();
    memset(image, 0, 4096);
    memcpy(image, "\177ELF", 4);
    put(4, wide ? 2 : 1, 1);
    put(5, 1, 1);
    put(16, 2, 2);
    put(18, wide ? 62 : 3, 2);
    put(24, wide ? 0xffffffff80200010ull : 0x200010, wide ? 8 : 4);
    put(wide ? 32 : 28, ph, wide ? 8 : 4);
    put(wide ? 54 : 42, size, 2);
    put(wide ? 56 : 44, 2, 2);
    const uint64_t seg[2][5] = {{4096, 0x200000, 0x200000, 4096, 12288},
                                {8192, 0x8000, 0x8000, 100, 100}};
    for (unsigned i = 0; i < 2; i++, ph += size) {
        unsigned w = wide ? 8 : 4, at = ph + w;
        put(ph, 1, 4);
        put(at, seg[i][0], w);
        put(at + w, seg[i][1] + (wide ? 0xffffffff80000000ull : 0), w);
        put(at + 2 * w, seg[i][2], w);
        put(at + 3 * w, seg[i][3], w);
        put(at + 4 * w, seg[i][4], w);
    }
    header(1024, 3);
}

static enum hv_err load(const char *modstring)
{
    const struct vm_module m[2] = {
        {hpa(KERNEL_HPA), image_len, "role=linux -- one two"},
        {hpa(MODULE_HPA), 5000, modstring},
    };
    fake_console_clear();
    return vm_load(&vm, m, modstring ? 2 : 1);
}

static void test_elf(bool wide)
{
    elf(wide);
    memset(p2m_ptr(&vm.p2m, gpa(0x201000)), 0xaa, 8192);
    tap_eq(load("-- mod args"), HV_OK, wide ? "ELF64" : "ELF32");
    tap_ok(!memcmp(p2m_ptr(&vm.p2m, gpa(0x200000)), image + 4096, 4096), "... first segment");
    tap_ok(!memcmp(p2m_ptr(&vm.p2m, gpa(0x8000)), image + 8192, 100), "... low segment");
    tap_ok(get(0x201000, 8) == 0 && get(0x202ff8, 8) == 0, "... bss is zero");
    tap_eq(vm.entry_rip, 0x200010, "... entry is physical");
    tap_eq(vm.entry_rax, 0x2badb002, "... EAX");
    uint64_t mbi = vm.entry_rbx;
    tap_ok(!vm.entry_long && (get(mbi, 4) & 0x4d) == 0x4d, "... flags of the structure");
    tap_eq(get(mbi + 4, 4), 639, "... mem_lower");
    tap_eq(get(mbi + 8, 4), (vm.ram_low_end - MIB) / 1024, "... mem_upper");
    tap_str(p2m_ptr(&vm.p2m, gpa(get(mbi + 16, 4))), "/kernel one two", "... command line");
    tap_eq(get(mbi + 20, 4), 1, "... one module");
    uint64_t mod = get(mbi + 24, 4);
    tap_str(p2m_ptr(&vm.p2m, gpa(get(mbi + 64, 4))), "Patchbay", "... the loader's name");
    tap_ok(!(get(mbi, 4) & BIT(12)), "... no framebuffer unasked");
    tap_eq(get(mod, 4), 0x203000, "... above the image, page aligned");
    tap_eq(get(mod + 4, 4), 0x203000 + 5000, "... its end");
    tap_str(p2m_ptr(&vm.p2m, gpa(get(mod + 8, 4))), "mod args", "... its string");
    tap_ok(!memcmp(p2m_ptr(&vm.p2m, gpa(0x203000)), port_ptr(hpa(MODULE_HPA)), 5000),
           "... its bytes");
    uint64_t map = get(mbi + 48, 4), end = map + get(mbi + 44, 4), ram = 0;
    for (; map < end; map += get(map, 4) + 4)
        ram += get(map + 20, 4) == 1 ? get(map + 12, 8) : 0;
    tap_eq(ram, 0x9d000 + vm.ram_low_end - MIB, "... the map adds up");
}

static void test_addresses(void)
{
    blank();
    header(512, 0x10003);
    put(524, 0x100000 + 512 - 256, 4); /* header_addr: the file from 256 on goes to 1 MiB */
    put(528, 0x100000, 4);
    put(532, 0x100000 + 3000, 4);
    put(536, 0x100000 + 5000, 4);
    put(540, 0x100040, 4);
    tap_eq(load(NULL), HV_OK, "address fields");
    tap_ok(!memcmp(p2m_ptr(&vm.p2m, gpa(0x100000)), image + 256, 3000), "... its bytes");
    tap_ok(get(0x100000 + 3000, 8) == 0 && vm.entry_rip == 0x100040, "... bss and entry");
    put(528, 0x200000, 4);
    tap_eq(load(NULL), HV_INVALID, "load address above the header's");
    put(528, 0x100000, 4);
    put(532, 0x100000 + 100000, 4);
    tap_eq(load(NULL), HV_INVALID, "more bytes than the file has");
}

/* Flag 2 asks about the screen. */
static void test_video(void)
{
    elf(false);
    header(1024, 7);
    tap_eq(load(NULL), HV_OK, "a header that asks about video");
    uint64_t mbi = vm.entry_rbx;
    tap_ok((get(mbi, 4) & BIT(12)) && get(mbi + 88, 8) == 0xb8000 && get(mbi + 109, 1) == 2,
           "... gets text mode");
    vm.screen = (struct vm_screen){0xe0000000, 3200, 800, 600, 32, {16, 8, 8, 8, 0, 8}};
    tap_eq(load(NULL), HV_OK, "the same with the screen given to the guest");
    mbi = vm.entry_rbx;
    tap_ok(get(mbi + 88, 8) == 0xe0000000 && get(mbi + 96, 4) == 3200 && get(mbi + 100, 4) == 800 &&
               get(mbi + 104, 4) == 600 && get(mbi + 108, 1) == 32 && get(mbi + 109, 1) == 1 &&
               get(mbi + 110, 6) == 0x080008080810ull,
           "... gets the framebuffer and its colours");
    vm.screen.base = 0;
}

/* The image ends where RAM does: modules go below it, first behind another part. */
static void test_high_image(void)
{
    elf(false);
    put(64 + 12, vm.ram_low_end - 12288, 4);
    put(64 + 8, vm.ram_low_end - 12288, 4);
    put(24, vm.ram_low_end - 12288, 4);
    tap_eq(load("-- x"), HV_OK, "an image at the end of RAM");
    tap_eq(get(get(vm.entry_rbx + 24, 4), 4), MIB, "... its module at 1 MiB");
    elf(false);
    put(64 + 12, MIB, 4); /* fills all but the last 4 KiB */
    put(64 + 8, MIB, 4);
    put(24, MIB, 4);
    put(64 + 20, vm.ram_low_end - MIB - 4096, 4);
    tap_ok(load("-- x") == HV_NOMEM && strstr(fake_console(), "does not fit"),
           "a bss that leaves no room for a module");
    tap_eq(load(NULL), HV_OK, "... alone it loads");
}

/* Above page 0 and below the boot data everything is the image's. */
static void test_low_image(void)
{
    elf(false);
    put(64 + 32 + 8, 0x500, 4);
    put(64 + 32 + 12, 0x500, 4);
    put(64 + 32 + 20, 0x9c000, 4);
    tap_eq(load(NULL), HV_OK, "a bss from 500h to 9c500h");
    put(64 + 32 + 12, 0x4ff, 4);
    tap_ok(load(NULL) != HV_OK && strstr(fake_console(), "no free RAM"), "... one byte lower");
}

static void damaged(const char *name, unsigned at, uint64_t v, unsigned bytes, const char *text)
{
    elf(false);
    put(at, v, bytes);
    tap_ok(load(NULL) != HV_OK && strstr(fake_console(), text), "%s", name);
}

static void test_damaged(void)
{
    damaged("another machine", 18, 40, 2, "x86 executable");
    damaged("program headers outside", 28, 19990, 4, "program headers");
    damaged("no segments", 44, 0, 2, "program headers");
    damaged("segment outside the file", 64 + 4, 19000, 4, "truncated");
    damaged("file size above memory size", 64 + 20, 10, 4, "larger in the file");
    damaged("segment above 4 GiB", 64 + 12, 0xfffff000, 4, "above 4 GiB");
    damaged("segment above RAM", 64 + 12, 0x70000000, 4, "no free RAM");
    damaged("segment over the ROM area", 64 + 12, 0x9c000, 4, "no free RAM");
    damaged("an object file", 16, 1, 2, "not linked");
    damaged("a core file", 16, 4, 2, "linked kernel");
    damaged("big-endian", 5, 2, 1, "x86 executable");
    damaged("entry outside", 24, 0x300000, 4, "entry point");
    damaged("overlapping segments", 64 + 32 + 12, 0x202fff, 4, "overlap");
    elf(false);
    header(1024, 3 | 8);
    tap_ok(load(NULL) != HV_OK && strstr(fake_console(), "requires a feature"),
           "unknown required flag");
    elf(false);
    image[0] = 0;
    tap_ok(load(NULL) != HV_OK && strstr(fake_console(), "neither ELF"),
           "a header without an image");
    elf(false);
    put(1024 + 8, 0, 4);
    tap_ok(load(NULL) != HV_OK && strstr(fake_console(), "without a multiboot header"),
           "a wrong checksum is no header");
}

int main(int argc, char **argv)
{
    fake_reset();
    fake_arena(0, 512 * MIB);
    options_parse(&opt, "mem=128M", NULL);
    if (phys_add(hpa(MIB), 390 * MIB) != HV_OK)
        return 1;
    vm.opt = &opt;
    tap_eq(vm_memory_init(&vm, &opt, 0), HV_OK, "guest RAM");
    memset(port_ptr(hpa(MODULE_HPA)), 0x5a, 5000);
    test_elf(false);
    test_elf(true);
    test_addresses();
    test_video();
    test_high_image();
    test_low_image();
    test_damaged();
    if (argc > 1) {
        static uint8_t file[16 << 20];
        FILE *f = fopen(argv[1], "rb");
        size_t n = f ? fread(file, 1, sizeof(file), f) : 0;
        struct guest_image g;
        const char *why = "";
        tap_ok(guest_multiboot_parse(file, n, &g, &why) == HV_OK, "%s: %s", argv[1], why);
        if (f)
            fclose(f);
    }
    return tap_done();
}
