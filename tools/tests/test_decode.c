/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/insn/decode*.c: lengths, widths, operands, segments and immediates against Zydis,
 * for every opcode with every ModRM byte under a set of prefixes and for random bytes, in 16-, 32-
 * and 64-bit mode; and the properties of fuzz_decode.c on random input. Argument: random cases a
 * mode. */
#include <Zydis/Zydis.h>
#include "tools/tests/tap.h"
#include "tools/tests/fuzz_decode.c" /* its entry runs here too; it has no other host */

#define MAX_REPORTS 40
static unsigned reports;
static uint64_t rng = 0x9e3779b97f4a7c15ull;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

struct oracle {
    ZydisDecoder dec;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};
struct map {
    enum insn_op op;
    ZydisMnemonic m[3];
};
/* Operations whose operands the emulator and the exit handlers use. */
static const struct map maps[] = {
    {INSN_MOV, {ZYDIS_MNEMONIC_MOV, ZYDIS_MNEMONIC_MOVNTI}},
    {INSN_MOVZX, {ZYDIS_MNEMONIC_MOVZX}},
    {INSN_MOVSX, {ZYDIS_MNEMONIC_MOVSX, ZYDIS_MNEMONIC_MOVSXD}},
    {INSN_ADD, {ZYDIS_MNEMONIC_ADD}},
    {INSN_OR, {ZYDIS_MNEMONIC_OR}},
    {INSN_ADC, {ZYDIS_MNEMONIC_ADC}},
    {INSN_SBB, {ZYDIS_MNEMONIC_SBB}},
    {INSN_AND, {ZYDIS_MNEMONIC_AND}},
    {INSN_SUB, {ZYDIS_MNEMONIC_SUB}},
    {INSN_XOR, {ZYDIS_MNEMONIC_XOR}},
    {INSN_CMP, {ZYDIS_MNEMONIC_CMP}},
    {INSN_TEST, {ZYDIS_MNEMONIC_TEST}},
    {INSN_INC, {ZYDIS_MNEMONIC_INC}},
    {INSN_DEC, {ZYDIS_MNEMONIC_DEC}},
    {INSN_NOT, {ZYDIS_MNEMONIC_NOT}},
    {INSN_NEG, {ZYDIS_MNEMONIC_NEG}},
    {INSN_XCHG, {ZYDIS_MNEMONIC_XCHG}},
    {INSN_CMPXCHG, {ZYDIS_MNEMONIC_CMPXCHG}},
    {INSN_XADD, {ZYDIS_MNEMONIC_XADD}},
    {INSN_CMPXCHG8B, {ZYDIS_MNEMONIC_CMPXCHG8B, ZYDIS_MNEMONIC_CMPXCHG16B}},
    {INSN_BT, {ZYDIS_MNEMONIC_BT}},
    {INSN_BTS, {ZYDIS_MNEMONIC_BTS}},
    {INSN_BTR, {ZYDIS_MNEMONIC_BTR}},
    {INSN_BTC, {ZYDIS_MNEMONIC_BTC}},
    {INSN_PUSH, {ZYDIS_MNEMONIC_PUSH}},
    {INSN_POP, {ZYDIS_MNEMONIC_POP}},
    {INSN_CALL, {ZYDIS_MNEMONIC_CALL}},
    {INSN_JMP, {ZYDIS_MNEMONIC_JMP}},
    {INSN_LAR, {ZYDIS_MNEMONIC_LAR}},
    {INSN_LSL, {ZYDIS_MNEMONIC_LSL}},
    {INSN_VERR, {ZYDIS_MNEMONIC_VERR}},
    {INSN_VERW, {ZYDIS_MNEMONIC_VERW}},
    {INSN_LMSW, {ZYDIS_MNEMONIC_LMSW}},
    {INSN_SMSW, {ZYDIS_MNEMONIC_SMSW}},
    {INSN_INVLPG, {ZYDIS_MNEMONIC_INVLPG}},
    {INSN_INVPCID, {ZYDIS_MNEMONIC_INVPCID}},
    {INSN_IN, {ZYDIS_MNEMONIC_IN}},
    {INSN_OUT, {ZYDIS_MNEMONIC_OUT}},
};
/* Operations without operands of interest: the name is enough. */
static const struct map plain[] = {
    {INSN_CLTS, {ZYDIS_MNEMONIC_CLTS}},
    {INSN_RET, {ZYDIS_MNEMONIC_RET}},
    {INSN_CPUID, {ZYDIS_MNEMONIC_CPUID}},
    {INSN_RDMSR, {ZYDIS_MNEMONIC_RDMSR}},
    {INSN_WRMSR, {ZYDIS_MNEMONIC_WRMSR}},
    {INSN_HLT, {ZYDIS_MNEMONIC_HLT}},
    {INSN_PAUSE, {ZYDIS_MNEMONIC_PAUSE}},
    {INSN_RDTSC, {ZYDIS_MNEMONIC_RDTSC}},
    {INSN_RDTSCP, {ZYDIS_MNEMONIC_RDTSCP}},
    {INSN_WBINVD, {ZYDIS_MNEMONIC_WBINVD}},
    {INSN_INVD, {ZYDIS_MNEMONIC_INVD}},
    {INSN_MONITOR, {ZYDIS_MNEMONIC_MONITOR}},
    {INSN_MWAIT, {ZYDIS_MNEMONIC_MWAIT}},
    {INSN_RDPMC, {ZYDIS_MNEMONIC_RDPMC}},
    {INSN_XSETBV, {ZYDIS_MNEMONIC_XSETBV}},
    {INSN_VMMCALL, {ZYDIS_MNEMONIC_VMMCALL}},
    {INSN_INT3, {ZYDIS_MNEMONIC_INT3}},
    {INSN_INTN, {ZYDIS_MNEMONIC_INT}},
    {INSN_UD2, {ZYDIS_MNEMONIC_UD2}},
    {INSN_IRET, {ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ}},
};
static const struct map strings[] = {
    {INSN_INS, {ZYDIS_MNEMONIC_INSB, ZYDIS_MNEMONIC_INSW, ZYDIS_MNEMONIC_INSD}},
    {INSN_OUTS, {ZYDIS_MNEMONIC_OUTSB, ZYDIS_MNEMONIC_OUTSW, ZYDIS_MNEMONIC_OUTSD}},
};

