/* SPDX-License-Identifier: BSD-2-Clause */
/* INS and OUTS, single or under REP: APM volume 2 15.10.2 "IN and OUT Behavior" leaves segment and
 * often the address size to us. Tested by tools/tests/test_emulate.c. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"
#include "hv/vm/vm.h"

static uint64_t port_access(struct emu *e, bool write, uint64_t value)
{
    struct vio io = {.cpu = e->s->cpu,
                     .addr = e->gpr[RDX] & 0xffff,
                     .size = e->in.opsize,
                     .write = write,
                     .value = value};

    if (e->code.breakpoints)
        emu_watch_port(e);
    e->s->calm = false;
    (void)vbus_pio(vpc_bus(e->s->vm->pc), &io);
    return io.value;
}

static enum hv_err iterate_ins(struct emu *e)
{
    uint64_t offset = emu_reg_read(e, RDI, e->in.addrsize, false);
    bool ram;
    gva_t to;

    /* The port is read only when the store cannot fault any more. */
    TRY(emu_linear(e, SEG_ES, offset, e->in.opsize, true, &to));
    TRY(emu_probe_write(e, to, e->in.opsize, &ram));
    TRY(emu_write(e, to, e->in.opsize, port_access(e, false, 0)));
    emu_advance(e, RDI);
    return HV_OK;
}

static enum hv_err iterate_outs(struct emu *e)
{
    uint64_t offset = emu_reg_read(e, RSI, e->in.addrsize, false), v;
    gva_t from;

    TRY(emu_linear(e, e->in.segment, offset, e->in.opsize, false, &from));
    TRY(emu_read(e, from, e->in.opsize, &v));
    (void)port_access(e, true, v);
    emu_advance(e, RSI);
    return HV_OK;
}

enum hv_err emu_string_port(struct emu *e)
{
    return emu_repeat(e, e->in.op == INSN_INS ? iterate_ins : iterate_outs, false);
}

enum emulate_result emulate_string_io(struct subvmm *s, const struct vmexit *x)
{
    struct emu e;

    emu_begin(&e, s, x);
    enum hv_err r = emu_fetch(&e);
    if (r == HV_OK) {
        /* The CPU checked permission for one port and width. If another CPU has changed the code
         * since, the new instruction takes its own exit. */
        bool same = e.in.op == (x->io_in ? INSN_INS : INSN_OUTS) && e.in.opsize == x->io_size &&
                    (e.gpr[RDX] & 0xffff) == x->io_port;
        r = same ? emu_string_port(&e) : HV_AGAIN;
    }
    return emu_finish(&e, r);
}
