/* SPDX-License-Identifier: BSD-2-Clause */
/* A write to an index register and the access that follows it, in one exit: which, and when not. */
#include "arch-x86/defs/pc.h"
#include "hv/base/stats.h"
#include "tools/tests/exits_rig.h"

#define CONFIG_BRIDGE 0x80000000u /* bus 0, device 0, function 0: vendor and device */
#define BRIDGE 0x00081b36u

/* RIP after an exit for OUT DX, EAX (1 byte) at `at`, followed by `next`. */
static uint64_t after_out(uint64_t at, uint16_t port, uint8_t size, const char *next, size_t n)
{
    struct vmexit x = {.kind = EXIT_IO, .io_port = port, .io_size = size, .next_rip = at + 1};
    struct mmu_fault_out out;

    memcpy(port_ptr(hpa(at + 1)), next, n);
    tap_eq(mmu_fault(&bsp()->mmu, gva(at), PFEC_I, false, &out), MMU_RESUME, "code is mapped");
    bsp()->vcpu.regs.rip = at;
    bsp()->vcpu.regs.gpr[RAX] = size == 4 ? CONFIG_BRIDGE : 0x0d;
    bsp()->vcpu.regs.gpr[RDX] = port;
    exit_dispatch(bsp(), &x);
    return bsp()->vcpu.regs.rip - at - 1;
}

static const char load_in[] = "\xba\xfc\x0c\x00\x00\xed"; /* mov edx, 0cfch; in eax, dx */

static void test_done(void)
{
    struct vcpu *v;

    rig_new(1, false);
    v = &bsp()->vcpu;
    uint64_t pairs = hv_stats[0].n[STAT_io_pairs];
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, load_in, 6), 6,
           "address, and data: one exit");
    tap_eq((uint32_t)v->regs.gpr[RAX], BRIDGE, "with what the register holds");
    tap_eq(v->regs.gpr[RDX], 0xcfc, "and the port's number in DX");
    v->regs.gpr[RDX] = 0;
    tap_eq(after_out(RIG_CODE, CMOS_INDEX, 1, "\xe4\x71", 2), 2,
           "CMOS, its port in the instruction");
    tap_eq(v->regs.gpr[RAX] & 0x80, 0x80, "register D says that its memory is valid");
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, "\xba\x00\x00\x00\x00\x90", 6), 5,
           "a MOV alone is carried out");
    tap_eq(v->regs.gpr[RDX], 0, "as it says");
    tap_eq(hv_stats[0].n[STAT_io_pairs] - pairs, 2, "two pairs were counted");
}

static void test_not(void)
{
    struct vcpu *v;

    rig_new(1, false);
    v = &bsp()->vcpu;
    tap_eq(after_out(RIG_CODE, 0x3f8, 1, load_in, 6), 0, "no other port");
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 1, load_in, 6), 0, "nor a byte there");
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, "\xe4\x71", 2), 0,
           "nor with a port that is not its data register: it may be of a device of the VM's own");
    tap_eq(after_out(RIG_CODE, CMOS_INDEX, 1, "\xe4\xfc", 2), 0, "of CMOS as well");
    tap_eq(after_out(RIG_CODE + PAGE_SIZE - 1, PCI_CONFIG_ADDRESS, 4, load_in, 6), 0,
           "nor across a page");
    vendor[0].segs.cpl = 3;
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, load_in, 6), 0,
           "nor by a program: ports may be denied to it");
    vendor[0].segs.cpl = 0;
    vendor[0].debug.dr7 |= 1;
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, load_in, 6), 0,
           "nor where a breakpoint may lie");
    vendor[0].debug.dr7 &= ~1ull;
    v->regs.rflags |= RFLAGS_TF;
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, load_in, 6), 0, "nor when single-stepping");
    tap_ok(took(VEC_DB), "which traps after the write");
    v->regs.rflags &= ~RFLAGS_TF;
    opt.iopair = false;
    tap_eq(after_out(RIG_CODE, PCI_CONFIG_ADDRESS, 4, load_in, 6), 0, "iopair=off: two exits");
}

int main(void)
{
    test_done();
    test_not();
    return tap_done();
}
