/* SPDX-License-Identifier: BSD-2-Clause */
/* From boot to the sub-VMMs: guest memory, coherency, devices and image of VM 0, and its end.
 * Tested by every boot. */
#include "hv/main.h"
#include "arch-x86/defs/multiboot.h"
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
#include "hv/vm/screen.h"

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

struct coherency *hv_coherency;
static struct coherency main_coherency;
static struct channel main_matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct vm main_vm;

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
    if (vm->pass)
        pass_stop(vm->pass);
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

static bool on_config(void *ctx, struct vio *io, uint8_t devfn, unsigned reg)
{
    struct vm *vm = ctx;
    uint32_t value = (uint32_t)io->value;

    if (io->write)
        return pass_config_write(vm->pass, io->cpu, devfn, reg, io->size, value);
    if (!pass_config_read(vm->pass, devfn, reg, io->size, &value))
        return false;
    io->value = value;
    return true;
}

/* The machine's functions that the VM is given, before its memory, which lies around them. */
static void choose_devices(struct vm *vm, const struct boot_info *bi)
{
    const char *words;
    size_t len;
    hpa_t at;

    if (!vm_pci_words(bi->module, bi->nmodules, &words, &len))
        return;
    if (vm->opt->mmu == MMU_REF) {
        log_warn("main", "mmu=ref maps no device memory: pci= is ignored");
        return;
    }
    if (phys_alloc(round_up(pass_sizeof(), PAGE_SIZE), PAGE_SIZE, 0, &at) != HV_OK)
        hv_stop("no memory for the guest's devices");
    memset(port_ptr(at), 0, pass_sizeof());
    vm->pass = port_ptr(at);
    if (!pass_choose(vm->pass, words, len, NULL)) {
        vm->pass = NULL;
        return;
    }
    vm->own_only = true;
    log_warn("main",
             "the guest is NOT ISOLATED: it owns devices, and no IOMMU keeps their DMA from "
             "Patchbay's memory");
}

/* The screen, before the memory, which lies around it. */
static void choose_screen(struct vm *vm, const struct boot_info *bi)
{
    struct vm_screen s = {bi->fb_addr,   bi->fb_pitch,        bi->fb_width,
                          bi->fb_height, (uint8_t)bi->fb_bpp, {0}};
    const char *why;

    if (!vm_screen_asked(bi->module, bi->nmodules))
        return;
    if (bi->fb_type != MB2_FRAMEBUFFER_RGB)
        s.base = 0;
    memcpy(s.colour, bi->fb_colour, sizeof(s.colour));
    why = vm->opt->mmu == MMU_REF ? "mmu=ref maps no device memory" : vm_screen_give(vm, &s);
    if (why)
        log_warn("main", "display=guest: %s", why);
}

static void make_memory(struct vm *vm)
{
    hpa_t words;
    uint64_t nframes, bytes;

    /* Trace words: one per guest frame, and one per region; guest RAM is at most what is free. */
    uint64_t keep = coherency_bytes(phys_top() >> PAGE_SHIFT) + vpc_sizeof() +
                    (phys_free_bytes() > LITTLE_MEMORY ? 4 : 2) * REGION_SIZE;
    if (vm_memory_init(vm, vm->opt, keep) != HV_OK)
        hv_stop("no memory for a guest (see above)");
    nframes = vm->p2m.ngranules << (REGION_SHIFT - PAGE_SHIFT);
    bytes = coherency_bytes(nframes);
    if (phys_alloc(bytes, PAGE_SIZE, 0, &words) != HV_OK)
        hv_stop("no memory for %llu KiB of trace words: ask for less guest RAM with mem=",
                (unsigned long long)(bytes >> 10));
    memset(port_ptr(words), 0, bytes);
    coherency_init(&main_coherency, vm->ncpus, nframes, port_ptr(words), main_matrix, vm->opt);
    vm->co = &main_coherency;
}

static void make_devices(struct vm *vm)
{
    const uint64_t four_gib = 1ull << 32;
    hpa_t at;

    if (phys_alloc(vpc_sizeof(), PAGE_SIZE, 0, &at) != HV_OK)
        hv_stop("no memory for the virtual devices: ask for less guest RAM with mem=");
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
    choose_devices(vm, bi);
    choose_screen(vm, bi);
    make_memory(vm);
    make_devices(vm);
    if (vm->pass) {
        pass_start(vm->pass, vm->pc, &vm->p2m);
        vpc_on_config(vm->pc, on_config, vm);
    }
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
    if (vm->screen.base) {
        log_info("main",
                 "the screen is the guest's from here on, %ux%u: Patchbay's messages go to the "
                 "other consoles",
                 vm->screen.width, vm->screen.height);
        port_screen_yield();
    }
    hv_coherency = vm->co; /* interrupt handlers post from here on */
}

_Noreturn void hv_cpu_main(uint32_t cpu, void *priv, hpa_t priv_hpa, uint64_t priv_bytes)
{
    uint64_t head = private_head();

    ASSERT(cpu < main_vm.ncpus && priv_bytes > head);
    subvmm_run(priv, &main_vm, (uint8_t *)priv + head, hpa(priv_hpa.v + head), priv_bytes - head);
}
