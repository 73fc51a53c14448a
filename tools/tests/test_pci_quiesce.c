/* SPDX-License-Identifier: BSD-2-Clause */
/* Stopping what the firmware left running: USB controllers are asked for while they and all bridges
 * above them still reach memory, for firmware that finishes a transfer before it lets go; then
 * nothing masters the bus. */
/* The machine's folder is not in the host library: compiled here, on a machine of this test's. */
#define port_pci_read machine_read
#define port_pci_write machine_write
#define port_pci_count machine_count
#define port_pci_at machine_at
#define port_device_read mmio_read
#define port_device_write mmio_write
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include "hv/port/pci.h"
#include "arch-x86/plat/pci.c"
#include "arch-x86/plat/pci_usb.c"
#define port_pci_kept machine_kept
#include "arch-x86/plat/kept.c"

#define BRIDGE 0x0008u /* 00:01.0, to bus 1 */
#define EHCI 0x00e8u   /* 00:1d.0 */
#define XHCI 0x0100u   /* 01:00.0, behind the bridge */
#define DISK 0x00f8u   /* 00:1f.0 */
#define BAR 0xf0000000u
#define CAPABILITY 0x800u

static struct function {
    unsigned bdf;
    uint32_t class, layout;
    bool above; /* behind the bridge */
    uint8_t space[256], bar[0x10000];
} functions[] = {
    {.bdf = BRIDGE, .class = 0x060400, .layout = 1},
    {.bdf = EHCI, .class = 0x0c0320},
    {.bdf = XHCI, .class = 0x0c0330, .above = true},
    {.bdf = DISK, .class = 0x010601},
};
static bool stubborn; /* firmware that never gives up */
static unsigned waited, lost;

static struct function *function_at(unsigned bdf)
{
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
        if (functions[i].bdf == bdf)
            return &functions[i];
    return NULL;
}

static uint32_t get(const void *at, unsigned size)
{
    uint32_t v = 0;
    memcpy(&v, at, size);
    return v;
}

