/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of what hv/vcpu/emulate*.c does beside single stores, with the answers written out:
 * data breakpoints, operands over two pages of different kind, branches through a device, selectors
 * in one, strings backwards, and how an instruction that runs alone can end. What such instructions
 * compute is compared with a CPU in test_native.c. */
#include "tools/tests/emulate_rig.h"

#define REG(r) sv->vcpu.regs.gpr[r]
struct word32 {
    uint32_t v;
} __attribute__((packed));
struct word64 {
    uint64_t v;
} __attribute__((packed));
#define DATA32(off) (((volatile struct word32 *)(DATA_VA + (off)))->v)
#define DATA64(off) (((volatile struct word64 *)(DATA_VA + (off)))->v)

static enum emulate_result run_at(uint64_t at, const uint8_t *b, size_t n)
{
    struct vmexit x = exit_pf(PFEC_W);

    memset((void *)CODE_VA, 0xcc, CODE_BYTES);
    memcpy((void *)at, b, n);
    sv->vcpu.regs.rip = at - segs.seg[SEG_CS].base;
    sv->vcpu.pending.type = EVENT_NONE;
    return run_exit(&x);
}
#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})
#define RUN(...) run_at(CODE_VA, BYTES(__VA_ARGS__))

static bool db_pending(uint64_t bits)
{
    const struct vcpu_event *p = &sv->vcpu.pending;
    bool ok = p->type == EVENT_EXCEPTION && p->vector == VEC_DB && (debug.dr6 & 0xf) == bits;

    debug.dr6 = 0xffff0ff0;
    return ok;
}
static bool fault(enum emulate_result r, uint8_t vector)
{
    return r == EMULATE_FAULT && sv->vcpu.pending.vector == vector;
}

/* --- breakpoints --- */

/* Breakpoint i; rw and len as in DR7. */
static void watch(unsigned i, uint64_t at, unsigned rw, unsigned len)
{
    debug.dr[i] = at;
    debug.dr7 |= 2ull << (2 * i) | (uint64_t)(rw | len << 2) << (16 + 4 * i);
}

static void test_watch(void)
{
    setup();
    debug.dr6 = 0xffff0ff0;
    watch(1, DATA_VA + 0x40, 1, 3); /* 4 bytes, written */
    watch(2, DATA_VA + 0x80, 3, 2); /* 8 bytes, accessed */
    REG(RDI) = DATA_VA + 0x3c;
    tap_ok(RUN(0x89, 0x07) == EMULATE_DONE && sv->vcpu.pending.type == EVENT_NONE,
           "a store right below a breakpoint");
    REG(RDI) = DATA_VA + 0x3d;
    tap_ok(RUN(0x89, 0x07) == EMULATE_DONE && db_pending(2), "one that reaches into it");
    tap_eq(sv->vcpu.regs.rip, CODE_VA + 2, "... is done when #DB comes");
    REG(RDI) = DATA_VA + 0x43;
    tap_ok(RUN(0x88, 0x07) == EMULATE_DONE && db_pending(2), "its last byte");
    tap_ok(RUN(0x8a, 0x07) == EMULATE_DONE && sv->vcpu.pending.type == EVENT_NONE,
           "a load does not match a write breakpoint");
    REG(RDI) = DATA_VA + 0x87;
    tap_ok(RUN(0x8a, 0x07) == EMULATE_DONE && db_pending(4), "but one of any access");
    REG(RDI) = DATA_VA + 0x88;
    tap_ok(RUN(0x8a, 0x07) == EMULATE_DONE && sv->vcpu.pending.type == EVENT_NONE,
           "... ends there");
    data_page[0] = PAGE_RO;
    REG(RDI) = DATA_VA + 0x40;
    tap_ok(fault(RUN(0x89, 0x07), VEC_PF) && debug.dr6 == 0xffff0ff0,
           "a store that faults has met no breakpoint");
    data_page[0] = PAGE_RW;
    sv->vcpu.regs.rflags |= RFLAGS_TF;
    tap_ok(RUN(0x89, 0x07) == EMULATE_DONE && db_pending(2), "with a single step: one #DB");
    sv->vcpu.regs.rflags &= ~(uint64_t)RFLAGS_TF;
    REG(RDI) = DATA_VA + 0x38;
    REG(RCX) = 8;
    tap_ok(RUN(0xf3, 0xab) == EMULATE_DONE && db_pending(2), "REP STOSD stops at it");
    tap_ok(REG(RCX) == 5 && REG(RDI) == DATA_VA + 0x44 && sv->vcpu.regs.rip == CODE_VA,
           "... after that element");
    REG(RDI) = DATA_VA + 4096 - 8;
    watch(3, DATA_VA + 4096, 1, 3);
    data_page[1] = PAGE_NONE;
    REG(RCX) = 8;
    tap_ok(RUN(0xf3, 0xab) == EMULATE_DONE && sv->vcpu.pending.type == EVENT_NONE && REG(RCX) == 6,
           "not at one in an element that faults");
}

