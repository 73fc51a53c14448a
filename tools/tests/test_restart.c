/* SPDX-License-Identifier: BSD-2-Clause */
/* INIT of the boot processor as the firmware of a PC answers it: every shutdown status of CMOS 0F,
 * and a triple fault that was meant as a way out of protected mode. */
#include "tools/tests/exits_rig.h"

#define STACK_SEG 0x2000
#define STACK_SP 0x0ff0
#define STACK ((uint64_t)STACK_SEG * 16 + STACK_SP)

static void cmos(uint8_t value)
{
    struct vio i = {.addr = 0x70, .size = 1, .write = true, .value = 0x0f};
    struct vio d = {.addr = 0x71, .size = 1, .write = true, .value = value};
    (void)vbus_pio(vpc_bus(vm.pc), &i);
    (void)vbus_pio(vpc_bus(vm.pc), &d);
}

static uint32_t ended;
static void on_end(struct vm *v, uint32_t how)
{
    (void)v;
    ended = how;
    port_poweroff();
}

static void one_round(void *ctx)
{
    subvmm_round(ctx);
}

/* A machine in 64-bit mode with this status and far pointer, whose boot processor gets INIT. */
static bool goes_on(uint8_t status, uint16_t offset, uint16_t segment)
{
    const uint16_t pointer[2] = {offset, segment};
    rig_new(1, true); /* a reset waits for other CPUs */
    memcpy(port_ptr(hpa(0x467)), pointer, sizeof(pointer));
    bsp()->vcpu.regs.gpr[RBX] = 0x1111222233334444;
    cmos(status);
    ended = 0;
    subvmm_end_hook = on_end;
    action_post(&co, 0, 0, ACTION_INIT);
    return fake_run(one_round, bsp()) == FAKE_RETURNED && ended == 0 &&
           bsp()->vcpu.state == VCPU_RUNNING && !(bsp()->vcpu.ctl.cr0 & CR0_PE) &&
           bsp()->vcpu.ctl.efer == 0;
}

static bool at(uint16_t cs, uint16_t ip)
{
    const struct segment *s = &vendor[0].segs.seg[SEG_CS];
    return s->sel == cs && s->base == (uint64_t)cs << 4 && bsp()->vcpu.regs.rip == ip;
}

static bool stack_is(uint16_t seg, uint16_t sp)
{
    const struct segment *s = &vendor[0].segs.seg[SEG_SS];
    return s->sel == seg && s->base == (uint64_t)seg << 4 && *gpr(RSP) == sp;
}

/* The frame is put after rig_new made the memory. */
static bool unwinds(uint8_t status, const uint16_t *frame, size_t n)
{
    rig_new(1, true);
    subvmm_end_hook = on_end;
    ended = 0;
    const uint16_t pointer[2] = {STACK_SP, STACK_SEG};
    memcpy(port_ptr(hpa(0x467)), pointer, sizeof(pointer));
    memcpy(port_ptr(hpa(STACK)), frame, n * sizeof(frame[0]));
    cmos(status);
    action_post(&co, 0, 0, ACTION_INIT);
    return fake_run(one_round, bsp()) == FAKE_RETURNED && ended == 0;
}

static void test_jump(void)
{
    tap_ok(goes_on(0x05, 0x1234, 0x8765) && at(0x8765, 0x1234), "05: jump");
    tap_ok(goes_on(0x0a, 0x1234, 0x8765) && at(0x8765, 0x1234), "0A: jump");
    tap_eq(*gpr(RBX), 0, "registers as INIT leaves them");
}

/* Last: who ends a VM stays known. */
static void test_resets(void)
{
    tap_ok(!goes_on(0x00, 0x1234, 0x8765) && ended == 2, "00: the VM is reset");
    static const uint8_t others[] = {1, 2, 3, 4, 6, 7, 8, 0x0d, 0x8a, 0xff};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        tap_ok(!goes_on(others[i], 0x1234, 0x8765) && ended == 2, "%02X: too", others[i]);
}

static void test_stacks(void)
{
    static const uint16_t far[] = {0x0111, 0x0222};
    static const uint16_t iret[] = {0x0111, 0x0222, 0xffff};
    static const uint16_t move[] = {0x0dd0, 0x0ee0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0111, 0x0222, 0x0200};

    tap_ok(unwinds(0x0c, far, 2) && at(0x0222, 0x0111), "0C: RETF");
    tap_ok(stack_is(STACK_SEG, STACK_SP + 4), "... and its stack");
    tap_eq(bsp()->vcpu.regs.rflags, RFLAGS_FIXED1, "... flags as INIT leaves them");
    tap_ok(unwinds(0x0b, iret, 3) && at(0x0222, 0x0111), "0B: IRET");
    tap_ok(stack_is(STACK_SEG, STACK_SP + 6), "... and its stack");
    tap_eq(bsp()->vcpu.regs.rflags, 0x7fd7, "... flags, none that do not exist");
    tap_ok(unwinds(0x09, move, 13) && at(0x0222, 0x0111), "09: back from INT 15h, AH=87h");
    tap_ok(stack_is(STACK_SEG, STACK_SP + 26), "... and its stack");
    tap_ok(vendor[0].segs.seg[SEG_DS].base == 0xdd00 && vendor[0].segs.seg[SEG_ES].base == 0xee00,
           "... DS and ES");
    tap_ok(*gpr(RDI) == 1 && *gpr(RSI) == 2 && *gpr(RBP) == 3 && *gpr(RBX) == 5 && *gpr(RDX) == 6 &&
               *gpr(RCX) == 7 && *gpr(RAX) == 8,
           "... registers in the order of POPA");
    tap_eq(bsp()->vcpu.regs.rflags, RFLAGS_FIXED1 | RFLAGS_IF, "... flags");
}

static void test_triple_fault(void)
{
    const uint16_t pointer[2] = {0x1234, 0x8765};

    rig_new(2, false);
    memcpy(port_ptr(hpa(0x467)), pointer, sizeof(pointer));
    cmos(0x0a);
    rig_exit(EXIT_SHUTDOWN);
    tap_eq(atomic_load(&vm.ended), 0, "a triple fault with a way out is no end");
    tap_ok(strstr(fake_console(), "triple fault of cpu0") != NULL, "... but not silent");
    tap_ok(action_peek(&sub[1].coh) & ACTION_INIT, "the other CPU gets INIT as well");
    subvmm_round(bsp());
    tap_ok(at(0x8765, 0x1234) && bsp()->vcpu.state == VCPU_RUNNING, "the guest goes on");
    rig_exit(EXIT_SHUTDOWN);
    tap_eq(atomic_load(&vm.ended), 2, "without, it is a reset");
    tap_ok(strstr(fake_console(), "guest triple fault") != NULL, "... and said");
}

int main(void)
{
    test_jump();
    test_stacks();
    test_triple_fault();
    test_resets();
    return tap_done();
}
