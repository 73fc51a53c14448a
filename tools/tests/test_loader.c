/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader: module strings, bzImage headers whole and damaged, placement, boot data. With a file
 * name as argument that bzImage is loaded too. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/options.h"
#include "hv/mem/phys.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

#define MIB 0x100000ull
#define KERNEL_HPA (400 * MIB)
#define INITRD_HPA (440 * MIB)
#define MACHINE (512 * MIB)

/* Stands in for the ACPI builder, which has its own test. */
enum hv_err vm_acpi_build(struct vm *v, gpa_t *rsdp)
{
    *rsdp = gpa(0xe0000);
    return vm_copy_in(v, *rsdp, "RSD PTR ", 8);
}

static struct vm vm;
static struct hv_options opt;
static uint8_t *image; /* at KERNEL_HPA */
static uint64_t image_len;

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

/* A header as of protocol 2.15, four setup sectors and 40,000 bytes of kernel. */
static void image_build(void)
{
    image = port_ptr(hpa(KERNEL_HPA));
    image_len = 5 * 512 + 40000;
    memset(image, 0, image_len);
    for (uint64_t i = 5 * 512; i < image_len; i++)
        image[i] = (uint8_t)(i * 13 + (i >> 8));
    put(HDR_SETUP_SECTS, 4, 1);
    put(HDR_SYSSIZE, 40000 / 16, 4);
    put(HDR_BOOT_FLAG, 0xaa55, 2);
    put(HDR_JUMP, 0x6aeb, 2);
    put(HDR_MAGIC, HDR_MAGIC_VALUE, 4);
    put(HDR_VERSION, 0x20f, 2);
    put(HDR_LOADFLAGS, HDR_LOADED_HIGH, 1);
    put(HDR_CODE32_START, 0x100000, 4);
    put(HDR_INITRD_ADDR_MAX, 0x7fffffff, 4);
    put(HDR_KERNEL_ALIGNMENT, 0x200000, 4);
    put(HDR_RELOCATABLE, 1, 1);
    put(HDR_XLOADFLAGS, HDR_XLF_KERNEL_64, 2);
    put(HDR_CMDLINE_SIZE, 2047, 4);
    put(HDR_PREF_ADDRESS, 0x1000000, 8);
    put(HDR_INIT_SIZE, 30 * MIB, 4);
}

static bool machine(uint64_t mem_mib)
{
    fake_reset();
    fake_arena(0, MACHINE);
    phys_reset();
    memset(&vm, 0, sizeof(vm));
    opt.mem_mib = mem_mib;
    vm.opt = &opt;
    bool ok = phys_add(hpa(MIB), MACHINE - MIB) == HV_OK &&
              phys_reserve(hpa(KERNEL_HPA), MACHINE - KERNEL_HPA) == HV_OK &&
              vm_memory_init(&vm, &opt, 0) == HV_OK;
    image_build();
    return ok;
}

static enum hv_err load(const char *kernel, uint64_t initrd_len)
{
    struct vm_module m[2] = {
        {hpa(KERNEL_HPA), image_len, kernel},
        {hpa(INITRD_HPA), initrd_len, "role=initrd"},
    };
    fake_console_clear();
    return vm_load(&vm, m, initrd_len ? 2 : 1);
}

