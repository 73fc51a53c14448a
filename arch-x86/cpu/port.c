/* SPDX-License-Identifier: BSD-2-Clause */
/* hv/port/cpu.h on the machine. Tested by every boot. */
#include "hv/port/cpu.h"
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/backtrace.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/mce.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/svm/quirks.h"
#include "arch-x86/vmx/quirks.h"
#include "hv/base/log.h"
#include "hv/port/machine.h"
#include "hv/port/pci.h"

uint32_t port_cpu(void)
{
    return percpu_self()->cpu;
}

/* In the image, which lies where it was linked: below 4 GiB, virtual = physical. */
void *port_low_memory(uint32_t cpu, hpa_t *at)
{
    static _Alignas(PORT_LOW_BYTES) uint8_t low[HV_MACHINE_CPUS][PORT_LOW_BYTES];

    *at = hpa((uintptr_t)low[cpu]);
    return low[cpu];
}

uint32_t port_ncpus(void)
{
    return cpu_count;
}

#define CPUID_1_ECX_RDRAND BIT(30)
#define RDRAND_TRIES 16 /* SDM volume 1, 7.3.17.1 "RDRAND": ten are enough if it works at all */

bool port_random(uint64_t *out)
{
    if (!(cpuid(1, 0).ecx & CPUID_1_ECX_RDRAND))
        return false;
    for (unsigned i = 0; i < RDRAND_TRIES; i++)
        if (rdrand(out))
            return true;
    return false;
}

void port_relax(void)
{
    cpu_pause();
}

uint64_t port_tsc(void)
{
    return rdtsc();
}

uint64_t port_tsc_hz(void)
{
    return tsc_hz;
}

bool port_tsc_constant(void)
{
    /* Emulators count at one rate and do not say so. */
    bool rate = cpu_features.invariant_tsc || cpu_features.hypervisor || acpi_info.bochs;
    return rate && tsc_synced();
}

void port_doorbell(uint32_t cpu)
{
    /* An NMI to itself would be taken before the entry, and on VMX prevent it. */
    if (vmx_quirks.intr_needs_guest_if && percpu_self()->cpu == cpu) {
        percpu_self()->kick_self = true;
        return;
    }
    /* An NMI ends a HLT too, and its handler does nothing. */
    apic_ipi(percpus[cpu].apic_id, quirks.intr_needs_guest_if || vmx_quirks.intr_needs_guest_if
                                       ? APIC_ICR_NMI | APIC_ICR_ASSERT
                                       : APIC_ICR_FIXED | APIC_ICR_ASSERT | VECTOR_DOORBELL);
}

void port_x87_env(uint32_t env[X87_ENV_WORDS])
{
    x87_store_env(env); /* masks every exception: put back what was there */
    x87_load_env(env);
}

void port_x87_clear(void)
{
    x87_clear();
}

static void mc_line(const char *text)
{
    log_err("cpu", "%s", text);
}

void mce_cpu_init(void)
{
    if (cpu_features.mce)
        mce_init(&cpu_probe_self, mc_line);
}

enum port_mc port_machine_check(void)
{
    return mce_collect(&cpu_probe_self, mc_line);
}

#define WHERE_WAIT_MS 200

bool port_where(uint32_t cpu, char *buf, size_t size)
{
    struct percpu *p = &percpus[cpu];
    uint64_t until = rdtsc() + tsc_hz / 1000 * WHERE_WAIT_MS;
    size_t n = 0;

    buf[0] = 0;
    atomic_store_explicit(&p->where_asked, 1, memory_order_seq_cst);
    apic_ipi(p->apic_id, APIC_ICR_NMI | APIC_ICR_ASSERT);
    /* acquire: pairs with the release in where_answer */
    while (atomic_load_explicit(&p->where_asked, memory_order_acquire)) {
        if (rdtsc() > until)
            return false;
        cpu_pause();
    }
    for (unsigned i = 0; i < PERCPU_WHERE && p->where[i] && n < size; i++) {
        char name[96];
        symbol_format(p->where[i], name, sizeof(name));
        n += (size_t)hv_snprintf(buf + n, size - n, "%s%s", i ? " < " : "", name);
    }
    return true;
}

void port_irq_off(void)
{
    cpu_cli();
    /* NMIs from here on keep port_halt from sleeping; same CPU, so program order suffices. */
    atomic_store_explicit(&percpu_self()->nmi_seen, 0, memory_order_relaxed);
}

void port_irq_on(void)
{
    cpu_sti();
}

void port_halt(void)
{
    cpu_halt_window();
}

/* APM volume 2, 16.11 "Message Signalled Interrupts" (SDM volume 3, 11.11): fixed, edge, physical
 * destination of 8 bits. */
bool port_msi_message(pci_bdf_t f, uint32_t cpu, uint8_t vector, uint64_t *address, uint32_t *data)
{
    uint32_t id = percpus[cpu].apic_id;

    if (port_iommu_remaps())
        return iommu_message(f, vector, id, address, data);
    if (id > APIC_MSI_ID_MAX) /* FF is all of them */
        return false;
    *address = APIC_MSI_BASE | id << APIC_MSI_DEST_SHIFT;
    *data = vector;
    return true;
}

uint8_t port_msi_take(void)
{
    struct percpu *p = percpu_self();

    for (unsigned w = 0; w < ARRAY_SIZE(p->msi); w++) {
        uint64_t bits = atomic_load_explicit(&p->msi[w], memory_order_relaxed);
        if (!bits)
            continue;
        unsigned bit = (unsigned)__builtin_ctzll(bits);
        atomic_fetch_and_explicit(&p->msi[w], ~BIT(bit), memory_order_relaxed);
        return (uint8_t)(w * 64 + bit);
    }
    return 0;
}

void port_timer_arm(uint64_t tsc)
{
    apic_timer_arm(tsc);
}

void port_host_cr4_follow(uint64_t guest_cr4)
{
    struct percpu *p = percpu_self();
    uint64_t can = (cpu_features.smep ? CR4_SMEP : 0) | (cpu_features.smap ? CR4_SMAP : 0) |
                   (cpu_features.pge ? CR4_PGE : 0);
    uint64_t want = p->cr4_fixed | (guest_cr4 & can);

    if (want != p->cr4) {
        p->cr4 = want;
        write_cr4(want);
    }
}

bool port_lfence_serialise(void)
{
    uint64_t value;

    if (!probe_rdmsr(MSR_DE_CFG, &value))
        return false;
    if (!(value & DE_CFG_LFENCE))
        (void)probe_wrmsr(MSR_DE_CFG, value | DE_CFG_LFENCE);
    return probe_rdmsr(MSR_DE_CFG, &value) && (value & DE_CFG_LFENCE);
}

uint64_t port_xcr0(void)
{
    return xgetbv(0);
}

void port_xcr0_set(uint64_t value)
{
    xsetbv(0, value);
}

void port_xstate_reset(uint64_t components)
{
    /* An XSAVE area whose header says that every component has its initial value; MXCSR is read
     * from it all the same (APM volume 2, 11.5.9 "MXCSR State Management"). */
    static _Alignas(64) const struct {
        uint8_t x87[24];
        uint32_t mxcsr;
        uint8_t rest[640 - 28];
    } initial = {.mxcsr = 0x1f80};

    if (cpuid(0xd, 1).eax & BIT(3))
        wrmsr(MSR_XSS, 0); /* XSAVES is hidden but executes: it finds no supervisor state */
    xsetbv(0, components);
    xrstor(&initial, components);
    xsetbv(0, XCR0_X87);
}
