/* SPDX-License-Identifier: BSD-2-Clause */
/* hvsig=hyperv: leaves, MSRs, hypercall page, and the hypercalls, well and badly formed. */
#include "tools/tests/exits_rig.h"
#include "hv/base/stats.h"
#include "hv/port/cpu.h"

#define OS_ID 0x40000000
#define HYPERCALL 0x40000001
#define VP_INDEX 0x40000002
#define REF_COUNT 0x40000020
#define REF_TSC 0x40000021
#define ASSIST 0x40000073
#define CODE_PAGE 0x6000
#define INPUT 0x7000
#define REPS(n) ((uint64_t)(n) << 32)
#define BANKS(n) ((uint64_t)(n) << 17)
#define FAST BIT(16)

static uint32_t status;
static uint32_t reps;

static void call(uint64_t control, uint64_t input, uint64_t output)
{
    rig_code("\x0f\x01\xd9", 3);
    *gpr(RDX) = control >> 32;
    *gpr(RAX) = (uint32_t)control;
    *gpr(RBX) = input >> 32;
    *gpr(RCX) = (uint32_t)input;
    *gpr(RDI) = output >> 32;
    *gpr(RSI) = (uint32_t)output;
    rig_exit(EXIT_VMMCALL);
    status = (uint32_t)*gpr(RAX);
    reps = (uint32_t)*gpr(RDX);
}

static void fresh(void)
{
    rig_new(4, false);
    opt.hvsig = HVSIG_HYPERV;
    for (uint32_t c = 0; c < 4; c++) {
        struct vio svr = {
            .cpu = c, .addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};
        vbus_mmio(vpc_bus(vm.pc), &svr);
        atomic_store(&co.cpu[c].mode, c ? MODE_HALTED : MODE_HOST);
    }
    tap_ok(msr_write(bsp(), OS_ID, 0x8100000000000000) &&
               msr_write(bsp(), HYPERCALL, CODE_PAGE | 1),
           "the system names itself and gives a page");
}

static void test_leaves(void)
{
    uint32_t r[4];

    fresh();
    cpuid_answer(bsp(), 0x40000000, 0, r);
    tap_ok(r[0] == 0x40000005 && !memcmp(&r[1], "Microsoft Hv", 12), "the vendor leaf");
    cpuid_answer(bsp(), 0x40000001, 0, r);
    tap_ok(!memcmp(&r[0], "Hv#1", 4), "the interface");
    cpuid_answer(bsp(), 0x40000003, 0, r);
    tap_ok((r[0] & 0x262) == 0x262, "counter, hypercall, index and reference TSC may be used");
    cpuid_answer(bsp(), 0x40000004, 0, r);
    tap_eq(r[0] & 0x404, 0x404, "flushes and IPIs are recommended");
    opt.pvflush = opt.pvipi = false;
    cpuid_answer(bsp(), 0x40000004, 0, r);
    tap_eq(r[0] & 0x404, 0, "... unless they are off");
    cpuid_answer(bsp(), 0x40000100, 0, r);
    tap_ok(!memcmp(&r[1], "PatchbayHV__", 12), "our own name is beside it");
    opt.hvsig = HVSIG_KVM;
    uint64_t value;
    tap_ok(!msr_read(bsp(), VP_INDEX, &value) && !msr_write(bsp(), OS_ID, 1),
           "with another signature there is none of it");
}

