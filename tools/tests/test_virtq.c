/* SPDX-License-Identifier: BSD-2-Clause */
/* Split queues as a driver and as an attacker would fill them: order, lengths, indices that wrap,
 * indirect tables, what a driver asks for, and every ring that is none. */
#include "tools/tests/virtio_rig.h"

static struct virtq q;
static struct ring r;
static struct virtq_chain c;

static void fresh(uint16_t size, bool indirect, bool event)
{
    memset(ram, 0, sizeof(ram));
    mem_hook = NULL;
    r = ring_at(0x10000, size);
    q = (struct virtq){.max = VIRTQ_MAX,
                       .size = size,
                       .enabled = true,
                       .desc = r.desc,
                       .avail = r.avail,
                       .used = r.used};
    virtq_start(&q, indirect, event);
}
static enum hv_err pop(void)
{
    memset(&c, 0xee, sizeof(c));
    return virtq_pop(&q, &mem, &c);
}

static void test_chain(void)
{
    uint8_t buf[64];
    fresh(8, false, false);
    tap_eq(pop(), HV_AGAIN, "empty");
    desc_set(r.desc, 3, 0x40000, 16, D_NEXT, 5);
    desc_set(r.desc, 5, 0x41000, 100, D_NEXT | D_WRITE, 1);
    desc_set(r.desc, 1, 0x42000, 1, D_WRITE, 0);
    offer(&r, 3);
    tap_eq(pop(), HV_OK, "a chain of three");
    tap_ok(c.head == 3 && c.nread == 1 && c.nwrite == 2 && c.read_bytes == 16 &&
               c.write_bytes == 101,
           "its parts");
    memset(ram + 0x40000, 0x5a, 16);
    tap_eq(virtq_read(&c, &mem, 4, buf, 12), HV_OK, "read");
    tap_ok(buf[0] == 0x5a && buf[11] == 0x5a, "its bytes");
    tap_eq(virtq_read(&c, &mem, 10, buf, 7), HV_RANGE, "not beyond the end");
    memset(buf, 7, sizeof(buf));
    tap_eq(virtq_write(&c, &mem, 98, buf, 3), HV_OK, "written over the border of two buffers");
    tap_ok(ram[0x41000 + 97] == 0 && ram[0x41000 + 99] == 7 && ram[0x42000] == 7,
           "where they belong");
    tap_eq(virtq_push(&q, &mem, 3, 101), HV_OK, "given back");
    uint32_t head, len;
    tap_ok(reap(&r, &head, &len) && head == 3 && len == 101, "with its length");
    tap_eq(pop(), HV_AGAIN, "no more");
}

static void test_wrap(void)
{
    fresh(4, false, false);
    q.next_avail = q.next_used = q.told_used = 0xfffe;
    r.next = r.seen = 0xfffe;
    put16(r.avail + 2, 0xfffe), put16(r.used + 2, 0xfffe);
    desc_set(r.desc, 0, 0x40000, 1, D_WRITE, 0);
    bool all = true;
    for (unsigned i = 0; i < 9; i++) {
        uint32_t head, len;
        offer(&r, 0);
        all &= pop() == HV_OK && virtq_push(&q, &mem, c.head, i) == HV_OK &&
               reap(&r, &head, &len) && len == i;
    }
    tap_ok(all, "indices wrap");
    for (unsigned i = 0; i < 4; i++)
        offer(&r, 0);
    tap_eq(pop(), HV_OK, "a full ring is legal");
    offer(&r, 0), offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "further ahead than the queue is long");
}

static void test_broken(void)
{
    fresh(8, false, false);
    offer(&r, 8);
    tap_eq(pop(), HV_INVALID, "no such descriptor");
    fresh(8, false, false);
    desc_set(r.desc, 0, 0x40000, 4, D_NEXT, 9);
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "no such next");
    fresh(8, false, false);
    desc_set(r.desc, 0, 0x40000, 4, D_NEXT, 0);
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "a circle");
    fresh(8, false, false);
    desc_set(r.desc, 0, 0x40000, 4, D_NEXT | D_WRITE, 1);
    desc_set(r.desc, 1, 0x40000, 4, 0, 0);
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "to be read after to be written");
    fresh(8, false, false);
    desc_set(r.desc, 0, ~0ull - 3, 8, 0, 0);
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "over the end of the address space");
    fresh(8, false, false);
    desc_set(r.desc, 0, RAM_BYTES - 4, 8, 0, 0);
    offer(&r, 0);
    tap_eq(pop(), HV_OK, "memory is looked at when it is used");
    uint8_t buf[8];
    tap_eq(virtq_read(&c, &mem, 0, buf, 8), HV_INVALID, "and is none");
    fresh(8, false, false);
    offer(&r, 0);
    q.desc = RAM_BYTES;
    tap_eq(pop(), HV_INVALID, "the table is no RAM");
    q.avail = RAM_BYTES * 2ull;
    tap_eq(pop(), HV_INVALID, "nor the ring");
    bool want;
    tap_eq(virtq_push(&q, &mem, 0, 0), HV_OK, "a push needs the used ring only");
    tap_eq(virtq_wants(&q, &mem, &want), HV_INVALID, "no RAM to ask");
    q.used = RAM_BYTES;
    tap_eq(virtq_push(&q, &mem, 0, 0), HV_INVALID, "no used ring");
}

