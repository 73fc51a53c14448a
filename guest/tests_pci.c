/* SPDX-License-Identifier: BSD-2-Clause */
/* Group pci: a guest that has the machine's devices and means no good: configuration space from all
 * CPUs at once, the MSI-X table rewritten while it fires, BARs switched off while they are used,
 * DMA into live page tables (trap 21) and at what is not its own, ports. The devices are QEMU's edu
 * and an 82574 ("Intel 82574 GbE Controller Family Datasheet", 10.2.4 "Interrupt Register
 * Descriptions"); without them it is skipped. Tested by the steps of tools/steps/devices.py. */
#include "guest/guest.h"

#define EDU 0x11e81234u
#define NIC 0x10d38086u
#define DEVICES 32u
#define ECAM 0xfef00000ull /* PCI_ECAM_BASE */
#define REG_COMMAND 0x04
#define COMMAND_ON 6u /* memory, bus master */
#define REG_BAR0 0x10
#define CAP_PM 0x01
#define CAP_MSIX 0x11
#define MSIX_ON 0x8000u
#define MSIX_MASKED 0x4000u

enum { NIC_ICS = 0xc8, NIC_ICR = 0xc0, NIC_IMS = 0xd0, NIC_IVAR = 0xe4 };
#define NIC_OTHER (1u << 24)    /* the cause */
#define IVAR_OTHER_0 (8u << 16) /* it interrupts by entry 0 */
enum { EDU_LIVE = 4, EDU_FROM = 0x80, EDU_TO = 0x88, EDU_COUNT = 0x90, EDU_DMA = 0x98 };
#define EDU_ID 0x010000edu
#define EDU_BUFFER 0x40000u
#define VECTORS 0xa0u /* to af: what messages carry */
#define ABSENT 0xffffffffu

static struct spinlock config_lock;

static uint64_t rnd(uint64_t *s)
{
    *s = *s * 6364136223846793005ull + 1442695040888963407ull;
    return *s >> 24;
}

static uint32_t config_read(unsigned dev, unsigned reg)
{
    spin_lock(&config_lock);
    outl(0xcf8, 0x80000000u | dev << 11 | (reg & 0xfc));
    uint32_t v = inl(0xcfc);
    spin_unlock(&config_lock);
    return v;
}

static void config_write(unsigned dev, unsigned reg, uint32_t v)
{
    spin_lock(&config_lock);
    outl(0xcf8, 0x80000000u | dev << 11 | (reg & 0xfc));
    outl(0xcfc, v);
    spin_unlock(&config_lock);
}

static void command_write(unsigned dev, uint16_t v)
{
    spin_lock(&config_lock);
    outl(0xcf8, 0x80000000u | dev << 11 | REG_COMMAND);
    outw(0xcfc, v);
    spin_unlock(&config_lock);
}

/* Its device number, 0: it is not there. */
static unsigned find(uint32_t id)
{
    for (unsigned dev = 1; dev < DEVICES; dev++)
        if (config_read(dev, 0) == id)
            return dev;
    return 0;
}

static unsigned capability(unsigned dev, uint8_t id)
{
    unsigned at = config_read(dev, 0x34) & 0xfc;

    for (unsigned n = 0; at != 0 && n < 48; n++) {
        uint32_t head = config_read(dev, at);
        if ((head & 0xff) == id)
            return at;
        at = head >> 8 & 0xfc;
    }
    return 0;
}

/* Registers of its BAR, which it decodes from now on. */
static uint64_t registers(unsigned dev, unsigned bar)
{
    command_write(dev, COMMAND_ON);
    return config_read(dev, REG_BAR0 + 4 * bar) & ~15ull;
}

static uint32_t read32(uint64_t at)
{
    return *(volatile uint32_t *)at;
}

static void write32(uint64_t at, uint32_t v)
{
    *(volatile uint32_t *)at = v;
}

/* A device of that kind; else the test is skipped. */
static unsigned wanted(uint32_t id)
{
    unsigned dev = find(id);

    if (dev == 0)
        test_skip("no such device");
    return dev;
}

/* --- configuration space from all CPUs --- */
static struct {
    unsigned dev[2], rounds;
    _Atomic unsigned started;
} fuzz;

