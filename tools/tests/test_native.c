/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/emulate/emulate_native.c against the CPU it runs on: every opcode of maps 0 to 3,
 * legacy and VEX, that insn_extent knows, with its memory operand on a device. Once emulated, where
 * the "processor" of the rig runs the instruction of the private address space on this CPU, and
 * once natively on the device's memory itself: registers, flags, x87, MMX, SSE and AVX state,
 * memory and faults must come out equal, and a store must not read the device. Argument: random
 * cases an encoding. */
#include <setjmp.h>
#include <signal.h>
#include "tools/tests/emulate_rig.h"
#include "tools/tests/native_stub.h"

#define VEC_MF 16 /* or #XM: SIGFPE */
#define XSTATE_BYTES 4096
#define XSTATE_TRIED                                                                               \
    0xe7u /* x87, SSE, AVX, AVX-512: the first use of AMX is for the kernel to allow */
static uint8_t xstate_in[XSTATE_BYTES] __attribute__((aligned(64)));
static uint8_t xstate_out[XSTATE_BYTES] __attribute__((aligned(64)));
static uint8_t xstate_default[XSTATE_BYTES] __attribute__((aligned(64)));
static uint32_t xmask;

/* --- the instruction on this CPU --- */

static sigjmp_buf landing;
static volatile int fault_vector; /* -1: none */
static bool want_dirty;
static bool dirty[DATA_PAGES];

static int vector_of(int sig, const siginfo_t *si)
{
    if (sig == SIGILL)
        return VEC_UD;
    if (sig == SIGFPE)
        return si->si_code == FPE_INTDIV || si->si_code == FPE_INTOVF ? VEC_DE : VEC_MF;
    return sig == SIGSEGV ? VEC_GP : VEC_AC;
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
    uint64_t a = (uint64_t)(uintptr_t)si->si_addr;

    (void)ctx;
    /* A first store to a page: what the D bit says. The instruction runs again. */
    if (sig == SIGSEGV && want_dirty && a >= DATA_VA && a < DATA_VA + DATA_BYTES &&
        !dirty[(a - DATA_VA) / 4096]) {
        dirty[(a - DATA_VA) / 4096] = true;
        mprotect((void *)(a & ~0xfffull), 4096, PROT_READ | PROT_WRITE);
        return;
    }
    fault_vector = vector_of(sig, si);
    siglongjmp(landing, 1);
}

static void xstate(const uint8_t *from, bool restore)
{
    if (restore)
        __asm__ volatile("xrstor64 (%0)" : : "r"(from), "a"(xmask), "d"(0) : "memory");
    else
        __asm__ volatile("xsave64 (%0)" : : "r"(from), "a"(xmask), "d"(0) : "memory");
}

