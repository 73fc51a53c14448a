/* SPDX-License-Identifier: BSD-2-Clause */
/* The controls, computed from the capability MSRs (SDM volume 3, appendix A): each that is needed
 * is checked by name, each that is only wanted is taken where it is. No instructions here. Tested
 * by tools/tests/test_vmx_caps.c. */
#include "arch-x86/vmx/caps.h"
#include "arch-x86/defs/vmx.h"
#include "hv/base/string.h"

enum word { PIN, PROC, PROC2, EXIT, ENTRY, WORDS };
enum ctl_need {
    CTL_NEEDED,
    CTL_WANTED, /* set where it can be */
    CTL_LATER,  /* must be possible, set later */
    CTL_OFF,    /* must not be forced on */
};
static const struct {
    enum word word;
    uint32_t bit;
    enum ctl_need need;
    const char *name;
} controls[] = {
    {PIN, PIN_INTR, CTL_NEEDED, "external-interrupt exiting"},
    {PIN, PIN_NMI, CTL_NEEDED, "NMI exiting"},
    {PIN, PIN_VNMI, CTL_NEEDED, "virtual NMIs"},
    {PIN, PIN_TIMER, CTL_OFF, "activate VMX-preemption timer"},
    {PROC, PROC_INTR_WINDOW, CTL_LATER, "interrupt-window exiting"},
    {PROC, PROC_NMI_WINDOW, CTL_LATER, "NMI-window exiting"},
    {PROC, PROC_TSC_OFFSET, CTL_NEEDED, "use TSC offsetting"},
    {PROC, PROC_HLT, CTL_NEEDED, "HLT exiting"},
    {PROC, PROC_INVLPG, CTL_NEEDED, "INVLPG exiting"},
    {PROC, PROC_MWAIT, CTL_NEEDED, "MWAIT exiting"},
    {PROC, PROC_MONITOR, CTL_NEEDED, "MONITOR exiting"},
    {PROC, PROC_RDPMC, CTL_NEEDED, "RDPMC exiting"},
    {PROC, PROC_CR3_LOAD, CTL_NEEDED, "CR3-load exiting"},
    {PROC, PROC_CR3_STORE, CTL_NEEDED, "CR3-store exiting"},
    {PROC, PROC_CR8_LOAD, CTL_NEEDED, "CR8-load exiting"},
    {PROC, PROC_CR8_STORE, CTL_NEEDED, "CR8-store exiting"},
    {PROC, PROC_IO_BITMAPS, CTL_NEEDED, "use I/O bitmaps"},
    {PROC, PROC_MSR_BITMAPS, CTL_NEEDED, "use MSR bitmaps"},
    {PROC, PROC_RDTSC, CTL_OFF, "RDTSC exiting"},
    {PROC, PROC_MOV_DR, CTL_OFF, "MOV-DR exiting"},
    {PROC, PROC_PAUSE, CTL_OFF, "PAUSE exiting"},
    {PROC, PROC_SECONDARY, CTL_WANTED, "activate secondary controls"},
    {PROC2, PROC2_RDTSCP, CTL_WANTED, "enable RDTSCP"},
    {PROC2, PROC2_VPID, CTL_WANTED, "enable VPID"},
    {PROC2, PROC2_WBINVD, CTL_WANTED, "WBINVD exiting"},
    {PROC2, PROC2_INVPCID, CTL_WANTED, "enable INVPCID"},
    {EXIT, EXIT_CTL_SAVE_DEBUG, CTL_NEEDED, "save debug controls"},
    {EXIT, EXIT_CTL_HOST64, CTL_NEEDED, "host address-space size"},
    {ENTRY, ENTRY_CTL_LOAD_DEBUG, CTL_NEEDED, "load debug controls"},
    {ENTRY, ENTRY_CTL_IA32E, CTL_LATER, "IA-32e mode guest"},
};

struct vmx_caps vmx_caps;

static void miss(struct vmx_caps *c, const char *name)
{
    if (c->nmissing < ARRAY_SIZE(c->missing))
        c->missing[c->nmissing] = name;
    c->nmissing++;
}

/* A.2 to A.5: the lower half are bits that must be 1, the upper half bits that may be. The TRUE
 * registers let go of some that older software expects as 1. */
