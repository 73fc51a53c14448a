/* SPDX-License-Identifier: BSD-2-Clause */
/* The event rings as machine-readable text. Every line names itself, so that a guest's output in
 * between does no harm. Tested by tools/tests/test_mon.c and tools/tests/test_trace.py. */
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/mon/internal.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/vmexit.h"

/* Events are given by name, exits by number with the names before them: a reader need not know
 * which version wrote the dump. */
static void exits_say(void)
{
    for (unsigned k = 0; k < EXIT_KIND_COUNT; k++)
        mon_say("patchbay-trace: exit %x %s", k, vmexit_name[k]);
}

void mon_trace_block(const struct vm *vm)
{
    uint64_t total = 0;
    bool held = log_hold();

    mon_say("patchbay-trace: begin version 1 ncpus %x tsc_hz %lx now %lx", vm->ncpus, port_tsc_hz(),
            port_tsc());
    exits_say();
    for (uint32_t c = 0; c < vm->ncpus; c++) {
        uint64_t head = ring_head(vm_pcpu(vm, c));
        uint64_t first = head < RING_EVENTS ? 0 : head - RING_EVENTS;
        struct ring_event e;
        for (uint64_t i = first; i < head; i++) {
            if (!ring_get(vm_pcpu(vm, c), i, &e))
                continue;
            mon_say("pbt %x %lx %s %lx %lx", c, e.tsc, ring_kind_name(e.kind), e.a, e.b);
            total++;
        }
        mon_say("patchbay-trace: cpu %x added %lx", c, head);
    }
    mon_say("patchbay-trace: end events %lx", total);
    log_release(held);
}
