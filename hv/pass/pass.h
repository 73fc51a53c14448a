/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine's own PCI functions in the hands of a VM: which ones, their configuration space by an
 * allow-list, their BARs at their own addresses, their interrupts by message. README.md says what a
 * guest sees. Tested by tools/tests/test_pass_*.c and the steps of tools/steps/devices.py. */
#pragma once
#include "hv/mem/p2m.h"
#include "hv/port/pci.h"
#include "hv/vdev/pc/vpc.h"

#define PASS_FUNCTIONS 30 /* of a VM: devices 1..31 of its bus less the ISA bridge's */
#define PASS_RANGES 128   /* pieces of BARs that are mapped */
_Static_assert(VBUS_MAX >= 64 + PASS_FUNCTIONS * PORT_PCI_BARS, "each BAR may be trapped");
#define PASS_VECTORS (PORT_MSI_LAST - PORT_MSI_FIRST + 1)

struct pass;
size_t pass_sizeof(void);
/* Which functions `words` (the value of pci=: all, none, or a list such as 00:1f.2,03:00.0) gives;
 * those that cannot be given are named with the reason. `taken` functions belong to other VMs. p:
 * pass_sizeof() of zeroed memory. Returns how many. Boot, after the machine's scan. */
unsigned pass_choose(struct pass *p, const char *words, size_t len, bool (*taken)(pci_bdf_t f));
bool pass_has(const struct pass *p, pci_bdf_t f);
unsigned pass_count(const struct pass *p);
/* Guest RAM below 4 GiB ends here at the latest, and above 4 GiB there: BARs lie behind. */
uint64_t pass_low_end(const struct pass *p);
uint64_t pass_high_end(const struct pass *p);
/* Resets the functions and puts them on the VM's bus: config space, ranges for its p2m, handlers.
 * After vpc_init, before other functions are added. First at boot, on one CPU with memory still to
 * be had; then whenever the VM begins anew. Those that have no memory are left out, with a line. */
void pass_start(struct pass *p, struct vpc *pc, const struct coherency *co, struct p2m *p2m);
/* The ports it reaches without an exit, as vcpu.io_map; 0: none. After pass_start. */
hpa_t pass_ports(const struct pass *p);
/* What arrived at this CPU goes on to the guest; ACTION_DEVICE. Its loop, no lock held. */
void pass_arrivals(struct pass *p, uint32_t vcpu);
/* Storms that were stopped go on; returns when to look again, UINT64_MAX: never. Each loop. */
uint64_t pass_timers(struct pass *p, uint32_t cpu, uint64_t now);
/* The VM has ended: no bus master, no interrupt, and reset where the function can be. */
void pass_stop(struct pass *p);

/* Configuration accesses of the guest at devfn of bus 0; false: nobody is there. Any CPU, no lock
 * held. */
bool pass_config_read(struct pass *p, uint8_t devfn, unsigned reg, unsigned size, uint32_t *value);
bool pass_config_write(struct pass *p, uint32_t from, uint8_t devfn, unsigned reg, unsigned size,
                       uint32_t value);
