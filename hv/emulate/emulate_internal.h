/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to hv/emulate/emulate*.c: one emulation in progress. Registers and the fault are kept
 * here and reach the VCPU only at the end, so that a fault leaves no trace. Tested by
 * tools/tests/test_emulate.c. */
#pragma once
#include "hv/emulate/emulate.h"
#include "hv/vcpu/fetch.h"

#define EMU_BATCH 32 /* iterations of a REP before the loop looks around again */
/* compare-exchanges lost to other CPUs before giving the instruction back */
#define EMU_RMW_TRIES 64

/* Inside the emulator HV_OK means performed; HV_FAULT: e->fault is filled; HV_UNSUPPORTED:
 * declined, nothing done; HV_AGAIN: part of a REP done, RIP stays. */
struct emu {
    struct subvmm *s;
    struct vcpu_code code;
    struct vcpu_segs segs; /* outside 64-bit mode; in it once emu_segs was called */
    bool have_segs;
    struct insn in;
    unsigned mode;   /* code size: 2, 4, 8 */
    bool real;       /* real or virtual-8086 mode: no segment types */
    uint32_t access; /* PFEC_U and ACCESS_AC of data accesses */
    uint64_t gpr[16];
    uint64_t rip, rflags;
    bool branched;           /* rip is the target already */
    bool busy;               /* declined for concurrent change only */
    uint8_t hits;            /* breakpoints that data accesses matched: bits of DR6 */
    uint8_t bytes[INSN_MAX]; /* of the instruction, after emu_fetch_bytes */
    gpa_t at;                /* what exited */
    const struct vmexit *x;
    struct vcpu_fault fault;
};

/* --- emulate.c --- */
void emu_begin(struct emu *e, struct subvmm *s, const struct vmexit *x);
const struct vcpu_segs *emu_segs(struct emu *e);
enum hv_err emu_fetch(struct emu *e) HV_MUST_CHECK;
/* The same from memory or the decode assist, with e->bytes. */
enum hv_err emu_fetch_bytes(struct emu *e) HV_MUST_CHECK;
enum emulate_result emu_finish(struct emu *e, enum hv_err r) HV_MUST_CHECK;
enum hv_err emu_raise(struct emu *e, uint8_t vector, bool has_error) HV_MUST_CHECK;

/* --- emulate_linear.c --- */
uint64_t emu_size_mask(unsigned size);
/* Offset of the memory operand, wrapped to the address size. */
uint64_t emu_offset_of(const struct insn *in, const uint64_t *gpr, uint64_t rip);
uint64_t emu_offset(const struct emu *e);
enum hv_err emu_linear(struct emu *e, enum seg seg, uint64_t offset, size_t n, bool write,
                       gva_t *out) HV_MUST_CHECK;
/* Bytes of a stack pointer: 2, 4, 8. */
unsigned emu_stack_size(const struct emu *e);

/* --- emulate_mem.c --- */
/* Turns gmem's result into the emulator's. HV_MMIO stays: the caller goes to the bus. */
enum hv_err emu_mem_result(struct emu *e, enum hv_err r, const struct guest_fault *f) HV_MUST_CHECK;
enum hv_err emu_read(struct emu *e, gva_t va, unsigned n, uint64_t *out) HV_MUST_CHECK;
enum hv_err emu_write(struct emu *e, gva_t va, unsigned n, uint64_t value) HV_MUST_CHECK;
/* Atomic exchange; *old: what was there. */
enum hv_err emu_exchange(struct emu *e, gva_t va, unsigned n, uint64_t value,
                         uint64_t *old) HV_MUST_CHECK;
/* Faults as a write of n bytes at va would, writes nothing; *ram: the first byte is RAM. */
enum hv_err emu_probe_write(struct emu *e, gva_t va, unsigned n, bool *ram) HV_MUST_CHECK;
/* New value from the old one; sets e->rflags. Called again when another CPU was faster. */
typedef uint64_t (*emu_modify)(struct emu *e, uint64_t old, uint64_t operand);
/* Atomic read-modify-write. *old: the value replaced. */
enum hv_err emu_rmw(struct emu *e, gva_t va, unsigned n, emu_modify fn, uint64_t operand,
                    uint64_t *old) HV_MUST_CHECK;
