/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM is made of: its coherency state with its square of the matrix, its memory, its devices,
 * and what is loaded into it; at boot, and anew after its end. Tested by tools/tests/test_vms.c and
 * the vms group of `make check`. */
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/coherency/direct.h"
#include "hv/mem/phys.h"
#include "hv/port/cpu.h"
#include "hv/port/iommu.h"
#include "hv/port/machine.h"
#include "hv/vcpu/subvmm.h"
#include "hv/vm/console.h"
#include "hv/vm/load/load.h"
#include "hv/vm/screen.h"
#include "hv/vm/share.h"
#include "hv/vms.h"

struct vm_screen hv_screen;

/* Options are the machine's but for the memory: each VM has its own copy. */
static struct hv_options options[VM_MAX];

/* Loading uses static memory: one VM at a time. */
static _Atomic bool loading; /* a lock: the acquire of who takes it, the release of who had it */

static bool take(uint64_t bytes, const char *what, void **out)
{
    hpa_t at;

    if (phys_alloc(bytes, PAGE_SIZE, 0, &at) != HV_OK) {
        log_err("vm", "no memory for %lu KiB of %s: ask for less guest RAM with mem=", bytes >> 10,
                what);
        return false;
    }
    phys_clear(port_ptr(at), bytes);
    *out = port_ptr(at);
    return true;
}

/* Its square of the matrix is the VM's own memory: no other's channels lie in it. */
static bool make_matrix(struct vm *vm, const struct vm_plan *p)
{
    void *co, *matrix;

    if (!take(sizeof(*vm->co), "coherency state", &co) ||
        !take(sizeof(*vm->matrix) * vm->ncpus, "patch channels", &matrix))
        return false;
    vm->co = co;
    vm->matrix = matrix;
    coherency_place(vm->co, p->pcpu, vm->ncpus);
    return true;
}

static uint64_t nframes(const struct vm *vm)
{
    return vm->p2m.ngranules << (REGION_SHIFT - PAGE_SHIFT);
}

static bool is_taken(pci_bdf_t f)
{
    for (uint32_t i = 0; i < vm_count; i++)
        if (vm_table[i].pass && pass_has(vm_table[i].pass, f))
            return true;
    return false;
}

/* May the VM own devices, and does its RAM have to lie at its own address for it? */
static bool devices_allowed(struct vm *vm)
{
    static const struct vm *alone;

    if (port_iommu_isolates()) {
        if (!port_iommu_remaps())
            log_warn("vm", "interrupts are not remapped: who owns a device can make it send any "
                           "vector to any CPU, and NMIs and INITs");
        return true;
    }
    if (vm->opt->iommu == IOMMU_FORCE) {
        log_err("vm", "iommu=force, and no IOMMU is in use: VM %s gets no devices", vm->name);
        return false;
    }
    if (alone) {
        log_err("vm", "without an IOMMU one VM may own devices, and VM %s does: VM %s gets none",
                alone->name, vm->name);
        return false;
    }
    alone = vm;
    vm->own_only = true;
    log_warn("vm",
             "VM %s is NOT ISOLATED: it owns devices, and no IOMMU keeps their DMA from "
             "Patchbay's memory and other VMs'",
             vm->name);
    return true;
}

/* The machine's functions that it is given, before its memory, which lies around them. */
static bool choose_devices(struct vm *vm)
{
    const char *words;
    void *pass;
    size_t len;

    if (!vm_pci_words(vm->mod, vm->nmods, &words, &len))
        return true;
    if (vm->opt->mmu == MMU_REF) {
        log_warn("vm", "mmu=ref maps no device memory: pci= is ignored");
        return true;
    }
    if (!take((pass_sizeof() + PAGE_MASK) & ~(uint64_t)PAGE_MASK, "the guest's devices", &pass))
        return false;
    if (pass_choose(pass, words, len, is_taken) && devices_allowed(vm))
        vm->pass = pass;
    return true;
}

/* The screen, before the memory, which lies around it: the first VM that asks has it. */
static void choose_screen(struct vm *vm)
{
    static bool given;
    const char *why;

    if (!vm_screen_asked(vm->mod, vm->nmods))
        return;
    why = given                     ? "another VM has the screen"
          : vm->opt->mmu == MMU_REF ? "mmu=ref maps no device memory"
                                    : vm_screen_give(vm, &hv_screen);
    given = given || !why;
    if (why)
        log_warn("vm", "display=guest: %s", why);
}

