/* SPDX-License-Identifier: BSD-2-Clause */
/* The visible list of initialisation calls, from the loader's entry to the sub-VMMs.
 * Tested by every boot. */
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/crash.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/mce.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/panic.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/smp.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/cpu/version.h"
#include "arch-x86/defs/layout.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/dev/console.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/plat/machine.h"
#include "arch-x86/plat/memmap.h"
#include "arch-x86/plat/pci.h"
#include "arch-x86/svm/probe.h"
#include "arch-x86/svm/quirks.h"
#include "arch-x86/svm/svm.h"
#include "arch-x86/vmx/vmx.h"
#include "boot/asm_defs.h"
#include "boot/multiboot.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/ring.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"

_Static_assert(ASM_CR0_PE == CR0_PE && ASM_CR0_ET == CR0_ET && ASM_CR0_NE == CR0_NE, "CR0");
_Static_assert(ASM_CR0_PG == CR0_PG && ASM_CR4_PAE == CR4_PAE, "CR0, CR4");
_Static_assert(ASM_EFER_LME == EFER_LME && ASM_EFER_NXE == EFER_NXE, "EFER");
_Static_assert(ASM_MSR_EFER == MSR_EFER, "EFER");

void boot_main(uint32_t magic, uint32_t info);

static bool loader_ok;
static uint32_t ncpus; /* that are to run; one of them may refuse */

static void warn_line(const char *line)
{
    log_warn("options", "%s", line);
}

static void help_line(const char *line)
{
    log_info("help", "%s", line);
}

static void options_apply(void)
{
    options_parse(&hv_opt, boot_info.cmdline, warn_line);
    log_set_level((enum log_level)hv_opt.loglvl);
}

static void banner(void)
{
    log_info("boot", "Patchbay %s (loader: %s, %s, consoles: %s)", PATCHBAY_VERSION,
             boot_info.loader[0] ? boot_info.loader : "unknown", boot_info.uefi ? "UEFI" : "BIOS",
             console_names());
    log_info("boot", "command line: %s", boot_info.cmdline);
    if (hv_opt.help)
        options_describe(help_line);
}

static void require(bool good, const char *what)
{
    if (good)
        return;
    hv_stop("%s", what);
}

/* Decides ncpus, the CPUs that may be started: smp= and the tables' width bound it. */
static void cpus_decide(void)
{
    uint32_t n = acpi_info.ncpus ? acpi_info.ncpus : 1;
    if (n > HV_MACHINE_CPUS) {
        log_warn("smp", "%u CPUs, %u can be used", n, HV_MACHINE_CPUS);
        n = HV_MACHINE_CPUS;
    }
    if (hv_opt.smp > n)
        log_warn("smp", "smp=%u: this machine has %u CPUs, the guest gets those", hv_opt.smp, n);
    ncpus = hv_opt.smp && hv_opt.smp < n ? hv_opt.smp : n;
}

/* Private memory for every CPU that may come up and that a VM has. */
static void memory_per_cpu(uint32_t n)
{
    uint64_t sum = 0, most = 0;
    uint32_t used = 0;

    for (uint32_t c = 0; c < n; c++) {
        uint64_t bytes = hv_private_of(c);
        percpus[c].cpu = c;
        percpus[c].priv_bytes = bytes;
        if (!bytes)
            continue;
        if (phys_alloc(bytes, bytes % REGION_SIZE ? PAGE_SIZE : REGION_SIZE, 0, &percpus[c].priv) !=
            HV_OK)
            hv_stop("no %llu KiB of private memory for CPU %u: give the machine more RAM, or use "
                    "fewer CPUs (smp=) or a smaller %s",
                    (unsigned long long)(bytes >> 10), c,
                    hv_opt.pool_pages ? "pool=" : "guest (mem=)");
        paging_exclude(percpus[c].priv, bytes);
        sum += bytes;
        most = bytes > most ? bytes : most;
        used++;
    }
    log_info("mem", "private memory: %s%llu KiB for each of %u CPUs, %llu MiB together",
             sum == most * used ? "" : "up to ", (unsigned long long)(most >> 10), used,
             (unsigned long long)(sum >> 20));
}

/* Event rings: not in the image, which must end where OVMF keeps memory of its own. */
static void rings_per_cpu(uint32_t n)
{
    hpa_t at;

    if (phys_alloc((uint64_t)RING_BYTES * n, PAGE_SIZE, 0, &at) != HV_OK) {
        log_warn("mem", "no memory for the event rings: events are not kept");
        return;
    }
    phys_clear(port_ptr(at), (uint64_t)RING_BYTES * n);
    for (uint32_t c = 0; c < n; c++)
        ring_place(c, port_ptr(hpa(at.v + (uint64_t)RING_BYTES * c)));
}

static void tables_per_cpu(uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        paging_add_stacks(c);
        percpus[c].stack_top = percpu_stack_main_top(c);
        percpus[c].root = paging_cpu_root(percpus[c].priv, percpus[c].priv_bytes);
    }
}

/* Every CPU, on its own tables and stack, interrupts on. */
static void cpu_run(void)
{
    struct percpu *p = percpu_self();
    if (vcpu_ops->enable() != HV_OK)
        PANIC("CPU %u cannot enable %s", p->cpu, vcpu_ops->name);
    hv_cpu_main(p->cpu, (void *)LAYOUT_PRIVATE_BASE, p->priv, p->priv_bytes);
}

/* The rest of the table of what the machine has; arch-x86/cpu/features.c logs the processor's part.
 */
