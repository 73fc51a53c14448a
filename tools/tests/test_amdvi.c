/* SPDX-License-Identifier: BSD-2-Clause */
/* The AMD-Vi driver on units that do what the specification says, caches included: what a function
 * reaches, its interrupts and others', what is logged, and units that fail. AMD I/O Virtualization
 * Technology (IOMMU) Specification 3.07, 2.2, 2.4, 2.5, 3.4. */
#include "hv/base/options.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/fake/pci.h"
#include "tools/tests/tap.h"
/* The processor's accesses are the units' to see. */
#define mmio_read32 plain_read32
#define mmio_write32 plain_write32
#define mmio_read plain_read
#define mmio_write plain_write
#define rdtsc plain_rdtsc
#define cpu_wbinvd plain_wbinvd
#include "arch-x86/cpu/asm.h"
#undef mmio_read32
#undef mmio_write32
#undef mmio_read
#undef mmio_write
#undef rdtsc
#undef cpu_wbinvd
static uint32_t mmio_read32(const void *p);
static void mmio_write32(void *p, uint32_t v);
static uint64_t mmio_read(const void *p, unsigned size);
static void mmio_write(void *p, unsigned size, uint64_t v);
static uint64_t rdtsc(void);
static void cpu_wbinvd(void);
#include "arch-x86/iommu/tables.c"
#undef ENTRIES
#include "arch-x86/iommu/amdvi.c"

#define UNITS 2
#define BASE 0xfed80000ull
#define NOWHERE (~0ull)
#define A 0x0310u
#define B 0x0418u
#define SELF 0x0002u /* the first unit's own function */

/* --- the units --- */
static struct model {
    _Alignas(16) uint8_t regs[REGISTERS];
    bool known[65536];
    uint64_t dte[65536][3]; /* cached, as they were at the first use */
    struct {
        pci_bdf_t f;
        uint32_t index, entry;
    } ir[8]; /* cached */
    unsigned ncached;
    bool deaf;
    unsigned wrong;
} model[UNITS];
static uint64_t clock_now;

uint64_t tsc_hz = 1000000000;
struct percpu percpus[HV_MACHINE_CPUS];

static uint64_t rdtsc(void)
{
    return clock_now += 1000000;
}
static void cpu_wbinvd(void)
{
}
void kept_add(uint64_t base, uint64_t bytes, bool io)
{
    (void)base, (void)bytes, (void)io;
}
void *paging_map_mmio(hpa_t at, uint64_t bytes)
{
    (void)bytes;
    return model[(at.v - BASE) / 0x4000].regs;
}

static struct model *unit_of(const void *p, unsigned *reg)
{
    for (unsigned i = 0; i < UNITS; i++) {
        size_t in = (size_t)((const uint8_t *)p - model[i].regs);
        *reg = (unsigned)in;
        if (in < REGISTERS)
            return &model[i];
    }
    abort();
}
static uint64_t get64(const struct model *m, unsigned reg)
{
    uint64_t v;
    memcpy(&v, m->regs + reg, 8);
    return v;
}
static void put64(struct model *m, unsigned reg, uint64_t v)
{
    memcpy(m->regs + reg, &v, 8);
}
static uint64_t at(uint64_t base, uint64_t word)
{
    return ((const uint64_t *)port_ptr(hpa(base & MASK(51, 12))))[word];
}

static void commands_run(struct model *m)
{
    while (!m->deaf && get64(m, CMD_HEAD) != get64(m, CMD_TAIL)) {
        uint64_t head = get64(m, CMD_HEAD);
        uint64_t lo = at(get64(m, CMD_BASE), head / 8), hi = at(get64(m, CMD_BASE), head / 8 + 1);
        switch (lo >> 60) {
        case CMD_WAIT:
            *(uint64_t *)(uintptr_t)(lo & MASK(51, 3)) = hi;
            break;
        case CMD_DTE:
            m->known[lo & 0xffff] = false;
            break;
        case CMD_INTERRUPTS:
            m->ncached = 0;
            break;
        case CMD_PAGES:
            break;
        default:
            m->wrong++;
        }
        put64(m, CMD_HEAD, (head + 16) & RING_MASK);
    }
}

