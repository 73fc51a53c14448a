/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818 clock with its CMOS memory: time of day from the host's clock at boot plus the TSC,
 * periodic, update and alarm interrupts, memory sizes. Guarded by the device lock.
 * Tested by tools/tests/test_vdev_rtc.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"

enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WEEKDAY, DAY, MONTH, YEAR };
enum { REG_A = 10, REG_B, REG_C, REG_D, SHUTDOWN = 0x0f, CENTURY = 0x32 };
/* What a BIOS keeps there (Ralf Brown's CMOS list); those of 16 bits begin with the low byte. */
enum {
    BASE_KIB = 0x15,       /* 16 bits */
    EXTENDED_KIB = 0x17,   /* 16 bits: above 1 MiB, as set up */
    EXTENDED_FOUND = 0x30, /* 16 bits: ... as found */
    ABOVE_16M = 0x34,      /* 16 bits, in 64 KiB: as QEMU and Bochs say to their BIOS */
    ABOVE_4G = 0x5b,       /* 24 bits, in 64 KiB: the same */
    OTHER_CPUS = 0x5f,     /* QEMU, Bochs: how many to wait for */
};
enum {
    SHUTDOWN_EOI = 5,
    SHUTDOWN_MOVE = 9,
    SHUTDOWN_JUMP,
    SHUTDOWN_IRET,
    SHUTDOWN_RETF,
};
#define A_UIP 0x80
#define A_WRITABLE 0x7f
#define A_RS 0x0f
#define B_SET 0x80
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VRT 0x80 /* battery good */
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0 /* and above */
#define INDEX_NMI_OFF 0x80
#define DAYS_400Y 146097u
#define UIP_US 244 /* data sheet: UIP goes up this long before the update */

/* --- calendar --- */
static bool leap(unsigned y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static unsigned month_days(unsigned y, unsigned m)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && leap(y));
}

static void civil_from_days(uint64_t days, unsigned *y, unsigned *m, unsigned *d)
{
    *y = 1970 + (unsigned)(days / DAYS_400Y) * 400;
    unsigned left = (unsigned)(days % DAYS_400Y);
    while (left >= (leap(*y) ? 366u : 365u))
        left -= leap((*y)++) ? 366 : 365;
    for (*m = 1; left >= month_days(*y, *m); (*m)++)
        left -= month_days(*y, *m);
    *d = left + 1;
}

static uint64_t days_from_civil(unsigned y, unsigned m, unsigned d)
{
    uint64_t days = 0;
    if (y < 1970)
        y = 1970;
    for (; y >= 2370; y -= 400)
        days += DAYS_400Y;
    for (unsigned i = 1970; i < y; i++)
        days += leap(i) ? 366 : 365;
    for (unsigned i = 1; i < m && i <= 12; i++)
        days += month_days(y, i);
    return days + (d ? d - 1 : 0);
}

static uint8_t encode(const struct vrtc *r, unsigned v)
{
    return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const struct vrtc *r, uint8_t v)
{
    return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const struct vrtc *r, unsigned h)
{
    if (r->cmos[REG_B] & B_24H)
        return encode(r, h);
    return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct vrtc *r, uint8_t v)
{
    if (r->cmos[REG_B] & B_24H)
        return decode(r, v);
    return decode(r, v & (HOUR_PM - 1)) % 12 + (v & HOUR_PM ? 12 : 0);
}

static uint64_t rtc_seconds(const struct vpc *pc, uint64_t now)
{
    return pc->rtc.base_s + vpc_ticks(pc, now, 1);
}

static void time_to_cmos(struct vrtc *r, uint64_t s)
{
    unsigned y, m, d, in_day = (unsigned)(s % 86400);
    civil_from_days(s / 86400, &y, &m, &d);
    r->cmos[SEC] = encode(r, in_day % 60);
    r->cmos[MIN] = encode(r, in_day / 60 % 60);
    r->cmos[HOUR] = encode_hour(r, in_day / 3600);
    r->cmos[WEEKDAY] = encode(r, (unsigned)((s / 86400 + 4) % 7) + 1);
    r->cmos[DAY] = encode(r, d);
    r->cmos[MONTH] = encode(r, m);
    r->cmos[YEAR] = encode(r, y % 100);
    r->cmos[CENTURY] = encode(r, y / 100 % 100);
}

static uint64_t cmos_to_time(const struct vrtc *r)
{
    unsigned y = decode(r, r->cmos[CENTURY]) * 100 + decode(r, r->cmos[YEAR]);
    uint64_t days = days_from_civil(y, decode(r, r->cmos[MONTH]), decode(r, r->cmos[DAY]));
    return days * 86400 + decode_hour(r, r->cmos[HOUR]) * 3600u + decode(r, r->cmos[MIN]) * 60u +
           decode(r, r->cmos[SEC]);
}

