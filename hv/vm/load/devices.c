/* SPDX-License-Identifier: BSD-2-Clause */
/* Which virtio devices a VM has, by its option and modules, and the memory they live in. Tested by
 * tools/tests/test_devices.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/vdev/virtio/devices.h"
#include "hv/vm/console.h"
#include "hv/vm/load/loader.h"

#define FIRST_DEVICE 2 /* 1 is the ISA bridge that the DSDT speaks of */
#define COW_DEFAULT (64ull << 20)
#define MIB_OF(bytes) ((unsigned long long)((bytes) >> 20))

/* All VMs' ports are on this one. */
static struct vswitch *the_switch;

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) & ~PAGE_MASK;
}

/* Bytes of changes that a disk has room for: no more than it has itself. */
static uint64_t cow_of(const struct vm_module *m, const struct module_words *w)
{
    uint64_t cow = w->has_cow ? pages(w->cow_bytes) : COW_DEFAULT;
    return w->read_only ? 0 : cow < pages(m->len) ? cow : pages(m->len);
}

static uint64_t map_of(const struct vm_module *m)
{
    return pages(pages(m->len) / PAGE_SIZE * sizeof(uint32_t));
}

/* The devices beside disks, from the option or the kernel's own words. */
static uint32_t set_of(const struct hv_options *opt, const struct vm_module *mods, unsigned nmods)
{
    uint32_t set = opt->virtio;
    struct module_words w;
    for (unsigned i = 0; i < nmods; i++)
        if (module_string_parse(mods[i].string, &w) == HV_OK && w.role != ROLE_DISK && w.has_virtio)
            set = w.virtio;
    return set;
}

uint64_t vm_devices_bytes(const struct hv_options *opt, const struct vm_module *mods,
                          unsigned nmods)
{
    struct module_words w;
    uint64_t sum = set_of(opt, mods, nmods)
                       ? pages(sizeof(struct virtio_host)) + pages(sizeof(struct vrng)) +
                             pages(sizeof(struct vconsole)) + 2 * pages(sizeof(struct vnet))
                       : 0;
    for (unsigned i = 0; i < nmods; i++)
        if (module_string_parse(mods[i].string, &w) == HV_OK && w.role == ROLE_DISK)
            sum += pages(sizeof(struct virtio_host)) + pages(sizeof(struct vblk)) +
                   (w.read_only ? 0 : map_of(&mods[i]) + cow_of(&mods[i], &w));
    return sum;
}

/* From the VM's own block, which a VM that starts again uses from its beginning. */
static void *take(struct vm *vm, uint64_t bytes)
{
    void *at = (uint8_t *)vm->devices + vm->devices_used;
    if (bytes > vm->devices_bytes - vm->devices_used)
        return NULL;
    phys_clear(at, pages(bytes));
    vm->devices_used += pages(bytes);
    return at;
}

/* The next free device number of the bus. */
static uint8_t slot(const struct vm *vm)
{
    const struct pci_bus *b = vpc_pci(vm->pc);
    unsigned device = FIRST_DEVICE;
    for (unsigned i = 0; i < b->count; i++)
        if (b->fn[i]->devfn >> 3 >= device)
            device = (b->fn[i]->devfn >> 3) + 1u;
    return PCI_DEVFN(device, 0);
}

static bool finish(struct vm *vm, struct virtio *v, enum hv_err r, const char *what)
{
    if (r == HV_OK)
        r = vpc_pci_add(vm->pc, &v->fn);
    if (r != HV_OK) {
        log_err("vm", "no room for a %s: at most %u virtio devices a VM, and %u network ports",
                what, VIRTIO_DEVICES, SWITCH_PORTS);
        return false;
    }
    log_info("vm", "virtio %s is PCI device 00:%02x.0", what, v->fn.devfn >> 3);
    return true;
}

static bool have(const struct vm *vm, const void *memory, const char *what)
{
    if (!memory || !vm->virtio)
        log_err("vm", "no memory for a virtio %s: ask for less guest RAM with mem=", what);
    return memory && vm->virtio;
}

