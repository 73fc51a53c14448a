/* SPDX-License-Identifier: BSD-2-Clause */
/* What the processor may have found wrong with the guest's state when it refused an entry, by the
 * names of SDM volume 3, 26.3.1 "Checks on the Guest State Area". For dumps only: the processor
 * decides. Tested by tools/tests/test_vmx.c. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/log.h"

#define RFLAGS_RESERVED 0xffffffffffc08028ull
#define RFLAGS_IOPL (3ull << 12)

struct state {
    uint64_t cr0, cr4, rflags, rip;
    uint32_t cs, ss, tr, entry, blocking, inject;
    bool v86, wide;
};

static uint64_t seg(uint32_t first, unsigned i)
{
    return vmcs_read(first + 2 * i);
}

static bool canonical(uint64_t a)
{
    return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

static void state_read(struct state *s)
{
    *s = (struct state){
        .cr0 = vmcs_read(VMCS_GUEST_CR0),
        .cr4 = vmcs_read(VMCS_GUEST_CR4),
        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
        .rip = vmcs_read(VMCS_GUEST_RIP),
        .cs = (uint32_t)seg(VMCS_GUEST_ES_AR, SEG_CS),
        .ss = (uint32_t)seg(VMCS_GUEST_ES_AR, SEG_SS),
        .tr = (uint32_t)seg(VMCS_GUEST_ES_AR, SEG_TR),
        .entry = (uint32_t)vmcs_read(VMCS_ENTRY_CTLS),
        .blocking = (uint32_t)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY),
        .inject = (uint32_t)vmcs_read(VMCS_ENTRY_INTR_INFO),
    };
    s->v86 = s->rflags & RFLAGS_VM;
    s->wide = s->entry & ENTRY_CTL_IA32E;
}

static unsigned dpl(uint32_t ar)
{
    return ar >> 5 & 3;
}

/* true: nothing to say. */
__attribute__((noinline)) static bool say(bool good, const char *what,
                                          void (*emit)(const char *line))
{
    char line[96];

    if (!good) {
        hv_snprintf(line, sizeof(line), "vmcs: check fails: %s", what);
        emit(line);
    }
    return good;
}

static void check_control(const struct state *s, void (*emit)(const char *line))
{
    const struct vmx_caps *c = &vmx_caps;

    say((s->cr0 & c->cr0_fixed0) == c->cr0_fixed0 && !(s->cr0 & ~c->cr0_fixed1),
        "fixed bits of CR0", emit);
    say((s->cr4 & c->cr4_fixed0) == c->cr4_fixed0 && !(s->cr4 & ~c->cr4_fixed1),
        "fixed bits of CR4", emit);
    say(!s->wide || (s->cr4 & CR4_PAE), "IA-32e mode without CR4.PAE", emit);
    say(!(vmcs_read(VMCS_GUEST_DEBUGCTL) & ~0x7ull), "DEBUGCTL", emit);
    say(canonical(vmcs_read(VMCS_GUEST_SYSENTER_ESP)) &&
            canonical(vmcs_read(VMCS_GUEST_SYSENTER_EIP)),
        "SYSENTER_ESP or EIP not canonical", emit);
    say(!(s->rflags & RFLAGS_RESERVED) && (s->rflags & RFLAGS_FIXED1), "reserved bits of RFLAGS",
        emit);
    say(!s->v86 || !s->wide, "RFLAGS.VM in IA-32e mode", emit);
    say(!(s->inject & INTR_INFO_VALID) || (s->inject & INTR_INFO_TYPE) != INTR_TYPE_EXTERNAL ||
            (s->rflags & RFLAGS_IF),
        "an interrupt injected with IF = 0", emit);
    say(!s->wide || (vmcs_read(VMCS_GUEST_CR3) & 0xfff0000000000000ull) == 0, "CR3", emit);
}

static void check_v86(void (*emit)(const char *line))
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        say(seg(VMCS_GUEST_ES_BASE, i) == seg(VMCS_GUEST_ES_SEL, i) << 4 &&
                seg(VMCS_GUEST_ES_LIMIT, i) == 0xffff && seg(VMCS_GUEST_ES_AR, i) == 0xf3,
            "a segment in virtual-8086 mode", emit);
}