static void string_is(const char *s, enum hv_err err, enum module_role role, const char *cmdline,
                      const char *bad)
{
    struct module_words w;
    enum hv_err got = module_string_parse(s, &w);
    bool ok = got == err;
    if (ok && err == HV_OK)
        ok = w.role == role && w.cmdline_len == strlen(cmdline) &&
             !memcmp(w.cmdline, cmdline, w.cmdline_len) && !strcmp(w.bad, bad);
    tap_ok(ok, "module string '%.50s'", s ? s : "(null)");
    if (!ok)
        tap_note("err %d role %d cmdline '%.*s' bad '%s'", got, w.role, (int)w.cmdline_len,
                 w.cmdline, w.bad);
}
static void test_strings(void)
{
    string_is(NULL, HV_OK, ROLE_NONE, "", "");
    string_is("", HV_OK, ROLE_NONE, "", "");
    string_is("role=linux -- console=ttyS0 quiet", HV_OK, ROLE_LINUX, "console=ttyS0 quiet", "");
    string_is("vmlinuz role=linux -- a", HV_OK, ROLE_LINUX, "a", "");
    string_is("/boot/initrd.gz role=initrd", HV_OK, ROLE_INITRD, "", "");
    string_is("--  a -- b  ", HV_OK, ROLE_NONE, "a -- b", "");
    string_is("--", HV_OK, ROLE_NONE, "", "");
    string_is("  role=linux\t--\ta\n", HV_OK, ROLE_LINUX, "a", "");
    string_is("role=linux console=ttyS0", HV_OK, ROLE_LINUX, "", "console=ttyS0");
    string_is("role=linux--x", HV_OK, ROLE_UNKNOWN, "", "linux--x");
    string_is("role=", HV_OK, ROLE_NONE, "", "role=");
    string_is("role=\x01\xff", HV_OK, ROLE_UNKNOWN, "", "??");
    string_is("x y", HV_OK, ROLE_NONE, "", "y");
    string_is("role=raw addr=0x8000 entry=32770 mode=real -- a", HV_OK, ROLE_RAW, "a", "");
    string_is("role=raw addr=8000h", HV_OK, ROLE_RAW, "", "addr=8000h");
    string_is("role=raw addr=0x", HV_OK, ROLE_RAW, "", "addr=0x");
    string_is("role=raw addr=0x12345678901234567", HV_OK, ROLE_RAW, "", "addr=0x12345678901234567");
    string_is("role=raw addr=18446744073709551616", HV_OK, ROLE_RAW, "",
              "addr=18446744073709551616");
    string_is("role=raw mode=vm86", HV_OK, ROLE_RAW, "", "mode=vm86");
    char *big = malloc(MODULE_STRING_MAX);
    memset(big, 'x', MODULE_STRING_MAX);
    string_is(big, HV_INVALID, ROLE_NONE, "", "");
    big[MODULE_STRING_MAX - 1] = 0;
    memcpy(big, "-- ", 3);
    string_is(big, HV_OK, ROLE_NONE, big + 3, "");
    free(big);
}

static bool e820_is(unsigned i, uint64_t base, uint64_t end, uint32_t type)
{
    uint64_t at = vm.entry_rsi + BP_E820_TABLE + i * BP_E820_BYTES;
    return get(at, 8) == base && get(at + 8, 8) == end - base && get(at + 16, 4) == type;
}
static void test_load(void)
{
    tap_ok(machine(256), "a machine");
    memset(port_ptr(hpa(INITRD_HPA)), 0x5a, 3 * MIB + 123);
    tap_eq(load("role=linux -- console=ttyS0 quiet", 3 * MIB + 123), HV_OK,
           "kernel and initrd load");
    uint64_t bp = vm.entry_rsi;
    tap_ok(vm.entry_long && vm.entry_rip == 0x1000200, "64-bit entry at the preferred address");
    bool same = true;
    for (uint64_t i = 0; i < 40000; i++)
        same = same && get(0x1000000 + i, 1) == image[5 * 512 + i];
    tap_ok(same, "the kernel is there");
    uint64_t rd = get(bp + HDR_RAMDISK_IMAGE, 4);
    tap_eq(get(bp + HDR_RAMDISK_SIZE, 4), 3 * MIB + 123, "initrd size");
    tap_ok(rd + 3 * MIB + 123 <= 256 * MIB && rd > 252 * MIB && !(rd & PAGE_MASK), "... high");
    tap_ok(get(rd, 1) == 0x5a && get(rd + 3 * MIB + 122, 1) == 0x5a &&
               get(rd + 3 * MIB + 123, 1) == 0,
           "... all of it");
    uint64_t cmd = get(bp + HDR_CMD_LINE_PTR, 4);
    tap_str(p2m_ptr(&vm.p2m, gpa(cmd)), "console=ttyS0 quiet", "command line");
    tap_ok(get(bp + HDR_MAGIC, 4) == HDR_MAGIC_VALUE && get(bp + HDR_VERSION, 2) == 0x20f &&
               get(bp + HDR_INIT_SIZE, 4) == 30 * MIB,
           "the setup header is copied");
    tap_ok(get(bp + HDR_TYPE_OF_LOADER, 1) == 0xff && get(bp + HDR_CODE32_START, 4) == 0x1000000 &&
               get(bp + HDR_LOADFLAGS, 1) == HDR_LOADED_HIGH,
           "loader fields");
    tap_eq(get(bp + BP_ACPI_RSDP, 8), 0xe0000, "RSDP");
    tap_ok(get(bp, 8) == 0 && get(bp + 8, 8) == 0 && get(bp + 0x1ef, 1) == 0,
           "screen_info and the sentinel are zero");
    tap_eq(get(bp + BP_E820_ENTRIES, 1), 6, "six e820 entries");
    tap_ok(e820_is(0, 0, 0x9fc00, 1) && e820_is(1, 0x9fc00, 0xa0000, 2) &&
               e820_is(2, 0xe0000, MIB, 2) && e820_is(3, MIB, 256 * MIB, 1) &&
               e820_is(4, 0xfec00000, 0xfec01000, 2) && e820_is(5, 0xfee00000, 0xfee01000, 2),
           "... with the right ranges");
    tap_ok(get(0x40e, 2) == 0x9fc0 && get(0x413, 2) == 639, "BIOS data area");
}