static void words_read(bool (*rdmsr)(uint32_t, uint64_t *), bool true_ctls, uint64_t word[WORDS])
{
    static const uint32_t plain[WORDS] = {MSR_VMX_PINBASED_CTLS, MSR_VMX_PROCBASED_CTLS,
                                          MSR_VMX_PROCBASED_CTLS2, MSR_VMX_EXIT_CTLS,
                                          MSR_VMX_ENTRY_CTLS};
    static const uint32_t better[WORDS] = {MSR_VMX_TRUE_PINBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS,
                                           MSR_VMX_PROCBASED_CTLS2, MSR_VMX_TRUE_EXIT_CTLS,
                                           MSR_VMX_TRUE_ENTRY_CTLS};

    for (unsigned w = 0; w < WORDS; w++) {
        if (w == PROC2 && !(word[PROC] >> 32 & PROC_SECONDARY))
            continue; /* the register does not exist */
        if (!rdmsr(true_ctls ? better[w] : plain[w], &word[w]))
            word[w] = 0;
    }
}

static void controls_choose(struct vmx_caps *c, const uint64_t word[WORDS])
{
    uint32_t *out[WORDS] = {&c->pin, &c->proc, &c->proc2, &c->exit, &c->entry};

    for (unsigned w = 0; w < WORDS; w++)
        *out[w] = (uint32_t)word[w]; /* what must be 1 */
    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        uint32_t bit = controls[i].bit;
        bool can = word[controls[i].word] >> 32 & bit, must = word[controls[i].word] & bit;
        switch (controls[i].need) {
        case CTL_LATER:
        case CTL_NEEDED:
            if (!can)
                miss(c, controls[i].name);
            break;
        case CTL_OFF:
            if (must)
                miss(c, controls[i].name);
            break;
        case CTL_WANTED:
            break;
        }
        if (can && controls[i].need <= CTL_WANTED)
            *out[controls[i].word] |= bit;
    }
}

bool vmx_caps_read(bool (*rdmsr)(uint32_t, uint64_t *), struct vmx_caps *c)
{
    uint64_t basic = 0, misc = 0, ept = 0, word[WORDS] = {0};

    memset(c, 0, sizeof(*c));
    if (!rdmsr(MSR_VMX_BASIC, &basic)) {
        miss(c, "the capability registers");
        return false;
    }
    c->revision = (uint32_t)(basic & BASIC_REVISION);
    c->ins_outs_info = basic & BASIC_INS_OUTS;
    words_read(rdmsr, basic & BASIC_TRUE, word);
    controls_choose(c, word);
    c->timer = word[PIN] >> 32 & PIN_TIMER;
    if (rdmsr(MSR_VMX_MISC, &misc))
        c->timer_shift = (uint8_t)(misc & MISC_TIMER_SHIFT);
    /* VPIDs are of use with INVVPID only, by single context and all (A.10). */
    if ((c->proc2 & PROC2_VPID) &&
        (!rdmsr(MSR_VMX_EPT_VPID_CAP, &ept) || (~ept & (VPID_INVVPID | VPID_SINGLE | VPID_ALL))))
        c->proc2 &= ~PROC2_VPID;
    c->vpid = c->proc2 & PROC2_VPID;
    c->rdtscp = c->proc2 & PROC2_RDTSCP;
    c->invpcid = c->proc2 & PROC2_INVPCID;
    if (!rdmsr(MSR_VMX_CR0_FIXED0, &c->cr0_fixed0) || !rdmsr(MSR_VMX_CR0_FIXED1, &c->cr0_fixed1) ||
        !rdmsr(MSR_VMX_CR4_FIXED0, &c->cr4_fixed0) || !rdmsr(MSR_VMX_CR4_FIXED1, &c->cr4_fixed1))
        miss(c, "the fixed bits of CR0 and CR4");
    return c->nmissing == 0;
}

const char *vmx_caps_differ(const struct vmx_caps *boot, const struct vmx_caps *other)
{
    if (other->nmissing)
        return "VMX-controls";
    if (boot->revision != other->revision)
        return "VMCS-revision";
    if (boot->pin != other->pin || boot->proc != other->proc || boot->proc2 != other->proc2 ||
        boot->exit != other->exit || boot->entry != other->entry || boot->timer != other->timer)
        return "VMX-controls";
    if (boot->cr0_fixed0 != other->cr0_fixed0 || boot->cr4_fixed0 != other->cr4_fixed0 ||
        (boot->cr0_fixed1 & ~other->cr0_fixed1) || (boot->cr4_fixed1 & ~other->cr4_fixed1))
        return "VMX-fixed-bits";
    return NULL;
}
