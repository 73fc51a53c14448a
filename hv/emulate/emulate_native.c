/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions on device memory, and stores to RAM that the guest must not make itself, that
 * emulate_ops.c has no handler for: the processor performs them itself, as a guest in an address
 * space that holds nothing but the instruction and its operand.
 *
 * Why so: media and x87 registers are the guest's at all times (the hypervisor uses none), so only
 * the guest can use them; and what the processor does needs no second description here, neither its
 * results and flags nor its faults (#NM, #UD, #MF, #XM, #GP of a misaligned operand, #DE) and what
 * CR0, CR4, XCR0 and MXCSR have to do with them. Nothing is rewritten: code and operand lie at the
 * linear addresses where the guest has them, under its own segments, mode and privilege level. The
 * hypervisor's own tables never map these pages executable. Every exception exits, and the bytes
 * behind the instruction are HLT, in pages that the operand has no part of: exactly one instruction
 * runs, and it is the one that was decoded. (Else the guest's bytes would run on, in a loop that
 * nobody ends, or by SYSCALL to another privilege level at the RIP of a user.) What is needed of
 * the decoder is the place and size of the operand and whether it is read or written (insn_extent);
 * a wrong answer there can only touch bytes of the operand's pages.
 *
 * Tested by tools/tests/test_native.c, and group native of the guest tests. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include "hv/emulate/emulate_internal.h"

#define TRIES 16  /* entries that only met a physical interrupt */
#define FILL 0xf4 /* HLT: leaves the guest at any privilege level */
#define XSAVE_LEAF 0xdu
#define DR7_OFF 0x400ull
#define FSW_ES BIT(7)
#define SPACE_PAGES 4 /* two of code, two of the operand */

/* The area: one root, three more tables for each page, the pages themselves. */
_Static_assert(NATIVE_AREA_PAGES == 1 + SPACE_PAGES * 3 + SPACE_PAGES, "native area");

struct space {
    struct native *area;
    unsigned used, pages, levels;
    uint64_t rights; /* of entries below the root of PAE tables */
    struct {
        uint64_t page; /* linear, >> 12 */
        uint8_t *bytes;
        uint64_t *pte;
    } of[SPACE_PAGES];
};

void native_init(struct native *n, void **pool, hpa_t *hpa, uint64_t *bytes, uint32_t *nasids)
{
    const uint64_t size = NATIVE_AREA_PAGES * PAGE_SIZE;

    *n = (struct native){0};
    if (*nasids < 3 || *bytes < size)
        return; /* mmu_init says what is wrong with such a pool */
    n->area = *pool;
    n->hpa = *hpa;
    (*nasids)--;
    n->asid = *nasids < MMU_ROOTS + 1 ? *nasids : MMU_ROOTS + 1;
    *pool = (uint8_t *)*pool + size;
    hpa->v += size;
    *bytes -= size;
}

/* --- the address space --- */

static uint8_t *space_take(struct space *sp, uint64_t *at)
{
    uint8_t *p = sp->area->area + sp->used * PAGE_SIZE;

    *at = sp->area->hpa.v + sp->used * PAGE_SIZE;
    sp->used++;
    return p;
}

static void space_open(struct space *sp, struct emu *e)
{
    uint64_t at;

    *sp = (struct space){.area = &e->s->native};
    sp->levels = e->s->vcpu.ctl.efer & EFER_LMA ? 4 : 3;
    sp->rights = PTE_P | PTE_W | PTE_A | (e->code.cpl == 3 ? PTE_U : 0);
    memset(space_take(sp, &at), 0, PAGE_SIZE);
}

/* The page of linear address `lin`, mapped; all HLT when it is new. */
static unsigned space_page(struct space *sp, uint64_t lin)
{
    uint64_t *table = (uint64_t *)(void *)sp->area->area, at;

    for (unsigned i = 0; i < sp->pages; i++)
        if (sp->of[i].page == lin >> PAGE_SHIFT)
            return i;
    for (unsigned level = sp->levels; level > 1; level--) {
        uint64_t *entry =
            &table[lin >> (3 + 9 * level) & (level == 3 && sp->levels == 3 ? 3 : 511)];
        if (*entry & PTE_P) {
            uint64_t offset = (*entry & PTE_ADDR) - sp->area->hpa.v;
            table = (uint64_t *)(void *)(sp->area->area + offset);
            continue;
        }
        table = (uint64_t *)(void *)space_take(sp, &at);
        memset(table, 0, PAGE_SIZE);
        /* Entries of a PAE root have no rights. */
        *entry = at | (level == 3 && sp->levels == 3 ? PTE_P : sp->rights);
    }
    uint8_t *bytes = space_take(sp, &at);
    memset(bytes, FILL, PAGE_SIZE);
    uint64_t *pte = &table[lin >> PAGE_SHIFT & 511];
    *pte = at | sp->rights; /* not dirty: a write shows */
    sp->of[sp->pages].page = lin >> PAGE_SHIFT;
    sp->of[sp->pages].bytes = bytes;
    sp->of[sp->pages].pte = pte;
    return sp->pages++;
}

/* What CR3 is to be: the root, or its four entries where 32 bits reach them. */
static hpa_t space_root(struct space *sp, const struct emu *e)
{
    uint8_t *low;
    hpa_t at;

    if (sp->levels == 4)
        return sp->area->hpa;
    low = port_low_memory(e->s->pcpu, &at);
    memcpy(low + PORT_LOW_NATIVE, sp->area->area, 4 * sizeof(uint64_t));
    return hpa(at.v + PORT_LOW_NATIVE);
}

/* For each piece of [lin, lin + n) within a page. */
static unsigned space_piece(struct space *sp, const struct emu *e, uint64_t lin, size_t n,
                            uint8_t **bytes, size_t *len)
{
    if (e->mode != 8)
        lin &= 0xffffffffull;
    size_t room = PAGE_SIZE - (size_t)(lin & PAGE_MASK);
    unsigned i = space_page(sp, lin);

    *len = n < room ? n : room;
    *bytes = sp->of[i].bytes + (lin & PAGE_MASK);
    return i;
}

static uint64_t code_linear(const struct emu *e)
{
    return e->rip + (e->mode == 8 ? 0 : e->code.base);
}

/* Has the operand a page in common with the instruction or the byte behind it? Also true if RIP
 * does not go on behind it. */
static bool beside_code(const struct emu *e, gva_t va, unsigned n)
{
    uint64_t mask = emu_size_mask(e->mode == 8 ? 8 : 4), lin = code_linear(e);
    uint64_t end = e->rip + e->in.length;

    if (e->mode != 8 && end != (end & emu_size_mask(e->mode)))
        return true;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t code = lin + (i & 1 ? e->in.length : 0), operand = va.v + (i & 2 ? n - 1 : 0);
        if (((code ^ operand) & mask) >> PAGE_SHIFT == 0)
            return true;
    }
    return false;
}

