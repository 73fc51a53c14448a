/* SPDX-License-Identifier: BSD-2-Clause */
/* Switching VMX on and building a VCPU's VMCS with every exit that is needed.
 * Tested by every boot on an Intel processor. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/xsavec.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"
#include "arch-x86/vmx/probe.h"
#include "arch-x86/vmx/vmx.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/mmu/mmu.h"
#include "hv/port/cpu.h"

#define SUPPRESS_LINK UINT64_MAX
#define X1_EDX_RDTSCP BIT(27)
#define L7_ECX_RDPID BIT(22)
#define NO_VPIDS 32u /* any number will do: each entry flushes */
#define MANY_VPIDS 255u

static struct vmx_vcpu vmx_vcpus[HV_MACHINE_CPUS];
static bool vmx_is_on[HV_MACHINE_CPUS];

/* SDM volume 3 and Intel's "Deep Dive: Microarchitectural Data Sampling": VERW with a writable data
 * segment overwrites the buffers where CPUID says so. */
uint32_t vmx_verw_on;
const uint16_t vmx_verw_selector = SEL_DATA;
#define L7_EDX_MD_CLEAR BIT(10)

#define VERW_TRIES 256u

static uint64_t verw_cost(void)
{
    uint64_t before = rdtsc();

    for (unsigned i = 0; i < VERW_TRIES; i++)
        __asm__ volatile("verw %0" : : "m"(vmx_verw_selector) : "cc");
    return (rdtsc() - before) / VERW_TRIES;
}

static void verw_decide(void)
{
    if (!hv_opt.verw)
        return;
    vmx_verw_on = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).edx & L7_EDX_MD_CLEAR);
    if (vmx_verw_on)
        log_info("check", "verw       two instructions more an entry, %llu cycles",
                 (unsigned long long)verw_cost());
    else
        log_warn("vmx",
                 "verw=on: this processor (or its microcode) does not say MD_CLEAR: not done");
}