static bool granular(uint64_t limit, uint32_t ar)
{
    bool g = ar & BIT(15);

    return g ? (limit & 0xfff) == 0xfff : limit <= 0xfffff;
}

static void check_code(const struct state *s, void (*emit)(const char *line))
{
    unsigned type = s->cs & 0xf;

    say(!(s->cs & AR_UNUSABLE) && (s->cs & BIT(7)) && (s->cs & BIT(4)), "CS unusable", emit);
    say(type == 9 || type == 11 || type == 13 || type == 15, "type of CS", emit);
    say(type < 12 ? dpl(s->cs) == dpl(s->ss) : dpl(s->cs) <= dpl(s->ss), "CS.DPL", emit);
    say(dpl(s->ss) == (seg(VMCS_GUEST_ES_SEL, SEG_SS) & 3), "SS.DPL is not SS.RPL", emit);
    say((seg(VMCS_GUEST_ES_SEL, SEG_SS) & 3) == (seg(VMCS_GUEST_ES_SEL, SEG_CS) & 3),
        "SS.RPL is not CS.RPL", emit);
    say(!s->wide || !(s->cs & BIT(13)) || !(s->cs & BIT(14)), "CS.L with CS.D", emit);
    say(s->wide && (s->cs & BIT(13)) ? canonical(s->rip) : s->rip >> 32 == 0, "RIP", emit);
}

static void check_data(void (*emit)(const char *line))
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint32_t ar = (uint32_t)seg(VMCS_GUEST_ES_AR, i), type = ar & 0xf;
        uint64_t base = seg(VMCS_GUEST_ES_BASE, i);
        say(i < SEG_FS || canonical(base), "base of FS or GS not canonical", emit);
        if ((ar & AR_UNUSABLE) || i == SEG_CS)
            continue;
        say(i >= SEG_FS || base >> 32 == 0, "base of a data segment above 4 GiB", emit);
        say((ar & 1) && (ar & BIT(4)) && (ar & BIT(7)), "a data segment not accessed or present",
            emit);
        say(i == SEG_SS ? type == 3 || type == 7 : type < 8 || (type & 2), "type of a data segment",
            emit);
        say(i == SEG_SS || type > 11 || dpl(ar) >= (seg(VMCS_GUEST_ES_SEL, i) & 3),
            "RPL of a data segment above its DPL", emit);
        say(granular(seg(VMCS_GUEST_ES_LIMIT, i), ar), "limit and G of a segment", emit);
    }
}

static void check_rest(const struct state *s, void (*emit)(const char *line))
{
    unsigned type = s->tr & 0x1f;

    say(!(s->tr & AR_UNUSABLE) && (s->tr & BIT(7)) && (type == 11 || (type == 3 && !s->wide)), "TR",
        emit);
    say(granular(seg(VMCS_GUEST_ES_LIMIT, SEG_TR), s->tr), "limit and G of TR", emit);
    say(canonical(vmcs_read(VMCS_GUEST_GDTR_BASE)) && canonical(vmcs_read(VMCS_GUEST_IDTR_BASE)),
        "base of GDTR or IDTR not canonical", emit);
    say((s->blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) != (BLOCKING_STI | BLOCKING_MOV_SS),
        "blocked by STI and MOV SS", emit);
    say(!(s->blocking & BLOCKING_STI) || (s->rflags & RFLAGS_IF), "blocked by STI with IF = 0",
        emit);
    bool bs = vmcs_read(VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS;
    say(!(s->blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) || bs == !!(s->rflags & RFLAGS_TF),
        "pending single step and TF", emit);
}

__attribute__((noinline)) void vmx_check_guest(void (*emit)(const char *line))
{
    struct state s;

    state_read(&s);
    check_control(&s, emit);
    if (s.v86) {
        check_v86(emit);
    } else {
        check_code(&s, emit);
        check_data(emit);
    }
    check_rest(&s, emit);
}
