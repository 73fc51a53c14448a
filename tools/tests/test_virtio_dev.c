/* SPDX-License-Identifier: BSD-2-Clause */
/* The entropy device, the console and the disk, driven as a driver and as an attacker would. */
#include "hv/base/log.h"
#include "tools/tests/virtio_rig.h"

static struct vrng rng;
static struct vconsole con;
static struct vblk blk;
static struct ring r0, r1;

static void start(struct virtio *v)
{
    tap_eq(vpc_pci_add(&pc, &v->fn), HV_OK, "on the bus");
    negotiate(v, VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC);
    r0 = ring_at(0x10000, 8);
    queue_up(v, 0, &r0);
    if (v->kind->nqueues > 1) {
        r1 = ring_at(0x20000, 8);
        queue_up(v, 1, &r1);
    }
    driver_ok(v);
}

/* --- entropy --- */

static void test_rng(bool real)
{
    uint32_t head, len;
    rig_virtio(1);
    fake_has_random = real;
    tap_eq(vrng_init(&rng, &host, PCI_DEVFN(2, 0)), HV_OK, "entropy device");
    tap_ok(!strstr(fake_console(), "no RDRAND") == real, "says where its numbers come from");
    start(&rng.dev);
    desc_set(r0.desc, 0, 0x40000, 64, D_WRITE, 0);
    desc_set(r0.desc, 1, 0x41000, 100000, D_WRITE, 0);
    desc_set(r0.desc, 2, 0x42000, 64, 0, 0);
    offer(&r0, 0), offer(&r0, 1), offer(&r0, 2);
    kick(&rng.dev, 0);
    tap_ok(reap(&r0, &head, &len) && head == 0 && len == 64, "64 bytes");
    unsigned zeros = 0;
    for (unsigned i = 0; i < 64; i++)
        zeros += !ram[0x40000 + i];
    tap_ok(zeros < 8, "of something");
    tap_ok(reap(&r0, &head, &len) && len > 0 && len < 1000, "a large buffer gets some");
    tap_ok(memcmp(ram + 0x40000, ram + 0x41000, 64) != 0, "others");
    tap_ok(reap(&r0, &head, &len) && len == 0, "one that is not writable none");
    tap_ok(ram[0x41000 + 1000] == 0 && ram[0x42000] == 0, "nothing beyond");
}

/* RFC 8439, 2.3.2 "Test Vector for the ChaCha20 Block Function": nonce and counter are one number
 * here, so the zero-key vector of its appendix A.1 (#1) is compared. */
static void test_generator(void)
{
    static const uint8_t want[8] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90};
    rig_virtio(1);
    fake_has_random = false;
    tap_eq(vrng_init(&rng, &host, PCI_DEVFN(2, 0)), HV_OK, "entropy device");
    memset(rng.key, 0, sizeof(rng.key));
    rng.counter = 0;
    start(&rng.dev);
    desc_set(r0.desc, 0, 0x40000, 8, D_WRITE, 0);
    offer(&r0, 0);
    kick(&rng.dev, 0);
    tap_ok(memcmp(ram + 0x40000, want, 8) == 0, "ChaCha20 of a zero key");
}

/* --- console --- */

static void out(void *ctx, const char *text, size_t n)
{
    tap_ok(ctx == &con, "text of this console");
    log_guest(text, n);
}

