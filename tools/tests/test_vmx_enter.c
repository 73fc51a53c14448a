/* SPDX-License-Identifier: BSD-2-Clause */
/* The contract of one entry: vmx/enter.S runs here as it is, on a processor that is a few macros.
 * Every register arrives and comes back, the host's own survive, launch and resume are told apart,
 * an NMI that came before keeps the guest out, and a refused entry says how. */
#include "tools/tests/tap.h"
#include "arch-x86/svm/offsets.h"
#include "arch-x86/vmx/internal.h"

uint64_t fake_host[8], fake_host_rsp, fake_field;
uint32_t fake_launches, fake_resumes, fake_verws, fake_refuse; /* 1: CF, 2: ZF */
uint8_t fake_nmi;
uint32_t vmx_verw_on;
const uint16_t vmx_verw_selector = 0x10;
struct vcpu_regs fake_seen, fake_leave;
uint64_t fake_call(struct vcpu_regs *regs,
                   uint64_t launched); /* changed registers << 32 | result */

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
#define OFFSET(reg) ".set VCPU_REGS_" #reg ", " TEXT(VCPU_REGS_##reg) "\n"
__asm__(
    ".pushsection .text\n" OFFSET(RAX) OFFSET(RCX) OFFSET(RDX) OFFSET(RBX) OFFSET(RSP) OFFSET(
        RBP) OFFSET(RSI) OFFSET(RDI) OFFSET(R8) OFFSET(R9) OFFSET(R10) OFFSET(R11) OFFSET(R12)
        OFFSET(R13) OFFSET(R14) OFFSET(R15) OFFSET(
            CR2) ".macro verw sel\n  incl fake_verws(%rip)\n.endm\n"
                 ".macro cmpb value, where\n  testb $0xff, fake_nmi(%rip)\n.endm\n"
                 ".macro vmwrite value, field\n"
                 "  movq \\field, fake_field(%rip)\n  movq \\value, fake_host_rsp(%rip)\n"
                 ".endm\n"
                 ".macro world\n"
                 "  movq %rax, fake_seen+VCPU_REGS_RAX(%rip)\n  movq %rcx, "
                 "fake_seen+VCPU_REGS_RCX(%rip)\n"
                 "  movq %rdx, fake_seen+VCPU_REGS_RDX(%rip)\n  movq %rbx, "
                 "fake_seen+VCPU_REGS_RBX(%rip)\n"
                 "  movq %rbp, fake_seen+VCPU_REGS_RBP(%rip)\n  movq %rsi, "
                 "fake_seen+VCPU_REGS_RSI(%rip)\n"
                 "  movq %rdi, fake_seen+VCPU_REGS_RDI(%rip)\n"
                 "  .irp r, 8,9,10,11,12,13,14,15\n  movq %r\\r, fake_seen+VCPU_REGS_R\\r(%rip)\n  "
                 ".endr\n"
                 "  cmpl $1, fake_refuse(%rip)\n  je 91f\n  cmpl $2, fake_refuse(%rip)\n  je 92f\n"
                 "  movq fake_leave+VCPU_REGS_RAX(%rip), %rax\n  movq "
                 "fake_leave+VCPU_REGS_RCX(%rip), %rcx\n"
                 "  movq fake_leave+VCPU_REGS_RDX(%rip), %rdx\n  movq "
                 "fake_leave+VCPU_REGS_RBX(%rip), %rbx\n"
                 "  movq fake_leave+VCPU_REGS_RBP(%rip), %rbp\n  movq "
                 "fake_leave+VCPU_REGS_RSI(%rip), %rsi\n"
                 "  movq fake_leave+VCPU_REGS_RDI(%rip), %rdi\n"
                 "  .irp r, 8,9,10,11,12,13,14,15\n  movq fake_leave+VCPU_REGS_R\\r(%rip), %r\\r\n "
                 " .endr\n"
                 "  movq fake_host_rsp(%rip), %rsp\n  jmp vmx_exit_point\n"
                 "91: orl $1, %eax\n  stc\n  jmp 93f\n"
                 "92: xorl %eax, %eax\n"
                 "93:\n"
                 ".endm\n"
                 ".macro vmlaunch\n  incl fake_launches(%rip)\n  world\n.endm\n"
                 ".macro vmresume\n  incl fake_resumes(%rip)\n  world\n.endm\n"
                 ".macro mov src, dst\n"
                 "  .ifc \\dst,%cr2\n    movq \\src, fake_seen+VCPU_REGS_CR2(%rip)\n"
                 "  .else\n  .ifc \\src,%cr2\n    movq fake_leave+VCPU_REGS_CR2(%rip), \\dst\n"
                 "  .else\n  .ifc \\dst,%eax\n    movl \\src, \\dst\n  .else\n    movq \\src, "
                 "\\dst\n"
                 "  .endif\n  .endif\n  .endif\n"
                 ".endm\n"
                 ".include \"arch-x86/vmx/enter.S\"\n"
                 ".purgem mov\n.purgem vmresume\n.purgem vmlaunch\n.purgem world\n.purgem vmwrite\n"
                 ".purgem cmpb\n.purgem verw\n"
                 ".text\n"
                 ".globl fake_call\n"
                 "fake_call:\n"
                 "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq "
                 "%r15\n"
                 "  movq %rsp, fake_host(%rip)\n"
                 "  movq $0x1b1, %rbx\n  movq $0x1b2, %rbp\n  movq $0x1b3, %r12\n  movq $0x1b4, "
                 "%r13\n"
                 "  movq $0x1b5, %r14\n  movq $0x1b6, %r15\n"
                 "  call vmx_enter\n"
                 "  movl %eax, %eax\n  xorl %edx, %edx\n"
                 "  cmpq $0x1b1, %rbx\n  setne %cl\n  addb %cl, %dl\n"
                 "  cmpq $0x1b2, %rbp\n  setne %cl\n  addb %cl, %dl\n"
                 "  cmpq $0x1b3, %r12\n  setne %cl\n  addb %cl, %dl\n"
                 "  cmpq $0x1b4, %r13\n  setne %cl\n  addb %cl, %dl\n"
                 "  cmpq $0x1b5, %r14\n  setne %cl\n  addb %cl, %dl\n"
                 "  cmpq $0x1b6, %r15\n  setne %cl\n  addb %cl, %dl\n"
                 "  cmpq fake_host(%rip), %rsp\n  setne %cl\n  addb %cl, %dl\n"
                 "  shlq $32, %rdx\n  orq %rdx, %rax\n"
                 "  movq fake_host(%rip), %rsp\n"
                 "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  "
                 "ret\n"
                 ".popsection\n");