static void fuzz_once(uint64_t r, uint32_t v)
{
    unsigned dev = fuzz.dev[r & 1], reg = (unsigned)(r >> 1) & 0xff, size = 1u << (r >> 9 & 3) % 3;
    uint64_t page = ECAM + ((uint64_t)dev << 15);

    if (r >> 12 & 1) { /* by memory, extended registers now and then */
        uint64_t at = page + ((r >> 13 & 15 ? reg : reg << 4) & ~(size - 1ull));
        if (r >> 20 & 1)
            (void)(size == 1   ? *(volatile uint8_t *)at
                   : size == 2 ? *(volatile uint16_t *)at
                               : read32(at));
        else if (size == 1)
            *(volatile uint8_t *)at = (uint8_t)v;
        else if (size == 2)
            *(volatile uint16_t *)at = (uint16_t)v;
        else
            write32(at, v);
        return;
    }
    outl(0xcf8, 0x80000000u | dev << 11 | (reg & 0xfc)); /* no lock: another one's may be used */
    if (r >> 20 & 1)
        (void)inl(0xcfc);
    else if (size == 1)
        outb((uint16_t)(0xcfc + (reg & 3)), (uint8_t)v);
    else if (size == 2)
        outw((uint16_t)(0xcfc + (reg & 2)), (uint16_t)v);
    else
        outl(0xcfc, v);
}

static void fuzz_cpu(void *arg)
{
    /* relaxed: each CPU a number */
    uint64_t seed = 77 + atomic_fetch_add_explicit(&fuzz.started, 1, memory_order_relaxed);

    (void)arg;
    for (unsigned i = 0; i < fuzz.rounds; i++) {
        uint64_t r = rnd(&seed);
        fuzz_once(r, r >> 21 & 1 ? (uint32_t)rnd(&seed) : (uint32_t)rnd(&seed) & 0xffff);
        if (i % 64 == 0)
            wait_pause();
    }
}

/* What a driver does with a device that it finds in some state. */
static void settle(unsigned dev, uint64_t bar)
{
    unsigned pm = capability(dev, CAP_PM), msix = capability(dev, CAP_MSIX);

    if (pm)
        config_write(dev, pm + 4, 0);
    command_write(dev, 0);
    config_write(dev, REG_BAR0, (uint32_t)bar);
    if (msix)
        config_write(dev, msix, 0);
    command_write(dev, COMMAND_ON);
}

static void test_config(void)
{
    uint64_t nic, edu;

    if (!on_patchbay()) {
        test_skip("a device that may do anything is for Patchbay");
        return;
    }
    if (!(fuzz.dev[0] = wanted(EDU)) || !(fuzz.dev[1] = wanted(NIC)))
        return;
    edu = registers(fuzz.dev[0], 0);
    nic = registers(fuzz.dev[1], 0);
    CHECK_EQ(read32(ECAM + ((uint64_t)fuzz.dev[0] << 15)), EDU, "the same by memory");
    CHECK_EQ(read32(ECAM), 0x00081b36, "the host bridge");
    CHECK_EQ(read32(edu), EDU_ID, "registers");
    fuzz.rounds = ops(1500);
    atomic_store_explicit(&fuzz.started, 0, memory_order_relaxed);
    run_on(ncpus, fuzz_cpu, NULL);
    settle(fuzz.dev[0], edu);
    settle(fuzz.dev[1], nic);
    CHECK_EQ(config_read(fuzz.dev[0], 0), EDU, "still there");
    CHECK_EQ(config_read(fuzz.dev[1], 0), NIC, "still there");
    CHECK_EQ(config_read(fuzz.dev[0], REG_BAR0), edu, "where it was");
    CHECK_EQ(config_read(fuzz.dev[1], REG_BAR0), nic, "where it was");
    CHECK_EQ(read32(edu), EDU_ID, "it works");
    CHECK(read32(nic + 8) != ABSENT, "it works");
}

/* --- the MSI-X table --- */
static struct {
    unsigned dev, cap;
    uint64_t regs, table;
    _Atomic unsigned at_work; /* CPUs that rewrite the table */
    unsigned rounds;
} nic;

static bool nic_open(void)
{
    nic.dev = wanted(NIC);
    if (nic.dev == 0)
        return false;
    nic.cap = capability(nic.dev, CAP_MSIX);
    CHECK(nic.cap != 0, "MSI-X");
    uint32_t where = config_read(nic.dev, nic.cap + 4);
    nic.table = registers(nic.dev, where & 7) + (where & ~7u);
    nic.regs = registers(nic.dev, 0);
    write32(nic.regs + NIC_IVAR, IVAR_OTHER_0);
    write32(nic.regs + NIC_IMS, NIC_OTHER);
    return nic.cap != 0;
}

