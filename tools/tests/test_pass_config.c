/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration space of a function that a guest owns: what is shown, what reaches the
 * hardware, BARs, reset, which functions can be given; and random accesses, after each of which the
 * hardware must be as its owner may have it. */
#include "tools/tests/pass_rig.h"

#define A 2u /* on the guest's bus */
#define B 3u

static uint32_t hw(const struct fake_pci *d, unsigned reg, unsigned size)
{
    return pass_get(d->config, reg, size);
}

static void test_shown(void)
{
    pass_rig("all");
    tap_eq(pass_count(pass), 2, "both are given");
    tap_eq(cfg_r(A, PCI_VENDOR, 4), 0x10d38086, "who it is");
    tap_eq(cfg_r(A, PCI_CLASS, 4) >> 8, 0x020000, "class");
    tap_eq(cfg_r(A, PCI_INTERRUPT_PIN, 1), 0, "no pin");
    tap_eq(cfg_r(A, PCI_ROM, 4), 0, "no ROM");
    cfg_w(A, PCI_ROM, 4, ~0u);
    tap_eq(cfg_r(A, PCI_ROM, 4), 0, "nor one that can be sized");
    tap_eq(cfg_r(A, PCI_CAPABILITIES, 1), 0x40, "PM first");
    tap_eq(cfg_r(A, 0x41, 1), 0x60, "what is not listed is passed over");
    tap_eq(cfg_r(A, 0x50, 4), 0, "and reads 0");
    tap_eq(cfg_r(A, 0x61, 1), 0xa0, "MSI-X follows");
    tap_eq(cfg_r(A, 0xa1, 1), 0, "and is the last");
    tap_eq(cfg_r(A, 0x42, 2) & 0xf800, 0, "no PME");
    tap_eq(cfg_r(A, 0xa2, 2), ENTRIES - 1, "the table's size");
    tap_eq(cfg_r(A, PCI_HEADER_TYPE, 1), 0, "one function");
    tap_eq(cfg_r(4, PCI_VENDOR, 4), ~0u, "nobody else");
    tap_eq(cfg_r(B, 0x82, 2) & 0x007e, 0, "MSI: one message");
}

static unsigned chosen(const char *words)
{
    memset((void *)pass, 0, pass_sizeof());
    return pass_choose(pass, words, strlen(words), NULL);
}

/* Header of an extended capability. */
static void ext(struct fake_pci *d, unsigned at, unsigned id, unsigned next)
{
    put_dword(d->config, at, id | 1u << 16 | next << 20);
    memset(d->writable + at + 4, 0xff, 16);
}

static uint32_t x_r(unsigned device, unsigned reg, unsigned size)
{
    return (uint32_t)mem_r(PCI_ECAM_BASE + (device << 15 | reg), size);
}

/* SR-IOV first, then ATS, a vendor's with a length that lies, AER, a serial number, a circle. */
static void test_extended(void)
{
    pass_rig("none");
    ext(dev_a, 0x100, 0x10, 0x140);
    ext(dev_a, 0x140, 0x0f, 0x180);
    ext(dev_a, 0x180, 0x0b, 0x200);
    put_dword(dev_a->config, 0x184, 0xfff00001);
    put_dword(dev_a->config, 0x1fc, 0x12345678);
    ext(dev_a, 0x200, 0x01, 0x240);
    put_dword(dev_a->config, 0x204, 0x55555555);
    ext(dev_a, 0x240, 0x03, 0x180);
    put_dword(dev_a->config, 0x244, 0xcafe0001);
    (void)chosen("03:02.0,00:1f.2");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_eq(x_r(A, 0, 4), 0x10d38086, "configuration space as memory");
    tap_eq(x_r(A, 0x100, 4), 0x18000000, "a hidden first one leads on");
    tap_eq(x_r(A, 0x104, 4), 0, "... and says nothing");
    tap_eq(x_r(A, 0x140, 4), 0, "ATS is not there");
    tap_eq(x_r(A, 0x180, 4), 0x2401000b, "a vendor's structure, AER passed over");
    tap_eq(x_r(A, 0x1fc, 4), 0x12345678, "... up to its end");
    tap_eq(x_r(A, 0x204, 4), 0, "... and no further than the next capability");
    tap_eq(x_r(A, 0x240, 4), 0x00010003, "the serial number is the last");
    tap_eq(x_r(A, 0x244, 4), 0xcafe0001, "... as the hardware has it");
    tap_eq(x_r(A, 0x246, 2), 0xcafe, "... by halves");
    tap_eq(x_r(A, 0x24c, 4), 0, "... up to its end");
    (void)rig_io(0, true, PCI_ECAM_BASE + (A << 15 | 0x244), 4, true, 7);
    (void)rig_io(0, true, PCI_ECAM_BASE + (A << 15 | 0x108), 4, true, 7);
    tap_eq(hw(dev_a, 0x244, 4), 0xcafe0001, "it is not written");
    tap_eq(hw(dev_a, 0x108, 4), 0, "nor SR-IOV's control");
    tap_eq(x_r(B, 0x100, 4), 0, "a conventional function has none");
    (void)rig_io(0, true, PCI_ECAM_BASE + (A << 15 | PCI_COMMAND), 2, true, 6);
    tap_eq(cfg_r(A, PCI_COMMAND, 2), 6, "the command by memory");
}

