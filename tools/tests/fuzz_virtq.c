/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzz entry of the queues: guest memory is the input, and changes while it is read. Whatever a
 * driver writes, a chain taken is within its bounds, work ends, and nothing beyond the memory is
 * touched. Build with clang -fsanitize=fuzzer,address,undefined; tools/tests/test_virtq_random.c
 * runs the same entry on a bounded number of random inputs. Tested by that run. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "hv/vdev/virtio/virtq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_RAM 8192u
struct fuzz_ram {
    uint8_t byte[FUZZ_RAM];
    const uint8_t *data; /* what is left of the input: changes meanwhile */
    size_t left;
};

static void fuzz_require(bool cond)
{
    if (!cond)
        abort();
}

/* Another CPU of the guest stores something, as the input says. */
static void fuzz_meanwhile(struct fuzz_ram *r)
{
    if (r->left < 4 || (r->data[0] & 3))
        return;
    uint16_t at = (uint16_t)(r->data[1] | r->data[2] << 8);
    r->byte[at % FUZZ_RAM] = r->data[3];
    r->data += 4;
    r->left -= 4;
}

static enum hv_err fuzz_read(void *ctx, gpa_t at, void *buf, size_t n)
{
    struct fuzz_ram *r = ctx;
    fuzz_meanwhile(r);
    if (at.v > FUZZ_RAM || n > FUZZ_RAM - at.v)
        return HV_RANGE;
    memcpy(buf, r->byte + at.v, n);
    return HV_OK;
}
static enum hv_err fuzz_write(void *ctx, gpa_t at, const void *buf, size_t n)
{
    struct fuzz_ram *r = ctx;
    if (at.v > FUZZ_RAM || n > FUZZ_RAM - at.v)
        return HV_RANGE;
    memcpy(r->byte + at.v, buf, n);
    return HV_OK;
}
static enum hv_err fuzz_store(void *ctx, gpa_t at, unsigned width, uint64_t value)
{
    fuzz_require(width == 2 || width == 4 || width == 8);
    return at.v & (width - 1) ? HV_RANGE : fuzz_write(ctx, at, &value, width);
}

static void fuzz_chain(const struct vmem *m, const struct virtq *q, const struct virtq_chain *c)
{
    uint8_t buf[64];
    uint64_t sum = 0;
    fuzz_require(c->nread + c->nwrite >= 1 && c->nread + c->nwrite <= q->size);
    for (unsigned i = 0; i < c->nread + c->nwrite; i++)
        sum += c->seg[i].len;
    fuzz_require(sum == c->read_bytes + c->write_bytes);
    size_t n = c->read_bytes < sizeof(buf) ? (size_t)c->read_bytes : sizeof(buf);
    enum hv_err r = virtq_read(c, m, c->read_bytes - n, buf, n);
    fuzz_require(r == HV_OK || r == HV_INVALID);
    fuzz_require(virtq_read(c, m, c->read_bytes, buf, 1) == HV_RANGE);
    memset(buf, 0, sizeof(buf));
    n = c->write_bytes < sizeof(buf) ? (size_t)c->write_bytes : sizeof(buf);
    r = virtq_write(c, m, 0, buf, n);
    fuzz_require(r == HV_OK || r == HV_INVALID);
    fuzz_require(virtq_write(c, m, c->write_bytes, buf, 1) == HV_RANGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_ram ram;
    static struct virtq_chain c;
    const struct vmem m = {
        .ctx = &ram, .read = fuzz_read, .write = fuzz_write, .store = fuzz_store};
    if (size < 8)
        return 0;
    memset(ram.byte, 0, sizeof(ram.byte));
    size_t n = size - 8 < FUZZ_RAM ? size - 8 : FUZZ_RAM;
    memcpy(ram.byte, data + 8, n);
    ram.data = data + 8 + n / 2;
    ram.left = n - n / 2;
    struct virtq q = {.max = VIRTQ_MAX,
                      .size = (uint16_t)(1u << (data[0] & 7)),
                      .enabled = true,
                      .desc = data[1] * 16u,
                      .avail = 2048u + data[2] * 2u,
                      .used = 4096u + data[3] * 4u};
    virtq_start(&q, data[4] & 1, data[4] & 2);
    for (unsigned i = 0; i < 200; i++) {
        uint16_t before = q.next_avail;
        bool want;
        enum hv_err r = virtq_next(&q, &m, &c);
        fuzz_require(r == HV_OK || r == HV_AGAIN || r == HV_INVALID);
        if (r != HV_OK) {
            fuzz_require(q.next_avail == before);
            break;
        }
        fuzz_chain(&m, &q, &c);
        if (virtq_push(&q, &m, c.head, 1) != HV_OK || virtq_wants(&q, &m, &want) != HV_OK)
            break;
    }
    return 0;
}
