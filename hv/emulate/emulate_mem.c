/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory accesses of the emulator: RAM through hv/mmu/gmem.h, so that traced frames are posted,
 * everything else through the VM's device bus. Tested by tools/tests/test_emulate.c. */
#include "arch-x86/defs/x86.h"
#include "hv/emulate/emulate_internal.h"
#include "hv/vm/vm.h"

static bool mem_one_page(gva_t va, unsigned n)
{
    return (va.v & PAGE_MASK) + n <= PAGE_SIZE;
}

enum hv_err emu_mem_result(struct emu *e, enum hv_err r, const struct guest_fault *f)
{
    if (r == HV_FAULT) {
        e->fault = (struct vcpu_fault){.vector = VEC_PF, .pf = *f};
        return HV_FAULT;
    }
    if (r == HV_OK || r == HV_MMIO)
        return r;
    e->busy |= r == HV_AGAIN;
    return HV_UNSUPPORTED;
}

/* One device access. at: any gpa of the page, from gmem. */
static enum hv_err mem_device(struct emu *e, gva_t va, gpa_t at, unsigned n, bool write,
                              uint64_t *value)
{
    struct vio io = {.cpu = e->s->cpu,
                     .addr = (at.v & ~PAGE_MASK) | (va.v & PAGE_MASK),
                     .size = (uint8_t)n,
                     .write = write};

    if (!mem_one_page(va, n)) {
        struct emu_span s;
        TRY(emu_span_open(e, va, n, write, &s));
        if (write) {
            emu_span_write(e, &s, 0, value, n);
        } else {
            *value = 0;
            emu_span_read(e, &s, 0, value, n);
        }
        return HV_OK;
    }
    if (emu_is_own_device(e, at))
        return HV_UNSUPPORTED;
    io.value = write ? *value & emu_size_mask(n) : 0;
    e->s->calm = false;
    (void)vbus_mmio(vpc_bus(e->s->vm->pc), &io);
    if (!write)
        *value = io.value & emu_size_mask(n);
    return HV_OK;
}

enum hv_err emu_read(struct emu *e, gva_t va, unsigned n, uint64_t *out)
{
    struct guest_fault f = {0};
    uint64_t v = 0;
    gpa_t at = {0};

    enum hv_err r = gmem_read(&e->s->mmu, va, &v, n, e->access, &f, &at);
    r = emu_mem_result(e, r, &f);
    if (r == HV_MMIO)
        return mem_device(e, va, at, n, false, out);
    if (r == HV_OK)
        *out = v & emu_size_mask(n);
    return r;
}

/* An exchange that no atomic access can make, of at least one byte of a device: a read, then
 * a write. All RAM: the guest does it itself. */
static enum hv_err mem_crossing(struct emu *e, gva_t va, unsigned n, struct emu_span *s,
                                uint64_t *old)
{
    TRY(emu_span_open(e, va, n, true, s));
    if (s->ram[0] && (s->ram[1] || !s->len[1]))
        return HV_UNSUPPORTED;
    *old = 0;
    emu_span_read(e, s, 0, old, n);
    return HV_OK;
}

enum hv_err emu_exchange(struct emu *e, gva_t va, unsigned n, uint64_t value, uint64_t *old)
{
    struct guest_fault f = {0};
    struct emu_span s;
    gpa_t at = {0};

    if ((va.v & 7) + n > 8) {
        TRY(mem_crossing(e, va, n, &s, old));
        emu_span_write(e, &s, 0, &value, n);
        return HV_OK;
    }
    enum hv_err r = gmem_xchg(&e->s->mmu, va, n, value & emu_size_mask(n), e->access, old, &f, &at);
    r = emu_mem_result(e, r, &f);
    if (r != HV_MMIO)
        return r;
    TRY(mem_device(e, va, at, n, false, old));
    return mem_device(e, va, at, n, true, &value);
}

/* A store that stays inside one 8-byte granule is one exchange, other ones are bulk. */
enum hv_err emu_write(struct emu *e, gva_t va, unsigned n, uint64_t value)
{
    struct guest_fault f = {0};
    uint64_t old;
    gpa_t at = {0};
    enum hv_err r;