static void entry_write(unsigned cpu, uint8_t vector, uint32_t control)
{
    write32(nic.table + 12, 1);
    write32(nic.table, 0xfee00000u | cpus[cpu].apic_id << 12);
    write32(nic.table + 4, 0);
    write32(nic.table + 8, vector);
    write32(nic.table + 12, control);
}

static void nic_fire(void)
{
    write32(nic.regs + NIC_ICR, NIC_OTHER);
    write32(nic.regs + NIC_ICS, NIC_OTHER);
}

/* It arrives there. */
static void expect_at(unsigned cpu, uint8_t vector)
{
    /* acquire: pairs with trap_entry */
    uint64_t before = atomic_load_explicit(&cpus[cpu].irqs[vector], memory_order_acquire);

    entry_write(cpu, vector, 0);
    config_write(nic.dev, nic.cap, MSIX_ON << 16);
    for (unsigned i = 0;
         atomic_load_explicit(&cpus[cpu].irqs[vector], memory_order_acquire) == before; i++) {
        if (i % 1000 == 0)
            nic_fire();
        wait_pause();
    }
}

static void rewrite_cpu(void *arg)
{
    uint64_t seed = (uint64_t)arg;

    for (unsigned i = 0; i < nic.rounds; i++) {
        uint64_t r = rnd(&seed);
        uint32_t address = r & 7 ? 0xfee00000u | (uint32_t)(r >> 3 & 0xff) << 12
                                 : (uint32_t)(r >> 3); /* memory, for all it knows */
        switch (r >> 40 & 7) {
        case 0:
            /* not switched off: QEMU 7.2 fails an assertion of its own where an interrupt that
             * waits for its time meets that */
            config_write(nic.dev, nic.cap, (uint32_t)(MSIX_ON | (r & MSIX_MASKED)) << 16);
            break;
        case 1:
            *(volatile uint64_t *)nic.table = address;
            break;
        case 2:
            write32(nic.table + 12, (uint32_t)r & 1);
            break;
        case 3:
            write32(nic.table + 8, VECTORS | (r & 15) | (r & 0xc000));
            break;
        case 4: /* entries that nobody uses, and what lies behind the table */
            write32(nic.table + 16 + (r >> 8 & 0xffc), (uint32_t)(r >> 20));
            break;
        default:
            write32(nic.table, address);
        }
        if (i % 16 == 0)
            wait_pause();
    }
    /* release: pairs with the load in test_msix */
    atomic_fetch_sub_explicit(&nic.at_work, 1, memory_order_release);
}

static void test_msix(void)
{
    if (!on_patchbay()) {
        test_skip("a device that may write anywhere is for Patchbay");
        return;
    }
    if (!nic_open())
        return;
    for (unsigned c = 0; c < ncpus; c++)
        expect_at(c, (uint8_t)(VECTORS + c));
    nic.rounds = ops(600);
    atomic_store_explicit(&nic.at_work, ncpus - 1, memory_order_relaxed);
    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, rewrite_cpu, (void *)(uintptr_t)(c * 12345));
    while (atomic_load_explicit(&nic.at_work, memory_order_acquire) != 0) {
        nic_fire();
        wait_pause();
    }
    cpu_join_all();
    for (unsigned c = 0; c < ncpus; c++)
        expect_at(c, (uint8_t)(VECTORS + 8 + c));
    write32(nic.table + 12, 1);
}

/* --- BARs switched off while they are used --- */
static struct {
    uint64_t regs;
    uint32_t neighbour; /* the other device's first register */
    _Atomic bool done;
    _Atomic unsigned wrong; /* a value that was read */
} bars;

static void bars_cpu(void *arg)
{
    (void)arg;
    /* acquire: pairs with test_bars */
    while (!atomic_load_explicit(&bars.done, memory_order_acquire)) {
        uint32_t v = read32(bars.regs);
        /* QEMU's nobody says 0; while its map changes, 10.0 reads another device now and then. */
        if (v != EDU_ID && v != ABSENT && v != 0 && v != bars.neighbour)
            atomic_store_explicit(&bars.wrong, v, memory_order_relaxed);
        write32(bars.regs + EDU_LIVE, v);
        wait_pause();
    }
}

