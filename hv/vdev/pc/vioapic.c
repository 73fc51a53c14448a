/* SPDX-License-Identifier: BSD-2-Clause */
/* The I/O APIC (82093AA with the EOI register of version 20h). Guarded by the device lock.
 * Tested by tools/tests/test_vdev_ioapic.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/port/cpu.h"

#define IOAPIC_VERSION (0x20u | (VPC_IOAPIC_PINS - 1) << 16)
#define REDIR_END (IOAPIC_REG_REDIR + 2 * VPC_IOAPIC_PINS)
#define RTE_LOGICAL BIT(11)
#define RTE_STATUS BIT(12)
#define RTE_REMOTE_IRR BIT(14)
#define RTE_LEVEL BIT(15)
#define RTE_MASKED BIT(16)
#define RTE_WRITABLE (MASK(63, 56) | MASK(16, 15) | BIT(13) | MASK(11, 0))
/* So often a level that outlasts its EOI comes again at once, then after a pause: on a bus the next
 * message takes its time, and the interrupted program, which may be what ends it, gets on. */
#define RESENDS 64
#define RESEND_US 1000
#define RTE_MODE(r) ((unsigned)DELIVERY_MODE(r))
#define RTE_DEST(r) ((uint32_t)((r) >> 56))

/* Sends what the pin has to say, if anything: an edge was seen, or a level is asserted. */
static void vioapic_service(struct vpc *pc, uint32_t from, unsigned pin)
{
    uint64_t *rte = &pc->ioapic.rte[pin], r = *rte;
    bool level = r & RTE_LEVEL;
    if ((r & RTE_MASKED) || RTE_MODE(r) == DM_EXTINT)
        return;
    if (level && ((r & RTE_REMOTE_IRR) || !(pc->ioapic.lines & 1u << pin)))
        return;
    cpuset_t to = vlapic_dest(pc, RTE_DEST(r), r & RTE_LOGICAL, false);
    bool fixed = RTE_MODE(r) == DM_FIXED || RTE_MODE(r) == DM_LOWEST;
    /* An EOI that comes from another CPU at once waits for the lock we hold. */
    if (vlapic_send(pc, from, to, RTE_MODE(r), (uint32_t)r & 0xff, level && fixed) && level &&
        fixed)
        *rte |= RTE_REMOTE_IRR;
}

void vioapic_set_line(struct vpc *pc, uint32_t from, unsigned pin, bool level)
{
    struct vioapic *io = &pc->ioapic;
    uint32_t bit = 1u << pin, old = io->lines & bit;
    if (level) {
        io->lines |= bit;
    } else {
        io->lines &= ~bit;
        io->resend &= ~bit;
        io->again[pin] = 0;
    }
    if (level && (!old || (io->rte[pin] & RTE_LEVEL)))
        vioapic_service(pc, from, pin);
}

/* Still asserted after its EOI. */
static void vioapic_again(struct vpc *pc, uint32_t from, unsigned pin)
{
    struct vioapic *io = &pc->ioapic;
    if (++io->again[pin] < RESENDS) {
        vioapic_service(pc, from, pin);
        return;
    }
    io->again[pin] = 0;
    if (!io->resend)
        io->resend_at = port_tsc() + pc->cfg.tsc_hz / 1000000 * RESEND_US;
    io->resend |= 1u << pin;
    vpc_rearm(pc, from);
}

uint64_t vioapic_deadline(const struct vpc *pc)
{
    return pc->ioapic.resend ? pc->ioapic.resend_at : NO_DEADLINE;
}

void vioapic_run(struct vpc *pc, uint32_t from, uint64_t now)
{
    uint32_t pins = pc->ioapic.resend;
    if (!pins || now < pc->ioapic.resend_at)
        return;
    pc->ioapic.resend = 0;
    for (; pins; pins &= pins - 1)
        vioapic_service(pc, from, (unsigned)__builtin_ctz(pins));
}

