/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot framebuffer as the guest's screen: when it is given, where RAM ends, what Linux is told.
 */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/base/options.h"
#include "hv/mem/phys.h"
#include "hv/vm/load/load.h"
#include "hv/vm/load/loader.h"
#include "hv/vm/screen.h"
#include "hv/vm/tables/bootparams.h"

#define MIB 0x100000ull
#define GIB 0x40000000ull
#define FB 0x70000000ull

static struct vm vm;
static struct hv_options opt;
static const struct vm_screen usual = {FB, 4096, 1024, 768, 32, {16, 8, 8, 8, 0, 8}};

static void machine(void)
{
    fake_reset();
    fake_arena(0, 512 * MIB);
    phys_reset();
    memset(&vm, 0, sizeof(vm));
    memset(&opt, 0, sizeof(opt));
    vm.opt = &opt;
    if (phys_add(hpa(MIB), 511 * MIB) != HV_OK)
        tap_ok(false, "the machine of the test is set up");
}

static void test_asked(void)
{
    struct vm_module m[2] = {{hpa(0), 1, "role=linux pci=all display=guest -- x"},
                             {hpa(0), 1, "role=initrd"}};
    struct module_words w;

    tap_ok(vm_screen_asked(m, 2) && !vm_screen_asked(m + 1, 1),
           "display=guest in a module's words");
    m[0].string = "role=linux -- display=guest";
    tap_ok(!vm_screen_asked(m, 2), "behind -- it is the guest's own word");
    tap_ok(module_string_parse("display=ours", &w) == HV_OK && !w.display &&
               strcmp(w.bad, "display=ours") == 0,
           "another value is not understood");
}

static void refused(struct vm_screen s, const char *text, const char *what)
{
    machine();
    const char *why = vm_screen_give(&vm, &s);
    tap_ok(why && strstr(why, text) && !vm.screen.base && !vm.p2m.screen.frames, "%s", what);
}

static void test_refused(void)
{
    struct vm_screen s = usual;

    s.base = 0;
    refused(s, "set no graphics mode", "no framebuffer");
    s = usual, s.bpp = 8;
    refused(s, "15 to 32 bits", "a palette");
    s = usual, s.width = 1025;
    refused(s, "15 to 32 bits", "lines longer than their distance");
    s = usual, s.base = 256 * MIB;
    refused(s, "lies where", "in RAM");
    s = usual, s.base = 512 * MIB - 4096;
    refused(s, "lies where", "its beginning in RAM");
    s = usual, s.base += 16;
    refused(s, "lies where", "not on a page");
    s = usual, s.base = 0xfec00000ull - 2 * MIB;
    refused(s, "lies where", "over the interrupt controllers");
    s = usual, s.base = UINT64_MAX - 4095;
    refused(s, "lies where", "to the end of all addresses");
    s = usual, s.pitch = 0xfffff000u;
    s.height = 0xffffffffu;
    refused(s, "lies where", "larger than any screen");
    s = usual, s.base = 0xa0000;
    refused(s, "lies where", "below 1 MiB");
}

static void test_given(void)
{
    hpa_t h;

    machine();
    tap_ok(vm_screen_give(&vm, &usual) == NULL && vm_memory_init(&vm, &opt, 0) == HV_OK, "given");
    tap_ok(p2m_device(&vm.p2m, gpa(FB), &h) && h.v == FB &&
               p2m_device(&vm.p2m, gpa(FB + 4096 * 768 - 1), &h) && h.v == FB + 4096 * 768 - 1,
           "device memory at its own address");
    tap_ok(!p2m_device(&vm.p2m, gpa(FB - 1), &h) && !p2m_device(&vm.p2m, gpa(FB + 4096 * 768), &h),
           "and nothing around it");
    tap_ok(p2m_owns_device(&vm.p2m, gfn(FB >> 12), pfn(FB >> 12)) &&
               !p2m_owns_device(&vm.p2m, gfn(FB >> 12), pfn((FB >> 12) + 1)),
           "owned, page by page");
}

/* The guest has more RAM than there are addresses below its screen. */
static void test_below(void)
{
    struct vm_screen s = usual;

    machine();
    fake_arena(0, 5 * GIB);
    phys_reset();
    bool ok = phys_add(hpa(MIB), FB - MIB) == HV_OK && phys_add(hpa(4 * GIB), GIB) == HV_OK;
    s.base = FB + 12 * MIB;
    ok = ok && vm_screen_give(&vm, &s) == NULL && vm_memory_init(&vm, &opt, 0) == HV_OK;
    tap_ok(ok && vm.ram_low_end == FB + 12 * MIB && vm.ram_high_end > 4 * GIB,
           "RAM ends below the screen and goes on above 4 GiB");
}

static uint64_t get(const uint8_t *page, unsigned at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, page + at, bytes);
    return v;
}

static void test_linux(void)
{
    static uint8_t page[BP_BYTES];
    struct vm_screen s = usual;

    linux_screen_fill(&(struct vm_screen){.base = 0}, page);
    tap_eq(get(page, BP_SCREEN_KIND, 1), 0, "without a screen the page says nothing");
    linux_screen_fill(&s, page);
    tap_ok(get(page, 0x0f, 1) == 0x23 && get(page, 0x12, 2) == 1024 && get(page, 0x14, 2) == 768 &&
               get(page, 0x16, 2) == 32 && get(page, 0x18, 4) == FB && get(page, 0x1c, 4) == 48 &&
               get(page, 0x24, 2) == 4096 && get(page, 0x36, 4) == 0,
           "a linear framebuffer");
    tap_ok(get(page, 0x26, 6) == 0x000808081008ull, "bits and place of red, green, blue");
    s.base = 0x4000000000ull;
    linux_screen_fill(&s, page);
    tap_ok(get(page, 0x0f, 1) == 0x70 && get(page, 0x18, 4) == 0 && get(page, 0x3a, 4) == 0x40 &&
               get(page, 0x36, 4) == 2 && get(page, 0x1c, 4) == 4096 * 768,
           "one above 4 GiB");
}

int main(void)
{
    test_asked();
    test_refused();
    test_given();
    test_below();
    test_linux();
    return tap_done();
}
