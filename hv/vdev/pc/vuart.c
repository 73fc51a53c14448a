/* SPDX-License-Identifier: BSD-2-Clause */
/* COM1, a 16550A (PC16550D data sheet). Transmission takes no time; what the guest writes is
 * collected and goes to the consoles in bursts: at a newline, when full, when the driver turns its
 * interrupts off or on, and 10 ms after the first byte. Guarded by the device lock. Tested by
 * tools/tests/test_vdev_uart.c and test_vdev_uart_rx.c.
 */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"

#define REGISTERS 8
#define TX_DELAY_US 10000
#define TURN_SPINS 1000000u
#define CLOCK_16 (1843200u / 16) /* Hz: bits a second at divisor 1 */
/* The time-out of a slow line comes sooner than at its rate: characters do not take that long here.
 */
#define TIMEOUT_CHARS 4
#define TIMEOUT_MAX_US 4000

#define IER_RX 0x01u
#define IER_TX 0x02u
#define IER_LINE 0x04u
#define IER_MODEM 0x08u
#define IER_BITS 0x0fu
#define IIR_NONE 0x01u
#define IIR_TX 0x02u
#define IIR_RX 0x04u
#define IIR_LINE 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_MODEM 0x00u
#define IIR_FIFOS 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_KEPT 0xc9u /* trigger level, DMA mode, enable */
#define LCR_BITS 0x03u /* 5 to 8 */
#define LCR_STOP2 0x04u
#define LCR_PARITY 0x08u
#define LCR_DLAB 0x80u
#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_BITS 0x1fu
#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_BI 0x10u
#define LSR_FIFO_ERROR 0x80u
#define LSR_EMPTY 0x60u   /* THRE and TEMT */
#define MSR_CHANGES 0x0fu /* DCTS DDSR TERI DDCD */
#define MSR_DELTAS 0x0bu  /* of them those of either edge */
#define MSR_TERI 0x04u
#define MSR_READY 0xb0u /* DCD DSR CTS */
#define MSR_RI 0x40u
#define MSR_INPUTS 0xf0u

struct burst { /* text on its way out, past the lock */
    size_t len;
    uint32_t number;
    char text[VUART_TX];
};

static void take_text(struct vuart *u, struct burst *b)
{
    b->len = u->tx_len;
    if (b->len)
        b->number = u->tx_taken++;
    memcpy(b->text, u->tx, u->tx_len);
    u->tx_len = 0;
    atomic_store_explicit(&u->tx_deadline, NO_DEADLINE, memory_order_relaxed);
}

/* In the order in which they were taken, though two CPUs may be at it; a CPU that stands in between
 * (a panic) does not keep the others silent. */
static void text_out(struct vpc *pc, const struct burst *b)
{
    struct vuart *u = &pc->uart;

    for (uint32_t i = 0; i < TURN_SPINS; i++) {
        /* acquire: pairs with the release below, the text of the one before is out */
        if (atomic_load_explicit(&u->tx_out, memory_order_acquire) == b->number)
            break;
        port_relax();
    }
    if (pc->cfg.output)
        pc->cfg.output(pc->cfg.ctx, b->text, b->len);
    else
        log_guest(b->text, b->len);
    /* pairs with the acquire above: the next burst is written behind this one */
    atomic_store_explicit(&u->tx_out, b->number + 1, memory_order_release);
}

void vuart_flush(struct vpc *pc)
{
    struct burst b;
    lock_take(&pc->lock);
    take_text(&pc->uart, &b);
    lock_drop(&pc->lock);
    if (b.len)
        text_out(pc, &b);
}

static unsigned rx_trigger(const struct vuart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* Highest-priority reason to interrupt, as IIR shows it. */
static uint32_t reason(const struct vuart *u)
{
    if ((u->ier & IER_LINE) && (u->overrun || u->brk))
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->rx_count >= rx_trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->timeout)
        return IIR_TIMEOUT;
    if ((u->ier & IER_TX) && u->thr_int)
        return IIR_TX;
    if ((u->ier & IER_MODEM) && (u->msr & MSR_CHANGES))
        return IIR_MODEM;
    return IIR_NONE;
}

static void set_line(struct vpc *pc, uint32_t from)
{
    const struct vuart *u = &pc->uart;
    /* OUT2 gates the interrupt on a PC, and loopback holds it inactive */
    bool gate = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
    vpc_irq(pc, from, IRQ_UART, gate && reason(u) != IIR_NONE);
}

bool vpc_uart_listens(struct vpc *pc)
{
    lock_take(&pc->lock);
    bool on = pc->uart.ier & IER_RX;
    lock_drop(&pc->lock);
    return on;
}

/* --- receiver --- */

/* "FIFO Interrupt Mode Operation": characters below the trigger level report themselves when none
 * came and none was read for the time of four. Until then the line is low: a handler that leaves
 * some behind gets another edge for them. */
