/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC: pending, in-service and priority registers, its register file as seen by memory
 * accesses. Everything but the pending registers is touched by the owner alone, without a lock.
 * Tested by tools/tests/test_vdev_lapic.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"

#define VERSION 0x00050014u /* integrated, LVT entries 0..5 */
#define XAPIC_DEST 0xff000000u
#define DFR_RESERVED 0x0fffffffu /* ones */

#define load(p) atomic_load_explicit(p, memory_order_relaxed)
#define store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

/* Bits a guest can write in each LVT entry (APM 16.4 "Local Interrupts"; SDM 11.5.1). */
static const uint32_t lvt_mask[LVT_COUNT] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x107ff,
};

void vlapic_reset(struct vpc *pc, uint32_t cpu)
{
    struct vlapic *a = &pc->lapic[cpu];
    for (unsigned i = 0; i < 4; i++) {
        store(&a->irr[i], 0);
        store(&a->tmr[i], 0);
        a->isr[i] = 0;
    }
    store(&a->errors, 0);
    store(&a->svr, 0xff);
    store(&a->dfr, ~0u);
    store(&a->tpr, 0);
    /* x2APIC: the logical ID is derived from the ID (SDM 11.12.10.2) */
    store(&a->ldr, vlapic_x2(a) ? (cpu >> 4) << 16 | 1u << (cpu & 15) : 0);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        store(&a->lvt[i], LVT_MASKED);
    a->icr_lo = a->icr_hi = a->esr = 0;
    vlapic_timer_reset(a);
}

void vlapic_move(struct vpc *pc, uint32_t cpu, uint64_t page, uint32_t bits)
{
    struct vlapic *a = &pc->lapic[cpu];
    bool mapped = (bits & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN;
    a->page = page;
    store(&a->base, bits);
    vbus_cpu_page(&pc->bus, cpu, mapped ? page : VBUS_NO_PAGE);
}

void vlapic_init(struct vpc *pc)
{
    vbus_cpu_device(&pc->bus, vlapic_mmio, pc);
    for (uint32_t c = 0; c < pc->cfg.ncpus; c++) {
        vlapic_move(pc, c, VPC_LAPIC_BASE, APIC_BASE_EN | (c == 0 ? APIC_BASE_BSP : 0));
        vlapic_reset(pc, c);
    }
    /* what firmware leaves on the boot processor: virtual wire mode */
    store(&pc->lapic[0].svr, SVR_ENABLE | 0xff);
    store(&pc->lapic[0].lvt[LVT_LINT0], DM_EXTINT << 8);
    store(&pc->lapic[0].lvt[LVT_LINT1], DM_NMI << 8);
}

/* --- pending and in service --- */
static int top_bit(uint64_t w3, uint64_t w2, uint64_t w1, uint64_t w0)
{
    if (w3)
        return 255 - __builtin_clzll(w3);
    if (w2)
        return 191 - __builtin_clzll(w2);
    if (w1)
        return 127 - __builtin_clzll(w1);
    return w0 ? 63 - __builtin_clzll(w0) : -1;
}

static uint32_t vlapic_ppr(const struct vlapic *a)
{
    int isrv = top_bit(a->isr[3], a->isr[2], a->isr[1], a->isr[0]);
    uint32_t served = isrv < 0 ? 0 : (uint32_t)isrv & 0xf0;
    uint32_t tpr = load(&a->tpr);
    return (tpr & 0xf0) >= served ? tpr : served;
}

/* true if the 8259s' output reaches this CPU as an external interrupt. */
static bool vlapic_extint(const struct vpc *pc, uint32_t cpu)
{
    const struct vlapic *a = &pc->lapic[cpu];
    if (!atomic_load_explicit(&pc->pic.out, memory_order_acquire))
        return false;
    if (load(&pc->ioapic.extint) & 1u << cpu)
        return true;
    if (cpu != 0)
        return false;
    if (!(load(&a->base) & APIC_BASE_EN))
        return true; /* LINT0 is the INTR pin then */
    uint32_t lint0 = load(&a->lvt[LVT_LINT0]);
    return !(lint0 & LVT_MASKED) && DELIVERY_MODE(lint0) == DM_EXTINT;
}

int vlapic_pending(struct vpc *pc, uint32_t cpu)
{
    struct vlapic *a = &pc->lapic[cpu];
    int top = top_bit(load(&a->irr[3]), load(&a->irr[2]), load(&a->irr[1]), load(&a->irr[0]));
    if (top >= 0 && ((uint32_t)top & 0xf0) > (vlapic_ppr(a) & 0xf0))
        return top;
    return vlapic_extint(pc, cpu) ? 0 : -1; /* the 8259 says which vector at INTA */
}

int vlapic_accept(struct vpc *pc, uint32_t cpu)
{
    struct vlapic *a = &pc->lapic[cpu];
    int top = top_bit(load(&a->irr[3]), load(&a->irr[2]), load(&a->irr[1]), load(&a->irr[0]));
    if (top >= 0 && ((uint32_t)top & 0xf0) > (vlapic_ppr(a) & 0xf0)) {
        /* acquire: what the sender stored before setting the bit is visible to the handler */
        atomic_fetch_and_explicit(&a->irr[top >> 6], ~BIT(top & 63), memory_order_acq_rel);
        a->isr[top >> 6] |= BIT(top & 63);
        return top;
    }
    if (!vlapic_extint(pc, cpu))
        return -1;
    int vector = -1;
    lock_take(&pc->lock);
    if (load(&pc->pic.out)) /* still there */
        vector = (int)vpic_ack(pc, cpu);
    lock_drop(&pc->lock);
    return vector;
}

void vlapic_give_back(struct vpc *pc, uint32_t cpu, uint8_t vector)
{
    struct vlapic *a = &pc->lapic[cpu];

    a->isr[vector >> 6] &= ~BIT(vector & 63);
    atomic_fetch_or_explicit(&a->irr[vector >> 6], BIT(vector & 63), memory_order_release);
}

bool vlapic_deliver(struct vpc *pc, uint32_t from, uint32_t cpu, uint32_t vector, bool level)
{
    struct vlapic *a = &pc->lapic[cpu];
    if (!(load(&a->svr) & SVR_ENABLE) || !(load(&a->base) & APIC_BASE_EN))
        return false;
    if (vector < VECTOR_FIRST) {
        vlapic_error(pc, from, cpu, ESR_RECEIVE_ILLEGAL);
        return false;
    }
    uint64_t bit = BIT(vector & 63);
    _Atomic uint64_t *tmr = &a->tmr[vector >> 6];
    if (level)
        atomic_fetch_or_explicit(tmr, bit, memory_order_relaxed);
    else if (load(tmr) & bit)
        atomic_fetch_and_explicit(tmr, ~bit, memory_order_relaxed);
    /* release: pairs with vlapic_accept. Whoever set the bit first also posts the action. */
    if (!(atomic_fetch_or_explicit(&a->irr[vector >> 6], bit, memory_order_acq_rel) & bit))
        vpc_kick(pc, from, cpu, ACTION_IRQ);
    return true;
}

void vlapic_set_irr(struct vpc *pc, uint32_t from_cpu, uint32_t cpu, uint8_t vector, bool level)
{
    (void)vlapic_deliver(pc, from_cpu, cpu, vector, level);
}

void vlapic_error(struct vpc *pc, uint32_t from, uint32_t cpu, uint32_t esr_bit)
{
    struct vlapic *a = &pc->lapic[cpu];
    atomic_fetch_or_explicit(&a->errors, esr_bit, memory_order_relaxed);
    uint32_t lvt = load(&a->lvt[LVT_ERROR]);
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= VECTOR_FIRST)
        (void)vlapic_deliver(pc, from, cpu, lvt & 0xff, false);
}