/* Runs the stub with the x-state `from`; what it leaves is in xstate_out. */
static int run_here(const uint8_t *from)
{
    fault_vector = -1;
    if (sigsetjmp(landing, 1) == 0) {
        __asm__ volatile(
            "sub $128, %%rsp; xrstor64 (%[in]); push %[out]; call *%[stub]; pop %[out];"
            "mov %[mask], %%eax; xor %%edx, %%edx; xsave64 (%[out]); add $128, %%rsp"
            :
            : [in] "r"(from), [out] "b"(xstate_out), [stub] "r"(CODE_VA), [mask] "m"(xmask),
              "a"(xmask), "d"(0)
            : "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    }
    xstate(xstate_default, true);
    return fault_vector;
}

/* --- the processor of the rig --- */

static uint64_t insn_at;
static size_t insn_len;
static bool space_bad;
static unsigned entries;

/* The entry that the tables of the private address space have for `va`, or NULL. */
static uint64_t *space_entry(uint64_t va)
{
    uint64_t *table = (uint64_t *)native_area, *e = NULL;

    for (unsigned level = 4; level >= 1; level--) {
        e = &table[va >> (3 + 9 * level) & 511];
        uint64_t at = *e & PTE_ADDR;
        if (!(*e & PTE_P) || at < NATIVE_HPA || at >= NATIVE_HPA + NATIVE_AREA_PAGES * 4096ull)
            return NULL;
        table = (uint64_t *)(native_area + (at - NATIVE_HPA));
    }
    return e;
}
static uint8_t *space_bytes(uint64_t va)
{
    uint64_t *e = space_entry(va);

    return e ? native_area + ((*e & PTE_ADDR) - NATIVE_HPA) + (va & 4095) : NULL;
}

static uint8_t insn[15];

/* The instruction of the space: the one under test, or a question that goes with it. */
static size_t code_of_space(uint64_t rip)
{
    static const uint8_t fnstsw[] = {0xdf, 0xe0};
    uint8_t b[15];
    struct insn in;

    for (size_t i = 0; i < sizeof(b); i++) {
        uint8_t *p = space_bytes(rip + i);
        b[i] = p ? *p : 0;
    }
    space_bad |= rip != insn_at || !isolated || native_root.v != NATIVE_HPA || (debug.dr7 & 0xff);
    if (insn_decode(b, sizeof(b), 8, &in) != HV_OK)
        in.length = 0;
    bool question = in.length == 2 && !memcmp(b, fnstsw, 2);
    space_bad |= !question && (in.length != insn_len || memcmp(b, insn, insn_len) != 0);
    (void)build_stub(b, in.length);
    return in.length;
}

/* Data pages that the space has replace the real ones, others are not there. */
static void processor(struct vcpu *v, struct vmexit *x)
{
    static uint8_t keep[DATA_BYTES];

    size_t length = code_of_space(v->regs.rip);
    memcpy(keep, (void *)DATA_VA, DATA_BYTES);
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        uint8_t *p = space_bytes(DATA_VA + i * 4096);
        void *page = (void *)(DATA_VA + i * 4096);
        if (p)
            memcpy(page, p, 4096);
        dirty[i] = false;
        mprotect(page, 4096, p ? PROT_READ : PROT_NONE);
    }
    memcpy(STUB->gpr, v->regs.gpr, sizeof(STUB->gpr));
    STUB->flags = v->regs.rflags;
    want_dirty = true;
    /* The registers stay live between the entries of one emulation. */
    int fault = run_here(entries++ ? xstate_out : xstate_in);
    want_dirty = false;
    mprotect((void *)DATA_VA, DATA_BYTES, PROT_READ | PROT_WRITE);
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        uint64_t *e = space_entry(DATA_VA + i * 4096);
        if (!e || !dirty[i])
            continue;
        *e |= PTE_D;
        memcpy(space_bytes(DATA_VA + i * 4096), (void *)(DATA_VA + i * 4096), 4096);
    }
    memcpy((void *)DATA_VA, keep, DATA_BYTES);
    (void)build_stub(insn, insn_len);
    if (fault >= 0) {
        *x = (struct vmexit){
            .kind = EXIT_EXCEPTION, .vector = (uint8_t)fault, .error_valid = fault == VEC_GP};
        return;
    }
    memcpy(v->regs.gpr, STUB->out, sizeof(STUB->out));
    v->regs.rflags = STUB->out_flags | RFLAGS_FIXED1;
    v->regs.rip = insn_at + length;
}

/* --- cases --- */

