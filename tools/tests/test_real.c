/* SPDX-License-Identifier: BSD-2-Clause */
/* #GP in real mode where the processor runs it in virtual-8086 mode: what is privileged only there
 * is carried out, accesses within the segment's own limit are emulated, the rest is the guest's. */
#include "tools/tests/exits_rig.h"

static struct vcpu_segs *segs(void)
{
    return &vendor[0].segs;
}

static void real(const void *code, size_t n)
{
    struct vcpu *v = &bsp()->vcpu;
    struct mmu_regs regs;

    rig_new(1, false);
    for (unsigned i = 0; i <= SEG_GS; i++)
        segs()->seg[i] = (struct segment){0, i == SEG_CS ? 0x9b : 0x93, 0xffff, 0};
    v->ctl.cr0 = CR0_ET;
    vcpu_ctl_commit(bsp());
    regs = vcpu_mmu_regs(v);
    mmu_reset(&bsp()->mmu, &regs);
    rig_code(code, n);
}
#define REAL(...)                                                                                  \
    do {                                                                                           \
        static const uint8_t code[] = {__VA_ARGS__};                                               \
        real(code, sizeof(code));                                                                  \
    } while (0)

static uint64_t rip(void)
{
    return bsp()->vcpu.regs.rip - RIG_CODE;
}

static uint8_t *ram(uint64_t at)
{
    return port_ptr(hpa(at));
}

static void test_tables(void)
{
    static const uint8_t operand[] = {0x34, 0x12, 0x78, 0x56, 0x34, 0x12};

    REAL(0x0f, 0x01, 0x16, 0x00, 0x10); /* lgdt [0x1000] */
    memcpy(ram(0x1000), operand, sizeof(operand));
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 5 && segs()->gdtr.limit == 0x1234 && segs()->gdtr.base == 0x345678,
           "LGDT with a 16-bit operand: 24 bits of the base");
    REAL(0x66, 0x2e, 0x0f, 0x01, 0x1e, 0x00, 0x10); /* lidtl %cs:0x1000 */
    memcpy(ram(0x1000), operand, sizeof(operand));
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 7 && segs()->idtr.limit == 0x1234 && segs()->idtr.base == 0x12345678,
           "LIDT with a 32-bit operand");
    REAL(0x0f, 0x01, 0x06, 0x00, 0x10); /* sgdt: not privileged, so the fault is the guest's */
    segs()->seg[SEG_DS].limit = 0xfff;
    rig_exit(EXIT_REAL_GP);
    tap_ok(took(VEC_GP) && rip() == 0, "SGDT beyond the limit");
}

static void test_registers(void)
{
    REAL(0x0f, 0x20, 0xc0); /* mov %cr0, %eax */
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 3 && *gpr(RAX) == CR0_ET, "MOV from CR0");
    REAL(0x0f, 0x22, 0xc0); /* mov %eax, %cr0 */
    *gpr(RAX) = CR0_ET | CR0_PE;
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 3 && (bsp()->vcpu.ctl.cr0 & CR0_PE), "MOV to CR0: protected mode");
    REAL(0x0f, 0x01, 0xf0); /* lmsw %ax */
    *gpr(RAX) = CR0_PE;
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 3 && (bsp()->vcpu.ctl.cr0 & CR0_PE), "LMSW");
    REAL(0x0f, 0x06); /* clts */
    bsp()->vcpu.ctl.cr0 |= CR0_TS;
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 2 && !(bsp()->vcpu.ctl.cr0 & CR0_TS), "CLTS");
    REAL(0x0f, 0x23, 0xc0); /* mov %eax, %db0 */
    *gpr(RAX) = 0x1234;
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 3 && vendor[0].debug.dr[0] == 0x1234, "MOV to DR0");
    REAL(0x0f, 0x32); /* rdmsr */
    *gpr(RCX) = MSR_EFER;
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 2, "RDMSR");
    REAL(0x0f, 0x32);
    *gpr(RCX) = 0x12345;
    rig_exit(EXIT_REAL_GP);
    tap_ok(took(VEC_GP) && rip() == 0, "RDMSR of one that there is not");
}

static void test_others(void)
{
    REAL(0xf4);
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 1 && bsp()->vcpu.state == VCPU_HALTED, "HLT");
    REAL(0x0f, 0x09);
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 2, "WBINVD");
    REAL(0xcf); /* iret: native */
    rig_exit(EXIT_REAL_GP);
    struct vcpu_event e = bsp()->vcpu.pending;
    tap_ok(took(VEC_GP) && !e.has_error && rip() == 0, "a fault of the guest's own, no error code");
}

/* mov %eax, (%ebx); mov (%ebx), %al */
static void test_far(void)
{
    REAL(0x67, 0x66, 0x89, 0x03);
    segs()->seg[SEG_DS].limit = 0xffffffff;
    *gpr(RBX) = 0x123000;
    *gpr(RAX) = 0x600df00d;
    rig_exit(EXIT_REAL_GP);
    uint32_t word;
    memcpy(&word, ram(0x123000), 4);
    tap_ok(quiet() && rip() == 4 && word == 0x600df00d, "a store beyond 64 KiB within its limit");
    REAL(0x67, 0x8a, 0x03);
    segs()->seg[SEG_DS].limit = 0xffffffff;
    *ram(0x123000) = 0x5a;
    *gpr(RBX) = 0x123000;
    *gpr(RAX) = 0x1100;
    rig_exit(EXIT_REAL_GP);
    tap_ok(quiet() && rip() == 3 && *gpr(RAX) == 0x115a, "a load");
    REAL(0x67, 0x66, 0x89, 0x03);
    *gpr(RBX) = 0x123000;
    rig_exit(EXIT_REAL_GP);
    tap_ok(took(VEC_GP) && rip() == 0, "beyond its limit: #GP");
}

static void test_nmi_window(void)
{
    REAL(0x90);
    bsp()->vcpu.nmi_blocked = true;
    vendor[0].nmi_mask = true;
    rig_exit(EXIT_NMI_WINDOW);
    tap_ok(!bsp()->vcpu.nmi_blocked && !vendor[0].nmi_mask && bsp()->vcpu.iret_rip == UINT64_MAX,
           "behind the handler's IRET NMIs are open, and none has to be waited for");
}

int main(void)
{
    test_tables();
    test_registers();
    test_others();
    test_far();
    test_nmi_window();
    return tap_done();
}
