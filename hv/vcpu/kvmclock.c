/* SPDX-License-Identifier: BSD-2-Clause */
/* kvm-clock: time from the TSC through a structure in guest memory, so that a guest calibrates
 * nothing. Layout and meaning: Linux Documentation/virt/kvm/x86/msr.rst. Tested by
 * tools/tests/test_exits.c. */
#include "hv/base/string.h"
#include "hv/mmu/gmem.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

#define NS_PER_S 1000000000ull
#define KVMCLOCK_ENABLE BIT(0)
#define PVCLOCK_TSC_STABLE BIT(0)

struct pvclock_time { /* 32 bytes, guest memory */
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad1[2];
};
struct pvclock_wall {
    uint32_t version, sec, nsec;
};
_Static_assert(sizeof(struct pvclock_time) == 32, "pvclock layout");
_Static_assert(sizeof(struct pvclock_wall) == 12, "pvclock layout");

/* ns = ((tsc << shift) * mul) >> 32 (>> -shift first if negative), with mul in [2^31, 2^32). */
static void scale_find(uint64_t tsc_hz, uint32_t *mul, int8_t *shift)
{
    uint64_t hz = tsc_hz ? tsc_hz : NS_PER_S;
    uint64_t num = NS_PER_S;
    int8_t sh = 0;

    /* mul = num * 2^32 / hz must be below 2^32: num < hz; and as large as possible. */
    while (num >= hz) {
        num >>= 1;
        sh++;
    }
    while (num * 2 < hz) {
        num <<= 1;
        sh--;
    }
    *shift = sh;
    *mul = (uint32_t)((num << 32) / hz);
    if (sh > 0) /* halving lost bits: divide the exact value */
        *mul = (uint32_t)(((NS_PER_S << (32 - sh)) / hz));
}

/* The clock was read long before: seconds may have passed. */
void kvmclock_init(struct vm *vm)
{
    struct vm_clock *c = &vm->clock;
    uint64_t read_tsc, hz = port_tsc_hz() ? port_tsc_hz() : NS_PER_S;

    c->base_s = port_boot_time_s(&read_tsc);
    c->base_tsc = port_tsc();
    uint64_t since = c->base_tsc - read_tsc;
    c->base_s += since / hz;
    c->base_ns = (uint32_t)(since % hz * NS_PER_S / hz); /* below 2^63: hz < 2^33 */
}

bool kvmclock_write_time(struct subvmm *s, uint64_t value)
{
    struct vcpu *v = &s->vcpu;
    struct pvclock_time t = {.version = 2, .flags = port_tsc_constant() ? PVCLOCK_TSC_STABLE : 0};
    gpa_t at = gpa(value & ~KVMCLOCK_ENABLE);

    if (!(value & KVMCLOCK_ENABLE)) {
        v->kvmclock = value;
        return true;
    }
    /* Time is a pure function of the TSC, the same on every CPU: the structure never changes again.
     */
    scale_find(port_tsc_hz(), &t.tsc_to_system_mul, &t.tsc_shift);
    t.tsc_timestamp = s->vm->clock.base_tsc + v->tsc_adjust;
    t.system_time = 0;
    if (at.v & 3 || gmem_write_gpa(&s->mmu, at, &t, sizeof(t)) != HV_OK)
        return false;
    v->kvmclock = value;
    return true;
}

/* Time of day when system_time was 0. */
bool kvmclock_write_wall(struct subvmm *s, uint64_t value)
{
    struct pvclock_wall w = {
        .version = 2, .sec = (uint32_t)s->vm->clock.base_s, .nsec = s->vm->clock.base_ns};

    if (gmem_write_gpa(&s->mmu, gpa(value), &w, sizeof(w)) != HV_OK)
        return false;
    s->vcpu.kvm_wall = value;
    return true;
}
