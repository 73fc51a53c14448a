/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of the instruction emulator over the rig of test_emulate.c: any bytes as code, registers,
 * segments, mode and pages. It ends within its bounds, stores nowhere but in pages the guest may
 * write, and leaves either an instruction performed, an exception to inject, or everything as it
 * was. */
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "tools/tests/emulate_rig.h"

/* Of one instruction: the widest operand, an XSAVE area, read and written in pieces. */
#define OPERATIONS_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct given { /* the first bytes; the rest is code */
    uint8_t mode, kind, pages, reg[16], seg[6], rflags[3], contend, port, batch;
};
static uint8_t before[DATA_BYTES], code_before[CODE_BYTES];

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_emulate: %s\n", what);
    abort();
}

/* The processor of emulate_native.c: the space is what it should be, and anything may happen in it.
 */
static uint8_t outcome;
static bool written; /* the code as well */
static void visit(uint64_t *table, unsigned level, unsigned top)
{
    for (unsigned i = 0; i < (top == 3 && level == 3 ? 4u : 512u); i++) {
        uint64_t at = table[i] & PTE_ADDR;
        if (!(table[i] & PTE_P))
            continue;
        check(at > NATIVE_HPA && at < NATIVE_HPA + NATIVE_AREA_PAGES * PAGE_SIZE,
              "an entry that leads out of the area");
        uint8_t *next = native_area + (at - NATIVE_HPA);
        if (level > 1) {
            visit((uint64_t *)(void *)next, level - 1, top);
        } else if (outcome & 0x80) { /* every page is written, all over */
            written = true;
            memset(next, 0xc3, PAGE_SIZE);
            table[i] |= PTE_D;
        }
    }
}
/* Outside long mode the root is four entries where 32 bits reach them. */
static bool root_right(unsigned levels)
{
    hpa_t low;
    const uint8_t *at = port_low_memory(0, &low);

    if (levels == 4)
        return native_root.v == NATIVE_HPA;
    return native_root.v == low.v + PORT_LOW_NATIVE &&
           !memcmp(at + PORT_LOW_NATIVE, native_area, 4 * sizeof(uint64_t));
}
/* A byte of the space, -1: not there. */
static int space_byte(uint64_t va, unsigned levels)
{
    const uint64_t *table = (const uint64_t *)(void *)native_area;

    for (unsigned level = levels; level >= 1; level--) {
        uint64_t e = table[va >> (3 + 9 * level) & (level == 3 && levels == 3 ? 3 : 511)];
        if (!(e & PTE_P))
            return -1;
        table = (const uint64_t *)(void *)(native_area + ((e & PTE_ADDR) - NATIVE_HPA));
    }
    return ((const uint8_t *)table)[va & PAGE_MASK];
}
/* One instruction is there, and nothing behind it that runs on. */
static void code_right(struct vcpu *v, unsigned levels)
{
    struct vcpu_code c;
    uint8_t b[15];
    size_t n = 0;
    struct insn in;

    vcpu_ops->code(v, &c);
    unsigned mode = fetch_mode(v, &c);
    uint64_t base = v->regs.rip + (mode == 8 ? 0 : c.base);
    uint64_t mask = emu_size_mask(mode == 8 ? 8 : 4);
    for (int byte; n < sizeof(b) && (byte = space_byte((base + n) & mask, levels)) >= 0; n++)
        b[n] = (uint8_t)byte;
    check(insn_decode(b, n, mode, &in) == HV_OK, "no instruction to perform");
    int behind = space_byte((base + in.length) & mask, levels);
    check(behind < 0 || behind == 0xf4, "it would run on");
}
static void processor(struct vcpu *v, struct vmexit *x)
{
    unsigned levels = v->ctl.efer & EFER_LMA ? 4 : 3;
    check(isolated && root_right(levels), "not isolated");
    if (!written)
        code_right(v, levels);
    visit((uint64_t *)(void *)native_area, levels, levels);
    x->vector = outcome >> 2 & 31;
    x->error_valid = outcome & 1;
    x->error = outcome;
    switch (outcome & 3) {
    case 0:
        x->kind = EXIT_INTR;
        break;
    case 1:
        x->kind = EXIT_EXCEPTION;
        break;
    default: /* one of these lengths is right */
        v->regs.rip += outcome >> 3 & 15;
        v->regs.gpr[RAX] = 0;
        break;
    }
    outcome = (uint8_t)(outcome * 5 + 3);
}

