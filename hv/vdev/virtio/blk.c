/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio block device (VIRTIO 1.2, 5.2) on a boot module, read-only or with copy on write: pages
 * that were written to lie in an overlay of fixed size. Tested by tools/tests/test_virtio_dev.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vdev/virtio/devices.h"

#define CLASS_STORAGE 0x018000u
#define SECTOR 512u
#define BLK_F_SIZE_MAX BIT(1)
#define BLK_F_SEG_MAX BIT(2)
#define BLK_F_RO BIT(5)
#define BLK_F_BLK_SIZE BIT(6)
#define BLK_F_FLUSH BIT(9)
#define SEGMENT_MAX 65536u
#define SEGMENTS 30u /* a request of VIRTIO_BYTES at most: bounded work an exit */
#define REQUEST_MAX VIRTIO_BYTES

struct blk_config { /* 5.2.4, up to what was offered */
    uint64_t capacity;
    uint32_t size_max, seg_max;
    uint32_t geometry, blk_size;
};
_Static_assert(sizeof(struct blk_config) == 24, "block configuration");
struct blk_header { /* 5.2.6 */
    uint32_t type, reserved;
    uint64_t sector;
};
_Static_assert(sizeof(struct blk_header) == 16, "block request");
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8 };
enum { BLK_OK, BLK_IOERR, BLK_UNSUPP };

/* The page's bytes as they are now. */
static const uint8_t *page_of(const struct vblk *b, uint64_t page)
{
    uint32_t at = b->map ? b->map[page] : 0;
    return at ? b->overlay + (uint64_t)(at - 1) * PAGE_SIZE : b->base + page * PAGE_SIZE;
}

/* The page to be written to; NULL: the overlay is full. A page begins as the image's. */
static uint8_t *page_own(struct vblk *b, uint64_t page)
{
    static uint64_t said;
    if (!b->map[page]) {
        uint64_t at = page * PAGE_SIZE;
        size_t have = b->bytes - at < PAGE_SIZE ? (size_t)(b->bytes - at) : PAGE_SIZE;
        if (b->overlay_used == b->overlay_pages) {
            if (!b->full_said && log_ratelimit(&said))
                log_warn("virtio",
                         "%s: %u KiB of changes are all there is room for; give more by cow=",
                         b->id, b->overlay_pages * (PAGE_SIZE / 1024));
            b->full_said = true;
            return NULL;
        }
        memcpy(b->overlay + (uint64_t)b->overlay_used * PAGE_SIZE, b->base + at, have);
        b->map[page] = ++b->overlay_used;
    }
    return b->overlay + (uint64_t)(b->map[page] - 1) * PAGE_SIZE;
}

static bool request_fits(const struct vblk *b, uint64_t sector, uint64_t n)
{
    uint64_t at, end;
    return n % SECTOR == 0 && n <= REQUEST_MAX && !__builtin_mul_overflow(sector, SECTOR, &at) &&
           !__builtin_add_overflow(at, n, &end) && end <= b->bytes;
}

/* n bytes of the disk from `sector` into the chain, or out of it. HV_OK and *status. */
static enum hv_err move(struct vblk *b, const struct vmem *m, bool write, uint64_t sector,
                        uint64_t n, uint8_t *status)
{
    const struct virtq_chain *c = &b->dev.chain;
    uint64_t at = sector * SECTOR, done = 0;
    *status = BLK_IOERR;
    if (!request_fits(b, sector, n) || (write && b->read_only))
        return HV_OK;
    while (done < n) {
        uint64_t page = at / PAGE_SIZE, offset = at % PAGE_SIZE, left = n - done;
        size_t step = left < PAGE_SIZE - offset ? (size_t)left : (size_t)(PAGE_SIZE - offset);
        if (write) {
            uint8_t *to = page_own(b, page);
            if (!to)
                return HV_OK;
            TRY(virtq_read(c, m, sizeof(struct blk_header) + done, to + offset, step));
        } else {
            TRY(virtq_write(c, m, done, page_of(b, page) + offset, step));
        }
        at += step;
        done += step;
    }
    *status = BLK_OK;
    return HV_OK;
}