static void test_high(void)
{
    pass_rig("none");
    dev_b->id.bar[0].base = 0x90000000;
    dev_b->id.bar[2] = (struct port_pci_bar){
        .base = 0x4000000000, .size = 0x100000000, .wide = true, .prefetch = true};
    dev_a->id.bar[2] = (struct port_pci_bar){.base = 0x3fffff0000, .size = 0x10000, .wide = true};
    (void)chosen("all");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_eq(pass_count(pass), 2, "BARs above 4 GiB");
    tap_eq(cfg_r(B, PCI_BAR0 + 12, 4), 0x40, "the upper half");
    tap_eq(vpc_pci(&pc)->high.base, 0x3fffe00000, "the window that _CRS names begins with them");
    tap_eq(vpc_pci(&pc)->high.end, 0x4100000000, "... and ends with them");
    tap_eq(vpc_pci(&pc)->told_low, 0x90000000, "the one below begins with the lowest");
    tap_ok(vpc_pci(&pc)->next_high == 0x4100000000, "virtual functions' are not placed among them");
    hpa_t h;
    tap_ok(p2m_device(&rig_p2m, gpa(0x40ffffffff), &h) && h.v == 0x40ffffffff, "mapped");
}

static void test_bars(void)
{
    pass_rig("all");
    tap_eq(cfg_r(A, PCI_BAR0, 4), BAR_A, "where firmware placed it");
    cfg_w(A, PCI_BAR0, 4, ~0u);
    tap_eq(cfg_r(A, PCI_BAR0, 4), ~(FAKE_PCI_MEMORY - 1), "its size");
    tap_eq(hw(dev_a, PCI_BAR0, 4), BAR_A, "the hardware's stays");
    cfg_w(A, PCI_BAR0, 4, 0xd0000000);
    tap_eq(cfg_r(A, PCI_BAR0, 4), BAR_A, "it does not move, and says so");
    cfg_w(A, PCI_BAR0 + 4, 4, ~0u);
    tap_eq(cfg_r(A, PCI_BAR0 + 4, 4), 0, "one that is not there");
    hpa_t h;
    tap_ok(p2m_device(&rig_p2m, gpa(BAR_A), &h) && h.v == BAR_A, "mapped at its own address");
    tap_ok(!p2m_device(&rig_p2m, gpa(BAR_A + TABLE), &h), "but for the page with the table");
    tap_ok(p2m_device(&rig_p2m, gpa(BAR_A + 0x3fff), &h) && h.v == BAR_A + 0x3fff, "up to its end");
    tap_ok(!p2m_device(&rig_p2m, gpa(BAR_A + 0x4000), &h), "and no further");
}