/* Walks the tables the loader built. */
static uint64_t walk(uint64_t va)
{
    uint64_t t = vm.entry_cr3;
    for (int level = 3; level >= 1; level--) {
        uint64_t e = get(t + ((va >> (12 + 9 * level)) & 511) * 8, 8);
        if (!(e & PTE_P) || !(e & PTE_W))
            return UINT64_MAX;
        if (level == 1)
            return (e & PTE_PS) ? (e & PTE_ADDR) | (va & REGION_MASK) : UINT64_MAX;
        t = e & PTE_ADDR;
    }
    return UINT64_MAX;
}
static void test_tables(void)
{
    uint64_t wrong = 0;
    for (uint64_t a = 0x123; a < 0x100000000ull; a += 0x1ff000)
        wrong += walk(a) != a;
    tap_eq(wrong, 0, "identity tables over 4 GiB");
    tap_eq(walk(0x100000000ull), UINT64_MAX, "... and no more");
    tap_ok(vm.entry_rsp > vm.entry_cr3 + 6 * 4096 && vm.entry_rsp < 0x9fc00, "a stack");
}

static void test_placement(void)
{
    machine(256);
    put(HDR_INITRD_ADDR_MAX, 0x37ffffff / 8, 4);
    tap_eq(load("", 5000), HV_OK, "initrd_addr_max");
    uint64_t rd = get(vm.entry_rsi + HDR_RAMDISK_IMAGE, 4);
    tap_ok(rd + 5000 <= 0x37ffffff / 8 + 1 && rd > 0x37ffffff / 8 - 3 * 4096, "... is respected");
    machine(64);
    put(HDR_PREF_ADDRESS, 40 * MIB, 8);
    tap_eq(load("", 0), HV_OK, "a relocatable kernel with a preference too high for the RAM");
    tap_eq(vm.entry_rip, 0x200200, "... goes to its lowest aligned address");
    machine(64);
    put(HDR_PREF_ADDRESS, 40 * MIB, 8);
    put(HDR_RELOCATABLE, 0, 1);
    tap_eq(load("", 0), HV_NOMEM, "one that is not relocatable is refused");
    tap_ok(strstr(fake_console(), "mem=") != NULL, "... with the remedy");
    machine(64);
    put(HDR_INIT_SIZE, 63 * MIB, 4);
    tap_eq(load("", 0), HV_NOMEM, "a kernel too large for the RAM");
    machine(64);
    tap_eq(load("", 40 * MIB), HV_NOMEM, "an initrd that does not fit");
    tap_ok(strstr(fake_console(), "initrd has 40960 KiB") != NULL, "... is named");
    machine(64);
    tap_eq(load("", 17 * MIB), HV_OK, "one that fits");
    machine(256);
    put(HDR_XLOADFLAGS, 0, 2);
    tap_eq(load("", 0), HV_OK, "a 32-bit kernel");
    tap_ok(!vm.entry_long && vm.entry_rip == 0x1000000, "... starts at its first byte");
    machine(256);
    put(HDR_PREF_ADDRESS, 0x10000, 8);
    put(HDR_RELOCATABLE, 0, 1);
    tap_eq(load("", 0), HV_UNSUPPORTED, "a fixed address below 1 MiB");
}

