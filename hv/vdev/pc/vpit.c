/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254 interval timer: three counters computed from the TSC, channel 0 on IRQ 0, channel 2
 * behind port 61. Guarded by the device lock. Tested by tools/tests/test_vdev_time.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/port/cpu.h"

/* Counting modes of the data sheet. */
enum { TERMINAL, RETRIGGER_SHOT, RATE, SQUARE, STROBE, RETRIGGER_STROBE };
/* Read/write modes: which bytes of a count pass. */
enum { RW_LSB = 1, RW_MSB, RW_BOTH };
#define CHANNELS 3u
#define CONTROL CHANNELS      /* the control word's register follows theirs */
#define SC_READ_BACK CHANNELS /* its bits SC1, SC0, else the number of a channel */
#define CONTROL_RW 0x30u
#define READ_BACK_NO_COUNT 0x20u
#define READ_BACK_NO_STATUS 0x10u
#define STATUS_OUT 0x80u
#define STATUS_NULL_COUNT 0x40u
#define BINARY 0x10000u /* counts before it wraps */
#define BCD 10000u

static uint64_t elapsed(const struct vpit_channel *c, uint64_t tick)
{
    if (!c->gate && (c->mode == TERMINAL || c->mode == STROBE))
        return c->frozen;
    return tick > c->start ? tick - c->start : 0;
}

/* A count written while a periodic one runs takes over at the end of the period. (The chip's mode 3
 * does so at the half already.) */
static void settle(struct vpit_channel *c, uint64_t tick)
{
    if (!c->next || tick < c->switch_at)
        return;
    c->start = c->switch_at;
    c->reload = c->next;
    c->next = 0;
}

static uint32_t channel_count(const struct vpit_channel *c, uint64_t tick)
{
    uint64_t d = elapsed(c, tick);
    uint32_t modulus = c->bcd ? BCD : BINARY, n = c->reload;
    if (c->loaded) {
        switch (c->mode) {
        case RATE:
            n = c->gate ? c->reload - (uint32_t)(d % c->reload) : c->reload;
            break;
        case SQUARE: /* counts down by two, twice a period */
            n = c->gate ? (c->reload - (uint32_t)(2 * d % c->reload)) & ~1u : c->reload;
            break;
        default: /* wraps and goes on */
            n = (uint32_t)((c->reload + modulus - d % modulus) % modulus);
            break;
        }
    }
    n %= modulus;
    if (!c->bcd)
        return n;
    return n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
}

static bool channel_out(const struct vpit_channel *c, uint64_t tick)
{
    uint64_t d = elapsed(c, tick);
    if (!c->loaded)
        return c->mode != TERMINAL;
    switch (c->mode) {
    case TERMINAL:
    case RETRIGGER_SHOT:
        return d >= c->reload;
    case RATE:
        return !c->gate || d % c->reload != c->reload - 1;
    case SQUARE:
        return !c->gate || d % c->reload < (c->reload + 1) / 2;
    default:
        return d != c->reload;
    }
}

/* Channel 0's first rising edge of OUT after `tick`. */
static uint64_t next_edge(const struct vpit_channel *c, uint64_t tick)
{
    uint64_t d = elapsed(c, tick), min = PIT_HZ / 1000000 * PERIOD_MIN_US, next;
    if (!c->loaded)
        return NO_DEADLINE;
    switch (c->mode) {
    case TERMINAL:
        return d < c->reload ? c->start + c->reload : NO_DEADLINE;
    case STROBE:
        return d <= c->reload ? c->start + c->reload + 1 : NO_DEADLINE;
    case RATE:
    case SQUARE: /* periods that were missed are one interrupt; the phase is kept */
        next = c->start + (d / c->reload + 1) * c->reload;
        return c->reload < min && next < tick + min ? tick + min : next;
    default:
        return NO_DEADLINE;
    }
}

static void channel_load(struct vpc *pc, uint32_t from, unsigned i, uint32_t value)
{
    struct vpit_channel *c = &pc->pit.ch[i];
    uint64_t tick = vpc_ticks(pc, port_tsc(), PIT_HZ);
    settle(c, tick); /* the clock moved on since this access began */
    if (c->bcd)
        value =
            (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
    value = value ? value : c->bcd ? BCD : BINARY;
    bool periodic = c->mode == RATE || c->mode == SQUARE;
    bool edge = c->mode == RETRIGGER_SHOT || c->mode == RETRIGGER_STROBE;
    if (c->loaded && ((periodic && c->gate) || edge)) { /* what runs goes on as it is */
        c->next = value;
        c->switch_at =
            edge ? NO_DEADLINE : c->start + (elapsed(c, tick) / c->reload + 1) * c->reload;
        return;
    }
    c->reload = value;
    c->start = tick;
    c->frozen = 0;
    c->loaded = !edge; /* those wait for the gate */
    if (i)
        return;
    if (c->mode == TERMINAL)
        vpc_irq(pc, from, IRQ_PIT, false);
    pc->pit.next_edge = next_edge(c, c->start);
    vpc_rearm(pc, from);
}

static void channel_write(struct vpc *pc, uint32_t from, unsigned i, uint32_t value)
{
    struct vpit_channel *c = &pc->pit.ch[i];
    if (c->access == RW_LSB) {
        channel_load(pc, from, i, value);
    } else if (c->access == RW_MSB) {
        channel_load(pc, from, i, value << 8);
    } else if (!c->write_high) {
        c->low = value;
        c->write_high = true;
    } else {
        c->write_high = false;
        channel_load(pc, from, i, value << 8 | c->low);
    }
}

static void channel_latch(struct vpit_channel *c, uint64_t tick)
{
    if (c->latched)
        return; /* the first latch stays until it is read */
    c->latch = channel_count(c, tick);
    c->latched = c->access == RW_BOTH ? 2 : 1;
    if (c->access == RW_MSB)
        c->latch >>= 8;
}

static uint32_t channel_read(struct vpit_channel *c, uint64_t tick)
{
    uint32_t n;
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latched) {
        c->latched--;
        n = c->latch & 0xff;
        c->latch >>= 8;
        return n;
    }
    n = channel_count(c, tick);
    if (c->access == RW_LSB)
        return n & 0xff;
    if (c->access == RW_MSB)
        return n >> 8;
    c->read_high = !c->read_high;
    return c->read_high ? n & 0xff : n >> 8;
}