static bool in_map(const struct map *m, ZydisMnemonic z)
{
    return z != 0 && (m->m[0] == z || m->m[1] == z || m->m[2] == z);
}

static enum insn_op string_op(ZydisMnemonic z)
{
    switch (z) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSQ:
        return INSN_MOVS;
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
        return INSN_STOS;
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
        return INSN_LODS;
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ:
        return INSN_SCAS;
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSQ:
        return INSN_CMPS;
    default:
        return INSN_OTHER;
    }
}

/* What Zydis says the operation is, in our words. MOVSD and CMPSD are also SSE names. */
static enum insn_op oracle_op(const struct oracle *o)
{
    ZydisMnemonic z = o->zi.mnemonic;
    bool legacy = o->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;

    if (!legacy)
        return INSN_OTHER;
    if (o->zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z == ZYDIS_MNEMONIC_MOVSD)
        return INSN_MOVS;
    if (o->zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z == ZYDIS_MNEMONIC_CMPSD)
        return INSN_CMPS;
    if (o->zi.opcode_map == ZYDIS_OPCODE_MAP_0F && z == ZYDIS_MNEMONIC_MOV)
        switch (o->zi.opcode) {
        case 0x20:
            return INSN_MOV_CR_READ;
        case 0x21:
            return INSN_MOV_DR_READ;
        case 0x22:
            return INSN_MOV_CR_WRITE;
        case 0x23:
            return INSN_MOV_DR_WRITE;
        }
    if (z >= ZYDIS_MNEMONIC_SETB && z <= ZYDIS_MNEMONIC_SETZ && (o->zi.opcode & 0xf0) == 0x90)
        return INSN_SETCC;
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
        if (in_map(&maps[i], z))
            return maps[i].op;
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (in_map(&plain[i], z))
            return plain[i].op;
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        if (in_map(&strings[i], z))
            return strings[i].op;
    return string_op(z);
}

