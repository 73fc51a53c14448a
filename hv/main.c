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

/* What each CPU's shadow pool holds beside guest RAM / 512: tables of many processes at once. */
#define POOL_WORKING_SET (8ull << 20)
/* Page bookkeeping beside the pages: reverse map links and page descriptors, per page. */
#define POOL_OVERHEAD_PER_PAGE 4096ull
/* What all pools together leave: half of the memory, and so much for a guest with its tables; but a
 * sixth of a very small machine is theirs. And what one must have. */
#define LITTLE_MEMORY (128ull << 20)
#define POOL_LEAVES (80ull << 20)
#define POOL_LEAST (MMU_POOL_FLOOR * 2ull * PAGE_SIZE)
_Static_assert(OPT_POOL_MIN >= MMU_POOL_FLOOR, "pool= may ask for too little");

static uint64_t round_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) / to * to;
}

static uint64_t private_head(void)
{
    return round_up(sizeof(struct subvmm), PAGE_SIZE);
}

uint64_t hv_private_bytes(uint64_t guest_ram_bytes)
{
    uint64_t pool = guest_ram_bytes / 512 + POOL_WORKING_SET;

    if (hv_opt.pool_pages)
        pool = hv_opt.pool_pages * (uint64_t)PAGE_SIZE;
    pool += pool / PAGE_SIZE * POOL_OVERHEAD_PER_PAGE;
    return round_up(private_head() + pool, REGION_SIZE);
}

uint64_t hv_private_share(uint64_t free_bytes, uint32_t ncpus)
{
    uint64_t fixed = ncpus * hv_private_bytes(0);
    /* ram + ncpus * (fixed + 2 * ram / 512) = free */
    uint64_t ram = free_bytes > fixed ? (free_bytes - fixed) / (256 + ncpus) * 256 : 0;
    uint64_t most = free_bytes > POOL_LEAVES ? free_bytes - POOL_LEAVES : 0, bytes;
    uint64_t least = private_head() + POOL_LEAST;

    if (hv_opt.mem_mib && hv_opt.mem_mib < ram >> 20)
        ram = hv_opt.mem_mib << 20;
    bytes = hv_private_bytes(ram);
    most = most < free_bytes / 2 ? most : free_bytes / 2;
    most = (most > free_bytes / 6 ? most : free_bytes / 6) / ncpus;
    if (bytes <= most || hv_opt.pool_pages)
        return bytes;
    bytes = most > least ? most : least;
    return bytes & ~(bytes < 4 * REGION_SIZE ? PAGE_MASK : REGION_MASK);
}

/* A device of that VM, on one of its CPUs. */
static void vm_end_here(struct vm *vm, uint32_t how)
{
    uint32_t vcpu;

    ASSERT(vm_of(port_cpu(), &vcpu) == vm);
    vm_end(vm, vcpu, how);
}

static void on_poweroff(void *ctx)
{
    vm_end_here(ctx, 1);
}

static void on_reset(void *ctx)
{
    vm_end_here(ctx, 2);
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

/* Zeroed pages for good. */
static void *take(uint64_t bytes, const char *what)
{
    hpa_t at;

    if (phys_alloc(bytes, PAGE_SIZE, 0, &at) != HV_OK)
        hv_stop("no memory for %llu KiB of %s: ask for less guest RAM with mem=",
                (unsigned long long)(bytes >> 10), what);
    phys_clear(port_ptr(at), bytes);
    return port_ptr(at);
}

/* Its square of the matrix is the VM's own memory: no other's channels lie in it. */
static void make_matrix(struct vm *vm, const uint32_t *pcpu)
{
    vm->co = take(sizeof(*vm->co), "coherency state");
    vm->matrix = take(sizeof(*vm->matrix) * vm->ncpus, "patch channels");
    coherency_place(vm->co, pcpu, vm->ncpus);
}

static void make_memory(struct vm *vm)
{
    uint64_t nframes;

    /* Trace words: one per guest frame, and one per region; guest RAM is at most what is free. */
    uint64_t keep = coherency_bytes(phys_top() >> PAGE_SHIFT) + vpc_sizeof() +
                    (phys_free_bytes() > LITTLE_MEMORY ? 4 : 2) * REGION_SIZE;
    if (vm_memory_init(vm, vm->opt, keep) != HV_OK)
        hv_stop("no memory for a guest (see above)");
    nframes = vm->p2m.ngranules << (REGION_SHIFT - PAGE_SHIFT);
    vm->words = take(coherency_bytes(nframes), "trace words");
    coherency_init(vm->co, vm->ncpus, nframes, vm->words, vm->matrix, vm->opt);
}

static void make_devices(struct vm *vm)
{
    const uint64_t four_gib = 1ull << 32;

    vm->pc = take(vpc_sizeof(), "virtual devices");
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
    struct vm *vm = &vm_table[0];
    uint32_t pcpu[HV_MAX_CPUS];

    vm_count = 1;
    vm->opt = &hv_opt;
    vm->ncpus = ncpus < HV_MAX_CPUS ? ncpus : HV_MAX_CPUS;
    for (uint32_t c = 0; c < vm->ncpus; c++)
        pcpu[c] = c;
    make_matrix(vm, pcpu);
    make_memory(vm);
    make_devices(vm);
    if (vm_load(vm, bi->module, bi->nmodules) != HV_OK)
        hv_stop("no guest to run: see the lines above");
    subvmm_end_hook = vm_ended;
    subvmm_key_hook = mon_key;
    subvmm_monitor_hook = mon_answer;
    kvmclock_init(vm);
    if (vm->opt->test)
        vm_poison_place();
    phys_seal();
    log_info("main", "VM 0: %u CPUs, %llu MiB of RAM, entry 0x%llx (%s)", vm->ncpus,
             (unsigned long long)(vm->ram_bytes >> 20), (unsigned long long)vm->entry_rip,
             vm->entry_real   ? "real mode"
             : vm->entry_long ? "64-bit"
                              : "32-bit");
    coherency_give(vm->co); /* interrupt handlers post from here on */
}

_Noreturn void hv_cpu_main(uint32_t cpu, void *priv, hpa_t priv_hpa, uint64_t priv_bytes)
{
    uint64_t head = private_head();
    uint32_t vcpu;
    struct vm *vm = vm_of(cpu, &vcpu);

    ASSERT(vm && priv_bytes > head);
    subvmm_run(priv, vm, (uint8_t *)priv + head, hpa(priv_hpa.v + head), priv_bytes - head);
}
