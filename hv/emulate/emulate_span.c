/* SPDX-License-Identifier: BSD-2-Clause */
/* Operands wider than a register, or over two pages of which one may be a device's: every page is
 * checked before a byte moves. Tested by tools/tests/test_emulate.c and test_emulate_device.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/emulate/emulate_internal.h"
#include "hv/vm/vm.h"

#define DEVICE_BYTES 4u

bool emu_is_own_device(const struct emu *e, gpa_t at)
{
    hpa_t h;

    return p2m_device(&e->s->p2m, at, &h);
}

enum hv_err emu_span_open(struct emu *e, gva_t va, unsigned n, bool write, struct emu_span *s)
{
    size_t room = PAGE_SIZE - (size_t)(va.v & PAGE_MASK);
    struct guest_fault f = {0};
    hpa_t h;

    *s = (struct emu_span){.len = {n < room ? n : room}};
    s->len[1] = n - s->len[0];
    for (unsigned i = 0; i < 2 && s->len[i]; i++) {
        gva_t at = gva(va.v + (i ? s->len[0] : 0));
        if (e->mode != 8)
            at.v &= 0xffffffffull;
        enum hv_err r =
            mmu_translate(&e->s->mmu, at, e->access | (write ? PFEC_W : 0), &s->at[i], &f);
        TRY(emu_mem_result(e, r, &f));
        s->ram[i] = p2m_lookup(&e->s->p2m, s->at[i], &h);
        if (!s->ram[i] && emu_is_own_device(e, s->at[i]))
            return HV_UNSUPPORTED;
    }
    return HV_OK;
}

/* A device sees naturally aligned pieces of up to 4 bytes, the width of a PC's registers. */
static void span_device(struct emu *e, gpa_t at, uint8_t *buf, size_t n, bool write)
{
    while (n) {
        unsigned step = DEVICE_BYTES;
        while (step > n || (at.v & (step - 1)))
            step /= 2;
        struct vio io = {.cpu = e->s->cpu, .addr = at.v, .size = (uint8_t)step, .write = write};
        if (write)
            memcpy(&io.value, buf, step);
        e->s->calm = false;
        (void)vbus_mmio(vpc_bus(e->s->vm->pc), &io); /* unclaimed reads give all ones */
        if (!write)
            memcpy(buf, &io.value, step);
        at.v += step;
        buf += step;
        n -= step;
    }
}

/* Bytes [first, first + n) of the span to or from buf. */
static void span_copy(struct emu *e, const struct emu_span *s, size_t first, uint8_t *buf, size_t n,
                      bool write)
{
    for (unsigned i = 0; i < 2 && n; i++) {
        if (first >= s->len[i]) {
            first -= s->len[i];
            continue;
        }
        size_t step = n < s->len[i] - first ? n : s->len[i] - first;
        gpa_t at = gpa(s->at[i].v + first);
        enum hv_err r = HV_MMIO;
        if (s->ram[i])
            r = write ? gmem_write_gpa(&e->s->mmu, at, buf, step)
                      : gmem_read_gpa(&e->s->mmu, at, buf, step);
        if (r != HV_OK)
            span_device(e, at, buf, step, write);
        buf += step;
        n -= step;
        first = 0;
    }
}

void emu_span_read(struct emu *e, const struct emu_span *s, size_t first, void *buf, size_t n)
{
    span_copy(e, s, first, buf, n, false);
}

void emu_span_write(struct emu *e, const struct emu_span *s, size_t first, const void *buf,
                    size_t n)
{
    uint8_t piece[64];

    while (n) {
        size_t step = n < sizeof(piece) ? n : sizeof(piece);
        memcpy(piece, buf, step);
        span_copy(e, s, first, piece, step, true);
        buf = (const uint8_t *)buf + step;
        first += step;
        n -= step;
    }
}
