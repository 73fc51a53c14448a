/* SPDX-License-Identifier: BSD-2-Clause */
/* ModRM, SIB and displacement, with 16-, 32- and 64-bit addressing: APM volume 3 1.4 "ModRM and SIB
 * Bytes". Tested by tools/tests/test_decode.c. */
#include "hv/insn/decode_internal.h"

enum hv_err decode_int(struct decoder *d, unsigned nbytes, uint64_t *out)
{
    uint64_t v = 0;
    uint8_t b = 0;

    for (unsigned i = 0; i < nbytes; i++) {
        TRY(decode_u8(d, &b));
        v |= (uint64_t)b << (8 * i);
    }
    if (nbytes < 8 && (b & 0x80))
        v |= ~0ull << (8 * nbytes);
    *out = v;
    return HV_OK;
}

static enum hv_err decode_disp(struct decoder *d, unsigned nbytes)
{
    uint64_t v = 0;

    if (nbytes)
        TRY(decode_int(d, nbytes, &v));
    d->in->disp = (int64_t)v;
    return HV_OK;
}

static enum hv_err decode_modrm16(struct decoder *d)
{
    static const uint8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t index[8] = {RSI,           RDI,           RSI,           RDI,
                                     DECODE_NO_REG, DECODE_NO_REG, DECODE_NO_REG, DECODE_NO_REG};
    unsigned mod = modrm_mod(d->modrm), rm = modrm_rm(d->modrm);
    struct insn *in = d->in;

    if (mod == 0 && rm == 6)
        return decode_disp(d, 2);
    in->base = base[rm];
    in->index = index[rm];
    if (in->base == RBP)
        in->segment = SEG_SS;
    return decode_disp(d, mod == 0 ? 0 : mod);
}

/* The SIB byte. *disp32: a 32-bit displacement replaces the base. */
static enum hv_err decode_sib(struct decoder *d, bool *disp32)
{
    struct insn *in = d->in;
    uint8_t sib;

    TRY(decode_u8(d, &sib));
    unsigned index = modrm_reg(sib) | (in->rex & REX_X ? 8u : 0u);
    unsigned base = modrm_rm(sib);

    if (index != RSP) {
        in->index = (uint8_t)index;
        in->scale = (uint8_t)(1u << modrm_mod(sib));
    }
    *disp32 = base == RBP && modrm_mod(d->modrm) == 0;
    if (!*disp32)
        in->base = (uint8_t)(base | (in->rex & REX_B ? 8u : 0u));
    return HV_OK;
}

static enum hv_err decode_modrm32(struct decoder *d)
{
    unsigned mod = modrm_mod(d->modrm), rm = modrm_rm(d->modrm);
    struct insn *in = d->in;
    bool disp32 = false;

    if (rm == RSP) {
        TRY(decode_sib(d, &disp32));
    } else if (rm == RBP && mod == 0) {
        /* APM volume 3 1.7 "RIP-Relative Addressing": only this encoding, only in 64-bit mode. */
        disp32 = true;
        in->rip_relative = d->mode == 8;
    } else {
        in->base = (uint8_t)(rm | (in->rex & REX_B ? 8u : 0u));
    }
    if (in->base == RSP || in->base == RBP)
        in->segment = SEG_SS;
    if (disp32 || mod == 2)
        return decode_disp(d, 4);
    return decode_disp(d, mod);
}

enum hv_err decode_modrm(struct decoder *d)
{
    TRY(decode_u8(d, &d->modrm));
    d->have_modrm = true;
    /* MOV CR and DR name registers whatever ModRM.mod says. */
    if (modrm_mod(d->modrm) == 3 || d->d.form == FORM_CR)
        return HV_OK;
    return d->in->addrsize == 2 ? decode_modrm16(d) : decode_modrm32(d);
}
