/* SPDX-License-Identifier: BSD-2-Clause */
/* COM1, a 16550A. Transmission takes no time; what the guest writes is collected and goes to the
 * consoles in bursts: at a newline, when full, when the driver turns its interrupts off or on, and
 * 10 ms after the first byte. Guarded by the device lock. Tested by tools/tests/test_vdev_uart.c.
 */
#include "hv/vdev/vpc_state.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"

#define COM1 0x3f8
#define TX_DELAY_US 10000

#define IER_RX 0x01u
#define IER_TX 0x02u
#define IER_LINE 0x04u
#define IER_MODEM 0x08u
#define IIR_NONE 0x01u
#define IIR_TX 0x02u
#define IIR_RX 0x04u
#define IIR_LINE 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_MODEM 0x00u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define LCR_DLAB 0x80u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_EMPTY 0x60u /* THRE and TEMT */

struct burst { /* text on its way out, past the lock */
    size_t len;
    char text[VUART_TX];
};

static void take_text(struct vuart *u, struct burst *b)
{
    b->len = u->tx_len;
    memcpy(b->text, u->tx, u->tx_len);
    u->tx_len = 0;
    atomic_store_explicit(&u->tx_deadline, NO_DEADLINE, memory_order_relaxed);
}

void vuart_flush(struct vpc *pc)
{
    struct burst b;
    lock_take(&pc->lock);
    take_text(&pc->uart, &b);
    lock_drop(&pc->lock);
    if (b.len)
        log_raw(b.text, b.len);
}

static unsigned rx_trigger(const struct vuart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* Highest-priority reason to interrupt, as IIR shows it. */
static uint32_t reason(const struct vuart *u)
{
    if ((u->ier & IER_LINE) && u->overrun)
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->rx_count >= rx_trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->rx_count) /* the line is idle: the time-out is at once */
        return IIR_TIMEOUT;
    if ((u->ier & IER_TX) && u->thr_int)
        return IIR_TX;
    if ((u->ier & IER_MODEM) && (u->msr & 0x0f))
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

static bool rx_push(struct vuart *u, uint8_t byte)
{
    if (u->rx_count >= (u->fcr & FCR_ENABLE ? VUART_FIFO : 1u))
        return false;
    u->rx[(u->rx_head + u->rx_count++) % VUART_FIFO] = byte;
    return true;
}

static uint8_t rx_pop(struct vuart *u)
{
    uint8_t byte = u->rx[u->rx_head];
    if (u->rx_count) {
        u->rx_head = (u->rx_head + 1) % VUART_FIFO;
        u->rx_count--;
    }
    return byte;
}

bool vpc_uart_input(struct vpc *pc, uint8_t byte)
{
    bool taken = false;
    lock_take(&pc->lock);
    if (!(pc->uart.mcr & MCR_LOOP)) {
        taken = rx_push(&pc->uart, byte);
        set_line(pc, port_cpu());
    }
    lock_drop(&pc->lock);
    return taken;
}

/* Modem inputs: the other end is always ready; in loopback they are the outputs of MCR. */
static void update_modem(struct vuart *u)
{
    uint32_t in = 0xb0; /* DCD DSR CTS */
    if (u->mcr & MCR_LOOP)
        in = (u->mcr & 2) << 3 | (u->mcr & 1) << 5 | (u->mcr & 4) << 4 | (u->mcr & 8) << 4;
    uint32_t changed = (in ^ u->msr) & 0xf0;
    uint32_t delta = changed >> 4 & 0xb;
    if ((changed & 0x40) && !(in & 0x40))
        delta |= 4; /* trailing edge of the ring indicator */
    u->msr = in | (u->msr & 0xf) | delta;
}

/* true: text is to go out now. */
static bool transmit(struct vpc *pc, uint32_t cpu, uint8_t byte)
{
    struct vuart *u = &pc->uart;
    if (u->ier &
        IER_TX) { /* low while the byte is in the register: the next interrupt is an edge */
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
        u->rx_count = 0;
    u->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
}

static bool vuart_write(struct vpc *pc, uint32_t cpu, unsigned reg, uint8_t value)
{
    struct vuart *u = &pc->uart;
    bool out = false, dlab = u->lcr & LCR_DLAB;
    switch (reg) {
    case 0:
        if (dlab)
            u->dll = value;
        else
            out = transmit(pc, cpu, value);
        break;
    case 1:
        if (dlab) {
            u->dlm = value;
            break;
        }
        if (value & ~u->ier & IER_TX)
            u->thr_int = true; /* enabling it reports an empty register */
        out = u->ier != (value & 0xfu);
        u->ier = value & 0xf;
        break;
    case 2:
        write_fcr(u, value);
        break;
    case 3:
        u->lcr = value;
        break;
    case 4:
        u->mcr = value & 0x1f;
        update_modem(u);
        break;
    case 7:
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
    case 0:
        v = dlab ? u->dll : rx_pop(u);
        break;
    case 1:
        v = dlab ? u->dlm : u->ier;
        break;
    case 2:
        v = reason(u);
        if (v == IIR_TX)
            u->thr_int = false;
        if (u->fcr & FCR_ENABLE)
            v |= 0xc0;
        break;
    case 3:
        v = u->lcr;
        break;
    case 4:
        v = u->mcr;
        break;
    case 5:
        v = LSR_EMPTY | (u->rx_count ? LSR_DR : 0) | (u->overrun ? LSR_OE : 0);
        u->overrun = false;
        break;
    case 6:
        v = u->msr;
        u->msr &= 0xf0;
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
    unsigned reg = (unsigned)io->addr & 7;
    lock_take(&pc->lock);
    if (!io->write)
        io->value = vuart_read(pc, io->cpu, reg);
    else if (vuart_write(pc, io->cpu, reg, (uint8_t)io->value))
        take_text(&pc->uart, &b);
    lock_drop(&pc->lock);
    if (b.len)
        log_raw(b.text, b.len);
}

void vuart_init(struct vpc *pc)
{
    struct vuart *u = &pc->uart;
    u->dll = 1; /* 115200 baud */
    u->thr_int = true;
    update_modem(u);
    u->msr &= 0xf0;
    atomic_store_explicit(&u->tx_deadline, NO_DEADLINE, memory_order_relaxed);
    vbus_add_pio_bytes(&pc->bus, COM1, 8, vuart_io, pc);
}
