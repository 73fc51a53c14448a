/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that gets nowhere is told of, once: all VCPUs in HLT with interrupts off, or the boot
 * processor at the same few instructions before the guest has said anything. Others are not. */
#include "tools/tests/exits_rig.h"

#define SECOND 1000000000ull
static uint64_t now;

static void start(uint32_t ncpus, const char *code, size_t n)
{
    rig_new(ncpus, true);
    rig_code(code, n);
    now = SECOND;
    fake_set_tsc(now, 1);
    for (uint32_t c = 0; c < ncpus; c++) {
        fake_set_cpu(c);
        watch_start(&sub[c]);
    }
    fake_set_cpu(0);
    fake_console_clear();
}

/* Time goes on by itself; a CPU comes round when its timer says so. */
static void seconds(uint32_t ncpus, unsigned n)
{
    for (uint64_t end = now + n * SECOND; now < end; now += SECOND / 4) {
        fake_set_tsc(now, 1);
        for (uint32_t c = 0; c < ncpus; c++) {
            fake_set_cpu(c);
            if (atomic_load(&fake_cpu[c].timer) <= now) {
                atomic_store(&fake_cpu[c].timer, UINT64_MAX);
                action_post(&co, c, c, ACTION_TIMER);
            }
            if (atomic_load(&co.cpu[c].action))
                subvmm_round(&sub[c]);
        }
    }
    fake_set_cpu(0);
}

static bool said(const char *what)
{
    return strstr(fake_console(), what) != NULL;
}

/* The VCPU of CPU c halts at rip with these flags. */
static void hlt(uint32_t c, uint64_t rip, uint64_t rflags)
{
    fake_set_cpu(c);
    sub[c].vcpu.state = VCPU_HALTED;
    sub[c].vcpu.regs.rip = rip;
    sub[c].vcpu.regs.rflags = rflags;
    vm_set_active(&vm, c, true);
    subvmm_round(&sub[c]);
    fake_set_cpu(0);
}

static void say_something(void)
{
    struct vio io = {.addr = 0x3f8, .size = 1, .write = true, .value = 'x'};
    vbus_pio(vpc_bus(vm.pc), &io);
}

static void test_deadlock(void)
{
    start(2, "\xf4", 1);
    say_something();
    vm_set_active(&vm, 1, true);
    hlt(0, 0x1234, 0x2);
    seconds(2, 5);
    tap_ok(!said("watch"), "one of two may halt for good");
    hlt(1, 0x5678, 0x202);
    seconds(2, 5);
    tap_ok(!said("watch"), "or wait for an interrupt");
    hlt(1, 0x5678, 0x2);
    tap_ok(!said("watch"), "the last one: not at once");
    seconds(2, 3);
    tap_ok(said("every VCPU is in HLT with interrupts off; RIP cpu0 0x1234 cpu1 0x5678; cpu1"),
           "then it is said, with every RIP");
    tap_ok(said("Ctrl-T Ctrl-T opens the monitor"), "and what to do");
    fake_console_clear();
    seconds(2, 100);
    hlt(0, 0x1111, 0x2);
    seconds(2, 5);
    tap_ok(!said("watch"), "once");
}

static void test_not_dead(void)
{
    start(2, "\xf4", 1);
    say_something();
    vm_set_active(&vm, 1, false);
    options_parse(&opt, "escape=^]", NULL);
    hlt(0, 0x1234, 0x2);
    action_post(&co, 1, 0, ACTION_NMI);
    subvmm_round(bsp());
    tap_eq(sub[0].vcpu.state, VCPU_RUNNING, "an NMI ends it");
    seconds(2, 5);
    tap_ok(!said("watch"), "so it was not dead");
    hlt(0, 0x1234, 0x2);
    seconds(2, 3);
    tap_ok(said("RIP cpu0 0x1234; cpu0 ") && said("Ctrl-] Ctrl-] opens"),
           "CPUs that were never started do not count");
}

static void test_still(void)
{
    start(1, "\xeb\xfe", 2);
    vendor[0].run_rip = RIG_CODE;
    subvmm_round(bsp());
    seconds(1, 25);
    tap_ok(!said("watch"), "half a minute is not yet over");
    seconds(1, 15); /* the looks are a little more than a second apart here */
    tap_ok(said("for 30 s cpu0 has been at the same few instructions: RIP 0x8000, 64-bit, running, "
                "interrupts off; Ctrl-T"),
           "the same instruction for 30 s and not a word");
    fake_console_clear();
    seconds(1, 100);
    tap_ok(!said("watch"), "once");
    tap_eq(sub[0].watch_at, UINT64_MAX, "and no more looks");
}

static void test_not_still(void)
{
    start(1, "\xeb\xfe", 2);
    vendor[0].run_rip = RIG_CODE;
    subvmm_round(bsp());
    seconds(1, 20);
    say_something();
    seconds(1, 60);
    tap_ok(!said("watch"), "a guest that spoke may loop");
    tap_eq(sub[0].watch_at, UINT64_MAX, "nobody looks any more");
    start(1, "\xeb\xfe", 2);
    subvmm_round(bsp());
    for (unsigned i = 0; i < 100; i++) {
        vendor[0].run_rip = RIG_CODE + i % 11 * 0x100;
        seconds(1, 1);
    }
    tap_ok(!said("watch"), "one that goes about is at work");
    for (unsigned i = 0; i < 40; i++) {
        vendor[0].run_rip = RIG_CODE + i % 3 * 0x100 + i % 7;
        seconds(1, 1);
    }
    tap_ok(said("same few instructions"), "three small places are a loop");
}

int main(void)
{
    test_deadlock();
    test_not_dead();
    test_still();
    test_not_still();
    return tap_done();
}
