/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest RAM: size, placement, the PCI hole, clearing; and the segment table's accessors. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/base/options.h"
#include "hv/mem/phys.h"
#include "hv/vm/vm.h"

#define MIB 0x100000ull
#define GIB 0x40000000ull

/* A PC with `low` bytes below 4 GiB (at most 3 GiB) and `high` above it. */
static void machine(uint64_t low, uint64_t high)
{
    bool ok = true;
    fake_reset();
    fake_arena(0, high ? 4 * GIB + high : low);
    phys_reset();
    ok = phys_add(hpa(0), 0x9fc00) == HV_OK && phys_add(hpa(MIB), low - MIB) == HV_OK;
    if (high)
        ok = ok && phys_add(hpa(4 * GIB), high) == HV_OK;
    /* the hypervisor's image, and page 0 */
    ok = ok && phys_reserve(hpa(MIB), 3 * MIB + 12345) == HV_OK &&
         phys_reserve(hpa(0), 4096) == HV_OK;
    if (!ok)
        tap_ok(false, "the machine of the test is set up");
}

/* Every gpa that must be RAM is, every other is not, no host granule is used twice or outside RAM.
 */
static void check(const struct vm *vm, const char *what, unsigned *identity)
{
    uint64_t n = 0, wrong = 0, end = 0x200000000ull;
    static uint8_t used[0x400000000ull >> REGION_SHIFT];
    memset(used, 0, sizeof(used));
    *identity = 0;
    for (uint64_t a = 0; a < end; a += REGION_SIZE) {
        bool want = a < vm->ram_low_end || (a >= 4 * GIB && a < vm->ram_high_end);
        hpa_t h = hpa(0), h2 = hpa(0);
        bool got = p2m_lookup(&vm->p2m, gpa(a), &h);
        wrong += got != want;
        if (!got) {
            wrong += p2m_ptr(&vm->p2m, gpa(a)) != NULL;
            continue;
        }
        n += REGION_SIZE;
        *identity += h.v == a;
        wrong += used[h.v >> REGION_SHIFT]++ != 0;
        wrong += phys_granule_free(h); /* taken now */
        wrong += !p2m_lookup(&vm->p2m, gpa(a + 0x12345), &h2) || h2.v != h.v + 0x12345;
        wrong += !p2m_owns(&vm->p2m, gfn(a >> 12), pfn(h.v >> 12));
        wrong += p2m_owns(&vm->p2m, gfn(a >> 12), pfn((h.v >> 12) + 1));
    }
    tap_ok(wrong == 0 && n == vm->ram_bytes, "%s: the table is right", what);
    if (wrong || n != vm->ram_bytes)
        tap_note("%" PRIu64 " wrong, %" PRIu64 " bytes of %" PRIu64, wrong, n, vm->ram_bytes);
}

static struct vm vm;
static struct hv_options opt;
static enum hv_err init(uint64_t mem_mib, uint64_t keep)
{
    memset(&vm, 0, sizeof(vm));
    opt.mem_mib = mem_mib;
    return vm_memory_init(&vm, &opt, keep);
}

static void test_sizes(void)
{
    unsigned identity;
    machine(512 * MIB, 0);
    tap_eq(init(256, 0), HV_OK, "mem=256");
    tap_eq(vm.ram_bytes, 256 * MIB, "... gives 256 MiB");
    tap_ok(vm.ram_low_end == 256 * MIB && vm.ram_high_end == 0, "... all low");
    check(&vm, "256 MiB", &identity);
    tap_eq(identity, 128 - 3,
           "all but the first two granules and the image's end lie at their own address");

    machine(512 * MIB, 0);
    uint64_t before = phys_free_bytes();
    tap_eq(init(0, 100 * MIB), HV_OK, "everything but 100 MiB");
    check(&vm, "everything", &identity);
    tap_ok(phys_free_bytes() >= 100 * MIB && phys_free_bytes() < 108 * MIB, "... 100 MiB are left");
    tap_ok(before - phys_free_bytes() >= vm.ram_bytes, "... and the guest's are taken");
    hpa_t a;
    tap_eq(phys_alloc(90 * MIB, 4096, 0, &a), HV_OK, "... in one piece");

    machine(512 * MIB, 0);
    tap_eq(init(4096, 50 * MIB), HV_OK, "more than there is");
    tap_ok(vm.ram_bytes < 462 * MIB && vm.ram_bytes > 440 * MIB, "... gives what there is");
    tap_ok(strstr(fake_console(), "mem=4096M") != NULL, "... and says so");
    machine(512 * MIB, 0);
    tap_eq(init(101, 0), HV_OK, "an odd number");
    tap_eq(vm.ram_bytes, 100 * MIB, "... is rounded to granules");
    machine(512 * MIB, 0);
    tap_eq(init(UINT64_MAX, 0), HV_OK, "an absurd mem= is limited");
}

