/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual PC as a whole: building it, interrupt lines, the clockwork of each CPU, its end.
 * Tested by tools/tests/test_vdev_*.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"

size_t vpc_sizeof(void)
{
    return sizeof(struct vpc);
}

struct vbus *vpc_bus(struct vpc *pc)
{
    return &pc->bus;
}

void vpc_init(struct vpc *pc, const struct vpc_config *cfg)
{
    ASSERT(cfg->ncpus >= 1 && cfg->ncpus <= HV_MAX_CPUS && cfg->tsc_hz >= 1000000 &&
           cfg->tsc_hz < BIT(33));
    memset(pc, 0, sizeof(*pc));
    pc->cfg = *cfg;
    pc->lock.level = LOCK_VDEV;
    pc->tsc0 = port_tsc();
    atomic_store_explicit(&pc->dev_deadline, NO_DEADLINE, memory_order_relaxed);
    /* order of registration is order of search: the busiest ports first */
    vuart_init(pc);
    vlapic_init(pc);
    vioapic_init(pc);
    vpic_init(pc);
    vpm_init(pc);
    vpit_init(pc);
    vrtc_init(pc);
    vpci_init(pc);
    vmisc_init(pc);
    vferr_init(pc);
    vkbc_init(pc);
    vvga_init(pc);
    vfwcfg_init(pc);
    vtestdev_init(pc);
    vpci_windows(pc);
}

void vpc_kick(struct vpc *pc, uint32_t from, uint32_t to, uint64_t action)
{
    if (from != to)
        action_post(pc->cfg.co, from, to, action);
}

void vpc_irq(struct vpc *pc, uint32_t from, unsigned irq, bool level)
{
    vpic_set_line(pc, from, irq, level);
    /* pin 2 carries the 8254: the MADT's override of IRQ 0 */
    vioapic_set_line(pc, from, irq == IRQ_PIT ? 2 : irq, level);
}

static uint64_t vpc_dev_next(struct vpc *pc, uint64_t now)
{
    uint64_t next = vpit_deadline(pc);
    next = min_u64(next, vrtc_deadline(pc, now));
    next = min_u64(next, vioapic_deadline(pc));
    next = min_u64(next, vuart_deadline(pc));
    return min_u64(next, vpm_deadline(pc, now));
}

void vpc_rearm(struct vpc *pc, uint32_t from)
{
    uint64_t next = vpc_dev_next(pc, port_tsc());
    if (next == atomic_load_explicit(&pc->dev_deadline, memory_order_relaxed))
        return;
    /* pairs with the acquire load in vpc_timers on CPU 0 */
    atomic_store_explicit(&pc->dev_deadline, next, memory_order_release);
    vpc_kick(pc, from, 0, ACTION_TIMER);
}

uint64_t vpc_timers(struct vpc *pc, uint32_t cpu, uint64_t now)
{
    uint64_t next = vlapic_timer_run(pc, cpu, now);

    uint64_t tx = atomic_load_explicit(&pc->uart.tx_deadline, memory_order_relaxed);
    if (now >= tx)
        vuart_flush(pc);
    else if (atomic_load_explicit(&pc->uart.tx_cpu, memory_order_relaxed) == cpu)
        next = min_u64(next, tx);

    if (cpu != 0)
        return next;
    uint64_t dev = atomic_load_explicit(&pc->dev_deadline, memory_order_acquire);
    if (now >= dev) {
        lock_take(&pc->lock);
        vpit_run(pc, cpu, now);
        vrtc_run(pc, cpu, now);
        vpm_run(pc, cpu, now);
        vioapic_run(pc, cpu, now);
        vuart_run(pc, cpu, now);
        dev = vpc_dev_next(pc, now);
        atomic_store_explicit(&pc->dev_deadline, dev, memory_order_relaxed);
        lock_drop(&pc->lock);
    }
    return min_u64(next, dev);
}

bool vpc_output_seen(const struct vpc *pc)
{
    return atomic_load_explicit(&pc->output_seen, memory_order_relaxed);
}

void vpc_flush(struct vpc *pc)
{
    vuart_flush(pc);
}

