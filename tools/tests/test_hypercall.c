/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's hypercalls and the byte of its steal-time page that leaves flushes to a halted VCPU. */
#include "tools/tests/exits_rig.h"
#include "hv/base/stats.h"

#define SEND_IPI 10
#define YIELD 11
#define MSR_STEAL 0x4b564d03
#define PAGE_AT 0x5000
#define INVALID ((uint32_t)-22)
#define NOBODY ((uint32_t)-1000)

static void enable_apics(void)
{
    for (uint32_t c = 0; c < vm.ncpus; c++) {
        struct vio svr = {
            .cpu = c, .addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};
        vbus_mmio(vpc_bus(vm.pc), &svr);
    }
}

static uint32_t call(uint64_t nr, uint64_t low, uint64_t high, uint64_t first, uint64_t icr)
{
    rig_code("\x0f\x01\xd9", 3);
    *gpr(RAX) = nr;
    *gpr(RBX) = low;
    *gpr(RCX) = high;
    *gpr(RDX) = first;
    *gpr(RSI) = icr;
    rig_exit(EXIT_VMMCALL);
    return (uint32_t)*gpr(RAX);
}

static void test_ipi(void)
{
    rig_new(4, false);
    enable_apics();
    tap_eq(call(SEND_IPI, 5, 0, 1, 0x51), 2, "an IPI to CPUs 1 and 3: two got it");
    tap_ok(vlapic_pending(vm.pc, 1) == 0x51 && vlapic_pending(vm.pc, 3) == 0x51, "both have it");
    tap_ok(vlapic_pending(vm.pc, 2) == -1 && vlapic_pending(vm.pc, 0) == -1, "nobody else");
    tap_eq(call(SEND_IPI, 2, 0, 1, 0x400), 1, "an NMI");
    tap_ok(action_peek(&sub[2].coh) & ACTION_NMI, "... arrives");
    tap_eq(call(SEND_IPI, 0xffffffff, 0xffffffff, 0, 0x52), 4, "CPUs that are not there are none");
    tap_eq(call(SEND_IPI, 1, 0, 40, 0x52), INVALID, "a set beyond all CPUs");
    tap_eq(call(SEND_IPI, 1, 0, 0, 0x0f), INVALID, "no legal vector");
    tap_eq(call(SEND_IPI, 1, 0, 0, 0x551), INVALID, "no INIT this way");
    tap_eq(call(SEND_IPI, 1, 0, 0, 0xc0051), INVALID, "no shorthand");
    tap_eq(call(YIELD, 1, 0, 0, 0), 0, "nobody is kept from running: yielding is done");
    opt.pvipi = opt.pvflush = false;
    tap_eq(call(SEND_IPI, 1, 0, 0, 0x51), NOBODY, "pvipi=off");
    tap_eq(call(YIELD, 1, 0, 0, 0), NOBODY, "pvflush=off");
}

static uint8_t *preempted(void)
{
    return port_ptr(hpa(PAGE_AT + 16));
}

static uint8_t seen_in_halt;
static bool ask;
static void on_halt(uint32_t cpu)
{
    (void)cpu;
    seen_in_halt = *preempted();
    if (ask)
        *preempted() |= 2; /* another CPU of the guest leaves a flush */
    vlapic_set_irr(vm.pc, 0, 0, 0x61, false);
}

static void halt_once(bool with_flush)
{
    rig_new(1, false);
    enable_apics();
    rig_code("\x90\x90", 2);
    tap_ok(msr_write(bsp(), MSR_STEAL, PAGE_AT | 1), "the MSR takes a page");
    bsp()->vcpu.regs.rflags |= RFLAGS_IF;
    bsp()->vcpu.state = VCPU_HALTED;
    seen_in_halt = 0;
    ask = with_flush;
    fake_on_halt = on_halt;
    subvmm_round(bsp());
    fake_on_halt = NULL;
    tap_eq(seen_in_halt, 1, "in HLT the VCPU is said not to run");
    subvmm_round(bsp()); /* finds the interrupt */
    tap_eq(*preempted(), 0, "awake it runs");
}

static void test_steal(void)
{
    halt_once(false);
    tap_ok(!bsp()->mmu.owed_all, "nothing was left to it");
    halt_once(true);
    tap_ok(bsp()->mmu.owed_all, "a flush that was left is owed");
    unsigned runs = vendor[0].runs;
    subvmm_round(bsp());
    tap_ok(vendor[0].runs == runs + 1 && !bsp()->mmu.owed_all &&
               hv_stats[0].n[STAT_flushes_owed] == 1,
           "... and done before the entry");
    uint64_t value;
    tap_ok(msr_read(bsp(), MSR_STEAL, &value) && value == (PAGE_AT | 1), "the MSR reads back");
    tap_ok(!msr_write(bsp(), MSR_STEAL, PAGE_AT | 3), "a reserved bit: #GP");
    tap_ok(!msr_write(bsp(), MSR_STEAL, RIG_RAM | 1), "outside of RAM: #GP");
    tap_ok(msr_write(bsp(), MSR_STEAL, 0), "off");
    *preempted() = 3; /* it was reset in HLT, and a flush was left since */
    tap_ok(msr_write(bsp(), MSR_STEAL, PAGE_AT | 1) && !*preempted() && bsp()->mmu.owed_all,
           "a flush found in the byte when the page is given is owed");
    opt.pvflush = false;
    tap_ok(!msr_read(bsp(), MSR_STEAL, &value) && !msr_write(bsp(), MSR_STEAL, 0),
           "pvflush=off: no such MSR");
}

static void test_cpuid(void)
{
    uint32_t r[4];

    rig_new(1, false);
    cpuid_answer(bsp(), 0x40000001, 0, r);
    tap_eq(r[0] & (BIT(5) | BIT(9) | BIT(11) | BIT(13)), BIT(5) | BIT(9) | BIT(11) | BIT(13),
           "steal time, flush, IPI and yield are told of");
    opt.pvipi = opt.pvflush = false;
    cpuid_answer(bsp(), 0x40000001, 0, r);
    tap_eq(r[0] & (BIT(5) | BIT(9) | BIT(11) | BIT(13)), 0, "... and not, with both off");
}

int main(void)
{
    test_ipi();
    test_steal();
    test_cpuid();
    return tap_done();
}