static uint32_t mmio_read32(const void *p)
{
    unsigned reg;
    const struct model *m = unit_of(p, &reg);
    return (uint32_t)get64(m, reg);
}
static void mmio_write32(void *p, uint32_t v)
{
    unsigned reg;
    struct model *m = unit_of(p, &reg);
    uint32_t was = (uint32_t)get64(m, reg);

    if (reg == STATUS) /* write 1 to clear */
        v = was & ~v;
    memcpy(m->regs + reg, &v, 4);
}
static uint64_t mmio_read(const void *p, unsigned size)
{
    unsigned reg;
    const struct model *m = unit_of(p, &reg);
    (void)size;
    return get64(m, reg);
}
static void mmio_write(void *p, unsigned size, uint64_t v)
{
    unsigned reg;
    struct model *m = unit_of(p, &reg);
    uint64_t control = get64(m, CONTROL);

    /* 3.4.1: bases are set while the unit is off */
    m->wrong += (reg == DEV_TABLE || reg == CMD_BASE) && (control & CONTROL_ENABLE);
    memcpy(m->regs + reg, &v, size);
    if (reg == CMD_TAIL && (control & CONTROL_CMD) && (control & CONTROL_ENABLE))
        commands_run(m);
}

static const uint64_t *device(struct model *m, pci_bdf_t f)
{
    if (!m->known[f])
        for (unsigned i = 0; i < 3; i++)
            m->dte[f][i] = at(get64(m, DEV_TABLE) + f * 32ull / PAGE_SIZE * PAGE_SIZE,
                              f * 32ull % PAGE_SIZE / 8 + i);
    m->known[f] = true;
    return m->dte[f];
}

/* Where a request of f for `a` goes: 2.2.3. */
static uint64_t reaches(struct model *m, pci_bdf_t f, uint64_t a)
{
    if (!(get64(m, CONTROL) & CONTROL_ENABLE))
        return a;
    uint64_t e = device(m, f)[0];
    unsigned level = e >> 9 & 7;
    if (!(e & DTE_V) || !(e & DTE_TV))
        return a;
    while (level) {
        if (!(e & DTE_READ) || !(e & DTE_WRITE) || (level < 6 && a >> (12 + 9 * level)))
            return NOWHERE;
        unsigned shift = 12 + 9 * (level - 1);
        e = at(e, a >> shift & 511);
        if (!(e & PTE_PRESENT) || (e >> 9 & 7) >= level)
            return NOWHERE;
        level = e >> 9 & 7;
        if (!level)
            return (e & MASK(51, 12) & ~((1ull << shift) - 1)) | (a & ((1ull << shift) - 1));
    }
    return e & DTE_READ ? a : NOWHERE; /* mode 0: not translated */
}

/* What a message becomes: vector and target << 8; NOWHERE: blocked. 2.2.5. */
static uint64_t interrupts(struct model *m, pci_bdf_t f, uint64_t address, uint32_t data)
{
    uint64_t e = get64(m, CONTROL) & CONTROL_ENABLE ? device(m, f)[2] : 0;
    uint32_t index = data & 0x7ff;
    unsigned i = 0;

    if (!(e & DTE2_IV))
        return (data & 0xff) | (address >> 12 & 0xff) << 8;
    if ((e >> 60 & 3) != 2 || index >= 1u << (e >> 1 & 15))
        return NOWHERE;
    while (i < m->ncached && (m->ir[i].f != f || m->ir[i].index != index))
        i++;
    if (i == m->ncached) {
        m->ir[i].f = f;
        m->ir[i].index = index;
        memcpy(&m->ir[i].entry, (uint8_t *)port_ptr(hpa(e & MASK(51, 6))) + index * 4, 4);
        m->ncached++;
    }
    uint32_t r = m->ir[i].entry;
    return r & 1 ? (r >> 16 & 0xff) | (uint64_t)(r >> 8 & 0xff) << 8 : NOWHERE;
}

