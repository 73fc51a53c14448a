/* SPDX-License-Identifier: BSD-2-Clause */
/* The ports of a VM's I/O BARs, which its processors reach without an exit. The map is the VM's
 * own and is made while none of its CPUs runs; it stays for the whole life: BARs do not move, and
 * where the guest switches their decoding off the hardware's goes off with it, so that nobody
 * answers, as on the bare machine. So no map changes under a processor, which neither vendor
 * allows (SDM volume 3, 24.11.4 "Software Access to Related Structures").
 * Tested by tools/tests/test_pass_config.c. */
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/pass/state.h"

static bool any_ports(const struct pass *p)
{
    for (unsigned i = 0; i < p->nfns; i++)
        for (unsigned b = 0; b < PCI_BAR_COUNT; b++)
            if (p->fn[i]->bar[b].size && p->fn[i]->bar[b].io)
                return true;
    return false;
}

enum hv_err pass_ports_close(struct pass *p)
{
    if (!p->ports.v && (!any_ports(p) || phys_sealed()))
        return HV_OK;
    if (!p->ports.v)
        TRY(phys_alloc(PORT_IO_MAP_BYTES, PAGE_SIZE, 0, &p->ports));
    memset(port_ptr(p->ports), 0xff, PORT_IO_MAP_BYTES);
    return HV_OK;
}

void pass_ports_open(struct pass *p, const struct port_pci_bar *b)
{
    if (!p->ports.v)
        return;
    uint8_t *map = port_ptr(p->ports);
    for (uint64_t port = b->base; port < b->base + b->size && port < 0x10000; port++)
        map[port / 8] &= (uint8_t)~(1u << port % 8);
}

hpa_t pass_ports(const struct pass *p)
{
    return p->ports;
}
