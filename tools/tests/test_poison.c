/* SPDX-License-Identifier: BSD-2-Clause */
/* Poison: fills what is left of the host's memory and notices one changed byte anywhere in it. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/mem/phys.h"
#include "hv/vm/vm.h"

int main(void)
{
    const uint64_t base = 16ull << 20, bytes = 9ull << 20;
    hpa_t at;

    fake_reset();
    fake_arena(base, bytes);
    tap_ok(phys_add(hpa(base), bytes) == HV_OK, "memory");
    tap_ok(phys_reserve(hpa(base + (3ull << 20)), 4096 * 3) == HV_OK, "some of it taken");
    vm_poison_place();
    tap_ok(phys_alloc(PAGE_SIZE, PAGE_SIZE, 0, &at) != HV_OK, "nothing is left over");
    tap_eq(vm_poison_damage(), 0, "whole at first");
    unsigned found = 0, tried = 0;
    for (uint64_t a = base + 8; a < base + bytes; a += 65536 + 4096 * 8) {
        if (a >= base + (3ull << 20) && a < base + (3ull << 20) + 4096 * 3)
            continue; /* taken: not poison */
        uint8_t *p = port_ptr(hpa(a));
        tried++;
        *p ^= 1;
        found += vm_poison_damage() == (a & ~7ull);
        *p ^= 1;
    }
    tap_eq(found, tried, "a changed bit is found, and where");
    tap_eq(vm_poison_damage(), 0, "whole again");
    return tap_done();
}