static void test_watch_ports(void)
{
    struct vmexit x = {.kind = EXIT_IO, .io_size = 1, .io_in = true, .io_string = true};

    setup();
    debug.dr6 = 0xffff0ff0;
    watch(0, 0x61, 2, 0);
    REG(RDI) = DATA_VA;
    REG(RDX) = x.io_port = 0x61;
    REG(RCX) = 3;
    sv->vcpu.regs.rip = CODE_VA;
    memcpy((void *)CODE_VA, (const uint8_t[]){0xf3, 0x6c}, 2); /* rep insb */
    tap_ok(emulate_string_io(sv, &x) == EMULATE_DONE && sv->vcpu.pending.type == EVENT_NONE,
           "a port is not watched without CR4.DE");
    sv->vcpu.ctl.cr4 |= CR4_DE;
    REG(RCX) = 3;
    sv->vcpu.regs.rip = CODE_VA;
    tap_ok(emulate_string_io(sv, &x) == EMULATE_DONE && db_pending(1) && REG(RCX) == 2,
           "REP INSB stops at a watched port");
    sv->vcpu.pending.type = EVENT_NONE;
    emulate_watch_port(sv, 0x60, 2);
    tap_ok(db_pending(1), "IN of two bytes that reaches it");
    sv->vcpu.pending.type = EVENT_NONE;
    emulate_watch_port(sv, 0x62, 4);
    tap_ok(!db_pending(1), "one behind it");
}

/* --- two pages --- */

static void test_two_pages(void)
{
    setup();
    device_page[1] = true;
    REG(RDI) = DATA_VA + 4096 - 3;
    REG(RAX) = 0x1122334455667788;
    tap_eq(RUN(0x48, 0x89, 0x07), EMULATE_DONE, "a store over RAM and a device");
    tap_ok(DATA64(4096 - 3) == 0x1122334455667788 && mmio_count == 2 && bulk_count == 1,
           "... 3 bytes to RAM, 4 and 1 to the device");
    mmio_count = 0;
    tap_eq(RUN(0x48, 0x8b, 0x1f), EMULATE_DONE, "a load");
    tap_ok(REG(RBX) == 0x1122334455667788 && mmio_reads == 2, "... of both");
    data_page[1] = PAGE_RO;
    mmio_count = 0;
    REG(RAX) = 0;
    tap_ok(fault(RUN(0x48, 0x89, 0x07), VEC_PF) && sv->vcpu.pending.cr2 == DATA_VA + 4096,
           "the second page is read-only: #PF there");
    tap_ok(DATA64(4096 - 3) == 0x1122334455667788, "... and nothing is written");
    data_page[1] = PAGE_RW;
    tap_eq(RUN(0x48, 0x87, 0x07), EMULATE_DONE, "XCHG over both");
    tap_ok(REG(RAX) == 0x1122334455667788 && DATA64(4096 - 3) == 0, "... exchanges");
    REG(RDI) = DATA_VA + 4096 + 5;
    DATA64(4096 + 5) = 7;
    REG(RAX) = 7;
    REG(RCX) = 9;
    tap_eq(RUN(0xf0, 0x48, 0x0f, 0xb1, 0x0f), EMULATE_DONE, "CMPXCHG over 8 bytes of a device");
    tap_ok(DATA64(4096 + 5) == 9 && (sv->vcpu.regs.rflags & RFLAGS_ZF), "... stores");
    tap_eq(RUN(0x48, 0x0f, 0xc1, 0x07), EMULATE_DONE, "XADD there");
    tap_ok(DATA64(4096 + 5) == 16 && REG(RAX) == 9, "... adds");
    setup();
    data_is_device = true;
    memory_busy = true;
    REG(RDI) = DATA_VA;
    struct vcpu_regs old = sv->vcpu.regs;
    native_code = true;
    old.rip = CODE_VA;
    tap_ok(RUN(0x89, 0x07) == EMULATE_RETRY && !memcmp(&old, &sv->vcpu.regs, sizeof(old)),
           "too much concurrent change: again, nothing done");
}