static void test_command(void)
{
    pass_rig("all");
    tap_eq(hw(dev_a, PCI_COMMAND, 2), PCI_COMMAND_NO_INTX, "given silent");
    tap_eq(dev_a->resets, 1, "and reset");
    cfg_w(A, PCI_COMMAND, 2, 0x0507);
    tap_eq(cfg_r(A, PCI_COMMAND, 2), 0x0507, "as the guest wrote it");
    tap_eq(hw(dev_a, PCI_COMMAND, 2), 0x0407, "in force but for SERR#, an NMI of ours");
    cfg_w(A, 0x68, 2, 0x281f);
    tap_eq(hw(dev_a, 0x68, 2) & 0x000f, 0, "nor are errors reported to the root port");
    tap_eq(cfg_r(A, 0x68, 2) & 0x000f, 0x000f, "though the guest sees what it wrote");
    cfg_w(A, PCI_COMMAND, 2, 0x0006);
    tap_eq(hw(dev_a, PCI_COMMAND, 2), 0x0406, "INTx stays off");
    put_dword(dev_a->config, PCI_COMMAND, 0xf9100406);
    cfg_w(A, PCI_COMMAND, 2, 0x0006);
    tap_eq(hw(dev_a, PCI_STATUS, 2), 0xf910, "write 1 to clear is not written on the way");
    cfg_w(A, PCI_STATUS, 2, 0x0800);
    tap_eq(hw(dev_a, PCI_STATUS, 2), 0xf110, "but where the guest does");
    cfg_w(A, 0x68, 2, PCI_EXP_FLR | 0x2810);
    tap_eq(dev_a->resets, 2, "the guest's own reset");
    tap_eq(cfg_r(A, PCI_COMMAND, 2), 0, "its command is gone");
    tap_eq(hw(dev_a, PCI_BAR0, 4), 0, "the hardware forgot its BAR");
    cfg_w(A, PCI_COMMAND, 2, 6);
    tap_eq(hw(dev_a, PCI_BAR0, 4), BAR_A, "and has it back before it decodes");
    tap_eq(hw(dev_a, 0x68, 2) & 0x00e0, 0, "the payload size is not the guest's");
    pass_stop(pass);
    tap_eq(hw(dev_a, PCI_COMMAND, 2), PCI_COMMAND_NO_INTX, "silent at the end");
    tap_eq(dev_a->resets, 3, "and reset");
}

/* What the hardware does not forget is not forgotten here: else a message stays on that nobody can
 * mask any more. */
static void test_no_flr(void)
{
    pass_rig("all");
    dev_a->config[0x60 + PCI_EXP_DEVCAP + 3] &= (uint8_t)~(PCI_EXP_FLR_CAP >> 24);
    cfg_w(A, PCI_COMMAND, 2, 6);
    cfg_w(A, 0xa2, 2, PCI_MSIX_ENABLE);
    cfg_w(A, 0x68, 2, PCI_EXP_FLR);
    tap_eq(dev_a->resets, 1, "no FLR: no reset");
    tap_eq(cfg_r(A, PCI_COMMAND, 2), 6, "... and its command stays");
    tap_ok(cfg_r(A, 0xa2, 2) & PCI_MSIX_ENABLE, "... and its messages");
}

/* Between owners: out of D3, which forgets everything; FLR when nothing is on its way any more. */
static void test_between(void)
{
    pass_rig("none");
    put_dword(dev_a->config, dev_a->pm + PCI_PM_CSR, PCI_PM_STATE);
    (void)chosen("03:02.0");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_eq(hw(dev_a, dev_a->pm + PCI_PM_CSR, 2) & PCI_PM_STATE, 0, "one that slept is awake");
    tap_eq(hw(dev_a, PCI_BAR0, 4), BAR_A, "... and has its BAR, though it was deaf for a while");
    tap_eq(hw(dev_a, PCI_COMMAND, 2), PCI_COMMAND_NO_INTX, "... and no INTx");
    tap_eq(dev_a->resets, 1, "... and heard of its reset");
    dev_a->busy_ms = 25;
    pass_stop(pass);
    tap_ok(dev_a->resets == 2 && !dev_a->early, "reset when its requests are over");
    pass_rig("none");
    fake_pci_af(dev_b, 0x70 + 8, 0); /* behind PM */
    dev_b->config[0x71] = 0x78;
    dev_b->busy_ms = 25;
    (void)chosen("00:1f.2");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_ok(dev_b->resets == 1 && !dev_b->early, "the same by the conventional capability");
    dev_b->busy_ms = 100000;
    pass_stop(pass);
    tap_eq(dev_b->resets, 2, "... which is not waited for without end");
    put_dword(dev_b->config, dev_b->pm + PCI_PM_CSR, PCI_PM_STATE);
    dev_b->config[dev_b->af + PCI_AF_CAPS] = 0;
    pass_reset(pass->fn[0]);
    tap_eq(hw(dev_b, PCI_BAR0, 4), BAR_B, "without FLR: out of D3, and has its BAR");
    tap_eq(dev_b->resets, 2, "... and no reset");
}

static bool none_taken(pci_bdf_t f)
{
    return f == 0x0310;
}