/* --- one instruction --- */

enum outcome { RAN, FAULTED, INTERRUPTED, ELSEWHERE };

static bool is_machine_check(const struct vmexit *x)
{
    return x->kind == EXIT_EXCEPTION && x->vector == VEC_MC;
}

static enum outcome outcome_of(const struct vcpu *v, const struct vmexit *x, uint64_t start,
                               uint64_t next, struct emu *e)
{
    if (v->regs.rip == next)
        return RAN;
    if (v->regs.rip != start)
        return ELSEWHERE;
    if (x->kind == EXIT_INTR || x->kind == EXIT_NMI || x->kind == EXIT_SMI ||
        x->kind == EXIT_INIT || is_machine_check(x))
        return INTERRUPTED;
    if (x->kind != EXIT_EXCEPTION || x->vector == VEC_DB)
        return ELSEWHERE; /* a page that is not there: another operand than was thought */
    if (emu_raise(e, x->vector, x->error_valid) == HV_FAULT)
        e->fault.error = x->error_valid ? x->error : 0;
    return FAULTED;
}

/* Enters with the guest's registers. RAN: they are the results; else they are as before. */
static enum outcome space_run(struct space *sp, struct emu *e)
{
    struct vcpu *v = &e->s->vcpu;
    struct vcpu_regs before = v->regs;
    uint64_t next = (e->rip + e->in.length) & emu_size_mask(e->mode);
    hpa_t root = space_root(sp, e);
    enum outcome o = INTERRUPTED;
    struct vcpu_debug debug;
    struct vmexit x;

