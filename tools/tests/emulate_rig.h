/* SPDX-License-Identifier: BSD-2-Clause */
/* Environment of the emulator's host tests: memory at fixed addresses behind fakes of gmem, the bus
 * and the sub-VMM helpers, and a machine state to start from. Included by the one .c file of a test
 * program. Tested by tools/tests/test_emulate.c and test_emulate_native.c. */
#pragma once
#include <sys/mman.h>
#include "tools/tests/tap.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/ring.h"
#include "hv/coherency/actions.h"
#include "hv/emulate/emulate.h"
#include "hv/emulate/emulate_internal.h"
#include "hv/vm/vm.h"

/* Fixed low addresses, so that the native stub can use absolute 32-bit ones. */
#define STATE_VA 0x10000000ull
#define DATA_VA 0x20000000ull
#define DATA_PAGES 4
#define DATA_BYTES (DATA_PAGES * 4096)
#define CODE_VA 0x30000000ull
#define CODE_BYTES 8192
#define GPA_OFFSET 0x1000000ull /* fake translation: gpa = va - this */
#define DEVICE_GPA (1ull << 40) /* set in the gpas of devices: outside the segment table */

/* --- the fake environment --- */

enum page { PAGE_NONE, PAGE_RO, PAGE_RW };
static enum page data_page[DATA_PAGES], code_page[2];
static bool data_is_device, device_page[DATA_PAGES];
static bool code_device; /* the second page of code */
static bool memory_busy; /* too much concurrent change, says the pager */
static unsigned contend; /* so many compare-exchanges find that another CPU stored first */
static uint64_t contend_add;
static uint64_t actions;
static unsigned port_count, mmio_count, mmio_reads, xchg_count, cmpxchg_stored, bulk_count;
static struct vio last_mmio, last_port;
static uint64_t port_value;
static bool native_code = true; /* the shadow tables map the code */
static unsigned native_fetches;
static const void *native_elsewhere; /* ... to there, if set */
static struct vcpu_segs segs;
static struct vcpu_debug debug;
static struct subvmm *sv;
static struct vm vm;
static struct vbus bus;
static uint32_t granules[1024];

static void fake_get(struct vcpu *v, enum vcpu_group g, void *out)
{
    (void)v;
    if (g == VCPU_SEGS)
        memcpy(out, &segs, sizeof(segs));
    else if (g == VCPU_DEBUG)
        memcpy(out, &debug, sizeof(debug));
}
static void fake_put(struct vcpu *v, enum vcpu_group g, const void *in)
{
    (void)v;
    if (g == VCPU_DEBUG)
        memcpy(&debug, in, sizeof(debug));
}
static void fake_code(const struct vcpu *v, struct vcpu_code *out)
{
    const struct segment *cs = &segs.seg[SEG_CS];
    (void)v;
    *out = (struct vcpu_code){cs->base, cs->limit, cs->attr, segs.cpl, debug.dr7 & 0xff};
}
static uint32_t fake_mode(const struct vcpu *v)
{
    (void)v;
    return segs.seg[SEG_CS].attr | (uint32_t)segs.cpl << 16;
}
/* The processor of emulate_native.c. */
static void (*on_run)(struct vcpu *v, struct vmexit *x);
static uint8_t *native_area;
#define NATIVE_HPA 0x7000000ull
static bool isolated;
static hpa_t native_root;
static void fake_run(struct vcpu *v, struct vmexit *x)
{
    *x = (struct vmexit){.kind = EXIT_UNKNOWN};
    if (on_run)
        on_run(v, x);
}
static void fake_set_root(struct vcpu *v, hpa_t root, uint32_t asid, bool flush, bool flush_all)
{
    (void)v, (void)asid, (void)flush, (void)flush_all;
    native_root = root;
}
static void fake_flag(struct vcpu *v, bool on)
{
    (void)v, (void)on;
}
static void fake_isolate(struct vcpu *v, bool on)
{
    (void)v;
    isolated = on;
}
static uint32_t xsave_bytes; /* CPUID leaf 0Dh */
static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    (void)leaf, (void)subleaf;
    out[0] = out[2] = out[3] = 0;
    out[1] = xsave_bytes;
}
static const struct vcpu_ops fake_ops = {.name = "fake",
                                         .get = fake_get,
                                         .put = fake_put,
                                         .code = fake_code,
                                         .mode = fake_mode,
                                         .run = fake_run,
                                         .set_root = fake_set_root,
                                         .window = fake_flag,
                                         .set_int_shadow = fake_flag,
                                         .isolate = fake_isolate,
                                         .cpuid = fake_cpuid};
