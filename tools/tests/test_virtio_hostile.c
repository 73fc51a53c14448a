/* SPDX-License-Identifier: BSD-2-Clause */
/* A driver that does whatever it likes: random accesses of any width to every register of every
 * device, by its BAR and by the window in configuration space, queues and buffers anywhere, memory
 * that changes while it is read. What the specification promises holds at each step, a turn is
 * bounded, and after a reset a driver in its right mind finds the devices as new. */
#include "tools/tests/virtio_rig.h"

#define ROUNDS 60
#define STEPS 400
/* Reads and stores of guest memory a turn: chains of all queues, of so many descriptors, each of
 * them copied by pieces. */
#define TURN_MOST (6u * VIRTIO_CHAINS * 16u * VIRTQ_MAX)

static struct vrng rng;
static struct vconsole con;
static struct vblk blk;
static struct vnet net, other;
static struct vswitch sw;
static struct virtio_host other_host;
static uint8_t image[64 * 512];
static uint32_t map[8];
static uint8_t overlay[2 * 4096];
static struct virtio *const all[] = {&rng.dev, &con.dev, &blk.dev, &net.dev};
#define DEVICES 4u

static uint64_t seed;
static uint32_t chance(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % n;
}

static uint64_t output;
static void out(void *ctx, const char *text, size_t n)
{
    (void)ctx, (void)text;
    output += n;
}

static void machine(void)
{
    rig_virtio(2);
    memset(map, 0, sizeof(map));
    memset(&sw, 0, sizeof(sw));
    switch_init(&sw);
    virtio_host_init(&other_host, NULL, &co);
    const struct vblk_image disk = {
        .base = image, .bytes = sizeof(image), .map = map, .overlay = overlay, .overlay_pages = 2};
    bool made = vrng_init(&rng, &host, PCI_DEVFN(2, 0)) == HV_OK &&
                vconsole_init(&con, &host, PCI_DEVFN(3, 0), out, NULL) == HV_OK &&
                vblk_init(&blk, &host, PCI_DEVFN(4, 0), &disk) == HV_OK &&
                vnet_init(&net, &host, PCI_DEVFN(5, 0), &sw) == HV_OK &&
                vnet_init(&other, &other_host, PCI_DEVFN(6, 0), &sw) == HV_OK;
    for (unsigned i = 0; i < DEVICES; i++)
        made = made && vpc_pci_add(&pc, &all[i]->fn) == HV_OK;
    if (!made)
        tap_ok(false, "the machine is made");
}

/* --- what it does --- */

static uint64_t any_value(void)
{
    static const uint64_t some[] = {
        0,    1,    2,    3,     7,      8,       11,         15,
        0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000, 0xffffffff, RAM_BYTES - 8,
        ~0ull};
    return chance(2) ? some[chance(sizeof(some) / sizeof(some[0]))]
                     : (uint64_t)chance(1u << 31) << chance(34);
}

static void any_access(struct virtio *v)
{
    static const uint32_t room[] = {VIRTIO_COMMON_AT, VIRTIO_COMMON_AT, VIRTIO_ISR_AT,
                                    VIRTIO_CONFIG_AT, VIRTIO_NOTIFY_AT, VIRTIO_MSIX_AT,
                                    VIRTIO_PBA_AT};
    uint32_t at = room[chance(7)] + chance(0x40);
    uint8_t size = (uint8_t)(1u << chance(4));
    (void)rig_io(chance(2), true, bar_of(v) + at, size, chance(3) > 0, any_value());
}

static void config(struct virtio *v, unsigned reg, uint8_t size, uint32_t value)
{
    (void)rig_io(0, false, 0xcf8, 4, true,
                 0x80000000u | (uint32_t)v->fn.devfn << 8 | (reg & 0xfcu));
    (void)rig_io(0, false, 0xcfc + (reg & 3), size, true, value);
}

