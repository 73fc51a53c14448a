/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio entropy device (VIRTIO 1.2, 5.4): the processor's numbers, or a generator's where it has
 * none. Tested by tools/tests/test_virtio_dev.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/vdev/virtio/devices.h"

#define CLASS_OTHER 0xff0000u
#define RNG_BYTES 256u /* at most of them a buffer; a driver asks again */
#define RNG_CHAINS 16u

/* --- the generator: RFC 8439, 2.3 "The ChaCha20 Block Function" --- */

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static void quarter(uint32_t *x, unsigned a, unsigned b, unsigned c, unsigned d)
{
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 7);
}

static void block(struct vrng *r, uint32_t out[16])
{
    static const uint32_t head[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    uint32_t in[16];
    memcpy(in, head, sizeof(head));
    memcpy(in + 4, r->key, sizeof(r->key));
    memset(in + 12, 0, 16);
    memcpy(in + 12, &r->counter, sizeof(r->counter));
    r->counter++;
    memcpy(out, in, sizeof(in));
    for (unsigned i = 0; i < 10; i++) {
        quarter(out, 0, 4, 8, 12), quarter(out, 1, 5, 9, 13);
        quarter(out, 2, 6, 10, 14), quarter(out, 3, 7, 11, 15);
        quarter(out, 0, 5, 10, 15), quarter(out, 1, 6, 11, 12);
        quarter(out, 2, 7, 8, 13), quarter(out, 3, 4, 9, 14);
    }
    for (unsigned i = 0; i < 16; i++)
        out[i] += in[i];
}

/* Times that differ from boot to boot, and the jitter between them. */
static void seed(struct vrng *r)
{
    uint64_t tsc, s = port_boot_time_s(&tsc);
    for (unsigned i = 0; i < 64; i++) {
        s = s * 6364136223846793005ull + (port_tsc() ^ tsc) + i;
        r->key[i % 8] = rotate(r->key[i % 8], 5) ^ (uint32_t)(s >> 32);
        port_relax();
    }
    r->seeded = true;
}

static void fill(struct vrng *r, uint8_t *buf, size_t n)
{
    uint32_t out[16];
    while (n) {
        size_t step = n < sizeof(out) ? n : sizeof(out);
        bool real = !r->seeded;
        for (unsigned i = 0; i < 8 && real; i++) {
            uint64_t v = 0;
            real = port_random(&v);
            memcpy(out + 2 * (size_t)i, &v, sizeof(v));
        }
        if (!real) { /* it may fail for a time: what it gave last seeds */
            if (!r->seeded)
                seed(r);
            block(r, out);
        }
        memcpy(buf, out, step);
        buf += step;
        n -= step;
    }
}

static enum hv_err give(struct virtio *v, const struct vmem *m, unsigned q, uint64_t *bytes)
{
    uint8_t buf[RNG_BYTES];
    uint64_t room = v->chain.write_bytes;
    uint32_t n = room < sizeof(buf) ? (uint32_t)room : (uint32_t)sizeof(buf);
    fill(v->back, buf, n);
    *bytes += n;
    TRY(virtq_write(&v->chain, m, 0, buf, n));
    return virtq_push(&v->q[q], m, v->chain.head, n);
}

static enum hv_err rng_queue(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    return virtio_drain(v, m, from, q, RNG_CHAINS, give);
}

static const struct virtio_ops rng_ops = {.queue = rng_queue};
static const struct virtio_kind rng_kind = {.type = VIRTIO_RNG,
                                            .name = "entropy",
                                            .class_code = CLASS_OTHER,
                                            .nqueues = 1,
                                            .ops = &rng_ops};

enum hv_err vrng_init(struct vrng *r, struct virtio_host *h, uint8_t devfn)
{
    uint64_t v;
    if (port_random(&v)) {
        log_info("virtio", "entropy device: numbers of RDRAND");
    } else {
        seed(r);
        log_warn("virtio",
                 "entropy device: no RDRAND here; numbers of a generator seeded by clocks, "
                 "which somebody who knows the time of boot may guess");
    }
    return virtio_init(&r->dev, h, &rng_kind, devfn, NULL, 0, r);
}