static void set_time(struct vpc *pc, uint64_t now)
{
    pc->rtc.base_s = 0;
    pc->rtc.base_s = cmos_to_time(&pc->rtc) - rtc_seconds(pc, now); /* modulo 2^64 is fine */
    pc->rtc.seen_s = rtc_seconds(pc, now);
}

/* --- events --- */
static uint64_t period(const struct vrtc *r)
{
    unsigned rs = r->cmos[REG_A] & A_RS;
    return !rs ? 0 : rs < 3 ? 64u << rs : 1u << (rs - 1); /* ticks of RTC_HZ */
}

/* The time of day alone: the calendar is worked out when it is read. */
static bool alarm_matches(const struct vrtc *r, uint64_t s)
{
    unsigned in_day = (unsigned)(s % 86400);
    const uint8_t now[] = {encode(r, in_day % 60), encode(r, in_day / 60 % 60),
                           encode_hour(r, in_day / 3600)};

    for (unsigned i = 0; i < 3; i++)
        if (r->cmos[2 * i + 1] < ALARM_ANY && r->cmos[2 * i + 1] != now[i])
            return false;
    return true;
}

static void set_line(struct vpc *pc, uint32_t from)
{
    struct vrtc *r = &pc->rtc;
    bool on = r->cmos[REG_C] & r->cmos[REG_B] & (C_PF | C_AF | C_UF);
    if (on)
        r->cmos[REG_C] |= C_IRQF;
    vpc_irq(pc, from, IRQ_RTC, on);
}

void vrtc_run(struct vpc *pc, uint32_t from, uint64_t now)
{
    struct vrtc *r = &pc->rtc;
    uint64_t per = period(r), s = rtc_seconds(pc, now);
    if (per) {
        uint64_t n = vpc_ticks(pc, now, RTC_HZ) / per;
        if (n != r->seen_per)
            r->cmos[REG_C] |= C_PF;
        r->seen_per = n;
    }
    if (s != r->seen_s && !(r->cmos[REG_B] & B_SET)) {
        r->cmos[REG_C] |= C_UF;
        uint64_t first = s > r->seen_s + 60 ? s - 60 : r->seen_s + 1;
        for (uint64_t t = first; t <= s && !(r->cmos[REG_C] & C_AF); t++)
            if (alarm_matches(r, t))
                r->cmos[REG_C] |= C_AF;
        r->seen_s = s;
    }
    set_line(pc, from);
}

uint64_t vrtc_deadline(const struct vpc *pc, uint64_t now)
{
    const struct vrtc *r = &pc->rtc;
    /* a flag already up changes nothing */
    uint8_t wanted = r->cmos[REG_B] & (uint8_t)~r->cmos[REG_C];
    uint64_t next = NO_DEADLINE, per = period(r);
    if ((wanted & C_PF) && per)
        next = vpc_tick_tsc(pc, (vpc_ticks(pc, now, RTC_HZ) / per + 1) * per, RTC_HZ);
    if ((wanted & (C_UF | C_AF)) && !(r->cmos[REG_B] & B_SET))
        next = min_u64(next, vpc_tick_tsc(pc, vpc_ticks(pc, now, 1) + 1, 1));
    return next;
}

/* --- registers --- */
static bool is_time(uint32_t i)
{
    return i == SEC || i == MIN || i == HOUR || (i >= WEEKDAY && i <= YEAR) || i == CENTURY;
}

static uint8_t cmos_read(struct vpc *pc, uint32_t from, uint64_t now)
{
    struct vrtc *r = &pc->rtc;
    uint8_t v;
    if (is_time(r->index) && !(r->cmos[REG_B] & B_SET))
        time_to_cmos(r, rtc_seconds(pc, now));
    switch (r->index) {
    case REG_A:
        v = r->cmos[REG_A];
        if (!(r->cmos[REG_B] & B_SET) && vpc_ticks(pc, now, 1000000) % 1000000 >= 1000000 - UIP_US)
            v |= A_UIP;
        return v;
    case REG_C: /* reading acknowledges */
        vrtc_run(pc, from, now);
        v = r->cmos[REG_C];
        r->cmos[REG_C] = 0;
        set_line(pc, from);
        vpc_rearm(pc, from);
        return v;
    default:
        return r->cmos[r->index];
    }
}