/* A state in which much does not fault: ordinary numbers, now and then any bits and any control. */
static void random_xstate(void)
{
    uint16_t fcw = rnd() % 4 ? 0x37f : (uint16_t)(0x340 | (rnd() & 0xc3f));
    uint32_t mxcsr = rnd() % 4 ? 0x1f80 : (uint32_t)(rnd() & 0xffbf);

    memcpy(xstate_in, xstate_default, sizeof(xstate_in));
    memcpy(xstate_in, &fcw, 2);
    memcpy(xstate_in + 24, &mxcsr, 4);
    xstate_in[4] = (uint8_t)rnd(); /* tags in use */
    xstate_in[3] = (uint8_t)(rnd() & 0x38);
    for (unsigned i = 32; i < 416; i++)
        xstate_in[i] = (uint8_t)rnd();
    for (unsigned i = 0; i < 8; i++) { /* normal numbers about 1 */
        if (rnd() & 1)
            memset(xstate_in + 32 + 16 * i, 0, 16);
        xstate_in[32 + 16 * i + 7] |= 0x80;
        memcpy(xstate_in + 32 + 16 * i + 8, &(uint16_t){(uint16_t)(0x3ff0 + rnd() % 32)}, 2);
    }
    for (unsigned i = 0; i < 256; i++)
        xstate_in[576 + i] = (uint8_t)rnd();
    *(uint64_t *)(xstate_in + 512) = xmask;
}

static void random_gprs(void)
{
    for (unsigned r = 0; r < 16; r++)
        STUB->gpr[r] = rnd() & (rnd() & 1 ? ~0ull : 0xff);
    /* aligned or not, seldom over the end of a page */
    uint64_t at = rnd() % 4 ? rnd() % 64 * 64 : rnd() % 4096;
    STUB->gpr[RDI] = DATA_VA + 4096 + at;
    if (rnd() % 8 == 0)
        STUB->gpr[RDI] = DATA_VA + 8192 - rnd() % 40;
    STUB->gpr[RBX] = DATA_VA + 4096 + rnd() % 4096;
    STUB->gpr[RBP] = DATA_VA + 4096 + rnd() % 4096;
    STUB->gpr[RSP] = DATA_VA + 8192 + rnd() % 256 * 8;
    STUB->flags = RFLAGS_FIXED1 | RFLAGS_IF | (rnd() & 0xcd5);
}

static void random_data(const struct insn *in)
{
    for (unsigned i = 0; i < DATA_BYTES / 8; i++)
        ((uint64_t *)DATA_VA)[i] = rnd() & (rnd() & 1 ? ~0ull : 0x7fefffff7f7fffffull);
    if (in->map == 0 && in->opcode == 0x9d) /* POPF: no TF, AC or ID */
        *(uint64_t *)STUB->gpr[RSP] &= 0xcd5;
    /* Areas that are to be loaded: mostly such as have been saved. */
    if (in->map == 1 && in->opcode == 0xae && rnd() % 4)
        memcpy((void *)(STUB->gpr[RDI] & ~63ull), xstate_in,
               STUB->gpr[RDI] < DATA_VA + 12000 ? 1024 : 512);
}

static bool report(const char *why)
{
    char text[64] = "";

    for (size_t i = 0; i < insn_len; i++)
        snprintf(text + 3 * i, 4, "%02x ", insn[i]);
    tap_note("%s: %s", text, why);
    return false;
}

struct count {
    unsigned done, faults, undefined;
};
static uint8_t before[DATA_BYTES], after[DATA_BYTES];
static uint8_t emulated_x[XSTATE_BYTES];

static bool same_outcome(enum emulate_result r, int native, const struct vcpu_regs *old)
{
    const struct vcpu_regs *now = &sv->vcpu.regs;

    if (r == EMULATE_FAULT) {
        if (native != sv->vcpu.pending.vector)
            return report("another fault");
        return !memcmp(now->gpr, old->gpr, sizeof(now->gpr)) || report("a fault changes registers");
    }
    if (native >= 0)
        return report("no fault");
    if (now->rip != insn_at + insn_len)
        return report("RIP");
    if (memcmp(now->gpr, STUB->out, sizeof(STUB->out)))
        return report("registers");
    if ((now->rflags ^ STUB->out_flags) & 0xcd5)
        return report("flags");
    return !memcmp(emulated_x, xstate_out, sizeof(xstate_out)) || report("x87 or vector state");
}

