/* SPDX-License-Identifier: BSD-2-Clause */
/* The VT-d driver on units that do what the specification says, caches included: what a function
 * reaches, whose interrupts are whose, what is logged, and units that fail. Intel Virtualization
 * Technology for Directed I/O 4.1, chapters 3, 5, 6.5 and 11.4. */
#include "hv/base/options.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
/* The processor's accesses are the units' to see. */
#define mmio_read32 plain_read32
#define mmio_write32 plain_write32
#define mmio_read plain_read
#define mmio_write plain_write
#define rdtsc plain_rdtsc
#define cpu_wbinvd plain_wbinvd
#define cpu_clflush plain_clflush
#include "arch-x86/cpu/asm.h"
#undef mmio_read32
#undef mmio_write32
#undef mmio_read
#undef mmio_write
#undef rdtsc
#undef cpu_wbinvd
#undef cpu_clflush
static uint32_t mmio_read32(const void *p);
static void mmio_write32(void *p, uint32_t v);
static uint64_t mmio_read(const void *p, unsigned size);
static void mmio_write(void *p, unsigned size, uint64_t v);
static uint64_t rdtsc(void);
static void cpu_wbinvd(void);
static void cpu_clflush(const volatile void *at);
#define field dmar_field
#include "arch-x86/iommu/dmar.c"
#undef field
#define page_new iommu_page_new
#include "arch-x86/iommu/tables.c"
#undef ENTRIES
#include "arch-x86/iommu/vtd.c"

#define UNITS 2
#define NOWHERE (~0ull)
#define A 0x0310u
#define B 0x0418u

/* --- the units --- */
static struct model {
    _Alignas(16) uint8_t regs[REGISTERS];
    uint64_t root, ints;               /* latched by SRTP and SIRTP */
    uint64_t context[65536], ir[2][8]; /* cached: entries as they were at the first use */
    uint64_t ir_index[8];
    unsigned ncached;
    uint32_t head;
    uint32_t dead; /* commands that it does not do */
    bool deaf;     /* it executes nothing of its queue */
    unsigned waits, wrong;
} model[UNITS];
static uint64_t clock_now;
static bool x2;

uint64_t tsc_hz = 1000000000;
struct percpu percpus[HV_MACHINE_CPUS];

