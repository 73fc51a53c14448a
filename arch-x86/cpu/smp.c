/* SPDX-License-Identifier: BSD-2-Clause */
/* INIT-SIPI-SIPI with measured delays, one processor at a time; dense CPU numbers by order of
 * arrival, each tied to the APIC id it was started for. Tested by booting with 1, 2, 4 and 8 CPUs.
 */
#include "arch-x86/cpu/smp.h"
#include <stdatomic.h>
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/mce.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/smp_order.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/apic.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/machine.h"

#define INIT_DELAY_US 10000 /* SDM 3A, 8.4.4.1 "Typical BSP Initialization Sequence" */
#define SIPI_DELAY_US 200
#define START_TIMEOUT_MS 5000 /* generous: emulators on loaded hosts */
#define CONVENTIONAL_END 0xa0000

struct ap_param { /* layout known to boot/ap.S */
    uint32_t gdtr_pad, claim;
    uint64_t root, stack, entry, cpu;
};
extern char ap_trampoline_start[], ap_trampoline_end[], ap_gdt[], ap_gdtr_base[], ap_far64[];
extern char ap_code64[], ap_cr3[], ap_param[], ap_enter[], boot_pml4[];

static _Atomic uint32_t arrived; /* CPU number + 1 of the AP that came up */
static _Atomic uint32_t released;
static void (*ap_continue)(void);
static struct cpu_features ap_features; /* of the AP that starts: one at a time */

_Noreturn void smp_ap_main(uint32_t cpu);

_Noreturn void smp_ap_main(uint32_t cpu)
{
    struct percpu *p = &percpus[cpu];
    const uint64_t ist[3] = {percpu_stack_ist_top(cpu, 0), percpu_stack_ist_top(cpu, 1),
                             percpu_stack_ist_top(cpu, 2)};
    p->cpu = cpu;
    char lacks[128];
    percpu_load(p, ist);
    features_read(&cpu_probe_self, &ap_features);
    if (!features_alike(&cpu_features, &ap_features, lacks, sizeof(lacks))) {
        /* Pairs with start_one, which comes to the same result. Its number and stack are the next
         * CPU's: from here on it must not use them. */
        atomic_store_explicit(&arrived, cpu + 1, memory_order_release);
        for (;;)
            cpu_hlt();
    }
    paging_cpu_enable(p->root);
    mce_cpu_init();
    apic_cpu_init();
    if (apic_id() != p->apic_id)
        for (;;) /* a CPU that woke late took another's place: keep it out */
            cpu_hlt();
    apic_timer_cpu_init();
    atomic_store_explicit(&arrived, cpu + 1, memory_order_release); /* pairs with start_one */
    tsc_sync_ap();
    cpu_cli();
    /* Pairs with smp_release: the doorbell ends the HLT. */
    while (!atomic_load_explicit(&released, memory_order_acquire)) {
        cpu_halt_window();
        cpu_cli();
    }
    cpu_sti();
    ap_continue();
    for (;;)
        cpu_hlt();
}

void smp_release(void)
{
    atomic_store_explicit(&released, 1, memory_order_seq_cst);
    for (uint32_t c = 1; c < cpu_count; c++)
        apic_ipi(percpus[c].apic_id, APIC_ICR_FIXED | APIC_ICR_ASSERT | VECTOR_DOORBELL);
}

/* Copies the trampoline to a page below 640 KiB and puts its own address in. */
static hpa_t trampoline_place(void)
{
    hpa_t page;
    char *t;
    uint32_t at;

    if (phys_alloc(PAGE_SIZE, PAGE_SIZE, CONVENTIONAL_END, &page) != HV_OK)
        return hpa(0);
    ASSERT((uint64_t)(ap_trampoline_end - ap_trampoline_start) <= PAGE_SIZE);
    t = port_ptr(page);
    memcpy(t, ap_trampoline_start, (size_t)(ap_trampoline_end - ap_trampoline_start));
    at = (uint32_t)(page.v + (uint64_t)(ap_gdt - ap_trampoline_start));
    memcpy(t + (ap_gdtr_base - ap_trampoline_start), &at, sizeof(at));
    at = (uint32_t)(page.v + (uint64_t)(ap_code64 - ap_trampoline_start));
    memcpy(t + (ap_far64 - ap_trampoline_start), &at, sizeof(at));
    at = (uint32_t)(uintptr_t)boot_pml4;
    memcpy(t + (ap_cr3 - ap_trampoline_start), &at, sizeof(at));
    return page;
}

static bool arrived_is(uint32_t cpu, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        if (atomic_load_explicit(&arrived, memory_order_acquire) == cpu + 1)
            return true;
        tsc_delay_us(1000);
    }
    return false;
}

/* false: no answer. From then on it may not come: whoever finds claim 0 halts for ever. */
static bool wake(hpa_t page, uint32_t cpu)
{
    struct percpu *p = &percpus[cpu];
    struct ap_param *param = (void *)((char *)port_ptr(page) + (ap_param - ap_trampoline_start));
    _Atomic uint32_t *claim = (void *)&param->claim;
    uint32_t sipi = APIC_ICR_STARTUP | APIC_ICR_ASSERT | (uint32_t)(page.v >> PAGE_SHIFT);

    param->root = p->root.v;
    param->stack = p->stack_top;
    param->entry = (uint64_t)(uintptr_t)ap_enter;
    param->cpu = cpu;
    atomic_store_explicit(claim, 1, memory_order_seq_cst); /* pairs with the XCHG in boot/ap.S */
    apic_ipi(p->apic_id, APIC_ICR_INIT | APIC_ICR_ASSERT | APIC_ICR_LEVEL);
    tsc_delay_us(SIPI_DELAY_US);
    apic_ipi(p->apic_id, APIC_ICR_INIT | APIC_ICR_LEVEL);
    tsc_delay_us(INIT_DELAY_US);
    apic_ipi(p->apic_id, sipi);
    tsc_delay_us(SIPI_DELAY_US);
    if (atomic_load_explicit(claim, memory_order_seq_cst) != 0)
        apic_ipi(p->apic_id, sipi);
    if (arrived_is(cpu, START_TIMEOUT_MS))
        return true;
    atomic_store_explicit(claim, 0, memory_order_seq_cst);
    return false;
}

static hpa_t trampoline;

static enum smp_outcome start_one(uint32_t cpu, uint32_t id)
{
    char lacks[128];

    percpus[cpu].apic_id = id;
    atomic_store_explicit(&arrived, 0, memory_order_relaxed);
    tsc_sync_prepare();
    if (!wake(trampoline, cpu))
        return SMP_SILENT;
    if (!features_alike(&cpu_features, &ap_features, lacks, sizeof(lacks))) {
        log_err("smp",
                "CPU with APIC id %u is left out: unlike the boot processor it lacks %s; update "
                "the firmware, or disable that core in its setup",
                id, lacks);
        return SMP_UNLIKE;
    }
    tsc_sync_bsp(cpu);
    percpus[cpu].online = true;
    cpu_count = cpu + 1;
    return SMP_RUNS;
}

void smp_start(const uint32_t *apic_ids, unsigned nids, uint32_t want, void (*ap_main)(void))
{
    static const struct smp_ops ops = {apic_can_address, start_one};

    ap_continue = ap_main;
    if (want <= 1)
        return;
    trampoline = trampoline_place();
    if (trampoline.v == 0) {
        log_err("smp", "no free page below 640 KiB for the start-up code: one CPU only");
        return;
    }
    (void)smp_order(apic_ids, nids, apic_id(), want, &ops);
}
