/* SPDX-License-Identifier: BSD-2-Clause */
/* XCR0 and CPUID leaf 0Dh: the extended state that the guest may enable. The hypervisor uses no
 * vector registers and a VCPU never leaves its CPU, so that the registers and XCR0 itself stay the
 * guest's in the processor; nothing is saved or restored at an exit. Shown are x87, SSE, AVX and,
 * where all three parts are there, AVX-512. Not shown:
 *   - PKRU: its rights follow the leaf entry's key under the guest's CR4.PKE, and a shadow entry of
 *     another key, or a walk by the emulator, would have to look at PKRU as well; CR4.PKE stays 0
 *     in the VMCB, so that a PKRU which gets loaded all the same restricts nothing;
 *   - bounds registers, CET, LWP, AMX: with supervisor state or instructions that are hidden;
 *   - XSAVES: IA32_XSS is 0 and has no bits (leaf 0Dh, sub-leaf 1: ECX and EDX 0).
 * Source: APM volume 2, 11.5 "XSAVE/XRSTOR Instructions". Tested by tools/tests/test_xstate.c and
 * the guest tests of group xsave. */
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/rules.h"

enum { EAX, EBX, ECX, EDX };

#define LEAF_XSTATE 0xd
#define XSTATE_LEGACY_BYTES 576u /* x87 and SSE state, and the header behind them */
#define XSTATE_COMPONENTS 63     /* bit 63 of XCR0 is no component */
#define XSTATE_ALIGN BIT(1)      /* ECX of a component: 64-byte boundary in the compacted form */
#define L1_EAX (BIT(0) | BIT(1) | BIT(2)) /* XSAVEOPT, XSAVEC, XGETBV with ECX = 1 */
#define L1_EAX_XSAVEC BIT(1)
#define L1_ECX_XSAVE BIT(26) /* of CPUID leaf 1 */
#define L7_EBX_AVX512F BIT(16)

uint64_t xstate_components(void)
{
    uint32_t r[4];
    uint64_t have, shown;

    vcpu_ops->cpuid(0, 0, r);
    if (r[EAX] < LEAF_XSTATE)
        return 0;
    vcpu_ops->cpuid(1, 0, r);
    if (!(r[ECX] & L1_ECX_XSAVE))
        return 0;
    vcpu_ops->cpuid(LEAF_XSTATE, 0, r);
    have = (uint64_t)r[EDX] << 32 | r[EAX];
    shown = have & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
    vcpu_ops->cpuid(7, 0, r);
    if ((have & XCR0_AVX512) == XCR0_AVX512 && (have & XCR0_AVX) && (r[EBX] & L7_EBX_AVX512F))
        shown |= XCR0_AVX512;
    return (shown & XCR0_X87) && (shown & XCR0_SSE) ? shown : 0;
}

/* APM volume 3, "XSETBV": what raises #GP. */
bool xstate_legal(const struct vcpu *v, uint64_t xcr0)
{
    uint64_t avx512 = xcr0 & XCR0_AVX512;

    if ((xcr0 & ~v->xcr0_allowed) || !(xcr0 & XCR0_X87))
        return false;
    if ((xcr0 & XCR0_AVX) && !(xcr0 & XCR0_SSE))
        return false;
    return !avx512 || (avx512 == XCR0_AVX512 && (xcr0 & XCR0_AVX));
}

void xstate_power_on(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    v->xcr0 = XCR0_X87;
    if (v->xcr0_allowed)
        port_xstate_reset(v->xcr0_allowed);
}

static HV_RARE void xcr0_changed(struct subvmm *s, uint64_t now)
{
    struct vcpu *v = &s->vcpu;

    if (xstate_legal(v, now)) {
        v->xcr0 = now;
        return;
    }
    /* Bits that the processor has and the guest was not shown. What they enabled restricts nobody:
     * PKRU without CR4.PKE, bounds that only the guest's own programs look at. */
    port_xcr0_set(v->xcr0);
    if (log_ratelimit(&s->debug_lines))
        log_warn("xstate", "the guest set XCR0 to 0x%llx, which it was not offered: 0x%llx again",
                 (unsigned long long)now, (unsigned long long)v->xcr0);
}

void xstate_sync(struct subvmm *s)
{
    uint64_t now;

    if (!(s->vcpu.ctl.cr4 & CR4_OSXSAVE)) /* XSETBV is #UD: nothing can have changed */
        return;
    now = port_xcr0();
    if (now != s->vcpu.xcr0)
        xcr0_changed(s, now);
}

/* --- CPUID --- */

/* Bytes of an XSAVE area for these components. */
static uint32_t area_bytes(uint64_t components, bool compacted)
{
    uint32_t end = XSTATE_LEGACY_BYTES, r[4];

    for (unsigned i = 2; i < XSTATE_COMPONENTS; i++) {
        if (!(components & BIT(i)))
            continue;
        vcpu_ops->cpuid(LEAF_XSTATE, i, r);
        uint32_t at = r[EBX];
        if (compacted)
            at = r[ECX] & XSTATE_ALIGN ? (end + 63) & ~63u : end;
        if (at + r[EAX] > end)
            end = at + r[EAX];
    }
    return end;
}

void xstate_leaf(struct subvmm *s, uint32_t subleaf, uint32_t r[4])
{
    const struct vcpu *v = &s->vcpu;

    if (!v->xcr0_allowed ||
        (subleaf > 1 && (subleaf >= XSTATE_COMPONENTS || !(v->xcr0_allowed & BIT(subleaf))))) {
        memset(r, 0, 4 * sizeof(r[0]));
    } else if (subleaf == 0) {
        r[EAX] = (uint32_t)v->xcr0_allowed;
        r[EBX] = area_bytes(v->xcr0, false);
        r[ECX] = area_bytes(v->xcr0_allowed, false);
        r[EDX] = (uint32_t)(v->xcr0_allowed >> 32);
    } else if (subleaf == 1) {
        r[EAX] &= (uint32_t)L1_EAX;
        r[EBX] = r[EAX] & (uint32_t)L1_EAX_XSAVEC ? area_bytes(v->xcr0, true) : 0;
        r[ECX] = r[EDX] = 0; /* no supervisor state */
    } else {                 /* size and offset are the processor's */
        r[ECX] &= (uint32_t)XSTATE_ALIGN;
        r[EDX] = 0;
    }
}