static void vioapic_end(struct vpc *pc, uint32_t from, uint32_t vector)
{
    for (unsigned i = 0; i < VPC_IOAPIC_PINS; i++) {
        uint64_t *rte = &pc->ioapic.rte[i];
        if ((*rte & 0xff) != vector || !(*rte & RTE_REMOTE_IRR))
            continue;
        *rte &= ~RTE_REMOTE_IRR;
        if (pc->ioapic.lines & 1u << i)
            vioapic_again(pc, from, i);
    }
}

void vioapic_eoi(struct vpc *pc, uint32_t from, uint32_t vector)
{
    lock_take(&pc->lock);
    vioapic_end(pc, from, vector);
    lock_drop(&pc->lock);
}

static void vioapic_write_rte(struct vpc *pc, uint32_t from, unsigned pin, uint64_t value,
                              uint64_t bits)
{
    uint64_t *rte = &pc->ioapic.rte[pin];
    bits &= RTE_WRITABLE;
    *rte = (*rte & ~bits) | (value & bits);
    if (!(*rte & RTE_LEVEL)) /* how systems without an EOI register drop a stuck remote IRR */
        *rte &= ~RTE_REMOTE_IRR;
    if (pin == 0) {
        cpuset_t set = 0;
        if (RTE_MODE(*rte) == DM_EXTINT && !(*rte & RTE_MASKED))
            set = vlapic_dest(pc, RTE_DEST(*rte), *rte & RTE_LOGICAL, false);
        atomic_store_explicit(&pc->ioapic.extint, set, memory_order_relaxed);
        if (atomic_load_explicit(&pc->pic.out, memory_order_relaxed))
            for (; set; set &= set - 1)
                vpc_kick(pc, from, (uint32_t)__builtin_ctz(set), ACTION_IRQ);
    }
    if (*rte & RTE_LEVEL)
        vioapic_service(pc, from, pin);
}

static uint32_t vioapic_read(const struct vioapic *io)
{
    uint32_t sel = io->sel;
    if (sel >= IOAPIC_REG_REDIR && sel < REDIR_END)
        return (uint32_t)(io->rte[(sel - IOAPIC_REG_REDIR) >> 1] >> (32 * (sel & 1)));
    switch (sel) {
    case IOAPIC_REG_ID:
    case IOAPIC_REG_ARBITRATION: /* loaded with the ID */
        return io->id << 24;
    case IOAPIC_REG_VERSION:
        return IOAPIC_VERSION;
    default:
        return 0;
    }
}

static void vioapic_write(struct vpc *pc, uint32_t from, uint32_t value)
{
    uint32_t sel = pc->ioapic.sel;
    if (sel == IOAPIC_REG_ID) {
        pc->ioapic.id = value >> 24 & VPC_IOAPIC_ID_MASK;
    } else if (sel >= IOAPIC_REG_REDIR && sel < REDIR_END) {
        unsigned shift = 32 * (sel & 1);
        vioapic_write_rte(pc, from, (sel - IOAPIC_REG_REDIR) >> 1, (uint64_t)value << shift,
                          0xffffffffull << shift);
    }
}

void vioapic_mmio(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    uint32_t off = (uint32_t)(io->addr - VPC_IOAPIC_BASE);
    lock_take(&pc->lock);
    if (!io->write)
        io->value = off == IOAPIC_REGSEL   ? pc->ioapic.sel
                    : off == IOAPIC_WINDOW ? vioapic_read(&pc->ioapic)
                                           : 0;
    else if (off == IOAPIC_REGSEL)
        pc->ioapic.sel = (uint32_t)io->value & 0xff;
    else if (off == IOAPIC_WINDOW)
        vioapic_write(pc, io->cpu, (uint32_t)io->value);
    else if (off == IOAPIC_EOI)
        vioapic_end(pc, io->cpu, (uint32_t)io->value & 0xff);
    lock_drop(&pc->lock);
}

void vioapic_init(struct vpc *pc)
{
    for (unsigned i = 0; i < VPC_IOAPIC_PINS; i++)
        pc->ioapic.rte[i] = RTE_MASKED;
    pc->ioapic.id = vpc_ioapic_id(pc->cfg.ncpus);
    vbus_add_mmio(&pc->bus, VPC_IOAPIC_BASE, PAGE_SIZE, vioapic_mmio, pc);
}