void vlapic_eoi(struct vpc *pc, uint32_t cpu)
{
    struct vlapic *a = &pc->lapic[cpu];
    int top = top_bit(a->isr[3], a->isr[2], a->isr[1], a->isr[0]);
    if (top < 0)
        return;
    a->isr[top >> 6] &= ~BIT(top & 63);
    if (load(&a->tmr[top >> 6]) & BIT(top & 63))
        vioapic_eoi(pc, cpu, (uint32_t)top);
}

bool vlapic_irr_any(struct vpc *pc, uint32_t cpu)
{
    const struct vlapic *a = &pc->lapic[cpu];
    return (load(&a->irr[0]) | load(&a->irr[1]) | load(&a->irr[2]) | load(&a->irr[3])) != 0 ||
           vlapic_extint(pc, cpu);
}

bool vlapic_eoi_plain(struct vpc *pc, uint32_t cpu, uint8_t vector)
{
    const struct vlapic *a = &pc->lapic[cpu];
    for (unsigned i = 0; i < 4; i++)
        if (a->isr[i] != (i == vector >> 6 ? BIT(vector & 63) : 0))
            return false;
    return !(load(&a->tmr[vector >> 6]) & BIT(vector & 63)) && !vlapic_irr_any(pc, cpu);
}

uint8_t vlapic_get_cr8(struct vpc *pc, uint32_t cpu)
{
    return (uint8_t)(load(&pc->lapic[cpu].tpr) >> 4);
}

void vlapic_set_cr8(struct vpc *pc, uint32_t cpu, uint8_t cr8)
{
    store(&pc->lapic[cpu].tpr, (uint32_t)(cr8 & 15) << 4);
}

/* --- registers --- */
static uint32_t atomic_word(const _Atomic uint64_t *w, uint32_t reg)
{
    unsigned i = X2APIC_INDEX(reg) & 7;
    return (uint32_t)(load(&w[i >> 1]) >> (32 * (i & 1)));
}