static void test_console(void)
{
    uint32_t head, len;
    rig_virtio(2);
    tap_eq(vconsole_init(&con, &host, PCI_DEVFN(2, 0), out, &con), HV_OK, "console");
    tap_ok(!vconsole_listens(&con), "nobody listens yet");
    start(&con.dev);
    tap_ok(vconsole_listens(&con), "a driver does");
    fake_console_clear();
    memcpy(ram + 0x40000, "hello, ", 7);
    memcpy(ram + 0x41000, "world\n", 6);
    desc_set(r1.desc, 0, 0x40000, 7, D_NEXT, 1);
    desc_set(r1.desc, 1, 0x41000, 6, 0, 0);
    offer(&r1, 0);
    kick(&con.dev, 1);
    tap_str(fake_console(), "hello, world\n", "put out");
    tap_ok(reap(&r1, &head, &len) && head == 0 && len == 0, "nothing was written");
    /* more than a turn: by and by */
    memset(ram + 0x40000, 'x', 0x8000);
    desc_set(r1.desc, 0, 0x40000, 0x8000, 0, 0);
    offer(&r1, 0);
    fake_console_clear();
    reg_w(&con.dev, VIRTIO_NOTIFY_AT + 4, 2, 1);
    tap_ok(run(0) && fake_console_len() <= 2048 && !reap(&r1, &head, &len), "a turn");
    while (run(0))
        ;
    tap_ok(fake_console_len() == 0x8000 && reap(&r1, &head, &len), "all of it in the end");
    /* input */
    desc_set(r0.desc, 0, 0x50000, 4, D_WRITE, 0);
    tap_ok(vconsole_input(&con, 'a') && vconsole_input(&con, 'b'), "keys");
    (void)run(0);
    tap_ok(!reap(&r0, &head, &len), "wait for a buffer");
    offer(&r0, 0);
    kick(&con.dev, 0);
    tap_ok(reap(&r0, &head, &len) && len == 2 && !memcmp(ram + 0x50000, "ab", 2), "and reach it");
    unsigned n = 0;
    while (n < 10000 && vconsole_input(&con, 'k'))
        n++;
    tap_eq(n, VCONSOLE_FIFO, "so many wait");
    co.pcpu[1] = 1;
    coherency_give(&co);
    (void)actions(0);
    offer(&r0, 0);
    kick(&con.dev, 0);
    tap_eq(actions(0) & ACTION_INPUT, ACTION_INPUT, "whoever was refused is told of room");
    reg_w(&con.dev, 0x14, 1, 0);
    (void)run(0);
    tap_ok(!vconsole_listens(&con), "a reset: nobody listens");
}

/* --- disk --- */

#define SECTORS 100u
static uint8_t image[SECTORS * 512 + 100];
static uint32_t map[16];
static uint8_t overlay[3 * 4096];

static void disk(bool read_only)
{
    rig_virtio(1);
    for (unsigned i = 0; i < sizeof(image); i++)
        image[i] = (uint8_t)(i / 512 + 1);
    memset(map, 0, sizeof(map));
    memset(overlay, 0xdd, sizeof(overlay));
    tap_eq(vblk_init(&blk, &host, PCI_DEVFN(2, 0),
                     &(struct vblk_image){.base = image,
                                          .bytes = sizeof(image),
                                          .read_only = read_only,
                                          .map = read_only ? NULL : map,
                                          .overlay = read_only ? NULL : overlay,
                                          .overlay_pages = read_only ? 0 : 3,
                                          .number = 0}),
           HV_OK, "disk");
    start(&blk.dev);
}

/* A request with its data at 60000; returns the status, *used the length told. */
static unsigned request(uint32_t type, uint64_t sector, uint32_t bytes, uint32_t *used)
{
    uint32_t head;
    bool in = type == 0 || type == 8;
    memcpy(ram + 0x40000, &type, 4);
    memcpy(ram + 0x40008, &sector, 8);
    ram[0x41000] = 0xff;
    desc_set(r0.desc, 0, 0x40000, 16, D_NEXT, bytes ? 1 : 2);
    desc_set(r0.desc, 1, 0x60000, bytes, D_NEXT | (in ? D_WRITE : 0), 2);
    desc_set(r0.desc, 2, 0x41000, 1, D_WRITE, 0);
    offer(&r0, 0);
    kick(&blk.dev, 0);
    *used = 0xdead;
    if (!reap(&r0, &head, used))
        return 0x100;
    return ram[0x41000];
}