/* One change to a good image must be refused with these words. */
static void damaged(unsigned at, uint64_t v, unsigned bytes, enum hv_err err, const char *words)
{
    struct bzimage b;
    const char *why = "";
    image_build();
    put(at, v, bytes);
    enum hv_err got = bzimage_parse(image, image_len, &b, &why);
    tap_ok(got == err && strstr(why, words), "0x%x = 0x%" PRIx64 ": %s", at, v, words);
    if (got != err || !strstr(why, words))
        tap_note("err %d, '%s'", got, why);
}
static void test_damage(void)
{
    struct bzimage b;
    const char *why;
    machine(64);
    damaged(HDR_MAGIC, 0, 4, HV_INVALID, "no HdrS");
    damaged(HDR_BOOT_FLAG, 0, 2, HV_INVALID, "no HdrS");
    damaged(HDR_VERSION, 0x201, 2, HV_UNSUPPORTED, "older than 2.02");
    damaged(HDR_VERSION, 0x300, 2, HV_UNSUPPORTED, "3.00 or newer");
    damaged(HDR_LOADFLAGS, 0, 1, HV_UNSUPPORTED, "zImage");
    damaged(HDR_SETUP_SECTS, 200, 1, HV_INVALID, "truncated");
    damaged(HDR_SYSSIZE, 40000 / 16 + 1, 4, HV_INVALID, "truncated");
    damaged(HDR_SYSSIZE, UINT32_MAX, 4, HV_INVALID, "truncated");
    damaged(HDR_JUMP, 0x10eb, 2, HV_INVALID, "wrong length");
    damaged(HDR_JUMP, 0xffeb, 2, HV_INVALID, "wrong length");
    damaged(HDR_KERNEL_ALIGNMENT, 0x300000, 4, HV_INVALID, "power of two");
    damaged(HDR_KERNEL_ALIGNMENT, 0xffffffff, 4, HV_INVALID, "power of two");
    damaged(HDR_INIT_SIZE, 0xffffffff, 4, HV_INVALID, "2 GiB");
    damaged(HDR_PREF_ADDRESS, UINT64_MAX, 8, HV_INVALID, "2 GiB");
    /* every truncation: a buffer of exactly that length, so that the sanitizer sees a read too far
     */
    unsigned accepted = 0;
    image_build();
    for (uint64_t len = 0; len < image_len; len += len < 700 ? 1 : 997) {
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, image, len);
        accepted += bzimage_parse(copy, len, &b, &why) == HV_OK;
        free(copy);
    }
    tap_eq(accepted, 0, "no truncated image is accepted");
    tap_eq(bzimage_parse(image, image_len, &b, &why), HV_OK, "the whole one is");
    fake_console_clear();
    put(HDR_MAGIC, 0, 4);
    tap_eq(load("", 0), HV_INVALID, "vm_load refuses it");
    tap_ok(strstr(fake_console(), "HdrS") != NULL, "... and says why");
}

/* Kernels from before each field: what the protocol says they mean without it. */
static void test_old_versions(void)
{
    struct bzimage b;
    const char *why;
    static const struct {
        uint16_t version;
        uint8_t header; /* length byte of the jump */
        bool moves;
        uint64_t initrd_max;
        uint32_t cmdline_max;
    } old[] = {{0x202, 0x2a, false, 0x37ffffff, 255},
               {0x203, 0x2e, false, 0x7fffffff, 255},
               {0x205, 0x33, true, 0x7fffffff, 255},
               {0x206, 0x3a, true, 0x7fffffff, 2047},
               {0x20a, 0x62, true, 0x7fffffff, 2047}};

    machine(64);
    for (unsigned i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
        image_build();
        put(HDR_VERSION, old[i].version, 2);
        put(HDR_JUMP, 0xeb | (uint64_t)old[i].header << 8, 2);
        tap_ok(bzimage_parse(image, image_len, &b, &why) == HV_OK, "protocol 2.%02u",
               old[i].version & 0xffu);
        tap_ok(b.relocatable == old[i].moves && b.initrd_max == old[i].initrd_max &&
                   b.cmdline_max == old[i].cmdline_max && !b.entry_long,
               "... what its header has");
        tap_eq(b.pref_address, old[i].version >= 0x20a ? 0x1000000 : 0x100000, "... its place");
        tap_ok(b.init_size >= b.kernel_bytes + MIB, "... and room to unpack");
        put(HDR_JUMP, 0xeb | (uint64_t)(old[i].header - 1) << 8, 2);
        tap_eq(bzimage_parse(image, image_len, &b, &why), HV_INVALID, "... a shorter header");
    }
    image_build();
    put(HDR_VERSION, 0x203, 2);
    tap_eq(load("", 4096), HV_OK, "a kernel of 2.03 with an initrd loads");
    tap_ok(!vm.entry_long && vm.entry_rip == 0x100000, "... at 1 MiB, by the 32-bit entry");
}

