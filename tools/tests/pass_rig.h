/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of hv/pass share: a virtual PC of four CPUs, and fake functions that it owns, with
 * the guest's accesses as it makes them. Tested by the tests that use it. */
#pragma once
#include "hv/mem/phys.h"
#include "hv/pass/state.h"
#include "tools/tests/fake/pci.h"
#include "tools/tests/test_vdev_rig.h"

#define RIG_CPUS 4
#define BAR_A 0xfe000000ull
#define BAR_B 0xfe100000ull
#define TABLE 0x1000u /* of device A, in its BAR */
#define PBA 0x1800u
#define ENTRIES 12u
static struct fake_pci *dev_a, *dev_b; /* MSI-X with FLR; MSI */
static struct pass the_pass, *const pass = &the_pass;
static struct p2m rig_p2m;

static void outd_address(uint32_t v)
{
    (void)rig_io(0, false, 0xcf8, 4, true, v);
}

static void put_dword(uint8_t *p, unsigned where, uint32_t v)
{
    memcpy(p + where, &v, 4);
}

__attribute__((unused)) static uint32_t cfg_r(unsigned device, unsigned reg, unsigned size)
{
    outd_address(0x80000000u | device << 11 | (reg & 0xfc));
    return (uint32_t)rig_io(0, false, 0xcfc + (reg & 3), (uint8_t)size, false, 0);
}

__attribute__((unused)) static void cfg_w(unsigned device, unsigned reg, unsigned size, uint32_t v)
{
    outd_address(0x80000000u | device << 11 | (reg & 0xfc));
    (void)rig_io(0, false, 0xcfc + (reg & 3), (uint8_t)size, true, v);
}

__attribute__((unused)) static uint64_t mem_r(uint64_t at_, unsigned size)
{
    return rig_io(0, true, at_, (uint8_t)size, false, 0);
}

__attribute__((unused)) static void mem_w(uint64_t at_, unsigned size, uint64_t v)
{
    (void)rig_io(0, true, at_, (uint8_t)size, true, v);
}

static void pass_rig(const char *words)
{
    static const uint32_t pcpu[RIG_CPUS] = {0, 1, 2, 3};

    rig_init(RIG_CPUS);
    coherency_place(&co, pcpu, RIG_CPUS);
    apics_on();
    fake_arena(0x1000000, 16 << 20);
    phys_reset();
    if (phys_add(hpa(0x1000000), 16 << 20) != HV_OK)
        abort();
    fake_pci_clear();
    dev_a = fake_pci_add(0x0310, 0x10d38086, 0x020000, BAR_A);
    fake_pci_pm(dev_a, 0x40, 0x50);
    dev_a->config[0x50] = 0x03; /* VPD: not on the list */
    dev_a->config[0x51] = 0x60;
    fake_pci_express(dev_a, 0x60, 0xa0, true);
    fake_pci_msix(dev_a, 0xa0, 0, ENTRIES, TABLE, PBA);
    put_dword(dev_a->config, PCI_ROM, 0xfebf0001);
    dev_a->config[PCI_INTERRUPT_PIN] = 1;
    dev_b = fake_pci_add(0x00fa, 0x29228086, 0x010601, BAR_B);
    fake_pci_msi(dev_b, 0x80, 0x70, true, true);
    fake_pci_pm(dev_b, 0x70, 0);
    memset((void *)&the_pass, 0, pass_sizeof());
    (void)pass_choose(pass, words, strlen(words), NULL);
    memset(&rig_p2m, 0, sizeof(rig_p2m));
    pass_start(pass, &pc, &co, &rig_p2m);
}