static void test_strings(void)
{
    setup();
    data_is_device = true;
    for (unsigned i = 0; i < 64; i++)
        ((volatile uint8_t *)DATA_VA)[4096 - 32 + i] = (uint8_t)i;
    sv->vcpu.regs.rflags |= RFLAGS_DF;
    REG(RSI) = DATA_VA + 4096 + 3; /* the first element lies over two pages */
    REG(RDI) = DATA_VA + 4096 + 5;
    REG(RCX) = 4;
    REG(RSI) = DATA_VA + 4096 - 2;
    tap_eq(RUN(0xf3, 0xa5), EMULATE_DONE, "REP MOVSD backwards over itself, in a device");
    tap_ok(REG(RSI) == DATA_VA + 4096 - 18 && REG(RDI) == DATA_VA + 4096 - 11 && REG(RCX) == 0,
           "... counts down");
    bool same = true;
    for (unsigned i = 0; i < 16; i++)
        same &= ((volatile uint8_t *)DATA_VA)[4096 - 7 + i] == 18 + i;
    tap_ok(same, "... moves what was there");
}

/* --- branches and selectors --- */

static void test_branches(void)
{
    setup();
    data_is_device = true;
    REG(RDI) = DATA_VA + 8;
    DATA64(8) = 0x123456789;
    tap_ok(RUN(0xff, 0x27) == EMULATE_DONE && sv->vcpu.regs.rip == 0x123456789, "JMP [device]");
    DATA64(8) = 1ull << 47;
    tap_ok(fault(RUN(0xff, 0x27), VEC_GP) && sv->vcpu.regs.rip == CODE_VA, "... not canonical");
    REG(RSP) = DATA_VA + 16;
    DATA64(16) = 0x4000;
    tap_ok(RUN(0xc2, 0x20, 0x00) == EMULATE_DONE && sv->vcpu.regs.rip == 0x4000 &&
               REG(RSP) == DATA_VA + 16 + 8 + 0x20,
           "RET 20h with the stack in a device");
    DATA64(16) = 1ull << 63;
    REG(RSP) = DATA_VA + 16;
    tap_ok(fault(RUN(0xc3), VEC_GP) && REG(RSP) == DATA_VA + 16, "RET to nowhere keeps rSP");
    segs.seg[SEG_CS].attr = 0xc9b;
    sv->vcpu.ctl.efer = 0;
    segs.seg[SEG_CS].limit = 0x3fffffff;
    DATA32(8) = 0x40000000;
    tap_ok(fault(RUN(0xff, 0x27), VEC_GP), "JMP beyond the limit of CS");
    DATA32(8) = 0x3fffffff;
    tap_ok(RUN(0xff, 0x27) == EMULATE_DONE && sv->vcpu.regs.rip == 0x3fffffff, "... to its end");
}

static void descriptor(unsigned sel, uint64_t value)
{
    DATA64(8192 + sel) = value;
}
static bool zf(void)
{
    return sv->vcpu.regs.rflags & RFLAGS_ZF;
}
/* LAR or LSL EBX, [RDI]; VERR or VERW [RDI]. */
static bool ask(unsigned op, uint16_t sel)
{
    *(volatile uint16_t *)DATA_VA = sel;
    REG(RDI) = DATA_VA;
    REG(RBX) = 0x5555555566666666;
    enum emulate_result r =
        op >= 4 ? RUN(0x0f, 0x00, (uint8_t)(op << 3 | 7)) : RUN(0x0f, (uint8_t)op, 0x1f);
    return r == EMULATE_DONE && zf();
}