/* Addresses near what is mapped and near every edge, and numbers. */
static uint64_t pick(uint8_t b)
{
    static const uint64_t base[] = {DATA_VA,
                                    DATA_VA + 4096,
                                    DATA_VA + DATA_BYTES,
                                    CODE_VA,
                                    0,
                                    ~0ull,
                                    1ull << 31,
                                    1ull << 47,
                                    0xffff800000000000,
                                    DATA_VA + 8192,
                                    0xff,
                                    0x10000,
                                    1ull << 32,
                                    0x7fffffffff,
                                    33,
                                    CODE_VA + 4096};
    return base[b & 15] + (uint64_t)(int64_t)((b >> 4) - 8);
}

static void machine(const struct given *in)
{
    static const uint8_t levels[] = {0, 3};
    setup();
    memset((void *)DATA_VA, 0x5a, DATA_BYTES);
    for (unsigned i = 0; i < 16; i++)
        sv->vcpu.regs.gpr[i] = pick(in->reg[i]);
    for (unsigned i = 0; i < DATA_PAGES; i++)
        data_page[i] = (enum page)(((in->pages >> (i * 2)) & 3) % 3);
    code_page[1] = in->batch & 1 ? PAGE_RO : PAGE_NONE;
    data_is_device = in->kind & 0x20;
    code_device = data_is_device && in->contend & 8; /* read-only, right behind the code */
    outcome = in->port;
    written = false;
    memory_busy = in->batch == 0xff;
    xsave_bytes = in->batch & 4 ? 2696 : 832;
    debug.dr[0] = pick(in->contend);
    debug.dr7 = in->batch & 8 ? 0x400 | 2 | (uint64_t)(in->batch >> 4) << 16 : 0x400;
    actions = in->batch & 2;
    contend = in->contend & 7;
    contend_add = in->contend >> 3;
    segs.cpl = levels[in->mode >> 7];
    sv->vcpu.regs.rflags |= in->rflags[0] | (uint64_t)in->rflags[1] << 8;
    sv->vcpu.regs.rflags |= (uint64_t)(in->rflags[2] & 0x3f) << 16;
    switch (in->mode & 3) {
    case 0: /* 64-bit */
        break;
    case 1: /* compatibility mode */
        segs.seg[SEG_CS].attr = 0xc9b;
        break;
    case 2: /* 32-bit */
        segs.seg[SEG_CS].attr = in->mode & 4 ? 0x9b : 0xc9b;
        sv->vcpu.ctl.efer = 0;
        break;
    default: /* real mode */
        sv->vcpu.ctl.efer = 0;
        sv->vcpu.ctl.cr0 = 0;
        for (unsigned i = 0; i <= SEG_GS; i++)
            segs.seg[i] = (struct segment){0, 0x93, 0xffff, DATA_VA};
        segs.seg[SEG_CS] = (struct segment){0, 0x9b, 0xffff, CODE_VA};
        break;
    }
    for (unsigned i = 0; (in->mode & 0x10) && i <= SEG_GS; i++) { /* odd data segments */
        if (i == SEG_CS)
            continue;
        segs.seg[i].limit = (uint32_t)pick(in->seg[i % 6]);
        segs.seg[i].base = pick(in->seg[(i + 1) % 6]);
        segs.seg[i].attr = (uint16_t)(in->seg[(i + 2) % 6] | (in->seg[(i + 3) % 6] & 0xf) << 8);
    }
    if (in->mode & 0x20)
        sv->vcpu.ctl.cr4 = CR4_SMAP | CR4_SMEP | CR4_PAE;
}

