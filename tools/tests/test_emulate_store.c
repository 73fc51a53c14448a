/* SPDX-License-Identifier: BSD-2-Clause */
/* Host test of hv/emulate/emulate_store.c: which stores are made without the emulator, and what of
 * everything else is left to it. */
#include "tools/tests/emulate_rig.h"

static void put_code(uint64_t at, const uint8_t *b, size_t n)
{
    memset((void *)CODE_VA, 0xcc, CODE_BYTES);
    memcpy((void *)at, b, n);
}

#define REG(r) sv->vcpu.regs.gpr[r]
#define DATA64(off) (*(volatile uint64_t *)(DATA_VA + (off)))

/* The instruction at CODE_VA by the short way, as its second time there: was it done? */
static bool stored_plainly(const uint8_t *b, size_t n, uint64_t gva_at)
{
    struct vmexit x = exit_pf(PFEC_W);
    struct insn buf = {0};

    x.gva = gva(gva_at);
    put_code(CODE_VA, b, n);
    sv->vcpu.regs.rip = CODE_VA;
    (void)fetch_look(sv, &x, &buf);
    entry_stores = 0;
    return emulate_store(sv, &x, gpa(gva_at - GPA_OFFSET)) && entry_stores == 1 &&
           sv->vcpu.regs.rip == CODE_VA + n;
}
#define PLAINLY(at, ...)                                                                           \
    stored_plainly((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), at)

static void test_plain_store(void)
{
    setup();
    REG(RBX) = DATA_VA + 16;
    REG(RAX) = 0x1122334455667788ull;
    tap_ok(PLAINLY(DATA_VA + 16, 0x48, 0x89, 0x03), "MOV [RBX], RAX by the short way");
    tap_eq(DATA64(16), 0x1122334455667788ull, "... stores all of it");
    tap_ok(PLAINLY(DATA_VA + 24, 0x48, 0xc7, 0x43, 8, 0xfe, 0xff, 0xff, 0xff), "an immediate");
    tap_eq(DATA64(24), ~1ull, "... extended by its sign");
    tap_ok(!PLAINLY(DATA_VA + 24, 0x48, 0x89, 0x03) && !entry_stores, "another address faulted");
    tap_ok(!PLAINLY(DATA_VA + 16, 0x89, 0x03) && !entry_stores, "not 4 bytes");
    tap_ok(!PLAINLY(DATA_VA + 16, 0x48, 0x8b, 0x03) && !entry_stores, "not a load");
    tap_ok(!PLAINLY(DATA_VA + 16, 0x48, 0x01, 0x03) && !entry_stores, "not ADD");
    tap_ok(!PLAINLY(DATA_VA + 16, 0x48, 0x87, 0x03) && !entry_stores, "not XCHG");
    tap_ok(!PLAINLY(DATA_VA + 16, 0x65, 0x48, 0x89, 0x03) && !entry_stores, "not with GS");
    tap_ok(!PLAINLY(DATA_VA + 16, 0x67, 0x48, 0x89, 0x03) && !entry_stores,
           "not with addresses of 32 bits");
    tap_ok(!PLAINLY(0x10, 0x48, 0x89, 0x05, 0x10, 0, 0, 0) && !entry_stores,
           "not relative to RIP, whatever it is added to");
    REG(RBX) = DATA_VA + 20;
    tap_ok(!PLAINLY(DATA_VA + 20, 0x48, 0x89, 0x03) && !entry_stores, "not over two granules");
    REG(RBX) = DATA_VA + 16;
    debug.dr7 = 1;
    tap_ok(!PLAINLY(DATA_VA + 16, 0x48, 0x89, 0x03) && !entry_stores, "not with breakpoints");
    debug.dr7 = 0;
    entry_refused = true;
    tap_ok(!PLAINLY(DATA_VA + 16, 0x48, 0x89, 0x03) && sv->vcpu.regs.rip == CODE_VA,
           "not where there is no RAM: nothing is done");
    entry_refused = false;
    tap_ok(PLAINLY(DATA_VA + 16, 0x48, 0x89, 0x03), "and again it is");
    struct vmexit x = exit_pf(PFEC_W);
    x.gva = gva(DATA_VA + 16);
    x.redeliver = true;
    sv->vcpu.regs.rip = CODE_VA;
    tap_ok(!emulate_store(sv, &x, gpa(DATA_VA + 16 - GPA_OFFSET)),
           "not for the delivery of an event");
    sv->vcpu.regs.rip = CODE_VA + 64;
    x.redeliver = false;
    tap_ok(!emulate_store(sv, &x, gpa(DATA_VA + 16 - GPA_OFFSET)), "not what is not known yet");
}

/* 64-bit code alone, by either way to know. */
static void test_code_size(void)
{
    struct vmexit x = exit_pf(PFEC_W);
    uint16_t attr = 0xa9b;

    setup();
    REG(RBX) = DATA_VA + 16;
    tap_ok(PLAINLY(DATA_VA + 16, 0x48, 0x89, 0x03), "the vendor is asked for CS");
    sv->vcpu.regs.rip = CODE_VA;
    segs.seg[SEG_CS].attr = 0xc9b;
    tap_ok(!fetch_known(sv, &x), "... and says that it is other code");
    segs.seg[SEG_CS].attr = 0xa9b;
    sv->mmu.last_root += FETCHED; /* which has the same entry */
    native_code = false;
    tap_ok(!fetch_known(sv, &x), "another root does not have the code");
    sv->mmu.last_root -= FETCHED;
    native_code = true;
    tap_ok(fetch_known(sv, &x) != NULL, "... and this one still has it");
    segs.seg[SEG_CS].attr = 0xc9b;
    sv->vcpu.cs_attr = &attr;
    tap_ok(fetch_known(sv, &x) != NULL, "CS is at hand");
    attr = 0xc9b;
    tap_ok(!fetch_known(sv, &x), "... and is other code");
    attr = 0xa9b;
    sv->vcpu.ctl.efer &= ~EFER_LMA;
    tap_ok(!fetch_known(sv, &x), "... or has a bit that means nothing outside long mode");
    sv->vcpu.ctl.efer |= EFER_LMA;
    sv->vcpu.cs_attr = NULL;
    segs.seg[SEG_CS].attr = 0xa9b;
}

int main(void)
{
    rig_open();
    test_plain_store();
    test_code_size();
    return rig_close();
}