static void test_selectors(void)
{
    enum { LAR = 2, LSL, VERR, VERW };
    setup();
    device_page[0] = true;
    segs.gdtr = (struct dtable){DATA_VA + 8192, 0x4f};
    descriptor(0x08, 0x00cf9a000000ffff); /* code, readable, DPL 0 */
    descriptor(0x10, 0x00cff2000000ffff); /* data, writable, DPL 3 */
    descriptor(0x18, 0x0040f10012345678); /* data, read-only, DPL 3, byte limit 0x05678 */
    descriptor(0x20, 0x00008b0000000067); /* busy TSS, DPL 0 */
    descriptor(0x28, 0x00008e0000080000); /* gate */
    descriptor(0x30, 0x00cffe000000ffff); /* conforming code, readable, DPL 3 */
    descriptor(0x38, 0x00cf98000000ffff); /* code, not readable */
    tap_ok(ask(LAR, 0x08) && REG(RBX) == 0xcf9a00, "LAR of code");
    tap_ok(ask(LSL, 0x08) && REG(RBX) == 0xffffffff, "LSL in pages");
    tap_ok(ask(LSL, 0x18) && REG(RBX) == 0x5678, "LSL in bytes");
    tap_ok(!ask(LAR, 0) && !ask(LAR, 3) && !ask(LAR, 0x50) && REG(RBX) == 0x5555555566666666,
           "no null selector, none beyond the limit");
    tap_ok(!ask(LAR, 0x0c), "no LDT");
    tap_ok(ask(LAR, 0x20) && ask(LSL, 0x20) && REG(RBX) == 0x67, "a TSS");
    tap_ok(!ask(LAR, 0x28) && !ask(LSL, 0x28), "an interrupt gate");
    tap_ok(ask(VERR, 0x08) && !ask(VERW, 0x08) && !ask(VERR, 0x38), "VERR and VERW of code");
    tap_ok(ask(VERW, 0x10) && !ask(VERW, 0x18) && ask(VERR, 0x18) && !ask(VERR, 0x20),
           "of data and a TSS");
    tap_ok(!ask(LAR, 0x0b), "the RPL counts");
    segs.cpl = 3;
    tap_ok(!ask(VERR, 0x08) && ask(VERR, 0x10) && ask(VERR, 0x30), "and the privilege level");
    data_page[2] = PAGE_NONE;
    tap_ok(!ask(VERR, 0x10) && sv->vcpu.pending.vector == VEC_PF &&
               !(sv->vcpu.pending.error & PFEC_U),
           "the table is read as the supervisor");
    sv->vcpu.ctl.cr0 = 0;
    tap_ok(!ask(VERR, 0x10) && sv->vcpu.pending.vector == VEC_UD, "not in real mode");
}

/* --- how it can end --- */

static unsigned runs, interrupts;
static struct vmexit ending;
static uint64_t end_rip;
static unsigned levels;
static uint64_t table_rights, leaf_rights, root_rights;

static uint8_t *walk(uint64_t va)
{
    uint64_t *table = (uint64_t *)native_area, e = 0;

    for (unsigned level = levels; level >= 1; level--) {
        e = table[va >> (3 + 9 * level) & (level == 3 && levels == 3 ? 3 : 511)];
        if (!(e & PTE_P))
            return NULL;
        if (level == levels)
            root_rights = e & 0xfff;
        else if (level == 1)
            leaf_rights = e & 0xfff;
        else
            table_rights = e & 0xfff;
        table = (uint64_t *)(native_area + ((e & PTE_ADDR) - NATIVE_HPA));
    }
    return (uint8_t *)table + (va & 4095);
}

static void on_entry(struct vcpu *v, struct vmexit *x)
{
    runs++;
    tap_ok(isolated, "every exception exits");
    if (interrupts) {
        interrupts--;
        x->kind = EXIT_INTR;
        return;
    }
    *x = ending;
    v->regs.gpr[RAX] = 0x77;
    v->regs.rip = end_rip;
}

/* mul dword [rdi] on a device */
static enum emulate_result alone(unsigned nintr, struct vmexit x, uint64_t rip)
{
    setup();
    data_is_device = true;
    on_run = on_entry;
    runs = 0;
    interrupts = nintr;
    ending = x;
    end_rip = rip;
    levels = 4;
    REG(RDI) = DATA_VA + 0x40;
    debug.dr7 = 0x402;
    sv->root_set = true;
    enum emulate_result r = RUN(0xf7, 0x27);
    on_run = NULL;
    tap_ok(!isolated && debug.dr7 == 0x402, "... and afterwards all is as it was");
    tap_ok(!sv->root_set || !runs, "... but for the root, which the loop sets again");
    return r;
}

