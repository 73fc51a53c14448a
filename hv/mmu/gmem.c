/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory for the emulator. Every store goes through the producer, so traced frames are posted
 * whoever writes them. Tested by tools/tests/test_mmu.c. */
#include "hv/mmu/gmem.h"
#include "hv/mmu/internal.h"

/* Host pointers of the one or two pages [va, va + n) lies in; n <= 64. */
struct span {
    uint8_t *host[2];
    gpa_t at[2];
    size_t len[2];
};

static enum hv_err span_map(struct mmu *m, gva_t va, size_t n, uint32_t access, struct span *s,
                            struct guest_fault *fault, gpa_t *at)
{
    size_t room = PAGE_SIZE - (size_t)(va.v & PAGE_MASK);

    s->len[0] = n < room ? n : room;
    s->len[1] = n - s->len[0];
    for (unsigned i = 0; i < 2 && s->len[i]; i++) {
        TRY(mmu_translate(m, gva(va.v + (i ? s->len[0] : 0)), access, &s->at[i], fault));
        s->host[i] = p2m_ptr(m->cfg.p2m, s->at[i]);
        if (!s->host[i]) {
            *at = s->at[i];
            return HV_MMIO;
        }
    }
    return HV_OK;
}

/* Reads in the largest aligned pieces, each atomically; hostile stores may come between pieces.
 * Acquire: a device follows an index that the guest stored behind what it stands for. */
static void copy_out(uint8_t *buf, const uint8_t *src, size_t n)
{
    while (n) {
        uintptr_t a = (uintptr_t)src;
        size_t step = 1;
        if (n >= 8 && !(a & 7)) {
            uint64_t v = __atomic_load_n((const uint64_t *)(const void *)src, __ATOMIC_ACQUIRE);
            memcpy(buf, &v, step = 8);
        } else if (n >= 4 && !(a & 3)) {
            uint32_t v = __atomic_load_n((const uint32_t *)(const void *)src, __ATOMIC_ACQUIRE);
            memcpy(buf, &v, step = 4);
        } else if (n >= 2 && !(a & 1)) {
            uint16_t v = __atomic_load_n((const uint16_t *)(const void *)src, __ATOMIC_ACQUIRE);
            memcpy(buf, &v, step = 2);
        } else {
            *buf = __atomic_load_n(src, __ATOMIC_ACQUIRE);
        }
        buf += step;
        src += step;
        n -= step;
    }
}

/* Stores in the largest naturally aligned pieces; each is one entry's atomic exchange and post. */
static void store_pieces(struct mmu *m, gpa_t at, uint8_t *host, const uint8_t *src, size_t n)
{
    while (n) {
        unsigned step = 8;
        uint64_t v = 0;
        while (step > n || (at.v & (step - 1)))
            step /= 2;
        memcpy(&v, src, step);
        (void)producer_exchange(m->coh, at, host, step, v);
        at.v += step;
        host += step;
        src += step;
        n -= step;
    }
}

enum hv_err gmem_read(struct mmu *m, gva_t va, void *buf, size_t n, uint32_t access,
                      struct guest_fault *fault, gpa_t *at)
{
    struct span s = {0};

    if (n == 0 || n > 64)
        return HV_RANGE;
    TRY(span_map(m, va, n, access & ~(uint32_t)PFEC_W, &s, fault, at));
    copy_out(buf, s.host[0], s.len[0]);
    if (s.len[1])
        copy_out((uint8_t *)buf + s.len[0], s.host[1], s.len[1]);
    return HV_OK;
}

enum hv_err gmem_write(struct mmu *m, gva_t va, const void *buf, size_t n, uint32_t access,
                       struct guest_fault *fault, gpa_t *at)
{
    struct span s = {0};

    if (n == 0 || n > 64)
        return HV_RANGE;
    TRY(span_map(m, va, n, access | PFEC_W, &s, fault, at));
    store_pieces(m, s.at[0], s.host[0], buf, s.len[0]);
    if (s.len[1])
        store_pieces(m, s.at[1], s.host[1], (const uint8_t *)buf + s.len[0], s.len[1]);
    return HV_OK;
}