static uint64_t timeout_tsc(const struct vpc *pc)
{
    const struct vuart *u = &pc->uart;
    uint32_t divisor = u->dlm << 8 | u->dll;
    uint32_t bits = 7 + (u->lcr & LCR_BITS) + !!(u->lcr & LCR_STOP2) + !!(u->lcr & LCR_PARITY);
    uint64_t chars = scale(pc->cfg.tsc_hz, (uint64_t)TIMEOUT_CHARS * bits * divisor, CLOCK_16);
    return min_u64(chars, pc->cfg.tsc_hz / 1000000 * TIMEOUT_MAX_US);
}

uint64_t vuart_deadline(const struct vpc *pc)
{
    const struct vuart *u = &pc->uart;
    bool waits = (u->ier & IER_RX) && u->rx_count && u->rx_count < rx_trigger(u) && !u->timeout;
    return waits ? u->rx_tsc + timeout_tsc(pc) : NO_DEADLINE;
}

void vuart_run(struct vpc *pc, uint32_t from, uint64_t now)
{
    if (now < vuart_deadline(pc))
        return;
    pc->uart.timeout = true;
    set_line(pc, from);
}

/* Its error bits show when a character has come to the top of the FIFO. */
static void rx_top(struct vuart *u)
{
    if (u->rx_count && (u->rx[u->rx_head] & VPC_UART_BREAK))
        u->brk = true;
}

static bool rx_push(struct vuart *u, unsigned what)
{
    if (u->rx_count >= (u->fcr & FCR_ENABLE ? VUART_FIFO : 1u))
        return false;
    u->rx[(u->rx_head + u->rx_count++) % VUART_FIFO] = (uint16_t)what;
    u->rx_tsc = port_tsc();
    if (u->rx_count == 1)
        rx_top(u);
    return true;
}

static uint8_t rx_pop(struct vuart *u)
{
    uint8_t byte = (uint8_t)u->rx[u->rx_head];
    u->timeout = false;
    if (u->rx_count) {
        u->rx_head = (u->rx_head + 1) % VUART_FIFO;
        u->rx_count--;
        u->rx_tsc = port_tsc();
        rx_top(u);
    }
    return byte;
}

static void rx_clear(struct vuart *u)
{
    u->rx_count = 0;
    u->timeout = u->brk = false;
}

static uint32_t read_lsr(struct vuart *u)
{
    uint32_t v =
        LSR_EMPTY | (u->rx_count ? LSR_DR : 0) | (u->overrun ? LSR_OE : 0) | (u->brk ? LSR_BI : 0);
    for (unsigned i = 0; (u->fcr & FCR_ENABLE) && i < u->rx_count; i++)
        if (u->rx[(u->rx_head + i) % VUART_FIFO] & VPC_UART_BREAK)
            v |= LSR_FIFO_ERROR;
    u->overrun = u->brk = false;
    if (u->rx_count)
        u->rx[u->rx_head] &= 0xff; /* told */
    return v;
}

/* Whoever has more characters waits for room, perhaps in HLT. He is told when the FIFO is empty,
 * not at each character: all sixteen places are worth a doorbell. */
static void rx_room(struct vpc *pc, uint32_t from)
{
    struct vuart *u = &pc->uart;
    if (!u->starved || u->rx_count || (u->mcr & MCR_LOOP))
        return;
    uint32_t reader = u->starved - 1, vcpu;
    u->starved = 0;
    struct coherency *co = coherency_of(reader, &vcpu);
    if (!pc->cfg.co->placed)
        vpc_kick(pc, from, reader, ACTION_INPUT);
    else if (co == pc->cfg.co)
        vpc_kick(pc, from, vcpu, ACTION_INPUT);
    else if (co) /* it reads for all VMs; looks anyway ten times a second if it is off */
        action_post(co, ACTION_OUTSIDE, vcpu, ACTION_INPUT);
}

/* Which VCPU of this VM calls: the console's reader may be none. */
static uint32_t caller(const struct vpc *pc)
{
    uint32_t vcpu;
    const struct coherency *co = coherency_of(port_cpu(), &vcpu);

    if (!pc->cfg.co->placed)
        return port_cpu();
    return co == pc->cfg.co ? vcpu : ACTION_OUTSIDE;
}

bool vpc_uart_input(struct vpc *pc, unsigned what)
{
    bool taken = false;
    lock_take(&pc->lock);
    struct vuart *u = &pc->uart;
    if (!(u->mcr & MCR_LOOP))
        taken = rx_push(u, what);
    if (taken) {
        set_line(pc, caller(pc));
        vpc_rearm(pc, caller(pc));
    } else {
        u->starved = port_cpu() + 1;
    }
    lock_drop(&pc->lock);
    return taken;
}

