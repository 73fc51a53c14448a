/* SPDX-License-Identifier: BSD-2-Clause */
/* State of every device of the virtual PC, and what the devices ask of each other. Private to
 * hv/vdev. Unless a comment says otherwise a field is guarded by vpc.lock.
 * Tested by tools/tests/test_vdev_*.c. */
#pragma once
#include <stdatomic.h>
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/pc.h"
#include "hv/base/lock.h"
#include "hv/port/cpu.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vdev/pci/pci.h"

#define NO_DEADLINE UINT64_MAX
#define PIT_HZ 1193182ull
#define PM_TIMER_HZ 3579545ull
#define RTC_HZ 32768ull
#define NS_PER_S 1000000000ull
/* Periods shorter than this are stretched: each expiry costs the host an exit or two. */
#define PERIOD_MIN_US 100

enum { IRQ_PIT = 0, IRQ_KBD = 1, IRQ_UART = 4, IRQ_RTC = 8, IRQ_SCI = 9 };

/* --- local APIC --- */
enum vlapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
#define LVT_MASKED BIT(16)
#define LVT_TIMER_MODE(v) (((v) >> 17) & 3)
enum { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE };
/* delivery modes of LVT, ICR and I/O APIC entries */
enum { DM_FIXED, DM_LOWEST, DM_SMI, DM_RESERVED, DM_NMI, DM_INIT, DM_SIPI, DM_EXTINT };
#define DELIVERY_MODE(v) (((v) >> 8) & 7)
#define VECTOR_FIRST 16 /* smaller ones are illegal */
#define XAPIC_DEST_ALL 0xffu
#define SVR_ENABLE BIT(8)
/* What a guest can write, alike in xAPIC and x2APIC mode. */
#define SVR_WRITABLE 0x3ffu
#define ICR_WRITABLE 0x000ccfffu
#define DCR_WRITABLE 0xbu
#define TPR_WRITABLE 0xffu
#define ESR_SEND_ILLEGAL BIT(5)
#define ESR_RECEIVE_ILLEGAL BIT(6)
#define ESR_ILLEGAL_REGISTER BIT(7)

struct vlapic {
    /* Any CPU sets bits (fetch_or, then ACTION_IRQ); the owner clears them. */
    _Alignas(64) _Atomic uint64_t irr[4];
    _Atomic uint64_t tmr[4];
    _Atomic uint32_t errors;      /* ESR bits not yet latched */
    _Atomic uint32_t sipi_vector; /* written before ACTION_SIPI */
    /* Written by the owner, read by senders for destination matching; relaxed. */
    _Atomic uint32_t base; /* EN, EXTD, BSP of IA32_APIC_BASE */
    _Atomic uint32_t svr, ldr, dfr, tpr;
    _Atomic uint32_t lvt[LVT_COUNT]; /* LINT0 is read by the 8259's side */
    /* Owner only. */
    _Alignas(64) uint64_t isr[4];
    uint32_t icr_lo, icr_hi, esr;
    uint32_t timer_init, timer_div;
    uint64_t timer_deadline; /* absolute TSC of the next expiry */
    uint64_t page;           /* address part of IA32_APIC_BASE */
};

/* --- I/O APIC --- */
struct vioapic {
    uint64_t rte[VPC_IOAPIC_PINS];
    uint32_t lines;                 /* level of each pin */
    uint8_t again[VPC_IOAPIC_PINS]; /* messages of a level that lasts, without a pause */
    uint32_t resend;                /* pins that wait for resend_at */
    uint64_t resend_at;             /* TSC */
    uint32_t sel, id;
    _Atomic cpuset_t extint; /* CPUs that pin 0, the 8259's output, reaches as ExtINT */
};