static void read_back(struct vpit *pit, uint32_t value, uint64_t tick)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        struct vpit_channel *c = &pit->ch[i];
        if (!(value & 2u << i))
            continue;
        if (!(value & READ_BACK_NO_COUNT))
            channel_latch(c, tick);
        if (!(value & READ_BACK_NO_STATUS) && !c->status_latched) {
            c->status_latched = true;
            c->status = (channel_out(c, tick) ? STATUS_OUT : 0) |
                        (c->loaded && !c->next ? 0 : STATUS_NULL_COUNT) | c->access << 4 |
                        c->mode << 1 | c->bcd;
        }
    }
}

static void control_write(struct vpc *pc, uint32_t from, uint32_t value, uint64_t tick)
{
    unsigned i = value >> 6;
    if (i == SC_READ_BACK) {
        read_back(&pc->pit, value, tick);
        return;
    }
    struct vpit_channel *c = &pc->pit.ch[i];
    if (!(value & CONTROL_RW)) {
        channel_latch(c, tick);
        return;
    }
    c->access = value >> 4 & 3;
    c->mode = value >> 1 & 7;
    if (c->mode > RETRIGGER_STROBE)
        c->mode &= 3; /* bit 2 is "don't care" for modes 2 and 3 */
    c->bcd = value & 1;
    c->loaded = c->write_high = c->read_high = c->status_latched = false;
    c->latched = 0;
    c->next = 0;
    c->reload = c->bcd ? BCD : BINARY;
    if (i)
        return;
    if (c->mode == TERMINAL)
        vpc_irq(pc, from, IRQ_PIT, false);
    pc->pit.next_edge = NO_DEADLINE;
    vpc_rearm(pc, from);
}

static void vpit_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    unsigned i = (unsigned)io->addr & 3;
    lock_take(&pc->lock);
    uint64_t tick = vpc_ticks(pc, port_tsc(), PIT_HZ);
    for (unsigned k = 0; k < CHANNELS; k++)
        settle(&pc->pit.ch[k], tick);
    if (i == CONTROL && io->write)
        control_write(pc, io->cpu, (uint32_t)io->value, tick);
    else if (i < CHANNELS && io->write)
        channel_write(pc, io->cpu, i, (uint32_t)io->value);
    else if (i < CHANNELS)
        io->value = channel_read(&pc->pit.ch[i], tick);
    lock_drop(&pc->lock);
}

void vpit_gate2(struct vpc *pc, uint64_t now, bool gate)
{
    struct vpit_channel *c = &pc->pit.ch[2];
    uint64_t tick = vpc_ticks(pc, now, PIT_HZ);
    if (gate == c->gate)
        return;
    settle(c, tick);
    if (!gate) {
        c->frozen = elapsed(c, tick);
    } else if (c->mode == TERMINAL || c->mode == STROBE) {
        c->start = tick - c->frozen;
    } else { /* the rising edge reloads and triggers */
        c->reload = c->next ? c->next : c->reload;
        c->next = 0;
        c->start = tick;
        c->loaded = true;
    }
    c->gate = gate;
}

bool vpit_out2(struct vpc *pc, uint64_t now)
{
    uint64_t tick = vpc_ticks(pc, now, PIT_HZ);
    settle(&pc->pit.ch[2], tick);
    return channel_out(&pc->pit.ch[2], tick);
}

void vpit_run(struct vpc *pc, uint32_t from, uint64_t now)
{
    uint64_t tick = vpc_ticks(pc, now, PIT_HZ);
    if (tick < pc->pit.next_edge || pc->pit.next_edge == NO_DEADLINE)
        return;
    settle(&pc->pit.ch[0], tick);
    vpc_irq(pc, from, IRQ_PIT, false);
    vpc_irq(pc, from, IRQ_PIT, true);
    pc->pit.next_edge = next_edge(&pc->pit.ch[0], tick);
}

uint64_t vpit_deadline(const struct vpc *pc)
{
    return pc->pit.next_edge == NO_DEADLINE ? NO_DEADLINE
                                            : vpc_tick_tsc(pc, pc->pit.next_edge, PIT_HZ);
}

void vpit_init(struct vpc *pc)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        struct vpit_channel *c = &pc->pit.ch[i];
        c->access = RW_BOTH;
        c->mode = SQUARE;
        c->gate = i != 2;
        c->reload = BINARY;
    }
    pc->pit.next_edge = NO_DEADLINE;
    vbus_add_pio_bytes(&pc->bus, PIT_CH0, 4, vpit_io, pc);
}