static uint64_t hpa_of(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

/* 23.7 "Enabling and Entering VMX Operation". A second call does nothing. */
enum hv_err vmx_enable(void)
{
    struct percpu *p = percpu_self();
    struct vendor_pages *own = &vendor_pages[p->cpu]; /* VMXON region and VMCS */
    uint64_t region = hpa_of(own->page[0]), block = hpa_of(own->page[1]);

    if (vmx_is_on[p->cpu])
        return HV_OK;
    if (cpu_features.vmx != VMX_READY)
        return HV_UNSUPPORTED;
    if (p->cpu == 0)
        vmx_perm_build();
    for (unsigned i = 0; i < 2; i++)
        memcpy(own->page[i], &vmx_caps.revision, sizeof(vmx_caps.revision));
    write_cr0((read_cr0() | vmx_caps.cr0_fixed0) & vmx_caps.cr0_fixed1);
    p->cr4_fixed |= CR4_VMXE;
    p->cr4 |= CR4_VMXE;
    write_cr4(p->cr4);
    if (!vmx_on(&region) || !vmcs_clear(&block) || !vmcs_load(&block))
        return HV_UNSUPPORTED;
    vmx_is_on[p->cpu] = true;
    return HV_OK;
}

/* VPIDs for the pager: 0 is the host's, one bit tells real mode (root.c). */
uint32_t vmx_nasids(void)
{
    return vmx_caps.vpid ? MANY_VPIDS : NO_VPIDS;
}

/* A reserved bit there must be, for faults that exit by it (SDM volume 3, 4.10.2.3 "Details of TLB
 * Use": no translation is cached from such an entry). */
static uint64_t vmx_absent(void)
{
    return cpu_features.phys_bits < 52 ? MMU_ABSENT : 0;
}

/* ports: vcpu.io_map */
static void controls_write(struct vmx_vcpu *a, uint64_t ports)
{
    vmcs_write(VMCS_PIN_CTLS, vmx_caps.pin | vmx_quirks_pin());
    vmcs_write(VMCS_PROC_CTLS, a->proc = vmx_caps.proc);
    if (vmx_caps.proc & PROC_SECONDARY)
        vmcs_write(VMCS_PROC2_CTLS, vmx_caps.proc2);
    vmcs_write(VMCS_EXIT_CTLS, vmx_caps.exit);
    vmcs_write(VMCS_ENTRY_CTLS, vmx_caps.entry);
    vmcs_write(VMCS_PFEC_MASK, 0); /* every page fault exits, until vmx_exceptions_set */
    vmcs_write(VMCS_PFEC_MATCH, 0);
    /* A match would load CR3 with the guest's value: of no use where CR3 is a shadow's. */
    vmcs_write(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VMCS_ENTRY_INTR_INFO, 0);
    vmx_perm_write(ports);
    vmcs_write(VMCS_LINK_POINTER, SUPPRESS_LINK);
    if (vmx_caps.vpid)
        vmcs_write(VMCS_VPID, a->vpid = 1);
}

/* Nothing of it changes later but CR4: state.c. */
static void host_write(void)
{
    const struct percpu *p = percpu_self();
    struct desc_ptr gdtr, idtr;

    cpu_sgdt(&gdtr);
    cpu_sidt(&idtr);
    vmcs_write(VMCS_HOST_CR0, read_cr0());
    vmcs_write(VMCS_HOST_CR3, read_cr3());
    vmcs_write(VMCS_HOST_CR4, read_cr4());
    vmcs_write(VMCS_HOST_CS_SEL, SEL_CODE);
    vmcs_write(VMCS_HOST_SS_SEL, SEL_DATA);
    vmcs_write(VMCS_HOST_DS_SEL, SEL_DATA);
    vmcs_write(VMCS_HOST_ES_SEL, SEL_DATA);
    vmcs_write(VMCS_HOST_FS_SEL, 0);
    vmcs_write(VMCS_HOST_GS_SEL, 0);
    vmcs_write(VMCS_HOST_TR_SEL, SEL_TSS);
    vmcs_write(VMCS_HOST_FS_BASE, 0);
    vmcs_write(VMCS_HOST_GS_BASE, hpa_of(p));
    vmcs_write(VMCS_HOST_TR_BASE, hpa_of(&p->tss));
    vmcs_write(VMCS_HOST_GDTR_BASE, gdtr.base);
    vmcs_write(VMCS_HOST_IDTR_BASE, idtr.base);
    vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
    vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
    vmcs_write(VMCS_HOST_RIP, hpa_of(vmx_exit_point));
}

static void guest_write(void)
{
    vmcs_write(VMCS_GUEST_ACTIVITY, 0); /* active: a guest that halts exits */
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
    vmcs_write(VMCS_GUEST_DR7, 0x400);
    vmcs_write(VMCS_GUEST_CR3, 0);
}

static struct vmx_vcpu *block_build(uint32_t cpu, uint64_t ports)
{
    struct vmx_vcpu *a = &vmx_vcpus[cpu];
    bool launched = a->launched; /* by the probe */

    memset(a, 0, sizeof(*a));
    a->launched = launched;
    controls_write(a, ports);
    host_write();
    guest_write();
    return a;
}

enum hv_err vmx_init(struct vcpu *v)
{
    v->arch = block_build(v->cpu, v->io_map.v);
    return HV_OK;
}

void vmx_probe_run(void)
{
    bool intr_if0 = true;

    if (vmx_enable() != HV_OK)
        hv_stop("VMX cannot be switched on");
    xsavec_detect();
    verw_decide();
    if (!vmx_probe(block_build(0, 0), &intr_if0))
        hv_stop("this machine does not let exit what a guest must not do unseen (see above): use "
                "another version of the emulator, or report this log");
    vmx_quirks_set(!intr_if0);
}

static void vmx_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    struct cpuid_regs r = cpuid(leaf, subleaf);

    out[0] = r.eax;
    out[1] = r.ebx;
    out[2] = r.ecx;
    out[3] = r.edx;
    if (leaf == 0x80000001 && !vmx_caps.rdtscp)
        out[3] &= ~(uint32_t)X1_EDX_RDTSCP;
    if (leaf == 7 && subleaf == 0 && !vmx_caps.rdtscp)
        out[2] &= ~(uint32_t)L7_ECX_RDPID;
    xsavec_filter(leaf, subleaf, out);
}

void vmx_panic_dump(void (*emit)(const char *line))
{
    uint32_t cpu = port_cpu();

    if (cpu < HV_MACHINE_CPUS && vmx_is_on[cpu]) {
        struct vcpu v = {.cpu = cpu, .arch = &vmx_vcpus[cpu]};
        vmx_dump(&v, emit);
    }
}

const struct vcpu_ops vmx_ops = {
    .name = "vmx",
    .hypercall = {0x0f, 0x01, 0xc1}, /* VMCALL */
    .enable = vmx_enable,
    .init = vmx_init,
    .run = vmx_run,
    .get = vmx_get,
    .put = vmx_put,
    .code = vmx_code,
    .mode = vmx_mode,
    .inject = vmx_inject,
    .set_root = vmx_set_root,
    .isolate = vmx_isolate,
    .window = vmx_window,
    .waits = vmx_waits,
    .set_int_shadow = vmx_set_int_shadow,
    .nmi_mask = vmx_nmi_mask,
    .step = vmx_step,
    .nasids = vmx_nasids,
    .absent = vmx_absent,
    .cpuid = vmx_cpuid,
    .dump = vmx_dump,
};
