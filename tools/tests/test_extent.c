/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/insn/decode_extent.c against Zydis: for every opcode of maps 0 to 3, legacy and
 * VEX, under each mandatory prefix, every ModRM.reg, W and L, in 16-, 32- and 64-bit mode, the size
 * of the memory operand and whether it is read or written; and which instructions with a memory
 * operand are left out. */
#include <Zydis/Zydis.h>
#include <string.h>
#include "tools/tests/tap.h"
#include "hv/insn/decode.h"

/* One memory operand, and no extent: each with its reason. */
static const ZydisMnemonic left_out[] = {
    /* descriptor tables are read as well, or the stack; far branches */
    ZYDIS_MNEMONIC_MOV,
    ZYDIS_MNEMONIC_LES,
    ZYDIS_MNEMONIC_LDS,
    ZYDIS_MNEMONIC_LSS,
    ZYDIS_MNEMONIC_LFS,
    ZYDIS_MNEMONIC_LGS,
    ZYDIS_MNEMONIC_LLDT,
    ZYDIS_MNEMONIC_LTR,
    ZYDIS_MNEMONIC_CALL,
    ZYDIS_MNEMONIC_JMP,
    ZYDIS_MNEMONIC_RET,
    ZYDIS_MNEMONIC_PUSH,
    ZYDIS_MNEMONIC_POP,
    ZYDIS_MNEMONIC_INT,
    ZYDIS_MNEMONIC_INT3,
    ZYDIS_MNEMONIC_INTO,
    ZYDIS_MNEMONIC_IRET,
    ZYDIS_MNEMONIC_IRETD,
    ZYDIS_MNEMONIC_IRETQ,
    ZYDIS_MNEMONIC_SYSCALL,
    ZYDIS_MNEMONIC_ENTER,
    ZYDIS_MNEMONIC_INT1,
    /* nothing is accessed */
    ZYDIS_MNEMONIC_NOP,
    ZYDIS_MNEMONIC_PREFETCH,
    ZYDIS_MNEMONIC_PREFETCHW,
    ZYDIS_MNEMONIC_PREFETCHNTA,
    ZYDIS_MNEMONIC_PREFETCHT0,
    ZYDIS_MNEMONIC_PREFETCHT1,
    ZYDIS_MNEMONIC_PREFETCHT2,
    ZYDIS_MNEMONIC_PREFETCHWT1,
    ZYDIS_MNEMONIC_CLDEMOTE,
    ZYDIS_MNEMONIC_BNDMK,
    ZYDIS_MNEMONIC_BNDCL,
    ZYDIS_MNEMONIC_BNDCU,
    ZYDIS_MNEMONIC_BNDCN,
    ZYDIS_MNEMONIC_INVLPG,
    ZYDIS_MNEMONIC_INVLPGA,
    ZYDIS_MNEMONIC_MONITOR,
    ZYDIS_MNEMONIC_MONITORX,
    /* hidden from the guest, and only for the supervisor where they are not */
    ZYDIS_MNEMONIC_BNDMOV,
    ZYDIS_MNEMONIC_BNDLDX,
    ZYDIS_MNEMONIC_BNDSTX,
    ZYDIS_MNEMONIC_VMPTRLD,
    ZYDIS_MNEMONIC_VMPTRST,
    ZYDIS_MNEMONIC_VMCLEAR,
    ZYDIS_MNEMONIC_VMXON,
    ZYDIS_MNEMONIC_VMREAD,
    ZYDIS_MNEMONIC_VMWRITE,
    ZYDIS_MNEMONIC_INVEPT,
    ZYDIS_MNEMONIC_INVVPID,
    ZYDIS_MNEMONIC_INVPCID,
    ZYDIS_MNEMONIC_VMRUN,
    ZYDIS_MNEMONIC_VMLOAD,
    ZYDIS_MNEMONIC_VMSAVE,
    ZYDIS_MNEMONIC_SKINIT,
    ZYDIS_MNEMONIC_RSTORSSP,
    ZYDIS_MNEMONIC_CLRSSBSY,
    ZYDIS_MNEMONIC_WRSSD,
    ZYDIS_MNEMONIC_WRSSQ,
    ZYDIS_MNEMONIC_WRUSSD,
    ZYDIS_MNEMONIC_WRUSSQ,
    ZYDIS_MNEMONIC_SETSSBSY,
    ZYDIS_MNEMONIC_XRSTORS,
    ZYDIS_MNEMONIC_XRSTORS64,
    ZYDIS_MNEMONIC_XSAVES,
    ZYDIS_MNEMONIC_XSAVES64,
    ZYDIS_MNEMONIC_PTWRITE,
    ZYDIS_MNEMONIC_MOVDIR64B,
    ZYDIS_MNEMONIC_ENQCMD,
    ZYDIS_MNEMONIC_ENQCMDS,
    ZYDIS_MNEMONIC_TPAUSE,
    ZYDIS_MNEMONIC_UMONITOR,
    ZYDIS_MNEMONIC_CLZERO,
    ZYDIS_MNEMONIC_AESENC128KL,
    ZYDIS_MNEMONIC_AESENC256KL,
    ZYDIS_MNEMONIC_AESDEC128KL,
    ZYDIS_MNEMONIC_AESDEC256KL,
    ZYDIS_MNEMONIC_AESENCWIDE128KL,
    ZYDIS_MNEMONIC_AESENCWIDE256KL,
    ZYDIS_MNEMONIC_AESDECWIDE128KL,
    ZYDIS_MNEMONIC_AESDECWIDE256KL,
    ZYDIS_MNEMONIC_LDTILECFG,
    ZYDIS_MNEMONIC_STTILECFG,
    ZYDIS_MNEMONIC_TILELOADD,
    ZYDIS_MNEMONIC_TILELOADDT1,
    ZYDIS_MNEMONIC_TILESTORED,
    ZYDIS_MNEMONIC_VPREFETCHNTA,
    ZYDIS_MNEMONIC_VPREFETCH0,
    ZYDIS_MNEMONIC_VPREFETCH1,
    ZYDIS_MNEMONIC_VPREFETCH2,
    ZYDIS_MNEMONIC_VPREFETCHENTA,
    ZYDIS_MNEMONIC_VPREFETCHE0,
    ZYDIS_MNEMONIC_VPREFETCHE1,
    ZYDIS_MNEMONIC_VPREFETCHE2,
    ZYDIS_MNEMONIC_CLEVICT0,
    ZYDIS_MNEMONIC_CLEVICT1,
    ZYDIS_MNEMONIC_UD0,
    ZYDIS_MNEMONIC_UD1,
    ZYDIS_MNEMONIC_XSTORE,
    ZYDIS_MNEMONIC_XCRYPT_CBC,
    ZYDIS_MNEMONIC_XCRYPT_CFB,
    ZYDIS_MNEMONIC_XCRYPT_CTR,
    ZYDIS_MNEMONIC_XCRYPT_ECB,
    ZYDIS_MNEMONIC_XCRYPT_OFB,
    ZYDIS_MNEMONIC_MONTMUL,
    ZYDIS_MNEMONIC_XSHA1,
    ZYDIS_MNEMONIC_XSHA256,
    /* masks and elements: #UD with a line that says so */
    ZYDIS_MNEMONIC_KMOVB,
    ZYDIS_MNEMONIC_KMOVW,
    ZYDIS_MNEMONIC_KMOVD,
    ZYDIS_MNEMONIC_KMOVQ,
    ZYDIS_MNEMONIC_VGATHERDPD,
    ZYDIS_MNEMONIC_VGATHERDPS,
    ZYDIS_MNEMONIC_VGATHERQPD,
    ZYDIS_MNEMONIC_VGATHERQPS,
    ZYDIS_MNEMONIC_VPGATHERDD,
    ZYDIS_MNEMONIC_VPGATHERDQ,
    ZYDIS_MNEMONIC_VPGATHERQD,
    ZYDIS_MNEMONIC_VPGATHERQQ,
};