static bool try_one(const struct insn *in, const struct insn_extent *ext, struct count *n)
{
    setup();
    data_is_device = true;
    random_xstate();
    random_gprs();
    random_data(in);
    memcpy(sv->vcpu.regs.gpr, STUB->gpr, sizeof(STUB->gpr));
    sv->vcpu.regs.rflags = STUB->flags;
    sv->vcpu.regs.rip = insn_at;
    struct vcpu_regs old = sv->vcpu.regs;
    struct vmexit x = exit_pf(PFEC_W);
    memcpy(before, (void *)DATA_VA, DATA_BYTES);
    memset(xstate_out, 0, sizeof(xstate_out));
    space_bad = false;
    entries = 0;
    enum emulate_result r = run_exit(&x);
    memcpy(after, (void *)DATA_VA, DATA_BYTES);
    memcpy(emulated_x, xstate_out, sizeof(xstate_out));
    if (space_bad)
        return report("the private address space");
    if (!(ext->access & EXTENT_R) && mmio_reads)
        return report("reads the device");
    if (r != EMULATE_DONE && r != EMULATE_FAULT)
        return report("declined");
    memcpy((void *)DATA_VA, before, DATA_BYTES);
    memcpy(STUB->gpr, old.gpr, sizeof(STUB->gpr));
    STUB->flags = old.rflags;
    memset(xstate_out, 0, sizeof(xstate_out));
    int native = run_here(xstate_in);
    n->done += native < 0;
    n->faults += native >= 0 && native != VEC_UD;
    n->undefined += native == VEC_UD;
    if (!same_outcome(r, native, &old))
        return false;
    return native >= 0 || !memcmp(after, (void *)DATA_VA, DATA_BYTES) || report("memory");
}

/* The encoding in insn[], if it is one that emulate_native.c performs. */
static bool try_encoding(size_t n, unsigned cases, struct count *count)
{
    static const uint8_t imm[] = {0x55, 0x91, 0x03, 0xe4};
    struct insn_extent ext;
    struct insn in;
    bool ok = true;

    for (size_t i = n; i < sizeof(insn); i++)
        insn[i] = imm[i & 3];
    if (n < 5 && insn[0] == 0xc8)
        insn[3] = 0; /* ENTER, not nested */
    if (insn_decode(insn, sizeof(insn), 8, &in) != HV_OK ||
        (in.op != INSN_OTHER && in.op != INSN_SSE_STORE && in.opsize != 16) ||
        !insn_extent(&in, 8, &ext) || !ext.access)
        return true;
    if (ext.at == EXTENT_MODRM && (in.base != RDI || in.index != 0xff))
        return true; /* the opcode is a prefix */
    if ((ext.access & EXTENT_XSTATE) && xsave_bytes > XSTATE_BYTES)
        return true; /* no operand for the emulator: AMX alone has 8 KiB */
    insn_len = in.length;
    insn_at = build_stub(insn, insn_len);
    for (unsigned i = 0; i < cases && ok; i++)
        ok = try_one(&in, &ext, count);
    return ok;
}

/* [RDI], or with mod 3 registers for what has its operand elsewhere. */
static bool try_regs(size_t n, unsigned cases, struct count *count)
{
    bool ok = true;

    for (unsigned reg = 0; reg < 8; reg++) {
        insn[n] = (uint8_t)(reg << 3 | RDI);
        ok &= try_encoding(n + 1, cases, count);
    }
    insn[n] = 0xc1;
    return ok & try_encoding(n + 1, cases, count);
}

static void test_legacy(unsigned map, unsigned cases)
{
    static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
    struct count c = {0};
    bool ok = true;

    for (unsigned opcode = 0; opcode < 256; opcode++)
        for (unsigned k = 0; k < 8; k++) {
            size_t n = 0;
            if (map == 1 && opcode == 1)
                continue; /* UMIP: the kernel of this host answers SGDT in its own way */
            if (k & 3)
                insn[n++] = prefix[k & 3];
            if (k & 4)
                insn[n++] = 0x48;
            if (map)
                insn[n++] = 0x0f;
            if (map > 1)
                insn[n++] = map == 2 ? 0x38 : 0x3a;
            insn[n++] = (uint8_t)opcode;
            ok &= try_regs(n, cases, &c);
        }
    tap_ok(ok && c.done > 10 * cases, "map %u as this CPU (%u done, %u faults, %u undefined)", map,
           c.done, c.faults, c.undefined);
}