static void test_bars(void)
{
    unsigned dev = wanted(EDU), other = find(NIC);

    if (dev == 0)
        return;
    bars.regs = registers(dev, 0);
    bars.neighbour = other ? read32(registers(other, 0)) : EDU_ID;
    atomic_store_explicit(&bars.done, false, memory_order_relaxed);
    atomic_store_explicit(&bars.wrong, 0, memory_order_relaxed);
    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, bars_cpu, NULL);
    for (unsigned i = 0; i < ops(200); i++) {
        command_write(dev, i & 1 ? COMMAND_ON : 0);
        if (i % 8 == 0) { /* sized, as a system does it: while it is off */
            config_write(dev, REG_BAR0, ~0u);
            CHECK(config_read(dev, REG_BAR0) != bars.regs, "its size");
            config_write(dev, REG_BAR0, (uint32_t)bars.regs);
        }
        wait_pause();
    }
    command_write(dev, COMMAND_ON);
    atomic_store_explicit(&bars.done, true, memory_order_release);
    cpu_join_all();
    CHECK_EQ(atomic_load_explicit(&bars.wrong, memory_order_relaxed), 0,
             "a value of neither device was read");
    CHECK_EQ(read32(bars.regs), EDU_ID, "it works");
    write32(bars.regs + EDU_LIVE, 0x12345678);
    CHECK_EQ(read32(bars.regs + EDU_LIVE), ~0x12345678u, "... and takes writes");
}

/* --- DMA into live page tables: trap 21 --- */
#define DMA_PAGES 16u
static uint64_t edu_regs;

static void dma(uint64_t from, uint64_t to, unsigned bytes, unsigned how)
{
    *(volatile uint64_t *)(edu_regs + EDU_FROM) = from;
    *(volatile uint64_t *)(edu_regs + EDU_TO) = to;
    *(volatile uint64_t *)(edu_regs + EDU_COUNT) = bytes;
    *(volatile uint64_t *)(edu_regs + EDU_DMA) = how;
    while (*(volatile uint64_t *)(edu_regs + EDU_DMA) & 1)
        wait_pause();
}

/* n entries at `table` become those at `from` without a store of any CPU. */
static void dma_entries(const pte_t *from, const pte_t *table, unsigned n)
{
    dma(pa_of(from), EDU_BUFFER, n * 8, 1);
    dma(EDU_BUFFER, pa_of(table), n * 8, 3);
    for (unsigned i = 0; i < n; i++)
        CHECK_EQ(table[i] & ~0x60ull, from[i] & ~0x60ull, "DMA arrived");
}

static void touch_cpu(void *arg)
{
    uint64_t v;

    (void)arg;
    for (unsigned i = 0; i < DMA_PAGES; i++) {
        (void)try_read64(TEST_VA + i * PAGE, &v);
        (void)try_write64(TEST_VA + i * PAGE + 8, i);
    }
}

static void test_dma_tables(void)
{
    unsigned dev = wanted(EDU);
    pte_t *table, *new = page_alloc();
    uint64_t pages[DMA_PAGES], seed = 5;

    if (dev == 0)
        return;
    edu_regs = registers(dev, 0);
    for (unsigned i = 0; i < DMA_PAGES; i++) {
        pages[i] = pa_of(tagged_page(0x9000 + i));
        table = map(TEST_VA + i * PAGE, pages[i], PTE_RW);
    }
    table -= DMA_PAGES - 1;
    for (unsigned round = 0; round < 3; round++) {
        run_on(ncpus, touch_cpu, NULL); /* shadows of it on every CPU */
        for (unsigned i = 0; i < DMA_PAGES; i++) {
            uint64_t r = rnd(&seed);
            new[i] = round == 0   ? pages[(i + 1) % DMA_PAGES] | PTE_RW
                     : round == 1 ? 0
                                  : (r & 0x000ffffffffff000) | (r & 0xfff); /* anything */
        }
        dma_entries(new, table, DMA_PAGES);
        if (round < 2)
            run_on(ncpus, touch_cpu, NULL);
        tlb_shootdown_all();
        for (unsigned i = 0; i < DMA_PAGES; i++) /* as a system repairs it */
            pte_write(&table[i], pages[DMA_PAGES - 1 - i] | PTE_RW);
        tlb_shootdown_all();
        CHECK_EQ(verify_range(kernel_root, TEST_VA, DMA_PAGES), 0, "translations after repair");
    }
}

/* --- DMA at what is not the guest's, and memory that nobody else may change --- */
#define MIB 0x100000ull
#define AIM_END 512u /* MiB: the machines of the steps have no more */
#define AIM_STEP 4u
#define AIM_BYTES 2048u /* edu's buffer has 4096, whose last byte QEMU 7.2 does not give away */
#define MARK 0x5ba9e0a5c0ffee00ull