static void test_small(void)
{
    machine(512 * MIB, 0);
    tap_eq(init(14, 0), HV_NOMEM, "mem=14 is refused");
    tap_ok(strstr(fake_console(), "16 MiB are the least") != NULL, "... with the remedy");
    machine(512 * MIB, 0);
    tap_eq(init(16, 0), HV_OK, "mem=16 is enough");
    machine(16 * MIB, 0);
    tap_eq(init(0, 0), HV_NOMEM, "a machine of 16 MiB is too small");
    machine(512 * MIB, 0);
    tap_eq(init(0, 600 * MIB), HV_NOMEM, "nothing left over");
    phys_reset();
    fake_console_clear();
    tap_eq(init(0, 0), HV_NOMEM, "no memory at all");
    tap_ok(fake_console_len() > 0, "... is said too");
}

static void test_big(void)
{
    unsigned identity;
    machine(3 * GIB, 3 * GIB);
    tap_eq(init(5120, 64 * MIB), HV_OK, "5 GiB on a machine with 3 + 3");
    tap_eq(vm.ram_low_end, 3 * GIB, "3 GiB below the hole");
    tap_eq(vm.ram_high_end, 6 * GIB, "2 GiB above 4 GiB");
    check(&vm, "5 GiB", &identity);
    tap_eq(identity, 5120 / 2 - 3, "identity above too");
    machine(2 * GIB, 4 * GIB);
    tap_eq(init(5120, 0), HV_OK, "5 GiB on a machine with 2 + 4");
    check(&vm, "5 GiB beside a larger hole", &identity);
    tap_eq(identity, 4096 / 2 - 3, "what has no memory at its address lies elsewhere");
}

static void test_fragments(void)
{
    unsigned identity;
    bool ok = true;
    machine(512 * MIB, 0);
    for (uint64_t a = 16 * MIB; a < 256 * MIB; a += 6 * MIB)
        ok = ok && phys_reserve(hpa(a + 5000), 1) == HV_OK;
    tap_ok(ok, "holes in every third granule");
    tap_eq(init(300, 0), HV_OK, "300 MiB");
    check(&vm, "fragments", &identity);
    tap_eq(identity, 150 - 3 - 40, "a granule with a hole is not used");
}

static void test_clear(void)
{
    machine(256 * MIB, 0);
    for (uint64_t a = MIB; a < 256 * MIB; a += 3 * 4096 + 2048)
        *(uint64_t *)port_ptr(hpa(a)) = 0x7365637265740000ull + a;
    tap_eq(init(128, 0), HV_OK, "128 MiB of dirty memory");
    uint64_t any = 0;
    for (uint64_t a = 0; a < 128 * MIB; a += 8)
        any |= *(uint64_t *)p2m_ptr(&vm.p2m, gpa(a));
    tap_eq(any, 0, "the guest sees zeros");
    any = 0;
    for (uint64_t a = 3 * 4096 + 2048 + MIB; a < 4 * MIB; a += 3 * 4096 + 2048)
        any += *(uint64_t *)port_ptr(hpa(a)) != 0x7365637265740000ull + a;
    tap_eq(any, 0, "the hypervisor's own memory is untouched");
}

int main(void)
{
    test_sizes();
    test_small();
    test_big();
    test_fragments();
    test_clear();
    return tap_done();
}
