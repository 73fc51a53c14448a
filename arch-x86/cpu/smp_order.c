/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop over the processors the firmware names. Tested by tools/tests/test_smp_order.c. */
#include "arch-x86/cpu/smp_order.h"
#include "hv/base/log.h"

uint32_t smp_order(const uint32_t *ids, unsigned nids, uint32_t self, uint32_t want,
                   const struct smp_ops *ops)
{
    uint32_t running = 1;

    for (unsigned i = 0; i < nids && running < want; i++) {
        if (ids[i] == self)
            continue;
        if (!ops->can_address(ids[i])) {
            log_warn("smp",
                     "CPU with APIC id %u is left out: only x2APIC mode reaches it; remove "
                     "x2apic=off, or enable x2APIC in the firmware setup",
                     ids[i]);
            continue;
        }
        switch (ops->start(running, ids[i])) {
        case SMP_RUNS:
            running++;
            break;
        case SMP_SILENT:
            log_err("smp",
                    "CPU with APIC id %u did not start: left out; switch the machine off and on, "
                    "or disable that core in the firmware setup",
                    ids[i]);
            break;
        case SMP_UNLIKE:
            break;
        }
    }
    if (running < want)
        log_warn("smp", "%u CPUs wanted, %u run: the guest gets those", want, running);
    return running;
}