/* Not the command register and the BARs: it would not find its device any more. */
static void any_config(struct virtio *v)
{
    unsigned reg = chance(4) ? v->cfg_cap + 4 + chance(16) : 0x40 + chance(0xc0);
    if (chance(4) == 0)
        command(v, (uint16_t)(PCI_COMMAND_MEMORY | (chance(3) ? PCI_COMMAND_MASTER : 0)));
    else
        config(v, reg, 1, (uint32_t)any_value());
}

static void any_memory(void)
{
    uint64_t at = 0x10000 + chance(0x30000), value = any_value();
    memcpy(ram + at, &value, 1u << chance(4));
}

static void meanwhile(uint64_t at)
{
    (void)at;
    if (chance(32) == 0)
        any_memory();
}

/* Rings where memory is, with chains that are mostly well made. */
static void some_order(struct virtio *v)
{
    static const uint8_t types[] = {0, 1, 4, 8, 9};
    negotiate(v, VIRTIO_F_VERSION_1 | (chance(2) ? VIRTIO_F_INDIRECT_DESC : 0) |
                     (chance(2) ? VIRTIO_F_EVENT_IDX : 0));
    for (unsigned q = 0; q < v->kind->nqueues; q++) {
        struct ring r = ring_at(0x10000 + 0x4000 * q, (uint16_t)(1u << chance(8)));
        for (unsigned i = 0; i < r.size; i++)
            desc_set(r.desc, i, 0x20000 + 16u * chance(0x1000),
                     chance(3) ? chance(2000) : 1 + chance(20), (uint16_t)chance(8),
                     (uint16_t)chance(r.size + 1u));
        for (unsigned i = chance(r.size + 1u); i > 0; i--)
            offer(&r, (uint16_t)chance(r.size));
        queue_up(v, q, &r);
    }
    ram[0x20000 + 16u * chance(0x1000)] = types[chance(5)];
    reg_w(v, 0x14, 1, 15);
}

static void someone_else(void)
{
    struct switch_frame *f = switch_begin(&sw);
    if (f) {
        f->len = (uint16_t)(SWITCH_FRAME_MIN + chance(SWITCH_FRAME_MAX - SWITCH_FRAME_MIN + 1));
        memset(f->data, chance(2) ? 0xff : (int)chance(256), f->len);
        switch_send(&sw, other.port, f);
    }
    (void)vconsole_input(&con, (uint8_t)chance(256));
    while ((f = switch_receive(&sw, other.port)))
        switch_discard(&sw, f);
}

/* --- what holds --- */

struct seen {
    uint8_t status, generation;
    uint64_t accepted;
    struct virtq q[VIRTIO_QUEUES];
    uint8_t config[VIRTIO_CONFIG_BYTES];
};
static struct seen before[DEVICES];
static unsigned wrong_status, wrong_queue, wrong_features, wrong_config, wrong_turn, turns, broken;

static void look(unsigned i)
{
    const struct virtio *v = all[i];
    struct seen *s = &before[i];
    struct seen is = {v->status, v->generation, v->accepted, {{0}}, {0}};
    memcpy(is.q, v->q, sizeof(is.q));
    memcpy(is.config, v->config, sizeof(is.config));
    bool fresh = !is.status;
    wrong_status += !fresh && (s->status & ~is.status);
    wrong_features += !fresh && (s->status & VIRTIO_FEATURES_OK) && is.accepted != s->accepted;
    wrong_features += (is.status & VIRTIO_FEATURES_OK) && (is.accepted & ~v->offered);
    for (unsigned q = 0; q < v->kind->nqueues && !fresh && (s->status & VIRTIO_DRIVER_OK); q++)
        wrong_queue += is.q[q].size != s->q[q].size || is.q[q].enabled != s->q[q].enabled ||
                       is.q[q].desc != s->q[q].desc || is.q[q].avail != s->q[q].avail ||
                       is.q[q].used != s->q[q].used;
    wrong_config +=
        is.generation != s->generation || memcmp(is.config, s->config, sizeof(s->config)) != 0;
    *s = is;
}