const struct vcpu_ops *vcpu_ops = &fake_ops;

void ring_place(uint32_t cpu, void *memory)
{
    (void)cpu, (void)memory;
}
void ring_add(uint32_t cpu, enum ring_kind kind, uint64_t a, uint64_t b)
{
    (void)cpu, (void)kind, (void)a, (void)b;
}
uint64_t action_peek(const struct coh_cpu *self)
{
    (void)self;
    return actions;
}
struct vbus *vpc_bus(struct vpc *pc)
{
    (void)pc;
    return &bus;
}
bool vbus_mmio(struct vbus *b, struct vio *io)
{
    uint8_t *at = (uint8_t *)((io->addr & ~DEVICE_GPA) + GPA_OFFSET);

    (void)b;
    mmio_count++;
    mmio_reads += !io->write;
    last_mmio = *io;
    if (io->write)
        memcpy(at, &io->value, io->size);
    else
        memcpy(&io->value, at, io->size);
    return true;
}
bool vbus_pio(struct vbus *b, struct vio *io)
{
    (void)b;
    port_count++;
    last_port = *io;
    if (!io->write)
        io->value = port_value++;
    return true;
}
void vcpu_inject_exception(struct subvmm *s, uint8_t vector, bool has_error, uint32_t error)
{
    s->vcpu.pending = (struct vcpu_event){
        .type = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error = error};
}
void vcpu_inject_pf(struct subvmm *s, const struct guest_fault *f)
{
    s->vcpu.pending = (struct vcpu_event){.type = EVENT_EXCEPTION,
                                          .vector = VEC_PF,
                                          .has_error = true,
                                          .error = f->pfec,
                                          .cr2 = f->cr2.v};
}
void vcpu_skip(struct subvmm *s, const struct vmexit *x, unsigned length)
{
    struct vcpu *v = &s->vcpu;
    bool wide = segs.seg[SEG_CS].attr & BIT(9), big = segs.seg[SEG_CS].attr & BIT(10);

    v->regs.rip = x->next_rip ? x->next_rip : v->regs.rip + length;
    if (!wide)
        v->regs.rip &= big ? 0xffffffffull : 0xffffull;
    v->regs.rflags &= ~RFLAGS_RF;
    v->int_shadow = false;
    if (v->regs.rflags & RFLAGS_TF)
        vcpu_inject_exception(s, VEC_DB, false, 0);
}

void vcpu_skip_long(struct subvmm *s, unsigned length)
{
    static const struct vmexit x;

    vcpu_skip(s, &x, length);
}

/* What is the host's to deal with, and an interrupt of the PC's. */
static unsigned machine_checks, x87_errors;
void vcpu_machine_check(struct subvmm *s)
{
    (void)s;
    machine_checks++;
}
void vcpu_x87_error(struct subvmm *s)
{
    x87_errors++;
    vcpu_inject_exception(s, VEC_MF, false, 0);
}

static enum hv_err fake_page(gva_t va, uint32_t access, struct guest_fault *f, bool *device)
{
    enum page p = PAGE_NONE;

