/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzz entry of the instruction decoder: for any bytes its result keeps the promises of decode.h.
 * Build with clang -fsanitize=fuzzer,address,undefined together with hv/insn/decode*.c;
 * tools/tests/test_decode.c runs the same entry on a bounded number of random inputs. Tested by
 * that run. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "hv/insn/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_require(bool cond)
{
    if (!cond)
        abort();
}

static void fuzz_one_mode(const uint8_t *data, size_t n, unsigned mode)
{
    struct insn in, again;
    uint8_t padded[15];
    enum hv_err r = insn_decode(data, n, mode, &in);

    fuzz_require(r == HV_OK || r == HV_RANGE || r == HV_INVALID || r == HV_UNSUPPORTED);
    if (r != HV_OK)
        return;
    fuzz_require(in.length >= 1 && in.length <= n);
    fuzz_require(in.op <= INSN_UD2 && in.segment <= SEG_GS);
    fuzz_require(in.addrsize == 2 || in.addrsize == 4 || in.addrsize == 8);
    fuzz_require(in.base < 16 || in.base == 0xff);
    fuzz_require((in.index < 16 && in.index != RSP) || in.index == 0xff);
    fuzz_require(in.scale == 1 || in.scale == 2 || in.scale == 4 || in.scale == 8);
    fuzz_require(in.dst_reg < 16 && in.src_reg < 16 && in.cond < 16);
    fuzz_require(in.map <= 3 || in.map == MAP_OTHER);
    fuzz_require(in.simd <= SIMD_F2);
    struct insn_extent x;
    if (insn_extent(&in, mode, &x)) {
        fuzz_require(x.at <= EXTENT_XLAT && x.size <= 512 && x.delta >= -64 && x.delta <= 0);
        fuzz_require(x.size || (x.access & EXTENT_XSTATE));
        fuzz_require(!(x.access & EXTENT_PART) || (x.access & EXTENT_W));
    }
    fuzz_require(!in.rip_relative || (in.base == 0xff && in.index == 0xff));
    /* The bytes behind the instruction do not matter, and one byte less is not an instruction. */
    memset(padded, 0xa5, sizeof(padded));
    memcpy(padded, data, in.length);
    fuzz_require(insn_decode(padded, sizeof(padded), mode, &again) == HV_OK);
    fuzz_require(memcmp(&in, &again, sizeof(in)) == 0);
    for (size_t k = 1; k < in.length; k++)
        fuzz_require(insn_decode(data, k, mode, &again) == HV_RANGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t copy[15];
    size_t n = size < sizeof(copy) ? size : sizeof(copy);

    if (n == 0)
        return 0;
    memcpy(copy, data, n);
    for (unsigned mode = 2; mode <= 8; mode *= 2)
        fuzz_one_mode(copy, n, mode);
    return 0;
}