static void disk(struct vm *vm, const struct vm_module *m, const struct module_words *w,
                 unsigned number)
{
    struct vblk *b = take(vm, sizeof(*b));
    uint64_t cow = cow_of(m, w);
    struct vblk_image image = {.base = port_ptr(m->base),
                               .bytes = m->len,
                               .read_only = w->read_only,
                               .overlay_pages = (uint32_t)(cow / PAGE_SIZE),
                               .number = number};
    if (!have(vm, b, "disk"))
        return;
    if (!w->read_only) {
        image.map = take(vm, map_of(m));
        image.overlay = cow ? take(vm, cow) : NULL;
        if (!image.map || (cow && !image.overlay)) {
            log_err("vm", "disk %u: no memory for %llu MiB of changes: give less by cow=, or ro",
                    number, MIB_OF(cow));
            return;
        }
    }
    if (m->len % 512)
        log_warn("vm", "disk %u: its last %u bytes are no whole sector and not seen", number,
                 (unsigned)(m->len % 512));
    if (finish(vm, &b->dev, vblk_init(b, vm->virtio, slot(vm), &image), "disk"))
        log_info("vm", "disk %u: %llu KiB, %s, room for %llu KiB of changes", number,
                 (unsigned long long)(m->len >> 10), w->read_only ? "read-only" : "copy on write",
                 (unsigned long long)(cow >> 10));
}

/* As the serial line's: shown with the VM in front, or kept. */
static void console_text(void *ctx, const char *text, size_t n)
{
    vm_console_out(ctx, text, n);
}

/* The first port brings the switch. A VM that starts again gets what there was before the seal:
 * none, if there was no memory for it. */
static void net(struct vm *vm)
{
    struct vnet *n = take(vm, sizeof(*n));
    hpa_t at;
    if (!the_switch && !phys_sealed() &&
        phys_alloc(sizeof(*the_switch), PAGE_SIZE, 0, &at) == HV_OK) {
        the_switch = port_ptr(at);
        phys_clear(the_switch, pages(sizeof(*the_switch)));
        switch_init(the_switch);
    }
    if (have(vm, the_switch ? n : NULL, "network port"))
        (void)finish(vm, &n->dev, vnet_init(n, vm->virtio, slot(vm), the_switch), "network port");
}

static void others(struct vm *vm, uint32_t set)
{
    if (set & OPT_VIRTIO_RNG) {
        struct vrng *r = take(vm, sizeof(*r));
        if (have(vm, r, "entropy device"))
            (void)finish(vm, &r->dev, vrng_init(r, vm->virtio, slot(vm)), "entropy device");
    }
    if (set & OPT_VIRTIO_CONSOLE) {
        struct vconsole *c = take(vm, sizeof(*c));
        if (have(vm, c, "console") &&
            finish(vm, &c->dev, vconsole_init(c, vm->virtio, slot(vm), console_text, vm),
                   "console"))
            vm->console = c;
    }
    if (set & (OPT_VIRTIO_NET | OPT_VIRTIO_NET2))
        net(vm);
    if (set & OPT_VIRTIO_NET2)
        net(vm);
}

void vm_devices_stop(struct vm *vm)
{
    if (vm->virtio)
        virtio_stop(vm->virtio);
}

void vm_devices_make(struct vm *vm, const struct vm_module *mods, unsigned nmods)
{
    uint32_t set = set_of(vm->opt, mods, nmods) & ~(uint32_t)BIT(0);
    unsigned disks = 0;
    struct module_words w;
    vm->virtio = NULL;
    vm->console = NULL;
    vm->devices_used = 0;
    for (unsigned i = 0; i < nmods; i++)
        disks += module_string_parse(mods[i].string, &w) == HV_OK && w.role == ROLE_DISK;
    if (!set && !disks)
        return;
    vm->virtio = take(vm, sizeof(*vm->virtio));
    if (vm->virtio)
        virtio_host_init(vm->virtio, vpc_pci(vm->pc), vm->co);
    for (unsigned i = 0, n = 0; i < nmods; i++)
        if (module_string_parse(mods[i].string, &w) == HV_OK && w.role == ROLE_DISK && mods[i].len)
            disk(vm, &mods[i], &w, n++);
    others(vm, set);
}