static void test_msrs(void)
{
    uint64_t value;

    fresh();
    tap_ok(!memcmp(port_ptr(hpa(CODE_PAGE)), "\x0f\x01\xc1\xc3", 4),
           "the page makes hypercalls, the vendor's way");
    tap_ok(msr_read(&sub[2], VP_INDEX, &value) && value == 2, "a CPU's index");
    tap_ok(!msr_write(bsp(), VP_INDEX, 1), "which is read-only");
    tap_ok(!msr_write(bsp(), HYPERCALL, RIG_RAM | 1), "a page outside of RAM: #GP");
    tap_ok(msr_read(&sub[1], HYPERCALL, &value) && value == (CODE_PAGE | 1), "all CPUs share it");
    tap_ok(msr_write(bsp(), REF_TSC, INPUT | 1), "the reference TSC page");
    uint64_t *page = port_ptr(hpa(INPUT));
    uint64_t scaled = (uint64_t)(((unsigned __int128)5000000000ull * page[1]) >> 64);
    tap_ok((uint32_t)page[0] != 0 && (scaled == 49999999 || scaled == 50000000) && !page[2],
           "5 s at 1 GHz are 50 million ticks");
    for (uint64_t hz = 4399999999u; hz < 1ull << 33; hz += 400000000) { /* beyond 32 bits */
        fake_set_tsc_hz(hz);
        tap_ok(msr_write(bsp(), REF_TSC, INPUT | 1) &&
                   page[1] == (uint64_t)(((unsigned __int128)10000000 << 64) / hz),
               "the scale of a faster clock");
    }
    fake_set_tsc_hz(1000000000);
    tap_ok(msr_read(bsp(), REF_COUNT, &value) && value < 1000, "the counter counts the same");
    tap_ok(msr_write(bsp(), ASSIST, INPUT | 1) && msr_read(bsp(), ASSIST, &value) &&
               value == (INPUT | 1),
           "an assist page is taken");
    tap_ok(!msr_read(bsp(), 0x40000010, &value) && !msr_write(bsp(), 0x40000080, 0),
           "what is not told of gives #GP");
    tap_ok(msr_write(bsp(), OS_ID, 0) && !hyperv_calls(bsp()), "no name, no hypercalls");
    tap_ok(msr_write(bsp(), HYPERCALL, CODE_PAGE | 1) && !hyperv_calls(bsp()),
           "nor a page for them");
    call(8, 0, 0);
    tap_ok(took(VEC_UD), "#UD then");
}

static bool owed(uint32_t c)
{
    bool yes = atomic_load(&co.cpu[c].flush_owed);
    atomic_store(&co.cpu[c].flush_owed, 0);
    return yes;
}

static uint64_t *input(void)
{
    return port_ptr(hpa(INPUT));
}

static void test_flush(void)
{
    fresh();
    input()[2] = 0xc; /* address space and flags 0; CPUs 2 and 3 */
    call(2, INPUT, 0);
    tap_ok(!status && !owed(1) && owed(2) && owed(3), "a space, on CPUs 2 and 3");
    input()[1] = 1;
    uint64_t epoch = bsp()->mmu.epoch;
    call(2, INPUT, 0);
    tap_ok(!status && owed(1) && owed(2) && owed(3) && bsp()->mmu.epoch > epoch,
           "on all, this one too");
    input()[1] = 0;
    input()[2] = 1;
    input()[3] = 0x400000 | 1;
    uint64_t pages = hv_stats[0].n[STAT_flush_page];
    call(3 | REPS(1), INPUT, 0);
    tap_ok(!status && reps == 1, "a list of one element");
    tap_eq(hv_stats[0].n[STAT_flush_page] - pages, 2, "... of two pages");
    input()[3] = 0x400000 | 0xfff;
    epoch = bsp()->mmu.epoch;
    call(3 | REPS(1), INPUT, 0);
    tap_eq(bsp()->mmu.epoch - epoch, 1, "a long range is everything");
    input()[4] = 0x800000;
    call(3 | REPS(2), INPUT, 0);
    tap_ok(!status && reps == 2, "and so are two elements, done at once");
}

static void test_ex(void)
{
    fresh();
    input()[2] = 0; /* sparse */
    input()[3] = 1; /* bank 0 is there */
    input()[4] = 2;
    call(0x13 | BANKS(1), INPUT, 0);
    tap_ok(!status && owed(1) && !owed(2), "a sparse set of CPU 1");
    input()[5] = 0x400000;
    call(0x14 | BANKS(1) | REPS(1), INPUT, 0);
    tap_ok(!status && reps == 1 && owed(1), "with a list behind it");
    input()[2] = 1;
    call(0x13, INPUT, 0);
    tap_ok(!status && owed(1) && owed(2) && owed(3), "the set of all");
    input()[2] = 2;
    call(0x13, INPUT, 0);
    tap_eq(status, 5, "a format that is none");
    input()[2] = input()[3] = 0;
    call(0x13, INPUT, 0);
    tap_ok(!status && !owed(1) && !owed(2), "an empty set");
}

