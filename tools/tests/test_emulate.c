/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/emulate/emulate*.c with the answers written out: faults, instruction fetch,
 * segments, modes, atomicity, REP batches, devices and port strings. What instructions compute is
 * compared with a CPU in test_emulate_native.c. */
#include "tools/tests/emulate_rig.h"

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
/* Puts the code at the start of CS and emulates the instruction there. */
static enum emulate_result run_code(const uint8_t *b, size_t n)
{
    struct vmexit x = exit_pf(PFEC_W);

    put_code(CODE_VA, b, n);
    sv->vcpu.regs.rip = CODE_VA - segs.seg[SEG_CS].base;
    return run_exit(&x);
}
#define RUN(...) run_code((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

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
    tap_eq(fetch_decode(sv, &x, &in), HV_OK, "fetch_decode");
    tap_eq(in.length, 7, "... length");
    sv->vcpu.regs.rip = 0x5000;
    tap_eq(fetch_decode(sv, &x, &in), HV_FAULT, "fetch_decode of unmapped code");
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
    sv->calm = true;
    tap_eq(RUN(0x89, 0x07), EMULATE_DONE, "store to a device");
    tap_ok(!sv->calm, "... is something the loop has to look at");
    tap_ok(mmio_count == 1 && last_mmio.write && last_mmio.size == 4 &&
               last_mmio.value == 0x55667788 && last_mmio.addr == DATA_VA + 0xb0 - GPA_OFFSET,
           "... is one access of its width at its gpa");
    REG(RDI) = DATA_VA + 4096 - 2;
    mmio_count = 0;
    sv->calm = true;
    tap_eq(RUN(0x89, 0x07), EMULATE_DONE, "device access over two pages");
    tap_ok(!sv->calm, "... as well");
    tap_ok(mmio_count == 2 && last_mmio.size == 2 && last_mmio.value == 0x5566,
           "... is an access of each page");
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

static unsigned decoded_length(void)
{
    const struct vmexit x = {.kind = EXIT_CPUID};
    struct insn in = {0};

    return fetch_decode(sv, &x, &in) == HV_OK ? in.length : 0;
}

/* The short way to the instruction: same answers as the long one, and no old decoding for new
 * bytes. */
static void test_fetch_cached(void)
{
    static const uint8_t cpuid[] = {0x0f, 0xa2}, wrmsr_rex[] = {0x48, 0x0f, 0x30};

    for (unsigned way = 0; way < 2; way++) {
        setup();
        native_code = way != 0;
        native_fetches = 0;
        put_code(CODE_VA, cpuid, sizeof(cpuid));
        tap_eq(decoded_length(), 2, "CPUID");
        tap_eq(decoded_length(), 2, "... again");
        put_code(CODE_VA, wrmsr_rex, sizeof(wrmsr_rex));
        tap_eq(decoded_length(), 3, "other bytes at the same RIP");
        segs.seg[SEG_CS].attr = 0xc9b;
        sv->vcpu.ctl.efer = 0;
        tap_eq(decoded_length(), 1, "the same bytes in 32-bit mode: DEC EAX");
        segs.seg[SEG_CS].base = 1;
        sv->vcpu.regs.rip = CODE_VA - 1;
        tap_eq(decoded_length(), 1, "a segment that is not flat");
        setup();
        put_code(CODE_VA + 4096 - 2, wrmsr_rex, sizeof(wrmsr_rex));
        sv->vcpu.regs.rip = CODE_VA + 4096 - 2;
        tap_eq(decoded_length(), 3, "across a page");
        tap_eq(native_fetches, way ? 4 : 0, "the way taken");
        code_page[1] = PAGE_NONE;
        tap_eq(decoded_length(), 0, "... of which the second is not there");
        sv->vcpu.pending.type = EVENT_NONE;
        code_page[0] = PAGE_NONE;
        sv->vcpu.regs.rip = CODE_VA;
        tap_eq(decoded_length(), 0, "no page at all");
        sv->vcpu.pending.type = EVENT_NONE;
    }
    native_code = true;
}

