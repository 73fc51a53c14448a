/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest RAM: which host granules a VM gets and where its guest sees them; copies into it.
 * Tested by tools/tests/test_p2m.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/vm/vm.h"

#define MIB ((uint64_t)1 << 20)
#define LOW_END_MAX 0xc0000000ull /* the PCI hole and the APICs lie above */
#define HIGH_BASE 0x100000000ull
#define RAM_MIN (16 * MIB)

/* Free bytes in whole granules, and one past the last of them. */
static uint64_t granules_free(uint64_t *top)
{
    uint64_t sum = 0;
    *top = phys_top() & ~REGION_MASK;
    for (uint64_t a = 0; a < *top; a += REGION_SIZE)
        if (phys_granule_free(hpa(a)))
            sum += REGION_SIZE;
    return sum;
}

/* Bytes the guest gets; logs when that is less than was asked for. */
static uint64_t ram_size(const struct hv_options *opt, uint64_t keep_bytes)
{
    uint64_t top, have = granules_free(&top);
    have = have > keep_bytes ? (have - keep_bytes) & ~REGION_MASK : 0;
    if (opt->mem_mib == 0)
        return have;
    uint64_t want = opt->mem_mib > UINT64_MAX / MIB ? UINT64_MAX : opt->mem_mib * MIB;
    want &= ~REGION_MASK;
    if (want <= have)
        return want;
    log_warn("vm", "mem=%luM asked for, only %lu MiB are free: the guest gets those", opt->mem_mib,
             have / MIB);
    return have;
}