enum hv_err emu_cmpxchg(struct emu *e, gva_t va, unsigned n, uint64_t expected, uint64_t value,
                        uint64_t *old, bool *stored) HV_MUST_CHECK;

/* --- emulate_span.c --- */
struct emu_span { /* one or two pages, translated and allowed */
    size_t len[2];
    gpa_t at[2];
    bool ram[2];
};
/* Device memory that the VM owns (p2m_device): no model stands behind it, so what has an operand
 * there is declined, before anything moves, and done by the guest itself. */
bool emu_is_own_device(const struct emu *e, gpa_t at);
/* n: 1..4096 bytes. After it the copies cannot fail. */
enum hv_err emu_span_open(struct emu *e, gva_t va, unsigned n, bool write,
                          struct emu_span *s) HV_MUST_CHECK;
/* Bytes [first, first + n) of the span. */
void emu_span_read(struct emu *e, const struct emu_span *s, size_t first, void *buf, size_t n);
void emu_span_write(struct emu *e, const struct emu_span *s, size_t first, const void *buf,
                    size_t n);

/* --- emulate_native.c --- */
enum hv_err emu_native(struct emu *e) HV_MUST_CHECK;

/* --- ahead_insn.c --- */
struct ahead_step {
    struct subvmm *s;
    struct vcpu_regs *regs;
    const struct insn *in; /* at regs->rip, in 64-bit code of the supervisor */
    uint64_t next;         /* RIP behind it; a branch that is taken changes it */
};
/* Registers and memory as the instruction leaves them, but RIP. false: it is the processor's, and
 * nothing was changed. Context: as for ahead_run. */
bool ahead_carry_out(struct ahead_step *t) HV_MUST_CHECK;

/* --- emulate_desc.c: LAR, LSL, VERR, VERW --- */
/* Protected mode only. */
enum hv_err emu_descriptor(struct emu *e, uint64_t sel) HV_MUST_CHECK;

/* --- emulate_watch.c: breakpoints --- */
/* Called where DR7 enables any. */
void emu_watch(struct emu *e, uint64_t lin, size_t n, bool write);
void emu_watch_port(struct emu *e);
/* After the instruction: #DB if any matched. */
void emu_watch_raise(struct emu *e);

/* --- emulate_alu.c: pure functions of numbers --- */
/* a op b of `size` bytes with the flags the manual gives; *flags: in and out (all of RFLAGS). INC,
 * DEC, NOT and NEG use a only; CMP and TEST return a. */
uint64_t alu_compute(enum insn_op op, unsigned size, uint64_t a, uint64_t b, uint64_t *flags);
/* BT, BTS, BTR, BTC on bit `bit` of a. */
uint64_t alu_bit(enum insn_op op, uint64_t a, unsigned bit, uint64_t *flags);
bool alu_condition(unsigned cond, uint64_t rflags);

/* --- emulate_ops.c --- */
uint64_t emu_reg_read(const struct emu *e, unsigned reg, unsigned size, bool high8);
void emu_reg_write(struct emu *e, unsigned reg, unsigned size, bool high8, uint64_t value);
enum hv_err emu_execute(struct emu *e) HV_MUST_CHECK;

/* --- emulate_string.c --- */
enum hv_err emu_string(struct emu *e) HV_MUST_CHECK;
/* --- emulate_io.c --- */
enum hv_err emu_string_port(struct emu *e) HV_MUST_CHECK;
/* Runs one iteration, or a batch of them under REP. */
typedef enum hv_err (*emu_iteration)(struct emu *e);
enum hv_err emu_repeat(struct emu *e, emu_iteration fn, bool until_zf) HV_MUST_CHECK;
/* rSI or rDI behind one element. */
void emu_advance(struct emu *e, unsigned reg);