static const char *compare_reg(const ZydisDecodedOperand *z, unsigned reg, bool high8)
{
    ZydisRegister r = z->reg.value;
    bool zhigh = r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
    int id = ZydisRegisterGetId(r);

    if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8 && id >= 8)
        id -= 4; /* SPL.. are numbered behind AH..BH */
    if (high8 != zhigh)
        return "high byte register";
    return id == (int)reg ? NULL : "register number";
}

static const char *compare_mem(const struct oracle *o, const ZydisDecodedOperand *z,
                               const struct insn *in)
{
    static const ZydisRegister seg[] = {ZYDIS_REGISTER_ES, ZYDIS_REGISTER_CS, ZYDIS_REGISTER_SS,
                                        ZYDIS_REGISTER_DS, ZYDIS_REGISTER_FS, ZYDIS_REGISTER_GS};
    bool rip = z->mem.base == ZYDIS_REGISTER_RIP || z->mem.base == ZYDIS_REGISTER_EIP;
    int base = z->mem.base && !rip ? ZydisRegisterGetId(z->mem.base) : 0xff;
    int index = z->mem.index ? ZydisRegisterGetId(z->mem.index) : 0xff;
    uint64_t mask = in->addrsize == 8 ? ~0ull : (1ull << (8 * in->addrsize)) - 1;

    /* 3E before an indirect branch is NOTRACK for Zydis, and an override of DS all the same. */
    if (z->mem.segment != seg[in->segment] && !(o->zi.attributes & ZYDIS_ATTRIB_HAS_NOTRACK))
        return "segment";
    if (rip != in->rip_relative)
        return "RIP-relative";
    /* Zydis 4.0 sees R13 in a SIB without base under 32-bit addressing; objdump and the manuals do
     * not. */
    if (in->addrsize == 4 && base == 13 && in->base == 0xff)
        return NULL;
    if (base != in->base || index != in->index)
        return "base or index";
    if (z->mem.index && z->mem.scale != in->scale)
        return "scale";
    if (((uint64_t)z->mem.disp.value & mask) != ((uint64_t)in->disp & mask))
        return "displacement";
    return o->zi.address_width == in->addrsize * 8 ? NULL : "address size";
}