static void test_alone(void)
{
    const struct vmexit hlt = {.kind = EXIT_HLT};
    struct vmexit gp = {.kind = EXIT_EXCEPTION, .vector = VEC_GP, .error = 0, .error_valid = true};
    struct vmexit de = {.kind = EXIT_EXCEPTION, .vector = VEC_DE, .error = 0x5a};
    struct vmexit pf = {.kind = EXIT_PF, .have_gva = true};

    tap_ok(alone(0, hlt, CODE_VA + 2) == EMULATE_DONE && REG(RAX) == 0x77 && runs == 1,
           "an instruction that ran");
    tap_ok(alone(3, hlt, CODE_VA + 2) == EMULATE_DONE && runs == 4, "after three interrupts");
    tap_ok(alone(1000, hlt, CODE_VA + 2) == EMULATE_RETRY && REG(RAX) == 0 &&
               sv->vcpu.regs.rip == CODE_VA,
           "interrupts without end: another time");
    tap_ok(fault(alone(0, gp, CODE_VA), VEC_GP) && sv->vcpu.pending.has_error && REG(RAX) == 0,
           "#GP with its error code");
    tap_ok(fault(alone(0, de, CODE_VA), VEC_DE) && !sv->vcpu.pending.has_error, "#DE without");
    tap_ok(alone(0, pf, CODE_VA) == EMULATE_DECLINED && REG(RAX) == 0,
           "another operand than was thought");
    tap_eq(alone(0, hlt, CODE_VA + 9), EMULATE_DECLINED, "another RIP");
    sv->native.area = NULL;
    tap_eq(RUN(0xf7, 0x27), EMULATE_DECLINED, "no memory for it");
}

static uint8_t seen_code[2];
static bool seen_operand;
static void on_spread(struct vcpu *v, struct vmexit *x)
{
    uint8_t *a = walk(CODE_VA + 4095), *b = walk(CODE_VA + 4096), *c = walk(DATA_VA + 4094);

    (void)x;
    seen_operand = c && walk(DATA_VA + 4097) && *(uint16_t *)(void *)c == 0x2211 &&
                   *(uint16_t *)(void *)walk(DATA_VA + 4096) == 0x4433;
    seen_code[0] = a ? *a : 0;
    seen_code[1] = b ? *b : 0;
    v->regs.rip += 2;
}

static void test_space(void)
{
    for (levels = 3; levels <= 4; levels++) {
        setup();
        data_is_device = false;
        device_page[1] = true;
        if (levels == 3) {
            segs.seg[SEG_CS].attr = 0xc9b;
            sv->vcpu.ctl.efer = 0;
        }
        segs.cpl = levels == 3 ? 3 : 0;
        REG(RDI) = DATA_VA + 4094;
        DATA32(4094) = 0x44332211;
        on_run = on_spread;
        root_rights = table_rights = leaf_rights = 0;
        tap_ok(run_at(CODE_VA + 4095, BYTES(0xf7, 0x27)) == EMULATE_DONE,
               "%u levels: code and operand over two pages", levels);
        on_run = NULL;
        tap_ok(seen_code[0] == 0xf7 && seen_code[1] == 0x27, "... the code is there");
        tap_ok(seen_operand, "... RAM and device together");
        tap_ok(walk(DATA_VA) && !walk(DATA_VA + 8192) && !walk(0), "... and nothing else");
        tap_ok(*walk(CODE_VA + 4097) == 0xf4 && *walk(CODE_VA) == 0xf4, "HLT everywhere else");
        uint64_t user = levels == 3 ? PTE_U : 0;
        (void)walk(DATA_VA);
        tap_eq(root_rights, levels == 3 ? PTE_P : PTE_P | PTE_W | PTE_A, "rights of the root");
        tap_eq(table_rights, PTE_P | PTE_W | PTE_A | user, "of the tables");
        tap_eq(leaf_rights, PTE_P | PTE_W | PTE_A | user, "of the page");
    }
}

/* --- the operand close to the instruction --- */

/* mul dword [rip + n], between the pages of RAM that holds it and of the device behind. */
static enum emulate_result close_by(uint64_t at, int32_t n)
{
    uint8_t b[6] = {0xf7, 0x25};

