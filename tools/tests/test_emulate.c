/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/vcpu/emulate*.c. Random instructions run twice: emulated, and for real on this
 * CPU with the same registers and memory; everything must come out equal, on RAM and on a device.
 * Then faults, segments, modes, REP batches and port strings with the answers written out. gmem,
 * the bus and the sub-VMM helpers are fakes below. Argument: random cases an instruction. */
#include <sys/mman.h>
#include "tools/tests/tap.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/ring.h"
#include "hv/coherency/actions.h"
#include "hv/vcpu/emulate.h"
#include "hv/vcpu/emulate_internal.h"
#include "hv/vm/vm.h"

/* Fixed low addresses, so that the native stub can use absolute 32-bit ones. */
#define STATE_VA 0x10000000ull
#define DATA_VA 0x20000000ull
#define DATA_PAGES 4
#define DATA_BYTES (DATA_PAGES * 4096)
#define CODE_VA 0x30000000ull
#define CODE_BYTES 8192
#define REX_W_MASK 8
#define REX_R_MASK 4
#define GPA_OFFSET 0x1000000ull /* fake translation: gpa = va - this */

static uint64_t rng = 0x1234567887654321ull;
static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

/* --- the fake environment --- */

enum page { PAGE_NONE, PAGE_RO, PAGE_RW };
static enum page data_page[DATA_PAGES], code_page[2];
static bool data_is_device;
static unsigned contend; /* so many compare-exchanges find that another CPU stored first */
static uint64_t contend_add;
static uint64_t actions;
static unsigned port_count, mmio_count, xchg_count, cmpxchg_stored, bulk_count;
static struct vio last_mmio, last_port;
static uint64_t port_value;
static struct vcpu_segs segs;
static struct subvmm *sv;
static struct vm vm;
static struct vbus bus;
static uint32_t granules[1024];