static void put_code(const uint8_t *code, size_t n, const struct given *in)
{
    uint64_t at = in->kind & 0x10 ? CODE_VA + 4096 - n % 16 : CODE_VA;
    memset((void *)CODE_VA, 0x90, CODE_BYTES);
    memcpy((void *)at, code, n < 64 ? n : 64);
    sv->vcpu.regs.rip = at - segs.seg[SEG_CS].base;
}

static struct vmexit exit_of(const struct given *in)
{
    struct vmexit x = exit_pf(in->pages & 1 ? PFEC_W : PFEC_P);
    if ((in->kind & 7) == 1) {
        x.kind = EXIT_IO;
        x.have_gva = false;
        x.io_port = in->port;
        x.io_size = (uint8_t)(1 << (in->port % 3));
        x.io_in = in->port & 0x80;
        x.io_string = true;
        x.io_rep = in->port & 0x40;
        x.io_have_addrsize = in->port & 0x20;
        x.io_addrsize = (uint8_t)(2 << (in->batch >> 2) % 3);
    }
    if (in->kind & 8) /* decode assist */
        memcpy(x.insn, (void *)(sv->vcpu.regs.rip + segs.seg[SEG_CS].base),
               x.insn_len = (uint8_t)(1 + in->port % 15));
    x.redeliver = in->kind == 0xff;
    return x;
}

static void check_memory(void)
{
    for (unsigned i = 0; i < DATA_PAGES; i++)
        if (data_page[i] != PAGE_RW)
            check(!memcmp(before + i * 4096, (void *)(DATA_VA + i * 4096), 4096),
                  "a store to a page that is not writable");
    check(!memcmp(code_before, (void *)CODE_VA, CODE_BYTES), "a store to the code");
    check(xchg_count + cmpxchg_stored + bulk_count + mmio_count + port_count <= OPERATIONS_MAX,
          "more operations than one batch has");
}

static void check_result(enum emulate_result r, const struct vcpu_regs *old)
{
    const struct vcpu_event *p = &sv->vcpu.pending;
    const struct vcpu_regs *now = &sv->vcpu.regs;
    check(r == EMULATE_DONE || r == EMULATE_FAULT || r == EMULATE_DECLINED || r == EMULATE_RETRY,
          "no such result");
    check(!isolated, "left isolated");
    if (r == EMULATE_FAULT) {
        check(p->type == EVENT_EXCEPTION && p->vector < 32, "a fault without an exception");
        check(!memcmp(old->gpr, now->gpr, sizeof(now->gpr)) && old->rip == now->rip &&
                  old->rflags == now->rflags,
              "registers changed by a fault");
    } else if (r != EMULATE_DONE) {
        check(p->type == EVENT_NONE, "declined with an exception");
        check(!memcmp(old, now, sizeof(*now)), "registers changed and declined");
    } else {
        check(now->rflags & RFLAGS_FIXED1, "the fixed flag is gone");
        check(((now->rflags ^ old->rflags) & (RFLAGS_VM | RFLAGS_IF)) == 0,
              "system flags changed by an emulated instruction");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct given in;
    if (size <= sizeof(in))
        return 0;
    if (!sv)
        rig_open();
    on_run = processor;
    memcpy(&in, data, sizeof(in));
    machine(&in);
    put_code(data + sizeof(in), size - sizeof(in), &in);
    memcpy(before, (void *)DATA_VA, DATA_BYTES);
    memcpy(code_before, (void *)CODE_VA, CODE_BYTES);
    struct vmexit x = exit_of(&in);
    struct vcpu_regs old = sv->vcpu.regs;
    check_result(x.kind == EXIT_IO ? emulate_string_io(sv, &x) : run_exit(&x), &old);
    check_memory();
    return 0;
}
