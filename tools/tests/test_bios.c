/* SPDX-License-Identifier: BSD-2-Clause */
/* What real-mode code finds in low memory: each vector leads to a handler, the memory map of INT
 * 15h is the guest's, the reset vector leads to a reset. The code itself runs in the check
 * boot/kind-raw-bios. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

static struct vm vm;
static uint32_t granule[2] = {1, 0};

static uint64_t get(uint64_t at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p2m_ptr(&vm.p2m, gpa(at)), bytes);
    return v;
}

/* The first n bytes of the handler of a vector, the first one lowest. */
static uint64_t handler(unsigned vector, unsigned n)
{
    uint64_t v = get(vector * 4, 4);
    return get((v >> 16 << 4) + (v & 0xffff), n);
}

static void check_vectors(void)
{
    bool inside = true, returns = true;
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = (get(v * 4, 4) >> 16 << 4) + get(v * 4, 2);
        inside = inside && at >= 0xfe000 && at < 0xfe000 + 256;
        if (v < 8 || v >= 0x78)
            returns = returns && handler(v, 1) == 0xcf;
    }
    tap_ok(inside, "every vector leads into the handlers");
    tap_ok(returns, "exceptions and unused vectors return");
    tap_eq(handler(0x13, 3), 0xe58955, "disks fail");
    tap_eq(handler(0x0b, 5), 0x20e620b050, "IRQ 3 is acknowledged at the first controller");
    tap_eq(handler(0x73, 5), 0xa0e620b050, "IRQ 11 at both");
    tap_eq(handler(0x15, 3), 0xe8203d, "INT 15h begins by asking for E820");
    tap_eq(handler(0x10, 3), 0x0efc80, "INT 10h by teletype");
    tap_eq(handler(0x12, 3), 0x027fb8, "INT 12h gives 639 KiB");
    tap_eq(get(0xffff0, 5), 0xf000e0c2ea, "the reset vector jumps to the handlers");
    tap_eq(handler(0x19, 6), 0xee06b00cf9ba, "... as INT 19h, to port CF9");
}

int main(void)
{
    fake_reset();
    fake_arena(0, 2 * REGION_SIZE);
    vm.p2m = (struct p2m){.granule = granule, .ngranules = 2};
    vm.ram_low_end = 2 * REGION_SIZE;
    tap_eq(vm_bios_build(&vm), HV_OK, "built");
    check_vectors();
    tap_ok(get(0x400, 2) == 0x3f8 && get(0x40e, 2) == 0x9fc0 && get(0x413, 2) == 639, "data area");
    tap_ok(get(0x449, 1) == 3 && get(0x44a, 2) == 80, "... text mode");

    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(&vm, EBDA_GPA, r);
    bool same = get(0xff000, 4) == n;
    for (unsigned i = 0; i < n; i++)
        same = same && get(0xff004 + i * 20, 8) == r[i].base &&
               get(0xff00c + i * 20, 8) == r[i].end - r[i].base &&
               get(0xff014 + i * 20, 4) == r[i].type;
    tap_ok(same && n > 3, "the memory map");
    return tap_done();
}