static void turn(uint32_t cpu)
{
    unsigned reads = mem_reads;
    mem_writes = mem_stores = 0;
    (void)virtio_run(&host, cpu, &mem);
    wrong_turn += mem_reads - reads + mem_writes + mem_stores > TURN_MOST;
    turns++;
}

static void step(void)
{
    unsigned i = chance(DEVICES);
    struct virtio *v = all[i];
    switch (chance(8)) {
    case 0:
        some_order(v);
        memset(&before[i], 0, sizeof(before[i])); /* with resets in between */
        memcpy(before[i].config, v->config, sizeof(v->config));
        break;
    case 1:
        any_config(v);
        break;
    case 2:
        any_memory();
        break;
    case 3:
        someone_else();
        break;
    case 4:
        turn(chance(2));
        break;
    default:
        any_access(v);
        break;
    }
    for (i = 0; i < DEVICES; i++)
        look(i);
}

/* --- what is left --- */

static bool works(struct virtio *v, unsigned q, uint16_t flags, uint32_t bytes)
{
    uint32_t head, len;
    negotiate(v, VIRTIO_F_VERSION_1);
    struct ring r = ring_at(0x10000, 8);
    queue_up(v, q, &r);
    desc_set(r.desc, 0, 0x40000, bytes, flags, 1);
    desc_set(r.desc, 1, 0x42000, 513, D_WRITE, 0);
    memset(ram + 0x40000, 0, bytes);
    driver_ok(v);
    offer(&r, 0);
    kick(v, q);
    return reap(&r, &head, &len) && head == 0 && !(reg_r(v, 0x14, 1) & VIRTIO_NEEDS_RESET);
}

static bool as_new(void)
{
    mem_hook = NULL;
    for (unsigned i = 0; i < DEVICES; i++)
        reg_w(all[i], 0x14, 1, 0);
    (void)run(0);
    uint64_t said = output;
    return works(&rng.dev, 0, D_WRITE, 64) && works(&con.dev, 1, 0, 5) && output == said + 5 &&
           works(&blk.dev, 0, D_NEXT, 16) && ram[0x42000 + 512] == 0 &&
           works(&net.dev, 1, 0, 12 + 60);
}

static void round_of(uint64_t number)
{
    seed = number;
    machine();
    for (unsigned i = 0; i < DEVICES; i++)
        memset(&before[i], 0, sizeof(before[i])), look(i);
    wrong_config = 0;
    mem_hook = meanwhile;
    for (unsigned i = 0; i < STEPS; i++)
        step();
    for (unsigned i = 0; i < DEVICES; i++)
        broken += atomic_load(&all[i]->broken) > 0;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS, bad = 0, lost = 0;
    unsigned sum[5] = {0};
    for (unsigned i = 1; i <= rounds; i++) {
        round_of(i);
        sum[0] += wrong_status, sum[1] += wrong_queue, sum[2] += wrong_features;
        sum[3] += wrong_config, sum[4] += wrong_turn;
        wrong_status = wrong_queue = wrong_features = wrong_config = wrong_turn = 0;
        if (!as_new()) {
            bad++;
            tap_note("round %u", i);
        }
        switch_detach(&sw, net.port), switch_detach(&sw, other.port);
        lost += sw.nfree != SWITCH_FRAMES;
    }
    tap_eq(sum[0], 0, "status bits stay until a reset");
    tap_eq(sum[1], 0, "queues are fixed while the device runs");
    tap_eq(sum[2], 0, "so are features, a part of what was offered");
    tap_eq(sum[3], 0, "the configuration is not the driver's");
    tap_ok(sum[4] == 0 && turns, "each of %u turns is bounded", turns);
    tap_eq(bad, 0, "after a reset each device works");
    tap_eq(lost, 0, "no frame of the switch is lost");
    tap_ok(broken > rounds / 4, "rings were broken: %u", broken);
    return tap_done();
}