    *device = false;
    if (memory_busy)
        return HV_AGAIN;
    if (va.v >= DATA_VA && va.v < DATA_VA + DATA_BYTES) {
        p = data_page[(va.v - DATA_VA) / 4096];
        *device = data_is_device || device_page[(va.v - DATA_VA) / 4096];
    } else if (va.v >= CODE_VA && va.v < CODE_VA + CODE_BYTES) {
        p = code_page[(va.v - CODE_VA) / 4096];
        *device = code_device && va.v >= CODE_VA + 4096;
    }
    if (p == PAGE_RW || (p == PAGE_RO && !(access & PFEC_W)))
        return HV_OK;
    *f = (struct guest_fault){va, (access & (PFEC_W | PFEC_U | PFEC_I)) | (p ? PFEC_P : 0)};
    return HV_FAULT;
}
enum hv_err mmu_translate(struct mmu *m, gva_t va, uint32_t access, gpa_t *out,
                          struct guest_fault *f)
{
    bool device;

    (void)m;
    TRY(fake_page(va, access, f, &device));
    *out = gpa(va.v - GPA_OFFSET + (device ? DEVICE_GPA : 0)); /* RAM's are below 2 GiB */
    return HV_OK;
}
static enum hv_err fake_span(gva_t va, size_t n, uint32_t access, struct guest_fault *f, gpa_t *at)
{
    gva_t last = gva(va.v + n - 1);
    bool d0, d1;

    TRY(fake_page(va, access, f, &d0));
    if ((last.v ^ va.v) >> 12)
        last.v &= ~0xfffull;
    TRY(fake_page(last, access, f, &d1));
    if (d0 || d1) {
        *at = gpa((d0 ? va.v : last.v) - GPA_OFFSET);
        return HV_MMIO;
    }
    return HV_OK;
}
const void *mmu_code(struct mmu *m, gva_t va, struct mmu_where *where)
{
    (void)m;
    where->loc1 = 0;
    if (!native_code || (va.v - CODE_VA) >= CODE_BYTES ||
        !code_page[(va.v - CODE_VA) >> PAGE_SHIFT])
        return NULL;
    native_fetches++;
    if (native_elsewhere)
        return native_elsewhere;
    return (const void *)va.v;
}
enum hv_err gmem_read(struct mmu *m, gva_t va, void *buf, size_t n, uint32_t access,
                      struct guest_fault *f, gpa_t *at)
{
    (void)m;
    TRY(fake_span(va, n, access, f, at));
    memcpy(buf, (void *)va.v, n);
    return HV_OK;
}
enum hv_err gmem_write(struct mmu *m, gva_t va, const void *buf, size_t n, uint32_t access,
                       struct guest_fault *f, gpa_t *at)
{
    (void)m;
    TRY(fake_span(va, n, access | PFEC_W, f, at));
    memcpy((void *)va.v, buf, n);
    bulk_count++;
    return HV_OK;
}
enum hv_err gmem_cmpxchg(struct mmu *m, gva_t va, unsigned width, uint64_t expected, uint64_t value,
                         uint32_t access, uint64_t *old, bool *stored, struct guest_fault *f,
                         gpa_t *at)
{
    (void)m;
    if ((va.v & 7) + width > 8)
        return HV_UNSUPPORTED;
    TRY(fake_span(va, width, access | PFEC_W, f, at));
    uint64_t now = 0;
    memcpy(&now, (void *)va.v, width);
    if (contend) {
        contend--;
        now = (now + contend_add) & emu_size_mask(width);
        memcpy((void *)va.v, &now, width);
    }
    *old = now;
    *stored = now == expected;
    if (*stored)
        memcpy((void *)va.v, &value, width);
    cmpxchg_stored += *stored;
    return HV_OK;
}
enum hv_err gmem_xchg(struct mmu *m, gva_t va, unsigned width, uint64_t value, uint32_t access,
                      uint64_t *old, struct guest_fault *f, gpa_t *at)
{
    (void)m;
    if ((va.v & 7) + width > 8)
        return HV_UNSUPPORTED;
    TRY(fake_span(va, width, access | PFEC_W, f, at));
    *old = 0;
    memcpy(old, (void *)va.v, width);
    memcpy((void *)va.v, &value, width);
    xchg_count++;
    return HV_OK;
}

