/* SPDX-License-Identifier: BSD-2-Clause */
/* From boot to the sub-VMMs: how the machine is divided, and the VMs in it. Tested by every boot.
 */
#include "hv/main.h"
#include "arch-x86/defs/multiboot.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/coherency/direct.h"
#include "hv/mem/phys.h"
#include "hv/mon/mon.h"
#include "hv/port/cpu.h"
#include "hv/port/iommu.h"
#include "hv/port/machine.h"
#include "hv/subvmm/life.h"
#include "hv/pass/pass.h"
#include "hv/vm/console.h"
#include "hv/vm/load/load.h"
#include "hv/vm/share.h"
#include "hv/vms.h"

#define RAM_LEAST_MIB 16u /* of a VM among several */
_Static_assert(OPT_POOL_MIN >= MMU_POOL_FLOOR, "pool= may ask for too little");

struct plan hv_vms;
static uint32_t reader; /* the CPU that reads the consoles: the first that has a VM */

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

/* The same for one VM of several, which gets `share` of the memory; mem_mib: what it asked for. */
static uint64_t private_share(uint64_t free_bytes, uint32_t ncpus, uint64_t mem_mib)
{
    struct share_ask a = ask(free_bytes, ncpus);

    a.guest_bytes = mem_mib << 20;
    return share_each(&a);
}

uint64_t hv_private_share(uint64_t free_bytes, uint32_t ncpus)
{
    return private_share(free_bytes, ncpus, hv_opt.mem_mib);
}

/* What a VM needs beside RAM and private memory. With real devices or the screen its frames have
 * numbers up to those of the BARs it lies around (make.c), and more page tables lead there. Where
 * no IOMMU stands behind the devices its RAM lies at its own address, which may be the last. */
static uint64_t beside(const struct vm_plan *v, uint64_t ram)
{
    const char *words;
    size_t len;
    bool devices = vm_pci_words(v->mod, v->nmods, &words, &len);
    bool around = devices || vm_screen_asked(v->mod, v->nmods);
    uint64_t end = ram + (around ? 5ull << 30 : 1ull << 30);
    uint64_t frames =
        (devices && !port_iommu_found() && end < phys_top() ? phys_top() : end) >> PAGE_SHIFT;

    return sizeof(struct coherency) + sizeof(struct channel[HV_MAX_CPUS]) * v->ncpus +
           coherency_bytes(frames) + (hv_opt.directpf ? direct_bytes(frames) : 0) + vpc_sizeof() +
           vm_devices_bytes(&hv_opt, v->mod, v->nmods) +
           (around ? pass_sizeof() + 2 * REGION_SIZE : 0) + 4 * REGION_SIZE;
}

/* Of several VMs: those that ask for memory first, as far as there is some, then even shares. */
static void memory_several(struct plan *p, uint64_t free_bytes)
{
    uint64_t left = free_bytes;
    uint32_t sharers = 0;

    for (uint32_t i = 0; i < p->n; i++) {
        struct vm_plan *v = &p->vm[i];
        uint64_t priv = hv_private_bytes(v->mem_mib << 20);
        uint64_t need = (v->mem_mib << 20) + v->ncpus * priv + beside(v, v->mem_mib << 20);
        if (v->out)
            continue;
        if (v->mem_mib && need > left) {
            log_err("vm",
                    "VM %s: mem=%luM with what belongs to it is more than the %lu MiB that are "
                    "left: it gets a share of them; ask for less",
                    v->name, v->mem_mib, left >> 20);
            v->mem_mib = 0;
        }
        sharers += !v->mem_mib;
        if (!v->mem_mib)
            continue;
        v->ram_mib = v->mem_mib;
        v->priv_bytes = priv;
        left -= need;
    }
    for (uint32_t i = 0; i < p->n && sharers; i++) {
        struct vm_plan *v = &p->vm[i];
        if (v->out || v->mem_mib)
            continue;
        uint64_t share = left / sharers, used;
        v->priv_bytes = private_share(share, v->ncpus, 0);
        used = v->ncpus * v->priv_bytes + beside(v, share);
        v->ram_mib = share > used ? (share - used) >> 20 & ~1ull : 0;
        v->out = v->ram_mib < RAM_LEAST_MIB;
        if (v->out)
            log_err("vm",
                    "VM %s is left out: %lu MiB would be left for it: give the machine more "
                    "memory, or others less by mem=",
                    v->name, v->ram_mib);
        else
            log_info("vm", "VM %s: %lu MiB of RAM (of what was left over)", v->name, v->ram_mib);
        left -= share;
        sharers--;
    }
}