    if (e->mode == 8)
        next = e->rip + e->in.length;
    vcpu_ops->get(v, VCPU_DEBUG, &debug);
    struct vcpu_debug off = debug;
    off.dr7 = DR7_OFF;
    vcpu_ops->put(v, VCPU_DEBUG, &off); /* emu_watch looks for the guest's breakpoints */
    vcpu_ops->window(v, false);
    vcpu_ops->set_int_shadow(v, false);
    vcpu_ops->isolate(v, true);
    for (unsigned i = 0; i < TRIES && o == INTERRUPTED && !e->s->native.machine_check; i++) {
        port_irq_off();
        vcpu_ops->set_root(v, root, sp->area->asid, true, false);
        e->s->root_set = e->s->calm = false; /* the loop sets its own again */
        vcpu_ops->run(v, &x);
        o = outcome_of(v, &x, before.rip, next, e);
        e->s->native.machine_check |= is_machine_check(&x);
    }
    vcpu_ops->isolate(v, false);
    vcpu_ops->put(v, VCPU_DEBUG, &debug);
    if (o == RAN) {
        memcpy(e->gpr, v->regs.gpr, sizeof(e->gpr));
        e->rflags = v->regs.rflags;
    }
    v->regs = before;
    return o;
}

static enum hv_err outcome_result(struct emu *e, enum outcome o)
{
    switch (o) {
    case RAN:
        return HV_OK;
    case FAULTED:
        return HV_FAULT;
    case INTERRUPTED:
        e->busy = true;
        break;
    case ELSEWHERE:
        break;
    }
    return HV_UNSUPPORTED;
}

/* Did an unmasked exception keep the x87 store just done from storing? To be asked when its operand
 * looks untouched. The dirty bit does not tell: a processor may set it and then not store. */
static bool x87_suppressed(const struct emu *e)
{
    static const uint8_t fnstsw_ax[] = {0xdf, 0xe0};
    struct emu ask = *e;
    struct space sp;
    uint8_t *to;
    size_t len;

    memcpy(ask.bytes, fnstsw_ax, sizeof(fnstsw_ax));
    ask.in.length = sizeof(fnstsw_ax);
    space_open(&sp, &ask);
    for (size_t n = 0; n < sizeof(fnstsw_ax); n += len) {
        (void)space_piece(&sp, &ask, code_linear(&ask) + n, sizeof(fnstsw_ax) - n, &to, &len);
        memcpy(to, ask.bytes + n, len);
    }
    return space_run(&sp, &ask) == RAN && (ask.gpr[RAX] & FSW_ES);
}

/* --- the operand --- */

static enum hv_err operand_va(struct emu *e, const struct insn_extent *x, gva_t *va)
{
    uint64_t offset = emu_offset(e);
    enum seg seg = e->in.segment;

    switch (x->at) {
    case EXTENT_MODRM:
        break;
    case EXTENT_STACK:
        seg = SEG_SS;
        offset = (e->gpr[RSP] + (uint64_t)(int64_t)x->delta) & emu_size_mask(emu_stack_size(e));
        break;
    case EXTENT_FRAME:
        seg = SEG_SS;
        offset = e->gpr[RBP] & emu_size_mask(emu_stack_size(e));
        break;
    case EXTENT_RDI:
        offset = emu_reg_read(e, RDI, e->in.addrsize, false);
        break;
    case EXTENT_XLAT:
        offset = (e->gpr[RBX] + (e->gpr[RAX] & 0xff)) & emu_size_mask(e->in.addrsize);
        break;
    }
    return emu_linear(e, seg, offset, x->size, x->access & EXTENT_W, va);
}

static bool extent_of(struct emu *e, struct insn_extent *x)
{
    uint32_t id[4];

    if (!insn_extent(&e->in, e->mode, x))
        return false;
    if (x->access & EXTENT_XSTATE) {
        vcpu_ops->cpuid(XSAVE_LEAF, 0, id); /* EBX: of what XCR0 has enabled */
        x->size = (uint16_t)(id[1] <= PAGE_SIZE ? id[1] : 0);
    }
    return x->size != 0;
}

/* Code and operand. */
static void space_fill(struct space *sp, struct emu *e, gva_t va, const struct insn_extent *x,
                       const struct emu_span *span, int fill)
{
    uint64_t rip = code_linear(e);
    uint8_t *to;
    size_t len;

    space_open(sp, e);
    for (size_t n = 0; n < e->in.length; n += len) {
        (void)space_piece(sp, e, rip + n, e->in.length - n, &to, &len);
        memcpy(to, e->bytes + n, len);
    }
    for (size_t n = 0; n < x->size; n += len) {
        (void)space_piece(sp, e, va.v + n, x->size - n, &to, &len);
        if (x->access & EXTENT_R)
            emu_span_read(e, span, n, to, len);
        else
            memset(to, fill, len);
    }
}

static bool operand_untouched(struct space *sp, const struct emu *e, gva_t va,
                              const struct insn_extent *x)
{
    uint8_t *from;
    size_t len;

    for (size_t n = 0; n < x->size; n += len) {
        (void)space_piece(sp, e, va.v + n, x->size - n, &from, &len);
        for (size_t i = 0; i < len; i++)
            if (from[i] != FILL)
                return false;
    }
    return true;
}

