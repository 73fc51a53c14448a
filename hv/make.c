/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM is made of: its coherency state with its square of the matrix, its memory, its devices,
 * and what is loaded into it; at boot, and anew after its end. Tested by tools/tests/test_vms.c and
 * the vms group of `make check`. */
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/vcpu/subvmm.h"
#include "hv/vm/console.h"
#include "hv/vm/share.h"
#include "hv/vms.h"


/* Options are the machine's but for the memory: each VM has its own copy. */
static struct hv_options options[VM_MAX];

/* Loading uses static memory: one VM at a time. */
static _Atomic bool loading;

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

/* Devices and trace words, one per guest frame and region, come before the guest's RAM: it takes
 * whatever is left but a granule for page tables of ours. */
static bool make_memory(struct vm *vm)
{
    uint64_t bytes = coherency_bytes(share_frames(phys_free_bytes(), vm->opt->mem_mib << 20));
    void *pc;

    vm->devices_bytes = vm_devices_bytes(vm->opt, vm->mod, vm->nmods);
    if (!take(vpc_sizeof(), "virtual devices", &pc) || !take(bytes, "trace words", &vm->words) ||
        (vm->devices_bytes && !take(vm->devices_bytes, "virtio devices", &vm->devices)))
        return false;
    vm->pc = pc;
    if (vm->opt->test && vm->id)
        vm_poison_guard();
    /* the switch between VMs comes later */
    if (vm_memory_init(vm, vm->opt, (vm->devices_bytes ? 2 : 1) * REGION_SIZE) != HV_OK)
        return false;
    ASSERT(coherency_bytes(nframes(vm)) <= bytes);
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
    memset(vm->words, 0, coherency_bytes(nframes(vm)));
    coherency_init(vm->co, vm->ncpus, nframes(vm), vm->words, vm->matrix, vm->opt);
    devices(vm);
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
    if (!make_matrix(vm, p) || !make_memory(vm))
        return false;
    return fresh(vm);
}

bool vm_make_again(struct vm *vm)
{
    vm_making(vm);
    for (uint64_t g = 0; g < vm->p2m.ngranules; g++)
        if (vm->p2m.granule[g] != P2M_NONE)
            phys_clear(port_ptr(hpa((uint64_t)vm->p2m.granule[g] << REGION_SHIFT)), REGION_SIZE);
    vm->entry_rip = vm->entry_rsi = vm->entry_rsp = vm->entry_cr3 = 0;
    vm->entry_rax = vm->entry_rbx = 0;
    vm->entry_long = vm->entry_real = false;
    atomic_store(&vm->active, 0);
    atomic_store(&vm->stopped, 0);
    atomic_store(&vm->finisher, 0);
    atomic_store(&vm->warm_said, false);
    return fresh(vm);
}