bool gmem_store_entry(struct mmu *m, gpa_t at, uint64_t value)
{
    void *host = p2m_ptr(m->cfg.p2m, at);

    if (!host || (at.v & 7))
        return false;
    if (producer_exchange_own(m->coh, at, host, value))
        repair_own(m, at);
    return true;
}

static enum hv_err one_granule(struct mmu *m, gva_t va, unsigned width, uint32_t access,
                               struct span *s, struct guest_fault *fault, gpa_t *at)
{
    if ((width & (width - 1)) || width == 0 || width > 8)
        return HV_RANGE;
    if ((va.v & 7) + width > 8)
        return HV_UNSUPPORTED;
    return span_map(m, va, width, access | PFEC_W, s, fault, at);
}

enum hv_err gmem_cmpxchg(struct mmu *m, gva_t va, unsigned width, uint64_t expected, uint64_t value,
                         uint32_t access, uint64_t *old, bool *stored, struct guest_fault *fault,
                         gpa_t *at)
{
    struct span s = {0};

    TRY(one_granule(m, va, width, access, &s, fault, at));
    *stored = producer_cmpxchg(m->coh, s.at[0], s.host[0], width, expected, value, old);
    return HV_OK;
}

enum hv_err gmem_xchg(struct mmu *m, gva_t va, unsigned width, uint64_t value, uint32_t access,
                      uint64_t *old, struct guest_fault *fault, gpa_t *at)
{
    struct span s = {0};

    TRY(one_granule(m, va, width, access, &s, fault, at));
    *old = producer_exchange(m->coh, s.at[0], s.host[0], width, value);
    return HV_OK;
}

static enum hv_err ram_range(struct mmu *m, gpa_t at, size_t n)
{
    uint64_t end;
    if (__builtin_add_overflow(at.v, n, &end))
        return HV_RANGE;
    for (uint64_t a = at.v; a < end; a = (a & ~PAGE_MASK) + PAGE_SIZE)
        if (!p2m_ptr(m->cfg.p2m, gpa(a)))
            return HV_RANGE;
    return HV_OK;
}

enum hv_err gmem_read_gpa(struct mmu *m, gpa_t at, void *buf, size_t n)
{
    uint8_t *out = buf;

    TRY(ram_range(m, at, n));
    while (n) {
        size_t room = PAGE_SIZE - (size_t)(at.v & PAGE_MASK);
        size_t step = n < room ? n : room;
        copy_out(out, p2m_ptr(m->cfg.p2m, at), step);
        out += step;
        at.v += step;
        n -= step;
    }
    return HV_OK;
}

enum hv_err gmem_write_gpa(struct mmu *m, gpa_t at, const void *buf, size_t n)
{
    const uint8_t *src = buf;

    TRY(ram_range(m, at, n));
    while (n) {
        size_t room = PAGE_SIZE - (size_t)(at.v & PAGE_MASK);
        size_t step = n < room ? n : room;
        producer_store(m->coh, at, p2m_ptr(m->cfg.p2m, at), src, step);
        src += step;
        at.v += step;
        n -= step;
    }
    return HV_OK;
}

enum hv_err gmem_store_gpa(struct mmu *m, gpa_t at, unsigned width, uint64_t value)
{
    if (!width || width > 8 || (width & (width - 1)) || (at.v & (width - 1)))
        return HV_RANGE;
    void *host = p2m_ptr(m->cfg.p2m, at);
    if (!host)
        return HV_RANGE;
    (void)producer_exchange(m->coh, at, host, width, value);
    return HV_OK;
}

enum hv_err gmem_xchg_gpa(struct mmu *m, gpa_t at, uint8_t value, uint8_t *old)
{
    TRY(ram_range(m, at, 1));
    *old = (uint8_t)producer_exchange(m->coh, at, p2m_ptr(m->cfg.p2m, at), 1, value);
    return HV_OK;
}