/* Sets of instructions, all of whose memory operands have no extent. By name, as versions of Zydis
 * before 4.1 know neither the sets nor the instructions. */
static const char *const left_out_sets[] = {
    /* nothing is accessed */
    "ICACHE_PREFETCH",
    /* hidden from the guest: CPUID 7, sub-leaf 1 */
    "AVX_NE_CONVERT",
    "AVX_VNNI_INT8",
    "AVX_VNNI_INT16",
    "RAO_INT",
    "SM3",
    "SM4",
};

static ZydisDecoder dec;
static ZydisDecodedInstruction zi;
static ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
static unsigned reports, known;

/* What emulate_ops.c and the exit handlers do by themselves. */
static bool handled(const struct insn *in)
{
    return in->op != INSN_OTHER && in->op != INSN_SSE_STORE &&
           !(in->op == INSN_CMPXCHG8B && in->opsize == 16);
}

static bool may_be_left_out(void)
{
    const char *set = ZydisISASetGetString(zi.meta.isa_set);

    for (size_t i = 0; set && i < ARRAY_SIZE(left_out_sets); i++)
        if (!strcmp(left_out_sets[i], set))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(left_out); i++)
        if (left_out[i] == zi.mnemonic)
            return true;
    return zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

/* Size and access in Zydis' words; false where it has no fixed answer. */
static const char *compare(const ZydisDecodedOperand *m, const struct insn_extent *x)
{
    bool r = m->actions & (ZYDIS_OPERAND_ACTION_MASK_READ);
    bool w = m->actions & (ZYDIS_OPERAND_ACTION_MASK_WRITE);

    if (!x->access)
        return zi.meta.category == ZYDIS_CATEGORY_CLFLUSHOPT ||
                       zi.meta.category == ZYDIS_CATEGORY_CLWB ||
                       zi.mnemonic == ZYDIS_MNEMONIC_CLFLUSH
                   ? NULL
                   : "no access";
    if (x->access & EXTENT_XSTATE) /* not a fixed size; parts of the area stay, so it is read too */
        return zi.meta.category == ZYDIS_CATEGORY_XSAVE ||
                       zi.meta.category == ZYDIS_CATEGORY_XSAVEOPT
                   ? NULL
                   : "XSAVE";
    if (m->size != x->size * 8u)
        return "size";
    if (r != !!(x->access & EXTENT_R))
        return "read";
    return w == !!(x->access & EXTENT_W) ? NULL : "written";
}