/* What the device reads there and gives back: its buffer as it was, or what nobody's memory reads.
 */
static void read_aimed(uint64_t at, const uint64_t *mark, uint64_t *back)
{
    dma(pa_of(mark), EDU_BUFFER, AIM_BYTES, 1);
    dma(at, EDU_BUFFER, AIM_BYTES, 1);
    dma(EDU_BUFFER, pa_of(back), AIM_BYTES, 3);
    for (unsigned i = 0; i < AIM_BYTES / 8; i++)
        if (back[i] != MARK && back[i] != 0 && back[i] != ~0ull) {
            CHECK(false, "the device reads %lx at %lx", back[i], at + 8 * i);
            return;
        }
}

static void test_dma_aimed(void)
{
    uint64_t *mark = page_alloc(), *back = page_alloc();
    unsigned dev;

    if (options.aim_mib == 0) {
        test_skip("nowhere to aim");
        return;
    }
    if ((dev = wanted(EDU)) == 0)
        return;
    edu_regs = registers(dev, 0);
    for (unsigned i = 0; i < AIM_BYTES / 8; i++)
        mark[i] = MARK;
    dma(pa_of(mark), EDU_BUFFER, AIM_BYTES, 1);
    for (uint64_t at = options.aim_mib; at < AIM_END; at += AIM_STEP)
        dma(EDU_BUFFER, at * MIB + (at / AIM_STEP % 7) * PAGE, AIM_BYTES, 3);
    for (uint64_t at = 0xfee00000; at < 0xfee04000; at += PAGE) /* interrupts of its own making */
        dma(EDU_BUFFER, at, 4, 3);
    for (uint64_t at = options.aim_mib; at < AIM_END; at += 16 * AIM_STEP)
        read_aimed(at * MIB, mark, back);
    dma(pa_of(mark), EDU_BUFFER, AIM_BYTES, 1);
    dma(EDU_BUFFER, pa_of(back), AIM_BYTES, 3);
    CHECK(memcmp(mark, back, AIM_BYTES) == 0, "and its own memory it reaches");
}

#define KEPT_PAGES 512u

static void test_dma_kept(void)
{
    static uint64_t *page[KEPT_PAGES];
    unsigned dev = wanted(EDU), wrong = 0;
    uint64_t *back = page_alloc();

    if (dev == 0)
        return;
    edu_regs = registers(dev, 0);
    for (unsigned i = 0; i < KEPT_PAGES; i++)
        page[i] = tagged_page(0xa000 + i);
    for (unsigned round = 0; round < ops(60); round++) { /* as long as the neighbour aims */
        const uint64_t *from = page[round % KEPT_PAGES];
        dma(pa_of(from), EDU_BUFFER, AIM_BYTES, 1);
        dma(EDU_BUFFER, pa_of(back), AIM_BYTES, 3);
        CHECK(memcmp(from, back, AIM_BYTES) == 0, "its own device does as it is told");
    }
    for (unsigned i = 0; i < KEPT_PAGES; i++)
        for (unsigned k = 0; k < PAGE / 8; k++)
            wrong += page[i][k] != 0xa000 + i;
    CHECK_EQ(wrong, 0, "words of its memory that changed");
}

/* --- ports of its own --- */
static void test_ports(void)
{
    unsigned dev = wanted(NIC);
    uint64_t regs;

    if (dev == 0)
        return;
    regs = registers(dev, 0);
    command_write(dev, COMMAND_ON | 1);
    uint16_t port = 0;
    for (unsigned bar = 0; bar < 6; bar++) {
        uint32_t v = config_read(dev, REG_BAR0 + 4 * bar);
        if (v & 1)
            port = (uint16_t)(v & ~3u);
    }
    CHECK(port != 0, "a BAR of ports");
    for (unsigned i = 0; i < ops(1000); i++) { /* 82574, 10.2.1.3: address, then data */
        outl(port, 8);
        if (inl((uint16_t)(port + 4)) != read32(regs + 8)) {
            CHECK(false, "its status by ports");
            break;
        }
    }
    command_write(dev, COMMAND_ON);
}

static const struct test tests[] = {
    {"pci.config", test_config, 1},     {"pci.msix", test_msix, 1},
    {"pci.bars", test_bars, 1},         {"pci.dma_tables", test_dma_tables, 1},
    {"pci.ports", test_ports, 1},       {"pci.dma_aimed", test_dma_aimed, 1},
    {"pci.dma_kept", test_dma_kept, 1},
};
const struct test_group tests_pci = GROUP(tests);