/* *filled: bytes written from the chain's first writable one on, before the status. */
static enum hv_err carry_out(struct vblk *b, const struct vmem *m, uint64_t room, uint64_t *filled,
                             uint8_t *status)
{
    const struct virtq_chain *c = &b->dev.chain;
    struct blk_header h;
    *status = BLK_IOERR;
    *filled = 0;
    if (c->read_bytes < sizeof(h))
        return HV_OK;
    TRY(virtq_read(c, m, 0, &h, sizeof(h)));
    switch (h.type) {
    case BLK_IN:
        TRY(move(b, m, false, h.sector, room, status));
        *filled = *status == BLK_OK ? room : 0;
        return HV_OK;
    case BLK_OUT:
        return move(b, m, true, h.sector, c->read_bytes - sizeof(h), status);
    case BLK_FLUSH:
        *status = BLK_OK; /* memory is all there is */
        return HV_OK;
    case BLK_GET_ID:
        *filled = room < sizeof(b->id) ? room : sizeof(b->id);
        *status = BLK_OK;
        return virtq_write(c, m, 0, b->id, (size_t)*filled);
    default:
        *status = BLK_UNSUPP;
        return HV_OK;
    }
}

static enum hv_err request(struct virtio *v, const struct vmem *m, unsigned q, uint64_t *bytes)
{
    struct vblk *b = v->back;
    uint64_t filled;
    uint8_t status;
    if (!v->chain.write_bytes) /* 5.2.6: the last byte is the status's */
        return HV_INVALID;
    uint64_t room = v->chain.write_bytes - 1;
    TRY(carry_out(b, m, room, &filled, &status));
    TRY(virtq_write(&v->chain, m, room, &status, 1));
    *bytes += room + v->chain.read_bytes;
    /* 2.7.8.2: so many bytes, from the first on, were written; the status counts only if nothing
     * before it was left out. */
    return virtq_push(&v->q[q], m, v->chain.head, (uint32_t)(filled == room ? room + 1 : filled));
}

static enum hv_err blk_queue(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q)
{
    return virtio_drain(v, m, from, q, VIRTIO_CHAINS, request);
}

static const struct virtio_ops blk_ops = {.queue = blk_queue};
#define BLK_FEATURES (BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH)
static const struct virtio_kind blk_kind = {.type = VIRTIO_BLK,
                                            .name = "disk",
                                            .class_code = CLASS_STORAGE,
                                            .nqueues = 1,
                                            .features = BLK_FEATURES,
                                            .ops = &blk_ops};
static const struct virtio_kind blk_kind_ro = {.type = VIRTIO_BLK,
                                               .name = "disk",
                                               .class_code = CLASS_STORAGE,
                                               .nqueues = 1,
                                               .features = BLK_FEATURES | BLK_F_RO,
                                               .ops = &blk_ops};

enum hv_err vblk_init(struct vblk *b, struct virtio_host *h, uint8_t devfn,
                      const struct vblk_image *image)
{
    struct blk_config config = {.capacity = image->bytes / SECTOR,
                                .size_max = SEGMENT_MAX,
                                .seg_max = SEGMENTS,
                                .blk_size = SECTOR};
    b->base = image->base;
    b->bytes = config.capacity * SECTOR;
    b->read_only = image->read_only;
    b->map = image->map;
    b->overlay = image->overlay;
    b->overlay_pages = image->overlay_pages;
    hv_snprintf(b->id, sizeof(b->id), "patchbay-disk%u", image->number);
    return virtio_init(&b->dev, h, image->read_only ? &blk_kind_ro : &blk_kind, devfn, &config,
                       sizeof(config), b);
}