static unsigned entry_stores;
static bool entry_refused; /* it is no RAM, says the pager */
bool gmem_store_entry(struct mmu *m, gpa_t at, uint64_t value)
{
    (void)m;
    if (entry_refused)
        return false;
    entry_stores++;
    memcpy((void *)(at.v + GPA_OFFSET), &value, sizeof(value));
    return true;
}
enum hv_err gmem_read_gpa(struct mmu *m, gpa_t at, void *buf, size_t n)
{
    (void)m;
    memcpy(buf, (void *)(at.v + GPA_OFFSET), n);
    return HV_OK;
}
enum hv_err gmem_write_gpa(struct mmu *m, gpa_t at, const void *buf, size_t n)
{
    (void)m;
    memcpy((void *)(at.v + GPA_OFFSET), buf, n);
    bulk_count++;
    return HV_OK;
}

/* Flat 64-bit supervisor code, everything mapped. */
static void setup(void)
{
    memset(sv, 0, sizeof(*sv));
    memset(&segs, 0, sizeof(segs));
    for (unsigned i = 0; i <= SEG_GS; i++)
        segs.seg[i] = (struct segment){0x10, 0xc93, 0xffffffff, 0};
    segs.seg[SEG_CS].attr = 0xa9b;
    static const struct hv_options opt = {.shortcuts = true};
    vm.opt = &opt;
    sv->vm = &vm;
    debug = (struct vcpu_debug){.dr7 = 0x400};
    sv->native = (struct native){native_area, hpa(NATIVE_HPA), 2, false};
    isolated = false;
    sv->vcpu.ctl = (struct vcpu_ctl){.cr0 = CR0_PE | CR0_PG | CR0_WP, .efer = EFER_LME | EFER_LMA};
    sv->vcpu.regs.rflags = RFLAGS_FIXED1;
    sv->vcpu.regs.rip = CODE_VA;
    for (unsigned i = 0; i < DATA_PAGES; i++)
        data_page[i] = PAGE_RW;
    code_page[0] = code_page[1] = PAGE_RO;
    data_is_device = memory_busy = code_device = false;
    memset(device_page, 0, sizeof(device_page));
    contend = 0;
    actions = 0;
    port_count = mmio_count = mmio_reads = xchg_count = cmpxchg_stored = bulk_count = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(granules); i++)
        granules[i] = i;
    vm.p2m = sv->p2m = (struct p2m){.granule = granules, .ngranules = ARRAY_SIZE(granules)};
    memset((void *)DATA_VA, 0, DATA_BYTES);
}
static struct vmexit exit_pf(uint32_t pfec)
{
    return (struct vmexit){.kind = EXIT_PF, .have_gva = true, .gva = gva(DATA_VA), .pfec = pfec};
}
__attribute__((unused)) static enum emulate_result run_exit(const struct vmexit *x)
{
    bool device = data_is_device;

    for (unsigned i = 0; i < DATA_PAGES; i++)
        device |= device_page[i];
    return emulate_insn(sv, x, gpa(device ? DEVICE_GPA : 0));
}
static void *map_at(uint64_t va, size_t n, int prot)
{
    void *p = mmap((void *)va, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (p != (void *)va) {
        tap_ok(false, "cannot map 0x%" PRIx64, va);
        exit(tap_done());
    }
    return p;
}

/* Maps everything; the rig's sub-VMM is allocated once a program. */
static void rig_open(void)
{
    sv = calloc(1, sizeof(*sv));
    native_area = aligned_alloc(PAGE_SIZE, NATIVE_AREA_PAGES * PAGE_SIZE);
    map_at(STATE_VA, 4096, PROT_READ | PROT_WRITE);
    map_at(DATA_VA, DATA_BYTES, PROT_READ | PROT_WRITE);
    map_at(CODE_VA, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
}
__attribute__((unused)) static int rig_close(void)
{
    free(sv);
    free(native_area);
    return tap_done();
}
