/* SPDX-License-Identifier: BSD-2-Clause */
/* RFLAGS.RF in the frames of what is injected, and #UD for instructions of a processor with SVM
 * where the real one raises #GP first; on the fake machine with a fake vendor. */
#include "tools/tests/exits_rig.h"

static struct vcpu *v(void)
{
    return &bsp()->vcpu;
}

/* RFLAGS at the entry that injects this. */
static uint64_t flags_with(struct vcpu_event e)
{
    v()->regs.rflags = RFLAGS_FIXED1;
    v()->pending = e;
    subvmm_round(bsp());
    tap_ok(vendor[0].injected.type == e.type && vendor[0].injected.vector == e.vector,
           "vector %u is injected", e.vector);
    return vendor[0].run_rflags;
}

static void test_rf(void)
{
    static const uint8_t faults[] = {VEC_DE, VEC_UD, VEC_NM, VEC_TS, VEC_NP,
                                     VEC_SS, VEC_GP, VEC_PF, VEC_AC};
    static const uint8_t others[] = {VEC_DB, VEC_BP, VEC_OF, VEC_DF, VEC_MC};

    rig_new(1, false);
    rig_code("\x90\x90", 2);
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        tap_eq(flags_with((struct vcpu_event){.type = EVENT_EXCEPTION, .vector = faults[i]}),
               RFLAGS_FIXED1 | RFLAGS_RF, "a fault: RF");
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        tap_eq(flags_with((struct vcpu_event){.type = EVENT_EXCEPTION, .vector = others[i]}),
               RFLAGS_FIXED1, "a trap or abort: no RF");
    tap_eq(flags_with((struct vcpu_event){.type = EVENT_NMI, .vector = VEC_NMI}), RFLAGS_FIXED1,
           "an NMI: no RF");
    tap_eq(flags_with((struct vcpu_event){.type = EVENT_INTR, .vector = VEC_GP}), RFLAGS_FIXED1,
           "an interrupt, whatever its vector: no RF");
}

static void refused(const void *bytes, size_t n, uint32_t error)
{
    struct vmexit x = {.kind = EXIT_EXCEPTION,
                       .vector = VEC_GP,
                       .gpr = VMEXIT_GPR_NONE,
                       .error_valid = true,
                       .error = error};
    rig_code(bytes, n);
    exit_dispatch(bsp(), &x);
}

static void test_svm(void)
{
    static const uint8_t hidden[] = {0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xfe, 0xff};
    static const uint8_t others[] = {0xd0, 0xd1, 0xd9, 0xf8, 0xf9, 0xe0, 0xf0, 0x58};

    rig_new(1, false);
    for (unsigned cpl = 0; cpl <= 3; cpl++) {
        vendor[0].segs.cpl = (uint8_t)cpl;
        for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
            const uint8_t plain[] = {0x0f, 0x01, hidden[i]};
            const uint8_t prefixed[] = {0x66, 0x2e, 0x0f, 0x01, hidden[i]};
            refused(plain, sizeof(plain), 0);
            tap_ok(took(VEC_UD) && v()->regs.rip == RIG_CODE, "CPL %u: 0F 01 %02X is #UD", cpl,
                   hidden[i]);
            refused(prefixed, sizeof(prefixed), 0);
            tap_ok(took(VEC_UD), "... behind prefixes");
            refused(plain, sizeof(plain), 8);
            tap_ok(took(VEC_GP), "... not with an error code");
        }
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
            const uint8_t plain[] = {0x0f, 0x01, others[i], 0x90, 0x90};
            refused(plain, sizeof(plain), 0);
            tap_ok(took(VEC_GP), "CPL %u: 0F 01 %02X stays #GP", cpl, others[i]);
        }
        refused("\x0f\x0b", 2, 0);
        tap_ok(took(VEC_GP), "bytes that have become UD2: #GP as it was raised");
        refused("\x0f\x29\x01", 3, 0);
        tap_ok(took(VEC_GP), "MOVAPS: #GP");
        refused("\x0f\x28\x05\x00\x0f\x01\xd8", 7, 0);
        tap_ok(took(VEC_GP), "... at an address that looks like such an instruction");
    }
    vendor[0].segs.cpl = 0;
    bsp()->injected = (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_PF};
    struct vmexit x = {.kind = EXIT_EXCEPTION, .vector = VEC_GP, .error_valid = true};
    x.redeliver = true;
    rig_code("\x0f\x01\xd8", 3);
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_DF), "#GP in the delivery of #PF is no instruction's");
}

static void test_vmmcall(void)
{
    rig_new(1, false);
    rig_code("\x0f\x01\xd9", 3);
    rig_exit(EXIT_VMMCALL);
    tap_eq(*gpr(RAX), (uint32_t)-1000, "a hypercall that nobody offers");
    rig_code("\x0f\x01\xd9", 3);
    vendor[0].segs.cpl = 3;
    rig_exit(EXIT_VMMCALL);
    tap_ok(quiet() && *gpr(RAX) == (uint32_t)-1, "for users it is not permitted");
    rig_code("\x0f\x01\xd9", 3);
    opt.hvsig = HVSIG_OWN;
    rig_exit(EXIT_VMMCALL);
    tap_ok(took(VEC_UD), "hvsig=own: #UD for them as well");
}

int main(void)
{
    test_rf();
    test_svm();
    test_vmmcall();
    return tap_done();
}