static void fill(struct vcpu_regs *r, uint64_t mark)
{
    for (unsigned i = 0; i < 16; i++)
        r->gpr[i] = mark | i;
    r->cr2 = mark | 0x20;
}

static void test_registers(bool launched)
{
    struct vcpu_regs r = {.rip = 0x77, .rflags = 0x88};
    unsigned in = 0, out = 0;

    fake_launches = fake_resumes = 0;
    fill(&r, 0xaaaa000000000000);
    fill(&fake_leave, 0xbbbb000000000000);
    tap_eq(fake_call(&r, launched), VMX_EXITED, "entered; the host's registers and stack survive");
    for (unsigned i = 0; i < 16; i++) {
        if (i == RSP)
            continue;
        in += fake_seen.gpr[i] == (0xaaaa000000000000 | i);
        out += r.gpr[i] == (0xbbbb000000000000 | i);
    }
    tap_eq(in, 15, "every register but RSP arrives in the guest");
    tap_eq(out, 15, "every register but RSP comes back");
    tap_ok(fake_seen.cr2 == 0xaaaa000000000020 && r.cr2 == 0xbbbb000000000020, "CR2");
    tap_ok(r.gpr[RSP] == (0xaaaa000000000000 | RSP) && r.rip == 0x77 && r.rflags == 0x88,
           "what the VMCS holds is not touched");
    tap_ok(fake_launches == !launched && fake_resumes == launched && fake_field == VMCS_HOST_RSP,
           "VMLAUNCH once, VMRESUME from then on");
}

static void test_refused(bool launched)
{
    struct vcpu_regs r, before;

    fill(&r, 0xaaaa000000000000);
    before = r;
    fake_refuse = 1;
    tap_eq(fake_call(&r, launched), VMX_FAIL_INVALID, "VMfailInvalid");
    fake_refuse = 2;
    tap_eq(fake_call(&r, launched), VMX_FAIL_VALID, "VMfailValid");
    fake_refuse = 0;
    fake_nmi = 1;
    fake_launches = fake_resumes = 0;
    tap_eq(fake_call(&r, launched), VMX_SKIPPED, "an NMI came first");
    tap_ok(!fake_launches && !fake_resumes && !memcmp(&r, &before, sizeof(r)),
           "... nothing was entered, nothing changed");
    fake_nmi = 0;
}

static void test_verw(void)
{
    struct vcpu_regs r;

    fill(&r, 0);
    (void)fake_call(&r, true);
    tap_eq(fake_verws, 0, "no VERW");
    vmx_verw_on = 1;
    tap_ok(fake_call(&r, false) == VMX_EXITED && fake_verws == 1 && fake_launches == 1,
           "VERW before the entry, and its flags do not matter");
}

int main(void)
{
    test_registers(false);
    test_registers(true);
    test_refused(false);
    test_refused(true);
    fake_launches = 0;
    test_verw();
    return tap_done();
}