    memcpy(b + 2, &n, sizeof(n));
    setup();
    device_page[1] = true;
    levels = 4;
    runs = interrupts = 0;
    ending = (struct vmexit){.kind = EXIT_HLT};
    end_rip = at + sizeof(b);
    on_run = on_entry;
    enum emulate_result r = run_at(at, b, sizeof(b));
    on_run = NULL;
    return r;
}

/* The bytes behind the instruction would be the guest's: it would go on there. */
static void test_close(void)
{
    const uint64_t end = DATA_VA + 4096;

    tap_ok(close_by(end - 8, 0) == EMULATE_DECLINED && runs == 0, "an operand behind it: not run");
    tap_ok(close_by(end - 6, -2) == EMULATE_DECLINED && runs == 0, "... over it");
    tap_ok(close_by(end - 12, 4) == EMULATE_DECLINED && runs == 0, "... in its page");
    tap_ok(close_by(end - 6, 64) == EMULATE_DECLINED && runs == 0, "... in that of the next one");
    tap_ok(close_by(end - 7, 64) == EMULATE_DONE && runs == 1, "... in another one: run");
    setup();
    segs.seg[SEG_CS] = (struct segment){0x10, 0x9b, 0xffff, CODE_VA - 0x10000 + 2};
    data_is_device = true;
    sv->vcpu.ctl.efer = 0;
    REG(RBX) = 0x40;
    segs.seg[SEG_DS].base = DATA_VA;
    levels = 3;
    runs = 0;
    on_run = on_entry;
    tap_ok(RUN(0xf7, 0x27) == EMULATE_DECLINED && runs == 0, "it ends where IP does: not run");
    on_run = NULL;
}

/* --- an x87 store of just the bytes that stand for nothing stored --- */

static unsigned stores;
static void on_store(struct vcpu *v, struct vmexit *x)
{
    const uint8_t *code = walk(CODE_VA);

    x->kind = EXIT_HLT;
    v->regs.rip += 2;
    if (code[0] == 0xdf && code[1] == 0xe0) { /* FNSTSW AX */
        v->regs.gpr[RAX] = 0;
        return;
    }
    uint64_t *e = (uint64_t *)native_area;
    for (unsigned level = 4; level > 1; level--)
        e = (uint64_t *)(native_area +
                         ((e[(CODE_VA + 4096) >> (3 + 9 * level) & 511] & PTE_ADDR) - NATIVE_HPA));
    e[(CODE_VA + 4096) >> 12 & 511] |= PTE_D;
    stores++;
}

static void test_store_of_fill(void)
{
    setup();
    data_is_device = true; /* so says the exit */
    code_page[1] = PAGE_RW;
    code_device = true;
    levels = 4;
    REG(RDI) = CODE_VA + 4096 + 64;
    on_run = on_store;
    tap_ok(RUN(0xd9, 0x1f) == EMULATE_DONE && stores == 1, "fstp dword [rdi]");
    on_run = NULL;
    tap_ok(mmio_count == 1 && last_mmio.write && last_mmio.value == 0xf4f4f4f4,
           "... of HLTs is a store like another one");
}

/* --- a machine check while it runs --- */

static void test_machine_check(void)
{
    const struct vmexit mc = {.kind = EXIT_EXCEPTION, .vector = VEC_MC};

    machine_checks = 0;
    tap_ok(alone(0, mc, CODE_VA + 2) == EMULATE_DONE && REG(RAX) == 0x77 && machine_checks == 1,
           "behind the instruction: it is done, and the machine check dealt with");
    tap_ok(alone(0, mc, CODE_VA) == EMULATE_RETRY && runs == 1 && machine_checks == 2,
           "before it: at once, and the instruction another time");
    tap_ok(alone(0, (struct vmexit){.kind = EXIT_HLT}, CODE_VA + 2) == EMULATE_DONE &&
               machine_checks == 2,
           "once each");
}

static void test_x87_error(void)
{
    const struct vmexit mf = {.kind = EXIT_EXCEPTION, .vector = VEC_MF};

    x87_errors = 0;
    tap_ok(fault(alone(0, mf, CODE_VA), VEC_MF) && x87_errors == 1,
           "an x87 error goes the way of those that the guest meets itself");
}

int main(void)
{
    rig_open();
    test_watch();
    test_watch_ports();
    test_two_pages();
    test_strings();
    test_branches();
    test_selectors();
    test_alone();
    test_space();
    test_close();
    test_store_of_fill();
    test_machine_check();
    test_x87_error();
    return rig_close();
}