static void report(const uint8_t *b, unsigned mode, const char *why, const struct insn_extent *x)
{
    char text[64] = "";

    if (reports++ > 60)
        return;
    for (unsigned i = 0; i < zi.length; i++)
        snprintf(text + 3 * i, 4, "%02x ", b[i]);
    tap_note("mode %u %s%s: %s (%u bytes, access %u)", mode, text,
             ZydisMnemonicGetString(zi.mnemonic), why, x->size, x->access);
}

/* MASKMOV and masked stores: Zydis calls the stores conditional, which the masks cover. Some of
 * Zydis' sizes are wrong; the manuals' are written out here. */
static unsigned manual_size(unsigned z, const struct insn *in, unsigned mode)
{
    switch (zi.mnemonic) {
    case ZYDIS_MNEMONIC_SGDT: /* and a limit of 2 bytes */
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
        return mode == 8 ? 80 : 48;
    case ZYDIS_MNEMONIC_BOUND:
        return 16u * in->opsize;
    default:
        return z;
    }
}

static bool check(const uint8_t *b, size_t n, unsigned mode)
{
    struct insn_extent x;
    struct insn in;
    const ZydisDecodedOperand *mem = NULL;
    unsigned count = 0;

    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, b, n, &zi, op)) ||
        insn_decode(b, n, mode, &in) != HV_OK || handled(&in))
        return true;
    for (unsigned i = 0; i < zi.operand_count; i++)
        if (op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN) {
            mem = &op[i];
            count++;
        }
    if (!insn_extent(&in, mode, &x)) {
        if (count == 0 || may_be_left_out())
            return true;
        report(b, mode, count == 1 ? "left out" : "left out, several operands", &x);
        return false;
    }
    if (count == 0 && !x.access)
        return true;
    const char *why = "memory operands";
    if (count == 1) {
        ZydisDecodedOperand m = *mem;
        m.size = (ZyanU16)manual_size(m.size, &in, mode);
        why = compare(&m, &x);
    }
    if (why)
        report(b, mode, why, &x);
    known += !why;
    return !why;
}