/* --- the tests --- */
static struct iommu_tables t;
static uint32_t granule[64];
static struct p2m map = {.granule = granule, .ngranules = 64};
static struct fake_pci *self;

static void machine(void)
{
    fake_reset();
    fake_arena(0x1000000, 64 << 20);
    phys_reset();
    if (phys_add(hpa(0x1000000), 64 << 20) != HV_OK)
        abort();
    memset((void *)units, 0, sizeof(units));
    memset(remapped, 0, sizeof(remapped));
    memset(model, 0, sizeof(model));
    nunits = nremapped = 0;
    hv_opt.intremap = true;
    fake_pci_clear();
    self = fake_pci_add(SELF, 0x14231022, 0x080600, 0);
    fake_pci_msi(self, 0x64, 0, true, false);
    t = (struct iommu_tables){.nunits = UNITS, .intr_remap = true};
    for (unsigned i = 0; i < UNITS; i++)
        t.unit[i] = (struct iommu_unit){.base = BASE + 0x4000 * i, .self = SELF, .all = !i};
    for (unsigned i = 0; i < 64; i++)
        granule[i] = i % 3 ? i : P2M_NONE;
}

static void test_reach(void)
{
    unsigned bad = 0;
    hpa_t tables;

    machine();
    tap_eq(amdvi_start(&t), HV_OK, "two units start");
    for (unsigned f = 0; f < 0x10000; f += 255)
        for (unsigned i = 0; i < UNITS; i++)
            bad += reaches(&model[i], (pci_bdf_t)f, 0x1000000) != NOWHERE;
    tap_ok(!bad && amdvi_remaps(), "and nobody reaches anything");
    tap_ok(self->config[0x66] & 1 && self->config[0x70] == VECTOR_IOMMU, "events interrupt");
    tap_eq(iommu_tables_build(&map, amdvi_format(), &tables), HV_OK, "a VM's tables");
    (void)reaches(&model[0], A, 0x200000); /* that there is nothing is known to the unit */
    tap_eq(amdvi_set(A, tables, 1), HV_OK, "given");
    for (uint64_t a = 0; a < 128 << 20; a += 0x1ff000)
        bad += reaches(&model[0], A, a) != (a >> 21 < 64 && (a >> 21) % 3 ? a : NOWHERE);
    tap_ok(!bad, "a function reaches its VM's RAM and nothing else");
    tap_eq(reaches(&model[1], B, 0x200000), NOWHERE, "another one nothing");
    tap_eq(amdvi_set(A, hpa(0), 0), HV_OK, "taken");
    tap_eq(reaches(&model[0], A, 0x200000), NOWHERE, "nothing any more, whatever was cached");
    tap_eq(model[0].wrong + model[1].wrong, 0, "nothing of it against the rules");
}

