/* SPDX-License-Identifier: BSD-2-Clause */
/* From boot to the sub-VMMs: guest memory, coherency, devices and image of VM 0, and its end.
 * Tested by every boot. */
#include "hv/main.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/mem/phys.h"
#include "hv/mon/mon.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/vm/load/load.h"
#include "hv/vm/share.h"

_Static_assert(OPT_POOL_MIN >= MMU_POOL_FLOOR, "pool= may ask for too little");

struct coherency *hv_coherency;
static struct coherency main_coherency;
static struct channel main_matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct vm main_vm;

static uint64_t private_head(void)
{
    return (sizeof(struct subvmm) + PAGE_SIZE - 1) & ~(uint64_t)PAGE_MASK;
}

static struct share_ask ask(uint64_t free_bytes, uint32_t ncpus)
{
    return (struct share_ask){
        .free_bytes = free_bytes,
        .ncpus = ncpus,
        .head_bytes = private_head() + (NATIVE_AREA_PAGES + 1) * (uint64_t)PAGE_SIZE,
        .granules = phys_top() >> REGION_SHIFT,
        .guest_bytes = hv_opt.mem_mib << 20,
        .pool_pages = (uint32_t)hv_opt.pool_pages,
        .fewest_pages = MMU_POOL_FLOOR,
    };
}

uint64_t hv_private_bytes(uint64_t guest_ram_bytes)
{
    struct share_ask a = ask(0, 1);

    return share_bytes(&a, guest_ram_bytes);
}

uint64_t hv_private_share(uint64_t free_bytes, uint32_t ncpus)
{
    struct share_ask a = ask(free_bytes, ncpus);

    return share_each(&a);
}

static void on_poweroff(void *ctx)
{
    vm_end(ctx, port_cpu(), 1);
}

static void on_reset(void *ctx)
{
    vm_end(ctx, port_cpu(), 2);
}

static void line(const char *text)
{
    log_raw(text, strlen(text));
}

static void vm_last_words(struct vm *vm)
{
    vpc_flush(vm->pc);
    if (vm->opt->trace)
        mon_trace_block(vm);
    uint64_t damage = vm_poison_damage();
    if (damage)
        PANIC("host memory outside of the guest changed at 0x%llx", (unsigned long long)damage);
    mon_stats_line(vm);
}

static void vm_ended(struct vm *vm, uint32_t how)
{
    vm_last_words(vm);
    switch (how) {
    case 1:
        line("patchbay: guest powered off\n");
        port_poweroff();
    case 2:
        line("patchbay: guest reset\n");
        if (vm->opt->noreboot)
            port_stop();
        port_reset();
    default:
        line("patchbay: nothing runs any more\n");
        if (vm->opt->noreboot)
            port_stop();
        port_poweroff();
    }
}

/* The guest's own status goes to the emulator, after everything that is checked at the end of a VM.
 */
static void on_debug_exit(void *ctx, uint32_t value)
{
    vm_last_words(ctx);
    port_debug_exit(value);
}

/* Devices and trace words, one per guest frame and region, come before the guest's RAM: it takes
 * whatever is left but a granule for page tables of ours. */
static void make_memory(struct vm *vm, hpa_t *devices)
{
    uint64_t bytes = coherency_bytes(share_frames(phys_free_bytes(), vm->opt->mem_mib << 20));
    hpa_t words;

    if (phys_alloc(vpc_sizeof(), PAGE_SIZE, 0, devices) != HV_OK)
        hv_stop("no memory for the virtual devices: ask for less guest RAM with mem=");
    if (phys_alloc(bytes, PAGE_SIZE, 0, &words) != HV_OK)
        hv_stop("no memory for %llu KiB of trace words: ask for less guest RAM with mem=",
                (unsigned long long)(bytes >> 10));
    if (vm_memory_init(vm, vm->opt, REGION_SIZE) != HV_OK)
        hv_stop("no memory for a guest (see above)");
    uint64_t nframes = vm->p2m.ngranules << (REGION_SHIFT - PAGE_SHIFT);
    ASSERT(coherency_bytes(nframes) <= bytes);
    memset(port_ptr(words), 0, bytes);
    coherency_init(&main_coherency, vm->ncpus, nframes, port_ptr(words), main_matrix, vm->opt);
    vm->co = &main_coherency;
}

static void make_devices(struct vm *vm, hpa_t at)
{
    const uint64_t four_gib = 1ull << 32;

    memset(port_ptr(at), 0, vpc_sizeof());
    vm->pc = port_ptr(at);
    vpc_init(vm->pc,
             &(struct vpc_config){
                 .ncpus = vm->ncpus,
                 .co = vm->co,
                 .tsc_hz = port_tsc_hz(),
                 .ram_top_low = vm->ram_low_end,
                 .ram_above_4g = vm->ram_high_end > four_gib ? vm->ram_high_end - four_gib : 0,
                 .test = vm->opt->test,
                 .poweroff = on_poweroff,
                 .reset = on_reset,
                 .debug_exit = on_debug_exit,
                 .ctx = vm,
             });
}

void hv_main(const struct boot_info *bi, uint32_t ncpus)
{
    struct vm *vm = &main_vm;

    vm->opt = &hv_opt;
    vm->ncpus = ncpus < HV_MAX_CPUS ? ncpus : HV_MAX_CPUS;
    hpa_t devices;
    make_memory(vm, &devices);
    make_devices(vm, devices);
    if (vm_load(vm, bi->module, bi->nmodules) != HV_OK)
        hv_stop("no guest to run: see the lines above");
    subvmm_end_hook = vm_ended;
    subvmm_key_hook = mon_key;
    subvmm_monitor_hook = mon_answer;
    kvmclock_init();
    if (vm->opt->test)
        vm_poison_place();
    phys_seal();
    log_info("main", "VM 0: %u CPUs, %llu MiB of RAM, entry 0x%llx (%s)", vm->ncpus,
             (unsigned long long)(vm->ram_bytes >> 20), (unsigned long long)vm->entry_rip,
             vm->entry_real   ? "real mode"
             : vm->entry_long ? "64-bit"
                              : "32-bit");
    hv_coherency = vm->co; /* interrupt handlers post from here on */
}

_Noreturn void hv_cpu_main(uint32_t cpu, void *priv, hpa_t priv_hpa, uint64_t priv_bytes)
{
    uint64_t head = private_head();

    ASSERT(cpu < main_vm.ncpus && priv_bytes > head);
    subvmm_run(priv, &main_vm, (uint8_t *)priv + head, hpa(priv_hpa.v + head), priv_bytes - head);
}