/* What is kept of an instruction serves only while it is that instruction and lies there. */
static void test_fetch_known(void)
{
    static const uint8_t cpuid[16] = {0x0f, 0xa2}, wrmsr_rex[16] = {0x48, 0x0f, 0x30};
    static uint8_t elsewhere[16];
    const struct vmexit x = {.kind = EXIT_CPUID};
    struct insn buf = {0};

    setup();
    put_code(CODE_VA, cpuid, sizeof(cpuid));
    tap_ok(!fetch_known(sv, &x), "nothing is kept at first");
    tap_ok(fetch_look(sv, &x, &buf) == &buf && buf.length == 2, "the first look decodes");
    native_fetches = 0;
    const struct insn *known = fetch_known(sv, &x);
    tap_ok(known && known->length == 2 && native_fetches == 1, "then it is known");
    tap_ok(fetch_look(sv, &x, &buf) == known && native_fetches == 1, "... and where its bytes lie");
    memcpy(elsewhere, wrmsr_rex, sizeof(elsewhere));
    native_elsewhere = elsewhere;
    tap_ok(fetch_known(sv, &x) == known, "a translation may be as old as in a TLB");
    sv->mmu.downgrades++;
    tap_ok(!fetch_known(sv, &x), "... and not older: one was lost");
    memcpy(elsewhere, cpuid, sizeof(elsewhere));
    tap_ok(fetch_known(sv, &x) == known, "the same bytes elsewhere");
    native_elsewhere = NULL;
    put_code(CODE_VA, wrmsr_rex, sizeof(wrmsr_rex));
    sv->mmu.last_root += FETCHED; /* which has the same entry */
    tap_ok(!fetch_known(sv, &x), "another root has other bytes there");
    put_code(CODE_VA, cpuid, sizeof(cpuid));
    tap_ok(fetch_known(sv, &x) == known, "... or the same");
    put_code(CODE_VA + 15, wrmsr_rex, 1);
    tap_ok(!fetch_known(sv, &x), "one byte changed");
    put_code(CODE_VA, wrmsr_rex, sizeof(wrmsr_rex));
    tap_ok(fetch_look(sv, &x, &buf) && buf.length == 3, "other bytes, another instruction");
    segs.seg[SEG_CS].attr = 0xc9b;
    tap_ok(fetch_look(sv, &x, &buf) && buf.length == 1, "... and the same in 32-bit code: DEC");
    segs.seg[SEG_CS].attr = 0xa9b;
    sv->vcpu.regs.rip += 64;
    put_code(CODE_VA + 64, wrmsr_rex, sizeof(wrmsr_rex));
    tap_ok(fetch_look(sv, &x, &buf) && buf.length == 3, "elsewhere, by its bytes");
    static const uint8_t more[16] = {0x0f, 0x01, 0xbc, 0x24, 1, 2, 3, 4, 5};
    static const uint8_t less[16] = {0x0f, 0x01, 0xbc, 0x24, 1, 2, 3, 4, 6};
    put_code(CODE_VA + 64, more, sizeof(more));
    (void)fetch_look(sv, &x, &buf);
    put_code(CODE_VA + 64, less, sizeof(less));
    tap_ok(fetch_look(sv, &x, &buf) && buf.disp == 0x04030201, "bytes that differ late");
    sv->vcpu.regs.rip -= 64;
    put_code(CODE_VA, cpuid, sizeof(cpuid));
    (void)fetch_look(sv, &x, &buf);
    known = fetch_known(sv, &x);
    static const struct hv_options off;
    vm.opt = &off;
    sv->vcpu.regs.rip += 64;
    tap_ok(fetch_look(sv, &x, &buf) == &buf && !fetch_known(sv, &x), "shortcuts=off: not kept");
    sv->vcpu.regs.rip -= 64;
    struct vmexit given = {.kind = EXIT_CPUID, .insn_len = 2};
    tap_ok(!fetch_known(sv, &given), "bytes that came with the exit go first");
    segs.seg[SEG_CS].attr = 0xc9b;
    tap_ok(!fetch_known(sv, &x), "32-bit code there is another instruction");
    segs.seg[SEG_CS].attr = 0xa9b;
    sv->vcpu.ctl.efer = 0;
    tap_ok(!fetch_known(sv, &x), "... and so it is outside long mode");
    setup();
    /* Anew in the same place of the table, and in other memory. */
    native_elsewhere = elsewhere;
    memcpy(elsewhere, wrmsr_rex, sizeof(elsewhere));
    tap_ok(fetch_look(sv, &x, &buf) == &buf && buf.length == 3, "decoded anew");
    put_code(CODE_VA, wrmsr_rex, sizeof(wrmsr_rex));
    elsewhere[0] = 0x90;
    tap_ok(!fetch_known(sv, &x), "... and seen to change");
    native_elsewhere = NULL;
    /* Two addresses with one entry between them: it has the place of the one it holds. */
    put_code(CODE_VA, cpuid, sizeof(cpuid));
    put_code(CODE_VA + 0x101, cpuid, sizeof(cpuid));
    (void)fetch_look(sv, &x, &buf);
    tap_ok(fetch_known(sv, &x) != NULL, "an entry with its place");
    sv->vcpu.regs.rip = CODE_VA + 0x101;
    tap_ok(!fetch_known(sv, &x) && fetch_look(sv, &x, &buf) == &buf,
           "... taken for another address");
    put_code(CODE_VA + 0x101, wrmsr_rex, sizeof(wrmsr_rex));
    tap_ok(!fetch_known(sv, &x), "... whose bytes are looked at");
}

int main(void)
{
    rig_open();
    test_fetch_known();
    test_fetch_cached();
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
    return rig_close();
}
