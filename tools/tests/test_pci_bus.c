/* SPDX-License-Identifier: BSD-2-Clause */
/* The PCI bus: configuration space, BARs that move, capabilities, INTx shared by functions, MSI-X
 * with its masks and pending bits, and interrupts as they reach local APICs. */
#include "hv/vdev/pci/pci.h"
#include "tools/tests/test_vdev_rig.h"

static struct pci_function fa, fb;
static struct pci_msix_entry entries[4];
static uint64_t pending[1];
static unsigned touched_bar, moved_bar, changes;
static uint64_t touched_at, moved_to;

static void touch(struct pci_function *f, unsigned bar, struct vio *io)
{
    touched_bar = bar;
    touched_at = io->addr;
    if (!io->write)
        io->value = f == &fa ? 0xaaaaaaaaaaaaaaaa : 0xbbbbbbbb;
}
static void moved(struct pci_function *f, unsigned bar, uint64_t where)
{
    (void)f;
    moved_bar = bar;
    moved_to = where;
}
static bool special_read(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                         uint32_t *value)
{
    (void)f, (void)from, (void)size;
    *value = 0x77;
    return reg == 0xf0;
}
static void changed(struct pci_function *f, uint32_t from)
{
    (void)f, (void)from;
    changes++;
}
static const struct pci_ops ops = {.config_read = special_read,
                                   .bar_access = touch,
                                   .bar_moved = moved,
                                   .interrupts_changed = changed};

static uint32_t cfg_r(unsigned devfn, unsigned reg, uint8_t size)
{
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80000000u | devfn << 8 | (reg & 0xfc));
    return (uint32_t)rig_io(0, false, 0xcfc + (reg & 3), size, false, 0);
}
static void cfg_w(unsigned devfn, unsigned reg, uint8_t size, uint32_t v)
{
    (void)rig_io(0, false, 0xcf8, 4, true, 0x80000000u | devfn << 8 | (reg & 0xfc));
    (void)rig_io(0, false, 0xcfc + (reg & 3), size, true, v);
}
static uint64_t mem_r(uint64_t where, uint8_t size)
{
    return rig_io(0, true, where, size, false, 0);
}
static void mem_w(uint64_t where, uint8_t size, uint64_t v)
{
    (void)rig_io(0, true, where, size, true, v);
}

#define A PCI_DEVFN(1, 0)
#define B PCI_DEVFN(9, 0) /* on the same line as A with the same pin */

static void make(void)
{
    const uint8_t body[6] = {0, 0, 1, 2, 3, 4}, may[6] = {0, 0, 0, 0xf0, 0, 0};
    rig_init(2);
    apics_on();
    pci_function_init(&fa,
                      &(struct pci_identity){.id = 0x10441af4,
                                             .class_code = 0x0000ff,
                                             .subsystem = 0x00111af4,
                                             .revision = 1,
                                             .pin = 1,
                                             .devfn = A},
                      &ops, NULL);
    pci_bar_declare(&fa, 0, 0x4000, true, false);
    pci_bar_declare_io(&fa, 2, 32);
    tap_eq(pci_capability(&fa, 9, body, 6, may), 0x40, "first capability");
    pci_msix_declare(&fa, &(struct pci_msix){.count = 4,
                                             .bar = 0,
                                             .table_at = 0x1000,
                                             .pba_at = 0x2000,
                                             .entry = entries,
                                             .pending = pending});
    tap_eq(vpc_pci_add(&pc, &fa), HV_OK, "added");
    pci_function_init(&fb, &(struct pci_identity){.id = 0x12345678, .pin = 1, .devfn = B}, &ops,
                      NULL);
    pci_bar_declare(&fb, 1, 0x1000, false, true);
    tap_eq(vpc_pci_add(&pc, &fb), HV_OK, "added");
}

static void test_config(void)
{
    make();
    tap_eq(vpc_pci_add(&pc, &fb), HV_INVALID, "the place is taken");
    tap_eq(cfg_r(0, 0, 4), 0x00081b36, "the bridge");
    tap_eq(cfg_r(A, 0, 4), 0x10441af4, "identity");
    tap_eq(cfg_r(A, 8, 4), 0x0000ff01, "class and revision");
    tap_eq(cfg_r(A, 0x2c, 4), 0x00111af4, "subsystem");
    tap_eq(cfg_r(A, 2, 2), 0x1044, "a word");
    tap_eq(cfg_r(A, 0x3d, 1), 1, "a byte");
    tap_eq(cfg_r(PCI_DEVFN(2, 0), 0, 4), 0xffffffff, "nobody");
    tap_eq(cfg_r(A | 0x100, 0, 4), 0xffffffff, "no other bus");
    cfg_w(A, 0, 4, 0);
    tap_eq(cfg_r(A, 0, 4), 0x10441af4, "read-only");
    cfg_w(A, 0x3c, 1, 11);
    tap_eq(cfg_r(A, 0x3c, 1), 11, "interrupt line is a scratch register");
    tap_eq(cfg_r(A, 6, 2) & 0x10, 0x10, "has capabilities");
    tap_eq(cfg_r(A, 0x34, 1), 0x40, "the first");
    tap_eq(cfg_r(A, 0x40, 4), 0x02014809, "its head names the next");
    cfg_w(A, 0x40, 4, 0xffffffff);
    tap_eq(cfg_r(A, 0x40, 4), 0xf2014809, "and what is writable");
    tap_eq(cfg_r(A, 0x48, 4), 0x00030011, "MSI-X, four vectors, the last");
    tap_eq(cfg_r(A, 0xf0, 4), 0x77, "an operation of the device's own");
    tap_eq(rig_io(0, false, 0xcfe, 4, false, 0), 0xffffffff, "not over a dword");
}

