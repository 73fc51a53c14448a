/* SPDX-License-Identifier: BSD-2-Clause */
/* What a virtio back end stores is a producer's: rings and buffers in a page table that another CPU
 * has shadowed, of whose change that CPU learns. */
#include "hv/subvmm/life.h"
#include "hv/vdev/virtio/virtq.h"
#include "tools/tests/mmu_rig.h"

#define VA(t, i) ((uint64_t)(t) << 21 | (uint64_t)(i) << 12)
#define TABLE (PT << 12) /* gpa of the page table of VA(0, *) */
#define RING 0x100000ull /* somewhere else in RAM */

static struct vmem mem;
static struct virtq q;

static void store16(uint64_t at, uint16_t v)
{
    memcpy(p2m_ptr(&p2m, gpa(at)), &v, 2);
}

/* A chain of one writable buffer, taken; the used ring is where `used` says. */
static struct virtq_chain take(uint64_t buffer, uint32_t len, uint64_t used)
{
    static struct virtq_chain c;
    struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
    } d = {buffer, len, 2, 0};
    memset(p2m_ptr(&p2m, gpa(RING)), 0, 0x3000);
    q = (struct virtq){
        .max = 8, .size = 8, .enabled = true, .desc = RING, .avail = RING + 0x1000, .used = used};
    virtq_start(&q, false, true);
    memcpy(p2m_ptr(&p2m, gpa(RING)), &d, sizeof(d));
    store16(RING + 0x1002, 1);
    tap_eq(virtq_pop(&q, &mem, &c), HV_OK, "a buffer");
    return c;
}

/* What the shadow of CPU 1 still has for PTE i after an event that flushes all: the page, 0 none.
 * No fault: that would walk the table anew, and find what nobody told of. */
static uint64_t kept(unsigned i)
{
    fake_set_cpu(1);
    mmu_event_flush(&mmu[1]);
    uint64_t e = leaf(1, VA(0, i));
    fake_set_cpu(0);
    return e & PTE_P ? e & PTE_ADDR : 0;
}
/* What it has once it has faulted. */
static uint64_t seen(unsigned i)
{
    bool there = fault(1, VA(0, i), 0) == MMU_RESUME;
    uint64_t e = there ? leaf(1, VA(0, i)) & PTE_ADDR : 0;
    fake_set_cpu(0);
    return e;
}

static void table_up(const char *options)
{
    rig_up(options, 128);
    for (unsigned i = 0; i < 8; i++)
        *entry(PT, i) |= PTE_A; /* interesting: somebody may have cached it */
    for (unsigned i = 0; i < 8; i++)
        (void)fault(1, VA(0, i), 0);
    tap_ok(seen(1) == host_of(513) && seen(2) == host_of(514), "CPU 1 uses the table");
    fake_set_cpu(0);
    devices_memory(&mmu[0], &mem);
}

static void test_buffer(const char *options)
{
    table_up(options);
    struct virtq_chain c = take(TABLE + 8 * 2, 16, RING + 0x2000);
    uint64_t v[2] = {520ull << 12 | ALL, 0};
    fake_set_cpu(0);
    tap_eq(virtq_write(&c, &mem, 0, v, sizeof(v)), HV_OK, "data over two entries");
    tap_ok(kept(2) != host_of(514) && kept(3) != host_of(515), "CPU 1 keeps neither");
    tap_eq(seen(2), host_of(520), "one maps another page now");
    tap_eq(seen(3), 0, "and one none");
    tap_eq(seen(4), host_of(516), "their neighbour is as it was");
}

/* The used ring's element 0 is PTE 1, its index the upper part of PTE 0. */
static void test_ring(const char *options)
{
    table_up(options);
    *entry(PT, 0) = 0;
    (void)take(0x1000, 16, TABLE + 4);
    tap_eq(virtq_push(&q, &mem, 0, 0), HV_OK, "an element over an entry");
    tap_eq(*entry(PT, 1), 0, "is stored");
    tap_eq(*entry(PT, 0) >> 48, 1, "and the index");
    tap_eq(kept(1), 0, "CPU 1 does not map the page any more");
    /* avail_event of an empty queue, at used + 4 + 8 * 8: PTE 9's lower half */
    *entry(PT, 9) = 521ull << 12 | ALL | PTE_A;
    tap_eq(seen(9), host_of(521), "a page");
    struct virtq_chain c;
    q.used = TABLE + 8 * 9 - 4 - 8 * 8;
    q.next_avail = 0;
    store16(RING + 0x1002, 0);
    tap_eq(virtq_next(&q, &mem, &c), HV_AGAIN, "nothing waits: it asks to be told");
    tap_eq(*entry(PT, 9) & 0xffff, 0, "over an entry");
    tap_eq(kept(9), 0, "which is gone for CPU 1");
}

int main(void)
{
    static const char *const modes[] = {"", "coherency=locked", "coherency=shootdown",
                                        "overflow=shootdown consumers=all", "unsync=off"};
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        test_buffer(modes[i]);
        test_ring(modes[i]);
    }
    rig_down();
    return tap_done();
}
