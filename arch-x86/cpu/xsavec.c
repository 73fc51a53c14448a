/* SPDX-License-Identifier: BSD-2-Clause */
/* Does XSAVEC write the AVX state where XRSTOR reads it? Tested by the bochs group of
 * tools/check.py. */
#include "arch-x86/cpu/xsavec.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"

#define LEAF_XSTATE 0xd
#define XSTATE_AVX_AT 576 /* behind the header, compacted or not */
#define L1_EAX_XSAVEC BIT(1)
#define L1_ECX_AVX BIT(28) /* of leaf 1 */

static bool misplaces;

/* Bochs 2.7's XSAVEC writes the AVX state behind SSE's without a place for the header, which it
 * overwrites: XRSTOR of the area is #GP, or gives other registers. The host uses no vector
 * registers; the guest's get their initial values later. */
static bool xsavec_misplaces(void)
{
    static _Alignas(64) uint8_t area[1024];
    const uint64_t needed = XCR0_X87 | XCR0_SSE | XCR0_AVX;

    if (!cpu_features.xsave || !(cpuid(1, 0).ecx & L1_ECX_AVX) ||
        !(cpuid(LEAF_XSTATE, 1).eax & L1_EAX_XSAVEC) ||
        (cpuid(LEAF_XSTATE, 0).eax & needed) != needed)
        return false;
    uint64_t before = xgetbv(0);
    xsetbv(0, needed);
    xsavec_of_ones(area, needed);
    xsetbv(0, before);
    for (unsigned i = 0; i < 16; i++)
        if (area[XSTATE_AVX_AT + i] != 0xff)
            return true;
    return false;
}

void xsavec_detect(void)
{
    misplaces = xsavec_misplaces();
    if (misplaces)
        log_info("check", "XSAVEC     has the AVX state in the wrong place: the guest has XSAVE");
}

void xsavec_filter(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    if (leaf == LEAF_XSTATE && subleaf == 1 && misplaces)
        r[0] &= ~(uint32_t)L1_EAX_XSAVEC;
}