static void test_disk(void)
{
    uint32_t used;
    disk(false);
    tap_eq(reg_r(&blk.dev, VIRTIO_CONFIG_AT, 8), SECTORS, "whole sectors only");
    tap_ok(request(0, 7, 1024, &used) == 0 && used == 1025, "read: data and status");
    tap_ok(ram[0x60000] == 8 && ram[0x60000 + 1023] == 9, "the image's bytes");
    tap_ok(request(0, SECTORS - 1, 512, &used) == 0 && ram[0x60000] == SECTORS, "the last sector");
    tap_ok(request(0, SECTORS - 1, 1024, &used) == 1 && used == 0, "not beyond it");
    tap_ok(request(0, ~0ull / 512, 512, &used) == 1, "nor far beyond");
    tap_ok(request(0, ~0ull, 512, &used) == 1, "nor where numbers wrap");
    tap_ok(request(0, 0, 100, &used) == 1, "whole sectors");
    memset(ram + 0x60000, 0xab, 4096);
    tap_ok(request(1, 9, 1536, &used) == 0 && used == 1, "write: the status");
    tap_ok(image[9 * 512] == 10, "the image stays as it was");
    tap_eq(blk.overlay_used, 1, "a page of changes");
    tap_ok(request(0, 8, 2048, &used) == 0 && ram[0x60000] == 9 && ram[0x60000 + 512] == 0xab &&
               ram[0x60000 + 2047] == 0xab,
           "read back, with what was around it");
    tap_ok(request(0, 12, 512, &used) == 0 && ram[0x60000] == 13, "behind it the image");
    tap_ok(request(4, 0, 0, &used) == 0 && used == 1, "flush");
    tap_ok(request(8, 0, 20, &used) == 0 && !strcmp((char *)ram + 0x60000, "patchbay-disk0") &&
               used == 21,
           "its name");
    tap_ok(request(77, 0, 512, &used) == 2, "what nobody knows");
    memset(ram + 0x60000, 0xcd, 0x8000);
    tap_ok(request(1, 0, 0x8000, &used) == 1, "more changes than room");
    tap_ok(strstr(fake_console(), "cow="), "is said, with the remedy");
    tap_ok(request(1, 8, 512, &used) == 0, "what was changed can be changed again");
    tap_ok(request(0, 40, 512, &used) == 0 && ram[0x60000] == 41, "and the rest be read");
    tap_ok(request(1, SECTORS - 1, 512, &used) == 1, "a new page not");
}

static void test_disk_hostile(void)
{
    uint32_t used, head;
    disk(true);
    tap_eq(reg_r(&blk.dev, 4, 4) & BIT(5), BIT(5), "offers RO");
    tap_ok(request(1, 0, 512, &used) == 1 && image[0] == 1, "read-only");
    tap_ok(request(0, 0, 512, &used) == 0, "can be read");
    desc_set(r0.desc, 0, 0x40000, 8, D_NEXT, 2); /* half a header */
    offer(&r0, 0);
    kick(&blk.dev, 0);
    tap_ok(reap(&r0, &head, &used) && ram[0x41000] == 1, "half a request: an error");
    desc_set(r0.desc, 0, 0x40000, 16, 0, 0);
    offer(&r0, 0);
    kick(&blk.dev, 0);
    tap_ok(reg_r(&blk.dev, 0x14, 1) & VIRTIO_NEEDS_RESET, "no place for the status: broken");
    disk(false);
    desc_set(r0.desc, 0, 0x40000, 16, D_NEXT, 1);
    desc_set(r0.desc, 1, RAM_BYTES - 256, 512, D_NEXT | D_WRITE, 2);
    desc_set(r0.desc, 2, 0x41000, 1, D_WRITE, 0);
    memset(ram + 0x40000, 0, 16);
    offer(&r0, 0);
    kick(&blk.dev, 0);
    tap_ok(reg_r(&blk.dev, 0x14, 1) & VIRTIO_NEEDS_RESET, "data that is no RAM: broken");
}

static char shown[2000];
static void emit(const char *line)
{
    strcat(strcat(shown, line), "\n");
}

static void test_dump(void)
{
    uint32_t used;
    disk(false);
    (void)request(0, 0, 512, &used);
    virtio_dump(&host, emit);
    tap_ok(
        strstr(shown, "virtio 02.0 disk: status 0x0f isr 1 work 0x0 of cpu0, 1 chains, 1 interr"),
        "the monitor's view of a device");
    tap_ok(strstr(shown, "  queue 0: 8 entries, available 1, used 1, told 1, vector 0x1"),
           "and of its queue");
}

int main(void)
{
    test_dump();
    test_rng(true);
    test_rng(false);
    test_generator();
    test_console();
    test_disk();
    test_disk_hostile();
    return tap_done();
}