static void test_indirect(void)
{
    fresh(8, true, false);
    desc_set(r.desc, 2, 0x50000, 3 * 16, D_INDIRECT | D_WRITE, 0); /* WRITE means nothing here */
    desc_set(0x50000, 0, 0x40000, 16, D_NEXT, 1);
    desc_set(0x50000, 1, 0x41000, 512, D_NEXT | D_WRITE, 2);
    desc_set(0x50000, 2, 0x42000, 1, D_WRITE, 0);
    offer(&r, 2);
    tap_eq(pop(), HV_OK, "a table");
    tap_ok(c.head == 2 && c.nread == 1 && c.nwrite == 2 && c.write_bytes == 513, "its parts");
    q.indirect = false;
    offer(&r, 2);
    tap_eq(pop(), HV_INVALID, "not negotiated");
    fresh(8, true, false);
    desc_set(r.desc, 0, 0x50000, 16, D_INDIRECT, 0);
    desc_set(0x50000, 0, 0x50000, 16, D_INDIRECT, 0);
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "a table in a table");
    static const uint32_t lengths[] = {0, 8, 24, 9 * 16, 0xfffffff0};
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        fresh(8, true, false);
        desc_set(r.desc, 0, 0x50000, lengths[i], D_INDIRECT, 0);
        offer(&r, 0);
        tap_eq(pop(), HV_INVALID, "a table of a wrong length");
    }
    fresh(8, true, false);
    desc_set(r.desc, 0, 0x50000, 16, D_INDIRECT | D_NEXT, 1);
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "a table with a next");
    fresh(4, true, false);
    desc_set(r.desc, 0, 0x40000, 1, D_NEXT, 1);
    desc_set(r.desc, 1, 0x50000, 4 * 16, D_INDIRECT, 0);
    for (unsigned i = 0; i < 4; i++)
        desc_set(0x50000, i, 0x40000, 1, i < 3 ? D_NEXT : 0, (uint16_t)(i + 1));
    offer(&r, 0);
    tap_eq(pop(), HV_INVALID, "longer than the queue with what came before");
}

/* What a length says when it is read again: the hook changes it after the first read. */
static unsigned reads_of_desc;
static void second_look(uint64_t at)
{
    if (at == r.desc && reads_of_desc++ == 0)
        return;
    if (reads_of_desc)
        desc_set(r.desc, 0, 0xffffffff0000, 0xffffffff, D_WRITE, 0);
}
static void test_once(void)
{
    uint8_t buf[16] = {0};
    fresh(8, false, false);
    desc_set(r.desc, 0, 0x40000, 16, D_WRITE, 0);
    offer(&r, 0);
    reads_of_desc = 0;
    mem_hook = second_look;
    tap_eq(pop(), HV_OK, "taken");
    mem_hook = NULL;
    desc_set(r.desc, 0, 0xffffffff0000, 0xffffffff, D_WRITE, 0);
    tap_eq(reads_of_desc, 1, "a descriptor is read once");
    tap_ok(c.write_bytes == 16 && virtq_write(&c, &mem, 0, buf, 16) == HV_OK, "and used as it was");
}

static void test_wants(void)
{
    bool want;
    fresh(8, false, false);
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && !want, "nothing pushed");
    (void)!virtq_push(&q, &mem, 0, 0);
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && want, "by default");
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && !want, "once");
    put16(r.avail, 1);
    (void)!virtq_push(&q, &mem, 0, 0);
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && !want, "NO_INTERRUPT");

    fresh(8, false, true);
    put16(r.avail, 1);
    put16(r.avail + 4 + 2 * 8, 2); /* used_event */
    (void)!virtq_push(&q, &mem, 0, 0);
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && !want, "not yet at the third");
    (void)!virtq_push(&q, &mem, 0, 0);
    (void)!virtq_push(&q, &mem, 0, 0);
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && want, "crossed, whatever the flags say");
    (void)!virtq_push(&q, &mem, 0, 0);
    tap_ok(virtq_wants(&q, &mem, &want) == HV_OK && !want, "behind it");

    desc_set(r.desc, 0, 0x40000, 1, D_WRITE, 0);
    offer(&r, 0);
    tap_eq(virtq_next(&q, &mem, &c), HV_OK, "one");
    tap_eq(virtq_next(&q, &mem, &c), HV_AGAIN, "none");
    tap_eq(get16(r.used + 4 + 8 * 8), 1, "avail_event asks for the next");
}

/* One comes between the look and the wish to be told. */
static unsigned looks;
static void late(uint64_t at)
{
    if (at == r.avail + 2 && looks++ == 1)
        offer(&r, 0);
}
static void test_late(void)
{
    fresh(8, false, true);
    desc_set(r.desc, 0, 0x40000, 1, D_WRITE, 0);
    looks = 0;
    mem_hook = late;
    tap_eq(virtq_next(&q, &mem, &c), HV_OK, "what came meanwhile is found");
    mem_hook = NULL;
}

int main(void)
{
    test_chain();
    test_wrap();
    test_broken();
    test_indirect();
    test_once();
    test_wants();
    test_late();
    return tap_done();
}