void vpc_end(struct vpc *pc, bool reset)
{
    vuart_flush(pc);
    void (*end)(void *) = reset ? pc->cfg.reset : pc->cfg.poweroff;
    if (end)
        end(pc->cfg.ctx);
}

bool vpc_warm_init(struct vpc *pc, uint32_t from)
{
    lock_take(&pc->lock);
    bool warm = vrtc_warm(pc) != VPC_WARM_NONE;
    lock_drop(&pc->lock);
    for (uint32_t c = 0; warm && c < pc->cfg.ncpus; c++)
        action_post(pc->cfg.co, from, c, ACTION_INIT);
    return warm;
}

void vpc_soft_reset(struct vpc *pc, uint32_t from)
{
    if (!vpc_warm_init(pc, from))
        vpc_end(pc, true);
}

static void dump_lapic(const struct vpc *pc, uint32_t cpu, char *line, size_t size)
{
    const struct vlapic *a = &pc->lapic[cpu];
    uint64_t irr[4];
    for (unsigned i = 0; i < 4; i++)
        irr[i] = atomic_load_explicit(&a->irr[i], memory_order_relaxed);
    hv_snprintf(line, size,
                "lapic %u: base 0x%x svr 0x%x tpr 0x%x irr %016llx%016llx%016llx%016llx isr "
                "%016llx%016llx%016llx%016llx",
                cpu, atomic_load_explicit(&a->base, memory_order_relaxed),
                atomic_load_explicit(&a->svr, memory_order_relaxed),
                atomic_load_explicit(&a->tpr, memory_order_relaxed), (unsigned long long)irr[3],
                (unsigned long long)irr[2], (unsigned long long)irr[1], (unsigned long long)irr[0],
                (unsigned long long)a->isr[3], (unsigned long long)a->isr[2],
                (unsigned long long)a->isr[1], (unsigned long long)a->isr[0]);
}

/* Takes no lock: it also runs from a panic; what it prints may tear while other CPUs run. */
void vpc_dump(struct vpc *pc, void (*emit)(const char *line))
{
    char line[240];
    for (uint32_t c = 0; c < pc->cfg.ncpus; c++) {
        const struct vlapic *a = &pc->lapic[c];
        dump_lapic(pc, c, line, sizeof(line));
        emit(line);
        hv_snprintf(line, sizeof(line),
                    "lapic %u: ldr 0x%x lvt timer 0x%x lint0 0x%x lint1 0x%x init 0x%x deadline "
                    "0x%llx",
                    c, a->ldr, a->lvt[LVT_TIMER], a->lvt[LVT_LINT0], a->lvt[LVT_LINT1],
                    a->timer_init, (unsigned long long)a->timer_deadline);
        emit(line);
    }
    for (unsigned i = 0; i < VPC_IOAPIC_PINS; i++) {
        if (pc->ioapic.rte[i] & LVT_MASKED)
            continue;
        hv_snprintf(line, sizeof(line), "ioapic pin %u: 0x%016llx line %u", i,
                    (unsigned long long)pc->ioapic.rte[i], (pc->ioapic.lines >> i) & 1);
        emit(line);
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct vpic_chip *p = &pc->pic.chip[i];
        hv_snprintf(line, sizeof(line), "pic %u: irr 0x%02x imr 0x%02x isr 0x%02x base 0x%02x", i,
                    p->irr, p->imr, p->isr, p->base);
        emit(line);
    }
    hv_snprintf(line, sizeof(line),
                "uart: ier 0x%x lcr 0x%x mcr 0x%x fcr 0x%x rx %u%s%s tx %u; pit0 mode %u "
                "reload %u; pm en 0x%x; next 0x%llx",
                pc->uart.ier, pc->uart.lcr, pc->uart.mcr, pc->uart.fcr, pc->uart.rx_count,
                pc->uart.timeout ? " timeout" : "", pc->uart.starved ? " more" : "",
                pc->uart.tx_len, pc->pit.ch[0].mode, pc->pit.ch[0].reload, pc->pm.en,
                (unsigned long long)atomic_load_explicit(&pc->dev_deadline, memory_order_relaxed));
    emit(line);
}
