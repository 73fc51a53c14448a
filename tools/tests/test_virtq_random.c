/* SPDX-License-Identifier: BSD-2-Clause */
/* The fuzz entry of the queues on random inputs, half of which look like rings. */
#include "tools/tests/fuzz_virtq.c"
#include "tools/tests/tap.h"

int main(int argc, char **argv)
{
    static uint8_t in[8 + 3000];
    unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 30000;
    srandom(1);
    for (unsigned i = 0; i < runs; i++) {
        for (size_t k = 0; k < sizeof(in); k++)
            in[k] = (uint8_t)(random() % 7 ? 0 : random());
        if (i % 2) { /* descriptors in a row, an index that fits */
            unsigned size = 1u << (in[0] & 7);
            in[1] = 0;
            for (unsigned d = 0; d < size && 16 * d + 32 < sizeof(in); d++) {
                uint8_t *at = in + 8 + 16 * d;
                at[0] = (uint8_t)random();
                at[1] = (uint8_t)(random() % 33);
                memset(at + 2, 0, 6);
                at[8] = (uint8_t)random();
                memset(at + 9, 0, 3);
                at[12] = (uint8_t)(random() % 5);
                at[13] = 0;
                at[14] = (uint8_t)(random() % size);
                at[15] = 0;
            }
            in[8 + 2048 + in[2] * 2 + 2] = (uint8_t)(random() % (size + 1));
            in[8 + 2048 + in[2] * 2 + 3] = 0;
        }
        (void)LLVMFuzzerTestOneInput(in, sizeof(in));
    }
    tap_ok(true, "%u inputs", runs);
    return tap_done();
}
