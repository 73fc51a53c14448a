/* SPDX-License-Identifier: BSD-2-Clause */
/* Banks of a made-up processor: what is said of them, how bad it is, and that they are empty then;
 * and what the guest of that processor gets. */
#include "tools/tests/tap.h"
#include "tools/tests/exits_rig.h"
#include "arch-x86/cpu/mce.c"

#define NBANKS 4
static uint64_t reg[0x800];
static bool have;
static char said[1024];

static void note(const char *text)
{
    size_t n = strlen(said);
    hv_snprintf(said + n, sizeof(said) - n, "%s\n", text);
}

static bool get(uint32_t msr, uint64_t *v)
{
    *v = have && msr < ARRAY_SIZE(reg) ? reg[msr] : 0;
    return have;
}

static bool set(uint32_t msr, uint64_t v)
{
    if (have && msr < ARRAY_SIZE(reg))
        reg[msr] = v;
    return have;
}

static const struct cpu_probe cpu = {.rdmsr = get, .wrmsr = set};

static enum port_mc check(uint64_t global, uint64_t bank1, uint64_t bank3)
{
    memset(reg, 0, sizeof(reg));
    said[0] = 0;
    have = true;
    reg[0x179] = BIT(8) | NBANKS;
    reg[0x17a] = global;
    reg[0x405] = bank1;
    reg[0x406] = 0x1234000;
    reg[0x40d] = bank3;
    reg[0x40f] = 0x77;
    return mce_collect(&cpu, note);
}

static void test_banks(void)
{
    const uint64_t val = BIT(63), over = BIT(62), uc = BIT(61), misc = BIT(59), addr = BIT(58);
    const uint64_t pcc = BIT(57), ripv = 1, mcip = 4;

    tap_eq(check(ripv | mcip, val | uc | pcc, 0), PORT_MC_FATAL, "the context is corrupt");
    tap_ok(reg[0x405] == 0 && reg[0x17a] == 0, "... bank and MCIP are cleared");
    tap_ok(strstr(said, "bank 1 status 0xa200000000000000 address 0x0"), "... and it was said");
    tap_eq(check(ripv | mcip, val | uc | addr, 0), PORT_MC_RECOVERABLE, "it is whole");
    tap_ok(strstr(said, "address 0x1234000"), "... the address is read where it is valid");
    tap_eq(check(ripv | mcip, val | uc | over, 0), PORT_MC_FATAL, "another one was lost");
    tap_eq(check(ripv | mcip, val, val | over | misc), PORT_MC_CORRECTED, "corrected ones");
    tap_ok(strstr(said, "bank 1 ") && strstr(said, "bank 3 ") && strstr(said, "misc 0x77"),
           "... each is said");
    tap_eq(check(ripv | mcip, val, val | uc), PORT_MC_RECOVERABLE, "the worst of two counts");
    tap_eq(check(mcip, val | uc, 0), PORT_MC_FATAL, "RIP is not valid");
    tap_eq(check(ripv | mcip, uc | pcc, 0), PORT_MC_CORRECTED, "a bank that is not valid");
    tap_ok(strstr(said, "no bank says why"), "... counts for nothing");
    have = false;
    tap_eq(mce_collect(&cpu, note), PORT_MC_FATAL, "a processor without the registers");
}

static void test_init(void)
{
    check(0, 0, 0);
    said[0] = 0;
    reg[0x405] = BIT(63) | BIT(61);
    mce_init(&cpu, note);
    tap_ok(reg[0x17b] == ~0ull && reg[0x400] == ~0ull && reg[0x40c] == ~0ull && reg[0x410] == 0,
           "every bank may report");
    tap_ok(reg[0x405] == 0 && strstr(said, "bank 1 ") && strstr(said, "from before"),
           "what was left is said and cleared");
    said[0] = 0;
    mce_init(&cpu, note);
    tap_ok(!said[0], "nothing left, nothing said");
    have = false;
    mce_init(&cpu, note);
    tap_ok(!said[0], "no registers: nothing");
}

/* --- a machine check while the guest ran --- */

static void check_again(void *how)
{
    struct vmexit x = {.kind = EXIT_EXCEPTION, .gpr = VMEXIT_GPR_NONE, .vector = VEC_MC};

    fake_mc = *(enum port_mc *)how;
    exit_dispatch(bsp(), &x);
}

static void guest_check(enum port_mc how, uint64_t cr4)
{
    rig_new(1, true);
    rig_code("\x90", 1);
    bsp()->vcpu.ctl.cr4 |= cr4;
    check_again(&how);
}

static void test_guest(void)
{
    struct vcpu *v = &bsp()->vcpu;
    uint64_t value;

    guest_check(PORT_MC_CORRECTED, CR4_MCE);
    tap_ok(v->state == VCPU_RUNNING && v->pending.type == EVENT_NONE,
           "corrected: the guest goes on, nothing of it");
    guest_check(PORT_MC_RECOVERABLE, CR4_MCE);
    tap_ok(v->pending.type == EVENT_EXCEPTION && v->pending.vector == VEC_MC &&
               !v->pending.has_error && v->state == VCPU_RUNNING,
           "recoverable: the guest gets #MC");
    tap_ok(msr_read(bsp(), 0x17a, &value) && value == 5, "... MCG_STATUS says RIPV and MCIP");
    tap_ok(msr_write(bsp(), 0x17a, 0) && msr_read(bsp(), 0x17a, &value) && value == 0,
           "... until it clears them");
    v->pending.type = EVENT_NONE;
    guest_check(PORT_MC_RECOVERABLE, 0);
    tap_ok(vm.ended, "CR4.MCE clear: shutdown, as a processor does");
    guest_check(PORT_MC_RECOVERABLE, CR4_MCE);
    v->pending.type = EVENT_NONE;
    check_again(&(enum port_mc){PORT_MC_RECOVERABLE});
    tap_ok(vm.ended, "a second one before MCIP is clear: the same");
    rig_new(1, true);
    tap_ok(fake_run(check_again, &(enum port_mc){PORT_MC_FATAL}) == FAKE_PANIC &&
               strstr(fake_panic_text(), "machine check"),
           "fatal: the hypervisor ends");
}

int main(void)
{
    test_banks();
    test_init();
    test_guest();
    return tap_done();
}