static void fake_get(struct vcpu *v, enum vcpu_group g, void *out)
{
    (void)v;
    if (g == VCPU_SEGS)
        memcpy(out, &segs, sizeof(segs));
}
static const struct vcpu_ops fake_ops = {.name = "fake", .get = fake_get};
const struct vcpu_ops *vcpu_ops = &fake_ops;

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
    uint8_t *at = (uint8_t *)(io->addr + GPA_OFFSET);

    (void)b;
    mmio_count++;
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
    s->vcpu.pending = (struct vcpu_event){EVENT_EXCEPTION, vector, has_error, error, 0};
}
void vcpu_inject_pf(struct subvmm *s, const struct guest_fault *f)
{
    s->vcpu.pending = (struct vcpu_event){EVENT_EXCEPTION, VEC_PF, true, f->pfec, f->cr2.v};
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

static enum hv_err fake_page(gva_t va, uint32_t access, struct guest_fault *f, bool *device)
{
    enum page p = PAGE_NONE;

    *device = false;
    if (va.v >= DATA_VA && va.v < DATA_VA + DATA_BYTES) {
        p = data_page[(va.v - DATA_VA) / 4096];
        *device = data_is_device;
    } else if (va.v >= CODE_VA && va.v < CODE_VA + CODE_BYTES) {
        p = code_page[(va.v - CODE_VA) / 4096];
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
    /* Devices lie outside the segment table: RAM's gpas are below 2 GiB. */
    *out = gpa(va.v - GPA_OFFSET + (device ? 1ull << 40 : 0));
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

/* Flat 64-bit supervisor code, everything mapped. */
static void setup(void)
{
    memset(sv, 0, sizeof(*sv));
    memset(&segs, 0, sizeof(segs));
    for (unsigned i = 0; i <= SEG_GS; i++)
        segs.seg[i] = (struct segment){0x10, 0xc93, 0xffffffff, 0};
    segs.seg[SEG_CS].attr = 0xa9b;
    sv->vm = &vm;
    sv->vcpu.ctl = (struct vcpu_ctl){.cr0 = CR0_PE | CR0_PG | CR0_WP, .efer = EFER_LME | EFER_LMA};
    sv->vcpu.regs.rflags = RFLAGS_FIXED1;
    sv->vcpu.regs.rip = CODE_VA;
    for (unsigned i = 0; i < DATA_PAGES; i++)
        data_page[i] = PAGE_RW;
    code_page[0] = code_page[1] = PAGE_RO;
    data_is_device = false;
    contend = 0;
    actions = 0;
    port_count = mmio_count = xchg_count = cmpxchg_stored = bulk_count = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(granules); i++)
        granules[i] = i;
    vm.p2m = (struct p2m){granules, ARRAY_SIZE(granules)};
    memset((void *)DATA_VA, 0, DATA_BYTES);
}
static void setup_32(void)
{
    setup();
    segs.seg[SEG_CS].attr = 0xc9b;
    sv->vcpu.ctl.efer = 0;
}
static void setup_real(void)
{
    setup_32();
    sv->vcpu.ctl.cr0 = 0;
    for (unsigned i = 0; i <= SEG_GS; i++)
        segs.seg[i] = (struct segment){0, 0x93, 0xffff, DATA_VA};
    segs.seg[SEG_CS] = (struct segment){0, 0x9b, 0xffff, CODE_VA};
    sv->vcpu.regs.rip = 0;
}
static void put_code(uint64_t at, const uint8_t *b, size_t n)
{
    memset((void *)CODE_VA, 0xcc, CODE_BYTES);
    memcpy((void *)at, b, n);
}
static struct vmexit exit_pf(uint32_t pfec)
{
    return (struct vmexit){.kind = EXIT_PF, .have_gva = true, .gva = gva(DATA_VA), .pfec = pfec};
}
static enum emulate_result run_exit(const struct vmexit *x)
{
    return emulate_insn(sv, x, gpa(0));
}
/* Puts the code at the start of CS and emulates the instruction there. */
static enum emulate_result run_code(const uint8_t *b, size_t n)
{
    struct vmexit x = exit_pf(PFEC_W);

    put_code(CODE_VA, b, n);
    sv->vcpu.regs.rip = CODE_VA - segs.seg[SEG_CS].base;
    return run_exit(&x);
}
#define RUN(...) run_code((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* --- the native oracle --- */

struct native {
    uint64_t gpr[16], flags, out[16], out_flags, host_rsp;
};
#define NATIVE ((struct native *)STATE_VA)
static uint8_t *stub;

static void put8(uint8_t b)
{
    *stub++ = b;
}
static void put_abs(const void *p)
{
    uint32_t a = (uint32_t)(uintptr_t)p;
    memcpy(stub, &a, 4);
    stub += 4;
}
/* MOV between register r and an absolute address; flags stay. */
static void put_mov(bool load, unsigned r, const void *p)
{
    put8(r & 8 ? 0x4c : 0x48);
    put8(load ? 0x8b : 0x89);
    put8((uint8_t)(4 | (r & 7) << 3));
    put8(0x25);
    put_abs(p);
}
/* Stub: save, load registers and flags, the instruction, store, restore. Returns where the
 * instruction is. */
static uint64_t build_stub(const uint8_t *insn, size_t n)
{
    static const uint8_t push[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    static const uint8_t pop[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};

    stub = (uint8_t *)CODE_VA;
    for (size_t i = 0; i < sizeof(push); i++)
        put8(push[i]);
    put_mov(false, RSP, &NATIVE->host_rsp);
    put8(0xff), put8(0x34), put8(0x25), put_abs(&NATIVE->flags), put8(0x9d);
    for (unsigned r = 0; r < 16; r++)
        if (r != RSP)
            put_mov(true, r, &NATIVE->gpr[r]);
    put_mov(true, RSP, &NATIVE->gpr[RSP]);
    uint64_t at = (uint64_t)(uintptr_t)stub;
    memcpy(stub, insn, n);
    stub += n;
    for (unsigned r = 0; r < 16; r++)
        put_mov(false, r, &NATIVE->out[r]);
    put_mov(true, RSP, &NATIVE->host_rsp);
    put8(0x9c), put8(0x8f), put8(0x04), put8(0x25), put_abs(&NATIVE->out_flags), put8(0xfc);
    for (size_t i = 0; i < sizeof(pop); i++)
        put8(pop[i]);
    return at;
}

struct pattern {
    const char *name;
    uint8_t n, b[2];
    int reg;         /* ModRM.reg, -1 random, -2 no ModRM */
    uint8_t imm;     /* 0, 1, or 4 (by operand size) */
    bool byte, lock; /* 8-bit operands; LOCK allowed with memory */
    bool mem;        /* memory only */
    uint64_t undefined;
};
#define UNDEF_LOGIC RFLAGS_AF
#define UNDEF_BIT (RFLAGS_AF | RFLAGS_OF | RFLAGS_SF | RFLAGS_PF | RFLAGS_ZF)
#define P1(nm, op, r, im, by, lk, m, u)                                                            \
    {                                                                                              \
        nm, 1, {op}, r, im, by, lk, m, u                                                           \
    }
#define P2(nm, op, r, im, by, lk, m, u)                                                            \
    {                                                                                              \
        nm, 2, {0x0f, op}, r, im, by, lk, m, u                                                     \
    }
#define ALU_PATTERNS(nm, op, lk, u)                                                                \
    P1(nm " Eb,Gb", op, -1, 0, true, lk, false, u),                                                \
        P1(nm " Ev,Gv", op + 1, -1, 0, false, lk, false, u),                                       \
        P1(nm " Gb,Eb", op + 2, -1, 0, true, false, false, u),                                     \
        P1(nm " Gv,Ev", op + 3, -1, 0, false, false, false, u),                                    \
        P1(nm " Eb,Ib", 0x80, op >> 3, 1, true, lk, false, u),                                     \
        P1(nm " Ev,Iz", 0x81, op >> 3, 4, false, lk, false, u),                                    \
        P1(nm " Ev,Ib", 0x83, op >> 3, 1, false, lk, false, u)
static const struct pattern patterns[] = {
    ALU_PATTERNS("ADD", 0x00, true, 0),
    ALU_PATTERNS("OR", 0x08, true, UNDEF_LOGIC),
    ALU_PATTERNS("ADC", 0x10, true, 0),
    ALU_PATTERNS("SBB", 0x18, true, 0),
    ALU_PATTERNS("AND", 0x20, true, UNDEF_LOGIC),
    ALU_PATTERNS("SUB", 0x28, true, 0),
    ALU_PATTERNS("XOR", 0x30, true, UNDEF_LOGIC),
    ALU_PATTERNS("CMP", 0x38, false, 0),
    P1("TEST Eb,Gb", 0x84, -1, 0, true, false, false, UNDEF_LOGIC),
    P1("TEST Ev,Gv", 0x85, -1, 0, false, false, false, UNDEF_LOGIC),
    P1("XCHG Eb,Gb", 0x86, -1, 0, true, true, false, 0),
    P1("XCHG Ev,Gv", 0x87, -1, 0, false, true, false, 0),
    P1("MOV Eb,Gb", 0x88, -1, 0, true, false, false, 0),
    P1("MOV Ev,Gv", 0x89, -1, 0, false, false, false, 0),
    P1("MOV Gb,Eb", 0x8a, -1, 0, true, false, false, 0),
    P1("MOV Gv,Ev", 0x8b, -1, 0, false, false, false, 0),
    P1("MOV Eb,Ib", 0xc6, 0, 1, true, false, false, 0),
    P1("MOV Ev,Iz", 0xc7, 0, 4, false, false, false, 0),
    P1("TEST Eb,Ib", 0xf6, 0, 1, true, false, false, UNDEF_LOGIC),
    P1("TEST Ev,Iz", 0xf7, 0, 4, false, false, false, UNDEF_LOGIC),
    P1("NOT Eb", 0xf6, 2, 0, true, true, false, 0),
    P1("NOT Ev", 0xf7, 2, 0, false, true, false, 0),
    P1("NEG Eb", 0xf6, 3, 0, true, true, false, 0),
    P1("NEG Ev", 0xf7, 3, 0, false, true, false, 0),
    P1("INC Eb", 0xfe, 0, 0, true, true, false, 0),
    P1("INC Ev", 0xff, 0, 0, false, true, false, 0),
    P1("DEC Eb", 0xfe, 1, 0, true, true, false, 0),
    P1("DEC Ev", 0xff, 1, 0, false, true, false, 0),
    P1("PUSH Ev", 0xff, 6, 0, false, false, false, 0),
    P1("POP Ev", 0x8f, 0, 0, false, false, false, 0),
    P1("MOVSXD", 0x63, -1, 0, false, false, false, 0),
    P2("CMPXCHG Eb,Gb", 0xb0, -1, 0, true, true, false, 0),
    P2("CMPXCHG Ev,Gv", 0xb1, -1, 0, false, true, false, 0),
    P2("XADD Eb,Gb", 0xc0, -1, 0, true, true, false, 0),
    P2("XADD Ev,Gv", 0xc1, -1, 0, false, true, false, 0),
    P2("CMPXCHG8B", 0xc7, 1, 0, false, true, true, 0),
    P2("MOVNTI", 0xc3, -1, 0, false, false, true, 0),
    P2("MOVZX Gv,Eb", 0xb6, -1, 0, true, false, false, 0),
    P2("MOVZX Gv,Ew", 0xb7, -1, 0, false, false, false, 0),
    P2("MOVSX Gv,Eb", 0xbe, -1, 0, true, false, false, 0),
    P2("MOVSX Gv,Ew", 0xbf, -1, 0, false, false, false, 0),
    P2("BT Ev,Gv", 0xa3, -1, 0, false, false, false, UNDEF_BIT),
    P2("BTS Ev,Gv", 0xab, -1, 0, false, true, false, UNDEF_BIT),
    P2("BTR Ev,Gv", 0xb3, -1, 0, false, true, false, UNDEF_BIT),
    P2("BTC Ev,Gv", 0xbb, -1, 0, false, true, false, UNDEF_BIT),
    P2("BT Ev,Ib", 0xba, 4, 1, false, false, false, UNDEF_BIT),
    P2("BTS Ev,Ib", 0xba, 5, 1, false, true, false, UNDEF_BIT),
    P2("BTR Ev,Ib", 0xba, 6, 1, false, true, false, UNDEF_BIT),
    P2("BTC Ev,Ib", 0xba, 7, 1, false, true, false, UNDEF_BIT),
    P2("SETO", 0x90, 0, 0, true, false, false, 0),
    P2("SETNO", 0x91, 0, 0, true, false, false, 0),
    P2("SETB", 0x92, 0, 0, true, false, false, 0),
    P2("SETNB", 0x93, 0, 0, true, false, false, 0),
    P2("SETZ", 0x94, 0, 0, true, false, false, 0),
    P2("SETNZ", 0x95, 0, 0, true, false, false, 0),
    P2("SETBE", 0x96, 0, 0, true, false, false, 0),
    P2("SETNBE", 0x97, 0, 0, true, false, false, 0),
    P2("SETS", 0x98, 0, 0, true, false, false, 0),
    P2("SETNS", 0x99, 0, 0, true, false, false, 0),
    P2("SETP", 0x9a, 0, 0, true, false, false, 0),
    P2("SETNP", 0x9b, 0, 0, true, false, false, 0),
    P2("SETL", 0x9c, 0, 0, true, false, false, 0),
    P2("SETNL", 0x9d, 0, 0, true, false, false, 0),
    P2("SETLE", 0x9e, 0, 0, true, false, false, 0),
    P2("SETNLE", 0x9f, 0, 0, true, false, false, 0),
    P1("PUSH Iz", 0x68, -2, 4, false, false, false, 0),
    P1("PUSH Ib", 0x6a, -2, 1, false, false, false, 0),
    P1("PUSH r", 0x51, -2, 0, false, false, false, 0),
    P1("PUSH rSP", 0x54, -2, 0, false, false, false, 0),
    P1("POP r", 0x5a, -2, 0, false, false, false, 0),
    P1("POP rSP", 0x5c, -2, 0, false, false, false, 0),
    P1("MOVSB", 0xa4, -2, 0, true, false, false, 0),
    P1("MOVS", 0xa5, -2, 0, false, false, false, 0),
    P1("CMPSB", 0xa6, -2, 0, true, false, false, 0),
    P1("CMPS", 0xa7, -2, 0, false, false, false, 0),
    P1("STOSB", 0xaa, -2, 0, true, false, false, 0),
    P1("STOS", 0xab, -2, 0, false, false, false, 0),
    P1("LODSB", 0xac, -2, 0, true, false, false, 0),
    P1("LODS", 0xad, -2, 0, false, false, false, 0),
    P1("SCASB", 0xae, -2, 0, true, false, false, 0),
    P1("SCAS", 0xaf, -2, 0, false, false, false, 0),
};

struct trial {
    uint8_t b[15];
    size_t n;
    unsigned size;    /* operand bytes */
    uint64_t operand; /* address of the memory operand, 0 none */
};

static bool is_string(const struct pattern *p)
{
    return p->n == 1 && p->b[0] >= 0xa4 && p->b[0] <= 0xaf;
}
static bool is_bit_reg(const struct pattern *p)
{
    return p->n == 2 && (p->b[1] & 0xe7) == 0xa3;
}

/* ModRM for a random addressing form over RDI, RBX + RSI * scale, RIP or a register. */
static void put_modrm(const struct pattern *p, struct trial *t, unsigned reg, size_t *disp_at)
{
    unsigned form = rnd() % 8;

    *disp_at = 0;
    if (!p->mem && form < 2) {
        unsigned rm = rnd() & 7;
        t->b[t->n++] = (uint8_t)(0xc0 | reg << 3 | rm);
    } else if (form < 5) {
        int8_t d = (int8_t)rnd();
        t->b[t->n++] = (uint8_t)(0x47 | reg << 3);
        t->b[t->n++] = (uint8_t)d;
        t->operand = NATIVE->gpr[RDI] + (uint64_t)(int64_t)d;
    } else if (form < 7) {
        unsigned k = rnd() & 3;
        t->b[t->n++] = (uint8_t)(0x04 | reg << 3);
        t->b[t->n++] = (uint8_t)(k << 6 | RSI << 3 | RBX);
        t->operand = NATIVE->gpr[RBX] + (NATIVE->gpr[RSI] << k);
    } else {
        t->b[t->n++] = (uint8_t)(0x05 | reg << 3);
        *disp_at = t->n;
        t->n += 4;
        t->operand = DATA_VA + 2048 + rnd() % 4096;
    }
}

/* Prefixes. Returns the REX byte or 0. */
static uint8_t put_prefixes(const struct pattern *p, struct trial *t, bool memory_dst)
{
    uint8_t rex = 0;

    if (is_string(p) && rnd() % 3)
        t->b[t->n++] = rnd() & 1 ? 0xf2 : 0xf3;
    if (p->b[p->n - 1] != 0xc3 && rnd() % 4 == 0)
        t->b[t->n++] = 0x66, t->size = 2;
    if (p->lock && memory_dst && rnd() & 1)
        t->b[t->n++] = 0xf0;
    if (rnd() & 1) {
        rex = 0x40 | (rnd() & (REX_W_MASK | REX_R_MASK));
        if (p->b[p->n - 1] == 0xc7 && p->n == 2)
            rex &= (uint8_t)~REX_W_MASK; /* the 16-byte form is declined */
        if (p->reg >= 0 || p->reg == -2)
            rex &= (uint8_t)~REX_R_MASK;
        if (rex & REX_W_MASK)
            t->size = 8;
    }
    return rex;
}

static void make_trial(const struct pattern *p, struct trial *t)
{
    size_t disp_at = 0, modrm_at;
    unsigned reg = p->reg >= 0 ? (unsigned)p->reg : (unsigned)(rnd() & 7);
    struct trial form = {.n = 0};

    *t = (struct trial){.n = 0, .size = 4};
    if (is_bit_reg(p))
        reg = RDX; /* its value is kept small below */
    if (p->reg != -2)
        put_modrm(p, &form, reg, &disp_at);
    uint8_t rex = put_prefixes(p, t, form.operand != 0);
    if (is_bit_reg(p))
        rex &= (uint8_t)~REX_R_MASK;
    if (rex)
        t->b[t->n++] = rex;
    memcpy(t->b + t->n, p->b, p->n);
    t->n += p->n;
    modrm_at = t->n;
    memcpy(t->b + t->n, form.b, form.n);
    t->n += form.n;
    t->operand = form.operand;
    for (unsigned i = 0; i < (p->imm == 4 ? (p->byte ? 1 : t->size == 2 ? 2 : 4) : p->imm); i++)
        t->b[t->n++] = (uint8_t)rnd();
    if (disp_at) {
        /* RIP-relative: known once the stub's layout is. */
        uint64_t next = build_stub(t->b, t->n) + t->n;
        int32_t d = (int32_t)(t->operand - next);
        memcpy(t->b + modrm_at + disp_at, &d, 4);
    }
    if (p->byte)
        t->size = 1;
}

static void random_state(const struct pattern *p)
{
    for (unsigned r = 0; r < 16; r++)
        NATIVE->gpr[r] = rnd() & (rnd() & 1 ? ~0ull : 0xff);
    NATIVE->gpr[RDI] = DATA_VA + 4096 + rnd() % 8192;
    NATIVE->gpr[RBX] = DATA_VA + 4096 + rnd() % 4096;
    NATIVE->gpr[RSI] = rnd() % 64;
    NATIVE->gpr[RSP] = DATA_VA + 8192 + (rnd() % 256) * 8;
    if (is_string(p)) {
        NATIVE->gpr[RSI] = DATA_VA + 4096 + rnd() % 4096;
        NATIVE->gpr[RCX] = rnd() % 30;
    }
    if (is_bit_reg(p))
        NATIVE->gpr[RDX] = (uint64_t)((int64_t)(rnd() % 4096) - 2048);
    NATIVE->flags = RFLAGS_FIXED1 | RFLAGS_IF | (rnd() & 0x8d5);
    if (is_string(p) && rnd() & 1)
        NATIVE->flags |= RFLAGS_DF;
    uint8_t fill = (uint8_t)rnd();
    memset((void *)DATA_VA, fill, DATA_BYTES); /* long runs of equal bytes for REPE and REPNE */
    for (unsigned i = 0; i < DATA_BYTES / 16; i++)
        ((uint8_t *)DATA_VA)[rnd() % DATA_BYTES] = (uint8_t)rnd();
}

static bool report(const char *why, const struct trial *t)
{
    char text[64] = "";

    for (size_t i = 0; i < t->n; i++)
        snprintf(text + 3 * i, 4, "%02x ", t->b[i]);
    tap_note("%s: %s", text, why);
    return false;
}

static uint8_t before[DATA_BYTES], after[DATA_BYTES];

/* Emulates until the instruction is complete; *turns: how many exits that took. */
static enum emulate_result emulate_whole(uint64_t at)
{
    struct vmexit x = exit_pf(PFEC_W);
    enum emulate_result r;

    do
        r = run_exit(&x);
    while (r == EMULATE_DONE && sv->vcpu.regs.rip == at);
    return r;
}

/* One random instruction both ways. */
static bool try_one(const struct pattern *p, bool device, unsigned *declined)
{
    struct trial t;
    uint64_t at;

    setup();
    data_is_device = device;
    random_state(p);
    make_trial(p, &t);
    /* Make some compare-exchanges succeed. */
    if (p->n == 2 && (p->b[1] & 0xfe) == 0xb0 && t.operand && rnd() & 1)
        memcpy(&NATIVE->gpr[RAX], (void *)t.operand, t.size);
    if (p->n == 2 && p->b[1] == 0xc7 && rnd() & 1) {
        memcpy(&NATIVE->gpr[RAX], (void *)t.operand, 4);
        memcpy(&NATIVE->gpr[RDX], (void *)(t.operand + 4), 4);
    }
    at = build_stub(t.b, t.n);
    memcpy(sv->vcpu.regs.gpr, NATIVE->gpr, sizeof(NATIVE->gpr));
    sv->vcpu.regs.rflags = NATIVE->flags;
    sv->vcpu.regs.rip = at;
    sv->vcpu.int_shadow = true;
    memcpy(before, (void *)DATA_VA, DATA_BYTES);
    enum emulate_result r = emulate_whole(at);
    memcpy(after, (void *)DATA_VA, DATA_BYTES);
    if (r == EMULATE_DECLINED) {
        (*declined)++;
        if (is_string(p)) /* an element over two device pages, perhaps after others */
            return true;
        if (memcmp(before, after, DATA_BYTES) ||
            memcmp(sv->vcpu.regs.gpr, NATIVE->gpr, sizeof(NATIVE->gpr)))
            return report("declined and changed something", &t);
        return true;
    }
    if (r != EMULATE_DONE)
        return report("fault", &t);
    memcpy((void *)DATA_VA, before, DATA_BYTES);
    ((void (*)(void))CODE_VA)();
    if (sv->vcpu.regs.rip != at + t.n)
        return report("RIP", &t);
    if (memcmp(sv->vcpu.regs.gpr, NATIVE->out, sizeof(NATIVE->out)))
        return report("registers", &t);
    if ((sv->vcpu.regs.rflags ^ NATIVE->out_flags) & 0xcd5 & ~p->undefined)
        return report("flags", &t);
    if (memcmp(after, (void *)DATA_VA, DATA_BYTES))
        return report("memory", &t);
    return !sv->vcpu.int_shadow || report("interrupt shadow", &t);
}

static void test_native(unsigned count)
{
    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
        for (int device = 0; device < 2; device++) {
            unsigned bad = 0, declined = 0;
            for (unsigned k = 0; k < count && bad < 3; k++)
                bad += !try_one(&patterns[i], device, &declined);
            tap_ok(bad == 0 && declined < count, "%s on %s as this CPU (%u cases, %u declined)",
                   patterns[i].name, device ? "a device" : "RAM", count, declined);
        }
}

/* --- answers written out --- */

#define REG(r) sv->vcpu.regs.gpr[r]
#define DATA64(off) (*(volatile uint64_t *)(DATA_VA + (off)))

static void expect_fault(enum emulate_result r, uint8_t vector, bool has_error, uint64_t cr2,
                         uint32_t error, const char *what)
{
    const struct vcpu_event *p = &sv->vcpu.pending;
    bool same = r == EMULATE_FAULT && p->type == EVENT_EXCEPTION && p->vector == vector &&
                p->has_error == has_error && p->error == error &&
                (vector != VEC_PF || p->cr2 == cr2);

    if (!tap_ok(same, "%s", what))
        tap_note("result %d vector %u error %d 0x%x cr2 0x%" PRIx64, r, p->vector, p->has_error,
                 p->error, p->cr2);
}

static void test_faults(void)
{
    setup();
    data_page[1] = PAGE_RO;
    REG(RDI) = DATA_VA + 4096 + 8;
    REG(RAX) = 0x1122;
    struct vcpu_regs saved = sv->vcpu.regs;
    expect_fault(RUN(0x48, 0x89, 0x07), VEC_PF, true, DATA_VA + 4096 + 8, PFEC_W | PFEC_P,
                 "store to a read-only page");
    tap_ok(!memcmp(&saved, &sv->vcpu.regs, sizeof(saved)), "... changes no register");
    expect_fault(RUN(0xf0, 0x48, 0x0f, 0xb1, 0x0f), VEC_PF, true, DATA_VA + 4096 + 8,
                 PFEC_W | PFEC_P, "a CMPXCHG that would fail faults as a write");
    data_page[1] = PAGE_NONE;
    expect_fault(RUN(0x48, 0xff, 0x07), VEC_PF, true, DATA_VA + 4096 + 8, PFEC_W,
                 "INC of a missing page reports a write");
    expect_fault(RUN(0x48, 0x8b, 0x07), VEC_PF, true, DATA_VA + 4096 + 8, 0,
                 "load from a missing page");
    segs.cpl = 3;
    expect_fault(RUN(0x48, 0x8b, 0x07), VEC_PF, true, DATA_VA + 4096 + 8, PFEC_U,
                 "... from user code");
    segs.cpl = 0;
    REG(RDI) = DATA_VA + 4096 - 3;
    expect_fault(RUN(0x48, 0x89, 0x07), VEC_PF, true, DATA_VA + 4096, PFEC_W,
                 "store whose second page is missing");
    tap_eq(DATA64(4096 - 8), 0, "... writes nothing to the first");
    REG(RDI) = 0x800000000000ull;
    expect_fault(RUN(0x48, 0x89, 0x07), VEC_GP, true, 0, 0, "non-canonical address");
    REG(RBP) = 0x7fffffffffffull;
    expect_fault(RUN(0x48, 0x89, 0x45, 0x00), VEC_SS, true, 0, 0, "... through RBP is #SS");
    expect_fault(RUN(0x0f, 0x04), VEC_UD, false, 0, 0, "undefined opcode");
    expect_fault(RUN(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                     0x66, 0x66, 0x89, 0x07),
                 VEC_GP, true, 0, 0, "16 bytes");
    setup();
    segs.cpl = 3;
    sv->vcpu.ctl.cr0 |= CR0_AM;
    sv->vcpu.regs.rflags |= RFLAGS_AC;
    REG(RDI) = DATA_VA + 1;
    expect_fault(RUN(0x89, 0x07), VEC_AC, true, 0, 0, "alignment check");
}

static void test_fetch(void)
{
    static const uint8_t mov[] = {0x48, 0xc7, 0x07, 0x44, 0x33, 0x22, 0x11};
    struct vmexit x = exit_pf(PFEC_W);
    struct insn in;

    setup();
    REG(RDI) = DATA_VA;
    put_code(CODE_VA + 4096 - 7, mov, sizeof(mov));
    code_page[1] = PAGE_NONE;
    sv->vcpu.regs.rip = CODE_VA + 4096 - 7;
    tap_eq(run_exit(&x), EMULATE_DONE, "instruction that ends with its page: next one not touched");
    tap_eq(DATA64(0), 0x11223344, "... stored");
    put_code(CODE_VA + 4096 - 3, mov, sizeof(mov));
    sv->vcpu.regs.rip = CODE_VA + 4096 - 3;
    expect_fault(run_exit(&x), VEC_PF, true, CODE_VA + 4096, PFEC_I,
                 "fetch fault on the second page");
    code_page[1] = PAGE_RO;
    tap_eq(run_exit(&x), EMULATE_DONE, "instruction over two pages");
    tap_eq(sv->vcpu.regs.rip, CODE_VA + 4096 + 4, "... RIP behind it");
    memcpy(x.insn, mov, sizeof(mov));
    x.insn_len = sizeof(mov);
    sv->vcpu.regs.rip = 0x5000; /* not mapped: only the bytes of the exit are there */
    tap_eq(run_exit(&x), EMULATE_DONE, "bytes from the exit record");
    x.insn_len = 3;
    sv->vcpu.regs.rip = CODE_VA + 4096 - 3;
    tap_eq(run_exit(&x), EMULATE_DONE, "too few of them: fetched");
    x.insn_len = 0;
    x.redeliver = true;
    tap_eq(run_exit(&x), EMULATE_DECLINED,
           "access of an event's delivery is not the instruction's");
    x.redeliver = false;
    sv->vcpu.regs.rip = CODE_VA + 4096 - 3;
    tap_eq(emulate_decode(sv, &x, &in), HV_OK, "emulate_decode");
    tap_eq(in.length, 7, "... length");
    sv->vcpu.regs.rip = 0x5000;
    tap_eq(emulate_decode(sv, &x, &in), HV_FAULT, "emulate_decode of unmapped code");
    tap_eq(sv->vcpu.pending.vector, VEC_PF, "... is a page fault");
    setup_32();
    segs.seg[SEG_CS].limit = (uint32_t)CODE_VA + 3;
    put_code(CODE_VA, (const uint8_t[]){0x66, 0xc7, 0x07, 0x01, 0x02}, 5);
    expect_fault(run_exit(&x), VEC_GP, true, 0, 0, "instruction over the limit of CS");
}

static void test_segments(void)
{
    setup_32();
    REG(RDI) = DATA_VA + 16;
    REG(RBP) = DATA_VA + 16;
    tap_eq(RUN(0x89, 0x07), EMULATE_DONE, "flat 32-bit store");
    segs.seg[SEG_DS].limit = (uint32_t)DATA_VA + 18;
    expect_fault(RUN(0x89, 0x07), VEC_GP, true, 0, 0, "one byte over the limit of DS");
    tap_eq(RUN(0x66, 0x89, 0x07), EMULATE_DONE, "... two bytes fit");
    segs.seg[SEG_SS].limit = 0x1000;
    expect_fault(RUN(0x89, 0x45, 0x00), VEC_SS, true, 0, 0, "over the limit of SS");
    segs.seg[SEG_DS] = (struct segment){0x10, 0xc91, 0xffffffff, 0};
    expect_fault(RUN(0x89, 0x07), VEC_GP, true, 0, 0, "store to a read-only segment");
    tap_eq(RUN(0x8b, 0x07), EMULATE_DONE, "... a load is fine");
    segs.seg[SEG_DS].attr = 0xc99; /* execute-only code */
    expect_fault(RUN(0x8b, 0x07), VEC_GP, true, 0, 0, "load from an execute-only segment");
    segs.seg[SEG_DS].attr = 0;
    expect_fault(RUN(0x8b, 0x07), VEC_GP, true, 0, 0, "null segment");
    segs.seg[SEG_DS] = (struct segment){0x10, 0xc97, (uint32_t)DATA_VA + 15, 0};
    tap_eq(RUN(0x89, 0x07), EMULATE_DONE, "expand-down: above the limit");
    segs.seg[SEG_DS].limit++;
    expect_fault(RUN(0x89, 0x07), VEC_GP, true, 0, 0, "expand-down: at the limit");
    segs.seg[SEG_DS].limit--;
    segs.seg[SEG_DS].attr = 0x97;
    expect_fault(RUN(0x89, 0x07), VEC_GP, true, 0, 0, "expand-down, 16-bit: above 64 KiB");
    segs.seg[SEG_FS] = (struct segment){0x10, 0xc93, 0xffff, DATA_VA};
    REG(RDI) = 0x20;
    REG(RAX) = 0xabcd;
    tap_eq(RUN(0x64, 0x89, 0x07), EMULATE_DONE, "segment with a base");
    tap_eq(DATA64(0x20), 0xabcd, "... added");
    setup();
    segs.seg[SEG_GS].base = DATA_VA + 0x100;
    REG(RDI) = (uint64_t)-8;
    REG(RAX) = 77;
    tap_eq(RUN(0x65, 0x48, 0x89, 0x07), EMULATE_DONE, "GS base in 64-bit mode");
    tap_eq(DATA64(0xf8), 77, "... wraps around");
    REG(RDI) = 0xff00000000000000ull | (DATA_VA + 0x40);
    tap_eq(RUN(0x67, 0x48, 0x89, 0x07), EMULATE_DONE, "32-bit addressing drops the upper half");
    tap_eq(DATA64(0x40), 77, "... stored");
}

static void test_real_mode(void)
{
    setup_real();
    REG(RBX) = 0xfff0;
    REG(RSI) = 0x0120;
    REG(RAX) = 0xbeef;
    tap_eq(RUN(0x89, 0x00), EMULATE_DONE, "real mode: [BX+SI] wraps at 64 KiB");
    tap_eq(DATA64(0x110), 0xbeef, "... stored");
    tap_eq(sv->vcpu.regs.rip, 2, "... IP");
    REG(RBX) = 0xffff;
    REG(RSI) = 0;
    expect_fault(RUN(0x89, 0x00), VEC_GP, false, 0, 0, "real mode: word at FFFF, no error code");
    segs.seg[SEG_DS].attr = 0;
    REG(RBX) = 0x10;
    tap_eq(RUN(0x89, 0x00), EMULATE_DONE, "real mode checks no segment type");
    REG(RSP) = 0x12340002;
    tap_eq(RUN(0xff, 0x30), EMULATE_DONE, "16-bit stack");
    tap_eq(REG(RSP), 0x12340000, "... only SP moves");
    /* IP wraps from FFFF to 0 behind a two-byte instruction at FFFE. */
    sv->vcpu.regs.rip = 0xfffe;
    put_code(CODE_VA + 4096 - 2, (const uint8_t[]){0x89, 0x00}, 2);
    struct vmexit x = exit_pf(PFEC_W);
    segs.seg[SEG_CS].base = CODE_VA + 4096 - 2 - 0xfffe;
    tap_eq(run_exit(&x), EMULATE_DONE, "instruction that ends at FFFF");
    tap_eq(sv->vcpu.regs.rip, 0, "... wraps IP");
}

static void test_atomicity(void)
{
    setup();
    REG(RDI) = DATA_VA;
    REG(RAX) = 5;
    DATA64(0) = 100;
    contend = 3;
    contend_add = 1000;
    tap_eq(RUN(0xf0, 0x48, 0x01, 0x07), EMULATE_DONE, "LOCK ADD against three other stores");
    tap_eq(DATA64(0), 3105, "... loses none of them");
    tap_eq(cmpxchg_stored, 1, "... and stores once");
    sv->vcpu.regs.rflags |= RFLAGS_CF;
    DATA64(0) = 1;
    contend = 2;
    tap_eq(RUN(0x48, 0x11, 0x07), EMULATE_DONE, "ADC against two other stores");
    tap_eq(DATA64(0), 2007, "... uses the carry it started with");
    contend = 1000000;
    DATA64(0) = 1;
    sv->vcpu.regs.rip = CODE_VA;
    struct vcpu_regs saved = sv->vcpu.regs;
    tap_eq(RUN(0xf0, 0x48, 0xff, 0x07), EMULATE_DECLINED, "endless contention is bounded");
    tap_ok(!memcmp(&saved, &sv->vcpu.regs, sizeof(saved)), "... and changes no register");
    setup();
    REG(RDI) = DATA_VA;
    DATA64(0) = 7;
    REG(RAX) = 8;
    REG(RCX) = 9;
    tap_eq(RUN(0xf0, 0x48, 0x0f, 0xb1, 0x0f), EMULATE_DONE, "CMPXCHG that fails");
    tap_ok(cmpxchg_stored == 0 && xchg_count == 0 && bulk_count == 0, "... stores nothing");
    tap_eq(REG(RAX), 7, "... loads RAX");
    tap_eq(RUN(0x48, 0x89, 0x0f), EMULATE_DONE, "MOV");
    tap_eq(xchg_count, 1, "... is one exchange");
    tap_eq(RUN(0x48, 0x0f, 0xc7, 0x0f), EMULATE_DECLINED, "CMPXCHG16B is the guest's");
    tap_eq(RUN(0xf3, 0x0f, 0x7f, 0x07), EMULATE_DECLINED, "MOVDQU is the guest's");
}

static void test_call(void)
{
    setup();
    REG(RSP) = DATA_VA + 64;
    tap_eq(RUN(0xe8, 0x10, 0x00, 0x00, 0x00), EMULATE_DONE, "CALL");
    tap_eq(sv->vcpu.regs.rip, CODE_VA + 0x15, "... to its target");
    tap_eq(DATA64(56), CODE_VA + 5, "... return address pushed");
    tap_eq(REG(RSP), DATA_VA + 56, "... RSP");
    REG(RAX) = 0x123456;
    tap_eq(RUN(0xff, 0xd0), EMULATE_DONE, "CALL RAX");
    tap_eq(sv->vcpu.regs.rip, 0x123456, "... to RAX");
    sv->vcpu.regs.rip = CODE_VA;
    REG(RAX) = 1ull << 63;
    expect_fault(RUN(0xff, 0xd0), VEC_GP, true, 0, 0, "CALL to a non-canonical address");
    sv->vcpu.regs.rip = CODE_VA;
    DATA64(0x80) = 0x4444;
    REG(RSP) = DATA_VA + 0x80;
    tap_eq(RUN(0x8f, 0x44, 0x24, 0x08), EMULATE_DONE, "POP [RSP+8]");
    tap_eq(DATA64(0x90), 0x4444, "... addresses with RSP already moved");
}

static void test_trap_flag(void)
{
    setup();
    REG(RDI) = DATA_VA;
    sv->vcpu.regs.rflags |= RFLAGS_TF;
    tap_eq(RUN(0x89, 0x07), EMULATE_DONE, "single-stepped store");
    tap_eq(sv->vcpu.pending.vector, VEC_DB, "... raises #DB");
    setup();
    REG(RDI) = DATA_VA;
    REG(RCX) = 5;
    sv->vcpu.regs.rflags |= RFLAGS_TF;
    tap_eq(RUN(0xf3, 0xaa), EMULATE_DONE, "single-stepped REP STOSB");
    tap_eq(REG(RCX), 4, "... one iteration");
    tap_eq(sv->vcpu.regs.rip, CODE_VA, "... RIP stays");
    tap_eq(sv->vcpu.pending.vector, VEC_DB, "... raises #DB");
}

static void test_rep(void)
{
    struct vmexit rd = exit_pf(0);

    setup();
    REG(RDI) = DATA_VA;
    REG(RCX) = 512;
    tap_eq(RUN(0xf3, 0x48, 0xab), EMULATE_DECLINED, "REP STOSQ of a page is the guest's");
    tap_eq(xchg_count, 0, "... nothing stored");
    REG(RCX) = 32;
    REG(RAX) = 1;
    tap_eq(RUN(0xf3, 0x48, 0xab), EMULATE_DONE, "REP STOSQ of 32");
    tap_ok(REG(RCX) == 0 && xchg_count == 32 && REG(RDI) == DATA_VA + 256, "... all at once");
    setup();
    data_is_device = true;
    REG(RDI) = DATA_VA;
    REG(RCX) = 100;
    tap_eq(RUN(0xf3, 0xab), EMULATE_DONE, "REP STOSD of 100 to a device");
    tap_eq(REG(RCX), 68, "... goes in batches of 32");
    tap_eq(sv->vcpu.regs.rip, CODE_VA, "... and stays at the instruction");
    actions = 1;
    tap_eq(RUN(0xf3, 0xab), EMULATE_DONE, "... with an action waiting");
    tap_eq(REG(RCX), 67, "... makes one step");
    setup();
    REG(RDI) = DATA_VA + 4096 - 8;
    REG(RCX) = 5;
    data_page[1] = PAGE_NONE;
    tap_eq(RUN(0xf3, 0xab), EMULATE_DONE, "REP that reaches a missing page");
    tap_eq(REG(RCX), 3, "... keeps what was done");
    tap_eq(sv->vcpu.pending.type, EVENT_NONE, "... without a fault yet");
    expect_fault(RUN(0xf3, 0xab), VEC_PF, true, DATA_VA + 4096, PFEC_W, "... then faults");
    tap_eq(REG(RCX), 3, "... and moves no further");
    setup();
    REG(RCX) = 0;
    tap_eq(RUN(0xf3, 0xab), EMULATE_DONE, "REP with a count of 0");
    tap_eq(sv->vcpu.regs.rip, CODE_VA + 2, "... does nothing");
    setup();
    REG(RCX) = 100;
    REG(RSI) = DATA_VA;
    REG(RDI) = DATA_VA + 4096;
    put_code(CODE_VA, (const uint8_t[]){0xf3, 0xa4}, 2);
    tap_eq(run_exit(&rd), EMULATE_DONE, "REP MOVSB whose load is what faulted");
    tap_eq(REG(RCX), 68, "... is ours, in batches");
    setup_32();
    REG(RCX) = 0xffff0003;
    REG(RDI) = 0x7fff0020;
    segs.seg[SEG_ES].base = DATA_VA;
    REG(RAX) = 0x55;
    tap_eq(RUN(0x67, 0xf3, 0xaa), EMULATE_DONE, "16-bit REP STOSB");
    tap_ok(REG(RCX) == 0xffff0000 && REG(RDI) == 0x7fff0023, "... counts in CX and DI alone");
    tap_eq(DATA64(0x20), 0x555555, "... at ES:DI");
}

static void test_device(void)
{
    setup();
    data_is_device = true;
    REG(RDI) = DATA_VA + 0xb0;
    REG(RAX) = 0x1122334455667788ull;
    tap_eq(RUN(0x89, 0x07), EMULATE_DONE, "store to a device");
    tap_ok(mmio_count == 1 && last_mmio.write && last_mmio.size == 4 &&
               last_mmio.value == 0x55667788 && last_mmio.addr == DATA_VA + 0xb0 - GPA_OFFSET,
           "... is one access of its width at its gpa");
    REG(RDI) = DATA_VA + 4096 - 2;
    tap_eq(RUN(0x89, 0x07), EMULATE_DECLINED, "device access over two pages");
    REG(RSI) = DATA_VA;
    REG(RDI) = DATA_VA + 4096;
    data_page[1] = PAGE_NONE;
    mmio_count = 0;
    expect_fault(RUN(0xa5), VEC_PF, true, DATA_VA + 4096, PFEC_W, "MOVS from a device that faults");
    tap_eq(mmio_count, 0, "... has not read it");
    REG(RSP) = DATA_VA + 4096 + 64;
    expect_fault(RUN(0xff, 0x36), VEC_PF, true, DATA_VA + 4096 + 56, PFEC_W,
                 "PUSH from a device that faults");
    tap_eq(mmio_count, 0, "... has not read it");
}

static struct vmexit exit_io(bool in, uint8_t size, bool rep)
{
    return (struct vmexit){.kind = EXIT_IO,
                           .io_port = 0x1f0,
                           .io_size = size,
                           .io_in = in,
                           .io_string = true,
                           .io_rep = rep};
}

static void test_ports(void)
{
    struct vmexit ins = exit_io(true, 2, true), outs = exit_io(false, 1, true);

    setup();
    REG(RDX) = 0xabcd01f0;
    REG(RDI) = DATA_VA;
    REG(RCX) = 40;
    port_value = 0x100;
    put_code(CODE_VA, (const uint8_t[]){0xf3, 0x66, 0x6d}, 3);
    tap_eq(emulate_string_io(sv, &ins), EMULATE_DONE, "REP INSW");
    tap_ok(REG(RCX) == 8 && port_count == 32 && sv->vcpu.regs.rip == CODE_VA, "... a batch");
    tap_eq(emulate_string_io(sv, &ins), EMULATE_DONE, "... the rest");
    tap_ok(REG(RCX) == 0 && port_count == 40 && sv->vcpu.regs.rip == CODE_VA + 3 &&
               REG(RDI) == DATA_VA + 80,
           "... done");
    tap_eq(DATA64(0), 0x0103010201010100ull, "... words in order");
    tap_ok(last_port.addr == 0x1f0 && last_port.size == 2 && !last_port.write, "... from the port");
    setup();
    REG(RDX) = 0x1f0;
    REG(RDI) = DATA_VA;
    REG(RCX) = 4;
    data_page[0] = PAGE_RO;
    expect_fault(emulate_string_io(sv, &ins), VEC_PF, true, DATA_VA, PFEC_W | PFEC_P,
                 "INSW to a read-only page");
    tap_eq(port_count, 0, "... has not read the port");
    setup_32();
    segs.seg[SEG_FS] = (struct segment){0x10, 0xc93, 0xffff, DATA_VA};
    REG(RDX) = 0x1f0;
    REG(RSI) = 0x12340010;
    REG(RCX) = 3;
    sv->vcpu.regs.rflags |= RFLAGS_DF;
    memcpy((void *)(DATA_VA + 0x0e), "cba", 3);
    put_code(CODE_VA, (const uint8_t[]){0x67, 0x64, 0xf3, 0x6e}, 4);
    tap_eq(emulate_string_io(sv, &outs), EMULATE_DONE, "REP OUTSB, FS, 16-bit, downwards");
    tap_ok(port_count == 3 && last_port.value == 'c' && REG(RSI) == 0x1234000d, "... as decoded");
    sv->vcpu.regs.rip = CODE_VA;
    REG(RCX) = 1;
    outs.io_port = 0x1f1;
    tap_eq(emulate_string_io(sv, &outs), EMULATE_DONE, "another port than the CPU checked");
    tap_ok(port_count == 3 && sv->vcpu.regs.rip == CODE_VA, "... is executed again");
}

static void test_linear(void)
{
    struct insn in;
    gva_t va;

    setup();
    REG(RAX) = 1ull << 47;
    tap_eq(insn_decode((const uint8_t[]){0x0f, 0x01, 0x38}, 3, 8, &in), HV_OK, "INVLPG [RAX]");
    tap_eq(emulate_linear(sv, &in, 1, false, &va), HV_OK, "... never faults");
    tap_eq(va.v, 1ull << 47, "... address");
    tap_eq(insn_decode((const uint8_t[]){0x0f, 0x01, 0x30}, 3, 8, &in), HV_OK, "LMSW [RAX]");
    tap_eq(emulate_linear(sv, &in, 2, false, &va), HV_FAULT, "... faults");
    tap_eq(sv->vcpu.pending.vector, VEC_GP, "... with #GP");
    REG(RAX) = DATA_VA + 2;
    tap_eq(emulate_linear(sv, &in, 2, false, &va), HV_OK, "... or has an address");
    tap_eq(va.v, DATA_VA + 2, "... that one");
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

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 300;

    sv = calloc(1, sizeof(*sv));
    map_at(STATE_VA, 4096, PROT_READ | PROT_WRITE);
    map_at(DATA_VA, DATA_BYTES, PROT_READ | PROT_WRITE);
    map_at(CODE_VA, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
    test_faults();
    test_fetch();
    test_segments();
    test_real_mode();
    test_atomicity();
    test_call();
    test_trap_flag();
    test_rep();
    test_device();
    test_ports();
    test_linear();
    test_native(count);
    free(sv);
    return tap_done();
}