/* The same registers as memory. */
static void test_ecam(void)
{
    const uint64_t at_ = PCI_ECAM_BASE + A * 4096ull;

    make();
    tap_eq(mem_r(PCI_ECAM_BASE, 4), 0x00081b36, "the host bridge");
    tap_eq(mem_r(PCI_ECAM_BASE + 0x100, 4), 0xffffffff, "... which has no extended space");
    tap_eq(mem_r(at_, 4), 0x10441af4, "a function");
    tap_eq(mem_r(at_ + 2, 2), 0x1044, "a word");
    tap_eq(mem_r(at_ + 0x3d, 1), 1, "a byte");
    tap_eq(mem_r(at_ + 8, 8), 0x0000ff01 | (uint64_t)cfg_r(A, 12, 4) << 32, "two dwords at once");
    tap_eq(mem_r(at_ + 2, 4), 0xffffffff, "not over a dword");
    tap_eq(mem_r(at_ + 0x100, 4), 0xffffffff, "a virtual function has no extended space");
    tap_eq(mem_r(PCI_ECAM_BASE + (A + 8) * 4096ull, 4), 0xffffffff, "nobody");
    rig_io(0, true, at_ + 0x3c, 1, true, 0x5a);
    tap_eq(cfg_r(A, 0x3c, 1), 0x5a, "written there, seen by the ports");
    rig_io(0, true, at_ + 0x100, 4, true, 0x5a5a);
    rig_io(0, true, PCI_ECAM_BASE, 4, true, 0);
    tap_eq(mem_r(PCI_ECAM_BASE, 4), 0x00081b36, "the bridge is read-only");
}

static void test_bars(void)
{
    make();
    uint64_t was = cfg_r(A, 0x10, 4);
    tap_eq(was & 0xf, 4, "64 bits, not prefetchable");
    was &= ~0xfull;
    tap_ok(was >= 0xc0000000 && was < 0xfec00000 && !(was & 0x3fff), "placed in the window");
    tap_eq(cfg_r(A, 4, 2) & 3, 3, "decoded from the start");
    tap_eq(mem_r(was + 0x18, 8), 0xaaaaaaaaaaaaaaaa, "reached");
    tap_ok(touched_bar == 0 && touched_at == 0x18, "at its offset");
    cfg_w(A, 0x10, 4, 0xffffffff), cfg_w(A, 0x14, 4, 0xffffffff);
    tap_eq(cfg_r(A, 0x10, 4), 0xffffc004, "size");
    tap_eq(cfg_r(A, 0x14, 4), 0xffffffff, "upper half");
    cfg_w(A, 0x10, 4, 0xd0004000), cfg_w(A, 0x14, 4, 0);
    tap_eq(moved_to, 0xd0004000, "told that it moved");
    tap_eq(mem_r(was + 0x18, 4), 0xffffffff, "gone from the old place");
    tap_eq(mem_r(0xd0004018, 4), 0xaaaaaaaa, "at the new one");
    tap_eq(mem_r(0xd0007ffc, 8), ~0ull, "not over the end");
    cfg_w(A, 4, 2, 0);
    tap_eq(moved_to, PCI_NOWHERE, "switched off");
    tap_eq(mem_r(0xd0004018, 4), 0xffffffff, "nobody");
    cfg_w(A, 4, 2, 7);
    uint32_t port = cfg_r(A, 0x18, 4);
    tap_eq(port & 3, 1, "a port");
    tap_eq(rig_io(0, false, (port & ~3u) + 4, 4, false, 0), 0xaaaaaaaa, "reached");
    tap_ok(touched_bar == 2 && touched_at == 4, "at its offset");
    vpc_pci_window(&pc, 0x200000000, 0x300000000);
    cfg_w(A, 0x10, 4, 0x10000), cfg_w(A, 0x14, 4, 2);
    tap_eq(mem_r(0x200010000, 4), 0xaaaaaaaa, "above 4 GiB");
    cfg_w(A, 0x14, 4, 9);
    tap_eq(mem_r(0x900010000, 4), 0xffffffff, "outside of the windows nobody looks");
}