static uint64_t rdtsc(void)
{
    return clock_now += 1000000;
}
static void cpu_wbinvd(void)
{
}
static void cpu_clflush(const volatile void *at)
{
    (void)at;
}
bool apic_is_x2(void)
{
    return x2;
}
void kept_add(uint64_t base, uint64_t bytes, bool io)
{
    (void)base, (void)bytes, (void)io;
}
void *paging_map_mmio(hpa_t at, uint64_t bytes)
{
    (void)bytes;
    return model[(at.v - 0xfed90000) / 0x1000].regs;
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

static uint32_t get32(const struct model *m, unsigned reg)
{
    uint32_t v;
    memcpy(&v, m->regs + reg, 4);
    return v;
}
static uint64_t get64(const struct model *m, unsigned reg)
{
    uint64_t v;
    memcpy(&v, m->regs + reg, 8);
    return v;
}
static void set32(struct model *m, unsigned reg, uint32_t v)
{
    memcpy(m->regs + reg, &v, 4);
}

/* 11.4.4.1: one command at a time, beside the status as it is. */
static void global_command(struct model *m, uint32_t v)
{
    const uint32_t lasting = (uint32_t)(GCMD_TE | GCMD_QIE | GCMD_IRE | GCMD_CFI);
    uint32_t was = get32(m, GSTS) & lasting, once = v & (uint32_t)(GCMD_SRTP | GCMD_SIRTP);
    uint32_t changed = (was ^ v) & lasting;

    m->wrong += __builtin_popcount(changed | once) > 1;
    if ((changed | once) & m->dead)
        return;
    if (once & GCMD_SRTP)
        m->root = get64(m, RTADDR);
    if (once & GCMD_SIRTP)
        m->ints = get64(m, IRTA);
    if (changed & v & GCMD_QIE)
        m->head = 0;
    set32(m, GSTS, (v & lasting) | (get32(m, GSTS) & (uint32_t)(GCMD_SRTP | GCMD_SIRTP)) | once);
}

static void forget_contexts(struct model *m)
{
    for (unsigned i = 0; i < 65536; i++)
        m->context[i] = NOWHERE;
}

static void queue_run(struct model *m)
{
    const uint64_t *queue = port_ptr(hpa(get64(m, IQA)));

    m->wrong += !(get32(m, GSTS) & GCMD_QIE);
    for (; !m->deaf && m->head != get64(m, IQT) >> 4; m->head = (m->head + 1) % QUEUE_ENTRIES) {
        uint64_t lo = queue[m->head * 2], hi = queue[m->head * 2 + 1];
        switch (lo & 15) {
        case 1:
            forget_contexts(m);
            break;
        case 2: /* what a context led to is cached with it here */
            break;
        case 4:
            m->ncached = 0;
            break;
        case 5:
            *(uint32_t *)(uintptr_t)hi = (uint32_t)(lo >> 32);
            m->waits++;
            break;
        default:
            m->wrong++;
        }
    }
}

static uint32_t mmio_read32(const void *p)
{
    unsigned reg;
    const struct model *m = unit_of(p, &reg);
    return get32(m, reg);
}
static void mmio_write32(void *p, uint32_t v)
{
    unsigned reg;
    struct model *m = unit_of(p, &reg);
    unsigned faults = CAP_FRO(get64(m, CAP));

    if (reg == GCMD)
        global_command(m, v);
    else if (reg == FSTS)
        set32(m, FSTS, get32(m, FSTS) & ~v);
    else if (reg >= faults && reg % 16 == 12) /* F: write 1 to clear */
        set32(m, reg, get32(m, reg) & ~(v & 0x80000000u));
    else
        set32(m, reg, v);
}
static uint64_t mmio_read(const void *p, unsigned size)
{
    unsigned reg;
    const struct model *m = unit_of(p, &reg);
    return size == 8 ? get64(m, reg) : get32(m, reg);
}
static void mmio_write(void *p, unsigned size, uint64_t v)
{
    unsigned reg;
    struct model *m = unit_of(p, &reg);

    memcpy(m->regs + reg, &v, size);
    if (reg == IQT && get32(m, GSTS) & GCMD_QIE)
        queue_run(m);
}

static uint64_t entry(uint64_t table, uint64_t index)
{
    return ((const uint64_t *)port_ptr(hpa(table & ~(uint64_t)PAGE_MASK)))[index];
}

/* Where a request of f for `a` goes, by what is cached before what is in memory. */
static uint64_t reaches(struct model *m, pci_bdf_t f, uint64_t a)
{
    if (!(get32(m, GSTS) & GCMD_TE))
        return a;
    if (m->context[f] == NOWHERE) {
        uint64_t slot = entry(m->root, (f >> 8) * 2);
        m->context[f] = slot & 1 ? entry(slot, (f & 0xff) * 2) : 0;
    }
    uint64_t e = m->context[f];
    if (!(e & 1))
        return NOWHERE;
    for (unsigned level = 4;; level--) {
        e = entry(e, a >> (12 + 9 * (level - 1)) & 511);
        if ((e & 3) != 3)
            return NOWHERE;
        if (level == 1 || e & SS_LARGE) {
            uint64_t mask = (1ull << (12 + 9 * (level - 1))) - 1;
            return (e & ~mask & MASK(51, 12)) | (a & mask);
        }
    }
}

/* What a message becomes: vector and target << 8; NOWHERE: blocked. */
static uint64_t interrupts(struct model *m, pci_bdf_t f, uint64_t address, uint32_t data)
{
    uint64_t index = (address >> 5 & 0x7fff) | (address >> 2 & 1) << 15;
    unsigned i = 0;

    if (!(get32(m, GSTS) & GCMD_IRE))
        return (data & 0xff) | (address >> 12 & 0xff) << 8;
    if (!(address & REMAPPED_FORMAT))
        return get32(m, GSTS) & GCMD_CFI ? (data & 0xff) | (address >> 12 & 0xff) << 8 : NOWHERE;
    while (i < m->ncached && m->ir_index[i] != index)
        i++;
    if (i == m->ncached) {
        if (m->ncached == 8)
            abort();
        m->ir_index[m->ncached] = index;
        m->ir[0][m->ncached] = entry(m->ints + index / 256 * PAGE_SIZE, index % 256 * 2);
        m->ir[1][m->ncached++] = entry(m->ints + index / 256 * PAGE_SIZE, index % 256 * 2 + 1);
    }
    uint64_t lo = m->ir[0][i], hi = m->ir[1][i];
    if (!(lo & 1) || ((hi >> 18 & 3) == 1 && (hi & 0xffff) != f))
        return NOWHERE;
    return (lo >> 16 & 0xff) | (m->ints & IRTA_EIME ? lo >> 32 : lo >> 40 & 0xff) << 8;
}

/* --- the tests --- */
static struct iommu_tables t;
static uint32_t granule[64];
static struct p2m map = {.granule = granule, .ngranules = 64};

static void machine(uint64_t ecap)
{
    fake_reset();
    fake_arena(0x1000000, 64 << 20);
    phys_reset();
    if (phys_add(hpa(0x1000000), 64 << 20) != HV_OK)
        abort();
    memset((void *)units, 0, sizeof(units));
    memset(model, 0, sizeof(model));
    nunits = 0;
    irt = NULL;
    irt_blocks = 1;
    hv_opt.intremap = true;
    t = (struct iommu_tables){.nunits = UNITS, .intr_remap = true, .nioapics = 1};
    t.ioapic[0] = (struct iommu_ioapic){.id = 2, .as = 0xff00};
    for (unsigned i = 0; i < UNITS; i++) {
        uint64_t cap = SAGAW_48 << 8 | CAP_2M | 0x20ull << 24 | 3ull << 40, e = ecap;
        t.unit[i].base = 0xfed90000 + 0x1000 * i;
        memcpy(model[i].regs + CAP, &cap, 8);
        memcpy(model[i].regs + ECAP, &e, 8);
        forget_contexts(&model[i]);
    }
    for (unsigned i = 0; i < 64; i++)
        granule[i] = i % 3 ? i : P2M_NONE;
}
#define ECAP_ALL (ECAP_COHERENT | ECAP_QI | VTD_ECAP_IR)

static unsigned wrong(void)
{
    return model[0].wrong + model[1].wrong;
}

static void test_reach(void)
{
    unsigned bad = 0;
    hpa_t tables;

    machine(ECAP_ALL);
    tap_eq(vtd_start(&t), HV_OK, "two units start");
    for (unsigned f = 0; f < 0x10000; f += 255)
        for (unsigned i = 0; i < UNITS; i++)
            bad += reaches(&model[i], (pci_bdf_t)f, 0x1000000) != NOWHERE;
    tap_ok(!bad && vtd_remaps(), "and nobody reaches anything");
    tap_eq(wrong(), 0, "each command by itself, the queue only when it is on");
    tap_eq(iommu_tables_build(&map, vtd_format(), &tables), HV_OK, "a VM's tables");
    (void)reaches(&model[0], A, 0x200000); /* that there is nothing is known to the unit */
    tap_eq(vtd_set(A, tables, 1), HV_OK, "given");
    for (uint64_t a = 0; a < 128 << 20; a += 0x1ff000)
        bad += reaches(&model[0], A, a) != (a >> 21 < 64 && (a >> 21) % 3 ? a : NOWHERE);
    tap_ok(!bad, "a function reaches its VM's RAM and nothing else");
    tap_eq(reaches(&model[1], B, 0x200000), NOWHERE, "another one nothing");
    tap_eq(vtd_set(A, hpa(0), 0), HV_OK, "taken");
    tap_eq(reaches(&model[0], A, 0x200000), NOWHERE, "nothing any more, whatever was cached");
    tap_eq(wrong(), 0, "nothing of it against the rules");
}

static void test_interrupts(void)
{
    uint64_t address, was;
    uint32_t data, high;

    machine(ECAP_ALL);
    (void)vtd_start(&t);
    tap_ok(vtd_message(A, 0x41, 3, &address, &data), "a message");
    tap_eq(interrupts(&model[0], A, address, data), 0x41 | 3 << 8, "leads where it is to");
    was = address;
    tap_ok(vtd_message(A, 0x41, 5, &address, &data) && address == was, "moved, it is the same");
    tap_eq(interrupts(&model[0], A, address, data), 0x41 | 5 << 8, "... and leads to another CPU");
    tap_eq(interrupts(&model[0], B, address, data), NOWHERE, "another function's is blocked");
    tap_eq(interrupts(&model[1], A, APIC_MSI_BASE | 3 << 12, 0x41), NOWHERE,
           "the format of before is blocked");
    tap_ok(vtd_message(B, 0x41, 1, &address, &data) && address != was, "each has its own");
    tap_ok(vtd_ioapic_entry(2, 0x31, 4, &high), "an I/O APIC's entry");
    address = APIC_MSI_BASE | REMAPPED_FORMAT | (high >> 17) << 5;
    tap_eq(interrupts(&model[0], 0xff00, address, 0), 0x31 | 4 << 8, "... leads to its CPU");
    tap_eq(interrupts(&model[0], A, address, 0), NOWHERE, "... for it alone");
    tap_ok(!vtd_message(A, 0x42, 256, &address, &data), "a CPU that cannot be named");
    machine(ECAP_ALL | VTD_ECAP_EIM);
    x2 = true;
    (void)vtd_start(&t);
    tap_ok(vtd_message(A, 0x42, 0x12345, &address, &data) &&
               interrupts(&model[0], A, address, data) == (0x42 | 0x12345 << 8),
           "in extended mode any CPU");
    machine(ECAP_ALL);
    tap_ok(vtd_start(&t) == HV_OK && !vtd_remaps(), "x2APIC without it: not remapped");
    x2 = false;
    machine(ECAP_ALL);
    hv_opt.intremap = false;
    tap_ok(vtd_start(&t) == HV_OK && !vtd_remaps() && !vtd_message(A, 0x41, 3, &address, &data) &&
               !vtd_ioapic_entry(2, 1, 1, &high),
           "intremap=off: not remapped");
    tap_eq(interrupts(&model[0], A, APIC_MSI_BASE | 3 << 12, 0x41), 0x41 | 3 << 8,
           "... and passed as it is");
    tap_eq(wrong(), 0, "nothing of it against the rules");
}

static struct {
    pci_bdf_t f;
    uint64_t at;
    bool write;
    uint32_t reason;
} said[8];
static unsigned nsaid;

static void emit(pci_bdf_t f, uint64_t at, bool write, uint32_t reason)
{
    said[nsaid].f = f;
    said[nsaid].at = at;
    said[nsaid].write = write;
    said[nsaid++].reason = reason;
}

static void fault(struct model *m, unsigned n, pci_bdf_t f, uint64_t at, bool write)
{
    uint64_t hi = 1ull << 63 | (uint64_t)!write << 62 | 5ull << 32 | f;
    memcpy(m->regs + 0x200 + n * 16, &at, 8);
    memcpy(m->regs + 0x208 + n * 16, &hi, 8);
    set32(m, FSTS, get32(m, FSTS) | 3);
}

static void test_faults(void)
{
    machine(ECAP_ALL);
    (void)vtd_start(&t);
    tap_eq(get32(&model[1], FECTL), 0, "faults interrupt");
    fault(&model[0], 3, A, 0x12345000, true);
    fault(&model[1], 0, B, 0x1000, false);
    vtd_faults(emit);
    tap_ok(nsaid == 2 && said[0].f == A && said[0].at == 0x12345000 && said[0].write &&
               said[0].reason == 5,
           "what was blocked, of the first unit");
    tap_ok(said[1].f == B && said[1].at == 0x1000 && !said[1].write, "and of the second");
    vtd_faults(emit);
    tap_ok(nsaid == 2 && !get32(&model[0], FSTS) && !get32(&model[1], FSTS),
           "once, and the next one can be recorded");
}

/* Whichever unit fails at whatever: none is left on. */
static void test_failures(void)
{
    static const uint32_t commands[] = {GCMD_QIE, GCMD_SRTP, GCMD_SIRTP, GCMD_TE, GCMD_IRE};
    uint64_t address;
    uint32_t data, high;

    for (unsigned i = 0; i < ARRAY_SIZE(commands) + 1; i++) {
        machine(ECAP_ALL);
        model[1].deaf = i == ARRAY_SIZE(commands);
        model[1].dead = i < ARRAY_SIZE(commands) ? commands[i] : 0;
        bool off = vtd_start(&t) == HV_UNSUPPORTED && !vtd_remaps();
        tap_ok(off && !(get32(&model[0], GSTS) & (GCMD_TE | GCMD_IRE)) &&
                   !(get32(&model[1], GSTS) & (GCMD_TE | GCMD_IRE)),
               "a second unit that fails (%u): both are off", i);
        tap_ok(!vtd_message(A, 0x41, 1, &address, &data) && !vtd_ioapic_entry(2, 0x31, 1, &high),
               "... and interrupts as before");
    }
    machine(ECAP_COHERENT | VTD_ECAP_IR);
    tap_ok(vtd_start(&t) == HV_UNSUPPORTED && !get32(&model[0], GSTS), "units without a queue");
    machine(ECAP_ALL);
    (void)vtd_start(&t);
    model[1].deaf = true;
    tap_eq(vtd_set(A, hpa(0x1000000), 1), HV_UNSUPPORTED, "one that stops answering is noticed");
}

int main(void)
{
    test_reach();
    test_interrupts();
    test_faults();
    test_failures();
    fake_reset();
    return tap_done();
}
