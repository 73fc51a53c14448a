/* SPDX-License-Identifier: BSD-2-Clause */
/* Breakpoints on data and ports that are accessed in the guest's stead: APM volume 2 13.1.1.4
 * "Debug-Control Register (DR7)", 13.1.4 "Setting Breakpoints". Tested by
 * tools/tests/test_emulate.c and group native of the guest tests. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"

#define DR7_RW(dr7, i) ((dr7) >> (16 + 4 * (i)) & 3)
#define DR7_LEN(dr7, i) ((dr7) >> (18 + 4 * (i)) & 3)
#define RW_WRITE 1
#define RW_PORT 2 /* with CR4.DE */
#define RW_ACCESS 3

static unsigned watch_bytes(const struct vcpu_debug *d, unsigned i)
{
    static const uint8_t bytes[] = {1, 2, 8, 4};

    return bytes[DR7_LEN(d->dr7, i)];
}

void emu_watch(struct emu *e, uint64_t lin, size_t n, bool write)
{
    struct vcpu_debug d;

    vcpu_ops->get(&e->s->vcpu, VCPU_DEBUG, &d);
    for (unsigned i = 0; i < 4; i++) {
        unsigned rw = DR7_RW(d.dr7, i), len = watch_bytes(&d, i);
        uint64_t first = d.dr[i] & ~(uint64_t)(len - 1);

        if (!(d.dr7 >> (2 * i) & 3) || !(rw == RW_ACCESS || (rw == RW_WRITE && write)))
            continue;
        if (first <= lin + (n - 1) && lin <= first + (len - 1))
            e->hits |= (uint8_t)(1u << i);
    }
}

static uint8_t port_hits(struct subvmm *s, unsigned port, unsigned n)
{
    struct vcpu_debug d;
    uint8_t hits = 0;

    if (!(s->vcpu.ctl.cr4 & CR4_DE))
        return 0;
    vcpu_ops->get(&s->vcpu, VCPU_DEBUG, &d);
    for (unsigned i = 0; i < 4; i++) {
        unsigned len = watch_bytes(&d, i);
        uint64_t first = d.dr[i] & ~(uint64_t)(len - 1);

        if ((d.dr7 >> (2 * i) & 3) && DR7_RW(d.dr7, i) == RW_PORT && first <= port + n - 1 &&
            port <= first + len - 1)
            hits |= (uint8_t)(1u << i);
    }
    return hits;
}

void emu_watch_port(struct emu *e)
{
    e->hits |= port_hits(e->s, e->gpr[RDX] & 0xffff, e->in.opsize);
}

static void watch_raise(struct subvmm *s, uint8_t hits)
{
    struct vcpu *v = &s->vcpu;
    struct vcpu_debug d;

    vcpu_ops->get(v, VCPU_DEBUG, &d);
    d.dr6 |= hits;
    vcpu_ops->put(v, VCPU_DEBUG, &d);
    if (v->pending.type == EVENT_NONE) /* single-stepping raised it already */
        vcpu_inject_exception(s, VEC_DB, false, 0);
}

void emu_watch_raise(struct emu *e)
{
    watch_raise(e->s, e->hits);
}

void emulate_watch_port(struct subvmm *s, unsigned port, unsigned n)
{
    struct vcpu_code c;
    uint8_t hits;

    vcpu_ops->code(&s->vcpu, &c);
    hits = c.breakpoints ? port_hits(s, port, n) : 0;
    if (hits)
        watch_raise(s, hits);
}