static bool masters(unsigned bdf)
{
    return get(function_at(bdf)->space + PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

/* The firmware's handler: it lets go once its controller has written to memory. */
static void firmware(const struct function *f, uint8_t *legacy)
{
    uint32_t v = get(legacy, 4);

    if (!(v & OS_OWNS) || !(v & BIOS_OWNS))
        return;
    if (!masters(f->bdf) || (f->above && !masters(BRIDGE)))
        lost++;
    else if (!stubborn) {
        v &= ~BIOS_OWNS;
        memcpy(legacy, &v, 4);
    }
}

uint32_t machine_read(pci_bdf_t f, unsigned reg, unsigned size)
{
    const struct function *p = function_at(f);
    return p ? get(p->space + reg, size) : ~0u >> (32 - 8 * size);
}

void machine_write(pci_bdf_t f, unsigned reg, unsigned size, uint32_t value)
{
    struct function *p = function_at(f);
    memcpy(p->space + reg, &value, size);
    if (f == EHCI && reg == 0x68)
        firmware(p, p->space + reg);
}

static struct function *of_bar(const void *at)
{
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
        if ((const uint8_t *)at >= functions[i].bar &&
            (const uint8_t *)at < functions[i].bar + 0x10000)
            return &functions[i];
    return NULL;
}

uint64_t mmio_read(const void *at, unsigned size)
{
    return get(at, size);
}

void mmio_write(void *at, unsigned size, uint64_t value)
{
    struct function *p = of_bar(at);
    memcpy(at, &value, size);
    if (p->bdf == XHCI && at == p->bar + CAPABILITY)
        firmware(p, at);
}

void *paging_map_mmio(hpa_t base, uint64_t len)
{
    (void)len;
    return function_at(base.v == BAR ? XHCI : EHCI)->bar;
}
uint64_t paging_identity_end(void)
{
    return 1ull << 32;
}
bool pci_config_init(void)
{
    return true;
}
void pci_config_map(unsigned bus)
{
    (void)bus;
}
void pci_early_wait_ms(unsigned ms)
{
    waited += ms;
}

static void put(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

/* As firmware leaves it: everything masters, both USB controllers are its own, with SMIs. */
static void machine_start(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++) {
        struct function *f = &functions[i];
        memset(f->space, 0, sizeof(f->space));
        memset(f->bar, 0, sizeof(f->bar));
        put(f->space, 0x12348086);
        put(f->space + PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
        put(f->space + PCI_CLASS, f->class << 8);
        f->space[PCI_HEADER_TYPE] = (uint8_t)f->layout;
    }
    put(function_at(XHCI)->space + PCI_BAR0, BAR);
    put(function_at(XHCI)->bar + HCCPARAMS, CAPABILITY / 4 << 16);
    put(function_at(XHCI)->bar + CAPABILITY, BIOS_OWNS | LEGACY_ID);
    put(function_at(XHCI)->bar + CAPABILITY + CONTROL, XHCI_SMI_ENABLES | 2);
    put(function_at(EHCI)->space + PCI_BAR0, BAR + 0x10000);
    put(function_at(EHCI)->bar + EHCI_HCCPARAMS, 0x68 << 8);
    put(function_at(EHCI)->space + 0x68, BIOS_OWNS | LEGACY_ID);
    put(function_at(EHCI)->space + 0x68 + CONTROL, 0xffff);
    stubborn = false;
    waited = lost = 0;
}

static bool all_stopped(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
        if (masters(functions[i].bdf))
            return false;
    return true;
}

static void test_handoff(void)
{
    const uint8_t *xhci_legacy = function_at(XHCI)->bar + CAPABILITY;
    const uint8_t *ehci_legacy = function_at(EHCI)->space + 0x68;

    machine_start();
    pci_quiesce();
    tap_ok(lost == 0, "both are asked for while their way to memory is open, bridges included");
    tap_ok(get(xhci_legacy, 4) == (OS_OWNS | LEGACY_ID), "the firmware gives xHCI up");
    tap_ok(get(ehci_legacy, 4) == (OS_OWNS | LEGACY_ID), "and EHCI");
    tap_ok(waited == 0, "without a wait");
    tap_ok(get(xhci_legacy + CONTROL, 4) == (XHCI_SMI_EVENTS | 2),
           "no SMI of xHCI, its other bits stay");
    tap_ok(get(ehci_legacy + CONTROL, 4) == 0, "nor of EHCI");
    tap_ok(all_stopped(), "nothing masters the bus any more");

    machine_start();
    stubborn = true;
    pci_quiesce();
    tap_ok(waited == 2 * (WAIT_TRIES - 1) * WAIT_MS,
           "firmware that keeps them is waited for, a second each");
    tap_ok(!(get(xhci_legacy, 4) & BIOS_OWNS) && !(get(ehci_legacy, 4) & BIOS_OWNS),
           "and overruled");
    tap_ok(!(get(xhci_legacy + CONTROL, 4) & XHCI_SMI_ENABLES) && all_stopped(), "all the same");

    machine_start();
    put(function_at(XHCI)->space + PCI_BAR0, PCI_BAR_64);
    put(function_at(XHCI)->space + PCI_BAR0 + 4, 1); /* at 4 GiB: beyond the boot's map */
    pci_quiesce();
    tap_ok(get(xhci_legacy, 4) == (BIOS_OWNS | LEGACY_ID) && all_stopped(),
           "registers out of reach are left alone, the controller stops");
}

struct acpi_info acpi_info;

/* What no guest's BAR may lie over. */
static void test_kept(void)
{
    kept_add(0xc050, 8, true);
    kept_add(0xe0000000, 0x10000000, false);
    tap_ok(machine_kept(0xc040, 0x20, true) && machine_kept(0xc057, 1, true), "a console's ports");
    tap_ok(!machine_kept(0xc048, 8, true) && !machine_kept(0xc058, 8, true),
           "... not those beside");
    tap_ok(!machine_kept(0xc050, 8, false), "... nor memory of these numbers");
    tap_ok(machine_kept(0xd0000000, 0x20000000, false), "configuration space as memory");
    tap_ok(!machine_kept(0x1800, 0x80, true), "no ACPI, no ports of its");
    acpi_info.pm_tmr = 0x1808;
    acpi_info.reset = (struct acpi_gas){.space = ACPI_SPACE_IO, .addr = 0x2001};
    tap_ok(machine_kept(0x180b, 1, true) && !machine_kept(0x180c, 4, true), "the PM timer");
    tap_ok(machine_kept(0x2000, 4, true), "the reset register");
    acpi_info.reset.space = ACPI_SPACE_MEMORY;
    tap_ok(!machine_kept(0x2000, 4, true), "... where it is a port");
}

int main(void)
{
    fake_reset();
    test_handoff();
    test_kept();
    return tap_done();
}