bool vm_ram_shown(const struct vm *vm, uint64_t base, uint64_t end)
{
    for (uint64_t a = base & ~REGION_MASK; a < end; a += REGION_SIZE) {
        hpa_t h;
        if (!p2m_lookup(&vm->p2m, gpa(a), &h) || (vm->own_only && h.v != a))
            return false;
    }
    return true;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_ram(const struct vm *vm, uint64_t a)
{
    return a < vm->ram_low_end || (a >= HIGH_BASE && a < vm->ram_high_end);
}

static enum hv_err granule_take(struct p2m *p, uint64_t g, uint64_t host)
{
    TRY(phys_reserve(hpa(host), REGION_SIZE));
    p->granule[g] = (uint32_t)(host >> REGION_SHIFT);
    phys_clear(port_ptr(hpa(host)), REGION_SIZE);
    return HV_OK;
}

/* First every granule that can lie at its own address, then the rest from the lowest free ones,
 * which leaves the top of memory in one piece for what is allocated later. */
static enum hv_err granules_place(struct vm *vm, uint64_t *moved)
{
    struct p2m *p = &vm->p2m;
    uint64_t host = 0, top = phys_top();
    for (uint64_t g = 0; g < p->ngranules; g++)
        if (is_ram(vm, g << REGION_SHIFT) && phys_granule_free(hpa(g << REGION_SHIFT)))
            TRY(granule_take(p, g, g << REGION_SHIFT));
    *moved = 0;
    for (uint64_t g = 0; g < p->ngranules; g++) {
        if (!is_ram(vm, g << REGION_SHIFT) || p->granule[g] != P2M_NONE)
            continue;
        while (host < top && !phys_granule_free(hpa(host)))
            host += REGION_SIZE;
        if (host >= top)
            return HV_NOMEM;
        TRY(granule_take(p, g, host));
        *moved += 1;
    }
    return HV_OK;
}

/* The ends of RAM below and above 4 GiB, if `bytes` are to be had, below device memory. */
static void ends_set(struct vm *vm, uint64_t bytes)
{
    uint64_t low = LOW_END_MAX, high = UINT64_MAX;

    if (vm->pass) {
        low = min_u64(low, pass_low_end(vm->pass) & ~REGION_MASK);
        high = pass_high_end(vm->pass) & ~REGION_MASK;
    }
    if (vm->screen.base && vm->screen.base < HIGH_BASE)
        low = min_u64(low, vm->screen.base & ~REGION_MASK);
    else if (vm->screen.base)
        high = min_u64(high, vm->screen.base & ~REGION_MASK);
    if (vm->own_only) {
        vm->ram_low_end = min_u64(low, phys_top() & ~REGION_MASK);
        vm->ram_high_end = phys_top() > HIGH_BASE ? min_u64(high, phys_top() & ~REGION_MASK) : 0;
        return;
    }
    vm->ram_low_end = min_u64(bytes, low);
    vm->ram_high_end = bytes > low ? min_u64(high, HIGH_BASE + (bytes - low)) : 0;
}

/* RAM at its own address alone, from the lowest on, and what the legacy areas lie in. Returns the
 * bytes there are. */
static uint64_t own_place(struct vm *vm, uint64_t bytes)
{
    struct p2m *p = &vm->p2m;
    uint64_t sum = 0, low = 0, high = 0, host = min_u64(phys_top(), HIGH_BASE) & ~REGION_MASK;

    for (uint64_t g = 1; g < p->ngranules && sum < bytes - REGION_SIZE; g++) {
        uint64_t a = g << REGION_SHIFT;
        if (!is_ram(vm, a) || !phys_granule_free(hpa(a)) || granule_take(p, g, a) != HV_OK)
            continue;
        sum += REGION_SIZE;
        *(a < HIGH_BASE ? &low : &high) = a + REGION_SIZE;
    }
    if (phys_granule_free(hpa(0)))
        host = REGION_SIZE;
    while (host > 0 && !phys_granule_free(hpa(host - REGION_SIZE)))
        host -= REGION_SIZE;
    if (host == 0 || granule_take(p, 0, host - REGION_SIZE) != HV_OK)
        return 0;
    vm->ram_low_end = low;
    vm->ram_high_end = high;
    p->ngranules = (high ? high : low) >> REGION_SHIFT;
    return sum + REGION_SIZE;
}

enum hv_err vm_memory_init(struct vm *vm, const struct hv_options *opt, uint64_t keep_bytes)
{
    hpa_t table;
    uint64_t moved;
    /* the table itself comes out of the RAM counted below; its size depends on it only upwards */
    uint64_t most = ((phys_top() >> REGION_SHIFT) + (HIGH_BASE >> REGION_SHIFT)) * sizeof(uint32_t);
    enum hv_err err = phys_alloc(most, PAGE_SIZE, 0, &table);
    uint64_t bytes = err == HV_OK ? ram_size(opt, keep_bytes) : 0;
    if (bytes < RAM_MIN) {
        log_err("vm",
                "%lu MiB left for the guest, %lu MiB are the least: give the machine more memory, "
                "or a larger mem=, or fewer CPUs by smp=",
                bytes / MIB, RAM_MIN / MIB);
        return HV_NOMEM;
    }
    vm->ram_bytes = bytes;
    ends_set(vm, bytes);
    vm->p2m.ngranules = (vm->ram_high_end ? vm->ram_high_end : vm->ram_low_end) >> REGION_SHIFT;
    vm->p2m.granule = port_ptr(table);
    for (uint64_t g = 0; g < vm->p2m.ngranules; g++)
        vm->p2m.granule[g] = P2M_NONE;
    if (vm->own_only) {
        vm->ram_bytes = own_place(vm, bytes);
        log_info("vm", "guest RAM %lu MiB at its own address, the first 2 MiB elsewhere: %s",
                 vm->ram_bytes / MIB, "a device must not be given them");
        return vm->ram_bytes < RAM_MIN ? HV_NOMEM : HV_OK;
    }
    err = granules_place(vm, &moved);
    if (err != HV_OK) {
        log_err("vm", "firmware's memory map is too fragmented for %lu MiB: try a smaller mem=",
                bytes / MIB);
        return err;
    }
    log_info("vm", "guest RAM %lu MiB, %lu of %lu granules away from their own address",
             bytes / MIB, moved, bytes >> REGION_SHIFT);
    return HV_OK;
}

enum hv_err vm_copy_in(struct vm *vm, gpa_t at, const void *src, size_t n)
{
    uint64_t end;
    const uint8_t *s = src;
    if (__builtin_add_overflow(at.v, n, &end))
        return HV_RANGE;
    for (uint64_t a = at.v; a < end; a = (a & ~REGION_MASK) + REGION_SIZE)
        if (!p2m_ptr(&vm->p2m, gpa(a)))
            return HV_RANGE;
    while (at.v < end) {
        uint64_t part = REGION_SIZE - (at.v & REGION_MASK);
        if (part > end - at.v)
            part = end - at.v;
        memcpy(p2m_ptr(&vm->p2m, at), s, (size_t)part);
        s += part;
        at.v += part;
    }
    return HV_OK;
}
