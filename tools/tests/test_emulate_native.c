/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/emulate/emulate*.c against the CPU it runs on: random instructions run emulated
 * and natively with the same registers and memory, on RAM and on a device; everything must come out
 * equal. Argument: random cases an instruction. */
#include "tools/tests/emulate_rig.h"
#include "tools/tests/native_stub.h"

#define REX_W_MASK 8
#define REX_R_MASK 4

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
#define P1(nm, op, r, im, by, lk, m, u) {nm, 1, {op}, r, im, by, lk, m, u}
#define P2(nm, op, r, im, by, lk, m, u) {nm, 2, {0x0f, op}, r, im, by, lk, m, u}
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
        t->operand = STUB->gpr[RDI] + (uint64_t)(int64_t)d;
    } else if (form < 7) {
        unsigned k = rnd() & 3;
        t->b[t->n++] = (uint8_t)(0x04 | reg << 3);
        t->b[t->n++] = (uint8_t)(k << 6 | RSI << 3 | RBX);
        t->operand = STUB->gpr[RBX] + (STUB->gpr[RSI] << k);
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
        STUB->gpr[r] = rnd() & (rnd() & 1 ? ~0ull : 0xff);
    STUB->gpr[RDI] = DATA_VA + 4096 + rnd() % 8192;
    STUB->gpr[RBX] = DATA_VA + 4096 + rnd() % 4096;
    STUB->gpr[RSI] = rnd() % 64;
    STUB->gpr[RSP] = DATA_VA + 8192 + (rnd() % 256) * 8;
    if (is_string(p)) {
        STUB->gpr[RSI] = DATA_VA + 4096 + rnd() % 4096;
        STUB->gpr[RCX] = rnd() % 30;
    }
    if (is_bit_reg(p))
        STUB->gpr[RDX] = (uint64_t)((int64_t)(rnd() % 4096) - 2048);
    STUB->flags = RFLAGS_FIXED1 | RFLAGS_IF | (rnd() & 0x8d5);
    if (is_string(p) && rnd() & 1)
        STUB->flags |= RFLAGS_DF;
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
        memcpy(&STUB->gpr[RAX], (void *)t.operand, t.size);
    if (p->n == 2 && p->b[1] == 0xc7 && rnd() & 1) {
        memcpy(&STUB->gpr[RAX], (void *)t.operand, 4);
        memcpy(&STUB->gpr[RDX], (void *)(t.operand + 4), 4);
    }
    at = build_stub(t.b, t.n);
    memcpy(sv->vcpu.regs.gpr, STUB->gpr, sizeof(STUB->gpr));
    sv->vcpu.regs.rflags = STUB->flags;
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
            memcmp(sv->vcpu.regs.gpr, STUB->gpr, sizeof(STUB->gpr)))
            return report("declined and changed something", &t);
        return true;
    }
    if (r != EMULATE_DONE)
        return report("fault", &t);
    memcpy((void *)DATA_VA, before, DATA_BYTES);
    ((void (*)(void))CODE_VA)();
    if (sv->vcpu.regs.rip != at + t.n)
        return report("RIP", &t);
    if (memcmp(sv->vcpu.regs.gpr, STUB->out, sizeof(STUB->out)))
        return report("registers", &t);
    if ((sv->vcpu.regs.rflags ^ STUB->out_flags) & 0xcd5 & ~p->undefined)
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

int main(int argc, char **argv)
{
    rig_open();
    test_native(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 300);
    return rig_close();
}