static void test_refused(void)
{
    fresh();
    call(2, INPUT + 4, 0);
    tap_eq(status, 4, "misaligned input");
    call(2, RIG_RAM, 0);
    tap_eq(status, 5, "input outside of RAM");
    call(2, RIG_RAM - 16, 0);
    tap_eq(status, 5, "or reaching there");
    call(2 | FAST, 0, 0);
    tap_eq(status, 3, "a fast flush has no room for its input");
    call(3, INPUT, 0);
    tap_eq(status, 3, "a list of nothing");
    call(2 | REPS(1), INPUT, 0);
    tap_eq(status, 3, "a space is not repeated");
    call(0x5c, INPUT, 0);
    tap_eq(status, 2, "a call that is not there");
    call(8, 0, 0);
    tap_eq(status, 0, "a long spin is noted");
    vendor[0].segs.cpl = 3;
    call(2, INPUT, 0);
    tap_ok(took(VEC_UD), "a program's gives #UD");
    vendor[0].segs.cpl = 0;
    opt.pvflush = opt.pvipi = false;
    call(2, INPUT, 0);
    tap_eq(status, 2, "pvflush=off");
    call(0xb | FAST, 0x51, 2);
    tap_eq(status, 2, "pvipi=off");
}

static void test_ipi(void)
{
    fresh();
    call(0xb | FAST, 0x51, 6);
    tap_ok(!status && vlapic_pending(vm.pc, 1) == 0x51 && vlapic_pending(vm.pc, 2) == 0x51 &&
               vlapic_pending(vm.pc, 3) == -1,
           "a fast IPI to CPUs 1 and 2");
    input()[0] = 0x52;
    input()[1] = 8;
    call(0xb, INPUT, 0);
    tap_ok(!status && vlapic_pending(vm.pc, 3) == 0x52, "one by memory");
    input()[1] = 1; /* all */
    input()[0] = 0x71;
    call(0x15, INPUT, 0);
    tap_ok(!status && vlapic_pending(vm.pc, 0) == 0x71 && vlapic_pending(vm.pc, 3) == 0x71,
           "to the set of all");
    call(0xb | FAST, 0x0f, 2);
    tap_eq(status, 5, "no legal vector");
    call(0xb | FAST, 0x151, 2);
    tap_eq(status, 5, "nor one above 255");
    call(0xb | FAST, BIT(32) | 0x51, 2);
    tap_eq(status, 5, "nor another trust level");
}

/* The assist page's first word does what KVM's PV EOI does. */
static void test_eoi(void)
{
    uint64_t value;

    fresh();
    uint32_t *word = port_ptr(hpa(INPUT));
    rig_code("\x90\x90", 2);
    tap_ok(msr_write(bsp(), ASSIST, INPUT | 1), "an assist page");
    bsp()->vcpu.regs.rflags |= RFLAGS_IF;
    vlapic_set_irr(vm.pc, 0, 0, 0x51, false);
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x51 && *word == 1, "an interrupt: no EOI required");
    *word = 0;
    subvmm_round(bsp());
    vlapic_set_irr(vm.pc, 0, 0, 0x41, false);
    tap_eq(vlapic_pending(vm.pc, 0), 0x41, "... and it was done");
    tap_ok(msr_write(bsp(), ASSIST, 0), "off");
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.vector == 0x41 && *word == 0, "no word any more");
    vlapic_set_irr(vm.pc, 0, 0, 0x42, false);
    tap_eq(vlapic_pending(vm.pc, 0), -1, "the EOI is awaited");
    tap_ok(msr_write(bsp(), 0x40000070, 0), "by its MSR");
    tap_eq(vlapic_pending(vm.pc, 0), 0x42, "it comes");
    tap_ok(msr_write(bsp(), 0x40000072, 0x50) && vlapic_pending(vm.pc, 0) == -1 &&
               msr_read(bsp(), 0x40000072, &value) && value == 0x50,
           "the task priority");
    tap_ok(msr_write(bsp(), 0x40000071, 2ull << 56 | 0x61) && vlapic_pending(vm.pc, 2) == 0x61 &&
               msr_read(bsp(), 0x40000071, &value) && value == (2ull << 56 | 0x61),
           "an interrupt command");
}

int main(void)
{
    test_eoi();
    test_leaves();
    test_msrs();
    test_flush();
    test_ex();
    test_refused();
    test_ipi();
    return tap_done();
}