/* Modem inputs: the other end is always ready; in loopback they are the outputs of MCR. */
static void update_modem(struct vuart *u)
{
    uint32_t in = MSR_READY;
    if (u->mcr & MCR_LOOP)
        in = (u->mcr & MCR_RTS) << 3 | (u->mcr & MCR_DTR) << 5 | (u->mcr & MCR_OUT1) << 4 |
             (u->mcr & MCR_OUT2) << 4;
    uint32_t changed = (in ^ u->msr) & MSR_INPUTS;
    uint32_t delta = changed >> 4 & MSR_DELTAS;
    if ((changed & MSR_RI) && !(in & MSR_RI))
        delta |= MSR_TERI;
    u->msr = in | (u->msr & MSR_CHANGES) | delta;
}

/* true: text is to go out now. */
static bool transmit(struct vpc *pc, uint32_t cpu, uint8_t byte)
{
    struct vuart *u = &pc->uart;
    if (u->ier & IER_TX) {
        /* low while the byte is in the register: the next interrupt is an edge */
        u->thr_int = false;
        set_line(pc, cpu);
    }
    u->thr_int = true;
    if (u->mcr & MCR_LOOP) {
        if (!rx_push(u, byte))
            u->overrun = true;
        return false;
    }
    if (!u->tx_len) {
        atomic_store_explicit(&pc->output_seen, true, memory_order_relaxed);
        atomic_store_explicit(&u->tx_cpu, cpu, memory_order_relaxed);
        atomic_store_explicit(&u->tx_deadline, port_tsc() + pc->cfg.tsc_hz / 1000000 * TX_DELAY_US,
                              memory_order_relaxed);
    }
    u->tx[u->tx_len++] = (char)byte;
    return byte == '\n' || u->tx_len == VUART_TX;
}

static void write_fcr(struct vuart *u, uint32_t value)
{
    if (((u->fcr ^ value) & FCR_ENABLE) || (value & FCR_CLEAR_RX))
        rx_clear(u);
    u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static bool vuart_write(struct vpc *pc, uint32_t cpu, unsigned reg, uint8_t value)
{
    struct vuart *u = &pc->uart;
    bool out = false, dlab = u->lcr & LCR_DLAB;
    switch (reg) {
    case UART_THR:
        if (dlab)
            u->dll = value;
        else
            out = transmit(pc, cpu, value);
        break;
    case UART_IER:
        if (dlab) {
            u->dlm = value;
            break;
        }
        if (value & ~u->ier & IER_TX)
            u->thr_int = true; /* enabling it reports an empty register */
        out = u->ier != (value & IER_BITS);
        u->ier = value & IER_BITS;
        break;
    case UART_FCR:
        write_fcr(u, value);
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & MCR_BITS;
        update_modem(u);
        break;
    case UART_SCR:
        u->scr = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
    set_line(pc, cpu);
    return out;
}

static uint32_t vuart_read(struct vpc *pc, uint32_t cpu, unsigned reg)
{
    struct vuart *u = &pc->uart;
    bool dlab = u->lcr & LCR_DLAB;
    uint32_t v = 0;
    switch (reg) {
    case UART_RBR:
        v = dlab ? u->dll : rx_pop(u);
        break;
    case UART_IER:
        v = dlab ? u->dlm : u->ier;
        break;
    case UART_IIR:
        v = reason(u);
        if (v == IIR_TX)
            u->thr_int = false;
        if (u->fcr & FCR_ENABLE)
            v |= IIR_FIFOS;
        break;
    case UART_LCR:
        v = u->lcr;
        break;
    case UART_MCR:
        v = u->mcr;
        break;
    case UART_LSR:
        v = read_lsr(u);
        break;
    case UART_MSR:
        v = u->msr;
        u->msr &= MSR_INPUTS;
        break;
    default:
        v = u->scr;
        break;
    }
    set_line(pc, cpu);
    return v;
}

static void vuart_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct burst b; /* its text is valid up to len only */
    b.len = 0;
    unsigned reg = (unsigned)io->addr & (REGISTERS - 1);
    lock_take(&pc->lock);
    uint64_t before = vuart_deadline(pc);
    vuart_run(pc, io->cpu, port_tsc());
    if (!io->write)
        io->value = vuart_read(pc, io->cpu, reg);
    else if (vuart_write(pc, io->cpu, reg, (uint8_t)io->value))
        take_text(&pc->uart, &b);
    rx_room(pc, io->cpu);
    if (vuart_deadline(pc) != before)
        vpc_rearm(pc, io->cpu);
    lock_drop(&pc->lock);
    if (b.len)
        text_out(pc, &b);
}

void vuart_init(struct vpc *pc)
{
    struct vuart *u = &pc->uart;
    u->dll = 1; /* 115200 baud */
    u->thr_int = true;
    update_modem(u);
    u->msr &= MSR_INPUTS;
    atomic_store_explicit(&u->tx_deadline, NO_DEADLINE, memory_order_relaxed);
    vbus_add_pio_bytes(&pc->bus, COM1_PORT, REGISTERS, vuart_io, pc);
}