static void test_vex(unsigned map, unsigned cases)
{
    struct count c = {0};
    bool ok = true;

    for (unsigned opcode = 0; opcode < 256; opcode++)
        for (unsigned k = 0; k < 32; k++) { /* W, vvvv none or XMM7, L, pp */
            insn[0] = 0xc4;
            insn[1] = (uint8_t)(0xe0 | map);
            insn[2] = (uint8_t)((k & 16) << 3 | (k & 8 ? 0x40 : 0x78) | (k & 7));
            insn[3] = (uint8_t)opcode;
            ok &= try_regs(4, cases, &c);
        }
    if (!(xmask & 4) || !c.done)
        tap_ok(ok, "VEX map %u: this CPU has none # SKIP", map);
    else
        tap_ok(ok, "VEX map %u as this CPU (%u done, %u faults, %u undefined)", map, c.done,
               c.faults, c.undefined);
}

/* --- a store to RAM --- */

static enum emulate_result store_movq(uint64_t cr0, uint64_t cr4, unsigned page)
{
    static const uint8_t movq[] = {0x66, 0x0f, 0xd6, 0x07}; /* [rdi], xmm0 */
    struct vmexit x = exit_pf(PFEC_W | PFEC_P);

    memcpy(insn, movq, sizeof(movq));
    insn_len = sizeof(movq);
    insn_at = build_stub(insn, insn_len);
    setup();
    data_is_device = false;
    memcpy(xstate_in, xstate_default, sizeof(xstate_in));
    memset(xstate_in + 160, 0x5a, 16); /* XMM0 */
    xstate_in[512] |= 2;
    memset(STUB->gpr, 0, sizeof(STUB->gpr));
    sv->vcpu.regs.gpr[RDI] = DATA_VA + 8;
    sv->vcpu.regs.rip = insn_at;
    sv->vcpu.ctl.cr0 = CR0_PE | CR0_PG | cr0;
    sv->vcpu.ctl.cr4 = CR4_PAE | cr4;
    entries = 0;
    return emulate_insn(sv, &x, gpa(DATA_VA + page * PAGE_SIZE - GPA_OFFSET));
}

static void test_ram(void)
{
    const uint64_t *at = (const uint64_t *)(DATA_VA + 8);

    tap_ok(store_movq(CR0_WP, CR4_SMAP, 0) == EMULATE_DECLINED && !*at, "the guest's: WP set");
    tap_ok(store_movq(0, 0, 0) == EMULATE_DECLINED && !*at, "the guest's: no SMAP");
    tap_ok(store_movq(0, CR4_SMAP, 0) == EMULATE_DONE && *at == 0x5a5a5a5a5a5a5a5aull && !at[1],
           "WP clear under SMAP: performed");
    tap_ok(store_movq(0, CR4_SMAP, 1) == EMULATE_DECLINED && !*at, "another page has faulted");
}

int main(int argc, char **argv)
{
    static uint8_t alt[65536] __attribute__((aligned(16)));
    unsigned cases = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 2;
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static const int sigs[] = {SIGILL, SIGFPE, SIGSEGV, SIGBUS};
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
    uint32_t a, b, c, d;

    sigaltstack(&ss, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
        sigaction(sigs[i], &sa, NULL);
    rig_open();
    on_run = processor;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    xmask = a & XSTATE_TRIED;
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "0"(0xd), "2"(0));
    xsave_bytes = b;
    xstate(xstate_default, false);
    for (unsigned map = 0; map < 4; map++)
        test_legacy(map, cases);
    for (unsigned map = 1; map < 4; map++)
        test_vex(map, cases);
    test_ram();
    return rig_close();
}