static void report(void)
{
    char inputs[64];

    console_input_names(inputs, sizeof(inputs));
    log_info("check", "CPUs       %u of %u run, %s", cpu_count,
             acpi_info.ncpus ? acpi_info.ncpus : 1, apic_is_x2() ? "x2APIC" : "xAPIC");
    log_info("check", "memory     %llu MiB free, top at 0x%llx",
             (unsigned long long)(phys_free_bytes() >> 20), (unsigned long long)phys_top());
    log_info("check", "firmware   %s, %s, CPUs from %s, power-off %s",
             boot_info.uefi ? "UEFI" : "BIOS",
             acpi_info.found ? "ACPI" : "no ACPI (enable it in the firmware setup)",
             acpi_info.source, acpi_info.has_s5 ? "by ACPI" : "not found: switch it off by hand");
    log_info("check", "clock      TSC %llu kHz, %s", (unsigned long long)(tsc_hz / 1000),
             port_tsc_constant()
                 ? "constant, the same on all CPUs"
                 : "not constant or not the same on all CPUs: the guest is told so");
    log_info("check", "consoles   %s; input: %s", console_names(), inputs);
}

/* The processor's vendor of VCPUs, what it does not do as its manual says, its part of a dump. */
static void vendor_choose(void)
{
    if (features_vmx(&cpu_features)) {
        vmx_probe_run();
        vcpu_ops = &vmx_ops;
        panic_dump_hook = vmx_panic_dump;
    } else {
        svm_probe_run();
        vcpu_ops = &svm_ops;
        panic_dump_hook = svm_panic_dump;
    }
}

/* Why the processors' x2APIC mode is not used, NULL: it is where there is one. */
static const char *x2apic_why_not(void)
{
    if (!hv_opt.x2apic_host)
        return "x2apic=off";
    return iommu_wants_xapic() ? "the IOMMU remaps interrupts for this mode" : NULL;
}

/* The BSP, on its final stack. */
static void boot_on_own_tables(void)
{
    const uint64_t ist[3] = {percpu_stack_ist_top(0, 0), percpu_stack_ist_top(0, 1),
                             percpu_stack_ist_top(0, 2)};

    percpu_load(&percpus[0], ist);                     /* TSS with guarded stacks */
    mce_cpu_init();                                    /* what hardware errors there were */
    apic_init(hpa(acpi_info.lapic), x2apic_why_not()); /* xAPIC or x2APIC */
    apic_cpu_init();                                   /* this CPU's */
    percpus[0].apic_id = apic_id();                    /* number 0 */
    percpus[0].online = true;                          /* it runs */
    pic_disable();                                     /* 8259s masked */
    ioapic_init();                                     /* all pins masked */
    rtc_read();                                        /* wall clock */
    tsc_calibrate(acpi_info.pm_tmr);                   /* frequency of the TSC */
    iommu_init();                                      /* devices reach nothing */
    pci_scan();                                        /* what functions there are */
    apic_timer_calibrate();                            /* ... and of the timer */
    apic_timer_cpu_init();                             /* this CPU's, not armed */
    vendor_choose();                                   /* SVM or VMX; its quirks */
    smp_start(acpi_info.apic_id, acpi_info.ncpus, ncpus, cpu_run); /* the others, parked */
    quirks_start();                                                /* ... and its remedy */
    report();                                                      /* what the machine has */
    console_enable_input(percpus[0].apic_id);                      /* serial interrupts to CPU 0 */
    cpu_sti();                                                     /* interrupts on from here */
    hv_main(cpu_count); /* the VMs: memory, devices, image */
    smp_release();      /* the others go on */
    cpu_run();          /* never returns */
}

/* Entry from boot/header.S: 64-bit, 4 GiB mapped identically, interrupts off, small stack. */
void boot_main(uint32_t magic, uint32_t info)
{
    const uint64_t no_ist[3] = {0, 0, 0};

    percpu_load(&percpus[0], no_ist); /* GDT, IDT, GS: exceptions are reported from here */
    features_read(&cpu_probe_self, &cpu_features); /* CPUID, VM_CR */
    loader_ok = multiboot_parse(magic, info);      /* command line, modules, memory map */
    options_apply();                               /* hv_opt */
    console_init();                                /* replays what was logged so far */
    banner();                                      /* who we are, where output goes */
    require(features_check(&cpu_features), "a needed processor feature is missing (see above)");
    require(features_divide_check(cpu_divide_self),
            "the processor divides wrongly (see above): use another version of the emulator");
    require(loader_ok, "the loader's information is unusable (see above)");
    pci_quiesce();                                   /* nobody else writes to memory */
    memmap_log();                                    /* RAM */
    crash_init();                                    /* what the last run said at its end */
    acpi_init(boot_info.rsdp, boot_info.uefi);       /* CPUs, APICs, power */
    pci_config_ecam(boot_info.rsdp, boot_info.uefi); /* registers beyond 256 */
    iommu_find(boot_info.rsdp, boot_info.uefi);      /* which there is */
    cpus_decide();                                   /* ncpus */
    hv_plan(&boot_info, ncpus, phys_free_bytes());   /* which VM has which CPUs */
    memory_per_cpu(ncpus);                           /* private pools, before the direct map */
    paging_init();                                   /* shared half of the tables */
    tables_per_cpu(ncpus);                           /* stacks, roots */
    paging_cpu_enable(percpus[0].root);              /* W^X from here */
    paging_direct_enable();                          /* port_ptr() */
    rings_per_cpu(ncpus);                            /* events, for panics and the monitor */
    console_remap();                                 /* device memory moved */
    stack_switch(percpus[0].stack_top, boot_on_own_tables);
}
