/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupt messages that reach the local APICs from outside of them: MSI and MSI-X.
 * Tested by tools/tests/test_pass_irq.c. */
#include "hv/vdev/pc/vpc_state.h"

#define MSI_BASE_SHIFT 20
#define MSI_DEST(a) ((uint32_t)((a) >> APIC_MSI_DEST_SHIFT) & 0xff)

cpuset_t vpc_message_targets(const struct vpc *pc, uint64_t address)
{
    if (address >> MSI_BASE_SHIFT != APIC_MSI_BASE >> MSI_BASE_SHIFT)
        return 0;
    return vlapic_dest(pc, MSI_DEST(address), address & APIC_MSI_LOGICAL, false);
}

void vpc_message(struct vpc *pc, uint32_t from, uint64_t address, uint32_t data)
{
    cpuset_t to = vpc_message_targets(pc, address);

    if (to)
        (void)vlapic_send(pc, from, to, DELIVERY_MODE(data), data & 0xff, false);
}
