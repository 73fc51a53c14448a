/* SPDX-License-Identifier: BSD-2-Clause */
/* arch-x86/vmx on a VMCS that is an array, and a processor that does with an entry what the test
 * says. Tested by the test that uses it: test_vmx.c. */
#pragma once
#include "arch-x86/cpu/asm.h"
#include "hv/mmu/mmu.h"
#include "tools/tests/vmcs_fake.h"

/* Stand-ins for instructions; the files under test are compiled here, without the rest. */
static uint64_t host_cr4 = 1ull << 6 | 1ull << 7, fake_dr[8], fake_efer = 1ull << 11 | 1ull << 8;
static uint64_t fake_rdmsr(uint32_t msr)
{
    return msr == 0xc0000080 ? fake_efer : 0;
}
static void fake_wrmsr(uint32_t msr, uint64_t v)
{
    if (msr == 0xc0000080)
        fake_efer = v;
}
#define read_cr4() host_cr4
#define read_dr0() fake_dr[0]
#define read_dr1() fake_dr[1]
#define read_dr2() fake_dr[2]
#define read_dr3() fake_dr[3]
#define read_dr6() fake_dr[6]
#define write_dr0(v) (fake_dr[0] = (v))
#define write_dr1(v) (fake_dr[1] = (v))
#define write_dr2(v) (fake_dr[2] = (v))
#define write_dr3(v) (fake_dr[3] = (v))
#define write_dr6(v) (fake_dr[6] = (v))
#define rdmsr fake_rdmsr
#define wrmsr fake_wrmsr
#include "arch-x86/vmx/check.c"
#include "arch-x86/vmx/entry.c"
#include "arch-x86/vmx/real.c"
#include "arch-x86/vmx/root.c"
#include "arch-x86/vmx/segs.c"
#include "arch-x86/vmx/state.c"
#include "arch-x86/vmx/translate.c"

struct vmx_caps vmx_caps;
struct vmx_quirks vmx_quirks;
static bool fake_kick;
static struct vmx_vcpu arch;
static struct vcpu vcpu = {.arch = &arch};

bool vmx_quirks_before_entry(void)
{
    return fake_kick;
}

/* What the processor does with an entry. */
static uint32_t fake_how, fake_reason;
static uint64_t fake_exit_rip, fake_entered_rip, fake_entered_rflags;
static uint32_t fake_entered_blocking, fake_entered_info, fake_entered_proc;
uint32_t vmx_enter(struct vcpu_regs *regs, bool launched)
{
    (void)regs, (void)launched;
    fake_entered_rip = fake_vmcs[VMCS_GUEST_RIP];
    fake_entered_rflags = fake_vmcs[VMCS_GUEST_RFLAGS];
    fake_entered_blocking = (uint32_t)fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY];
    fake_entered_info = (uint32_t)fake_vmcs[VMCS_ENTRY_INTR_INFO];
    fake_entered_proc = (uint32_t)fake_vmcs[VMCS_PROC_CTLS];
    if (fake_how == VMX_EXITED) {
        fake_vmcs[VMCS_EXIT_REASON] = fake_reason;
        if (fake_exit_rip != UINT64_MAX)
            fake_vmcs[VMCS_GUEST_RIP] = fake_exit_rip;
        fake_vmcs[VMCS_ENTRY_INTR_INFO] &= ~(uint64_t)INTR_INFO_VALID;
    }
    return fake_how;
}

static void fresh(void)
{
    memset(fake_vmcs, 0, sizeof(fake_vmcs));
    memset(fake_writes, 0, sizeof(fake_writes));
    memset(&arch, 0, sizeof(arch));
    vcpu = (struct vcpu){.arch = &arch};
    vcpu.regs.rip = 0x1000;
    vcpu.regs.rflags = RFLAGS_FIXED1 | RFLAGS_IF;
    vcpu.ctl = (struct vcpu_ctl){.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE, .cr4 = CR4_PAE};
    vmx_caps = (struct vmx_caps){.ins_outs_info = true, .invpcid = true, .vpid = true};
    fake_how = VMX_EXITED;
    fake_reason = REASON_INTR;
    fake_exit_rip = UINT64_MAX;
    fake_kick = false;
}