static void test_interrupts(void)
{
    uint64_t address;
    uint32_t data;

    machine();
    (void)amdvi_start(&t);
    tap_ok(!amdvi_message(A, 0x41, 3, &address, &data), "no message for who has no owner");
    (void)amdvi_set(A, hpa(0x1000000), 1);
    (void)amdvi_set(B, hpa(0x1000000), 2);
    tap_eq(interrupts(&model[0], A, APIC_MSI_BASE, 0x41), NOWHERE, "nothing was given yet");
    tap_ok(amdvi_message(A, 0x41, 3, &address, &data), "a message");
    tap_eq(interrupts(&model[0], A, address, data), 0x41 | 3 << 8, "leads where it is to");
    tap_eq(interrupts(&model[0], A, APIC_MSI_BASE | 1 << 12, 0x41), 0x41 | 3 << 8,
           "... whatever address the device names");
    tap_ok(amdvi_message(A, 0x41, 5, &address, &data), "moved");
    tap_eq(interrupts(&model[0], A, address, data), 0x41 | 5 << 8, "... to another CPU");
    tap_eq(interrupts(&model[0], B, address, data), NOWHERE, "another function's is blocked");
    tap_eq(interrupts(&model[0], A, address, 0x42), NOWHERE, "and any other vector");
    (void)amdvi_set(A, hpa(0), 0);
    (void)amdvi_set(A, hpa(0x1000000), 2);
    tap_eq(interrupts(&model[0], A, APIC_MSI_BASE, 0x41), NOWHERE, "a second owner begins anew");
    tap_ok(!amdvi_message(A, 0x43, 256, &address, &data), "a CPU that cannot be named");
    machine();
    hv_opt.intremap = false;
    (void)amdvi_start(&t);
    (void)amdvi_set(A, hpa(0x1000000), 1);
    tap_ok(!amdvi_remaps() && !amdvi_message(A, 0x41, 3, &address, &data),
           "intremap=off: not remapped");
    tap_eq(interrupts(&model[0], A, APIC_MSI_BASE | 3 << 12, 0x41), 0x41 | 3 << 8,
           "... and passed as it is");
}

static unsigned nsaid;
static uint64_t said_at;
static pci_bdf_t said_f;

static void emit(pci_bdf_t f, uint64_t a, bool write, uint32_t reason)
{
    nsaid += write && reason == EVENT_PAGE_FAULT;
    said_f = f;
    said_at = a;
}

static void event(struct model *m, pci_bdf_t f, uint64_t a)
{
    uint64_t tail = get64(m, EVENT_TAIL), *log = port_ptr(hpa(get64(m, EVENT_BASE) & MASK(51, 12)));

    log[tail / 8] = (uint64_t)EVENT_PAGE_FAULT << 60 | EVENT_RW | f;
    log[tail / 8 + 1] = a;
    put64(m, EVENT_TAIL, (tail + 16) & RING_MASK);
    put64(m, STATUS, get64(m, STATUS) | STATUS_EVENT_INT);
}

static void test_events(void)
{
    machine();
    (void)amdvi_start(&t);
    for (unsigned i = 0; i < 400; i++) { /* round the ring */
        event(&model[i % 2], A, 0x1000 * i);
        amdvi_faults(emit);
        if (nsaid != i + 1 || said_f != A || said_at != 0x1000 * i || get64(&model[i % 2], STATUS))
            break;
    }
    tap_eq(nsaid, 400, "each event once, with function and address");
    put64(&model[0], STATUS, STATUS_OVERFLOW);
    amdvi_faults(emit);
    tap_ok(!get64(&model[0], EVENT_HEAD) && !get64(&model[0], EVENT_TAIL) &&
               (get64(&model[0], CONTROL) & CONTROL_EVENT_LOG),
           "a log that ran over begins again");
    event(&model[0], B, 0x5000);
    amdvi_faults(emit);
    tap_ok(nsaid == 401 && said_f == B, "... and is read on");
}

static void test_failures(void)
{
    machine();
    model[1].deaf = true;
    tap_ok(amdvi_start(&t) == HV_UNSUPPORTED && !get64(&model[0], CONTROL) &&
               !get64(&model[1], CONTROL),
           "a second unit that executes nothing: both are off");
    machine();
    memset(model[1].regs, 0xff, sizeof(model[1].regs));
    tap_ok(amdvi_start(&t) == HV_UNSUPPORTED && !get64(&model[0], CONTROL),
           "a second unit that is not there: the first is off");
    machine();
    (void)amdvi_start(&t);
    model[1].deaf = true;
    tap_eq(amdvi_set(A, hpa(0x1000000), 1), HV_UNSUPPORTED, "one that stops answering is noticed");
}

int main(void)
{
    test_reach();
    test_interrupts();
    test_events();
    test_failures();
    fake_reset();
    return tap_done();
}