/* opcode, ModRM with [rAX] or a register, and bytes for displacements and immediates. */
static bool check_forms(uint8_t *b, size_t at, unsigned mode)
{
    bool ok = true;

    memset(b + at, 0, 15 - at);
    for (unsigned reg = 0; reg < 8; reg++)
        for (unsigned mod = 0; mod < 4; mod += 3) {
            b[at] = (uint8_t)(mod << 6 | reg << 3);
            ok &= check(b, 15, mode);
        }
    return ok;
}

static void test_legacy(unsigned mode, unsigned map)
{
    static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
    bool ok = true;

    known = 0;
    for (unsigned opcode = 0; opcode < 256; opcode++)
        for (unsigned p = 0; p < 4; p++)
            for (unsigned w = 0; w < (mode == 8 ? 2 : 1); w++) {
                uint8_t b[16];
                size_t n = 0;
                if (p)
                    b[n++] = prefix[p];
                if (w)
                    b[n++] = 0x48;
                if (map)
                    b[n++] = 0x0f;
                if (map > 1)
                    b[n++] = map == 2 ? 0x38 : 0x3a;
                b[n++] = (uint8_t)opcode;
                ok &= check_forms(b, n, mode);
            }
    tap_ok(ok && known > 20, "mode %u, map %u: as Zydis (%u operands)", mode, map, known);
}

static void test_vex(unsigned mode, unsigned map)
{
    bool ok = true;

    known = 0;
    for (unsigned opcode = 0; opcode < 256; opcode++)
        for (unsigned k = 0; k < 32; k++) { /* W, vvvv none or not, L, pp */
            uint8_t b[16] = {0xc4, (uint8_t)(0xe0 | map),
                             (uint8_t)((k & 16) << 3 | (k & 8 ? 0x40 : 0x78) | (k & 7)),
                             (uint8_t)opcode};
            ok &= check_forms(b, 4, mode);
            uint8_t c[16] = {0xc5, (uint8_t)(0x80 | (k & 8 ? 0x40 : 0x78) | (k & 7)),
                             (uint8_t)opcode};
            if (map == 1 && !(k & 16))
                ok &= check_forms(c, 3, mode);
        }
    tap_ok(ok && known > 20, "mode %u, VEX map %u: as Zydis (%u operands)", mode, map, known);
}

int main(void)
{
    for (unsigned mode = 2; mode <= 8; mode *= 2) {
        ZydisDecoderInit(&dec,
                         mode == 8   ? ZYDIS_MACHINE_MODE_LONG_64
                         : mode == 4 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                     : ZYDIS_MACHINE_MODE_LEGACY_16,
                         mode == 8   ? ZYDIS_STACK_WIDTH_64
                         : mode == 4 ? ZYDIS_STACK_WIDTH_32
                                     : ZYDIS_STACK_WIDTH_16);
        for (unsigned map = 0; map < 4; map++) {
            test_legacy(mode, map);
            if (map)
                test_vex(mode, map);
        }
    }
    return tap_done();
}
