/* SPDX-License-Identifier: BSD-2-Clause */
/* The pair of 8259A interrupt controllers with the edge/level registers of the EISA bridge. Guarded
 * by the device lock; the output can be read without it. Tested by tools/tests/test_vdev_pic.c. */
#include "hv/vdev/pc/vpc_state.h"

#define CASCADE 2 /* the master's input that carries the slave */

/* Initialisation and operation command words, by the names of the data sheet. */
#define ICW1_SELECT 0x10u /* else OCW2 or OCW3 */
#define ICW1_IC4 0x01u
#define ICW1_SNGL 0x02u
#define ICW2_BASE 0xf8u
#define ICW4_AEOI 0x02u
#define ICW4_SFNM 0x10u
#define OCW2_EOI 0x20u
#define OCW3_SELECT 0x08u
#define OCW3_RIS 0x01u
#define OCW3_RR 0x02u
#define OCW3_P 0x04u
#define OCW3_SMM 0x20u
#define OCW3_ESMM 0x40u
#define POLL_I 0x80u
/* what the next word is */
enum { OPERATING = 0, ICW2 = 2, ICW3, ICW4 };
/* OCW2, bits R, SL, EOI */
enum {
    AEOI_ROTATE_OFF,
    EOI,
    OCW2_NOTHING,
    EOI_SPECIFIC,
    AEOI_ROTATE_ON,
    EOI_ROTATE,
    SET_PRIORITY,
    EOI_SPECIFIC_ROTATE
};

/* 0 highest .. 7 lowest; 8: no bit. */
static unsigned chip_rank(const struct vpic_chip *p, uint32_t bits)
{
    for (unsigned i = 0; i < 8; i++)
        if (bits & 1u << ((p->lowest + 1 + i) & 7))
            return i;
    return 8;
}

/* The input the chip would deliver now, or -1. */
static int chip_pending(const struct vpic_chip *p, bool master)
{
    uint32_t served = p->isr;
    if (p->special_mask)
        served &= ~p->imr;
    if (master && p->nested) /* special fully nested: the slave may interrupt itself */
        served &= ~(1u << CASCADE);
    unsigned want = chip_rank(p, p->irr & ~p->imr);
    if (want == 8 || want >= chip_rank(p, served))
        return -1;
    return (int)((p->lowest + 1 + want) & 7);
}

static void chip_ack(struct vpic_chip *p, unsigned input)
{
    if (!(p->elcr & 1u << input))
        p->irr &= ~(1u << input);
    if (!p->aeoi)
        p->isr |= 1u << input;
    else if (p->rotate_aeoi)
        p->lowest = input;
}

/* Recomputes the cascade and the output, and tells those the output reaches. */
static void vpic_update(struct vpc *pc, uint32_t from)
{
    struct vpic *pic = &pc->pic;
    struct vpic_chip *m = &pic->chip[0];
    if (chip_pending(&pic->chip[1], false) >= 0)
        m->irr |= 1u << CASCADE;
    else
        m->irr &= ~(1u << CASCADE);
    bool out = chip_pending(m, true) >= 0;
    bool old = atomic_load_explicit(&pic->out, memory_order_relaxed);
    if (out == old)
        return;
    /* release: pairs with vlapic_extint */
    atomic_store_explicit(&pic->out, out, memory_order_release);
    vioapic_set_line(pc, from, 0, out);
    if (!out)
        return;
    cpuset_t set = atomic_load_explicit(&pc->ioapic.extint, memory_order_relaxed) | 1;
    for (; set; set &= set - 1)
        vpc_kick(pc, from, (uint32_t)__builtin_ctz(set), ACTION_IRQ);
    uint32_t lint0 = atomic_load_explicit(&pc->lapic[0].lvt[LVT_LINT0], memory_order_relaxed);
    unsigned mode = DELIVERY_MODE(lint0);
    if (!(lint0 & LVT_MASKED) && (mode == DM_FIXED || mode == DM_NMI))
        (void)vlapic_send(pc, from, 1, mode, lint0 & 0xff, false);
}

void vpic_set_line(struct vpc *pc, uint32_t from, unsigned irq, bool level)
{
    struct vpic_chip *p = &pc->pic.chip[irq >> 3];
    uint32_t bit = 1u << (irq & 7), rose = level && !(p->lines & bit);
    p->lines = level ? p->lines | bit : p->lines & ~bit;
    if (!level)
        p->irr &= ~bit; /* a request must stay until INTA (8259A data sheet, "IR inputs") */
    else if (rose || (p->elcr & bit))
        p->irr |= bit;
    vpic_update(pc, from);
}

uint32_t vpic_ack(struct vpc *pc, uint32_t from)
{
    struct vpic_chip *m = &pc->pic.chip[0], *s = &pc->pic.chip[1];
    int input = chip_pending(m, true);
    uint32_t vector;
    if (input < 0) {
        vector = m->base + 7; /* spurious: nothing in service */
    } else if (input != CASCADE) {
        chip_ack(m, (unsigned)input);
        vector = m->base + (unsigned)input;
    } else {
        int slave = chip_pending(s, false);
        chip_ack(m, CASCADE);
        if (slave >= 0)
            chip_ack(s, (unsigned)slave);
        vector = s->base + (slave < 0 ? 7 : (unsigned)slave);
    }
    vpic_update(pc, from);
    return vector;
}

