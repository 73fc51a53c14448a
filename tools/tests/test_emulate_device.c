/* SPDX-License-Identifier: BSD-2-Clause */
/* An emulated instruction with an operand in device memory that the VM owns: no model stands behind
 * it, so the emulator declines before anything moved and the guest does it itself. */
#include "tools/tests/exits_rig.h"
#include "hv/emulate/emulate.h"

#define DEVICE RIG_RAM /* behind RAM: claimed by no model */
#define TARGET 0x5000u

/* The instruction stores to `to` in a page of RAM that is traced. */
static enum emulate_result store(const char *code, size_t n, uint64_t from, uint64_t to)
{
    struct vmexit x = {.kind = EXIT_PF,
                       .gpr = VMEXIT_GPR_NONE,
                       .have_gva = true,
                       .gva = gva(to),
                       .pfec = PFEC_W | PFEC_P};

    rig_new(1, false);
    bsp()->p2m.screen = (struct p2m_device){gpa_gfn(gpa(DEVICE)), {0x1000}, 1};
    rig_code(code, n);
    memset(port_ptr(hpa(TARGET)), 0x5a, 64);
    *gpr(RSI) = from;
    *gpr(RDI) = to;
    *gpr(RCX) = 4;
    return emulate_insn(bsp(), &x, gpa(to));
}

static bool untouched(void)
{
    const uint8_t *p = port_ptr(hpa(TARGET));

    for (unsigned i = 0; i < 64; i++)
        if (p[i] != 0x5a)
            return false;
    return *gpr(RCX) == 4 && bsp()->vcpu.regs.rip == RIG_CODE;
}

int main(void)
{
    tap_ok(store("\xf3\xa5", 2, 0x6000, TARGET) == EMULATE_DONE && !untouched(),
           "a copy from RAM is emulated");
    tap_ok(store("\xf3\xa5", 2, DEVICE + 8, TARGET) == EMULATE_DECLINED && untouched(),
           "REP MOVS out of the VM's own device memory is not");
    tap_ok(store("\xa5", 1, DEVICE - 2, TARGET) == EMULATE_DECLINED && untouched(),
           "nor where the operand only ends there");
    tap_ok(store("\xf3\xa5", 2, DEVICE - 8, TARGET) == EMULATE_DONE && *gpr(RCX) == 2 &&
               bsp()->vcpu.regs.rip == RIG_CODE,
           "what came before it stays done");
    tap_ok(store("\xf3\xa5", 2, DEVICE + PAGE_SIZE, TARGET) == EMULATE_DONE &&
               *(uint32_t *)port_ptr(hpa(TARGET)) == ~0u,
           "where nothing is, all ones are read");
    return tap_done();
}