static void cmos_write(struct vpc *pc, uint32_t from, uint8_t v, uint64_t now)
{
    struct vrtc *r = &pc->rtc;
    uint8_t old_b = r->cmos[REG_B];
    vrtc_run(pc, from, now); /* what happened so far, under the old settings */
    if (!(old_b & B_SET))
        time_to_cmos(r, rtc_seconds(pc, now));
    switch (r->index) {
    case REG_A:
        r->cmos[REG_A] = v & A_WRITABLE;
        if (period(r))
            r->seen_per = vpc_ticks(pc, now, RTC_HZ) / period(r);
        break;
    case REG_B:
        r->cmos[REG_B] = v & B_SET ? v & (uint8_t)~C_UF : v; /* SET clears UIE */
        if ((old_b & B_SET) && !(v & B_SET))
            set_time(pc, now);
        set_line(pc, from);
        break;
    case REG_C:
    case REG_D:
        break;
    default:
        r->cmos[r->index] = v;
        if (is_time(r->index) && !(old_b & B_SET))
            set_time(pc, now);
        break;
    }
    vpc_rearm(pc, from);
}

static void vrtc_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    lock_take(&pc->lock);
    if (!(io->addr & 1)) {
        if (io->write) /* there are no NMIs to mask */
            pc->rtc.index = (uint32_t)io->value & (INDEX_NMI_OFF - 1);
    } else if (io->write) {
        cmos_write(pc, io->cpu, (uint8_t)io->value, port_tsc());
    } else {
        io->value = cmos_read(pc, io->cpu, port_tsc());
    }
    lock_drop(&pc->lock);
}

enum vpc_warm vrtc_warm(const struct vpc *pc)
{
    switch (pc->rtc.cmos[SHUTDOWN]) {
    case SHUTDOWN_EOI:
    case SHUTDOWN_JUMP:
        return VPC_WARM_JUMP;
    case SHUTDOWN_MOVE:
        return VPC_WARM_MOVE;
    case SHUTDOWN_IRET:
        return VPC_WARM_IRET;
    case SHUTDOWN_RETF:
        return VPC_WARM_RETF;
    default: /* self tests of the firmware, bootstrap, power-on */
        return VPC_WARM_NONE;
    }
}

enum vpc_warm vpc_warm_start(struct vpc *pc)
{
    lock_take(&pc->lock);
    enum vpc_warm warm = vrtc_warm(pc);
    if (pc->rtc.cmos[SHUTDOWN] == SHUTDOWN_EOI)
        vpic_eoi(pc, 0);
    pc->rtc.cmos[SHUTDOWN] = 0; /* as firmware does */
    lock_drop(&pc->lock);
    return warm;
}

static void put16(struct vrtc *r, unsigned at, uint64_t v)
{
    if (v > 0xffff)
        v = 0xffff;
    r->cmos[at] = (uint8_t)v;
    r->cmos[at + 1] = (uint8_t)(v >> 8);
}

void vrtc_init(struct vpc *pc)
{
    struct vrtc *r = &pc->rtc;
    uint64_t low = pc->cfg.ram_top_low, high = pc->cfg.ram_above_4g;
    r->cmos[REG_A] = 0x26; /* 32.768 kHz, 1024 Hz */
    r->cmos[REG_B] = B_24H;
    r->cmos[REG_D] = D_VRT;
    uint64_t read_tsc;
    uint64_t read_s = port_boot_time_s(&read_tsc);
    uint64_t since = pc->tsc0 > read_tsc ? pc->tsc0 - read_tsc : 0;
    /* its seconds begin with those of vpc_ticks: to the nearest */
    r->base_s = r->seen_s = read_s + (since + pc->cfg.tsc_hz / 2) / pc->cfg.tsc_hz;
    put16(r, BASE_KIB, 640);
    put16(r, EXTENDED_KIB, low > 0x100000 ? (low - 0x100000) >> 10 : 0);
    put16(r, EXTENDED_FOUND, low > 0x100000 ? (low - 0x100000) >> 10 : 0);
    put16(r, ABOVE_16M, low > 0x1000000 ? (low - 0x1000000) >> 16 : 0);
    r->cmos[ABOVE_4G] = (uint8_t)(high >> 16);
    r->cmos[ABOVE_4G + 1] = (uint8_t)(high >> 24);
    r->cmos[ABOVE_4G + 2] = (uint8_t)(high >> 32);
    r->cmos[OTHER_CPUS] = (uint8_t)(pc->cfg.ncpus - 1);
    time_to_cmos(r, r->base_s);
    vbus_add_pio_bytes(&pc->bus, CMOS_INDEX, 2, vrtc_io, pc);
}