/* --- programming --- */
static void chip_icw1(struct vpic_chip *p, uint32_t value)
{
    p->imr = p->isr = 0;
    p->irr = p->lines & p->elcr;
    p->lowest = 7;
    p->special_mask = p->read_isr = p->poll = p->rotate_aeoi = false;
    p->icw4 = value & ICW1_IC4;
    p->single = value & ICW1_SNGL;
    if (!p->icw4)
        p->aeoi = p->nested = false;
    p->init = ICW2;
}

static void chip_ocw2(struct vpic_chip *p, uint32_t value)
{
    unsigned level = value & 7, op = value >> 5;
    uint32_t served = p->special_mask ? p->isr & ~p->imr : p->isr;
    unsigned rank = chip_rank(p, served);
    unsigned top = (p->lowest + 1 + rank) & 7;
    switch (op) {
    case EOI:
    case EOI_ROTATE:
        if (rank == 8)
            break;
        p->isr &= ~(1u << top);
        if (op == EOI_ROTATE)
            p->lowest = top;
        break;
    case EOI_SPECIFIC:
    case EOI_SPECIFIC_ROTATE:
        p->isr &= ~(1u << level);
        if (op == EOI_SPECIFIC_ROTATE)
            p->lowest = level;
        break;
    case AEOI_ROTATE_OFF:
    case AEOI_ROTATE_ON:
        p->rotate_aeoi = op == AEOI_ROTATE_ON;
        break;
    case SET_PRIORITY:
        p->lowest = level;
        break;
    default:
        break;
    }
}

static void chip_ocw3(struct vpic_chip *p, uint32_t value)
{
    if (value & OCW3_ESMM)
        p->special_mask = value & OCW3_SMM;
    p->poll = value & OCW3_P;
    if (value & OCW3_RR)
        p->read_isr = value & OCW3_RIS;
}

static void chip_write(struct vpic_chip *p, bool data, uint32_t value)
{
    if (!data) {
        if (value & ICW1_SELECT)
            chip_icw1(p, value);
        else if (value & OCW3_SELECT)
            chip_ocw3(p, value);
        else
            chip_ocw2(p, value);
        return;
    }
    switch (p->init) {
    case ICW2:
        p->base = value & ICW2_BASE;
        p->init = !p->single ? ICW3 : p->icw4 ? ICW4 : OPERATING;
        break;
    case ICW3: /* the wiring is fixed */
        p->init = p->icw4 ? ICW4 : OPERATING;
        break;
    case ICW4:
        p->aeoi = value & ICW4_AEOI;
        p->nested = value & ICW4_SFNM;
        p->init = OPERATING;
        break;
    default:
        p->imr = value;
        break;
    }
}

static uint32_t chip_read(struct vpic_chip *p, bool data, bool master)
{
    if (p->poll) {
        int input = chip_pending(p, master);
        p->poll = false;
        if (input < 0)
            return 7;
        chip_ack(p, (unsigned)input);
        return POLL_I | (unsigned)input;
    }
    if (data)
        return p->imr;
    return p->read_isr ? p->isr : p->irr;
}

void vpic_eoi(struct vpc *pc, uint32_t from)
{
    chip_ocw2(&pc->pic.chip[1], OCW2_EOI);
    chip_ocw2(&pc->pic.chip[0], OCW2_EOI);
    vpic_update(pc, from);
}

static void vpic_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    bool slave = io->addr & (PIC1_CMD ^ PIC2_CMD), data = io->addr & 1;
    struct vpic_chip *p = &pc->pic.chip[slave];
    lock_take(&pc->lock);
    if (io->write)
        chip_write(p, data, (uint32_t)io->value);
    else
        io->value = chip_read(p, data, !slave);
    vpic_update(pc, io->cpu);
    lock_drop(&pc->lock);
}

static void vpic_elcr(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    bool slave = io->addr & 1;
    struct vpic_chip *p = &pc->pic.chip[slave];
    lock_take(&pc->lock);
    if (io->write) {
        p->elcr = (uint32_t)io->value & (slave ? 0xde : 0xf8); /* the others are edge always */
        p->irr = (p->irr & ~p->elcr) | (p->lines & p->elcr);
        vpic_update(pc, io->cpu);
    } else {
        io->value = p->elcr;
    }
    lock_drop(&pc->lock);
}

void vpic_init(struct vpc *pc)
{
    for (unsigned i = 0; i < 2; i++) {
        pc->pic.chip[i].lowest = 7;
        pc->pic.chip[i].base = i ? 0x70 : 0x08; /* as firmware programs them */
        pc->pic.chip[i].imr = 0xff;
    }
    vbus_add_pio_bytes(&pc->bus, PIC1_CMD, 2, vpic_io, pc);
    vbus_add_pio_bytes(&pc->bus, PIC2_CMD, 2, vpic_io, pc);
    vbus_add_pio_bytes(&pc->bus, PIC_ELCR1, 2, vpic_elcr, pc);
}