static void test_choose(void)
{
    pass_rig("none");
    tap_eq(pass_count(pass), 0, "none");
    (void)fake_pci_add(0x0008, 0x11111234, 0x030000, 0xfd000000);
    struct fake_pci *bridge = fake_pci_add(0x00e0, 0x22221234, 0x060400, 0xfc000000);
    bridge->id.layout = PCI_LAYOUT_BRIDGE;
    tap_eq(chosen("all"), 2, "all: neither the one without messages nor the bridge");
    tap_eq(chosen("03:02.0"), 1, "one");
    tap_ok(pass_has(pass, 0x0310) && !pass_has(pass, 0x00fa), "the right one");
    tap_eq(chosen("0000:03:02.0,00:1f.2"), 2, "a list");
    tap_eq(chosen("03:02.0,03:02.0"), 1, "twice is once");
    tap_eq(chosen("00:1c.0,00:01.0,04:00.0,xx,03:02,:.,03:20.0,,1:2:3.4"), 0,
           "nonsense, each said");
    memset((void *)pass, 0, pass_sizeof());
    tap_eq(pass_choose(pass, "all", 3, none_taken), 1, "not what another VM has");
    dev_a->id.bar[0].base = 0;
    tap_eq(chosen("03:02.0"), 0, "a BAR that firmware placed nowhere");
    tap_eq(pass_low_end(pass), 1ull << 32, "no BAR, no end");
    dev_a->id.bar[0].base = 0x1800000;
    tap_eq(chosen("03:02.0"), 0, "a BAR over the machine's memory");
    (void)chosen("00:1f.2");
    tap_eq(pass_low_end(pass), BAR_B, "RAM ends below BARs");
    tap_eq(pass_high_end(pass), UINT64_MAX, "... and has none above");
}

/* BARs that are not the guest's alone. */
static void test_neighbours(void)
{
    hpa_t h;

    pass_rig("none");
    dev_b->id.bar[0].size = 0x100;
    struct fake_pci *own = fake_pci_add(0x0008, 0x11111234, 0x070002, BAR_B + 0x800);
    own->id.ours = true;
    own->id.bar[0].size = 0; /* the console's is not sized */
    (void)chosen("00:1f.2");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_ok(pass_count(pass) == 1 && !p2m_device(&rig_p2m, gpa(BAR_B), &h),
           "a BAR in one page with our console's is not mapped");
    pass_rig("none");
    (void)fake_pci_add(0x0010, 0x33331234, 0x020000, BAR_A + 0x2000);
    tap_eq(chosen("03:02.0"), 0, "one that another function has as well");
    pass_rig("none");
    for (unsigned i = 0; i < PASS_FUNCTIONS; i++) {
        struct fake_pci *d = fake_pci_add((pci_bdf_t)(0x4000 + 8 * i), 0x44441234, 0x010601, 0);
        fake_pci_msi(d, 0x80, 0, true, true);
        for (unsigned b = 0; b < PORT_PCI_BARS; b++)
            d->id.bar[b] = (struct port_pci_bar){
                .base = 0xc000 + (i * PORT_PCI_BARS + b) * 8, .size = 8, .io = true};
        dev_a->id.bar[0].base = dev_b->id.bar[0].base = 0; /* cannot be given */
    }
    tap_eq(chosen("all"), PASS_FUNCTIONS, "as many as can be");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_eq(pass_count(pass), PASS_FUNCTIONS, "... with all their ports");
}

/* What the hypervisor uses itself, be it no BAR of a function that was sized. */
static void test_kept(void)
{
    hpa_t h;

    pass_rig("none");
    dev_b->id.bar[4] = (struct port_pci_bar){.base = 0xc040, .size = 0x20, .io = true};
    fake_pci_kept = (struct port_pci_bar){.base = 0xc058, .size = 8, .io = true};
    tap_eq(chosen("00:1f.2"), 0, "a BAR over the ports of our console");
    fake_pci_kept.base = 0xc060;
    tap_eq(chosen("00:1f.2"), 1, "... right before them");
    fake_pci_kept = (struct port_pci_bar){.base = BAR_B + 0x1000, .size = 0x100000};
    tap_eq(chosen("00:1f.2"), 0, "a BAR over configuration space, which is memory");
    dev_b->id.bar[0].size = 0x100;
    tap_eq(chosen("00:1f.2"), 1, "... in the page before");
    fake_pci_kept.base = BAR_B + 0x100;
    (void)chosen("00:1f.2");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_ok(pass_count(pass) == 1 && !p2m_device(&rig_p2m, gpa(BAR_B), &h),
           "one in a page with what is ours is not mapped");
}