/* RAM may lie higher than there is much of it: at its own address, or above device memory. */
static uint64_t frames_most(const struct vm *vm)
{
    if (vm->own_only)
        return phys_top() >> PAGE_SHIFT;
    return share_frames(phys_free_bytes(), vm->opt->mem_mib << 20) +
           (vm->pass || vm->screen.base ? (4ull << 30) >> PAGE_SHIFT : 0);
}

/* directpf=on asks for what not every processor can do. */
static bool direct_possible(const struct vm *vm)
{
    if (!vm->opt->directpf || vm->opt->mmu == MMU_REF)
        return false;
    bool can = vcpu_ops->absent && vcpu_ops->absent();
    if (!can)
        log_warn("vm", "directpf=on: this processor has no such faults without an exit: off");
    return can;
}

/* Devices and trace words, one per guest frame and region, come before the guest's RAM: it takes
 * whatever is left but a granule for page tables of ours. */
static bool make_memory(struct vm *vm)
{
    uint64_t bytes = (coherency_bytes(frames_most(vm)) + PAGE_MASK) & ~(uint64_t)PAGE_MASK;
    uint64_t hold = direct_bytes(frames_most(vm));
    void *pc;

    vm->devices_bytes = vm_devices_bytes(vm->opt, vm->mod, vm->nmods);
    if (!take(vpc_sizeof(), "virtual devices", &pc) || !take(bytes, "trace words", &vm->words) ||
        (direct_possible(vm) && !take(hold, "holder words", &vm->holders)) ||
        (vm->devices_bytes && !take(vm->devices_bytes, "virtio devices", &vm->devices)))
        return false;
    vm->pc = pc;
    if (vm->opt->test && vm->id)
        vm_poison_guard();
    /* the switch between VMs comes later */
    if (vm_memory_init(vm, vm->opt, (vm->devices_bytes || vm->pass ? 3 : 1) * REGION_SIZE) != HV_OK)
        return false;
    ASSERT(coherency_bytes(nframes(vm)) <= bytes && direct_bytes(nframes(vm)) <= hold);
    return true;
}

static void on_poweroff(void *ctx)
{
    vm_end_here(ctx, VM_POWEROFF);
}

static void on_reset(void *ctx)
{
    vm_end_here(ctx, VM_RESET);
}

static void on_debug_exit(void *ctx, uint32_t value)
{
    vm_debug_exit(ctx, value);
}

static void on_output(void *ctx, const char *text, size_t n)
{
    vm_console_out(ctx, text, n);
}

static void devices(struct vm *vm)
{
    const uint64_t four_gib = 1ull << 32;

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
                 .output = on_output,
                 .ctx = vm,
             });
}

/* Everything but the memory itself, as a VM has it before its first instruction. */
static bool fresh(struct vm *vm)
{
    coherency_init(vm->co, vm->ncpus, nframes(vm), vm->words, vm->matrix, vm->opt);
    direct_init(vm->co, vm->holders);
    devices(vm);
    if (vm->pass)
        pass_start(vm->pass, vm->pc, vm->co, &vm->p2m);
    vm_devices_make(vm, vm->mod, vm->nmods);
    kvmclock_init(vm);
    while (atomic_exchange_explicit(&loading, true, memory_order_acquire))
        port_relax();
    bool good = vm_load(vm, vm->mod, vm->nmods) == HV_OK;
    atomic_store_explicit(&loading, false, memory_order_release);
    return good;
}

bool vm_make(struct vm *vm, const struct vm_plan *p)
{
    memcpy(vm->name, p->name, sizeof(vm->name));
    vm->id = (uint32_t)(vm - vm_table);
    vm->ncpus = p->ncpus;
    vm->onend = p->onend;
    vm->mod = p->mod;
    vm->nmods = p->nmods;
    options[vm->id] = hv_opt;
    if (p->ram_mib)
        options[vm->id].mem_mib = p->ram_mib;
    vm->opt = &options[vm->id];
    if (!make_matrix(vm, p) || !choose_devices(vm))
        return false;
    choose_screen(vm);
    if (!make_memory(vm))
        return false;
    return fresh(vm);
}

bool vm_make_again(struct vm *vm)
{
    vm_making(vm);
    vm_clear(vm);
    vm->entry_rip = vm->entry_rsi = vm->entry_rsp = vm->entry_cr3 = 0;
    vm->entry_rax = vm->entry_rbx = 0;
    vm->entry_long = vm->entry_real = false;
    atomic_store(&vm->active, 0);
    atomic_store(&vm->stopped, 0);
    atomic_store(&vm->finisher, 0);
    atomic_store(&vm->warm_said, false);
    return fresh(vm);
}
