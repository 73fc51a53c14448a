/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI power management: PM1a event and control blocks (always in ACPI mode), the 32-bit PM timer,
 * power-off by SLP_EN. Guarded by the device lock. Tested by tools/tests/test_vdev_time.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/log.h"
#include "hv/port/cpu.h"

/* ACPI 6.4, 4.8.3.1 "PM1 Event Grouping" and 4.8.3.2 "PM1 Control Grouping" */
enum { PM1_EVT, PM1_CNT, PM_TMR, PM_WORDS }; /* by 32-bit word from VPC_PM_BASE */
#define PM1_TMR 0x0001u
#define PM1_WAK 0x8000u
#define PM1_EN_MASK 0x0721u /* TMR GBL PWRBTN SLPBTN RTC */
#define PM1_SCI_EN 0x0001u
#define PM1_SLP_TYP(v) ((v) >> 10 & 7)
#define PM1_SLP_EN 0x2000u
#define PM1_CNT_MASK 0x1c03u /* SLP_TYP, BM_RLD and SCI_EN are kept */

/* TMR_STS says that bit 31 of the timer changed. */
static uint64_t carries(const struct vpc *pc, uint64_t now)
{
    return vpc_ticks(pc, now, PM_TIMER_HZ) >> 31;
}

static uint32_t pm1_status(const struct vpc *pc, uint64_t now)
{
    return (carries(pc, now) != pc->pm.carries ? PM1_TMR : 0) | (pc->pm.woken ? PM1_WAK : 0);
}

void vpm_run(struct vpc *pc, uint32_t from, uint64_t now)
{
    vpc_irq(pc, from, IRQ_SCI, pm1_status(pc, now) & pc->pm.en);
}

uint64_t vpm_deadline(const struct vpc *pc, uint64_t now)
{
    if (!(pc->pm.en & PM1_TMR) || (pm1_status(pc, now) & PM1_TMR))
        return NO_DEADLINE;
    return vpc_tick_tsc(pc, (pc->pm.carries + 1) << 31, PM_TIMER_HZ);
}

/* The three registers as 32-bit words; bytes and words are parts of them. */
static uint32_t vpm_read(const struct vpc *pc, unsigned word, uint64_t now)
{
    switch (word) {
    case PM1_EVT:
        return pm1_status(pc, now) | pc->pm.en << 16;
    case PM1_CNT:
        return pc->pm.cnt | PM1_SCI_EN;
    default:
        return (uint32_t)vpc_ticks(pc, now, PM_TIMER_HZ);
    }
}

enum sleep { SLEEP_NONE, SLEEP_OFF, SLEEP_REFUSED };

/* A sleeping state that \\_S5 does not name is none of this machine: it wakes up at once, for who
 * asked waits for that (ACPI 6.4, 16.1.6 "Transitioning from the Working to the Sleeping State").
 */
static enum sleep sleep_enter(struct vpc *pc, uint32_t cnt)
{
    if (!(cnt & PM1_SLP_EN))
        return SLEEP_NONE;
    if (PM1_SLP_TYP(cnt) == VPC_PM_SLP_TYP_S5)
        return SLEEP_OFF;
    pc->pm.woken = true;
    return SLEEP_REFUSED;
}

static enum sleep vpm_write(struct vpc *pc, uint32_t from, unsigned word, uint32_t value,
                            uint32_t bits)
{
    uint64_t now = port_tsc();
    if (word == PM1_EVT) {
        if (value & bits & PM1_TMR)
            pc->pm.carries = carries(pc, now);
        if (value & bits & PM1_WAK)
            pc->pm.woken = false;
        bits >>= 16;
        pc->pm.en = ((pc->pm.en & ~bits) | (value >> 16 & bits)) & PM1_EN_MASK;
        vpm_run(pc, from, now);
        vpc_rearm(pc, from);
    } else if (word == PM1_CNT) {
        uint32_t cnt = (pc->pm.cnt & ~bits) | (value & bits);
        pc->pm.cnt = cnt & PM1_CNT_MASK;
        return sleep_enter(pc, cnt);
    }
    return SLEEP_NONE;
}

static void vpm_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    unsigned off = (unsigned)(io->addr - VPC_PM_BASE), shift = 8 * (off & 3);
    uint32_t mask = io->size >= 4 ? ~0u : (1u << (8 * io->size)) - 1;
    if (off >= PM_TMR * 4 && !io->write) { /* the timer needs no lock */
        io->value = vpm_read(pc, PM_TMR, port_tsc()) >> shift;
        return;
    }
    enum sleep sleep = SLEEP_NONE;
    lock_take(&pc->lock);
    if (io->write)
        sleep = vpm_write(pc, io->cpu, off >> 2, (uint32_t)io->value << shift, mask << shift);
    else
        io->value = vpm_read(pc, off >> 2, port_tsc()) >> shift;
    bool say = sleep == SLEEP_REFUSED && !pc->pm.sleep_said;
    pc->pm.sleep_said |= say;
    lock_drop(&pc->lock);
    if (say)
        log_warn("acpi", "the guest asks for a sleeping state other than S5: it stays awake");
    if (sleep == SLEEP_OFF)
        vpc_end(pc, false);
}

void vpm_init(struct vpc *pc)
{
    vbus_add_pio(&pc->bus, VPC_PM_BASE, PM_WORDS * 4, vpm_io, pc);
}