static void test_intx(void)
{
    make();
    unsigned pin = VPC_PCI_PIN + 1;
    ioapic_pin(pin, 0x8000 | 0x51); /* level, to CPU 0 */
    pci_intx_set(&fa, 1, true);
    tap_eq(cfg_r(A, 6, 2) & 8, 8, "interrupt status");
    tap_eq(vlapic_pending(&pc, 0), 0x51, "the interrupt is there");
    pci_intx_set(&fb, 0, true);
    (void)vlapic_accept(&pc, 0);
    pci_intx_set(&fa, 0, false);
    vlapic_eoi(&pc, 0);
    tap_eq(vlapic_pending(&pc, 0), 0x51, "the other still asserts the shared line");
    (void)vlapic_accept(&pc, 0);
    cfg_w(B, 4, 2, 0x402);
    tap_eq(cfg_r(B, 6, 2) & 8, 8, "disabled, but the status tells");
    vlapic_eoi(&pc, 0);
    tap_eq(vlapic_pending(&pc, 0), -1, "quiet");
    cfg_w(B, 4, 2, 2);
    tap_eq(vlapic_pending(&pc, 0), 0x51, "enabled again");
    pci_intx_set(&fb, 0, false);
    (void)vlapic_accept(&pc, 0);
    vlapic_eoi(&pc, 0);
    tap_eq(vlapic_pending(&pc, 0), -1, "over");
    /* the 8259s: line 1 is interrupt 11 */
    outb(0x20, 0x11), outb(0x21, 0x30), outb(0x21, 4), outb(0x21, 1);
    outb(0xa0, 0x11), outb(0xa1, 0x38), outb(0xa1, 2), outb(0xa1, 1);
    outb(0x21, 0xfb), outb(0xa1, 0xf7);
    tap_eq(inb(0x4d1) & 0x0c, 0x0c, "10 and 11 are levels");
    pci_intx_set(&fa, 0, true);
    tap_ok(pc.pic.out, "and reach the 8259s");
    pci_intx_set(&fa, 0, false);
    tap_ok(!pc.pic.out, "as levels do");
}

static void test_msix(void)
{
    make();
    uint64_t base = cfg_r(A, 0x10, 4) & ~0xfu, table = base + 0x1000;
    tap_eq(mem_r(table + 12, 4), 1, "masked at first");
    mem_w(table + 16, 4, 0xfee01003), mem_w(table + 24, 4, 0x62), mem_w(table + 28, 4, 0xfffffffe);
    tap_eq(mem_r(table + 16, 8), 0xfee01000, "address is a dword's");
    tap_eq(mem_r(table + 28, 4), 0, "reserved bits read 0");
    pci_msix_send(&fa, 0, 1);
    tap_eq(mem_r(base + 0x2000, 8), 0, "off: nothing is remembered");
    cfg_w(A, 0x4a, 2, 0x8000);
    pci_msix_send(&fa, 0, 1);
    tap_eq(vlapic_pending(&pc, 1), -1, "no bus master");
    tap_eq(mem_r(base + 0x2000, 8), 2, "waits");
    cfg_w(A, 4, 2, 6);
    tap_eq(vlapic_pending(&pc, 1), 0x62, "sent when it may be");
    tap_eq(actions(1) & ACTION_IRQ, ACTION_IRQ, "and announced");
    tap_eq(mem_r(base + 0x2000, 8), 0, "no more pending");
    (void)vlapic_accept(&pc, 1), vlapic_eoi(&pc, 1);
    pci_msix_send(&fa, 0, 0);
    tap_eq(mem_r(base + 0x2000, 4), 1, "a masked entry waits");
    mem_w(table, 4, 0xfee00000), mem_w(table + 8, 4, 0x63);
    cfg_w(A, 0x4a, 2, 0xc000);
    mem_w(table + 12, 4, 0);
    tap_eq(vlapic_pending(&pc, 0), -1, "all masked");
    cfg_w(A, 0x4a, 2, 0x8000);
    tap_eq(vlapic_pending(&pc, 0), 0x63, "sent");
    (void)vlapic_accept(&pc, 0), vlapic_eoi(&pc, 0);
    mem_w(table + 2, 2, 0xffff);
    tap_eq(mem_r(table, 4), 0xfee00000, "no words");
    mem_w(base + 0x2000, 4, 0xf);
    tap_eq(mem_r(base + 0x2000, 4), 0, "pending bits are read-only");
    mem_w(table, 4, 0x1000);
    pci_msix_send(&fa, 0, 0), pci_msix_send(&fa, 0, 99);
    tap_eq(vlapic_pending(&pc, 0), -1, "no interrupt address: no message");
    pci_intx_set(&fa, 0, true);
    tap_ok(!fa.driven, "with MSI-X on the pin is not used");
    cfg_w(A, 0x4a, 2, 0);
    tap_ok(fa.driven && changes > 0, "without it is");
}

int main(void)
{
    test_config();
    test_ecam();
    test_bars();
    test_intx();
    test_msix();
    return tap_done();
}
