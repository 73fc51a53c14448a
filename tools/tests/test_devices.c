/* SPDX-License-Identifier: BSD-2-Clause */
/* Which virtio devices a VM gets by option and module words, where their memory comes from, and
 * that a VM which starts again gets the same ones. */
#include "hv/mem/phys.h"
#include "hv/vdev/virtio/devices.h"
#include "hv/vm/load/loader.h"
#include "tools/tests/test_vdev_rig.h"

static struct vm vm;
static struct hv_options opt;
static struct vm_module mods[4];
static unsigned nmods;

static void add(const char *string, uint64_t len)
{
    mods[nmods] = (struct vm_module){
        .base = hpa(0x10000000 + nmods * 0x100000ull), .len = len, .string = string};
    nmods++;
}

/* A VM whose devices' memory is as large as they asked for, less `missing`. */
static void make(const char *options, uint64_t missing)
{
    rig_init(1);
    fake_arena(0x10000000, 64u << 20);
    phys_reset();
    (void)!phys_add(hpa(0x10800000), 32u << 20);
    options_parse(&opt, options, NULL);
    memset((void *)&vm, 0, sizeof(vm));
    vm.opt = &opt;
    vm.pc = &pc;
    vm.co = &co;
    vm.devices_bytes = vm_devices_bytes(&opt, mods, nmods) - missing;
    vm.devices = port_ptr(hpa(0x12800000));
    vm_devices_make(&vm, mods, nmods);
}
/* Device ids by their place on the bus, 0: nobody. */
static unsigned at_slot(unsigned device)
{
    return pci_config_read(&pc.pci, 0, device << 3, 2, 2) & 0xffff;
}

static void test_none(void)
{
    nmods = 0;
    add("role=linux -- console=ttyS0", 100);
    make("", 0);
    tap_ok(!vm.virtio && !vm.devices_bytes && at_slot(2) == 0xffff, "nothing by default");
    make("virtio=none", 0);
    tap_ok(!vm.virtio, "none is none");
}

static void test_words(void)
{
    nmods = 0;
    add("role=linux virtio=rng,console,net -- virtio=not,ours", 100);
    make("virtio=net2", 0);
    tap_ok(at_slot(2) == 0x1044 && at_slot(3) == 0x1043 && at_slot(4) == 0x1041 &&
               at_slot(5) == 0xffff,
           "the kernel's words come before the option");
    tap_ok(vm.console && &vm.console->dev == vm.virtio->dev[1], "the console is the VM's");
    tap_ok(vm.devices_used <= vm.devices_bytes, "as much memory as was said");
    struct module_words w;
    tap_ok(module_string_parse("role=linux virtio=rng,disk", &w) == HV_OK && w.bad[0] &&
               !w.has_virtio,
           "a word that is none");
    tap_ok(module_string_parse("x.img role=disk ro cow=0x10K", &w) == HV_OK &&
               w.role == ROLE_DISK && w.read_only && w.cow_bytes == 16384 && !w.bad[0],
           "a disk's words");
    tap_ok(module_string_parse("role=disk cow=1X", &w) == HV_OK && !w.has_cow &&
               !strcmp(w.bad, "cow=1X"),
           "no such unit");
    tap_ok(module_string_parse("role=disk cow=99999999999999999G", &w) == HV_OK && !w.has_cow,
           "more than there is");
    uint32_t set;
    tap_ok(options_set_parse("a|bb|c", "c,a", 3, &set) && set == 5, "a set of words");
    tap_ok(!options_set_parse("a|bb|c", "a,,c", 4, &set), "an empty word is none");
    tap_ok(!options_set_parse("a|bb|c", "aaaaaaaaaaaaaaaaaaaaaaaa", 24, &set), "nor is a long one");
}

static void test_disks(void)
{
    nmods = 0;
    add("role=linux", 100);
    add("role=disk", 0x20000);
    add("role=disk ro", 0x3001);
    add("role=disk cow=8K", 0x20000);
    make("", 0);
    tap_ok(at_slot(2) == 0x1042 && at_slot(3) == 0x1042 && at_slot(4) == 0x1042, "three disks");
    struct vblk *a = vm.virtio->dev[0]->back, *b = vm.virtio->dev[1]->back,
                *c = vm.virtio->dev[2]->back;
    tap_ok(a->overlay_pages == 32 && !b->overlay_pages && c->overlay_pages == 2,
           "room: as large as the disk, none, what was asked for");
    tap_ok(b->read_only && b->bytes == 0x3000, "whole sectors");
    tap_ok(a->overlay + 32 * 4096ull <= (uint8_t *)vm.devices + vm.devices_bytes &&
               c->overlay + 2 * 4096ull <= (uint8_t *)vm.devices + vm.devices_bytes,
           "in the VM's own memory");
    tap_ok(strstr(fake_console(), "no whole sector"), "what is cut off is said");
    make("", 0x8000);
    tap_ok(at_slot(2) == 0x1042 && at_slot(4) == 0xffff && strstr(fake_console(), "cow="),
           "one that finds no memory is left out, with a remedy");
}

/* One life after the other: ports, addresses, memory are the same. */
static void test_again(void)
{
    nmods = 0;
    add("role=linux", 100);
    make("virtio=rng,net2", 0);
    struct vnet *n = vm.virtio->dev[1]->back;
    unsigned port = n->port;
    uint64_t used = vm.devices_used;
    bool same = true;
    for (unsigned life = 0; life < 40; life++) {
        vm_devices_stop(&vm);
        same &= !n->sw->port[port].up;
        struct vpc_config cfg = pc.cfg;
        vpc_init(&pc, &cfg);
        vm_devices_make(&vm, mods, nmods);
        n = vm.virtio->dev[1]->back;
        same &= n->port == port && n->sw->port[port].up && vm.devices_used == used &&
                at_slot(2) == 0x1044 && at_slot(3) == 0x1041 && at_slot(4) == 0x1041;
    }
    tap_ok(same, "forty lives alike");
}

/* No memory for the switch at boot: a life after the seal asks for none, and still has no port. */
static void test_sealed(void)
{
    nmods = 0;
    add("role=linux", 100);
    make("", 0);
    options_parse(&opt, "virtio=net", NULL);
    vm.devices_bytes = vm_devices_bytes(&opt, mods, nmods);
    phys_reset();
    for (unsigned life = 0; life < 2; life++) {
        vm_devices_make(&vm, mods, nmods);
        tap_ok(vm.virtio && at_slot(2) == 0xffff, "no switch, no port: life %u", life);
        phys_seal();
    }
}

int main(void)
{
    test_sealed();
    test_none();
    test_words();
    test_disks();
    test_again();
    return tap_done();
}