    if ((va.v & 7) + n <= 8)
        r = gmem_xchg(&e->s->mmu, va, n, value & emu_size_mask(n), e->access, &old, &f, &at);
    else
        r = gmem_write(&e->s->mmu, va, &value, n, e->access, &f, &at);
    r = emu_mem_result(e, r, &f);
    return r == HV_MMIO ? mem_device(e, va, at, n, true, &value) : r;
}

enum hv_err emu_probe_write(struct emu *e, gva_t va, unsigned n, bool *ram)
{
    struct guest_fault f = {0};
    gva_t last = gva(va.v + n - 1);
    gpa_t at = {0};
    hpa_t h;
    enum hv_err r;

    r = emu_mem_result(e, mmu_translate(&e->s->mmu, va, e->access | PFEC_W, &at, &f), &f);
    if (r != HV_OK)
        return r == HV_MMIO ? HV_UNSUPPORTED : r;
    *ram = p2m_lookup(&e->s->p2m, at, &h);
    if (!*ram && emu_is_own_device(e, at))
        return HV_UNSUPPORTED;
    if (mem_one_page(va, n))
        return HV_OK;
    if (e->mode != 8)
        last.v &= 0xffffffffull;
    r = emu_mem_result(e, mmu_translate(&e->s->mmu, last, e->access | PFEC_W, &at, &f), &f);
    return r == HV_MMIO ? HV_UNSUPPORTED : r;
}

/* A device's registers are not atomic to other CPUs; its model takes its own lock for each access.
 */
static enum hv_err mem_rmw_device(struct emu *e, gva_t va, gpa_t at, unsigned n, emu_modify fn,
                                  uint64_t operand, uint64_t *old)
{
    uint64_t value;

    TRY(mem_device(e, va, at, n, false, old));
    value = fn(e, *old, operand);
    return mem_device(e, va, at, n, true, &value);
}

enum hv_err emu_rmw(struct emu *e, gva_t va, unsigned n, emu_modify fn, uint64_t operand,
                    uint64_t *old)
{
    struct guest_fault f = {0};
    uint64_t flags = e->rflags, seen = 0, found;
    gpa_t at = {0};
    bool ram, stored;

    /* First as a write: the page-fault error code of a read-modify-write says so. */
    TRY(emu_probe_write(e, va, n, &ram));
    enum hv_err r = emu_mem_result(e, gmem_read(&e->s->mmu, va, &seen, n, e->access, &f, &at), &f);
    if (r == HV_MMIO)
        return mem_rmw_device(e, va, at, n, fn, operand, old);
    if (r != HV_OK)
        return r;
    if ((va.v & 7) + n > 8)
        return HV_UNSUPPORTED; /* no atomic way to do it: the guest does it itself */
    for (unsigned i = 0; i < EMU_RMW_TRIES; i++) {
        e->rflags = flags;
        uint64_t value = fn(e, seen, operand) & emu_size_mask(n);
        TRY(emu_cmpxchg(e, va, n, seen, value, &found, &stored));
        if (stored) {
            *old = seen;
            return HV_OK;
        }
        seen = found;
    }
    return HV_UNSUPPORTED;
}

enum hv_err emu_cmpxchg(struct emu *e, gva_t va, unsigned n, uint64_t expected, uint64_t value,
                        uint64_t *old, bool *stored)
{
    struct guest_fault f = {0};
    struct emu_span s;
    gpa_t at = {0};

    if ((va.v & 7) + n > 8) {
        TRY(mem_crossing(e, va, n, &s, old));
        *stored = *old == (expected & emu_size_mask(n));
        if (*stored)
            emu_span_write(e, &s, 0, &value, n);
        return HV_OK;
    }
    enum hv_err r =
        gmem_cmpxchg(&e->s->mmu, va, n, expected, value, e->access, old, stored, &f, &at);
    r = emu_mem_result(e, r, &f);
    if (r != HV_MMIO)
        return r;
    TRY(mem_device(e, va, at, n, false, old));
    *stored = *old == expected;
    return *stored ? mem_device(e, va, at, n, true, &value) : HV_OK;
}
