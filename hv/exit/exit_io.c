/* SPDX-License-Identifier: BSD-2-Clause */
/* Port I/O exits: one access to the device bus, or the emulator for strings.
 * Tested by tools/tests/test_exits.c. */
#include "hv/base/stats.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

static void io_string(struct subvmm *s, const struct vmexit *x)
{
    if (emulate_string_io(s, x) == EMULATE_DECLINED)
        vcpu_refuse(s, x);
}

static void io_result(uint64_t *rax, unsigned size, uint64_t value)
{
    if (size == 4)
        *rax = (uint32_t)value; /* 32-bit results clear the upper half */
    else if (size == 2)
        *rax = (*rax & ~0xffffull) | (value & 0xffff);
    else
        *rax = (*rax & ~0xffull) | (value & 0xff);
}

void exit_io(struct subvmm *s, const struct vmexit *x)
{
    uint64_t *rax = &s->vcpu.regs.gpr[RAX];
    struct vio io = {.cpu = s->cpu, .addr = x->io_port, .size = x->io_size, .write = !x->io_in};

    stat_inc(s->pcpu, STAT_pio);
    if (x->io_string) {
        io_string(s, x);
        return;
    }
    if (vcpu_skip_decoded(s, x) != HV_OK)
        return;
    if (io.write)
        io.value = *rax & (BIT(io.size * 8u) - 1);
    (void)vbus_pio(vpc_bus(s->vm->pc), &io); /* unclaimed reads give all ones */
    if (x->io_in)
        io_result(rax, io.size, io.value);
    emulate_watch_port(s, x->io_port, x->io_size);
}