/* --- 8259 pair: [0] master, [1] slave --- */
struct vpic_chip {
    uint32_t irr, imr, isr, lines, elcr;
    uint32_t base;   /* vector of input 0 */
    uint32_t lowest; /* input of lowest priority */
    unsigned init;   /* next initialisation word, 2..4; 0: operating */
    bool icw4, single, aeoi, rotate_aeoi, special_mask, nested, read_isr, poll;
};
struct vferr {                   /* x87 errors by interrupt 13 */
    bool ignne;                  /* port F0 was written while this error stood: */
    uint32_t env[X87_ENV_WORDS]; /* ... the x87 environment then */
};
struct vpic {
    struct vpic_chip chip[2];
    _Atomic bool out; /* INTR; read without the lock */
};

/* --- 8254 --- */
struct vpit_channel {
    uint32_t mode, access; /* access: 1 low byte, 2 high byte, 3 both */
    bool bcd, gate, loaded;
    bool write_high, read_high; /* second byte of access 3 is next */
    uint32_t low;               /* first byte written */
    uint32_t reload;            /* 1..65536, or 1..10000 with bcd */
    uint32_t next;              /* written meanwhile, becomes reload at tick switch_at; 0 none */
    uint64_t switch_at;
    uint64_t start;   /* PIT tick at which the count began */
    uint64_t frozen;  /* elapsed ticks while the gate is low, modes 0 and 4 */
    unsigned latched; /* count bytes still to read from latch */
    uint32_t latch;
    bool status_latched;
    uint32_t status;
};
struct vpit {
    struct vpit_channel ch[3];
    uint64_t next_edge; /* PIT tick of channel 0's next rising edge */
};

/* --- MC146818 --- */
struct vrtc {
    uint8_t cmos[128];
    uint32_t index;
    uint64_t base_s;   /* seconds since 1970 at vpc.tsc0 */
    uint64_t seen_s;   /* seconds already turned into UF and AF */
    uint64_t seen_per; /* periods already turned into PF */
};

struct vpm {
    uint32_t en, cnt;
    uint64_t carries; /* half periods of the timer acknowledged through TMR_STS */
    bool woken;       /* WAK_STS: from a sleep that did not happen */
    bool sleep_said;  /* that it did not */
};

#define VUART_FIFO 16
#define VUART_TX 256
struct vuart {
    uint32_t ier, lcr, mcr, msr, scr, dll, dlm, fcr;
    bool thr_int, overrun;
    bool brk;                /* LSR's break indicator */
    bool timeout;            /* the FIFO's time-out interrupt is pending */
    uint64_t rx_tsc;         /* when a character came or was read last */
    uint16_t rx[VUART_FIFO]; /* each a byte, or VPC_UART_BREAK */
    unsigned rx_head, rx_count;
    uint32_t starved; /* CPU of the machine + 1 of the one whose character was refused, 0 none */
    char tx[VUART_TX];
    unsigned tx_len;
    _Atomic uint64_t tx_deadline; /* TSC at which collected text goes out */
    _Atomic uint32_t tx_cpu;      /* whose timer sees to it */
};

struct vmisc {
    uint32_t port61, port92;
    _Atomic uint32_t post_code;
    uint32_t pci_address, reset_control;
};

#define VKBC_FIFO 16
struct vkbc {
    uint8_t byte[VKBC_FIFO], status[VKBC_FIFO]; /* what waits, and status bits that go with it */
    unsigned head, count;
    uint8_t last;         /* read again where nothing waits */
    uint8_t ram;          /* command byte */
    uint8_t spare[32];    /* the rest of the controller's memory */
    uint8_t command;      /* of the controller, waits for its byte; 0 none */
    uint8_t kbd_command;  /* of the keyboard, likewise */
    uint8_t scancode_set; /* 1..3 */
    bool last_command;    /* last written: 64, not 60 */
};

struct vvga_file { /* registers behind an index */
    uint8_t index, reg[32];
};
struct vvga {
    struct vvga_file crtc, seq, gfx;
    uint8_t attr[21], attr_index;
    bool attr_data; /* the next write to 3C0 is data */
    uint8_t misc, feature, dac_mask, dac[768];
    uint32_t dac_read, dac_write;
    bool dac_reading;
};