/* One operand of ours against one of Zydis. */
static const char *compare_operand(const struct oracle *o, const ZydisDecodedOperand *z,
                                   const struct insn *in, bool dst)
{
    switch (dst ? in->dst : in->src) {
    case OPND_NONE:
        return "operand missing";
    case OPND_REG:
        if (z->type != ZYDIS_OPERAND_TYPE_REGISTER)
            return "operand is no register";
        return dst ? compare_reg(z, in->dst_reg, in->dst_high8)
                   : compare_reg(z, in->src_reg, in->src_high8);
    case OPND_MEM:
        if (z->type != ZYDIS_OPERAND_TYPE_MEMORY)
            return "operand is no memory";
        /* An operand-size prefix on CALL r/m: AMD's CPUs honour it, Zydis follows Intel's. */
        if (z->mem.type == ZYDIS_MEMOP_TYPE_MEM &&
            !((in->op == INSN_CALL || in->op == INSN_JMP) && in->opsize == 2) &&
            z->size != 8u * (dst ? in->opsize : in->srcsize) && in->op != INSN_INVPCID)
            return "memory width";
        return compare_mem(o, z, in);
    case OPND_IMM:
        if (z->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return "operand is no immediate";
        uint64_t mask = in->opsize == 8 ? ~0ull : (1ull << (8 * in->opsize)) - 1;
        if (in->op == INSN_IN || in->op == INSN_OUT)
            mask = 0xff;
        return (z->imm.value.u & mask) == (in->imm & mask) ? NULL : "immediate";
    }
    return "operand kind";
}

static const char *compare_operands(const struct oracle *o, const struct insn *in)
{
    const ZydisDecodedOperand *z = o->op;
    unsigned n = o->zi.operand_count_visible;
    bool only_src = in->op == INSN_PUSH || in->op == INSN_CALL || in->op == INSN_LMSW ||
                    in->op == INSN_JMP || in->op == INSN_VERR || in->op == INSN_VERW;
    const char *why;

    if (n >= 1 && z[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(z[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
        return in->op == INSN_OTHER ? NULL : "segment register";
    if (n == 1 && in->op != INSN_XCHG)
        return compare_operand(o, &z[0], in, !only_src);
    if (n != 2)
        return "operand count";
    why = compare_operand(o, &z[0], in, true);
    return why ? why : compare_operand(o, &z[1], in, false);
}

static const char *compare_cr(const struct oracle *o, const struct insn *in)
{
    bool write = in->op == INSN_MOV_CR_WRITE || in->op == INSN_MOV_DR_WRITE;
    const ZydisDecodedOperand *special = &o->op[write ? 0 : 1], *gpr = &o->op[write ? 1 : 0];

    if (ZydisRegisterGetId(special->reg.value) != in->cr)
        return "control register number";
    return compare_reg(gpr, write ? in->src_reg : in->dst_reg, false);
}

static const char *compare_string(const struct oracle *o, const struct insn *in)
{
    const ZydisDecodedOperand *z = o->op;
    const char *why = NULL;

    for (unsigned i = 0; i < o->zi.operand_count; i++)
        if (z[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
            int base = ZydisRegisterGetId(z[i].mem.base);
            struct insn probe = *in;
            probe.base = (uint8_t)base;
            if (z[i].size != 8u * in->opsize)
                return "string width";
            if (base == RSI)
                why = compare_mem(o, &z[i], &probe);
            if (why)
                return why;
        }
    bool zrep =
        o->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
    return zrep == (in->rep || in->repne) ? NULL : "REP";
}

/* true if the operation named by Zydis is one we deliberately give as INSN_OTHER. */
static bool known_other(const struct oracle *o, const struct insn *in)
{
    const ZydisDecodedOperand *z = o->op;
    enum insn_op want = oracle_op(o);

    if (in->op == INSN_SSE_STORE)
        return want == INSN_OTHER;
    if (in->op != INSN_OTHER)
        return false;
    if (want == INSN_XCHG) /* 90 with prefixes that change nothing */
        return o->zi.opcode == 0x90;
    if (want == INSN_CALL || want == INSN_RET) /* far */
        return o->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    if (want == INSN_JMP) /* or direct */
        return o->zi.opcode != 0xff || o->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    if (want != INSN_MOV && want != INSN_PUSH && want != INSN_POP)
        return false;
    for (unsigned i = 0; i < o->zi.operand_count_visible; i++)
        if (z[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(z[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return true;
    return false;
}

static const char *compare(const struct oracle *o, const struct insn *in)
{
    enum insn_op want = oracle_op(o);

    if (o->zi.length != in->length)
        return "length";
    /* F3 with REX.B and 90: XCHG R8 as AMD has it, PAUSE for Zydis; the same length. */
    if (o->zi.mnemonic == ZYDIS_MNEMONIC_PAUSE && in->op == INSN_XCHG)
        return NULL;
    if (want != in->op)
        return known_other(o, in) ? NULL : "operation";
    if (want == INSN_MOV_CR_READ || want == INSN_MOV_CR_WRITE || want == INSN_MOV_DR_READ ||
        want == INSN_MOV_DR_WRITE)
        return compare_cr(o, in);
    if (want >= INSN_MOVS && want <= INSN_OUTS)
        return compare_string(o, in);
    if (want == INSN_SETCC)
        return in->cond == (o->zi.opcode & 15) ? compare_operands(o, in) : "condition";
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
        if (maps[i].op == want)
            return compare_operands(o, in);
    return NULL;
}

/* What we accept on purpose though Zydis does not: MOV CR8 as LOCK MOV CR0 (AMD only), and prefixes
 * that change nothing on the register forms of 0F 01, which reach us only after the CPU took them.
 */
static bool accepted_on_purpose(const struct insn *in)
{
    if (in->op == INSN_MOV_CR_READ || in->op == INSN_MOV_CR_WRITE)
        return in->lock && in->cr == 8;
    return in->op == INSN_MONITOR || in->op == INSN_MWAIT || in->op == INSN_XSETBV;
}

static bool check_one(struct oracle *o, const uint8_t *b, unsigned mode)
{
    struct insn in;
    const char *why = NULL;
    enum hv_err r = insn_decode(b, 15, mode, &in);
    bool zok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&o->dec, b, 15, &o->zi, o->op));

    /* Knights Corner's instructions share bytes with VEX and EVEX; no CPU with SVM has them. */
    if (zok && (o->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
                o->zi.mnemonic == ZYDIS_MNEMONIC_JKZD || o->zi.mnemonic == ZYDIS_MNEMONIC_JKNZD))
        return true;
    if (zok && r == HV_OK)
        why = compare(o, &in);
    else if (zok)
        why = "refused, Zydis accepts it";
    else if (r == HV_OK && in.op != INSN_OTHER && in.op != INSN_SSE_STORE &&
             !accepted_on_purpose(&in))
        why = "accepted, Zydis refuses it";
    if (!why)
        return true;
    if (reports++ < MAX_REPORTS) {
        char text[64] = "";
        for (int i = 0; i < 15; i++)
            snprintf(text + 3 * i, 4, "%02x ", b[i]);
        tap_note("mode %u: %s: %s; ours %d op %d length %u, Zydis %s %u", mode, text, why, r, in.op,
                 in.length, zok ? ZydisMnemonicGetString(o->zi.mnemonic) : "-",
                 zok ? o->zi.length : 0);
    }
    return false;
}

static void oracle_init(struct oracle *o, unsigned mode)
{
    if (mode == 8)
        ZydisDecoderInit(&o->dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    else if (mode == 4)
        ZydisDecoderInit(&o->dec, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    else
        ZydisDecoderInit(&o->dec, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderEnableMode(&o->dec, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
}

static void fill_random(uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(rnd() >> 32);
}

/* Every opcode of four maps and every ModRM byte under each of these prefixes. */
static void test_structured(struct oracle *o, unsigned mode)
{
    static const struct {
        uint8_t n, b[3];
    } pre[] = {{0, {0}},          {1, {0x66}},
               {1, {0x67}},       {1, {0xf0}},
               {1, {0xf2}},       {1, {0xf3}},
               {1, {0x64}},       {1, {0x36}},
               {1, {0x48}},       {1, {0x47}},
               {2, {0x66, 0x67}}, {2, {0x66, 0x4d}},
               {2, {0x48, 0x66}}, {3, {0xf0, 0x66, 0x40}}};
    static const struct {
        uint8_t n, b[2];
    } map[] = {{0, {0}}, {1, {0x0f}}, {2, {0x0f, 0x38}}, {2, {0x0f, 0x3a}}};
    unsigned bad = 0, total = 0;

    for (size_t p = 0; p < ARRAY_SIZE(pre); p++)
        for (size_t m = 0; m < ARRAY_SIZE(map); m++)
            for (unsigned op = 0; op < 256; op++)
                for (unsigned modrm = m < 2 ? 0 : op & 7; modrm < 256; modrm += m < 2 ? 1 : 8) {
                    uint8_t b[15];
                    size_t k = 0;
                    fill_random(b, sizeof(b));
                    memcpy(b, pre[p].b, pre[p].n);
                    k = pre[p].n;
                    memcpy(b + k, map[m].b, map[m].n);
                    k += map[m].n;
                    b[k] = (uint8_t)op;
                    b[k + 1] = (uint8_t)modrm;
                    bad += !check_one(o, b, mode);
                    total++;
                }
    tap_ok(bad == 0, "mode %u: every opcode and ModRM byte as Zydis (%u cases, %u differ)", mode,
           total, bad);
}

static void test_random(struct oracle *o, unsigned mode, unsigned count)
{
    static const uint8_t prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x3e, 0x26,
                                     0x36, 0x64, 0x65, 0x48, 0x41, 0x44, 0x4f, 0x40};
    unsigned bad = 0;

    for (unsigned i = 0; i < count; i++) {
        uint8_t b[15];
        unsigned k = 0, n = rnd() % 5;
        fill_random(b, sizeof(b));
        while (k < n)
            b[k++] = prefix[rnd() % sizeof(prefix)];
        if (rnd() & 1)
            b[k++] = 0x0f;
        else if (rnd() % 4 == 0)
            b[k++] = (uint8_t[]){0xc4, 0xc5, 0x62, 0x8f}[rnd() % 4];
        bad += !check_one(o, b, mode);
    }
    tap_ok(bad == 0, "mode %u: random bytes as Zydis (%u cases, %u differ)", mode, count, bad);
}

static void test_fuzz(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t b[20];
        fill_random(b, sizeof(b));
        LLVMFuzzerTestOneInput(b, 1 + rnd() % sizeof(b));
    }
    tap_ok(true, "%u random inputs keep the decoder's promises", count);
}

/* Hand-picked encodings with the answer written out: what Zydis cannot arbitrate. */
static void test_fixed(void)
{
    struct insn in;
    uint8_t nops[15];

    memset(nops, 0x66, sizeof(nops));
    tap_eq(insn_decode(nops, 15, 8, &in), HV_RANGE, "15 prefixes: longer than 15 bytes");
    tap_eq(insn_decode((const uint8_t[]){0xf0, 0x0f, 0x20, 0xc1}, 4, 4, &in), HV_OK,
           "LOCK MOV from CR0");
    tap_eq(in.cr, 8, "... is CR8");
    tap_eq(insn_decode((const uint8_t[]){0xf0, 0x01, 0xc0}, 3, 8, &in), HV_INVALID,
           "LOCK ADD on a register is undefined");
    tap_eq(insn_decode((const uint8_t[]){0xf0, 0x39, 0x00}, 3, 8, &in), HV_INVALID,
           "LOCK CMP is undefined");
    tap_eq(insn_decode((const uint8_t[]){0x66, 0xe8, 1, 0}, 4, 8, &in), HV_OK,
           "CALL with an operand-size prefix in 64-bit mode");
    tap_eq(in.length, 4, "... has a 16-bit displacement, as AMD defines it");
    tap_eq(insn_decode((const uint8_t[]){0x0f, 0x7f, 0x00}, 3, 8, &in), HV_OK, "MOVQ store");
    tap_eq(in.op, INSN_OTHER, "... is no 16-byte store");
    tap_eq(insn_decode((const uint8_t[]){0xf3, 0x0f, 0x7f, 0x00}, 4, 8, &in), HV_OK, "MOVDQU");
    tap_eq(in.op, INSN_SSE_STORE, "... is one");
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 200000;
    struct oracle o;

    test_fixed();
    for (unsigned mode = 2; mode <= 8; mode *= 2) {
        oracle_init(&o, mode);
        test_structured(&o, mode);
        test_random(&o, mode, count);
    }
    test_fuzz(count);
    return tap_done();
}