/* What the instruction left in the operand goes to the guest. */
static void space_store(struct space *sp, struct emu *e, gva_t va, const struct insn_extent *x,
                        const struct emu_span *span)
{
    bool x87 = e->in.map == 0 && (e->in.opcode & 0xf8) == 0xd8;
    bool all = x87 && operand_untouched(sp, e, va, x);
    uint8_t *from;
    size_t len;

    if (all && x87_suppressed(e)) /* to ask rewrites the tables: no dirty bits are left */
        return;
    for (size_t n = 0; n < x->size; n += len) {
        unsigned i = space_piece(sp, e, va.v + n, x->size - n, &from, &len);
        if (all || (*sp->of[i].pte & PTE_D))
            emu_span_write(e, span, n, from, len);
    }
}

#define PART_MAX 512 /* FXSAVE */
/* A store that leaves bytes out: done twice over different memory, what is equal was stored. */
static enum hv_err native_part(struct emu *e, gva_t va, const struct insn_extent *x,
                               const struct emu_span *span)
{
    uint8_t first[PART_MAX], *from;
    struct space sp;
    size_t len;

    space_fill(&sp, e, va, x, span, 0);
    TRY(outcome_result(e, space_run(&sp, e)));
    for (size_t n = 0; n < x->size; n += len) {
        (void)space_piece(&sp, e, va.v + n, x->size - n, &from, &len);
        memcpy(first + n, from, len);
    }
    space_fill(&sp, e, va, x, span, 0xff);
    TRY(outcome_result(e, space_run(&sp, e)));
    for (size_t n = 0; n < x->size; n += len) {
        (void)space_piece(&sp, e, va.v + n, x->size - n, &from, &len);
        for (size_t at = 0, run; at < len; at += run + 1) {
            for (run = 0; at + run < len && from[at + run] == first[n + at + run];)
                run++;
            if (run)
                emu_span_write(e, span, n + at, from + at, run);
        }
    }
    return HV_OK;
}

/* A traced page: the guest does it itself once the page is released. But under SMAP with CR0.WP
 * clear a supervisor's store must not run in the guest (flip_needed of hv/mmu), where the rights
 * that it needs would last for longer. What is locked has to be one access: not done here. */
static bool for_the_guest(const struct emu *e)
{
    const struct vcpu_ctl *c = &e->s->vcpu.ctl;
    hpa_t h;

    return p2m_lookup(&e->s->p2m, e->at, &h) &&
           ((c->cr0 & CR0_WP) || !(c->cr4 & CR4_SMAP) || e->code.cpl == 3 || e->in.lock);
}

/* Is it the operand whose access exited? */
static bool operand_exited(const struct emu *e, const struct emu_span *span)
{
    hpa_t h;

    if (!p2m_lookup(&e->s->p2m, e->at, &h))
        return !span->ram[0] || (span->len[1] && !span->ram[1]);
    for (unsigned i = 0; i < 2 && span->len[i]; i++)
        if (gpa_gfn(span->at[i]).v == gpa_gfn(e->at).v)
            return true;
    return false;
}

enum hv_err emu_native(struct emu *e)
{
    struct insn_extent x;
    struct emu_span span;
    enum insn_op op = e->in.op;
    struct space sp;
    gva_t va;

    if (!e->s->native.area || for_the_guest(e))
        return HV_UNSUPPORTED; /* also: too few ASIDs */
    TRY(emu_fetch_bytes(e));   /* what is decoded is what will run */
    if (e->in.op != op) {      /* another CPU changes the code */
        e->busy = true;
        return HV_UNSUPPORTED;
    }
    if (!extent_of(e, &x))
        return HV_UNSUPPORTED;
    TRY(operand_va(e, &x, &va));
    TRY(emu_span_open(e, va, x.size, x.access & EXTENT_W, &span));
    if (!x.access) /* a device has no cache lines */
        return HV_OK;
    if (!operand_exited(e, &span))
        return HV_UNSUPPORTED; /* another access of the instruction is */
    if (beside_code(e, va, x.size))
        return HV_UNSUPPORTED;
    if (x.access & EXTENT_PART)
        return native_part(e, va, &x, &span);
    space_fill(&sp, e, va, &x, &span, FILL);
    TRY(outcome_result(e, space_run(&sp, e)));
    if (x.access & EXTENT_W)
        space_store(&sp, e, va, &x, &span);
    return HV_OK;
}