#define VFWCFG_ITEM (4 + 64 * (VPC_FW_FILES + 1)) /* the largest is the directory */
struct vfwcfg {
    const uint8_t *data; /* the item selected: in item[], or a file */
    size_t at, len;
    uint8_t item[VFWCFG_ITEM];
    struct vfwcfg_file {
        const char *name;
        const uint8_t *data;
        size_t len;
    } file[VPC_FW_FILES];
    unsigned nfiles;
    uint8_t e820[60];
};

struct vtestdev {
    uint8_t byte[4];
};

struct vpc {
    struct vpc_config cfg;
    struct vbus bus;
    struct lock lock;
    uint64_t tsc0;                 /* the devices' clocks start here */
    _Atomic uint64_t dev_deadline; /* TSC of the next PIT, RTC or PM event; CPU 0 sees to it */
    _Atomic uint32_t lowest_next;  /* rotates lowest-priority delivery */
    _Atomic bool output_seen;      /* set at the first character; read without the lock */
    struct vioapic ioapic;
    struct vpic pic;
    struct vferr ferr[HV_MAX_CPUS]; /* each its owner's */
    struct vpit pit;
    struct vrtc rtc;
    struct vpm pm;
    struct vuart uart;
    struct vmisc misc;
    struct vkbc kbc;
    struct vvga vga;
    struct vfwcfg fwcfg;
    struct vtestdev testdev;
    struct pci_bus pci; /* has a lock of its own, taken before this one */
    uint32_t pci_lines; /* level of each of the bus's lines */
    struct vlapic lapic[HV_MAX_CPUS];
};

/* n * mul / div without 128-bit division: exact for mul * div < 2^63. */
static inline uint64_t scale(uint64_t n, uint64_t mul, uint64_t div)
{
    return n / div * mul + n % div * mul / div;
}
static inline uint64_t scale_up(uint64_t n, uint64_t mul, uint64_t div)
{
    return n / div * mul + (n % div * mul + div - 1) / div;
}
/* Ticks of a `hz` clock since power-on at TSC `now`. */
static inline uint64_t vpc_ticks(const struct vpc *pc, uint64_t now, uint64_t hz)
{
    return now <= pc->tsc0 ? 0 : scale(now - pc->tsc0, hz, pc->cfg.tsc_hz);
}
/* First TSC at which vpc_ticks() gives `tick`. */
static inline uint64_t vpc_tick_tsc(const struct vpc *pc, uint64_t tick, uint64_t hz)
{
    return pc->tsc0 + scale_up(tick, pc->cfg.tsc_hz, hz);
}
static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Tells CPU `to` to look at its local APIC or at its deadlines; `from` is the CPU we are on, which
 * does both in every round of its loop anyway. */
void vpc_kick(struct vpc *pc, uint32_t from, uint32_t to, uint64_t action);
/* ISA interrupt line to the 8259s and the I/O APIC. `from`: the CPU we are on. Lock held. */
void vpc_irq(struct vpc *pc, uint32_t from, unsigned irq, bool level);
/* A device's next event may have moved: recomputes dev_deadline, tells CPU 0. Lock held. */
void vpc_rearm(struct vpc *pc, uint32_t from);
/* The guest ended the VM. No lock held. */
void vpc_end(struct vpc *pc, bool reset);
/* The guest pulsed INIT of all CPUs: a restart in place if it asked for one (vpc_warm_start), else
 * the end of the VM. No lock held. */
void vpc_soft_reset(struct vpc *pc, uint32_t from);
/* Shutdown status in CMOS that asks for a restart in place. Lock held. */
enum vpc_warm vrtc_warm(const struct vpc *pc);

