/* SPDX-License-Identifier: BSD-2-Clause */
/* The bitmaps as a processor reads them (SDM volume 3, 24.6.4 and 24.6.9, 25.1.3 "Instructions That
 * Cause VM Exits Conditionally"): which MSRs and ports exit, with the hypervisor's map and with
 * that of a VM that owns I/O BARs. */
#include "tools/tests/tap.h"
#include "arch-x86/cpu/msr_list.h"
#include "arch-x86/defs/x86.h"
#include "hv/pass/state.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/vmcs_fake.h"
#include "arch-x86/vmx/perm.c"

struct vmx_caps vmx_caps;

/* A list of the test's own: the real one is made of what the processor does. */
static const struct {
    uint32_t msr;
    bool write;
} list[] = {{MSR_FS_BASE, true}, {MSR_LSTAR, false}, {MSR_SYSENTER_CS, true}};

void msr_list_each(bool tsc_aux, void (*allow_one)(uint32_t msr, bool write))
{
    for (size_t i = 0; i < ARRAY_SIZE(list); i++)
        allow_one(list[i].msr, list[i].write);
    if (tsc_aux)
        allow_one(MSR_TSC_AUX, true);
}

static bool bit_of(uint64_t map, uint32_t n)
{
    return ((const uint8_t *)(uintptr_t)map)[n / 8] >> n % 8 & 1;
}

static bool msr_exits(uint32_t msr, bool write)
{
    uint64_t map = fake_vmcs[VMCS_MSR_BITMAP] + (write ? 0x800 : 0);

    if (msr <= 0x1fff)
        return bit_of(map, msr);
    return msr < 0xc0000000 || msr > 0xc0001fff || bit_of(map + 0x400, msr & 0x1fff);
}

/* An access of n bytes exits if one of its ports does, or if it wraps around. base: of the two
 * bitmaps, as an address here. */
static bool port_exits(uint32_t port, unsigned n, uint64_t a, uint64_t b)
{
    for (unsigned i = 0; i < n; i++) {
        if (port + i > 0xffff)
            return true;
        if (bit_of(port + i < 0x8000 ? a : b, (port + i) & 0x7fff))
            return true;
    }
    return false;
}

static void test_msrs(void)
{
    unsigned n[2] = {0};

    vmx_caps.rdtscp = false;
    vmx_perm_build();
    vmx_perm_write(0);
    for (uint32_t i = 0; i < 0x4000; i++) {
        uint32_t msr = i < 0x2000 ? i : 0xc0000000 + i - 0x2000;
        n[0] += !msr_exits(msr, false);
        n[1] += !msr_exits(msr, true);
    }
    tap_ok(n[0] == 3 && n[1] == 2, "all MSRs exit but those of the list");
    tap_ok(!msr_exits(MSR_FS_BASE, false) && !msr_exits(MSR_FS_BASE, true), "one that is written");
    tap_ok(!msr_exits(MSR_LSTAR, false) && msr_exits(MSR_LSTAR, true), "one that is read");
    tap_ok(!msr_exits(MSR_SYSENTER_CS, false) && !msr_exits(MSR_SYSENTER_CS, true), "a low one");
    tap_ok(msr_exits(MSR_TSC_AUX, false), "TSC_AUX exits without RDTSCP");
    tap_ok(msr_exits(MSR_EFER, false) && msr_exits(MSR_EFER, true), "EFER exits");
    vmx_caps.rdtscp = true;
    vmx_perm_build();
    tap_ok(!msr_exits(MSR_TSC_AUX, false) && !msr_exits(MSR_TSC_AUX, true), "... and not with it");
}

static void test_no_ports(void)
{
    uint64_t a = fake_vmcs[VMCS_IO_BITMAP_A], b = fake_vmcs[VMCS_IO_BITMAP_B];
    unsigned open = 0;

    for (uint32_t port = 0; port < 0x10000; port++)
        open += !port_exits(port, 1, a, b);
    tap_eq(open, 0, "every port exits");
    tap_ok(!(a & PAGE_MASK) && !(b & PAGE_MASK) && a != b, "two pages");
}

/* Two BARs: one over the middle, where the first bitmap ends, one at the very end. */
static void test_own_ports(void)
{
    static const struct port_pci_bar bars[] = {{.base = 0x7ff0, .size = 0x20, .io = true},
                                               {.base = 0xfff8, .size = 8, .io = true},
                                               {.base = 0x20000, .size = 8, .io = true}};
    static struct pass p;
    unsigned wrong = 0;

    fake_arena(0x10000000, REGION_SIZE);
    p.ports = hpa(0x10003000);
    memset(port_ptr(p.ports), 0xff, PORT_IO_MAP_BYTES);
    for (size_t i = 0; i < ARRAY_SIZE(bars); i++)
        pass_ports_open(&p, &bars[i]);
    vmx_perm_write(pass_ports(&p).v);
    uint64_t a = fake_vmcs[VMCS_IO_BITMAP_A], b = fake_vmcs[VMCS_IO_BITMAP_B];
    tap_ok(a == 0x10003000 && b == 0x10004000, "the VM's own map, both halves");
    a = (uintptr_t)port_ptr(hpa(a));
    b = (uintptr_t)port_ptr(hpa(b));
    for (uint32_t port = 0; port < 0x10000; port++) {
        bool own = (port >= 0x7ff0 && port < 0x8010) || port >= 0xfff8;
        wrong += port_exits(port, 1, a, b) == own;
    }
    tap_eq(wrong, 0, "the ports of its BARs do not exit, all others do");
    tap_ok(!port_exits(0x7ffe, 4, a, b), "nor an access over the middle");
    tap_ok(port_exits(0x7fee, 4, a, b) && port_exits(0x800e, 4, a, b), "one over the edge does");
    tap_ok(port_exits(0xfffe, 4, a, b), "one that wraps around does");
}

int main(void)
{
    test_msrs();
    test_no_ports();
    test_own_ports();
    return tap_done();
}