uint32_t vlapic_read(struct vpc *pc, uint32_t cpu, uint32_t reg)
{
    struct vlapic *a = &pc->lapic[cpu];
    switch (reg) {
    case APIC_ID:
        return vlapic_x2(a) ? cpu : cpu << 24;
    case APIC_VERSION:
        return VERSION;
    case APIC_TPR:
        return load(&a->tpr);
    case APIC_PPR:
        return vlapic_ppr(a);
    case APIC_LDR:
        return load(&a->ldr);
    case APIC_DFR:
        return load(&a->dfr);
    case APIC_SVR:
        return load(&a->svr);
    case APIC_ESR:
        return a->esr;
    case APIC_ICR:
        return a->icr_lo;
    case APIC_ICR_HIGH:
        return a->icr_hi;
    case APIC_LVT_TIMER ... APIC_LVT_ERROR:
        return load(&a->lvt[X2APIC_INDEX(reg - APIC_LVT_TIMER)]);
    case APIC_TIMER_ICT:
        return a->timer_init;
    case APIC_TIMER_CCT:
        return vlapic_timer_current(pc, a, port_tsc());
    case APIC_TIMER_DCR:
        return a->timer_div;
    case APIC_ISR ... APIC_ISR_LAST:
        return (uint32_t)(a->isr[(reg >> 5) & 3] >> (32 * (X2APIC_INDEX(reg) & 1)));
    case APIC_TMR ... APIC_TMR_LAST:
        return atomic_word(a->tmr, reg);
    case APIC_IRR ... APIC_IRR_LAST:
        return atomic_word(a->irr, reg);
    default:
        return 0;
    }
}

static void vlapic_write_svr(struct vlapic *a, uint32_t value)
{
    store(&a->svr, value & SVR_WRITABLE);
    if (value & SVR_ENABLE)
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++) /* SDM 11.4.7.2: all LVT mask bits are set */
        store(&a->lvt[i], load(&a->lvt[i]) | LVT_MASKED);
}

static void vlapic_write_lvt(struct vpc *pc, uint32_t cpu, unsigned i, uint32_t value)
{
    struct vlapic *a = &pc->lapic[cpu];
    uint32_t old = load(&a->lvt[i]);
    value &= lvt_mask[i];
    if (!(load(&a->svr) & SVR_ENABLE))
        value |= LVT_MASKED;
    store(&a->lvt[i], value);
    if (i == LVT_TIMER)
        vlapic_timer_lvt(pc, cpu, old, value);
}

void vlapic_write(struct vpc *pc, uint32_t cpu, uint32_t reg, uint32_t value)
{
    struct vlapic *a = &pc->lapic[cpu];
    switch (reg) { /* EOI, timer and ICR first in mind: each is one short path */
    case APIC_EOI:
        vlapic_eoi(pc, cpu);
        break;
    case APIC_TIMER_ICT:
        vlapic_timer_start(pc, cpu, value);
        break;
    case APIC_ICR:
        a->icr_lo = value & ICR_WRITABLE;
        vlapic_icr(pc, cpu, a->icr_lo, a->icr_hi >> APIC_ICR_DEST_SHIFT, false);
        break;
    case APIC_ICR_HIGH:
        a->icr_hi = value & XAPIC_DEST;
        break;
    case APIC_TPR:
        store(&a->tpr, value & TPR_WRITABLE);
        break;
    case APIC_LDR:
        store(&a->ldr, value & XAPIC_DEST);
        break;
    case APIC_DFR:
        store(&a->dfr, value | DFR_RESERVED);
        break;
    case APIC_SVR:
        vlapic_write_svr(a, value);
        break;
    case APIC_ESR: /* a write latches what accumulated (SDM 11.5.3) */
        a->esr = atomic_exchange_explicit(&a->errors, 0, memory_order_relaxed);
        break;
    case APIC_LVT_TIMER ... APIC_LVT_ERROR:
        vlapic_write_lvt(pc, cpu, X2APIC_INDEX(reg - APIC_LVT_TIMER), value);
        break;
    case APIC_TIMER_DCR:
        vlapic_timer_divide(pc, cpu, value & DCR_WRITABLE);
        break;
    default:
        break;
    }
}

bool vlapic_mmio_base(struct vpc *pc, uint32_t cpu, gpa_t *base)
{
    uint32_t b = load(&pc->lapic[cpu].base);
    *base = gpa(pc->lapic[cpu].page);
    return (b & APIC_BASE_EN) && !(b & APIC_BASE_EXTD);
}

/* Only aligned 32-bit writes are defined. */
void vlapic_mmio(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    uint32_t off = (uint32_t)(io->addr & PAGE_MASK);
    if (io->write) {
        if (io->size == 4 && !(off & (APIC_REG_BYTES - 1)))
            vlapic_write(pc, io->cpu, off, (uint32_t)io->value);
        return;
    }
    unsigned shift = 8 * (off & (APIC_REG_BYTES - 1));
    io->value =
        shift < 32 ? (uint64_t)vlapic_read(pc, io->cpu, off & ~(APIC_REG_BYTES - 1)) >> shift : 0;
}