/* --- local APIC, internal --- */
void vlapic_init(struct vpc *pc);
void vlapic_mmio(void *dev, struct vio *io);
/* IA32_APIC_BASE: address and mode bits. Owner CPU, or before it runs. */
void vlapic_move(struct vpc *pc, uint32_t cpu, uint64_t page, uint32_t bits);
uint32_t vlapic_read(struct vpc *pc, uint32_t cpu, uint32_t reg);
void vlapic_write(struct vpc *pc, uint32_t cpu, uint32_t reg, uint32_t value);
/* As vlapic_set_irr; false: the target does not take it. */
bool vlapic_deliver(struct vpc *pc, uint32_t from, uint32_t cpu, uint32_t vector, bool level);
void vlapic_error(struct vpc *pc, uint32_t from, uint32_t cpu, uint32_t esr_bit);
static inline bool vlapic_x2(const struct vlapic *a)
{
    return atomic_load_explicit(&a->base, memory_order_relaxed) & APIC_BASE_EXTD;
}
/* CPUs a destination names; x2: 32-bit format, else 8-bit. */
cpuset_t vlapic_dest(const struct vpc *pc, uint32_t dest, bool logical, bool x2);
/* Fixed, lowest-priority, NMI, INIT, SIPI to the set. false: nobody took it. */
bool vlapic_send(struct vpc *pc, uint32_t from, cpuset_t to, unsigned mode, uint32_t vector,
                 bool level);
void vlapic_icr(struct vpc *pc, uint32_t cpu, uint32_t lo, uint32_t dest, bool x2);
void vlapic_timer_reset(struct vlapic *a);
void vlapic_timer_lvt(struct vpc *pc, uint32_t cpu, uint32_t old, uint32_t value);
void vlapic_timer_start(struct vpc *pc, uint32_t cpu, uint32_t count);
void vlapic_timer_divide(struct vpc *pc, uint32_t cpu, uint32_t value);
uint32_t vlapic_timer_current(const struct vpc *pc, const struct vlapic *a, uint64_t now);
void vlapic_timer_set_tsc(struct vpc *pc, uint32_t cpu, uint64_t deadline);
uint64_t vlapic_timer_run(struct vpc *pc, uint32_t cpu, uint64_t now);

/* --- devices, lock held unless said --- */
void vioapic_init(struct vpc *pc);
void vioapic_mmio(void *dev, struct vio *io); /* takes the lock */
void vioapic_set_line(struct vpc *pc, uint32_t from, unsigned pin, bool level);
void vioapic_eoi(struct vpc *pc, uint32_t from, uint32_t vector); /* takes the lock */
void vioapic_run(struct vpc *pc, uint32_t from, uint64_t now);
uint64_t vioapic_deadline(const struct vpc *pc);

void vpic_init(struct vpc *pc);
void vpic_set_line(struct vpc *pc, uint32_t from, unsigned irq, bool level);
/* INTA: the vector; input 7 of a chip that has nothing to deliver. */
uint32_t vpic_ack(struct vpc *pc, uint32_t from);
/* The non-specific EOI of both chips that firmware gives. */
void vpic_eoi(struct vpc *pc, uint32_t from);

void vferr_init(struct vpc *pc);

void vpit_init(struct vpc *pc);
void vpit_gate2(struct vpc *pc, uint64_t now, bool gate);
bool vpit_out2(struct vpc *pc, uint64_t now);
void vpit_run(struct vpc *pc, uint32_t from, uint64_t now);
uint64_t vpit_deadline(const struct vpc *pc);

void vrtc_init(struct vpc *pc);
void vrtc_run(struct vpc *pc, uint32_t from, uint64_t now);
uint64_t vrtc_deadline(const struct vpc *pc, uint64_t now);

void vpm_init(struct vpc *pc);
void vpm_run(struct vpc *pc, uint32_t from, uint64_t now);
uint64_t vpm_deadline(const struct vpc *pc, uint64_t now);

void vuart_init(struct vpc *pc);
/* Puts collected text out if there is any. Takes the lock; no lock held. */
void vuart_flush(struct vpc *pc);
/* The receiver's time-out: what is due, and when it is. */
void vuart_run(struct vpc *pc, uint32_t from, uint64_t now);
uint64_t vuart_deadline(const struct vpc *pc);

void vmisc_init(struct vpc *pc);
void vkbc_init(struct vpc *pc);
void vvga_init(struct vpc *pc);
void vfwcfg_init(struct vpc *pc);
void vtestdev_init(struct vpc *pc);
void vpci_init(struct vpc *pc);
void vpci_windows(struct vpc *pc); /* behind all others in the order of search */
