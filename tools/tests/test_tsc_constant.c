/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest is told about the TSC: invariant and stable where the machine's is, else neither, in
 * CPUID and in the clock structure. */
#include "tools/tests/tap.h"
#include "tools/tests/exits_rig.h"

#define CLOCK 0x5000
#define FLAGS (CLOCK + 29) /* struct pvclock_vcpu_time_info: flags */

static void told(bool constant)
{
    uint32_t r[4];

    rig_new(2, true);
    rig_code("\x0f\xa2", 2); /* CPUID: nothing runs here, but the code page is one */
    fake_set_tsc_constant(constant);
    cpuid_answer(bsp(), 0x80000007, 0, r);
    tap_eq(r[3], constant ? BIT(8) : 0, "CPUID: invariant TSC");
    cpuid_answer(bsp(), 0x40000001, 0, r);
    tap_ok((r[0] & BIT(3)) && !(r[0] & BIT(24)) == !constant, "CPUID: kvmclock, stable");
    tap_ok(kvmclock_write_time(bsp(), CLOCK | 1), "the clock is switched on");
    tap_eq(*(uint8_t *)port_ptr(hpa(FLAGS)) & 1, constant, "clock: TSC stable");
}

int main(void)
{
    told(true);
    told(false);
    return tap_done();
}