/* Ports that do not exit: [begin, end) and no other. */
static bool open_are(uint32_t begin, uint32_t end)
{
    const uint8_t *map = port_ptr(pass_ports(pass));

    for (uint32_t port = 0; port < PORT_IO_MAP_BYTES * 8; port++)
        if (!(map[port / 8] >> port % 8 & 1) != (port >= begin && port < end))
            return false;
    return true;
}

static void test_ports(void)
{
    pass_rig("all");
    tap_eq(pass_ports(pass).v, 0, "no I/O BAR: every port exits");
    pass_rig("none");
    dev_b->id.bar[4] = (struct port_pci_bar){.base = 0xffe0, .size = 0x20, .io = true};
    (void)chosen("00:1f.2");
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_ok(open_are(0xffe0, 0x10000), "the ports of its BAR do not exit, all others do");
    cfg_w(A, PCI_COMMAND, 2, 0);
    cfg_w(A, PCI_BAR0 + 16, 4, 0x1001);
    cfg_w(A, PCI_COMMAND, 2, PCI_COMMAND_IO);
    tap_eq(cfg_r(A, PCI_BAR0 + 16, 4), 0xffe1, "they do not move");
    tap_ok(open_are(0xffe0, 0x10000), "... nor does the map");
    phys_seal();
    rig_init(RIG_CPUS);
    fake_arena(0x1000000, 16 << 20);
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_ok(open_are(0xffe0, 0x10000), "the same in the VM's next life");
    pass->fn[0]->bar[4].size = 0;
    rig_init(RIG_CPUS);
    fake_arena(0x1000000, 16 << 20);
    pass_start(pass, &pc, &co, &rig_p2m);
    tap_ok(open_are(0, 0), "what it does not own any more is closed");
    pass_rig("none");
    dev_b->id.bar[4] = (struct port_pci_bar){.base = 0x3f8, .size = 8, .io = true};
    tap_eq(chosen("00:1f.2"), 0, "a BAR among the chipset's ports");
}

static bool legal(const struct fake_pci *d, uint64_t base)
{
    uint32_t command = hw(d, PCI_COMMAND, 2), bar = hw(d, PCI_BAR0, 4);
    bool good = bar == base || (bar == 0 && !(command & (PCI_COMMAND_MEMORY | PCI_COMMAND_IO)));

    if ((!(command & PCI_COMMAND_NO_INTX) && command) || command & 0x0140) /* 0: just reset */
        return false;
    if (d->express && (hw(d, d->express + PCI_EXP_DEVCTL, 2) & 0x00ef))
        return false;
    if (d->msi && (hw(d, d->msi + 2, 2) & PCI_MSI_ENABLE) &&
        (hw(d, d->msi + 4, 4) >> 20 != 0xfee || hw(d, d->msi + 2, 2) & 0x70))
        return false;
    return good && !d->torn;
}

static void test_random(void)
{
    uint64_t seed = 7;
    unsigned bad = 0;

    pass_rig("all");
    for (unsigned i = 0; i < 300000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t r = (uint32_t)(seed >> 33), v = (uint32_t)(seed >> 11);
        unsigned size = 1u << r % 3, reg = (r >> 4) % 256 & ~(size - 1);
        if (r >> 16 & 1)
            cfg_w(A + (r >> 17 & 1), reg, size, r >> 18 & 1 ? v : v & 0x0000ffff);
        else
            (void)cfg_r(A + (r >> 17 & 1), reg, size);
        if (r >> 19 & 1)
            mem_w(BAR_A + TABLE + (v & 0x3ff & ~3u), 4, v >> 4);
        if (!legal(dev_a, BAR_A) || !legal(dev_b, BAR_B))
            bad++;
        while (port_msi_take())
            ;
    }
    tap_eq(bad, 0, "300,000 random accesses: the hardware is never what it may not be");
}

int main(void)
{
    test_shown();
    test_extended();
    test_high();
    test_bars();
    test_command();
    test_no_flr();
    test_between();
    test_choose();
    test_neighbours();
    test_kept();
    test_ports();
    test_random();
    return tap_done();
}
