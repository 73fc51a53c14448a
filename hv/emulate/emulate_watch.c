/* SPDX-License-Identifier: BSD-2-Clause */
/* Data breakpoints on what the emulator accesses in the guest's stead: APM volume 2 13.1.1.4
 * "Debug-Control Register (DR7)", 13.1.4 "Setting Breakpoints". Tested by
 * tools/tests/test_emulate.c and group native of the guest tests. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

#define DR7_RW(dr7, i) ((dr7) >> (16 + 4 * (i)) & 3)
#define DR7_LEN(dr7, i) ((dr7) >> (18 + 4 * (i)) & 3)
#define RW_WRITE 1
#define RW_ACCESS 3

void emu_watch(struct emu *e, uint64_t lin, size_t n, bool write)
{
    static const uint8_t bytes[] = {1, 2, 8, 4};
    struct vcpu_debug d;

    vcpu_ops->get(&e->s->vcpu, VCPU_DEBUG, &d);
    for (unsigned i = 0; i < 4; i++) {
        unsigned rw = DR7_RW(d.dr7, i), len = bytes[DR7_LEN(d.dr7, i)];
        uint64_t first = d.dr[i] & ~(uint64_t)(len - 1);

        if (!(d.dr7 >> (2 * i) & 3) || !(rw == RW_ACCESS || (rw == RW_WRITE && write)))
            continue;
        if (first <= lin + (n - 1) && lin <= first + (len - 1))
            e->hits |= (uint8_t)(1u << i);
    }
}

void emu_watch_raise(struct emu *e)
{
    struct vcpu *v = &e->s->vcpu;
    struct vcpu_debug d;

    vcpu_ops->get(v, VCPU_DEBUG, &d);
    d.dr6 |= e->hits;
    vcpu_ops->put(v, VCPU_DEBUG, &d);
    if (v->pending.type == EVENT_NONE) /* single-stepping raised it already */
        vcpu_inject_exception(e->s, VEC_DB, false, 0);
}