static void test_modules(void)
{
    machine(128);
    struct vm_module m[4] = {{hpa(INITRD_HPA), 100, "role=initrd"},
                             {hpa(KERNEL_HPA), image_len, "vmlinuz -- x=1"},
                             {hpa(INITRD_HPA), 100, ""},
                             {hpa(INITRD_HPA), 100, "role=initrd"}};
    tap_eq(vm_load(&vm, m, 2), HV_OK, "initrd named, kernel not, in either order");
    tap_str(p2m_ptr(&vm.p2m, gpa(get(vm.entry_rsi + HDR_CMD_LINE_PTR, 4))), "x=1",
            "the kernel's command line");
    fake_console_clear();
    tap_eq(vm_load(&vm, m, 4), HV_OK, "more modules than needed");
    tap_ok(strstr(fake_console(), "not used") != NULL, "... a warning");
    tap_eq(vm_load(&vm, m, 0), HV_INVALID, "no module");
    tap_ok(strstr(fake_console(), "module2") != NULL, "... the remedy");
    tap_eq(vm_load(&vm, m, 1), HV_INVALID, "no kernel");
    m[0].string = "role=firmware";
    tap_eq(vm_load(&vm, m, 2), HV_INVALID, "an unknown role");
    tap_ok(strstr(fake_console(), "role=firmware is not known") != NULL, "... is named");
    m[0] = m[1];
    m[0].string = m[1].string = "role=linux";
    tap_eq(vm_load(&vm, m, 2), HV_INVALID, "two kernels");
    m[0].len = 0;
    tap_eq(vm_load(&vm, m, 1), HV_INVALID, "an empty module");
    char *big = malloc(4000);
    memset(big, 'y', 3999);
    big[3999] = 0;
    memcpy(big, "-- ", 3);
    fake_console_clear();
    tap_eq(load(big, 0), HV_INVALID, "a command line the kernel cannot take");
    tap_ok(strstr(fake_console(), "2047") != NULL, "... with the limit");
    big[3 + 2047] = 0;
    tap_eq(load(big, 0), HV_OK, "one of exactly its size");
    free(big);
}

static void test_copy_in(void)
{
    machine(64);
    uint8_t data[64];
    memset(data, 0x77, sizeof(data));
    tap_eq(vm_copy_in(&vm, gpa(2 * MIB - 32), data, 64), HV_OK, "over a granule's end");
    tap_ok(get(2 * MIB - 32, 8) == 0x7777777777777777 && get(2 * MIB + 24, 8) == 0x7777777777777777,
           "... arrives in both");
    tap_eq(vm_copy_in(&vm, gpa(64 * MIB - 32), data, 64), HV_RANGE, "over the end of RAM");
    tap_eq(get(64 * MIB - 32, 8), 0, "... nothing is copied");
    tap_eq(vm_copy_in(&vm, gpa(UINT64_MAX - 3), data, 64), HV_RANGE, "over the end of the world");
    tap_eq(vm_copy_in(&vm, gpa(64 * MIB), data, 0), HV_OK, "no bytes");
}

static void test_file(const char *name)
{
    machine(256);
    FILE *f = fopen(name, "rb");
    if (!f) {
        tap_ok(false, "open %s", name);
        return;
    }
    image_len = fread(image, 1, (size_t)(INITRD_HPA - KERNEL_HPA), f);
    fclose(f);
    enum hv_err err = load("role=linux -- console=ttyS0", 0);
    tap_eq(err, HV_OK, "a real kernel loads");
    tap_note("%s", fake_console());
}

int main(int argc, char **argv)
{
    test_strings();
    test_load();
    test_tables();
    test_placement();
    test_damage();
    test_old_versions();
    test_modules();
    test_copy_in();
    if (argc > 1)
        test_file(argv[1]);
    return tap_done();
}