/* Text modes and palettes are no guest's. */
static void screen_note(const struct boot_info *b)
{
    hv_screen = (struct vm_screen){
        .base = b->fb_type == MB2_FRAMEBUFFER_RGB ? b->fb_addr : 0,
        .pitch = b->fb_pitch,
        .width = b->fb_width,
        .height = b->fb_height,
        .bpp = (uint8_t)b->fb_bpp,
    };
    memcpy(hv_screen.colour, b->fb_colour, sizeof(hv_screen.colour));
}

void hv_plan(const struct boot_info *bi, uint32_t ncpus, uint64_t free_bytes)
{
    struct plan *p = &hv_vms;

    screen_note(bi);
    plan_modules(p, bi->module, bi->nmodules);
    plan_cpus(p, ncpus);
    if (p->n > 1) {
        memory_several(p, free_bytes);
        return;
    }
    struct vm_plan *v = &p->vm[0];
    v->ram_mib = v->mem_mib ? v->mem_mib : hv_opt.mem_mib;
    v->priv_bytes = v->ncpus ? private_share(free_bytes, v->ncpus, v->ram_mib) : 0;
}

uint64_t hv_private_of(uint32_t cpu)
{
    const struct vm_plan *v = plan_of(&hv_vms, cpu);

    return v && !v->out ? v->priv_bytes : 0;
}

/* vm_table gets those that can start: a VM that cannot leaves its memory unused. */
static void make_all(struct plan *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct vm *vm = &vm_table[vm_count];
        if (p->vm[i].out)
            continue;
        memset(vm, 0, sizeof(*vm));
        if (vm_make(vm, &p->vm[i]))
            vm_count++;
        else if (p->n > 1)
            log_err("vm", "VM %s is left out (see above)", p->vm[i].name);
    }
    if (!vm_count)
        hv_stop("no guest to run: see the lines above");
}

static void say(const struct vm *vm)
{
    log_info("main", "VM %u%s%s: %u CPUs, %llu MiB of RAM, entry 0x%llx (%s)", vm->id,
             vm_count > 1 ? " " : "", vm_count > 1 ? vm->name : "", vm->ncpus,
             (unsigned long long)(vm->ram_bytes >> 20), (unsigned long long)vm->entry_rip,
             vm->entry_real   ? "real mode"
             : vm->entry_long ? "64-bit"
                              : "32-bit");
}

/* From here on a guest's screen is its own. */
static void screen_yield(void)
{
    for (uint32_t i = 0; i < vm_count; i++) {
        const struct vm_screen *s = &vm_table[i].screen;
        if (!s->base)
            continue;
        log_info("main",
                 "the screen is the guest's from here on, %ux%u: Patchbay's messages go to the "
                 "other consoles",
                 s->width, s->height);
        port_screen_yield();
    }
}

/* Before the VMs' memory, which is all that is left. */
static void monitor_place(uint32_t ncpus)
{
    hpa_t at;

    if (phys_alloc(mon_bytes(ncpus), PAGE_SIZE, 0, &at) != HV_OK)
        hv_stop("no memory for the monitor's answers");
    phys_clear(port_ptr(at), mon_bytes(ncpus));
    mon_place(port_ptr(at));
}

void hv_main(uint32_t ncpus)
{
    uint32_t vcpu;

    vm_console_start();
    plan_cpus_lost(&hv_vms, ncpus);
    monitor_place(ncpus);
    make_all(&hv_vms);
    subvmm_end_hook = vm_ended;
    subvmm_start_hook = vm_start_again;
    subvmm_key_hook = mon_key;
    subvmm_monitor_hook = mon_answer;
    if (hv_opt.test)
        vm_poison_place();
    phys_seal();
    for (uint32_t i = 0; i < vm_count; i++) {
        struct vm *vm = &vm_table[i];
        say(vm);
        vm_go_on(vm);
        coherency_give(vm->co); /* interrupt handlers post from here on */
    }
    for (uint32_t i = 0; i < hv_vms.n; i++)
        for (uint32_t k = 0; k < vm_count; k++)
            if (vm_table[k].mod == hv_vms.vm[i].mod)
                vm_console_own(&vm_table[k], hv_vms.vm[i].console);
    screen_yield();
    for (reader = 0; !vm_of(reader, &vcpu);)
        reader++;
    watch_reader(reader);
}

/* A CPU that no VM has. */
static _Noreturn void idle(void)
{
    for (;;) {
        port_irq_off();
        port_halt();
    }
}

_Noreturn void hv_cpu_main(uint32_t cpu, void *priv, hpa_t priv_hpa, uint64_t priv_bytes)
{
    uint64_t head = private_head();
    uint32_t vcpu;
    struct vm *vm = vm_of(cpu, &vcpu);

    if (!vm)
        idle();
    ASSERT(priv_bytes > head);
    subvmm_run(priv, vm, (uint8_t *)priv + head, hpa(priv_hpa.v + head), priv_bytes - head);
}
